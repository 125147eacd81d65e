"""Statements read from a real book, against sums made here."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from compose.finance.statement.cents import Amounts, Cents
from compose.finance.statement.json_ import as_json
from compose.finance.statement.model import Statement
from compose.finance.statement.reading import agreements, open_month, statement
from compose.options import Mistake
from tests.conftest import ClickHouse
from tests.finance.statement.book import (
    ACCESS_FUND,
    ACME,
    Fields,
    close,
    described,
    entry,
    hour,
    nine,
    observed,
    settle,
    terms,
    write,
)

OCTOBER, SEPTEMBER = date(2026, 10, 1), date(2026, 9, 1)
THIRD = Fraction("0.333333333")  # a third of a dollar, as a book with nine places has it


def read(clickhouse: ClickHouse, name: str = "acme-ai", month: date = OCTOBER, until: str = "") -> Statement:
    """A statement, as of a moment if one is named."""
    return statement(open_month(clickhouse.client, month, hour(until) if until else None), name)


@pytest.fixture
def book(clickhouse: ClickHouse) -> ClickHouse:
    """With the terms of Acme, known since January."""
    described(clickhouse.client, terms(), hour("2026-01-01T00"))
    return clickhouse


def test_totals_are_the_exact_sums_of_the_month(book: ClickHouse) -> None:
    """Every entry of the agreement that is booked in the month counts, once, and no other."""
    costs = [Fraction(1234567891 * n, 10**9) for n in range(1, 60)]
    subsidies = [Fraction(round(cost * Fraction(2, 3) * 10**9), 10**9) for cost in costs]
    mine = [
        entry(f"2026-10-{n % 28 + 1:02d}T{n % 24:02d}", cost, subsidy, cluster=("fir", "rorqual")[n % 2])
        for n, (cost, subsidy) in enumerate(zip(costs, subsidies, strict=True))
    ]
    others = [
        entry("2026-09-30T23", 1000, 500),
        entry("2026-11-01T00", 1000, 500),
        entry("2026-10-05T05", 1000, 500, agreement="other-ai"),
    ]
    write(book.client, "charges", *mine, *others)

    found = read(book)

    assert found.amounts.cost_nano == sum(costs) * 10**9
    assert found.amounts.subsidy_nano == sum(subsidies) * 10**9
    assert found.amounts.charge_nano == (sum(costs) - sum(subsidies)) * 10**9
    assert [line.cluster for line in found.lines] == ["fir", "rorqual"]
    assert found.cents.cost == round(sum(costs) * 100)
    assert sum(line.cost for line in found.line_cents) == found.cents.cost
    assert sum(line.charge for line in found.line_cents) == found.cents.charge


def test_a_line_adds_up_its_hours_and_revisions(book: ClickHouse) -> None:
    """Late data of the same line are part of it; what was taken back in full is no line any more."""
    used: Fields = {
        "gpu_seconds": Decimal(3600),
        "counter_seconds": Decimal(3500),
        "integrated_seconds": Decimal(60),
    }
    write(
        book.client,
        "charges",
        entry("2026-10-01T00", 3, 2, energy_j=Decimal("10.001"), prompt_tokens=5, generation_tokens=7, **used),
        entry("2026-10-01T01", 6, 4, energy_j=Decimal("20.002"), prompt_tokens=6, cached_tokens=2, **used),
        entry("2026-10-01T00", "0.3", "0.2", "2026-10-01T03", kind="revision", reason="late data", **used),
        entry("2026-10-02T00", 5, 1, deployment="taken-back", prompt_tokens=9),
        entry("2026-10-02T00", -5, -1, "2026-10-02T04", kind="revision", deployment="taken-back", prompt_tokens=-9),
    )
    (line,) = read(book).lines
    assert (line.first, line.end, line.reason) == (hour("2026-10-01T00"), hour("2026-10-01T02"), "")
    assert line.amounts == Amounts(9_300_000_000, 6_200_000_000, 3_100_000_000)
    assert line.usage.gpu_seconds_nano == 3 * 3600 * 10**9
    assert line.usage.unmeasured_seconds_nano == 3 * 40 * 10**9
    assert (line.usage.energy_mj, line.usage.prompt_tokens) == (30_003, 11)
    assert (line.usage.cached_tokens, line.usage.generation_tokens) == (2, 7)


def test_large_amounts_stay_exact(book: ClickHouse) -> None:
    """Hundreds of millions with nine places: no digit is lost on the way out of the book."""
    cost = Fraction(987_654_321_123_456_789, 10**9)
    write(book.client, "charges", entry("2026-10-01T00", cost, cost), entry("2026-10-01T01", "0.000000001", 0))
    assert read(book).amounts == Amounts(987_654_321_123_456_790, 987_654_321_123_456_789, 1)


def test_corrections_of_earlier_months_stand_apart(book: ClickHouse) -> None:
    """What is booked in this month for a closed one is in the total, in lines of its own with period and reason."""
    write(
        book.client,
        "charges",
        entry("2026-10-01T00", "10.005", 5),
        *(
            entry(
                f"2026-{period}T00", "-1.001", -1, "2026-10-09T00",
                kind="adjustment", reason=reason, booked_month=OCTOBER,
            )
            for period, reason in (("08-03", "audit"), ("09-07", "audit"), ("09-08", "audit"), ("09-07", "late data"))
        ),
    )  # fmt: skip
    found = read(book)
    assert [(line.first.date(), line.end.date(), line.reason) for line in found.corrections] == [
        (date(2026, 8, 3), date(2026, 8, 3), "audit"),
        (date(2026, 9, 7), date(2026, 9, 8), "audit"),
        (date(2026, 9, 7), date(2026, 9, 7), "late data"),
    ]
    assert found.usage_amounts.cost_nano == 10_005_000_000
    assert found.correction_amounts.cost_nano == -4_004_000_000
    assert found.amounts.cost_nano == 6_001_000_000
    usage, corrections = found.subtotals
    assert usage.cost + corrections.cost == found.cents.cost == 600
    assert sum(line.cost for line in found.correction_cents) == corrections.cost


def test_what_was_spent_before_goes_on_from_month_to_month(book: ClickHouse) -> None:
    """Spent until the end of a month is spent before the next one: metering's start, every month, corrections too."""
    write(
        book.client,
        "charges",
        entry("2026-08-01T00", 30, 20),
        entry("2026-09-01T00", 3, "2.001"),
        entry("2026-10-01T00", 6, 4),
        entry("2026-08-01T00", -3, -2, "2026-10-09T00", kind="adjustment", booked_month=OCTOBER),
        entry("2026-11-01T00", 600, 400),
    )
    september, october = read(book, month=SEPTEMBER), read(book)
    before = Fraction("1000.005") + 20
    assert september.spent_before_nano == before * 10**9
    assert september.spent_nano == october.spent_before_nano == (before + Fraction("2.001")) * 10**9
    assert october.spent_nano == (before + Fraction("4.001")) * 10**9
    assert october.cap_nano == 1_500_000 * 10**9


