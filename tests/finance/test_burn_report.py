"""The burn report: spent, rates, runway and state, from settled hours and the minutes since."""

import io
import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from compose.finance import burn_report, burn_show
from compose.finance.burn_report import Burn, Report
from compose.finance.report_commands import group
from compose.options import Mistake
from streams.planning import planned_nano
from tests.conftest import ClickHouse
from tests.finance.reporting import DAY, HOUR, JULY, RECORDED, charge, config, meter, minute, record, settle

UNIT = 10**9
MINUTE = timedelta(minutes=1)
NOW = JULY + 4 * DAY + 2 * HOUR + 10 * MINUTE
"""The newest minute: two hours and ten minutes after the last settled hour."""


def _running(clickhouse: ClickHouse) -> None:
    """acme: 1 an hour for four settled days, 0.05 a minute since; lab: only the last 40 minutes."""
    record(clickhouse.client, config())
    hours = [JULY + hour * HOUR for hour in range(96)]
    settle(clickhouse.client, [charge("acme", hour, UNIT) for hour in hours], *hours)
    settled_again = [minute("acme", JULY + 4 * DAY - (number + 1) * MINUTE, UNIT // 60) for number in range(240)]
    since = [minute("acme", JULY + 4 * DAY + number * MINUTE, UNIT // 20) for number in range(131)]
    meter(clickhouse.client, settled_again + since)
    meter(clickhouse.client, [minute("lab", NOW - (number + 1) * MINUTE, 3 * UNIT) for number in range(40)])


def test_running_book(clickhouse: ClickHouse) -> None:
    """Settled hours count once, minutes since are added, each window has its own rate, by hand."""
    _running(clickhouse)
    report = burn_report.report(clickhouse.client)
    acme, lab, brit = report.burns
    assert report.at == NOW
    assert acme.spent_nano == (100 + 96) * UNIT + 131 * UNIT // 20
    assert acme.planned_nano == round(1000 * UNIT * Fraction((NOW - (JULY - 181 * DAY)) // MINUTE, 365 * 1440))
    settled_minutes, since_minutes = 360 - 130, 130  # of the last 6 hours
    assert acme.rates["5m"] == acme.rates["1h"] == 3 * UNIT
    assert acme.rates["6h"] == round(Fraction(settled_minutes * (UNIT // 60) + since_minutes * (UNIT // 20), 6))
    covered = 71 + Fraction(1, 6)  # from the whole hour on
    assert acme.rates["3d"] == round((69 * UNIT + 130 * UNIT // 20) / covered)
    assert acme.runway_hours == Fraction(1000 * UNIT - acme.spent_nano, 3 * UNIT)
    assert acme.status == "behind plan: will run out on 2026-08-07"
    assert lab.rates == {"5m": 180 * UNIT, "1h": 180 * UNIT, "6h": None, "3d": None}
    assert (lab.spent_nano, lab.runway_hours, lab.status) == (120 * UNIT, None, "no plan")
    assert set(brit.rates.values()) == {None}
    fund, grid = report.totals
    assert fund.spent_nano == acme.spent_nano + lab.spent_nano
    assert (fund.cap_nano, fund.planned_nano, grid.cap_nano) == (None, None, 500 * UNIT)
    assert fund.rates["5m"] == 183 * UNIT


def test_spent_stops_at_the_cap(clickhouse: ClickHouse) -> None:
    """Minutes do not know the cap; the report does."""
    _running(clickhouse)
    meter(clickhouse.client, [minute("acme", NOW + MINUTE, 5000 * UNIT)])
    (acme,) = burn_report.report(clickhouse.client, agreement="acme").burns
    assert (acme.spent_nano, acme.runway_hours, acme.status) == (1000 * UNIT, Fraction(0), "used up")


def test_as_of_knows_charges_alone(clickhouse: ClickHouse) -> None:
    """A moment in the past: the hours that were settled by then, no minutes, and the same answer for ever."""
    _running(clickhouse)
    before = burn_report.report(clickhouse.client, RECORDED)
    (acme, lab, _) = before.burns
    assert before.at == JULY + 4 * DAY
    assert acme.rates == {"5m": None, "1h": UNIT, "6h": UNIT, "3d": UNIT}
    assert (acme.spent_nano, lab.spent_nano) == (196 * UNIT, 0)
    assert acme.runway_hours == 804
    later = RECORDED + DAY
    settle(clickhouse.client, [charge("acme", JULY, UNIT, recorded_at=later)], NOW, recorded=later)
    assert burn_report.report(clickhouse.client, RECORDED) == before


def test_view_of_spending_agrees(clickhouse: ClickHouse) -> None:
    """Dashboards and the command tell the same spent, cap and share."""
    _running(clickhouse)
    rows = {row["agreement"]: row for row in clickhouse.client.query("SELECT * FROM agreement_spend").named_results()}
    burns = burn_report.report(clickhouse.client).burns
    assert len(rows) == len(burns)
    for burn in burns:
        row = rows[burn.agreement.id]
        assert row["spent"] * UNIT == burn.spent_nano
        assert row["cap"] == (None if burn.cap_nano is None else Decimal(burn.cap_nano) / UNIT)
        assert row["programme"] == burn.agreement.programme
        assert row["currency"] == burn.currency
    assert rows["acme"]["used_share"] == pytest.approx(0.20255)
    assert rows["acme"]["settled_until"] == (JULY + 4 * DAY).replace(tzinfo=None)
    assert (rows["acme"]["settled_subsidy"], rows["acme"]["live_subsidy"]) == (96, Decimal("6.55"))
    assert rows["lab"]["used_share"] is None


def test_view_of_spending_before_anything_is_settled(clickhouse: ClickHouse) -> None:
    """All is live then, and the cap holds all the same."""
    record(clickhouse.client, config())
    meter(clickhouse.client, [minute("acme", NOW, 2000 * UNIT)])
    query = "SELECT settled_until, settled_subsidy, live_subsidy, spent FROM agreement_spend WHERE agreement = 'acme'"
    assert clickhouse.client.query(query).result_rows == [(None, 0, 2000, 1000)]


@pytest.mark.parametrize(
    ("at", "spent", "status"),
    [
        (JULY, 496, "on plan"), (JULY, 540, "on plan"), (JULY, 547, "ahead of plan"), (JULY, 445, "behind plan"),
        (JULY, 1000, "used up"), (JULY - 300 * DAY, 0, "not begun"), (JULY + 300 * DAY, 1, "ended"),
    ],
)  # fmt: skip
def test_state_in_words(at: datetime, spent: int, status: str) -> None:
    """On plan is within a twentieth of all that is planned; 1000 in a year are 495.89 by the 1st of July."""
    agreement = config().agreement[0]
    planned = planned_nano(agreement, int(at.timestamp()) * 1000)
    burn = Burn(agreement, "CAD", at, spent * UNIT, 1000 * UNIT, planned, dict.fromkeys(burn_report.WINDOWS), None)
    assert burn.status == status


def test_names_that_nobody_knows(clickhouse: ClickHouse) -> None:
    """A mistyped name is answered with those that exist."""
    record(clickhouse.client, config())
    with pytest.raises(Mistake, match="choose one of acme, brit, lab"):
        burn_report.report(clickhouse.client, agreement="amce")
    with pytest.raises(Mistake, match="choose one of fund, grid"):
        burn_report.report(clickhouse.client, programme="fnud")
    with pytest.raises(Mistake, match="does not belong"):
        burn_report.report(clickhouse.client, agreement="acme", programme="grid")


def _invoke(*words: str) -> str:
    answer = CliRunner().invoke(group, words, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_command_as_json(clickhouse: ClickHouse) -> None:
    """Amounts are decimals in quotes, to the nano-unit."""
    _running(clickhouse)
    document: dict[str, Any] = json.loads(_invoke("burn", "--json", "--clickhouse", clickhouse.url))
    acme = document["agreements"][0]
    assert (acme["spent"], acme["cap"], acme["used_share"]) == ("202.550000000", "1000.000000000", "0.202550000")
    assert acme["burn_per_hour"]["1h"] == "3.000000000"
    assert acme["forecast"]["until"] == "2026-07-05T00:00:00Z"
    assert acme["forecast"]["projected_end_early"] <= acme["forecast"]["projected_end"]
    assert document["at"] == "2026-07-05T02:10:00Z"
    assert [total["programme"] for total in document["programmes"]] == ["fund", "grid"]
    assert document["programmes"][0]["used_share"] == "0.064510000"


def test_command_as_table(clickhouse: ClickHouse) -> None:
    """Everything fits 140 columns, nothing is cut off, whatever the size of the amounts."""
    _running(clickhouse)
    text = _invoke("burn", "--programme", "fund", "--clickhouse", clickhouse.url)
    assert "202.55" in text
    assert "grid" not in text
    report = burn_report.report(clickhouse.client)
    large = [
        replace(burn, spent_nano=123_456_789_012 * UNIT, cap_nano=300_000_000_000 * UNIT,
                rates=dict.fromkeys(burn.rates, 1_234_567 * UNIT),
                agreement=burn.agreement.model_copy(update={"id": f"maritime-languages-{burn.agreement.id}"}))
        for burn in report.burns
    ]  # fmt: skip
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(burn_show.as_tables(replace(report, burns=large)))
    text = console.export_text()
    assert "…" not in text
    for shown in (
        "300,000,000,000",
        "maritime-languages-acme ",
        "1,234,567",
        "ahead of plan",
        "2026-08-07",
        "2026-12-31",
        "budget",
    ):
        assert shown in text


def test_amounts_are_written_in_one_way(clickhouse: ClickHouse) -> None:
    """A budget of 300 million looks like one of 25 million, so that the eye can compare them."""
    record(clickhouse.client, config(programme=[
        {"id": "fund", "budget": "300000000", "starts": "2026-01-01", "ends": "2027-12-31"},
        {"id": "grid", "budget": "25000000", "currency": "GBP", "starts": "2026-01-01", "ends": "2027-12-31"},
    ]))  # fmt: skip
    text = _invoke("burn", "--clickhouse", clickhouse.url)
    assert " 300,000,000 " in text
    assert " 25,000,000 " in text


@pytest.mark.parametrize(
    ("rate_nano", "shown"),
    [(10 * UNIT, " 90.0 h "), (203_804_348, " 184 d "), (203_758_207, " its end ")],
)
def test_runway_ends_with_the_agreement(rate_nano: int, shown: str) -> None:
    """900 is left, and 184 days (4,416 h) of the agreement: money that lasts longer is not told in days."""
    rates: burn_report.Rates = dict.fromkeys(burn_report.WINDOWS, rate_nano)
    burn = Burn(config().agreement[0], "CAD", JULY, 100 * UNIT, 1000 * UNIT, None, rates, None)
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(burn_show.as_tables(Report(JULY, None, [burn], [])))
    assert shown in console.export_text()
