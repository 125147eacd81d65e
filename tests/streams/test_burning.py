"""Protects what finance watches: spent never passes the cap, the rate is per hour of covered time, runway follows."""

import time
from datetime import UTC, date, datetime
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.economics import UnitCost, UnitCosts
from schemas.money import NANO
from schemas.topics import UNIT_COSTS
from streams.app import create_app
from streams.book import Book
from streams.burn import BurnAgent, rows
from streams.burning import BUCKET_MS, KEPT_MINUTES, MINUTE_MS, REACH_MS, Burning
from streams.context import Context
from streams.reference import Reference
from streams.unit_cost import rows as cost_rows
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


def stored(subsidies: dict[tuple[str, int], int], window_ms: int, name: str = "share") -> list[dict[str, Any]]:
    """What the book says of these (cluster, number of the minute) -> subsidy (see Book.subsidies)."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for (cluster, number), subsidy in subsidies.items():
        ms = MINUTE + number * 60_000
        if ms >= window_ms:
            key = (cluster, ms)
        elif ms >= window_ms - REACH_MS:
            key = ("", ms - ms % BUCKET_MS)
        else:
            key = ("", 0)
        row = found.setdefault(key, {"first_ms": ms, "subsidy_nano": 0, "gpu_ns": 0})
        row["first_ms"] = min(ms, row["first_ms"])
        row["subsidy_nano"] += subsidy
    return [{"agreement": name, "place": place, "from_ms": ms, **row} for (place, ms), row in found.items()]


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
    again.load(stored({("fir", number): NANO // 100 for number in range(KEPT_MINUTES + 50)}, window), window)
    after = again.state("share")
    assert before is not None
    assert before.accrued_nano == (KEPT_MINUTES + 50) * NANO // 100
    assert after == before


def test_a_later_state_is_never_dated_before_an_earlier_one() -> None:
    """The book keeps the latest state of a minute by its moment: what changes after a worker has begun from the book,
    or in a minute long past, must not lose against what was known before."""
    burning = Burning(config())
    burning.load(stored({("fir", 0): NANO}, MINUTE), MINUTE)
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
    rule = {"kind": "credits", "unit": "gpu_hours", "quantity": "5", "used_before": "3"}
    burning = Burning(config(agreement=[agreement("lab", rule)]))
    burning.apply(minute(NANO, name="lab"))
    state = burning.state("lab")
    assert state is not None
    assert state.runway_hours == pytest.approx(float(2 - Fraction(1, 60)))
    assert state.cap_nano is None


def test_an_agreement_that_used_nothing_has_no_state() -> None:
    """No figure is better than a zero that looks measured."""
    assert Burning(config()).state("lab") is None


# --- windows --------------------------------------------------------------------------------------------------------


def expected_rate(
    subsidies: dict[tuple[str, int], int], newest: int, reached_ms: int, window_minutes: int, step_minutes: int
) -> int | None:
    """The average over a window, from all minutes at once; numbers of minutes as in `minute`."""
    start_ms = MINUTE + (newest + 1 - window_minutes) * 60_000
    start_ms -= start_ms % (step_minutes * 60_000)
    began_ms = MINUTE + min(number for _, number in subsidies) * 60_000
    hours = Fraction(reached_ms - max(start_ms, began_ms), 3_600_000)
    if hours * 120 < window_minutes:
        return None
    return round(sum(paid for (_, number), paid in subsidies.items() if MINUTE + number * 60_000 >= start_ms) / hours)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(("fir", "oak")), st.integers(0, 6000) | st.integers(4000, 4800)),
        st.integers(0, 10**12), min_size=1, max_size=40,
    ),
    st.data(),
)  # fmt: skip
def test_windows_are_averages_of_what_they_cover(subsidies: dict[tuple[str, int], int], data: st.DataObject) -> None:
    """1 h, 6 h and 3 d equal sums over all minutes, however states came: late, twice, growing; and a worker that
    begins from the book at any moment says the same."""
    burning = Burning(config())
    late = {key: data.draw(st.integers(0, KEPT_MINUTES)) for key in subsidies}
    newest = 0
    for (cluster, number), subsidy in sorted(subsidies.items(), key=lambda item: item[0][1] + late[item[0]]):
        if data.draw(st.booleans()):
            burning.apply(minute(subsidy // 3, number=number, cluster=cluster, seconds=20))
        burning.apply(minute(subsidy, number=number, cluster=cluster, version=2))
        if data.draw(st.booleans()):
            burning.apply(minute(subsidy, number=number, cluster=cluster, version=2))
        newest = max(newest, number)
        burning.slide(MINUTE + newest * 60_000)
    state = burning.state("share")
    assert state is not None
    assert state.accrued_nano == sum(subsidies.values())
    found = (state.rate_1h_nano_per_hour, state.rate_6h_nano_per_hour, state.rate_3d_nano_per_hour)
    assert found == tuple(
        expected_rate(subsidies, newest, state.ts_ms, *window) for window in ((60, 1), (360, 10), (4320, 10))
    )
    again = Burning(config())
    window = MINUTE + (newest - data.draw(st.integers(0, 5000))) * 60_000
    again.load(stored(subsidies, window), window)
    assert again.state("share") == state


def test_a_window_needs_half_of_its_time() -> None:
    """Two minutes say nothing about an hour; from half an hour on the average is that of the time metered."""
    burning = Burning(config())
    found = []
    for number in range(180):
        burning.apply(minute(NANO // 60, number=number))
        state = burning.state("share")
        assert state is not None
        found.append((state.rate_1h_nano_per_hour, state.rate_6h_nano_per_hour, state.rate_3d_nano_per_hour))
    per_hour = NANO // 60 * 60
    assert found[28] == (None, None, None)
    assert found[29] == (per_hour, None, None)
    assert found[178] == (per_hour, None, None)
    assert found[179] == (per_hour, per_hour, None)


def test_time_before_the_agreement_began_is_not_in_its_windows() -> None:
    """What ran before an agreement was in force burned nothing of it: that must not hide how fast it burns now."""
    starts = date(2026, 9, 21)  # MINUTE is 14:14 of that day
    changed = config(agreement=[agreement("share", {"kind": "cost_share", "share": "2/3"}, starts=starts)])
    burning = Burning(changed)
    burning.apply(minute(0, number=-2000))
    burning.apply(minute(6 * NANO))
    state = burning.state("share")
    assert state is not None
    assert state.rate_6h_nano_per_hour == round(6 * NANO / (6 + Fraction(5, 60)))  # 08:10 to 14:15
    assert state.rate_3d_nano_per_hour is None  # 14 h 15 min of 3 d


def test_plan_and_the_rate_at_which_the_money_lasts() -> None:
    """By hand: half of the cap is left for 557 days, 9 hours and 45 minutes."""
    burning = Burning(config())
    burning.apply(minute(50 * NANO))
    state = burning.state("share")
    assert state is not None
    reached = datetime(2026, 9, 21, 14, 15, tzinfo=UTC)
    starts, ends = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 4, 1, tzinfo=UTC)
    assert state.sustainable_nano_per_hour == round(Fraction(50 * NANO * 3600, int((ends - reached).total_seconds())))
    assert state.planned_nano == round(
        Fraction(100 * NANO * (reached - starts).total_seconds()) / (ends - starts).total_seconds()
    )
    burning.apply(minute(90 * NANO, number=1))
    used_up = burning.state("share")
    assert used_up is not None
    assert used_up.sustainable_nano_per_hour == 0


def test_no_cap_and_a_passed_end_have_no_lasting_rate() -> None:
    """There is nothing to be used up, or no time left to use it."""
    share = {"kind": "cost_share", "share": "2/3"}
    changed = config(agreement=[agreement("share", share), agreement("lab", share, cap="10", ends=date(2026, 9, 20))])
    burning = Burning(changed)
    burning.apply(minute(NANO))
    burning.apply(minute(0, name="lab", number=1))
    no_cap, ended = burning.state("share"), burning.state("lab")
    assert no_cap is not None
    assert ended is not None
    assert (no_cap.sustainable_nano_per_hour, no_cap.planned_nano) == (None, None)
    assert (ended.sustainable_nano_per_hour, ended.planned_nano) == (None, 10 * NANO)


# --- with the book --------------------------------------------------------------------------------------------------


class Worker:
    """The agent on a real ClickHouse; storing unit costs first, as the agent before it does."""

    def __init__(self, clickhouse: Any) -> None:
        self.book = Book(clickhouse.client)
        context = Context(create_app("kafka://127.0.0.1:1"), self.book, config(), Reference(config()), lambda: MINUTE)
        self.agent = BurnAgent(context)

    def take(self, *messages: UnitCosts) -> Any:
        """States that follow from these messages, all of which are in the book already."""
        events = [
            SimpleNamespace(message=SimpleNamespace(topic=UNIT_COSTS, value=one.model_dump_json().encode()))
            for one in messages
        ]
        states, rejected = self.agent._compute(events)
        assert rejected == []
        self.book.insert("subsidy_burn_store", rows(states))
        return states


def test_a_worker_that_begins_from_the_book_goes_on_as_the_one_before(clickhouse: Any) -> None:
    """After days: the same sums and windows in a new worker; a minute of yesterday that comes late is in them."""
    numbers = [*range(-5000, -200, 7), *range(-200, 1)]
    messages = [minute(NANO // 1000 * (1 + number % 5), number=number) for number in numbers]
    first = Worker(clickhouse)
    first.book.insert("unit_costs_store", cost_rows(messages))
    for begin in range(0, len(messages), 100):
        states = first.take(*messages[begin : begin + 100])
    assert Worker(clickhouse).take(messages[-1]) == states

    late = minute(NANO, number=-1501, cluster="oak")
    first.book.insert("unit_costs_store", cost_rows([late]))
    (before,), (after,) = states, first.take(late)
    assert after.accrued_nano == before.accrued_nano + NANO
    assert after.rate_3d_nano_per_hour > before.rate_3d_nano_per_hour
    assert (after.rate_1h_nano_per_hour, after.rate_6h_nano_per_hour) == (
        before.rate_1h_nano_per_hour, before.rate_6h_nano_per_hour,
    )  # fmt: skip
    assert Worker(clickhouse).take(messages[-1]) == [after]


def test_late_and_current_minutes_together(clickhouse: Any) -> None:
    """An agreement that is not used any more gets its late minute counted, also when it comes with the present ones."""
    worker = Worker(clickhouse)
    old = minute(NANO, number=-3000, name="lab")
    messages = [old, minute(NANO)]
    worker.book.insert("unit_costs_store", cost_rows(messages))
    assert [(state.agreement, state.accrued_nano) for state in worker.take(*messages)] == [
        ("lab", NANO),
        ("share", NANO),
    ]


def test_what_is_published_is_in_the_book(clickhouse: Any) -> None:
    """The alerts of a new worker begin with the same states that were published, to the last digit."""
    worker = Worker(clickhouse)
    now = int(time.time()) * 1000 // MINUTE_MS * MINUTE_MS
    messages = [minute(NANO // 7, number=number + (now - MINUTE) // MINUTE_MS) for number in range(-40, 1)]
    worker.book.insert("unit_costs_store", cost_rows(messages))
    (state,) = worker.take(*messages)
    assert worker.book.latest_burns() == [state]
    assert state.rate_1h_nano_per_hour is not None
    row = clickhouse.client.query(
        "SELECT rate_1h_per_hour, rate_6h_per_hour, rate_3d_per_hour, planned, sustainable_per_hour FROM subsidy_burn"
    ).first_row
    assert [value and int(value * NANO) for value in row] == [
        state.rate_1h_nano_per_hour, None, None, state.planned_nano, state.sustainable_nano_per_hour,
    ]  # fmt: skip
