"""What a viewer can choose above the panels: the time range, the variables, and whether events are marked."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from nicegui import ui

from dashboards.macros import Window
from dashboards.model import Variable
from dashboards.page import marks, words
from dashboards.page.markup import tag
from dashboards.page.ranges import NAMES, Range, milliseconds, moment
from dashboards.page.state import State

Chosen = Callable[[State], Awaitable[None]]
"""Called with the viewer's new choices."""

_CLOCK = '<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6.2"/><path d="M8 4.4V8l2.6 1.8"/></svg>'
_INPUT = "%Y-%m-%dT%H:%M"  # of an HTML input of type datetime-local


def _popover(name: str, label: str) -> ui.element:
    """A box that a button with `popovertarget` opens, next to the anchor of the same name."""
    box = ui.element("div").classes("cw-popover").props(f'id="{name}" popover="auto" role="dialog"')
    box.props["aria-label"] = label
    return box.style(f"position-anchor:--{name}")


class RangeControl:
    """The range as words; a popover with presets and two moments; a step back and one forward."""

    def __init__(self, now_ms: Callable[[], int], current: Callable[[], State], chosen: Chosen) -> None:
        self._now_ms, self._current, self._chosen = now_ms, current, chosen
        lang = current().lang
        self._presets: dict[str, ui.button] = {}
        self._read: dict[str, str] = {}
        with ui.element("div").classes("cw-range").props(f'role="group" aria-label="{words.RANGE.of(lang)}"'):
            self._step(later=False)
            with ui.element("button").classes("cw-button cw-range-name") as opener:
                opener.props('type="button" popovertarget="range" style="anchor-name:--range"')
                self._name = ui.html("", sanitize=False, tag="span").props('id="range-shown"')
            self._step(later=True)
        with _popover("range", words.RANGE.of(lang)).classes("cw-range-box"):
            with ui.element("div").classes("cw-presets"):
                for name in NAMES:
                    self._preset(name)
            with ui.element("div").classes("cw-ends"):
                self._from = self._end("range-from", words.FROM.of(lang))
                self._to = self._end("range-to", words.TO.of(lang))
                apply = ui.button(words.APPLY.of(lang), on_click=self._apply, color=None)
                apply.props("flat dense no-caps").classes("cw-button cw-apply")
            self._wrong = ui.label("").classes("cw-wrong").props('role="alert"')
            ui.label(words.ZOOM_HINT.of(lang)).classes("cw-hint")
        self.show(None)

    def show(self, window: Window | None) -> None:
        """Say the range that is chosen; `window` is what was read last."""
        state = self._current()
        if window is not None:
            self._read = {
                "data_from": str(window.from_ms),
                "data_to": str(window.to_ms),
                "data_interval": str(window.interval_ms),
            }
        self._name.content = _CLOCK + tag("span", escape(state.range.said(state.lang)), **self._read)
        for name, button in self._presets.items():
            button.props(f'aria-pressed="{str(name == state.range.name).lower()}"')
        from_ms, to_ms = state.range.bounds(self._now_ms())
        for field, at_ms in ((self._from, from_ms), (self._to, to_ms)):
            if state.range.name == "" or window is None:
                field.value = f"{moment(at_ms):{_INPUT}}"

    def _step(self, *, later: bool) -> None:
        async def step() -> None:
            state = self._current()
            await self._choose(state.range.moved(self._now_ms(), later=later))

        label = (words.LATER if later else words.EARLIER).of(self._current().lang)
        button = ui.button("›" if later else "‹", on_click=step, color=None).props("flat dense no-caps")
        button.props["aria-label"] = label
        button.classes("cw-button cw-step").tooltip(label)

    def _preset(self, name: str) -> None:
        async def choose() -> None:
            await self._choose(Range(name))

        text = words.RANGES[name].of(self._current().lang)
        self._presets[name] = ui.button(text, on_click=choose, color=None)
        self._presets[name].props("flat dense no-caps").classes("cw-button cw-preset")

    def _end(self, name: str, label: str) -> ui.input:
        with ui.element("label").classes("cw-end"):
            ui.html(escape(label), sanitize=False, tag="span")
            field = ui.input().props(f'type="datetime-local" dense outlined for="{name}"').classes("cw-moment-input")
            field.on("keydown.enter", self._apply)
        return field

    async def _apply(self) -> None:
        span = None
        if self._from.value and self._to.value:
            try:
                ends = [
                    milliseconds(datetime.fromisoformat(field.value).replace(tzinfo=UTC))
                    for field in (self._from, self._to)
                ]
            except ValueError:
                ends = [0, 0]
            span = Range.between(*ends)
        if span is None:
            self._wrong.text = words.WRONG_RANGE.of(self._current().lang)
        else:
            await self._choose(span)

    async def _choose(self, span: Range) -> None:
        self._wrong.text = ""
        ui.run_javascript("document.getElementById('range').hidePopover()")
        await self._chosen(self._current().within(span))


