"""ECharts options of time series panels. Colours are CSS variables, so that a change of theme needs no server."""

import json
import math
from collections.abc import Sequence
from typing import Any

from dashboards.macros import Window
from dashboards.model import Panel, SeriesStyle
from dashboards.page import marks
from dashboards.page.markup import COLOURS, SHAPE_NAMES
from dashboards.page.series import Series, alone, band, spacing_ms, stacked, with_gaps
from dashboards.page.state import State
from dashboards.units import Style

FONT = "Roboto, system-ui, sans-serif"  # as in style.css; SVG text is measured with it
LOG_FROM = 30.0  # spread of values from which a logarithmic axis says more than a linear one

# Times as on the rest of the page, in both languages: 2026-11-28, 14:05.
_TIMES = {
    "year": "{yyyy}", "month": "{yyyy}-{MM}", "day": "{MM}-{dd}", "hour": "{HH}:{mm}", "minute": "{HH}:{mm}",
    "second": "{HH}:{mm}:{ss}",
}  # fmt: skip

# Between two marks of an axis of durations, in seconds.
_DURATIONS_S = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600,
    43_200, 86_400, 172_800, 432_000, 864_000, 2_592_000, 7_776_000,
)  # fmt: skip


def colour(panel: Panel, name: str, index: int, state: State) -> str:
    """Of a line and of its sign in the legend."""
    own = styles(panel, state)
    # The lower edge of a band is drawn as the upper one.
    for candidate in (
        name,
        *(upper for upper, style in own.items() if style.down_to and _edges(style, state)[1] == name),
    ):
        if candidate in own and (level := own[candidate].level) is not None:
            return marks.INK[level]
    return f"var(--s{index % COLOURS + 1})"


def styles(panel: Panel, state: State) -> dict[str, SeriesStyle]:
    """The series that are drawn in a way of their own, by name."""
    return {style.name.of(state.lang): style for style in panel.styles}


def options(
    panel: Panel,
    series: Sequence[Series],
    window: Window,
    state: State,
    marked: Sequence[marks.Mark] = (),
    now_ms: int = 0,
) -> dict[str, Any]:
    """Everything that ECharts needs to draw the panel."""
    values = [value for one in series for _, value in one.points]
    log = panel.log_scale and min(values, default=0) > 0 and max(values) / min(values) > LOG_FROM
    spacing = spacing_ms(series, window.interval_ms)
    stack = stacked(series, spacing) if panel.stacked else None
    return {
        "animation": False,
        "useUTC": True,
        "grid": {
            "left": 2,
            "right": 14,
            "top": 32,
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
            "axisLabel": {
                "color": "var(--muted)", "fontSize": 11, "hideOverlap": True, "margin": 10, "formatter": _TIMES,
            },
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "log" if log else "value",
            **_extent(panel, values, log=log),
            "splitNumber": 4,
            "name": state.suffix(panel.unit),
            "nameGap": 13,
            "nameTextStyle": {"color": "var(--muted)", "fontSize": 11, "align": "left"},
            "axisLabel": {"color": "var(--muted)", "fontSize": 11, ":formatter": _formatter(panel, state, axis=True)},
            "splitLine": {"lineStyle": {"color": "var(--line)"}},
            "minorSplitLine": {"show": log, "lineStyle": {"color": "var(--line)", "opacity": 0.5}},
        },
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "order": "seriesDesc" if panel.stacked else "valueDesc",
            "className": "cw-tip",
            ":valueFormatter": _formatter(panel, state, axis=False),
            "axisPointer": {"lineStyle": {"color": "var(--muted)"}},
        },
        # A range is chosen by dragging: see panel_view.
        "toolbox": {"show": False},
        "brush": {
            "toolbox": [],
            "xAxisIndex": 0,
            "throttleType": "debounce",
            "brushStyle": {"borderWidth": 1, "color": "var(--accent-wash)", "borderColor": "var(--accent)",
                           "opacity": 0.5},
            "outOfBrush": {"colorAlpha": 1},
        },
        "series": [
            marks.drawn(marked if state.marks else (), window, now_ms, state.lang),
            *_bands(panel, series, spacing, state),
            *(
                _line(panel, one, index, stack[index] if stack else None, spacing, state)
                for index, one in enumerate(series)
            ),
        ],
    }  # fmt: skip