def test_balances_to_the_cent_join_over_months(clickhouse: ClickHouse) -> None:
    """What a month has as spent in total is what the next has as spent before, and lines lead from one to the other.

    A third of a cent each month: rounded by itself, each would be nothing, and a cent would come from nowhere. The
    statement of the agreement before it in the chain shows the same cents of it.
    """
    second = {**ACME, "id": "province", "after": "acme-ai", "match": [], "spent_before": "0.0017"}
    described(clickhouse.client, terms(ACME, second), hour("2026-01-01T00"))
    months = [date(2026, month, 1) for month in (6, 7, 8, 9, 10)]
    for month in months:
        for name in ("acme-ai", "province"):
            third = Fraction("0.003333333")
            write(clickhouse.client, "charges", entry(f"{month}T00", 0, third, agreement=name))
            write(clickhouse.client, "charges", entry(f"{month}T01", 0, third / 3, agreement=name, cluster="rorqual"))
    shown = {name: [read(clickhouse, name, month) for month in months] for name in ("acme-ai", "province")}
    for name, statements in shown.items():
        for one, following in zip(statements, [*statements[1:], None], strict=True):
            content = json.loads(as_json(one, "en"))
            spent = {key: Decimal(content["spent"][key]["shown"]) for key in ("before", "in_month", "total")}
            assert spent["before"] + spent["in_month"] == spent["total"]
            assert Decimal(content["total"]["subsidy"]["shown"]) == spent["in_month"]
            assert sum(Decimal(line["subsidy"]["shown"]) for line in content["usage"]["lines"]) == spent["in_month"]
            assert content["total"]["cost"]["shown"] == "0.00"
            if following is not None:
                assert json.loads(as_json(following, "en"))["spent"]["before"] == content["spent"]["total"]
        assert {one.cents.subsidy for one in statements} == {0, 1}, name
    for one, other in zip(shown["acme-ai"], shown["province"], strict=True):
        assert [each.cents for each in one.support] == [one.cents, other.cents]
        assert one.support == other.support