class FilterControl:
    """A select for each variable."""

    def __init__(self, current: Callable[[], State], chosen: Chosen) -> None:
        self._current, self._chosen = current, chosen
        self._selects: dict[str, ui.select] = {}
        self._options: dict[str, dict[str, str]] = {}
        lang = current().lang
        # On a phone the filters are folded away.
        self._fold = ui.button("", on_click=self._turn, color=None).props("flat dense no-caps aria-expanded=false")
        self._fold.classes("cw-button cw-fold")
        self._box = ui.element("div").classes("cw-filters")
        with self._box.props(f'role="group" aria-label="{words.FILTERS.of(lang)}"'):
            for variable in current().dashboard.variables:
                self._select(variable)
        self._name_fold()

    def _select(self, variable: Variable) -> None:
        async def changed() -> None:
            await self._changed(variable)

        label, single = variable.label.of(self._current().lang), variable.default is not None
        select = ui.select({}, multiple=not single, on_change=changed)
        select.props("outlined dense options-dense options-selected-class=cw-picked").classes("cw-filter")
        if not single:
            select.props("clearable")
        select.props["prefix"] = select.props["aria-label"] = label
        self._selects[variable.name] = select
        self.say(variable)

    async def _changed(self, variable: Variable) -> None:
        value = self._selects[variable.name].value
        values = tuple(value or ()) if variable.default is None else (str(value),) if value else ()
        state = self._current()
        if values == tuple(state.values()[variable.name]):
            return  # the page itself has set it
        await self._chosen(state.choose(variable.name, values))

    def offer(self, variable: Variable, options: Mapping[str, str]) -> State:
        """Show the values that a variable can take. Returns the choices without those that are not among them."""
        state, select = self._current(), self._selects[variable.name]
        wanted = tuple(state.values()[variable.name])
        known = tuple(one for one in wanted if one in options)
        if variable.default is not None and not known:  # perhaps nothing is in the usual currency
            known = (variable.default if variable.default in options else next(iter(options), variable.default),)
            options = dict(options) or {known[0]: known[0]}  # an empty book has none
        if known != wanted:
            state = state.choose(variable.name, known)
        self._options[variable.name] = dict(options)
        value = list(known) if variable.default is None else next(iter(known), None)
        if select.options != options or select.value != value:
            select.set_options(dict(options), value=value)
        return state

    def say(self, variable: Variable) -> None:
        """The choice in words."""
        state = self._current()
        values = state.values()[variable.name]
        text = words.ALL.of(state.lang)
        if len(values) == 1:
            text = self._options.get(variable.name, {}).get(values[0], values[0])
        elif values:
            text = words.CHOSEN.of(state.lang).format(n=len(values))
        self._selects[variable.name].props["display-value"] = text
        self._name_fold()

    def _name_fold(self) -> None:
        state = self._current()
        count = sum(bool(values) for values in state.chosen.values())
        self._fold.text = words.FILTERS.of(state.lang) + (f" ({count})" if count else "")

    def _turn(self) -> None:
        is_open = "cw-open" in self._box.classes
        self._box.classes(remove="cw-open") if is_open else self._box.classes("cw-open")
        self._fold.props(f'aria-expanded="{str(not is_open).lower()}"')


class EventControl:
    """The annotations in words, and whether they are drawn."""

    def __init__(self, current: Callable[[], State], chosen: Chosen) -> None:
        self._current, self._chosen = current, chosen
        lang = current().lang
        with ui.element("button").classes("cw-button cw-events") as opener:
            opener.props('type="button" popovertarget="events" style="anchor-name:--events"')
            self._name = ui.html(escape(words.EVENTS.of(lang)), sanitize=False, tag="span")
        with _popover("events", words.EVENTS.of(lang)).classes("cw-event-box"):
            self._switch = ui.checkbox(words.EVENTS_SHOWN.of(lang), value=current().marks, on_change=self._changed)
            self._switch.props("dense").classes("cw-marks")
            with ui.element("div").classes("cw-event-list").props('tabindex="0" role="group"') as box:
                box.props["aria-label"] = words.EVENTS.of(lang)
                self._list = ui.html("", sanitize=False)

    async def _changed(self) -> None:
        state = self._current()
        if self._switch.value != state.marks:
            await self._chosen(state.with_marks(bool(self._switch.value)))

    def show(self, found: Sequence[marks.Mark]) -> None:
        """List them."""
        lang = self._current().lang
        self._list.content = marks.listed(found, lang)
        self._name.content = escape(words.EVENTS.of(lang)) + tag("span", str(len(found)), _class="cw-count")
