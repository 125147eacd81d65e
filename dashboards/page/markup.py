"""HTML of tiles, legends and headings. Everything that is not a literal of this module is escaped."""

import time
from collections.abc import Sequence
from decimal import Decimal
from html import escape

from dashboards.boards import BY_UID
from dashboards.macros import Window
from dashboards.model import Level, Panel, Threshold, level_of
from dashboards.page import words
from dashboards.page.feed import Table
from dashboards.page.ranges import DAY_S, moment
from dashboards.page.series import Newest
from dashboards.page.state import State
from dashboards.units import SECONDS, Figure, Style, figure
from schemas.texts import Lang

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


def number(value: object) -> float:
    """A value as a number to compare with; not a number where it is none."""
    return float(value) if isinstance(value, int | float | Decimal) else float("nan")


def sign(threshold: Threshold | None, lang: Lang) -> str:
    """Sign and word of a level, coloured."""
    if threshold is None or threshold.label is None:
        return ""
    mark = tag("span", words.SIGNS[threshold.level], aria_hidden="true")
    return tag("span", mark, " ", escape(threshold.label.of(lang)), _class=f"cw-level cw-{threshold.level}")


def shown(value: Figure) -> str:
    """Digits, and the unit set apart."""
    unit = tag("span", "\u00a0", escape(value.unit), _class="cw-unit") if value.unit else ""
    return escape(value.digits) + unit


def heading(panel: Panel, state: State) -> str:
    """Title of a panel, and the button that tells what it shows, what to do about it, and how to take it along."""
    lang, title = state.lang, panel.title.of(state.lang)
    about, target = f"about-{panel.name}", BY_UID.get(panel.link or "")
    more = ""
    if target is not None:
        link = tag("a", escape(target.title.of(lang)), href=state.link(target, span=state.range))
        more = tag("p", escape(words.MORE.of(lang)), " ", link)
    take = tag(
        "p", tag("a", escape(words.CSV.of(lang)), href=state.download(panel, "csv"), download=""),
        tag("a", escape(words.SQL.of(lang)), href=state.download(panel, "sql"), target="_blank"), _class="cw-take",
    )  # fmt: skip
    return tag("h2", escape(title), id=f"title-{panel.name}", title=title) + tag(
        "button", "?", _class="cw-about", type="button", popovertarget=about, style=f"anchor-name:--{about}",
        aria_label=words.ABOUT.of(lang).format(title=title),
    ) + tag(
        "div", tag("p", escape(panel.description.of(lang))), more, take,
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


def tile(panel: Panel, table: Table, state: State) -> str:
    """The figure of a stat panel: value, unit, level, note."""
    lang = state.lang
    value = table.rows[0][table.column("value")] if table.rows else None
    if value is None:
        return note(panel.empty.of(lang))
    threshold = level_of(number(value), panel.thresholds)
    level = threshold.level if threshold else Level.PLAIN
    below = sign(threshold, lang)
    if panel.unit.style is Style.MOMENT and (left_s := number(value) / 1000 - time.time()) > 0:
        below += tag("span", escape(words.AWAY.of(lang).format(time=figure(left_s, SECONDS, lang))))
    if "note" in table.names and (aside := table.rows[0][table.column("note")]):
        below += tag("span", escape(str(aside)), _class="cw-aside", title=str(aside))
    written = state.figure(value, panel.unit, compact=True)
    # Width in digits: the size of the type follows, so that no figure is cut off. The unit is half as large.
    letters = sum(1 if letter.isalnum() else 0.5 for letter in written.digits)
    letters += (len(written.unit) * 1.15 + 0.5) * 0.52 * bool(written.unit)
    figures = tag(
        "p", shown(written), _class=f"cw-figure cw-{level} cw-{panel.unit.style}", style=f"--n:{letters:.1f}",
        data_panel=panel.name, data_value=exact(value), title=exact(value),
    )  # fmt: skip
    return figures + tag("p", below, _class="cw-below")


def spoken(panel: Panel, table: Table, state: State) -> str:
    """A tile as a sentence for the screen reader; empty when there is no value."""
    value = table.rows[0][table.column("value")] if table.rows else None
    return "" if value is None else f"{panel.title.of(state.lang)}: {state.figure(value, panel.unit)}"


def legend(panel: Panel, newest: Sequence[Newest], inks: Sequence[str], window: Window, state: State) -> str:
    """Series with their shape and newest value, the largest first: legend, figures and text alternative in one.

    `inks` are the colours of the series.
    """
    items = []
    for index in sorted(range(len(newest)), key=lambda index: -newest[index].value):
        one = newest[index]
        shape = SHAPES["rect" if panel.stacked else SHAPE_NAMES[index % len(SHAPE_NAMES)]]
        icon = f'<svg viewBox="0 0 12 12" aria-hidden="true" style="fill:{escape(inks[index])}">{shape}</svg>'
        items.append(
            tag("li", icon, tag("span", escape(one.name), _class="cw-name", title=one.name),
                _when(one, window, state.lang),
                tag("span", shown(state.figure(one.value, panel.unit)), _class="cw-last",
                    data_panel=panel.name, data_series=one.name, data_value=exact(one.value)))
        )  # fmt: skip
    label = f"{panel.title.of(state.lang)}, {words.NEWEST.of(state.lang)}"
    return tag("ul", *items, _class="cw-legend", aria_label=label)


def _when(one: Newest, window: Window, lang: Lang) -> str:
    """When the last value of a series was, if that is not the newest moment known."""
    if not one.ended and not one.ahead:
        return ""
    within_a_day = window.to_s - window.from_s <= DAY_S
    clock = f"{moment(one.at_ms):%H:%M}" if within_a_day else f"{moment(one.at_ms):%Y-%m-%d}"
    ahead = words.AT if within_a_day else words.ON
    return tag("span", escape((ahead if one.ahead else words.UNTIL).of(lang).format(time=clock)), _class="cw-until")
