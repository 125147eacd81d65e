"""The pool report from the charges of a real book, against an independent calculation with fractions."""

import csv
import io
import json
import random
from collections import defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from typer.testing import CliRunner

from compose.finance import pool
from compose.finance.report_commands import group
from compose.options import Mistake
from tests.conftest import ClickHouse
from tests.finance.reporting import DAY, HOUR, JULY, RECORDED, charge, config, record, settle

MONTH = date(2026, 7, 1)
COUNTRY = {"acme": "CA", "lab": "CA", "brit": "GB"}
STANDS = {"fir": "CA", "elm": "CA", "oak": "GB", "ash": "FR"}
REGION = {"fir": "CA-BC", "elm": "CA-QC", "oak": "GB-ENG", "ash": "FR-IDF"}
PUE: dict[str, Fraction | None] = {
    "fir": Fraction("1.08"),
    "elm": Fraction("1.3"),
    "oak": Fraction("1.25"),
    "ash": None,
}
CLASS = {
    ("CA", "fir"): "domestic", ("CA", "elm"): "foreign", ("CA", "oak"): "allied", ("CA", "ash"): "allied",
    ("GB", "fir"): "allied", ("GB", "elm"): "foreign", ("GB", "oak"): "domestic", ("GB", "ash"): "allied",
}  # fmt: skip


def _entries() -> list[dict[str, Any]]:
    """A month of random entries, corrections and idle time among them, and an hour of each month beside it."""
    draw = random.Random(7)

    def entry(agreement: str, at: Any, **more: Any) -> dict[str, Any]:
        return charge(
            agreement, at, draw.randrange(10**12), cost_nano=draw.randrange(10**12, 2 * 10**12),
            cluster=draw.choice(sorted(STANDS)), gpu_seconds=Decimal(draw.randrange(10**13)).scaleb(-9),
            rgu_seconds=Decimal(draw.randrange(10**14)).scaleb(-9), energy_j=Decimal(draw.randrange(10**11)).scaleb(-3),
            **more,
        )  # fmt: skip

    hours = [JULY + draw.randrange(31 * 24) * HOUR for _ in range(150)]
    entries = [entry(draw.choice(("acme", "lab", "brit", "")), hour) for hour in hours]
    entries += [entry("acme", hour, kind="adjustment", booked_month=date(2026, 9, 1)) for hour in hours[:5]]
    return [*entries, entry("brit", JULY - HOUR), entry("brit", JULY + 31 * DAY)]


def _worth(day: date) -> Fraction:
    """CAD for one GBP."""
    return Fraction("1.75") if day >= date(2026, 7, 15) else Fraction("1.7312")


def _of_july(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["period_start"].month == 7]


def _nano(amount: Decimal) -> int:
    return int(amount * 10**9)


def test_usage_between_countries(clickhouse: ClickHouse) -> None:
    """Each pair's hours, energy and cost in both currencies, to the nano-unit: daily sums at the day's rate."""
    record(clickhouse.client, config())
    entries = _entries()
    settle(clickhouse.client, entries)
    (account,) = pool.report(clickhouse.client, MONTH).accounts

    figures: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    daily: dict[tuple[str, str, str, date, str], int] = defaultdict(int)
    for entry in _of_july(entries):
        if entry["agreement"]:
            pair = COUNTRY[entry["agreement"]], STANDS[entry["cluster"]]
            for place, name in enumerate(("gpu_seconds", "rgu_seconds", "energy_j")):
                figures[pair][place] += _nano(entry[name])
            daily[(*pair, entry["cluster"], entry["period_start"].date(), entry["currency"])] += _nano(entry["cost"])
    costs: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (recipient, stands, _, day, currency), cost in daily.items():
        for country, wanted in (("CA", "CAD"), ("GB", "GBP")):
            if country in (recipient, stands):
                factor = {"CAD": Fraction(1), "GBP": _worth(day)}
                costs[recipient, stands][wanted] += round(cost * factor[currency] / factor[wanted])

    assert set(account.used) == set(figures)
    for found_pair, found in account.used.items():
        assert [found.gpu_ns, found.rgu_ns, found.energy_mj * 10**6] == figures[found_pair]
        assert found.cost_nano == costs[found_pair]
    lent = account.balances["CA", "GB"]
    assert lent.gpu_ns == figures["GB", "CA"][0] - figures["CA", "GB"][0]
    assert lent.cost_nano == {
        currency: costs["GB", "CA"][currency] - costs["CA", "GB"][currency] for currency in ("CAD", "GBP")
    }


