"""HTML of tiles, tables and legends. Everything that is not a literal of this module is escaped."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape

from dashboards.boards import BY_UID
from dashboards.model import Column, Level, Panel, Threshold, level_of
from dashboards.page import words
from dashboards.page.feed import Table
from dashboards.page.state import State
from dashboards.units import SECONDS, Figure, Lang, Style, figure

SHAPES = {
    "circle": '<circle cx="6" cy="6" r="4.5"/>',
    "rect": '<rect x="2" y="2" width="8" height="8"/>',
    "triangle": '<path d="M6 1 11 10.5H1z"/>',
    "diamond": '<path d="M6 .5 11.5 6 6 11.5.5 6z"/>',
    "roundRect": '<rect x="1" y="3.5" width="10" height="5" rx="2.5"/>',
    "arrow": '<path d="M6 1 10.5 11 6 8 1.5 11z"/>',
    "pin": '<path d="M6 11.5 2 5a4 4 0 1 1 8 0z"/>',
}
SHAPE_NAMES = tuple(SHAPES)
COLOURS = 8
LONG = 36  # characters from which a text may break over lines


def tag(name: str, *children: str, **attributes: str | None) -> str:
    """An element; attribute names are written with _ for -, a leading _ is dropped, None leaves one out."""
    text = "".join(
        f' {key.lstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{text}>{''.join(children)}</{name}>"


def exact(value: object) -> str:
    """A value as tests and readers of the markup can compare it: every digit that was read."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def sign(threshold: Threshold | None, lang: Lang) -> str:
    """Sign and word of a level, coloured."""
    if threshold is None or threshold.label is None:
        return ""
    mark = tag("span", words.SIGNS[threshold.level], aria_hidden="true")
    return tag("span", mark, " ", escape(threshold.label.of(lang)), _class=f"cw-level cw-{threshold.level}")


def _figure(value: Figure) -> str:
    unit = tag("span", "\u00a0", escape(value.unit), _class="cw-unit") if value.unit else ""
    return escape(value.digits) + unit


def heading(panel: Panel, state: State) -> str:
    """Title of a panel and the button that tells what it shows and what to do about it."""
    lang, title = state.lang, panel.title.of(state.lang)
    about, target = f"about-{panel.name}", BY_UID.get(panel.link or "")
    more = ""
    if target is not None:
        link = tag("a", escape(target.title.of(lang)), href=state.link(target))
        more = tag("p", escape(words.MORE.of(lang)), " ", link)
    return tag("h2", escape(title), id=f"title-{panel.name}") + tag(
        "button", "?", _class="cw-about", type="button", popovertarget=about, style=f"anchor-name:--{about}",
        aria_label=words.ABOUT.of(lang).format(title=title),
    ) + tag(
        "div", tag("p", escape(panel.description.of(lang))), more,
        id=about, popover="", _class="cw-popover", style=f"position-anchor:--{about}",
    )  # fmt: skip


def note(text: str) -> str:
    """A sentence in place of data."""
    return tag("p", escape(text), _class="cw-note")


def failure(reason: str, lang: Lang, *, shown: bool) -> str:
    """Why a panel could not be read, and that it will be tried again."""
    again = (words.STILL if shown else words.AGAIN).of(lang)
    return tag(
        "p", tag("strong", escape(words.NOT_READ.of(lang)), ". "), escape(f"{reason}. {again}"), _class="cw-failure"
    )


def tile(panel: Panel, table: Table, lang: Lang) -> str:
    """The figure of a stat panel: value, unit, level, note."""
    value = table.rows[0][table.column("value")] if table.rows else None
    if value is None:
        return note(panel.empty.of(lang))
    threshold = level_of(_number(value), panel.thresholds)
    level = threshold.level if threshold else Level.PLAIN
    below = sign(threshold, lang)
    if panel.unit.style is Style.MOMENT and (left_s := _number(value) / 1000 - time.time()) > 0:
        below += tag("span", escape(words.AWAY.of(lang).format(time=figure(left_s, SECONDS, lang))))
    if "note" in table.names:
        below += tag("span", escape(str(table.rows[0][table.column("note")])), _class="cw-aside")
    shown = tag(
        "p", _figure(figure(value, panel.unit, lang, compact=True)),
        _class=f"cw-figure cw-{level} cw-{panel.unit.style}",
        data_panel=panel.name, data_value=exact(value), title=exact(value),
    )  # fmt: skip
    return shown + tag("p", below, _class="cw-below")


def spoken(panel: Panel, table: Table, lang: Lang) -> str:
    """A tile as a sentence for the screen reader; empty when there is no value."""
    value = table.rows[0][table.column("value")] if table.rows else None
    return "" if value is None else f"{panel.title.of(lang)}: {figure(value, panel.unit, lang)}"


