"""Protects what finance watches: spent never passes the cap, the rate is per hour of covered time, runway follows."""

from fractions import Fraction

import pytest

from schemas.economics import UnitCost, UnitCosts
from schemas.money import NANO
from streams.burning import KEPT_MINUTES, Burning
from tests.streams.economy import MINUTE, agreement, config


def minute(
    subsidy_nano: int,
    *,
    number: int = 0,
    cluster: str = "fir",
    version: int = 1,
    seconds: int = 60,
    name: str = "share",
) -> UnitCosts:
    """A minute of unit costs with one line."""
    start = MINUTE + number * 60_000
    unit = UnitCost(
        model="",
        agreement=name,
        programme="fund",
        gpu_ns=seconds * NANO,
        busy_ns=0,
        energy_mj=0,
        cost_nano=2 * subsidy_nano,
        usage_cost_nano=0,
        prompt_tokens=0,
        cached_tokens=0,
        generation_tokens=0,
        subsidy_nano=subsidy_nano,
        charge_nano=subsidy_nano,
        currency="CAD",
    )
    return UnitCosts(
        cluster=cluster,
        minute_ms=start,
        version=version,
        ts_start_ms=start,
        ts_end_ms=start + seconds * 1000,
        lines=[unit],
    )


def test_rate_is_per_hour_of_covered_time_on_each_cluster() -> None:
    """Half a minute with CAD 1 on one cluster and a minute with CAD 1 on another burn 120 + 60 per hour."""
    burning = Burning(config())
    burning.apply(minute(NANO, seconds=30))
    burning.apply(minute(NANO, cluster="oak"))
    state = burning.state("share")
    assert state is not None
    assert state.rate_nano_per_hour == 180 * NANO
    assert state.spent_nano == 2 * NANO
    assert state.runway_hours == pytest.approx(98 / 180)


def test_spent_stops_at_the_cap_and_accrued_goes_on() -> None:
    """The programme never pays more than its cap."""
    burning = Burning(config())
    burning.apply(minute(99 * NANO))
    burning.apply(minute(5 * NANO, number=1))
    state = burning.state("share")
    assert state is not None
    assert (state.spent_nano, state.accrued_nano, state.runway_hours) == (100 * NANO, 104 * NANO, 0)


def test_a_newer_state_of_a_minute_replaces_and_an_older_one_does_not() -> None:
    """Messages are states: applying one twice, or late, changes nothing."""
    burning = Burning(config())
    burning.apply(minute(3 * NANO, version=30))
    burning.apply(minute(3 * NANO, version=30))
    assert burning.apply(minute(NANO, version=10)) == set()
    state = burning.state("share")
    assert state is not None
    assert state.spent_nano == 3 * NANO


def test_sliding_the_window_and_loading_from_the_book_keep_the_sum() -> None:
    """What leaves memory stays in the total; a new worker that reads the book says the same."""
    burning = Burning(config())
    for number in range(KEPT_MINUTES + 50):
        burning.apply(minute(NANO // 100, number=number))
        burning.slide(MINUTE + number * 60_000)
    before = burning.state("share")
    window = burning.window_start_ms
    again = Burning(config())
    rows = [{"agreement": "share", "place": "", "minute_ms": None, "subsidy_nano": 50 * NANO // 100, "gpu_ns": 0}]
    rows += [
        {
            "agreement": "share",
            "place": "fir",
            "minute_ms": window + i * 60_000,
            "subsidy_nano": NANO // 100,
            "gpu_ns": 0,
        }
        for i in range(KEPT_MINUTES)
    ]
    again.load(rows, window)
    after = again.state("share")
    assert before is not None
    assert after is not None
    assert before.accrued_nano == after.accrued_nano == (KEPT_MINUTES + 50) * NANO // 100


def test_a_later_state_is_never_dated_before_an_earlier_one() -> None:
    """The book keeps the latest state of a minute by its moment: what changes after a worker has begun from the book,
    or in a minute long past, must not lose against what was known before."""
    burning = Burning(config())
    burning.load(
        [{"agreement": "share", "place": "fir", "minute_ms": MINUTE, "subsidy_nano": NANO, "gpu_ns": 0}], MINUTE
    )
    loaded = burning.state("share")
    burning.apply(minute(2 * NANO, seconds=30))
    grown = burning.state("share")
    burning.apply(minute(NANO, number=-1))
    late = burning.state("share")
    assert loaded is not None
    assert grown is not None
    assert late is not None
    assert (loaded.accrued_nano, grown.accrued_nano, late.accrued_nano) == (NANO, 2 * NANO, 3 * NANO)
    assert loaded.ts_ms <= grown.ts_ms <= late.ts_ms


def test_what_was_spent_before_metering_counts() -> None:
    """An agreement that began before Commonwatt was installed starts from what it had spent."""
    changed = config(
        agreement=[agreement("share", {"kind": "cost_share", "share": "2/3"}, cap="100", spent_before="80")]
    )
    burning = Burning(changed)
    burning.apply(minute(NANO))
    state = burning.state("share")
    assert state is not None
    assert state.spent_nano == 81 * NANO


def test_credits_in_gpu_hours_run_out_by_hours() -> None:
    """One GPU used for a minute of each minute: 2 granted hours last 2 h less that minute."""
    changed = config(agreement=[agreement("lab", {"kind": "credits", "unit": "gpu_hours", "quantity": "2"})])
    burning = Burning(changed)
    burning.apply(minute(NANO, name="lab"))
    state = burning.state("lab")
    assert state is not None
    assert state.runway_hours == pytest.approx(float(2 - Fraction(1, 60)))
    assert state.cap_nano is None


def test_an_agreement_that_used_nothing_has_no_state() -> None:
    """No figure is better than a zero that looks measured."""
    assert Burning(config()).state("lab") is None
