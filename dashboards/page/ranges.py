"""Time ranges: presets that end now, the fiscal year with its future, and absolute ones. Times are UTC.

An address says `range=6h`, `range=fy`, or `from=…&to=…` in unix milliseconds, as Grafana does.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.datastructures import QueryParams

from dashboards.macros import Window
from dashboards.model import FISCAL_YEAR_STARTS, MAX_POINTS
from dashboards.page import words
from schemas.texts import Lang

DAY_S = 86_400
PRESETS: dict[str, int] = {
    "15m": 900,
    "1h": 3600,
    "6h": 6 * 3600,
    "24h": DAY_S,
    "7d": 7 * DAY_S,
    "30d": 30 * DAY_S,
    "90d": 90 * DAY_S,
    "1y": 365 * DAY_S,
}
"""Ranges that end now, with their length in seconds."""
FISCAL_YEAR = "fy"
NAMES = (*PRESETS, FISCAL_YEAR)

# Widths of a point. SQL reads minutes below an hour, settled hours below a day, then settled days: a day and less is
# read from minutes, two months and less from hours. A year has a point for each day, as in Grafana.
_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, DAY_S)

SHORTEST_MS = 60_000
LATEST_MS = 4_102_444_800_000  # 2100
_SOON_MS = 300_000  # a range that was stepped back and forth again still ends now
_LONGEST_PERIOD_S = 60.0


@dataclass(frozen=True, slots=True)
class Range:
    """A preset by its name, or (name empty) the time between two moments, both in it."""

    name: str
    from_ms: int = 0
    to_ms: int = 0

    @classmethod
    def between(cls, from_ms: int, to_ms: int) -> "Range | None":
        """An absolute range; None when the ends are the wrong way round, too close, or not of this century."""
        fits = from_ms >= 0 and to_ms <= LATEST_MS and to_ms - from_ms >= SHORTEST_MS - 1
        return cls("", from_ms, to_ms) if fits else None

    @classmethod
    def read(cls, params: QueryParams) -> "Range | None":
        """From an address; None where it says nothing that is understood."""
        if (name := params.get("range", "")) in NAMES:
            return cls(name)
        ends = params.get("from", ""), params.get("to", "")
        if all(end.isascii() and end.isdigit() and len(end) < 15 for end in ends):
            return cls.between(int(ends[0]), int(ends[1]))
        return None

    def query(self) -> list[tuple[str, str]]:
        """As it stands in an address."""
        return [("range", self.name)] if self.name else [("from", str(self.from_ms)), ("to", str(self.to_ms))]

    def bounds(self, now_ms: int) -> tuple[int, int]:
        """First and last millisecond."""
        if self.name == FISCAL_YEAR:
            return fiscal_year(now_ms)
        if self.name:
            return now_ms - PRESETS[self.name] * 1000, now_ms
        return self.from_ms, self.to_ms

    def interval_s(self, now_ms: int) -> int:
        """Width of one point: the usual one that gives at most MAX_POINTS, at most a day."""
        from_ms, to_ms = self.bounds(now_ms)
        return next((step for step in _STEPS_S if (to_ms - from_ms) / 1000 / step <= MAX_POINTS), DAY_S)

    def period_s(self, now_s: float, refresh_s: float) -> float:
        """Time after which figures are read again: long ranges do not change within seconds."""
        return max(refresh_s, min(_LONGEST_PERIOD_S, self.interval_s(int(now_s * 1000)) / 60))

    def window(self, now_s: float, refresh_s: float) -> Window:
        """What to ask for. Presets end on a grid of periods, so that all viewers of a moment ask the same question."""
        step_ms = max(1000, round(self.period_s(now_s, refresh_s) * 1000))
        now_ms = int(now_s * 1000) // step_ms * step_ms
        return Window(*self.bounds(now_ms), self.interval_s(now_ms) * 1000)

    def is_live(self, now_ms: int) -> bool:
        """Whether it ends now or later, so that its figures still change."""
        return self.name != "" or self.to_ms >= now_ms

    def moved(self, now_ms: int, *, later: bool) -> "Range":
        """The range before, or after, of the same length; fiscal years go by years. Stays at the ends of time."""
        from_ms, to_ms = self.bounds(now_ms)
        if (from_ms, to_ms) == fiscal_year(from_ms):
            year = fiscal_year(to_ms + 1 if later else from_ms - 1)
            return Range(FISCAL_YEAR) if year == fiscal_year(now_ms) else Range.between(*year) or self
        span_ms = to_ms - from_ms
        shift_ms = span_ms if later else -span_ms
        if abs(to_ms + shift_ms - now_ms) < _SOON_MS:
            preset = next((name for name, span_s in PRESETS.items() if span_s * 1000 == span_ms), None)
            if preset is not None:
                return Range(preset)
        return Range.between(from_ms + shift_ms, to_ms + shift_ms) or self

    def said(self, lang: Lang) -> str:
        """In words: Last 6 hours; 2026-04-01 to 2027-03-31."""
        if self.name:
            return words.RANGES[self.name].of(lang)
        first, last = moment(self.from_ms), moment(self.to_ms)
        if _is_midnight(first) and _is_midnight(moment(self.to_ms + 1)):
            ends = [f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}"]
        else:
            same_day = first.date() == last.date()
            ends = [f"{first:%Y-%m-%d %H:%M}", f"{last:%H:%M}" if same_day else f"{last:%Y-%m-%d %H:%M}"]
        return ends[0] if ends[0] == ends[1] else words.BETWEEN.of(lang).format(first=ends[0], last=ends[1])


def fiscal_year(at_ms: int) -> tuple[int, int]:
    """First and last millisecond of the fiscal year that a moment lies in."""
    when = moment(at_ms)
    year = when.year - (when.month < FISCAL_YEAR_STARTS)
    first, after = (datetime(one, FISCAL_YEAR_STARTS, 1, tzinfo=UTC) for one in (year, year + 1))
    return milliseconds(first), milliseconds(after) - 1


def moment(at_ms: int) -> datetime:
    """Unix milliseconds as a moment."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def milliseconds(when: datetime) -> int:
    """A moment as unix milliseconds; one without a time zone is in UTC."""
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def _is_midnight(when: datetime) -> bool:
    return (when.hour, when.minute, when.second, when.microsecond) == (0, 0, 0, 0)
