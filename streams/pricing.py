"""What an hour of a product costs at a moment, and how many reference GPU units it counts as. Pure, no I/O.

The UTC day decides which price holds; where that price has tariffs, the cluster's local time decides what electricity
costs. Rates are exact fractions.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from schemas.config import Cluster, Config, Price, Tariff
from schemas.money import NANO, round_half_even
from schemas.prices import by_precedence, effective_end, specificity
from streams.metering.intervals import MINUTE_MS

HOURS_PER_YEAR = 8766
"""365.25 days: a purchase is written off evenly over this many hours for each year of its life."""

HOUR_MS = 3_600_000
DAY_MS = 86_400_000

_NS_PER_HOUR = 3600 * 10**9
_MJ_PER_KWH = 3_600_000_000
_DAY_MINUTES = 24 * 60
_REMEMBERED = 1 << 16  # days of products that are kept: decades of a country's products


@dataclass(frozen=True, slots=True)
class PriceRate:
    """What one device costs, exactly."""

    currency: str
    version: str
    """``id@YYYY-MM-DD``: price and first day; by time of day ``id@YYYY-MM-DD/tariff``."""
    per_gpu_ns: Fraction
    """Nano-units of the currency per nanosecond of a whole device."""
    per_mj: Fraction
    """Nano-units of the currency per millijoule at the device; the facility's share (PUE) is in it."""

    def cost(self, gpu_ns: int, energy_mj: int) -> int:
        """Nano-units for device time (ns of a whole device) and its energy (mJ)."""
        return round_half_even(gpu_ns * self.per_gpu_ns + energy_mj * self.per_mj)


Steps = list[tuple[int, PriceRate | None]]
"""(moment from which it holds, rate), ascending, each different from the one before."""


@dataclass(frozen=True, slots=True)
class _Dated:
    """A price with the days on which it holds."""

    pattern: str
    starts: date
    ends: date | None
    usual: PriceRate
    by_tariff: tuple[tuple[Tariff, PriceRate], ...]

    def at(self, local: datetime) -> PriceRate:
        """The rate of the first tariff that fits."""
        for tariff, rate in self.by_tariff:
            if tariff.holds_at(local.weekday(), local.month, local.time()):
                return rate
        return self.usual

    @property
    def local_minutes(self) -> set[int]:
        """Minutes of a local day at which another tariff may begin to fit."""
        ends = (clock for tariff, _ in self.by_tariff for clock in (tariff.starts, tariff.ends))
        return {0, *(clock.hour * 60 + clock.minute for clock in ends)}