def test_plan_is_that_of_the_end_of_the_month(book: ClickHouse) -> None:
    """Without points of its own, a straight line from the first to the last day of the agreement."""
    days = (date(2028, 3, 31) - date(2026, 1, 1)).days + 1
    until_then = (date(2026, 11, 1) - date(2026, 1, 1)).days
    assert read(book).planned_nano == round(Fraction(1_500_000 * until_then, days) * 10**9)


@pytest.mark.parametrize("unit", ["gpu_hours", "rgu_hours"])
def test_credits_of_hours_say_how_many_are_left(clickhouse: ClickHouse, unit: str) -> None:
    """Usage that ran under the credits counts until they are used up, and not what came after."""
    rule = {"kind": "credits", "unit": unit, "quantity": "10", "used_before": "1"}
    described(clickhouse.client, terms({**ACME, "rule": rule}), hour("2026-01-01T00"))
    column = "gpu_seconds" if unit == "gpu_hours" else "rgu_seconds"

    def used(hours: int) -> Fields:
        return {column: Decimal(hours * 3600)}

    write(
        clickhouse.client,
        "charges",
        entry("2026-09-01T00", 1, 1, rule=f"credits {unit}", **used(2)),
        entry("2026-10-01T00", 1, 1, rule=f"credits {unit}", **used(1)),
        entry("2026-10-01T01", 1, 0, rule="not in force", **used(1)),
    )
    found = read(clickhouse)
    assert (found.granted_nano, found.granted_used_nano) == (36_000 * 10**9, 4 * 3600 * 10**9)
    write(clickhouse.client, "charges", entry("2026-10-02T00", 9, 9, rule=f"credits {unit}", **used(10)))
    assert read(clickhouse).granted_used_nano == 36_000 * 10**9


def test_agreements_that_support_the_same_usage_are_told(clickhouse: ClickHouse) -> None:
    """Each of the chain shows all of it, in the order of paying, and what the recipient pays in the end."""
    second = {**ACME, "id": "province", "after": "acme-ai", "match": [], "rule": {"kind": "cost_share", "share": "1/2"}}
    third = {**second, "id": "city", "after": "province"}
    alone = {**ACME, "id": "alone", "match": [{"namespace": "alone-*"}]}
    described(clickhouse.client, terms(ACME, third, second, alone), hour("2026-01-01T00"))
    write(
        clickhouse.client,
        "charges",
        entry("2026-10-01T00", 9, 6),
        entry("2026-10-01T00", 0, "1.5", agreement="province", rule="cost_share 1/2"),
        entry("2026-10-01T00", 0, "0.755", agreement="city", rule="cost_share 1/2"),
        entry("2026-09-01T00", 0, 99, agreement="city"),
    )
    for name in ("acme-ai", "province", "city"):
        chain = read(clickhouse, name).support
        assert [one.agreement.id for one in chain] == ["acme-ai", "province", "city"]
        # The last: from 1,099.005, shown as 1,099.01, to 1,099.76.
        assert [one.cents for one in chain] == [Cents(900, 600), Cents(0, 150), Cents(0, 75)]
        assert sum(one.amounts.charge_nano for one in chain) == 745_000_000
    assert read(clickhouse, "province").amounts == Amounts(0, 1_500_000_000, -1_500_000_000)
    assert read(clickhouse, "alone").support == []


