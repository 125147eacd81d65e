"""One open page: the choices of a viewer, and the panels of a dashboard, read again and again."""

import asyncio
import json
import time
from dataclasses import replace
from html import escape

from nicegui import ui

from dashboards.boards import DASHBOARDS
from dashboards.boards.common import FRESHNESS
from dashboards.macros import Window
from dashboards.model import Annotation, Kind, Level, level_of
from dashboards.page import frame, markup, words
from dashboards.page.controls import EventControl, FilterControl, RangeControl
from dashboards.page.feed import Feed, QueryFailed
from dashboards.page.marks import Mark, marks_of
from dashboards.page.markup import tag
from dashboards.page.panel_view import PanelView
from dashboards.page.ranges import Range
from dashboards.page.state import State, Theme
from dashboards.units import SECONDS, figure
from schemas.texts import Lang

AT_FIRST_S = 0.15  # the first page holds the figures that are read by then; the rest follows on its own
SPEAK_EVERY_S = 60.0  # a screen reader is told the figures this often, and when the viewer changes something


def _now_ms() -> int:
    return int(time.time() * 1000)


class Board:
    """A dashboard as one viewer has it open."""

    def __init__(self, state: State, feed: Feed, refresh_s: float) -> None:
        self.state, self.feed, self.refresh_s = state, feed, refresh_s
        self.spoken_at = 0.0
        self.level: Level | None = None
        self.read_at = -1  # number of the period in which the figures were read
        self.events: EventControl | None = None

    async def open(self) -> None:
        """Build the page and read it for the first time."""
        board, lang = self.state.dashboard, self.state.lang
        frame.dress(lang, self.state.theme, board.title.of(lang))
        with ui.element("header").classes("cw-header"):
            self._top()
            with ui.element("div").classes("cw-choices"):
                self.range = RangeControl(_now_ms, lambda: self.state, self.choose)
                self.filters = FilterControl(lambda: self.state, self.choose)
                if board.annotations:
                    self.events = EventControl(lambda: self.state, self.choose)
        with ui.element("div").classes("cw-main").props('id="figures" tabindex="-1"') as main:
            self.panels = [PanelView(panel, self.state, self._zoom) for panel in board.panels]
        ui.skip_link(words.SKIP.of(lang), target=main)
        self.speaker = ui.label("").classes("cw-hidden").props('aria-live="polite" role="status"')
        frame.curtain(board, lang)
        first = asyncio.create_task(self._begin())
        await asyncio.wait({first}, timeout=AT_FIRST_S)
        ui.timer(self.refresh_s, self._tick, immediate=False)

    async def _tick(self) -> None:
        if ui.context.client.has_socket_connection:  # a closed window is kept a while, in case it comes back
            await self.refresh()

    async def _begin(self) -> None:
        await self._check_choices()
        await self.refresh()

    def _top(self) -> None:
        lang, here = self.state.lang, self.state.dashboard
        with ui.element("div").classes("cw-top"):
            ui.html(frame.brand(), sanitize=False).classes("cw-brand")
            self.nav = ui.html(self._links(), sanitize=False, tag="nav").classes("cw-nav")
            self.nav.props(f'aria-label="{words.DASHBOARDS.of(lang)}"')
            with ui.element("div").classes("cw-switches"):
                self.theme = (
                    ui.button(on_click=self._next_theme, color=None).props("flat dense no-caps").classes("cw-switch")
                )
                self._name_theme()
                other: Lang = "en" if lang == "fr" else "fr"
                language = ui.button(words.LANGUAGE.of(lang), on_click=lambda: self._speak_language(other), color=None)
                language.props(f'flat dense no-caps lang="{other}"').classes("cw-switch").tooltip(
                    words.LANGUAGE_HINT.of(lang)
                )
        with ui.element("div").classes("cw-title-row"):
            ui.html(frame.title_block(here, lang), sanitize=False)
            self.freshness = ui.html("", sanitize=False).classes("cw-fresh").props('id="freshness"')

    def _links(self) -> str:
        state = self.state
        return "".join(
            tag(
                "a",
                escape(board.title.of(state.lang)),
                href=state.link(board),
                aria_current="page" if board is state.dashboard else None,
            )
            for board in DASHBOARDS
        )

    # What the viewer changes.

    async def choose(self, state: State) -> None:
        """After a change: the address and the links follow, the figures are read at once and spoken."""
        self.state = state
        ui.navigate.history.push(state.link())
        self._carry()
        await self._check_choices()
        self.spoken_at, self.read_at = 0.0, -1
        await self.refresh()

    def _carry(self) -> None:
        self.nav.content = self._links()
        self.range.show(None)
        for view in self.panels:
            view.carry(self.state)

    async def _zoom(self, span: Range) -> None:
        await self.choose(self.state.within(span))

    def _speak_language(self, lang: Lang) -> None:
        ui.navigate.to(replace(self.state, lang=lang).link())

    def _next_theme(self) -> None:
        order: list[Theme] = ["", "light", "dark"]
        theme = order[(order.index(self.state.theme) + 1) % len(order)]
        self.state = replace(self.state, theme=theme)
        self._name_theme()
        ui.run_javascript(
            f"document.documentElement.dataset.theme = '{theme}'; setDark({json.dumps(frame.is_dark(theme))})"
        )
        ui.navigate.history.replace(self.state.link())
        self._carry()

    def _name_theme(self) -> None:
        self.theme.text = words.THEME[self.state.theme].of(self.state.lang)

    # What is read.

    async def _check_choices(self) -> None:
        """Read the values that the variables can take; choices that are not among them are dropped.

        Until a list has been read, what the address says stands; it is quoted like every value.
        """
        window = self._window()
        for variable in self.state.dashboard.variables:
            try:
                table = await self.feed.ask(self.state.statement(variable.sql, window))
            except QueryFailed:
                continue
            value, text = table.column("value"), table.column("text")
            self.state = self.filters.offer(variable, {str(row[value]): str(row[text]) for row in table.rows})
            self.filters.say(variable)

    def _window(self) -> Window:
        return self.state.range.window(time.time(), self.refresh_s)

    async def refresh(self) -> None:
        """Read the freshness, and every panel whose figures can have changed, each shown as soon as it is there."""
        state, window, now_s = self.state, self._window(), time.time()
        period = int(now_s / state.range.period_s(now_s, self.refresh_s))
        due = self.read_at == -1 or (state.range.is_live(_now_ms()) and period != self.read_at)
        if due:
            self.read_at = period
            self.range.show(window)
        views = [view for view in self.panels if due or view.failed or view.panel.bounded == "now"]
        await asyncio.gather(
            self._read_freshness(window),
            self._read_marks(window, state) if due else asyncio.sleep(0),
            *(self._read_panel(view, window, state) for view in views),
        )
        if state is self.state and time.monotonic() - self.spoken_at >= SPEAK_EVERY_S:
            await self._speak(window, state)

    async def _read_panel(self, view: PanelView, window: Window, state: State) -> None:
        try:
            table = await self.feed.ask(state.statement(view.panel.sql, window))
            if state is self.state:  # else the viewer has gone on to something else meanwhile
                view.show(table, window, state, _now_ms())
        except (QueryFailed, TypeError) as failure:  # no answer, or one that the units cannot carry
            if state is self.state:
                view.fail(str(failure), state.lang)

    async def _read_marks(self, window: Window, state: State) -> None:
        read = await asyncio.gather(*(self._marks_of(one, window, state) for one in state.dashboard.annotations))
        found = [mark for marks in read for mark in marks]
        if state is self.state and self.events is not None:
            self.events.show(found)
            for view in self.panels:
                view.mark(found, state)

    async def _marks_of(self, annotation: Annotation, window: Window, state: State) -> list[Mark]:
        """None without an answer: the panels say that the database is away."""
        try:
            return marks_of(annotation, await self.feed.ask(state.statement(annotation.sql, window)), state.lang)
        except QueryFailed:
            return []

    async def _read_freshness(self, window: Window) -> None:
        lang = self.state.lang
        try:
            table = await self.feed.ask(self.state.statement(self.state.dashboard.freshness_sql, window))
        except QueryFailed:
            self._show_freshness(Level.ACT, words.NO_ANSWER.of(lang), "", "")
            return
        if not table.rows:
            self._show_freshness(Level.ACT, words.NO_USAGE_AT_ALL.of(lang), "", "")
            return
        newest, age_s = table.rows[0][table.column("newest")], float(str(table.rows[0][table.column("age_s")]))
        threshold = level_of(age_s, FRESHNESS)
        assert threshold is not None
        assert threshold.label is not None
        said = words.UP_TO.of(lang).format(
            moment=f"{newest:%H:%M:%S}" if age_s < 86_400 else f"{newest:%Y-%m-%d %H:%M}",
            age=figure(max(age_s, 0), SECONDS, lang),
        )
        self._show_freshness(threshold.level, threshold.label.of(lang), said, markup.exact(age_s))

    def _show_freshness(self, level: Level, word: str, said: str, age_s: str) -> None:
        sign = tag("span", words.SIGNS[level], aria_hidden="true")
        self.freshness.content = tag(
            "p", sign, tag("strong", escape(word)), tag("span", escape(said)),
            _class=f"cw-chip cw-{level}", data_level=level.value, data_age=age_s,
        )  # fmt: skip
        if level is not self.level and (self.level is not None or level is Level.ACT):
            self.speaker.text = f"{word}. {said}"
        self.level = level

    async def _speak(self, window: Window, state: State) -> None:
        sentences = []
        for panel in state.dashboard.panels:
            if panel.kind is Kind.STAT:
                try:
                    table = await self.feed.ask(state.statement(panel.sql, window))
                    sentences.append(markup.spoken(panel, table, state))
                except QueryFailed:
                    continue
        self.spoken_at = time.monotonic()
        self.speaker.text = ". ".join(filter(None, sentences))