def _line(
    panel: Panel, series: Series, index: int, steps: list[list[float | None]] | None, spacing: int, state: State
) -> dict[str, object]:
    ink = colour(panel, series.name, index, state)
    known = styles(panel, state)
    own = known.get(series.name)
    edge = any(series.name in _edges(style, state) for style in known.values() if style.down_to)
    signs: list[dict[str, object]] = [] if edge else [{"coord": list(series.points[-1])}]
    for point in alone(series.points, spacing):
        signs.append({"coord": list(point), "symbol": "circle", "symbolSize": 4})
    line: dict[str, object] = {
        "id": f"line-{index}",
        "type": "line",
        "name": series.name,
        "data": with_gaps(series.points, spacing) if steps is None else steps,
        "step": False if steps is None else "end",
        "symbol": "circle",
        "showSymbol": False,
        "symbolSize": 5,
        "color": ink,
        "stack": "sum" if panel.stacked else None,
        "areaStyle": {"color": ink, "opacity": 0.35 if panel.stacked else 0},
        "lineStyle": {
            "color": ink,
            "width": 1 if edge or panel.stacked else 1.75,
            "type": "dashed" if own is not None and own.dashed else "solid",
            "opacity": 0.6 if edge else 1,
        },
        "itemStyle": {"color": ink},
        "emphasis": {"disabled": True},
        # The newest point carries the shape of the legend: a line is told by shape as well as by colour.
        "markPoint": {
            "silent": True,
            "symbol": SHAPE_NAMES[index % len(SHAPE_NAMES)],
            "symbolSize": 9,
            "itemStyle": {"color": ink, "borderColor": "var(--panel)", "borderWidth": 1},
            "label": {"show": False},
            "data": [] if steps is not None else signs,
        },
    }
    if index == 0 and panel.threshold_lines:
        line |= _thresholds(panel, state)
    return line


def _edges(style: SeriesStyle, state: State) -> tuple[str, ...]:
    return (style.name.of(state.lang), style.down_to.of(state.lang)) if style.down_to else ()


def _bands(panel: Panel, series: Sequence[Series], spacing: int, state: State) -> list[dict[str, object]]:
    """The areas between two series, as polygons, for the two need not have their points at the same moments."""
    places = {one.name: index for index, one in enumerate(series)}
    drawn: list[dict[str, object]] = []
    for style in panel.styles:
        edges = _edges(style, state)
        if not edges or not all(name in places for name in edges):
            continue
        upper, lower = (series[places[name]].points for name in edges)
        ink = json.dumps(colour(panel, edges[0], places[edges[0]], state))
        for outline in band(upper, lower, spacing):
            drawn.append(
                {
                    "id": f"band-{len(drawn)}",
                    "type": "custom",
                    "name": "",
                    "silent": True,
                    "clip": True,
                    "z": 1,
                    "tooltip": {"show": False},
                    "data": [list(outline[0])],
                    ":renderItem": "(params, api) => ({type: 'polygon', silent: true, "
                    f"shape: {{points: {json.dumps(outline)}.map(one => api.coord(one))}}, "
                    f"style: {{fill: {ink}, opacity: 0.16}}}})",
                }
            )
    return drawn


def _thresholds(panel: Panel, state: State) -> dict[str, object]:
    """Labelled thresholds: an area up to the next one, a line for the last."""
    lines, areas = [], []
    for index, threshold in enumerate(panel.thresholds):
        if threshold.at is None or threshold.label is None:
            continue
        ink = f"var(--{threshold.level})"
        label = {"show": True, "color": ink, "formatter": threshold.label.of(state.lang), "fontSize": 11}
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
    limits = [t.at for t in panel.thresholds if t.at is not None] if panel.threshold_lines else []
    seen = [*values, *limits]
    if not seen:
        return {}
    if log:
        return {"min": 10.0 ** math.floor(math.log10(min(seen))), "max": 10.0 ** math.ceil(math.log10(max(seen)))}
    ends: dict[str, float] = {"min": min(0.0, *seen)} if min(seen) < 0 else {"min": 0}
    if limits and max(values, default=0) <= max(limits):
        ends["max"] = max(limits) * 1.2
    if panel.unit.style is Style.DURATION and (most := max(map(abs, seen)) * panel.unit.seconds):
        step = next((step for step in _DURATIONS_S if most / step <= 5), None)
        if step:
            ends |= {"interval": step / panel.unit.seconds}
            ends.setdefault("max", math.ceil(most / step) * step / panel.unit.seconds)
    return ends


def _formatter(panel: Panel, state: State, *, axis: bool) -> str:
    """JavaScript that writes a number of the panel's unit, as short as an axis needs or with its unit."""
    if panel.unit.style is Style.DURATION:
        return _duration_formatter(panel, state)
    factor = 100 if panel.unit.style is Style.SHARE else 1
    digits = {"notation": "compact", "maximumSignificantDigits": 3} if axis else {"maximumSignificantDigits": 6}
    suffix = "" if axis else state.suffix(panel.unit)  # the unit stands above the axis
    behind = json.dumps(f"\u00a0{suffix}" if suffix else "")
    return (
        f"v => v == null ? '–' : Number(v * {factor})"
        f".toLocaleString({json.dumps(f'{state.lang}-CA')}, {json.dumps(digits)}) + {behind}"
    )


def _duration_formatter(panel: Panel, state: State) -> str:
    """JavaScript that writes a duration in its largest part: 250 ms, 1.5 min, 3 d."""
    parts = [[0.001, "ms", 1], [1, "s", 60], [60, "min", 3600], [3600, "h", 86_400]]
    day = json.dumps([86_400, "j" if state.lang == "fr" else "d"])
    return (
        f"v => {{ if (v == null) return '–'; const s = v * {panel.unit.seconds}; "
        f"const [size, name] = s === 0 ? [1, 's'] : {json.dumps(parts)}.find(one => Math.abs(s) < one[2]) || {day}; "
        f"return (s / size).toLocaleString({json.dumps(f'{state.lang}-CA')}, {{maximumSignificantDigits: 3}}) + "
        "'\u00a0' + name }"
    )