def test_coverage_and_hours_are_those_that_the_agreement_used(book: ClickHouse) -> None:
    """The newest finding of each hour and cluster with usage; hours are final when their latest settlement says so."""
    write(
        book.client,
        "charges",
        entry("2026-10-01T00", 1, 1),
        entry("2026-10-01T01", 1, 1),
        entry("2026-10-01T01", 1, 1, cluster="rorqual"),
        entry("2026-09-30T00", 1, 1, "2026-10-09T00", booked_month=OCTOBER, kind="adjustment"),
    )
    observed(book.client, "2026-10-01T00", "fir", 1000, 7200, "2026-10-01T02")
    observed(book.client, "2026-10-01T00", "fir", 7100, 7200, "2026-10-01T03")
    observed(book.client, "2026-10-01T01", "fir", 3000, 3600)
    observed(book.client, "2026-10-01T01", "rorqual", 10, 20)
    observed(book.client, "2026-10-01T02", "fir", 1, 3600)
    observed(book.client, "2026-10-01T00", "rorqual", 1, 3600)
    observed(book.client, "2026-09-30T00", "fir", 1, 3600)
    settle(book.client, "2026-10-01T00", "2026-10-01T01", status="provisional")
    write(
        book.client,
        "settlements",
        {
            "period_start": hour("2026-10-01T00"), "revision": 2, "recorded_at": hour("2026-10-01T07"),
            "status": "final", "reason": "settled", "reference_at": hour("2026-10-01T07"), "entries": 0,
            "gpu_seconds": Decimal(0),
            "energy_j": Decimal(0), "tokens": 0,
        },
    )  # fmt: skip
    found = read(book)
    covered = [(one.cluster, one.hours, one.observed_seconds_nano, one.expected_seconds_nano) for one in found.coverage]
    assert covered == [("fir", 2, 10_100 * 10**9, 10_800 * 10**9), ("rorqual", 1, 10 * 10**9, 20 * 10**9)]
    assert (found.final_hours, found.provisional_hours) == (1, 1)


def test_changes_say_when_why_and_by_how_much(book: ClickHouse) -> None:
    """First settlements are no changes; revisions and adjustments are gathered by day and reason."""
    write(
        book.client,
        "charges",
        entry("2026-10-01T00", 9, 6),
        entry("2026-10-01T00", 3, 2, "2026-10-02T05", kind="revision", reason="late data"),
        entry("2026-10-01T03", 3, 2, "2026-10-02T06", kind="revision", reason="late data"),
        entry("2026-10-01T03", -3, -2, "2026-10-03T06", kind="revision", reason="late data"),
        entry("2026-09-01T03", 1, 1, "2026-10-03T07", kind="adjustment", reason="audit", booked_month=OCTOBER),
    )
    changes = [
        (one.kind, one.reason, one.recorded_at, one.first, one.end, one.hours, one.amounts.cost_nano)
        for one in read(book).changes
    ]
    assert changes == [
        ("revision", "late data", hour("2026-10-02T06"), hour("2026-10-01T00"), hour("2026-10-01T04"), 2, 6 * 10**9),
        ("revision", "late data", hour("2026-10-03T06"), hour("2026-10-01T03"), hour("2026-10-01T04"), 1, -3 * 10**9),
        ("adjustment", "audit", hour("2026-10-03T07"), hour("2026-09-01T03"), hour("2026-09-01T04"), 1, 10**9),
    ]


