"""One open page: the choices of a viewer, and the panels of a dashboard, read again and again."""

import asyncio
import json
import time
from dataclasses import replace
from html import escape

from nicegui import ui

from dashboards.boards import DASHBOARDS
from dashboards.boards.common import FRESHNESS
from dashboards.macros import Window, expand, substitute
from dashboards.model import Kind, Level, Variable, level_of
from dashboards.page import frame, markup, words
from dashboards.page.feed import Feed, QueryFailed
from dashboards.page.markup import tag
from dashboards.page.panel_view import PanelView
from dashboards.page.state import RANGES, State, Theme
from dashboards.units import SECONDS, Lang, figure

AT_FIRST_S = 0.15  # the first page holds the figures that are read by then; the rest follows on its own
SPEAK_EVERY_S = 60.0  # a screen reader is told the figures this often, and when the viewer changes something


class Board:
    """A dashboard as one viewer has it open."""

    def __init__(self, state: State, feed: Feed, refresh_s: float) -> None:
        self.state, self.feed, self.refresh_s = state, feed, refresh_s
        self.spoken_at = 0.0
        self.level: Level | None = None
        self.ranges: dict[str, ui.element] = {}
        self.selects: dict[str, ui.select] = {}
        self.options: dict[str, dict[str, str]] = {}

    async def open(self) -> None:
        """Build the page and read it for the first time."""
        board, lang = self.state.dashboard, self.state.lang
        frame.dress(lang, self.state.theme, board.title.of(lang))
        with ui.element("header").classes("cw-header"):
            self._top()
            self._choices()
        with ui.element("div").classes("cw-main").props('id="figures" tabindex="-1"') as main:
            self.panels = [PanelView(panel, self.state) for panel in board.panels]
        ui.skip_link(words.SKIP.of(lang), target=main)
        self.speaker = ui.label("").classes("cw-hidden").props('aria-live="polite" role="status"')
        frame.curtain(board, lang)
        first = asyncio.create_task(self._begin())
        await asyncio.wait({first}, timeout=AT_FIRST_S)
        ui.timer(self.refresh_s, self.refresh, immediate=False)

    async def _begin(self) -> None:
        await self._check_choices()
        await self.refresh()

    def _top(self) -> None:
        lang, here = self.state.lang, self.state.dashboard
        with ui.element("div").classes("cw-top"):
            ui.html(frame.brand(), sanitize=False).classes("cw-brand")
            self.nav = ui.html(self._links(), sanitize=False, tag="nav").classes("cw-nav")
            self.nav.props(f'aria-label="{words.DASHBOARDS.of(lang)}"')
            self.freshness = ui.html("", sanitize=False).classes("cw-fresh").props('id="freshness"')
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
        ui.html(frame.title_block(here, lang), sanitize=False)

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

    def _choices(self) -> None:
        lang = self.state.lang
        with ui.element("div").classes("cw-choices"):
            with ui.element("div").classes("cw-ranges").props(f'role="group" aria-label="{words.RANGE.of(lang)}"'):
                names = words.RANGES_FR if lang == "fr" else words.RANGES_EN
                for span in RANGES:
                    button = ui.button(names[span], on_click=lambda _, span=span: self._choose_range(span), color=None)
                    self.ranges[span] = button.props("flat dense no-caps").classes("cw-range")
                self._mark_range()
            with ui.element("div").classes("cw-filters").props(f'role="group" aria-label="{words.FILTERS.of(lang)}"'):
                for variable in self.state.dashboard.variables:
                    self._select(variable)

    def _select(self, variable: Variable) -> None:
        select = ui.select(
            {},
            multiple=True,
            on_change=lambda event, name=variable.name: self._choose(name, event.value),
        )
        label = variable.label.of(self.state.lang)
        select.props("outlined dense options-dense clearable options-selected-class=cw-picked").classes("cw-filter")
        select.props["prefix"] = label
        select.props["aria-label"] = label
        select.props["display-value"] = words.ALL.of(self.state.lang)
        self.selects[variable.name] = select

    # What the viewer changes.

    async def _choose_range(self, span: str) -> None:
        self.state = replace(self.state, range=span)
        self._mark_range()
        await self._again()

    async def _choose(self, name: str, values: list[str] | None) -> None:
        if list(values or ()) == list(self.state.chosen.get(name, ())):
            return  # the page itself has set it
        self.state = self.state.choose(name, values or ())
        self._name_choice(name)
        await self._check_choices()
        await self._again()

    async def _again(self) -> None:
        """After a change: the address and the links follow, the figures are read at once and spoken."""
        ui.navigate.history.replace(self.state.link())
        self.nav.content = self._links()
        self.spoken_at = 0.0
        await self.refresh()

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
        self.nav.content = self._links()

    def _name_theme(self) -> None:
        self.theme.text = words.THEME[self.state.theme].of(self.state.lang)

    def _mark_range(self) -> None:
        for span, button in self.ranges.items():
            button.props(f'aria-pressed="{str(span == self.state.range).lower()}"')

    def _name_choice(self, name: str) -> None:
        chosen = self.state.chosen.get(name, ())
        lang, select = self.state.lang, self.selects[name]
        text = words.ALL.of(lang)
        if len(chosen) == 1:
            text = self.options.get(name, {}).get(chosen[0], chosen[0])
        elif chosen:
            text = words.CHOSEN.of(lang).format(n=len(chosen))
        select.props["display-value"] = text

    # What is read.

    async def _check_choices(self) -> None:
        """Read the values that the variables can take; choices that are not among them are dropped.

        Until a list has been read, what the address says stands; it is quoted like every value.
        """
        window = self._window()
        for variable in self.state.dashboard.variables:
            try:
                table = await self.feed.ask(self._statement(variable.sql, window))
            except QueryFailed:
                continue
            value, text = table.column("value"), table.column("text")
            options = {str(row[value]): str(row[text]) for row in table.rows}
            chosen = self.state.chosen.get(variable.name, ())
            known = tuple(one for one in chosen if one in options)
            if known != chosen:
                self.state = self.state.choose(variable.name, known)
            self.options[variable.name] = options
            select = self.selects[variable.name]
            if select.options != options or select.value != list(known):
                select.set_options(options, value=list(known))
            self._name_choice(variable.name)

    def _window(self) -> Window:
        return self.state.window(time.time(), self.refresh_s)

    def _statement(self, sql: str, window: Window) -> str:
        return expand(substitute(sql, self.state.values()), window)

    async def refresh(self) -> None:
        """Read every panel and the freshness, all at once, each shown as soon as it is there."""
        state, window = self.state, self._window()
        await asyncio.gather(
            self._read_freshness(window), *(self._read_panel(view, window, state) for view in self.panels)
        )
        if state is self.state and time.monotonic() - self.spoken_at >= SPEAK_EVERY_S:
            await self._speak(window, state)

    async def _read_panel(self, view: PanelView, window: Window, state: State) -> None:
        try:
            table = await self.feed.ask(self._statement(view.panel.sql, window))
            if state is self.state:  # else the viewer has gone on to something else meanwhile
                view.show(table, window, state)
        except (QueryFailed, TypeError) as failure:  # no answer, or one that the units cannot carry
            if state is self.state:
                view.fail(str(failure), state.lang)

    async def _read_freshness(self, window: Window) -> None:
        lang = self.state.lang
        try:
            table = await self.feed.ask(self._statement(self.state.dashboard.freshness_sql, window))
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
                    sentences.append(
                        markup.spoken(panel, await self.feed.ask(self._statement(panel.sql, window)), state.lang)
                    )
                except QueryFailed:
                    continue
        self.spoken_at = time.monotonic()
        self.speaker.text = ". ".join(filter(None, sentences))