def grid(panel: Panel, table: Table, state: State) -> str:
    """The rows of a table panel."""
    lang = state.lang
    if not table.rows:
        return note(panel.empty.of(lang))
    head = "".join(tag("th", _column_title(c, lang), scope="col", _class=_align(c)) for c in panel.columns)
    places = {name: table.column(name) for column in panel.columns for name in _names(column)}
    body = "".join(
        tag("tr", *(_cell(column, row, places, state, first=column is panel.columns[0]) for column in panel.columns))
        for row in table.rows
    )
    caption = tag("caption", escape(panel.title.of(lang)), _class="cw-hidden")
    whole = tag("table", caption, tag("thead", tag("tr", head)), tag("tbody", body), data_panel=panel.name)
    cut = ""
    if panel.limit is not None and len(table.rows) >= panel.limit:
        cut = note(words.FIRST_ROWS.of(lang).format(n=panel.limit))
    return tag(
        "div", whole, cut, _class="cw-scroll", tabindex="0", role="region", aria_labelledby=f"title-{panel.name}"
    )


# Units that stand in the cell; all others are said once, in the head of the column.
_IN_CELL = (Style.SHARE, Style.DURATION, Style.TEXT)


def _column_title(column: Column, lang: Lang) -> str:
    suffix = "" if column.unit.style in _IN_CELL else column.unit.suffix.of(lang)
    unit = tag("span", " ", escape(suffix), _class="cw-unit") if suffix else ""
    return escape(column.title.of(lang)) + unit


def _names(column: Column) -> tuple[str, ...]:
    """Names that a column needs the SQL to yield."""
    return (column.name, column.link.column) if column.link else (column.name,)


def _align(column: Column) -> str | None:
    return "cw-num" if column.unit.style is not Style.TEXT else None


def _cell(column: Column, row: Sequence[object], places: Mapping[str, int], state: State, *, first: bool) -> str:
    lang = state.lang
    value = row[places[column.name]]
    name = "th" if first else "td"
    fixed = {"scope": "row"} if first else {}
    if value is None:
        dash = tag("span", "–", aria_hidden="true") + tag("span", escape(words.NONE.of(lang)), _class="cw-hidden")
        return tag(name, dash, _class=_align(column), data_column=column.name, data_value="", **fixed)
    level, inner = Level.PLAIN, ""
    if column.unit.style is Style.TEXT:
        text = str(value)
        level = column.levels.get(text, Level.PLAIN)
        shown = column.words[text].of(lang) if text in column.words else text
        mark = tag("span", words.SIGNS[level], " ", aria_hidden="true") if words.SIGNS[level] else ""
        inner = mark + escape(shown)
        target = BY_UID.get(column.link.dashboard) if column.link else None
        if column.link and target and (key := str(row[places[column.link.column]])):
            inner = tag("a", inner, href=state.link(target, **{column.link.variable: key}))
    else:
        written = figure(value, column.unit, lang)
        inner = _figure(written) if column.unit.style in _IN_CELL else escape(written.digits)
        threshold = level_of(_number(value), column.thresholds) if column.thresholds else None
        level = threshold.level if threshold else Level.PLAIN
        if column.gauge:
            width = f"{min(max(_number(value), 0), 1) * 100:.1f}%"
            bar = tag("span", _class="cw-bar", style=f"width:{width}")
            inner = tag("span", bar, _class="cw-gauge", aria_hidden="true") + tag("span", inner)
        if threshold is not None and threshold.label is not None and level in (Level.WATCH, Level.ACT):
            said = threshold.label.of(lang)
            mark = tag("span", words.SIGNS[level], " ", aria_hidden="true", title=said)
            inner = mark + inner + tag("span", escape(f", {said}"), _class="cw-hidden")
    long = "cw-long" if column.unit.style is Style.TEXT and len(str(value)) > LONG else None
    classes = " ".join(filter(None, [_align(column), long, f"cw-{level}" if level is not Level.PLAIN else None]))
    return tag(name, inner, _class=classes or None, data_column=column.name, data_value=exact(value), **fixed)


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest value of a series, and when it was, for a series that has ended before the others."""

    name: str
    value: float
    ended: datetime | None = None


def legend(panel: Panel, newest: Sequence[Newest], lang: Lang) -> str:
    """Series with their shape and newest value, the largest first: legend, figures and text alternative in one."""
    items = []
    order = sorted(range(len(newest)), key=lambda index: -newest[index].value)
    for index in order:
        one = newest[index]
        shape = SHAPES[SHAPE_NAMES[index % len(SHAPE_NAMES)]]
        icon = f'<svg viewBox="0 0 12 12" aria-hidden="true" style="fill:var(--s{index % COLOURS + 1})">{shape}</svg>'
        items.append(
            tag("li", icon, tag("span", escape(one.name), _class="cw-name", title=one.name),
                _until(one, lang),
                tag("span", _figure(figure(one.value, panel.unit, lang)), _class="cw-last",
                    data_panel=panel.name, data_series=one.name, data_value=exact(one.value)))
        )  # fmt: skip
    label = f"{panel.title.of(lang)}, {words.NEWEST.of(lang)}"
    return tag("ul", *items, _class="cw-legend", aria_label=label, tabindex="0")


def _until(one: Newest, lang: Lang) -> str:
    if one.ended is None:
        return ""
    return tag("span", escape(words.UNTIL.of(lang).format(time=f"{one.ended:%H:%M}")), _class="cw-until")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float | Decimal) else float("nan")