def test_a_statement_as_of_a_moment_never_changes(book: ClickHouse) -> None:
    """Whatever is recorded later, of figures, terms, coverage or closing: what was believed stays, to the byte."""
    client = book.client
    write(client, "charges", entry("2026-10-01T00", 9, 6), entry("2026-09-01T00", 9, 6))
    settle(client, "2026-10-01T00", status="provisional")
    observed(client, "2026-10-01T00", "fir", 3500, 3600)
    first = read(book)
    as_of = f"{first.recorded_until:%Y-%m-%dT%H:%M:%S.%f}"[:-3]
    believed = as_json(first, "en")

    write(
        client,
        "charges",
        entry("2026-10-01T00", 1, 1, "2026-10-02T00", kind="revision"),
        entry("2026-09-01T00", 1, 1, "2026-10-02T00", kind="adjustment", booked_month=OCTOBER),
    )
    settle(client, "2026-10-01T00", recorded="2026-10-02T00:10")
    observed(client, "2026-10-01T00", "fir", 3600, 3600, "2026-10-02T00:10")
    described(client, terms({**ACME, "cap": "7", "recipient": "Acme Two"}), hour("2026-10-02T01"))
    close(client, "2026-10", "2026-11-06T00")

    assert as_json(read(book, until=as_of), "en") == believed
    now = read(book)
    assert now.agreement.recipient == "Acme Two"
    assert now.amounts.cost_nano == 11 * 10**9
    assert as_json(read(book, until=f"{now.recorded_until:%Y-%m-%dT%H:%M:%S}"), "en") == as_json(now, "en")


def test_a_closed_month_stays_as_it_was_closed(book: ClickHouse) -> None:
    """Late data found after the closing change the next month: not the figures of this one, nor what describes them."""
    client = book.client
    write(client, "charges", entry("2026-09-01T00", 9, 6))
    settle(client, "2026-09-01T00")
    observed(client, "2026-09-01T00", "fir", 3500, 3600)
    close(client, "2026-09", "2026-10-06T00")
    closed = read(book, month=SEPTEMBER)
    assert (closed.closed_at, closed.recorded_until) == (hour("2026-10-06T00"), hour("2026-10-06T00"))

    write(client, "charges", entry("2026-09-01T00", 1, 1, "2026-10-07T00", kind="adjustment", booked_month=OCTOBER))
    settle(client, "2026-09-01T00", recorded="2026-10-07T00", status="provisional")
    observed(client, "2026-09-01T00", "fir", 3600, 3600, "2026-10-07T00")
    described(client, terms({**ACME, "recipient": "Acme Two"}), hour("2026-10-07T00"))

    assert as_json(read(book, month=SEPTEMBER), "fr") == as_json(closed, "fr")
    assert read(book, month=SEPTEMBER, until="2026-10-05T00").closed_at is None
    assert read(book).amounts.cost_nano == 10**9


def test_editions_count_the_moments_of_recording(book: ClickHouse) -> None:
    """Any entry that changes a figure makes another edition, also one of what was spent before; no other one does."""
    write(book.client, "charges", entry("2026-10-01T00", 9, 6), entry("2026-10-01T00", 9, 6, deployment="two"))
    assert read(book).edition == 1
    write(
        book.client,
        "charges",
        entry("2026-09-01T00", 9, 6),
        entry("2026-11-01T00", 9, 6),
        entry("2026-10-01T00", 9, 6, "2026-10-02T00", agreement="other-ai"),
    )
    assert read(book).edition == 1
    write(book.client, "charges", entry("2026-10-01T00", 1, 1, "2026-10-03T00", kind="revision"))
    assert read(book).edition == 2
    assert read(book, until="2026-10-02T12").edition == 1
    write(book.client, "charges", entry("2026-09-30T23", 1, 1, "2026-10-04T00", kind="revision"))
    assert read(book).edition == 3


