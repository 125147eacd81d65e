"""When the money of an agreement is gone: a forecast with a band, from what it spent on each of the last days. Pure.

Let m be the mean and s the sample standard deviation of the subsidy of n whole days, and L what is left. Spending never
goes back, so L is used up within t days exactly if t days spend L or more. What t days spend is taken as normal with
mean m t and variance s^2 (t + t^2/n): the second term is what n days leave unknown of the mean, and it outweighs the
first beyond n days. So the money lasts L/m days, and the ends of the band solve

    m t +/- k s sqrt(t + t^2/n) = L,

where k is Student's quantile for n - 1 degrees of freedom. With the mean known (n without bound) this is the law of
Z. W. Birnbaum and S. C. Saunders, "A new family of life distributions", Journal of Applied Probability 6 (1969),
pages 319 to 327. Days are taken as independent.

Money is exact throughout; floats carry time alone, from ratios of money.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from schemas.config import Agreement
from schemas.money import round_half_even, to_nano
from streams.planning import ends_at, planned_nano

DAYS_MOST = 28  # whole weeks, so that each weekday counts the same
DAYS_LEAST = 3
Z = 1.2815515655446004
"""9 in 10 of a normal law lie below this many standard deviations."""

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Forecast:
    """A row of `subsidy_forecasts`. Amounts in nano-units of `currency`."""

    programme: str
    agreement: str
    until: datetime
    """Charges up to here are in it."""
    spent_nano: int
    planned_nano: int | None
    remaining_nano: int | None
    """What is left of the cap; None: no cap."""
    days: int
    mean_nano_per_day: int
    projected_end_early: datetime | None
    projected_end: datetime | None
    projected_end_late: datetime | None
    """All three None: no cap, nothing burns, or too few days. Each alone None: after the end of the agreement."""
    spent_at_end_nano: int | None
    """At the end of the agreement, at most the cap; None: too few days."""
    currency: str


@dataclass(frozen=True, slots=True)
class Lasting:
    """For how long the money lasts, s from the newest charge."""

    early_s: int
    """1 in 10 that it is gone sooner."""
    mean_s: int
    late_s: int | None
    """1 in 10 that it lasts longer; None: the days do not even tell that money is spent at all."""


def forecast(
    agreement: Agreement, currency: str, until: datetime, spent_nano: int, daily_nano: Sequence[int]
) -> Forecast:
    """The forecast of one agreement from charges up to `until`.

    spent_nano: all subsidy until then, that before metering included. daily_nano: that of each of the last whole UTC
    days, 0 for a day without usage. Fewer than DAYS_LEAST days tell nothing about the future. What is used up already
    ended at `until` as far as the forecast knows.
    """
    ends = ends_at(agreement)
    cap_nano = None if agreement.cap is None else to_nano(agreement.cap)
    remaining_nano = None if cap_nano is None else max(cap_nano - spent_nano, 0)
    lasting = None if remaining_nano is None else lasts(remaining_nano, daily_nano)

    def within(seconds: int | None) -> datetime | None:
        if seconds is None or seconds > (ends - until).total_seconds():
            return None
        return until + timedelta(seconds=seconds)

    return Forecast(
        programme=agreement.programme,
        agreement=agreement.id,
        until=until,
        spent_nano=spent_nano,
        planned_nano=planned_nano(agreement, int(until.timestamp()) * 1000),
        remaining_nano=remaining_nano,
        days=len(daily_nano),
        mean_nano_per_day=round_half_even(Fraction(sum(daily_nano), len(daily_nano))) if daily_nano else 0,
        projected_end_early=within(lasting.early_s) if lasting else None,
        projected_end=within(lasting.mean_s) if lasting else None,
        projected_end_late=within(lasting.late_s) if lasting else None,
        spent_at_end_nano=_spent_at_end(spent_nano, cap_nano, daily_nano, ends - until),
        currency=currency,
    )


def lasts(left_nano: int, daily_nano: Sequence[int]) -> Lasting | None:
    """How long `left_nano` lasts at the pace of these days; None: too few of them, or nothing burns."""
    if left_nano == 0:
        return Lasting(0, 0, 0)
    days = len(daily_nano)
    if days < DAYS_LEAST or sum(daily_nano) <= 0:
        return None
    mean = Fraction(sum(daily_nano), days)
    mean_s = round_half_even(left_nano / mean * _DAY_S)
    squares = sum((day - mean) ** 2 for day in daily_nano)
    # From here on what is left counts as 1: rates are shares of it per day.
    rate = float(mean / left_nano)
    spread = _student(days - 1) * math.sqrt(squares / (days - 1) / left_nano**2)
    if spread == 0:
        return Lasting(mean_s, mean_s, mean_s)
    # Squared, both ends are the roots of a t^2 - b t + 1 = 0; written so that nothing cancels.
    a = rate**2 - spread**2 / days
    b = 2 * rate + spread**2
    root = spread * math.sqrt(spread**2 + 4 * rate + 4 / days)
    late = (b + root) / (2 * a) * _DAY_S if a > 0 else math.inf
    return Lasting(
        early_s=min(round(2 / (b + root) * _DAY_S), mean_s),
        mean_s=mean_s,
        late_s=max(round(late), mean_s) if math.isfinite(late) else None,
    )


def _student(degrees: int) -> float:
    """Below it lie 9 in 10 of Student's law with so many degrees of freedom.

    Expansion by Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5; from two degrees on it is
    right to four in a thousand.
    """
    z = Z
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))


def _spent_at_end(spent_nano: int, cap_nano: int | None, daily_nano: Sequence[int], left: timedelta) -> int | None:
    if left <= timedelta():
        return spent_nano
    if len(daily_nano) < DAYS_LEAST:
        return None
    days = Fraction(left // timedelta(seconds=1), _DAY_S)
    projected = spent_nano + round_half_even(Fraction(sum(daily_nano), len(daily_nano)) * days)
    return projected if cap_nano is None else min(projected, cap_nano)
