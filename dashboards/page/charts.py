"""ECharts options of time series panels. Colours are CSS variables, so that a change of theme needs no server."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from dashboards.macros import Window
from dashboards.model import Panel
from dashboards.page.feed import QueryFailed, Table
from dashboards.page.markup import COLOURS, SHAPE_NAMES, Newest
from dashboards.units import Lang, Style

FONT = "Roboto, system-ui, sans-serif"  # as in style.css; SVG text is measured with it
LOG_FROM = 30.0  # spread of values from which a logarithmic axis says more than a linear one


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: list[tuple[int, float]]
    """(unix milliseconds, value), ascending."""


def series_of(table: Table) -> list[Series]:
    """The long table as series, by name; rows without a value are gaps."""
    time, name, value = table.column("time"), table.column("series"), table.column("value")
    found: dict[str, list[tuple[int, float]]] = {}
    for row in table.rows:
        if row[value] is not None:
            found.setdefault(str(row[name]), []).append((_milliseconds(row[time]), _float(row[value])))
    return [Series(key, found[key]) for key in sorted(found)]


def _milliseconds(moment: object) -> int:
    if not isinstance(moment, datetime):
        raise QueryFailed("column time holds no moments")
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _float(value: object) -> float:
    if not isinstance(value, int | float | Decimal):
        raise QueryFailed("column value holds no numbers")
    return float(value)


def newest(series: list[Series], window: Window) -> list[Newest]:
    """The newest value of each series; where it is older than the others' by two intervals, since when."""
    last = max((one.points[-1][0] for one in series), default=0) - 2 * window.interval_ms
    return [
        Newest(one.name, value, datetime.fromtimestamp(moment / 1000, UTC) if moment < last else None)
        for one in series
        for moment, value in one.points[-1:]
    ]


def options(panel: Panel, series: list[Series], window: Window, lang: Lang) -> dict[str, Any]:
    """Everything that ECharts needs to draw the panel."""
    values = [value for one in series for _, value in one.points]
    log = panel.log_scale and min(values, default=0) > 0 and max(values) / min(values) > LOG_FROM
    return {
        "animation": False,
        "useUTC": True,
        "grid": {
            "left": 2,
            "right": 12,
            "top": 28,
            "bottom": 8,
            "outerBoundsMode": "same",
            "outerBoundsContain": "axisLabel",
        },
        "textStyle": {"fontFamily": FONT},
        "xAxis": {
            "type": "time",
            "min": window.from_ms,
            "max": window.to_ms,
            "axisLine": {"lineStyle": {"color": "var(--line-strong)"}},
            "axisTick": {"show": False},
            "axisLabel": {"color": "var(--muted)", "fontSize": 11, "hideOverlap": True, "margin": 10},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "log" if log else "value",
            **_extent(panel, values, log=log),
            "splitNumber": 4,
            "name": panel.unit.suffix.of(lang),
            "nameGap": 10,
            "nameTextStyle": {"color": "var(--muted)", "fontSize": 11, "align": "left"},
            "axisLabel": {"color": "var(--muted)", "fontSize": 11, ":formatter": _formatter(panel, lang, axis=True)},
            "splitLine": {"lineStyle": {"color": "var(--line)"}},
            "minorSplitLine": {"show": log, "lineStyle": {"color": "var(--line)", "opacity": 0.5}},
        },
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "order": "valueDesc",
            "className": "cw-tip",
            ":valueFormatter": _formatter(panel, lang, axis=False),
            "axisPointer": {"lineStyle": {"color": "var(--muted)"}},
        },
        "series": [_line(panel, one, index, window, lang) for index, one in enumerate(series)],
    }