class ClusterPrices:
    """The prices of one cluster."""

    def __init__(self, config: Config, cluster: Cluster) -> None:
        prices = [price for price in config.price if price.cluster == cluster.id]
        self._dated = [
            _Dated(price.gpu_model, price.effective_from, effective_end(price, prices), *_rates(price, cluster))
            for price in by_precedence(prices)
        ]
        self._zone = ZoneInfo(cluster.timezone)
        self._days = lru_cache(_REMEMBERED)(self._steps_of_day)

    def by_time_of_day(self, gpu_model: str) -> bool:
        """Whether any price of a product has tariffs."""
        return any(dated.by_tariff and fnmatchcase(gpu_model, dated.pattern) for dated in self._dated)

    def at(self, gpu_model: str, ts_ms: int) -> PriceRate | None:
        """The rate that holds at a moment; None when no price does."""
        steps = self._days(gpu_model, ts_ms // DAY_MS)
        return steps[bisect_right(steps, ts_ms, key=_moment) - 1][1]

    def between(self, gpu_model: str, start_ms: int, end_ms: int) -> Steps:
        """The rates that hold from `start_ms` until `end_ms`; the first begins at `start_ms`."""
        found: Steps = [(start_ms, self.at(gpu_model, start_ms))]
        for day in range(start_ms // DAY_MS, -(-end_ms // DAY_MS)):
            for step in self._days(gpu_model, day):
                if start_ms < step[0] < end_ms and step[1] != found[-1][1]:
                    found.append(step)
        return found

    def _steps_of_day(self, gpu_model: str, day: int) -> Steps:
        start_ms = day * DAY_MS
        dated = self._price_of(gpu_model, (_EPOCH + timedelta(days=day)).date())
        if dated is None or not dated.by_tariff:
            return [(start_ms, dated.usual if dated else None)]
        steps: Steps = []
        for ms, local in self._local_moments(start_ms, dated.local_minutes):
            rate = dated.at(local)
            if not steps or rate != steps[-1][1]:
                steps.append((ms, rate))
        return steps

    def _price_of(self, gpu_model: str, day: date) -> _Dated | None:
        for dated in self._dated:
            holds = dated.starts <= day and (dated.ends is None or day < dated.ends)
            if holds and fnmatchcase(gpu_model, dated.pattern):
                return dated
        return None

    def _local_moments(self, start_ms: int, local_minutes: set[int]) -> list[tuple[int, datetime]]:
        """The moments of a UTC day at which it is one of these local minutes, its start, and changes of the clock."""
        marks = self._clock_changes(start_ms)
        moments = set(marks)
        for begins, ends in pairwise((*marks, start_ms + DAY_MS)):
            local = self._local(begins)
            minute_now = local.hour * 60 + local.minute
            for minute in local_minutes:
                moment = begins + (minute - minute_now) % _DAY_MINUTES * MINUTE_MS
                if moment < ends:
                    moments.add(moment)
        return [(ms, self._local(ms)) for ms in sorted(moments)]

    def _clock_changes(self, start_ms: int) -> list[int]:
        """The start of a UTC day, and the minutes of it at which the local clock is set forward or back."""
        found = [start_ms]
        for hour_ms in range(start_ms, start_ms + DAY_MS, HOUR_MS):
            low, high = hour_ms, hour_ms + HOUR_MS
            offset = self._local(low).utcoffset()
            if self._local(high).utcoffset() == offset:
                continue
            while high - low > MINUTE_MS:
                middle = (low + high) // 2 // MINUTE_MS * MINUTE_MS
                low, high = (middle, high) if self._local(middle).utcoffset() == offset else (low, middle)
            if high < start_ms + DAY_MS:
                found.append(high)
        return found

    def _local(self, ms: int) -> datetime:
        return (_EPOCH + timedelta(milliseconds=ms)).astimezone(self._zone)


class RguWeights:
    """Reference GPU units of devices and slices."""

    def __init__(self, config: Config) -> None:
        self._weights = sorted(
            config.rgu, key=lambda rgu: (-specificity(rgu.gpu_model), rgu.gpu_model, -rgu.effective_from.toordinal())
        )
        self._found = lru_cache(_REMEMBERED)(self._find)

    def of(self, gpu_model: str, profile: str, day: date) -> Fraction | None:
        """RGU of a whole device that is used in slices of a profile (empty: whole); None when nothing matches.

        The entry of that profile says it, else that of the whole device; of several, the one whose pattern fixes most.
        """
        return self._found(gpu_model, profile, day)

    def _find(self, gpu_model: str, profile: str, day: date) -> Fraction | None:
        for wanted in dict.fromkeys((profile, "")):
            for rgu in self._weights:
                if rgu.slice == wanted and rgu.effective_from <= day and fnmatchcase(gpu_model, rgu.gpu_model):
                    return rgu.weight / rgu.share
        return None


_EPOCH = datetime.combine(date(1970, 1, 1), time(), UTC)


def _moment(step: tuple[int, PriceRate | None]) -> int:
    return step[0]


def _rates(price: Price, cluster: Cluster) -> tuple[PriceRate, tuple[tuple[Tariff, PriceRate], ...]]:
    """The usual rate of a price, and those of its tariffs.

    Owned: (purchase - residual value) / lifetime + operation, and energy x tariff x PUE. Rented: the contract price,
    energy in it.
    """
    if price.basis == "rented":
        per_hour, pue = price.per_gpu_hour or Fraction(0), Fraction(0)
    else:
        written_off = (price.capex or Fraction(0)) - (price.residual_value or Fraction(0))
        per_hour = written_off / ((price.lifetime_years or Fraction(1)) * HOURS_PER_YEAR) + price.opex_per_gpu_hour
        pue = cluster.pue_or_1 if price.pue is None else price.pue

    def rate(per_kwh: Fraction, tariff: str) -> PriceRate:
        return PriceRate(
            currency=price.currency,
            version=f"{price.id}@{price.effective_from}{tariff}",
            per_gpu_ns=per_hour * NANO / _NS_PER_HOUR,
            per_mj=per_kwh * pue * NANO / _MJ_PER_KWH,
        )

    by_tariff = tuple((tariff, rate(tariff.energy_per_kwh, f"/{tariff.id}")) for tariff in price.tariff)
    return rate(price.energy_per_kwh, ""), by_tariff
