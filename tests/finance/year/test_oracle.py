"""Protects the second calculation itself: small cases worked out on paper, and that it loses nothing over the year."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.finance.year import economy, ledger, oracle
from tests.finance.year.oracle import Line

FACTS = oracle.Facts(economy.config())
NIGHT = datetime(2026, 7, 9, 10, tzinfo=UTC)
"""03:00 in Vancouver."""


def row(cluster: str, product: str, start: datetime = NIGHT, **more: Any) -> dict[str, Any]:
    """A whole device over a minute, 36 kJ."""
    base = {"cluster": cluster, "gpu_model": product, "ts_start": start, "minute": start, "slice": ""}
    names = {"workload": "w", "deployment": "", "agreement": "", "busy_seconds": Decimal(0), "nano": 0}
    return {**base, **names, "gpu_seconds": Decimal(60), "energy_j": Decimal(36_000), **more}


@pytest.mark.parametrize(
    ("start", "tariff"),
    [
        (datetime(2026, 7, 9, 10, tzinfo=UTC), "0.0612"),  # 03:00 in summer
        (datetime(2026, 7, 9, 23, 29, tzinfo=UTC), "0.0776"),  # 16:29
        (datetime(2026, 7, 9, 23, 30, tzinfo=UTC), "0.1408"),  # 16:30, a Thursday
        (datetime(2026, 7, 11, 23, 30, tzinfo=UTC), "0.0776"),  # a Saturday
        (datetime(2026, 7, 9, 6, 0, tzinfo=UTC), "0.0612"),  # 23:00 of the day before
    ],
)
def test_a_row_of_an_owned_device(start: datetime, tariff: str) -> None:
    """(42000 - 3500) / (5 x 8766) + 0.35 per hour, 1/60 h; and 0.01 kWh x 1.08 x tariff."""
    per_hour = Fraction(38_500, 43_830) + Fraction("0.35")
    expected = per_hour / 60 + Fraction("0.0108") * Fraction(tariff)
    assert oracle.row_cost(FACTS, row("fir", economy.H100, start)) == (round(expected * 10**9), "CAD")


def test_a_row_of_a_rented_device_and_of_one_without_price() -> None:
    """2.65 an hour is 0.044166667 a minute; energy is in it."""
    assert oracle.row_cost(FACTS, row("oak", economy.MI300X)) == (44_166_667, "USD")
    assert oracle.row_cost(FACTS, row("rorqual", economy.L40S)) == (0, "")
    assert oracle.row_cost(FACTS, row("oak", economy.MI300X, datetime(2027, 1, 25, tzinfo=UTC))) == (0, "")
    assert oracle.row_cost(FACTS, row("oak", economy.MI300X, datetime(2027, 2, 1, tzinfo=UTC))) == (58_166_667, "CAD")


def test_the_inverse_of_a_rate_is_exact() -> None:
    """Canadian dollars into euro by the rate of the other direction."""
    assert FACTS.rate("CAD", "EUR", NIGHT.date()) == 1 / Fraction("1.6021")


def test_parts_go_to_the_largest_remainders() -> None:
    """10 by 1:1:1 is 4, 3, 3; by 1:5 is 2, 8 (1.67, 8.33)."""
    assert oracle._parts(10, [1, 1, 1]) == [4, 3, 3]
    assert oracle._parts(10, [1, 5]) == [2, 8]


def test_three_agreements_in_a_row_at_home() -> None:
    """Of 1000: 2/3 is 667; a fifth would be 200, but all may pay 750, so 83; for the third nothing is left of that."""
    lines = oracle._supported(FACTS, Line(NIGHT, "fir", "", "acme", cost=1000), {})
    assert [(line.agreement, line.subsidy, line.charge) for line in lines] == [
        ("acme", 667, 333),
        ("acme-province", 83, -83),
        ("acme-alliance", 0, 0),
    ]


def test_three_agreements_in_a_row_abroad() -> None:
    """Of 1000: half, a tenth, and a quarter of the 400 that are left; a year later only a quarter of everything."""
    lines = oracle._supported(FACTS, Line(NIGHT, "oak", "", "acme", cost=1000), {})
    assert [line.subsidy for line in lines] == [500, 100, 100]
    lines = oracle._supported(FACTS, Line(NIGHT.replace(2027), "oak", "", "acme", cost=1000), {})
    assert [(line.rule, line.subsidy) for line in lines] == [
        ("cost_share 0", 0),
        ("after acme, cost_share 0", 0),
        ("after acme, cost_share 1/4", 250),
    ]


def test_tokens_have_a_price_of_each_kind() -> None:
    """delta pays at most 0.021 x 2 + 0.0033 x 1 + 0.066000001 x 1 for so many million tokens: 0.111300001."""
    used = Line(NIGHT, "rorqual", "open-32b", "delta", cost=10**9)
    used.prompt, used.cached, used.generation = 3_000_000, 1_000_000, 1_000_000
    (line,) = oracle._supported(FACTS, used, {})
    assert (line.charge, line.subsidy) == (111_300_001, 888_699_999)


def test_hours_that_are_used_up_pay_a_part() -> None:
    """5.042 hours are left: a line of 10 gets 50.42 % of its cost, the next one nothing."""
    paid: dict[str, oracle._Paid] = {}
    ten = 10 * 3600 * 10**9
    for expected in (504, 0):
        (line,) = oracle._supported(FACTS, Line(NIGHT, "rorqual", "", "glacier", gpu_ns=ten, cost=1000), paid)
        assert line.subsidy == expected


def test_reference_units_of_a_slice_count_the_slice() -> None:
    """A 3g.40gb slice is 6.1 units while it is held, 3/7 of a device; another slice its share of 12.2."""
    part = row("rorqual", economy.H100, slice="3g.40gb/1", gpu_seconds=Decimal("25.714285714"))
    assert oracle._sum(FACTS, [part], NIGHT).rgu_ns == 365_999_999_996  # 366 s less what 3/7 of 60 s was floored by
    other = row("rorqual", economy.H100, slice="1g.10gb/7", gpu_seconds=Decimal("8.571428571"))
    assert oracle._sum(FACTS, [other], NIGHT).rgu_ns == 104_571_428_566


def test_nothing_is_lost_over_the_year() -> None:
    """Subsidies and charges make the costs of what is charged, and time and energy are those of the ledger."""
    rows = ledger.year() + ledger.late()
    lines = oracle.calculate(rows, lambda _: FACTS).lines
    charged = [line for line in lines if line.category == "charged"]
    assert sum(line.cost for line in charged) == sum(line.subsidy + line.charge for line in charged)
    assert sum(line.gpu_ns for line in lines) == sum(int(row["gpu_seconds"] * 10**9) for row in rows.gpu)
    assert sum(line.energy_mj for line in lines) == sum(int(row["energy_j"] * 1000) for row in rows.gpu)
