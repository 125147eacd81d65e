"""HTML of table panels: cells with units, levels, gauges, trends and links; rows in the order that was asked for."""

import re
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape

from dashboards.boards import BY_UID
from dashboards.model import Column, Level, Panel, RowLink, level_of
from dashboards.page import words
from dashboards.page.feed import Table
from dashboards.page.markup import exact, note, number, shown, tag
from dashboards.page.ranges import Range
from dashboards.page.state import State
from dashboards.units import Style

LONG = 36  # characters from which a text may break over lines

_BARS = " ▁▂▃▄▅▆▇█"  # as ClickHouse's sparkbar writes a trend
_TREND = re.compile(f"[{_BARS}]*[{_BARS[1:]}][{_BARS}]*")

# Units that stand in the cell; all others are said once, in the head of the column.
_IN_CELL = (Style.SHARE, Style.DURATION, Style.TEXT)


@dataclass(frozen=True, slots=True)
class Order:
    """Rows by the values of a column instead of the SQL's own order."""

    column: str
    down: bool


def next_order(panel: Panel, order: Order | None, column: str) -> Order | None:
    """What a further press of a column's head asks for: largest first for figures, A first for texts, the other way
    round, then the SQL's own order again."""
    found = next((one for one in panel.columns if one.name == column), None)
    if found is None:
        return order
    first = Order(column, down=found.unit.style is not Style.TEXT)
    if order is None or order.column != column:
        return first
    return Order(column, not first.down) if order == first else None


def grid(panel: Panel, table: Table, state: State, order: Order | None = None) -> str:
    """The rows of a table panel. Raises QueryFailed when the answer lacks a column."""
    lang = state.lang
    if not table.rows:
        return note(panel.empty.of(lang))
    head = "".join(_head(column, state, order) for column in panel.columns)
    places = {name: table.column(name) for column in panel.columns for name in _names(column)}
    body = "".join(
        tag("tr", *(_cell(column, row, places, state, first=column is panel.columns[0]) for column in panel.columns))
        for row in _ordered(table.rows, places, order)
    )
    caption = tag("caption", escape(panel.title.of(lang)), _class="cw-hidden")
    whole = tag("table", caption, tag("thead", tag("tr", head)), tag("tbody", body), data_panel=panel.name)
    if panel.limit is not None and len(table.rows) >= panel.limit:
        whole += note(words.FIRST_ROWS.of(lang).format(n=panel.limit))
    return whole


def _ordered(
    rows: Sequence[Sequence[object]], places: Mapping[str, int], order: Order | None
) -> Sequence[Sequence[object]]:
    if order is None or order.column not in places:
        return rows
    place = places[order.column]
    known = [row for row in rows if row[place] is not None]
    missing = [row for row in rows if row[place] is None]
    return sorted(known, key=lambda row: _key(row[place]), reverse=order.down) + missing


def _key(value: object) -> tuple[int, float | Decimal, str]:
    if isinstance(value, int | float | Decimal):
        return (0, value, "")
    return (1, 0, unicodedata.normalize("NFKD", str(value)).casefold())  # é beside e, not behind z


def _head(column: Column, state: State, order: Order | None) -> str:
    suffix = "" if column.unit.style in _IN_CELL else state.suffix(column.unit)
    unit = tag("span", "\u00a0", escape(suffix), _class="cw-unit") if suffix else ""
    mine = order is not None and order.column == column.name
    arrow = ("▼" if order is not None and order.down else "▲") if mine else ""
    title = column.title.of(state.lang)
    button = tag(
        "button", tag("span", escape(title), unit), tag("span", arrow, _class="cw-arrow", aria_hidden="true"),
        type="button", data_sort=column.name, title=words.SORT.of(state.lang).format(title=title),
    )  # fmt: skip
    sort = ("descending" if order is not None and order.down else "ascending") if mine else None
    return tag("th", button, scope="col", _class=_align(column), aria_sort=sort)


def _names(column: Column) -> tuple[str, ...]:
    """Names that a column needs the SQL to yield."""
    return (column.name, *column.link.columns()) if column.link else (column.name,)


def _align(column: Column) -> str | None:
    return "cw-num" if column.unit.style is not Style.TEXT else None