def test_the_query_in_it_gives_its_totals(book: ClickHouse) -> None:
    """The SQL that a statement names is the proof of its totals, also when later entries exist."""
    write(book.client, "charges", entry("2026-10-01T00", THIRD * 3, THIRD * 2), entry("2026-10-02T00", THIRD, 0))
    found = read(book)
    write(book.client, "charges", entry("2026-10-02T00", 5, 5, "2026-10-28T00", kind="revision"))
    rows = book.client.query(found.totals_query).result_rows
    assert rows == [(nine(4 * THIRD), nine(2 * THIRD), nine(2 * THIRD))]
    assert found.amounts.cost_nano == 4 * THIRD * 10**9


def test_anyone_can_compute_the_digest(book: ClickHouse) -> None:
    """The rows in the JSON statement give the digest, and it covers every amount."""
    write(book.client, "charges", entry("2026-10-01T00", 9, 6, workload="a\tb’é"))
    digest = json.loads(as_json(read(book), "en"))["digest"]
    rows = "".join(f"{row}\n" for row in digest["rows"])
    assert digest["value"] == hashlib.sha256(rows.encode()).hexdigest()
    assert json.loads(digest["rows"][1])[-3:] == ["9.000000000", "6.000000000", "3.000000000"]
    write(book.client, "charges", entry("2026-10-01T00", "0.000000001", 0, "2026-10-03T00", kind="revision"))
    assert read(book).digest != digest["value"]


def test_a_month_without_entries_is_a_statement_without_lines(book: ClickHouse) -> None:
    """Nothing booked is an answer, not an error."""
    found = read(book)
    assert (found.lines, found.corrections, found.changes, found.coverage) == ([], [], [], [])
    assert (found.amounts, found.cents, found.edition) == (Amounts(), Cents(0, 0), 0)
    assert found.recorded_until == hour("2026-10-01T00")
    assert as_json(read(book, until="2026-10-01T00"), "en") == as_json(found, "en")


def test_mistakes_say_what_to_do(book: ClickHouse) -> None:
    """An unknown agreement, a month to come, a moment before any terms, two currencies."""
    with pytest.raises(Mistake, match='no agreement has the id "acme": did you mean "acme-ai"'):
        read(book, "acme")
    with pytest.raises(Mistake, match=r'no agreement has the id "zzz": write one of acme-ai\.'):
        read(book, "zzz")
    to_come = (datetime.now(UTC) + timedelta(days=40)).date().replace(day=1)
    with pytest.raises(Mistake, match="has not begun: name a month that has"):
        open_month(book.client, to_come)
    with pytest.raises(Mistake, match="2026-10 had not begun on 2026-09-30: name a later --as-of"):
        open_month(book.client, OCTOBER, hour("2026-09-30T00"))
    with pytest.raises(Mistake, match="reference apply"):
        open_month(book.client, date(2025, 10, 1), hour("2025-11-01T00"))
    write(book.client, "charges", entry("2026-10-01T00", 9, 6, currency="USD"))
    with pytest.raises(Mistake, match="are in USD, and its programme counts in CAD"):
        read(book)


def test_every_agreement_means_every_one(clickhouse: ClickHouse) -> None:
    """All that are described, and never silently without one that has entries."""
    other = {**ACME, "id": "other-ai", "match": [{"namespace": "other-*"}]}
    described(clickhouse.client, terms(ACME, other, programmes=(ACCESS_FUND,)), hour("2026-01-01T00"))
    write(clickhouse.client, "charges", entry("2026-10-01T00", 9, 6))
    assert agreements(open_month(clickhouse.client, OCTOBER)) == ["acme-ai", "other-ai"]
    write(clickhouse.client, "charges", entry("2026-10-01T00", 9, 6, agreement="forgotten"))
    with pytest.raises(Mistake, match='2026-10 has entries of "forgotten"'):
        agreements(open_month(clickhouse.client, OCTOBER))
