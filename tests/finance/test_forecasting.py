"""The forecast: how long money lasts, and the band around it."""

import math
import random
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.finance.forecasting import DAYS_LEAST, Forecast, _student, forecast, lasts
from schemas.config import Agreement, CostShare

DAY_S = 86_400
LEFT = st.integers(1, 10**18)
DAILY = st.lists(st.integers(0, 10**15), min_size=DAYS_LEAST, max_size=28).filter(lambda days: sum(days) > 0)


def _agreement(cap: Fraction | None = Fraction(1000)) -> Agreement:
    return Agreement(
        id="acme", programme="fund", recipient="Acme", rule=CostShare(kind="cost_share", share=Fraction(2, 3)),
        cap=cap, starts=date(2026, 1, 1), ends=date(2026, 12, 31),
    )  # fmt: skip


def _forecast(daily: list[int], spent: int = 0, *, until: datetime = datetime(2026, 7, 1, tzinfo=UTC)) -> Forecast:
    """Days and spent in whole dollars."""
    return forecast(_agreement(), "CAD", until, spent * 10**9, [day * 10**9 for day in daily])


# ---- how long money lasts --------------------------------------------------------------------------------------------


@given(LEFT, DAILY)
def test_band_is_around_the_mean(left: int, daily: list[int]) -> None:
    """Early is never after the mean, late never before it, and the mean is the exact quotient to the nearest second."""
    found = lasts(left, daily)
    assert found is not None
    assert found.early_s <= found.mean_s
    assert found.late_s is None or found.mean_s <= found.late_s
    assert abs(found.mean_s - left * Fraction(len(daily), sum(daily)) * DAY_S) <= Fraction(1, 2)


@given(LEFT, st.integers(1, 10**15), st.integers(DAYS_LEAST, 28))
def test_equal_days_leave_no_doubt(left: int, day: int, days: int) -> None:
    """Without any spread the band is the point itself."""
    found = lasts(left, [day] * days)
    assert found is not None
    assert found.early_s == found.mean_s == found.late_s


@given(LEFT, DAILY, st.integers(2, 10**6))
def test_unit_of_money_does_not_matter(left: int, daily: list[int], factor: int) -> None:
    """The same in cents or in dollars: a common factor changes nothing but the last digits of a float."""
    one, other = lasts(left, daily), lasts(left * factor, [day * factor for day in daily])
    assert one is not None
    assert other is not None
    assert one.mean_s == other.mean_s
    assert math.isclose(one.early_s, other.early_s, rel_tol=1e-9, abs_tol=1)
    if one.late_s is not None and one.late_s < 10**6 * one.mean_s:  # beyond, the mean itself is in doubt
        assert other.late_s is not None
        assert math.isclose(one.late_s, other.late_s, rel_tol=1e-6, abs_tol=1)


@given(st.tuples(LEFT, LEFT), DAILY)
def test_more_money_lasts_longer(lefts: tuple[int, int], daily: list[int]) -> None:
    """Each end of the band, and the point, moves on with what is left."""
    less, more = lasts(min(lefts), daily), lasts(max(lefts), daily)
    assert less is not None
    assert more is not None
    assert less.early_s <= more.early_s + 1  # a float's last digit can move a second
    assert less.mean_s <= more.mean_s
    if less.late_s is not None and more.late_s is not None and less.late_s < 10**6 * less.mean_s:
        assert less.late_s <= more.late_s * (1 + 1e-6) + 1


@given(LEFT, DAILY)
def test_ends_solve_their_equation(left: int, daily: list[int]) -> None:
    """At each end the expected spending and k standard deviations of it together are what is left."""
    found = lasts(left, daily)
    assert found is not None
    days = len(daily)
    mean = sum(daily) / days
    deviation = math.sqrt(sum((day - mean) ** 2 for day in daily) / (days - 1))
    for seconds, sign in ((found.early_s, 1), (found.late_s, -1)):
        if seconds is None or not 10**5 < seconds < 1000 * found.mean_s:  # rounded to the second, it must not matter
            continue
        t = seconds / DAY_S
        reached = mean * t + sign * _student(days - 1) * deviation * math.sqrt(t + t * t / days)
        assert math.isclose(reached, left, rel_tol=1e-2)


def test_nothing_left_and_nothing_known() -> None:
    """Used up is gone now, whatever the days were; no burn and too few days give no forecast."""
    found = lasts(0, [])
    assert found is not None
    assert (found.early_s, found.mean_s, found.late_s) == (0, 0, 0)
    assert lasts(10, [0, 0, 0]) is None
    assert lasts(10, [5, 5]) is None
    assert lasts(10, [5, -5, 0]) is None  # corrections outweigh what was spent


def test_wild_days_have_no_late_end() -> None:
    """One payment in four days: whether money is spent at all is in doubt, so no late end is claimed."""
    found = lasts(1000, [0, 0, 0, 100])
    assert found is not None
    assert found.late_s is None