def _line(panel: Panel, series: Series, index: int, window: Window, lang: Lang) -> dict[str, object]:
    colour = f"var(--s{index % COLOURS + 1})"
    shape = SHAPE_NAMES[index % len(SHAPE_NAMES)]
    last = list(series.points[-1])
    line: dict[str, object] = {
        "type": "line",
        "name": series.name,
        "data": _with_gaps(series.points, window.interval_ms),
        "symbol": "circle",
        "showSymbol": False,
        "symbolSize": 5,
        "color": colour,
        "lineStyle": {"color": colour, "width": 1.75},
        "itemStyle": {"color": colour},
        "emphasis": {"disabled": True},
        # The newest point carries the shape of the legend: a line is told by shape as well as by colour.
        "markPoint": {
            "silent": True,
            "symbol": shape,
            "symbolSize": 9,
            "itemStyle": {"color": colour, "borderColor": "var(--panel)", "borderWidth": 1},
            "label": {"show": False},
            "data": [{"coord": last}],
        },
    }
    if index == 0 and panel.threshold_lines:
        line |= _bands(panel, lang)
    return line


def _with_gaps(points: list[tuple[int, float]], interval_ms: int) -> list[list[float | None]]:
    """The points, with an empty one wherever an interval has none: a gap is shown as a gap."""
    result: list[list[float | None]] = [list(point) for point in points[:1]]
    for (before, _), (moment, value) in pairwise(points):
        if moment - before > interval_ms * 1.5:
            result.append([before + interval_ms, None])
        result.append([moment, value])
    return result


def _bands(panel: Panel, lang: Lang) -> dict[str, object]:
    """Labelled thresholds: an area up to the next one, a line for the last."""
    lines, areas = [], []
    for index, threshold in enumerate(panel.thresholds):
        if threshold.at is None or threshold.label is None:
            continue
        ink = f"var(--{threshold.level})"
        label = {"show": True, "color": ink, "formatter": threshold.label.of(lang), "fontSize": 11}
        if index + 1 < len(panel.thresholds):
            style = {"color": ink, "opacity": 0.13}
            areas.append(
                [
                    {"yAxis": threshold.at, "itemStyle": style, "label": {**label, "position": "insideTopLeft"}},
                    {"yAxis": panel.thresholds[index + 1].at},
                ]
            )
        else:
            style = {"color": ink, "type": "dashed", "width": 1.5}
            lines.append({"yAxis": threshold.at, "lineStyle": style, "label": {**label, "position": "insideStartTop"}})
    return {
        "markLine": {"silent": True, "symbol": "none", "data": lines},
        "markArea": {"silent": True, "data": areas},
    }


def _extent(panel: Panel, values: list[float], *, log: bool) -> dict[str, float]:
    """Ends of the value axis: from zero, or decades when logarithmic; thresholds are always in sight."""
    marks = [t.at for t in panel.thresholds if t.at is not None] if panel.threshold_lines else []
    seen = [*values, *marks]
    if not seen:
        return {}
    if log:
        return {"min": 10.0 ** math.floor(math.log10(min(seen))), "max": 10.0 ** math.ceil(math.log10(max(seen)))}
    ends: dict[str, float] = {"min": min(0.0, *seen)} if min(seen) < 0 else {"min": 0}
    if marks and max(values, default=0) <= max(marks):
        ends["max"] = max(marks) * 1.2
    return ends


def _formatter(panel: Panel, lang: Lang, *, axis: bool) -> str:
    """JavaScript that writes a number of the panel's unit, as short as an axis needs or with its unit."""
    factor = 100 if panel.unit.style is Style.SHARE else 1
    digits = {"notation": "compact", "maximumSignificantDigits": 3} if axis else {"maximumSignificantDigits": 6}
    suffix = panel.unit.suffix.of(lang)
    if axis:  # the unit stands above the axis
        suffix = ""
    behind = json.dumps(f"\u00a0{suffix}" if suffix else "")
    return (
        f"v => v == null ? '–' : Number(v * {factor})"
        f".toLocaleString({json.dumps(f'{lang}-CA')}, {json.dumps(digits)}) + {behind}"
    )