def test_shares_of_capacity(clickhouse: ClickHouse) -> None:
    """Domestic, allied and foreign shares of each country's recipients, exact; they add up to 1."""
    record(clickhouse.client, config())
    entries = _entries()
    settle(clickhouse.client, entries)
    (account,) = pool.report(clickhouse.client, MONTH).accounts
    for country, shares in account.shares.items():
        ours = [entry for entry in _of_july(entries) if COUNTRY.get(entry["agreement"]) == country]
        for found, name in ((shares.gpu, "gpu_seconds"), (shares.rgu, "rgu_seconds")):
            assert found is not None
            whole = sum(Fraction(entry[name]) for entry in ours)
            for kind, share in found.items():
                part = sum(Fraction(entry[name]) for entry in ours if CLASS[country, entry["cluster"]] == kind)
                assert share == part / whole
            assert sum(found.values()) == 1


def test_energy_and_carbon_of_regions(clickhouse: ClickHouse) -> None:
    """All energy, idle too; each edition of the intensity by itself; no figure where PUE or intensity is unknown."""
    record(clickhouse.client, config())
    entries = _entries()
    settle(clickhouse.client, entries)
    found = {(row.region, row.vintage): row for row in pool.report(clickhouse.client, MONTH).emissions}
    assert set(found) == {
        ("CA-BC", "2023"), ("CA-BC", "2024"), ("CA-QC", None), ("GB-ENG", "2024"), ("FR-IDF", None),
    }  # fmt: skip
    for (region, vintage), row in found.items():
        drawn = [
            (Fraction(entry["energy_j"]), PUE[entry["cluster"]])
            for entry in _of_july(entries)
            if REGION[entry["cluster"]] == region
            and (region != "CA-BC" or (entry["period_start"].date() >= date(2026, 7, 20)) == (vintage == "2024"))
        ]
        facility_j = None if region == "FR-IDF" else sum((energy * (pue or 0) for energy, pue in drawn), Fraction(0))
        grams = {"2023": "11.3", "2024": "207.05" if region == "GB-ENG" else "15.5"}
        assert row.energy_mj == 1000 * sum(energy for energy, _ in drawn)
        assert row.facility_mj == (None if facility_j is None else 1000 * facility_j)
        assert row.carbon_g == (facility_j / 3_600_000 * Fraction(grams[vintage]) if facility_j and vintage else None)


def test_views_agree_with_the_report(clickhouse: ClickHouse) -> None:
    """SQL tells the same hours, costs, energy and carbon, rounded down to nine places."""
    record(clickhouse.client, config())
    entries = _entries()
    settle(clickhouse.client, entries)
    report = pool.report(clickhouse.client, MONTH)
    used: dict[tuple[str, str], list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 3)
    charged = Decimal(0)
    for row in clickhouse.client.query("SELECT * FROM pool_usage WHERE month = '2026-07-01'").named_results():
        pair = row["recipient_country"], row["cluster_country"]
        hours = [Fraction(row[name]) for name in ("gpu_hours", "rgu_hours", "energy_kwh")]
        used[pair] = [one + other for one, other in zip(used[pair], hours, strict=True)]
        charged += row["cost"]
        assert row["cluster"] in STANDS
    assert charged == sum(entry["cost"] for entry in _of_july(entries) if entry["agreement"])
    for found_pair, figures in report.accounts[0].used.items():
        exact = (
            Fraction(figures.gpu_ns, 3600 * 10**9), Fraction(figures.rgu_ns, 3600 * 10**9),
            Fraction(figures.energy_mj, 3_600_000_000),
        )  # fmt: skip
        for seen, hours_exact in zip(used[found_pair], exact, strict=True):
            assert 0 <= hours_exact - seen < Fraction(6, 10**9)  # at most a row for each cluster and currency
    rows = clickhouse.client.query("SELECT * FROM energy_by_region WHERE month = '2026-07-01'").named_results()
    regions = {(row["region"], row["vintage"] or None): row for row in rows}
    assert len(regions) == len(report.emissions)
    for emission in report.emissions:
        row = regions[emission.region, emission.vintage]
        assert 0 <= Fraction(emission.energy_mj, 3_600_000_000) - Fraction(row["energy_kwh"]) < Fraction(1, 10**9)
        if emission.facility_mj is None:
            assert row["facility_kwh"] is None
        else:
            assert 0 <= emission.facility_mj / 3_600_000_000 - Fraction(row["facility_kwh"]) < Fraction(1, 10**9)
        if emission.carbon_g is None:
            assert row["carbon_kg"] is None
        else:
            assert 0 <= emission.carbon_g / 1000 - Fraction(row["carbon_kg"]) < Fraction(1, 10**9)