@pytest.mark.parametrize(("degrees", "quantile"), [(2, 1.8856), (3, 1.6377), (6, 1.4398), (13, 1.3502), (27, 1.3137)])
def test_students_quantile(degrees: int, quantile: float) -> None:
    """Against the printed table of Student's law, 0.90 below."""
    assert _student(degrees) == pytest.approx(quantile, rel=4e-3)


@pytest.mark.parametrize("law", ["even", "skewed"])
@pytest.mark.parametrize("history", [5, 28])
@pytest.mark.parametrize("horizon", [30, 300])
def test_four_in_five_simulated_agreements_end_within_the_band(law: str, history: int, horizon: int) -> None:
    """Days drawn from one law, the first ones known, the rest to come: the band keeps what it says, near and far.

    100 a day with a deviation of 50. Where days are skewed a few of them hide that, and the sides differ; both together
    stay what they are.
    """
    draw = random.Random(20_261_031)
    tries = 1200
    before = after = 0

    def day() -> float:
        return draw.gauss(100, 50) if law == "even" else draw.gammavariate(4, 25)

    for _ in range(tries):
        found = lasts(horizon * 100 * 10**9, [round(day() * 10**9) for _ in range(history)])
        assert found is not None
        left, days = horizon * 100.0, 0.0
        while left > 0:
            spent = day()
            days += min(1.0, left / spent) if spent > 0 else 1.0
            left -= spent
        before += days * DAY_S < found.early_s
        after += found.late_s is not None and days * DAY_S > found.late_s
    assert 0.76 <= 1 - (before + after) / tries <= 0.84
    if law == "even":
        assert 0.07 <= before / tries <= 0.13


# ---- the forecast of an agreement ------------------------------------------------------------------------------------


def test_steady_agreement() -> None:
    """A cap of 1000, 400 spent, 10 a day: gone in 60 days, to the second; at the end of the year it is the cap."""
    found = _forecast([10] * 28, spent=400)
    gone = datetime(2026, 8, 30, tzinfo=UTC)
    assert (found.projected_end_early, found.projected_end, found.projected_end_late) == (gone, gone, gone)
    assert found.remaining_nano == 600 * 10**9
    assert found.mean_nano_per_day == 10 * 10**9
    assert found.spent_at_end_nano == 1000 * 10**9
    assert found.planned_nano == round(Fraction(1000 * 10**9 * 181, 365))


def test_money_that_outlasts_the_agreement() -> None:
    """Beyond the last day there is no end to project, but what will have been spent is known."""
    found = _forecast([1] * 28, spent=400)
    assert (found.projected_end_early, found.projected_end, found.projected_end_late) == (None, None, None)
    assert found.spent_at_end_nano == (400 + 184) * 10**9


def test_only_the_late_end_lies_beyond() -> None:
    """Each end of the band is cut off at the end of the agreement by itself."""
    found = _forecast([0, 10] * 14, spent=200)
    assert found.projected_end == datetime(2026, 7, 1, tzinfo=UTC) + timedelta(days=160)
    assert found.projected_end_early is not None
    assert found.projected_end_late is None


def test_too_few_days_project_nothing() -> None:
    """Two whole days tell the mean, and nothing about the future."""
    found = _forecast([10, 10])
    assert (found.days, found.mean_nano_per_day) == (2, 10 * 10**9)
    assert (found.projected_end, found.spent_at_end_nano) == (None, None)


def test_used_up_and_ended() -> None:
    """A cap that is reached ended now; an agreement that is over has spent what it has spent."""
    assert _forecast([10] * 28, spent=1000).projected_end == datetime(2026, 7, 1, tzinfo=UTC)
    over = _forecast([10] * 28, spent=400, until=datetime(2027, 2, 1, tzinfo=UTC))
    assert (over.projected_end, over.spent_at_end_nano) == (None, 400 * 10**9)


def test_without_cap_only_the_spending_is_projected() -> None:
    """No cap, no end: but the amount by the end of the agreement is not limited either."""
    found = forecast(_agreement(None), "CAD", datetime(2026, 12, 22, tzinfo=UTC), 5 * 10**9, [10 * 10**9] * 7)
    assert (found.remaining_nano, found.planned_nano, found.projected_end) == (None, None, None)
    assert found.spent_at_end_nano == 105 * 10**9


@given(DAILY, st.integers(0, 10**12), st.integers(-400 * DAY_S, 400 * DAY_S))
def test_what_will_be_spent_is_between_now_and_the_cap(daily: list[int], spent: int, offset_s: int) -> None:
    """Never less than is spent, never more than the cap, at any moment of the agreement's life."""
    until = datetime(2026, 7, 1, tzinfo=UTC) + timedelta(seconds=offset_s)
    found = forecast(_agreement(), "CAD", until, spent, daily)
    assert found.spent_at_end_nano is not None
    assert spent <= found.spent_at_end_nano <= 1000 * 10**9
