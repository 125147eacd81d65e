"""Protects what is said of the last minutes: cost per token, tokens against energy, power and coverage."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest

from schemas.economics import UnitCost, UnitCosts
from schemas.money import NANO
from streams.alert_conditions import Condition, Stake
from streams.alert_rates import BASELINE_LEAST, CostRow, Rates
from tests.streams.economy import MINUTE, config

MS = 60_000
SETTLED = 1  # minutes by which usage must be further
CENT = NANO // 100


def rates(**changes: Any) -> Rates:
    """Rates of a small fabric; a US dollar is 1.40 CAD."""
    tenths = {"CAD": 10, "USD": 14}
    return Rates(config(**changes), lambda nano, base, _: nano * tenths[base] // 10 if base in tenths else None)


def minute(
    number: int, *, tokens: int = 1_000_000, cost_nano: int = 7 * CENT, energy_mj: int = 10**9, gpus: float = 10,
    busy: float = 0.9, currency: str = "CAD", model: str = "small", version: int = 1, cluster: str = "fir",
) -> UnitCosts:  # fmt: skip
    """The minute of that number, in which one model had so much of everything."""
    gpu_ns = round(gpus * 60 * NANO)
    line = UnitCost(
        model=model, agreement="", programme="", gpu_ns=gpu_ns, busy_ns=round(gpu_ns * busy), energy_mj=energy_mj,
        cost_nano=cost_nano, usage_cost_nano=0, prompt_tokens=tokens, cached_tokens=0, generation_tokens=0,
        subsidy_nano=0, charge_nano=0, currency=currency,
    )  # fmt: skip
    at_ms = MINUTE + number * MS
    return UnitCosts(
        cluster=cluster, minute_ms=at_ms, version=version, ts_start_ms=at_ms, ts_end_ms=at_ms + MS, lines=[line]
    )


def see(given: Rates, minutes: Iterable[UnitCosts]) -> None:
    """Take minutes in."""
    for one in minutes:
        given.saw(one)


def found(given: Rates, rule: str) -> list[Condition]:
    """Conditions of a rule that fire."""
    return [condition for condition in given.conditions() if condition.fires and condition.rule == rule]


def goes_on(given: Rates, rule: str) -> bool:
    """Whether one that is open goes on, and none would begin."""
    return [condition.fires for condition in given.conditions() if condition.rule == rule] == [False]


# ---- cost per token --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cents_per_mtok", "fires"), [(4, False), (5, False), (10, False), (11, True)])
def test_cost_above_the_band(cents_per_mtok: int, fires: bool) -> None:
    """The band of the national plan, CAD 0.05 to 0.10 per million tokens, its end inside. Cheaper is no fault."""
    given = rates()
    given.saw(minute(0, cost_nano=cents_per_mtok * CENT))
    assert bool(found(given, "cost_per_mtok")) == fires


def test_cost_in_words_and_money() -> None:
    """What an hour of it costs above the band."""
    given = rates()
    given.saw(minute(0, cost_nano=25 * CENT))
    (condition,) = found(given, "cost_per_mtok")
    assert (condition.subject, condition.cluster, condition.model) == ("fir/small", "fir", "small")
    assert condition.at_stake == Stake(15 * CENT * 60, "CAD")
    assert condition.words().en == "a million tokens of small on fir cost 0.250 CAD, above the band 0.05 to 0.10"
    assert condition.words().fr == (
        "un million de jetons de small sur fir coûte 0,250 CAD, au-dessus de la fourchette de 0,05 à 0,10"
    )


def test_cost_goes_on_until_it_is_well_inside() -> None:
    """Hysteresis: 0.096 keeps an alert, 0.095 and less ends it."""
    given = rates()
    given.saw(minute(0, cost_nano=96 * CENT // 10))
    assert goes_on(given, "cost_per_mtok")
    given.saw(minute(0, cost_nano=95 * CENT // 10, version=2))
    assert list(given.conditions()) == []


def test_cost_in_another_currency() -> None:
    """The band is in CAD: 0.08 USD are 0.112 CAD. Without an exchange rate nothing is said."""
    given = rates()
    given.saw(minute(0, cost_nano=8 * CENT, currency="USD"))
    (condition,) = found(given, "cost_per_mtok")
    assert condition.value == pytest.approx(0.112)
    given.saw(minute(0, cost_nano=8 * NANO, currency="GBP", version=2))
    assert not found(given, "cost_per_mtok")


def test_cost_is_judged_on_finished_minutes_once_there_are_any() -> None:
    """The first seconds of a minute have cost but hardly tokens: they must not raise an alarm."""
    given = rates()
    see(given, [minute(0), minute(1), minute(2, tokens=20_000)])
    assert not found(given, "cost_per_mtok")


def test_a_minute_long_past_is_not_judged_again() -> None:
    """Rows that come late change what a minute cost hours ago; what is judged are the last minutes."""
    given = rates()
    see(given, [minute(number) for number in range(80)])
    given.saw(minute(3, cost_nano=7000 * NANO, version=2))
    assert not found(given, "cost_per_mtok")


def test_an_older_state_changes_nothing() -> None:
    """Nor does the same again."""
    given = rates()
    given.saw(minute(0, cost_nano=25 * CENT, version=5))
    before = [condition.value for condition in given.conditions()]
    given.saw(minute(0, cost_nano=25 * CENT, version=5))
    given.saw(minute(0, cost_nano=1 * CENT, version=4))
    assert [condition.value for condition in given.conditions()] == before == [0.25]


# ---- tokens and energy -----------------------------------------------------------------------------------------------


def hour(given: Rates, minutes: int = 60, **last: Any) -> None:
    """So many ordinary minutes, five others, and the one that it takes for those to be settled."""
    see(given, [minute(number) for number in range(minutes)])
    see(given, [minute(minutes + number, **last) for number in range(5)])
    given.saw(minute(minutes + 4 + SETTLED))


@pytest.mark.parametrize(
    ("tokens", "energy_mj", "fires"),
    [
        (499_999, 10**9, True),
        (500_000, 10**9, False),
        (0, 10**9, True),
        (0, 799_999_999, False),  # less work
        (1_000_000, 10**9, False),
    ],
)
def test_tokens_dropped(tokens: int, energy_mj: int, fires: bool) -> None:
    """Half of the tokens at the same power is a fault; fewer tokens at less power is less work."""
    given = rates()
    hour(given, tokens=tokens, energy_mj=energy_mj)
    assert bool(found(given, "tokens_dropped")) == fires
    assert not found(given, "energy_without_tokens")


def test_tokens_dropped_in_words_and_money() -> None:
    """What is paid for nothing: the share of the cost that yields no tokens."""
    given = rates()
    hour(given, tokens=250_000)
    (condition,) = found(given, "tokens_dropped")
    assert (condition.subject, condition.model, condition.value, condition.threshold) == (
        "fir/small",
        "small",
        0.25,
        0.5,
    )
    assert condition.at_stake == Stake(7 * CENT * 60 * 3 // 4, "CAD")
    assert condition.words().en == (
        "small on fir yields 4,167 tokens per second where it yielded 16,667 in the hour before, at the same power"
    )
    given = rates()
    hour(given, tokens=550_000)
    assert goes_on(given, "tokens_dropped")


def test_tokens_drop_only_from_what_is_known() -> None:
    """After a start there is no hour to compare with; what the book has of it counts."""
    given = rates()
    hour(given, minutes=BASELINE_LEAST - 1, tokens=0)
    assert not found(given, "tokens_dropped")
    given = rates()
    rows = [
        CostRow("fir", MINUTE + number * MS, "small", "CAD", 600 * NANO, 500 * NANO, 10**9, 1_000_000, 7 * CENT)
        for number in range(40)
    ]
    given.begin(rows, {"fir": MINUTE + 40 * MS})
    see(given, [minute(40 + number, tokens=0) for number in range(5 + SETTLED)])
    assert len(found(given, "tokens_dropped")) == 1


def test_tokens_without_energy() -> None:
    """Claims that no metered device can have made; with energy for each token there is nothing to say."""
    given = rates()
    see(given, [minute(number, energy_mj=0, gpus=0, cost_nano=0) for number in range(8)])
    (condition,) = found(given, "tokens_without_energy")
    assert (condition.subject, condition.value, condition.threshold) == ("fir/small", 0, 0.001)
    assert condition.words().en == "5,000,000 tokens of small on fir within 5 min, and 0 J of GPU energy for them"
    given = rates()
    see(given, [minute(number, energy_mj=1_500_000) for number in range(8)])
    assert goes_on(given, "tokens_without_energy")
    given = rates(alerts={"energy_per_token_least_j": 0})
    see(given, [minute(number, energy_mj=0, gpus=0, cost_nano=0) for number in range(8)])
    assert not found(given, "tokens_without_energy")


@pytest.mark.parametrize(("busy", "gpus", "fires"), [(0.11, 10, True), (0.1, 10, False), (0.9, 0.1, False)])
def test_energy_without_tokens(busy: float, gpus: float, fires: bool) -> None:
    """Devices of a model that work while no token was ever counted; idle ones, and a moment of one, say nothing."""
    given = rates()
    see(given, [minute(number, tokens=0, busy=busy, gpus=gpus) for number in range(8)])
    assert bool(found(given, "energy_without_tokens")) == fires
    assert not found(given, "tokens_dropped")


def test_work_that_serves_no_model_owes_no_tokens() -> None:
    """Training is not inference."""
    given = rates()
    see(given, [minute(number, tokens=0, model="") for number in range(8)])
    assert list(given.conditions()) == []


# ---- coverage and power ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gpus", "fires"), [(100, None), (99.6, None), (99.2, False), (98.9, True), (50, True)])
def test_coverage(gpus: float, fires: bool | None) -> None:
    """Device time of the last five minutes, against the minute of the hour that had most."""
    given = rates()
    see(given, [minute(number, gpus=100) for number in range(20)])
    see(given, [minute(20 + number, gpus=gpus) for number in range(5)])
    given.saw(minute(24 + SETTLED, gpus=100))
    assert [condition.fires for condition in given.conditions() if condition.rule == "coverage"] == (
        [] if fires is None else [fires]
    )


def test_coverage_in_words_and_money() -> None:
    """What half of a cluster costs that nobody measures."""
    given = rates()
    see(given, [minute(number, gpus=100) for number in range(20)])
    see(given, [minute(20 + number, gpus=50) for number in range(5 + SETTLED)])
    (condition,) = found(given, "coverage")
    assert condition.at_stake == Stake(7 * CENT * 60, "CAD")
    assert condition.words().en == (
        "50.0% of the device time of fir was measured over the last 5 min: as if 50.0 devices of the last hour were "
        "missing"
    )


def test_a_silence_is_not_told_twice() -> None:
    """A cluster that was silent and comes back: the silence was told, and its half minutes are not held against it."""
    given = rates()
    see(given, [minute(number) for number in range(20)])
    given.saw(minute(20, gpus=3))
    back = minute(31, gpus=4)
    given.saw(back.model_copy(update={"ts_start_ms": back.minute_ms + 36_000}))
    see(given, [minute(number) for number in range(32, 40)])
    assert list(given.conditions()) == []


def test_the_first_minute_is_no_measure() -> None:
    """Metering begins within a minute, and that is no loss."""
    given = rates()
    first = minute(0, gpus=2)
    given.saw(first.model_copy(update={"ts_start_ms": first.minute_ms + 48_000}))
    for number in range(1, 10):
        given.saw(minute(number))
        assert not found(given, "coverage")


def capped(kw: Fraction) -> Rates:
    """A cluster with a cap and a pue of 1.2."""
    target = {"kind": "vllm", "urls": ["http://127.0.0.1:1/metrics"]}
    return rates(
        cluster=[{"id": "fir", "country": "CA", "pue": "1.2", "power_cap_kw": kw, "target": [target]}],
        deployment=[], agreement=[],
    )  # fmt: skip


def test_power_cap() -> None:
    """1 MJ within a minute are 16.7 kW, and 20 kW of the facility."""
    given = capped(Fraction(19))
    see(given, [minute(0), minute(1)])
    (condition,) = found(given, "power_cap")
    assert (condition.subject, condition.threshold) == ("fir", 19)
    assert condition.value == pytest.approx(20)
    assert condition.words().en == "fir drew 20.0 kW over a minute (GPUs x pue 1.2), above its cap of 19.0 kW"
    assert found(capped(Fraction(19)), "power_cap") == []
    given = capped(Fraction(203, 10))
    see(given, [minute(0)])
    assert goes_on(given, "power_cap")
    given = capped(Fraction(21))
    see(given, [minute(0)])
    assert list(given.conditions()) == []


def test_a_minute_that_already_used_too_much_need_not_be_over() -> None:
    """The energy of a minute only grows; and a later one that is not over does not end what an earlier one showed."""
    given = capped(Fraction(19))
    given.saw(minute(0).model_copy(update={"ts_end_ms": MINUTE + 57_000}))
    assert found(given, "power_cap")
    given.saw(minute(1, energy_mj=1000).model_copy(update={"ts_end_ms": MINUTE + 61_000}))
    assert found(given, "power_cap")
    see(given, [minute(number, energy_mj=10**8) for number in range(1, 4)])
    assert not found(given, "power_cap")


def test_a_cluster_without_a_cap_has_none() -> None:
    """And one that the configuration does not know has no rules of its own."""
    given = rates()
    given.saw(minute(0, energy_mj=10**15))
    given.saw(minute(0, energy_mj=10**15, cluster="elm"))
    assert not found(given, "power_cap")


def test_what_is_at_stake_is_exact() -> None:
    """Money is a whole number of nano-units from the minute to the alert, also far beyond what a double can hold; where
    an exchange rate is not known there is no amount, rather than a wrong one."""
    given = rates()
    see(given, [minute(number, cost_nano=10**17 + number) for number in range(8)])
    list(given.conditions())
    stake = given.cost_per_hour("fir")
    assert stake is not None
    assert stake.nano_per_hour % NANO == sum(range(2, 7)) * 12
    given.saw(minute(6, cost_nano=1, currency="GBP", version=2))
    list(given.conditions())
    assert given.cost_per_hour("fir") is None
    assert given.cost_of("fir", 1) is None


def test_costs_of_devices() -> None:
    """What idle devices cost is what the cluster's devices cost of late."""
    given = rates()
    assert given.cost_of("fir", 2) is None
    assert given.cost_per_hour("fir") is None
    see(given, [minute(number, gpus=10, cost_nano=5 * NANO) for number in range(8)])
    list(given.conditions())
    assert given.cost_per_hour("fir") == Stake(300 * NANO, "CAD")
    assert given.cost_of("fir", 2.5) == Stake(75 * NANO, "CAD")
