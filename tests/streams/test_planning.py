"""The plan of an agreement as a line."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Agreement, CostShare, PlanPoint
from streams.planning import DAY_MS, ends_at, ends_ms, planned_nano, starts_ms

STARTS = date(2026, 1, 1)
ENDS = date(2026, 12, 31)
MOMENTS = st.integers(-400 * DAY_MS, 800 * DAY_MS).map(lambda offset: _ms(STARTS) + offset)
AMOUNTS = st.integers(0, 10**18).map(lambda nano: Fraction(nano, 10**9))


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _agreement(cap: Fraction | None = None, plan: list[PlanPoint] | None = None) -> Agreement:
    return Agreement(
        id="acme", programme="fund", recipient="Acme", rule=CostShare(kind="cost_share", share=Fraction(2, 3)),
        cap=cap, plan=plan or [], starts=STARTS, ends=ENDS,
    )  # fmt: skip


@st.composite
def _plans(draw: st.DrawFn) -> list[PlanPoint]:
    days = sorted(draw(st.sets(st.integers(0, 364), min_size=1, max_size=6)))
    amounts = sorted(draw(st.lists(AMOUNTS, min_size=len(days), max_size=len(days))))
    return [PlanPoint(on=STARTS + timedelta(day), spent=spent) for day, spent in zip(days, amounts, strict=True)]


def test_term_is_whole_days() -> None:
    """The last day belongs to the agreement: its end is the midnight after it."""
    agreement = _agreement()
    assert (starts_ms(agreement), ends_ms(agreement)) == (_ms(STARTS), _ms(date(2027, 1, 1)))
    assert ends_at(agreement) == datetime(2027, 1, 1, tzinfo=UTC)


def test_without_plan_and_cap_nothing_is_planned() -> None:
    """No figure is invented where nobody planned one."""
    assert planned_nano(_agreement(), _ms(date(2026, 7, 1))) is None


@pytest.mark.parametrize(
    ("ts_ms", "spent"),
    [(_ms(STARTS), 0), (_ms(date(2026, 1, 2)), 1), (_ms(date(2026, 1, 1)) + DAY_MS // 2, Fraction(1, 2)),
     (_ms(date(2027, 1, 1)), 365), (_ms(date(2030, 1, 1)), 365), (_ms(date(2020, 1, 1)), 0)],
)  # fmt: skip
def test_default_is_a_straight_line_to_the_cap(ts_ms: int, spent: Fraction) -> None:
    """365 over the 365 days of the year: one a day, nothing before, the cap after."""
    assert planned_nano(_agreement(Fraction(365)), ts_ms) == spent * 10**9


def test_points_hold_at_the_end_of_their_day() -> None:
    """A plan's point is reached when its day is over, and the plan stays level after the last one."""
    plan = [PlanPoint(on=date(2026, 1, 10), spent=Fraction(100)), PlanPoint(on=date(2026, 1, 20), spent=Fraction(400))]
    agreement = _agreement(Fraction(1000), plan)
    moments = [date(2026, 1, 6), date(2026, 1, 11), date(2026, 1, 16), date(2026, 1, 21), date(2026, 12, 31)]
    assert [planned_nano(agreement, _ms(day)) for day in moments] == [n * 10**9 for n in (50, 100, 250, 400, 400)]


def test_half_a_nano_goes_to_the_even_one() -> None:
    """Rounding is half-even, once: the middle of the first day of a plan over 1 and 3 nano-units."""
    noon = _ms(STARTS) + DAY_MS // 2
    planned = [
        planned_nano(_agreement(plan=[PlanPoint(on=STARTS, spent=Fraction(nano, 10**9))]), noon) for nano in (1, 3)
    ]
    assert planned == [0, 2]


@given(_plans(), MOMENTS, MOMENTS)
def test_plan_never_goes_back_and_stays_within_its_points(plan: list[PlanPoint], one: int, other: int) -> None:
    """A later moment never has less planned, and the last point bounds it."""
    agreement = _agreement(plan=plan)
    early, late = planned_nano(agreement, min(one, other)), planned_nano(agreement, max(one, other))
    assert early is not None
    assert late is not None
    assert 0 <= early <= late <= plan[-1].spent * 10**9


@given(AMOUNTS, MOMENTS)
def test_line_to_the_cap_equals_a_plan_of_one_point(cap: Fraction, ts_ms: int) -> None:
    """The default is nothing but a plan with the cap on the last day; both within half a nano of the exact line."""
    planned = planned_nano(_agreement(cap), ts_ms)
    assert planned == planned_nano(_agreement(plan=[PlanPoint(on=ENDS, spent=cap)]), ts_ms)
    assert planned is not None
    exact = cap * 10**9 * Fraction(min(max(ts_ms - _ms(STARTS), 0), 365 * DAY_MS), 365 * DAY_MS)
    assert abs(planned - exact) <= Fraction(1, 2)
