"""The lines of a time series panel as numbers: read from a table, with gaps, stacked, and the areas between two."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from dashboards.page.feed import QueryFailed, Table
from dashboards.page.ranges import milliseconds

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_MOSTLY = 0.6
Point = tuple[int, float]
"""Unix milliseconds, value."""


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: list[Point]
    """Ascending by time, at least one."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The last value of a series, and when it was unless that is the newest moment known."""

    name: str
    value: float
    at_ms: int
    ended: bool = False
    """Before the others by more than two intervals."""
    ahead: bool = False
    """In the future."""


def series_of(table: Table) -> list[Series]:
    """The long table as series, by name; rows without a value are gaps. Raises QueryFailed for one of another form."""
    time, name, value = table.column("time"), table.column("series"), table.column("value")
    found: dict[str, list[Point]] = {}
    for row in table.rows:
        if row[value] is not None:
            found.setdefault(str(row[name]), []).append((_at(row[time]), _float(row[value])))
    return [Series(key, found[key]) for key in sorted(found)]


def newest(series: Sequence[Series], interval_ms: int, now_ms: int) -> list[Newest]:
    """The last value of each series."""
    known = max((at for one in series if (at := one.points[-1][0]) <= now_ms), default=0) - 2 * interval_ms
    return [
        Newest(one.name, value, at, ended=at < known, ahead=at > now_ms)
        for one in series
        for at, value in one.points[-1:]
    ]


def spacing_ms(series: Sequence[Series], interval_ms: int) -> int:
    """Time from one value to the next: the width of a point, unless the SQL keeps to a coarser grid.

    That is so where most values are equally far apart, or where all are of whole hours or days.
    """
    steps = Counter(after - before for one in series for (before, _), (after, _) in pairwise(one.points))
    for step, often in steps.most_common(1):
        if step > interval_ms and often >= 3 and often >= _MOSTLY * steps.total():
            return step
    moments = {at for one in series for at, _ in one.points}
    if len(moments) > 1:
        for wide in (DAY_MS, HOUR_MS):
            if interval_ms < wide and all(at % wide == 0 for at in moments):
                return wide
    return interval_ms


def with_gaps(points: Sequence[Point], interval_ms: int) -> list[list[float | None]]:
    """The points, with an empty one wherever an interval has none: a gap is shown as a gap."""
    result: list[list[float | None]] = [list(point) for point in points[:1]]
    for (before, _), (at, value) in pairwise(points):
        if at - before > interval_ms * 1.5:
            result.append([before + interval_ms, None])
        result.append([at, value])
    return result


def stacked(series: Sequence[Series], interval_ms: int) -> list[list[list[float | None]]]:
    """The points of each series at the same moments, so that they can be added up, drawn as steps.

    What has no value where another has one adds nothing. A value holds for its interval: before a gap, and at the
    end, the step is closed.
    """
    moments = sorted({at for one in series for at, _ in one.points})
    result = []
    for one in series:
        known = dict(one.points)
        points: list[list[float | None]] = []
        for at, after in zip(moments, [*moments[1:], None], strict=True):
            value = known.get(at, 0.0)
            points.append([at, value])
            if after is None or after - at > interval_ms * 1.5:
                points += [[at + interval_ms, value], [at + interval_ms, None]]
        result.append(points)
    return result


def alone(points: Sequence[Point], interval_ms: int) -> list[Point]:
    """Points between two gaps, which no line shows."""
    return [run[0] for run in _runs(points, interval_ms) if len(run) == 1]


def band(upper: Sequence[Point], lower: Sequence[Point], interval_ms: int) -> list[list[Point]]:
    """Outlines of the area between two lines, over the time that both cover; their moments need not be the same."""
    outlines = []
    for above in _runs(upper, interval_ms):
        for below in _runs(lower, interval_ms):
            start, end = max(above[0][0], below[0][0]), min(above[-1][0], below[-1][0])
            if start < end:
                outlines.append(_part(above, start, end) + _part(below, start, end)[::-1])
    return outlines


def _runs(points: Sequence[Point], interval_ms: int) -> list[list[Point]]:
    """The points between gaps."""
    runs = [list(points[:1])]
    for before, after in pairwise(points):
        if after[0] - before[0] > interval_ms * 1.5:
            runs.append([])
        runs[-1].append(after)
    return runs


def _part(points: Sequence[Point], start: int, end: int) -> list[Point]:
    inner = [point for point in points if start < point[0] < end]
    return [(start, _value(points, start)), *inner, (end, _value(points, end))]


def _value(points: Sequence[Point], at: int) -> float:
    """On the line between the two points around a moment."""
    index = bisect_left(points, (at,))
    if points[index][0] == at:
        return points[index][1]
    (t0, v0), (t1, v1) = points[index - 1], points[index]
    return v0 + (v1 - v0) * (at - t0) / (t1 - t0)


def _at(moment: object) -> int:
    if not isinstance(moment, datetime):
        raise QueryFailed("column time holds no moments")
    return milliseconds(moment)


def _float(value: object) -> float:
    if not isinstance(value, int | float | Decimal):
        raise QueryFailed("column value holds no numbers")
    return float(value)