def test_report_as_of_a_moment(clickhouse: ClickHouse) -> None:
    """Entries that were recorded afterwards change today's report and not that of then."""
    record(clickhouse.client, config())
    settle(clickhouse.client, _entries())
    before = pool.report(clickhouse.client, MONTH, RECORDED)
    settle(clickhouse.client, [charge("brit", JULY, 5, gpu_seconds=Decimal(9), recorded_at=RECORDED + HOUR)])
    assert pool.report(clickhouse.client, MONTH, RECORDED) == before
    after = pool.report(clickhouse.client, MONTH).accounts[0].used["GB", "CA"]
    assert after.gpu_ns == before.accounts[0].used["GB", "CA"].gpu_ns + 9 * 10**9


def test_what_is_not_described_is_a_mistake(clickhouse: ClickHouse) -> None:
    """A cluster or an agreement without a country belongs to no pair; nothing is left out in silence."""
    record(clickhouse.client, config())
    settle(clickhouse.client, [charge("acme", JULY, 5, cluster="elsewhere")])
    with pytest.raises(Mistake, match="name the cluster elsewhere"):
        pool.report(clickhouse.client, MONTH)
    settle(clickhouse.client, [charge("nobody", JULY + 31 * DAY, 5)])
    with pytest.raises(Mistake, match="name the agreement nobody"):
        pool.report(clickhouse.client, date(2026, 8, 1))


def _invoke(*words: str) -> str:
    answer = CliRunner().invoke(group, words, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_command_in_each_format(clickhouse: ClickHouse) -> None:
    """JSON and CSV hold the same figures; the table says what is not known, and what the classes mean."""
    record(clickhouse.client, config())
    settle(clickhouse.client, _entries())
    words = ("pool", "--month", "2026-07", "--clickhouse", clickhouse.url)
    document = json.loads(_invoke(*words, "--format", "json"))
    rows = list(csv.DictReader(io.StringIO(_invoke(*words, "--format", "csv"))))
    (account,) = document["pools"]
    for use in account["usage"]:
        chosen = {
            (row["measure"], row["unit"]): row["value"]
            for row in rows
            if row["section"] == "usage"
            and (row["recipient_country"], row["cluster_country"]) == (use["recipient_country"], use["cluster_country"])
        }
        assert chosen[("gpu_hours", "hours")] == use["gpu_hours"]
        assert {unit: cost for (measure, unit), cost in chosen.items() if measure == "cost"} == use["cost"]
    for shares in account["shares"]:
        assert sum(Decimal(share) for share in shares["gpu_hours"].values()) == 1
        assert sum(Decimal(share) for share in shares["rgu_hours"].values()) == 1
    unknown = [row["value"] for row in rows if row["region"] == "CA-QC" and row["measure"] == "carbon_kg"]
    assert unknown == [""]
    assert [row["carbon_kg"] for row in document["regions"] if row["region"] == "CA-QC"] == [None]
    assert [row["facility_kwh"] for row in document["regions"] if row["region"] == "FR-IDF"] == [None]
    table = _invoke(*words)
    assert "not known" in table
    assert "domestic: the cluster stands in the recipient's country and is run from there" in table


def test_command_without_a_pool(clickhouse: ClickHouse) -> None:
    """Energy and carbon are told all the same."""
    record(clickhouse.client, config(pool=[]))
    settle(clickhouse.client, [charge("acme", JULY, 5, energy_j=Decimal(3_600_000))])
    table = _invoke("pool", "--month", "2026-07", "--clickhouse", clickhouse.url)
    assert "no [[pool]] is described" in table
    assert "1.08" in table
