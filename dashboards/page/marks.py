"""Annotations: moments and regions, drawn in every chart of a dashboard and listed in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Any

from dashboards.macros import Window
from dashboards.model import Annotation, Level
from dashboards.page import words
from dashboards.page.feed import QueryFailed, Table
from dashboards.page.markup import tag
from dashboards.page.ranges import milliseconds, moment
from schemas.texts import Lang

LISTED = 100
_TITLES = 5  # of regions that overlap, in the chart
_STRIP_PX = (28, 32)  # from the top of the chart; the plot begins below
_WASH, _STRIP = 0.05, 0.75  # opacity
INK = {Level.PLAIN: "var(--muted)", Level.GOOD: "var(--good)", Level.WATCH: "var(--watch)", Level.ACT: "var(--act)"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment, or (until not None) a region. Unix milliseconds."""

    at_ms: int
    until_ms: int | None
    kind: str
    """Title of the annotation that it is of, in the viewer's language."""
    title: str
    text: str
    level: Level


def marks_of(annotation: Annotation, table: Table, lang: Lang) -> list[Mark]:
    """The rows of an annotation's answer. Raises QueryFailed for one of another form."""
    at, until = table.column("time"), table.column("timeEnd")
    title, text = table.column("title"), table.column("text")
    return [
        Mark(
            _at(row[at]), None if row[until] is None else _at(row[until]), annotation.title.of(lang),
            str(row[title] or ""), str(row[text] or ""), annotation.level,
        )
        for row in table.rows
    ]  # fmt: skip


def _at(value: object) -> int:
    if isinstance(value, datetime):
        return milliseconds(value)
    if isinstance(value, int | float | Decimal):
        return int(value)
    raise QueryFailed("an annotation's time is no moment")


def drawn(marks: Sequence[Mark], window: Window, now_ms: int, lang: Lang) -> dict[str, Any]:
    """An empty series that carries the marks, and the present moment in a range that reaches beyond it.

    A region is a strip above the plot and a faint wash down it; those of a level that overlap are drawn as one.
    """
    seen = [mark for mark in marks if mark.at_ms <= window.to_ms and (mark.until_ms or mark.at_ms) >= window.from_ms]
    lines: list[dict[str, Any]] = [
        {
            "xAxis": mark.at_ms,
            "lineStyle": {"color": INK[mark.level], "type": "dotted", "width": 1.5},
            "label": {"show": False, "position": "insideEndTop"},
            "emphasis": _hovered(mark.title, mark.level),
        }
        for mark in seen
        if mark.until_ms is None
    ]
    areas: list[list[dict[str, Any]]] = []
    for level in Level:
        for start, end, title in _joined([mark for mark in seen if mark.level is level]):
            ends = {"xAxis": max(start, window.from_ms)}, {"xAxis": min(end, window.to_ms)}
            for opacity, top, bottom in ((_WASH, {}, {}), (_STRIP, {"y": _STRIP_PX[0]}, {"y": _STRIP_PX[1]})):
                style = {"color": INK[level], "opacity": opacity}
                areas.append([{**ends[0], **top, "itemStyle": style, "emphasis": _hovered(title, level)},
                              {**ends[1], **bottom}])  # fmt: skip
    if window.from_ms < now_ms < window.to_ms - window.interval_ms:
        label = {"show": True, "formatter": words.NOW.of(lang), "color": "var(--muted)", "fontSize": 11,
                 "position": "end", "distance": 6}  # fmt: skip
        style = {"color": "var(--muted)", "type": "solid", "width": 1}
        lines.append({"xAxis": now_ms, "lineStyle": style, "label": label, "emphasis": {"disabled": True}})
    return {
        "id": "marks",
        "type": "line",
        "name": "",
        "data": [],
        "z": 1,
        "tooltip": {"show": False},
        "markLine": {"symbol": ["none", "none"], "data": lines},
        "markArea": {"label": {"show": False, "position": "insideTop"}, "data": areas},
    }


def _joined(marks: Sequence[Mark]) -> list[tuple[int, int, str]]:
    """Start, end and titles of regions, those that overlap as one."""
    joined: list[tuple[int, int, list[str]]] = []
    for mark in sorted(marks, key=lambda mark: mark.at_ms):
        if mark.until_ms is None:
            continue
        if joined and mark.at_ms <= joined[-1][1]:
            start, end, titles = joined[-1]
            joined[-1] = (start, max(end, mark.until_ms), [*titles, mark.title])
        else:
            joined.append((mark.at_ms, mark.until_ms, [mark.title]))
    return [
        (start, end, "\n".join([*titles[:_TITLES], *(["…"] if len(titles) > _TITLES else [])]))
        for start, end, titles in joined
    ]


def _hovered(title: str, level: Level) -> dict[str, Any]:
    return {
        "label": {
            "show": True, "formatter": title, "color": "var(--text)", "backgroundColor": "var(--panel)",
            "borderColor": INK[level], "borderWidth": 1, "borderRadius": 4, "padding": [3, 6], "fontSize": 11,
        }
    }  # fmt: skip


def listed(marks: Sequence[Mark], lang: Lang) -> str:
    """The marks in words, the newest first."""
    if not marks:
        return tag("p", escape(words.NO_EVENTS.of(lang)), _class="cw-note")
    newest = sorted(marks, key=lambda mark: -mark.at_ms)[:LISTED]
    rows = [
        tag(
            "li", tag("span", words.SIGNS[mark.level] or "•", _class=f"cw-{mark.level}", aria_hidden="true"),
            tag("div", tag("p", _when(mark, lang), " · ", escape(mark.kind), _class="cw-aside"),
                tag("p", tag("strong", escape(mark.title)), escape(f" {mark.text}" if mark.text else ""))),
        )
        for mark in newest
    ]  # fmt: skip
    rest = words.MORE_EVENTS.of(lang).format(n=LISTED, all=len(marks)) if len(marks) > LISTED else ""
    return tag("ul", *rows) + (tag("p", escape(rest), _class="cw-note") if rest else "")


def _when(mark: Mark, lang: Lang) -> str:
    first = f"{moment(mark.at_ms):%Y-%m-%d %H:%M}"
    if mark.until_ms is None:
        return first
    return words.BETWEEN.of(lang).format(first=first, last=f"{moment(mark.until_ms):%Y-%m-%d %H:%M}")