def _cell(column: Column, row: Sequence[object], places: Mapping[str, int], state: State, *, first: bool) -> str:
    lang, value = state.lang, row[places[column.name]]
    name, fixed = ("th", {"scope": "row"}) if first else ("td", {})
    if value is None:
        dash = tag("span", "–", aria_hidden="true") + tag("span", escape(words.NONE.of(lang)), _class="cw-hidden")
        return tag(name, dash, _class=_align(column), data_column=column.name, data_value="", **fixed)
    if column.unit.style is Style.TEXT:
        level, inner, long = _text(column, str(value), state)
    else:
        (level, inner), long = _number(column, value, state), False
    if column.link and (address := _address(column.link, row, places, state)):
        inner = tag("a", inner, href=address)
    classes = [_align(column), "cw-long" if long else None, f"cw-{level}" if level is not Level.PLAIN else None]
    shown_as = " ".join(filter(None, classes)) or None
    return tag(name, inner, _class=shown_as, data_column=column.name, data_value=exact(value), **fixed)


def _text(column: Column, text: str, state: State) -> tuple[Level, str, bool]:
    """Level, HTML, and whether it may break over lines."""
    if _TREND.fullmatch(text):
        return Level.PLAIN, _trend(text, state), False
    level = column.levels.get(text, Level.PLAIN)
    written = column.words[text].of(state.lang) if text in column.words else text
    mark = tag("span", words.SIGNS[level], " ", aria_hidden="true") if words.SIGNS[level] else ""
    return level, mark + escape(written), len(written) > LONG


def _number(column: Column, value: object, state: State) -> tuple[Level, str]:
    written = state.figure(value, column.unit)
    inner = shown(written) if column.unit.style in _IN_CELL else escape(written.digits)
    threshold = level_of(number(value), column.thresholds) if column.thresholds else None
    level = threshold.level if threshold else Level.PLAIN
    if column.gauge:
        width = f"{min(max(number(value), 0), 1) * 100:.1f}%"
        bar = tag("span", _class="cw-bar", style=f"width:{width}")
        inner = tag("span", bar, _class="cw-gauge", aria_hidden="true") + tag("span", inner)
    if threshold is not None and threshold.label is not None and level in (Level.WATCH, Level.ACT):
        said = threshold.label.of(state.lang)
        mark = tag("span", words.SIGNS[level], " ", aria_hidden="true", title=said)
        inner = mark + inner + tag("span", escape(f", {said}"), _class="cw-hidden")
    return level, inner


def _trend(text: str, state: State) -> str:
    """A sparkbar's letters as bars: fonts of many machines lack them, and draw them uneven."""
    most = len(_BARS) - 1
    heights = [_BARS.index(letter) for letter in text]
    bars = "".join(
        f'<rect x="{index * 4}" y="{16 - height * 2}" width="3" height="{height * 2}"/>'
        for index, height in enumerate(heights)
    )
    said = words.TREND.of(state.lang).format(n=len(heights), last=heights[-1], most=most)
    return (
        f'<svg class="cw-trend" role="img" aria-label="{escape(said)}" viewBox="0 0 {len(heights) * 4} 16" '
        f'width="{len(heights) * 4}" height="16">{bars}</svg>'
    )


def _address(link: RowLink, row: Sequence[object], places: Mapping[str, int], state: State) -> str | None:
    """Where a row leads: to its own values and its own time, or the time that is shown."""
    target = BY_UID.get(link.dashboard)
    values = {variable: str(row[places[column]] or "") for variable, column in link.variables.items()}
    values = {variable: value for variable, value in values.items() if value}
    if target is None or not values:
        return None
    span = state.range
    if link.from_column or link.to_column:
        shown_ends = state.range.bounds(int(time.time() * 1000))
        ends = [
            _end(row[places[name]] if name else None, otherwise)
            for name, otherwise in zip((link.from_column, link.to_column), shown_ends, strict=True)
        ]
        span = Range.between(*ends) or span
    return state.link(target, values, span)


def _end(value: object, otherwise: int) -> int:
    return int(value) if isinstance(value, int | float | Decimal) else otherwise
