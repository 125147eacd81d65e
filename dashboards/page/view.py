"""One open page: header with the choices, and the panels of a dashboard, read again and again."""

import asyncio
import copy
import time
from dataclasses import replace
from html import escape
from importlib.resources import files

from nicegui import ui

from dashboards.boards import DASHBOARDS
from dashboards.boards.common import FRESHNESS
from dashboards.macros import Window, expand, substitute
from dashboards.model import Dashboard, Kind, Level, Panel, Variable, level_of
from dashboards.page import charts, markup, words
from dashboards.page.feed import Feed, QueryFailed, Table
from dashboards.page.markup import tag
from dashboards.page.state import RANGES, State, Theme
from dashboards.units import SECONDS, Lang, figure

AT_FIRST_S = 0.25  # the first page holds the figures that are read by then; the rest follows on its own
SPEAK_EVERY_S = 60.0  # a screen reader is told the figures this often, and when the viewer changes something

STYLE = (files("dashboards.page") / "style.css").read_text(encoding="utf-8")
LOGO = (files("dashboards.page") / "favicon.svg").read_text(encoding="utf-8")


def dress(lang: Lang, theme: Theme, title: str) -> None:
    """Language, theme and style of the page that is being built."""
    client = ui.context.client
    client.page = copy.copy(client.page)
    client.page.language = "fr" if lang == "fr" else "en-US"
    client.page.dark = None if theme == "" else theme == "dark"
    ui.page_title(f"{title} · Commonwatt")
    ui.add_head_html(f"<style>{STYLE}</style>")
    if theme:
        ui.add_head_html(f"<script>document.documentElement.dataset.theme = '{theme}'</script>")


def not_found(lang: Lang) -> None:
    """A page for an address that names no dashboard."""
    client = ui.context.client
    client.status_code = 404
    dress(lang, "", "404")
    links = "".join(
        tag("li", tag("a", escape(board.title.of(lang)), href=f"/d/{board.uid}?lang={lang}")) for board in DASHBOARDS
    )
    ui.html(tag("h1", escape(words.NOT_FOUND.of(lang))) + tag("ul", links), sanitize=False, tag="main").classes(
        "cw-lost"
    )


def place(panel: Panel) -> str:
    """Place in the grid, as CSS variables."""
    grid = panel.grid
    return f"--x:{grid.x + 1};--y:{grid.y + 1};--w:{grid.w};--h:{grid.h}"


def _title(board: Dashboard, lang: Lang) -> str:
    return tag(
        "div", tag("h1", escape(board.title.of(lang))), tag("p", escape(board.question.of(lang))), _class="cw-title"
    )


class PanelView:
    """One panel on the page: what it showed last stays until there is something newer."""

    def __init__(self, panel: Panel, state: State) -> None:
        self.panel = panel
        self.shown = False
        section = ui.element("section").classes(f"cw-panel cw-{panel.kind}").style(place(panel))
        section.props(f'id="panel-{panel.name}" aria-labelledby="title-{panel.name}"')
        with section:
            ui.html(markup.heading(panel, state), sanitize=False, tag="div").classes("cw-head")
            self.failure = ui.html("", sanitize=False).classes("cw-hold")
            self.chart = None
            if panel.kind is Kind.TIMESERIES:
                self.chart = ui.echart({}, renderer="svg").classes("cw-chart").props('aria-hidden="true"')
                self.chart.set_visibility(False)
            loading = tag("p", escape(words.LOADING.of(state.lang)), _class="cw-note cw-loading")
            self.body = ui.html(loading, sanitize=False).classes("cw-body")

    def show(self, table: Table, window: Window, state: State) -> None:
        """Show an answer. Raises QueryFailed when it is not of the form that the panel needs."""
        panel, lang = self.panel, state.lang
        if self.chart is not None:
            series = charts.series_of(table)
            self.chart.set_visibility(bool(series))
            if series:
                self.chart.options.clear()
                self.chart.options.update(charts.options(panel, series, window, lang))
                self.chart.update()
            newest = [(one.name, one.points[-1][1]) for one in series]
            content = markup.legend(panel, newest, lang) if newest else markup.note(panel.empty.of(lang))
        elif panel.kind is Kind.STAT:
            content = markup.tile(panel, table, lang)
        else:
            content = markup.grid(panel, table, state)
        self.body.content = content
        self.failure.content = ""
        self.shown = True

    def fail(self, reason: str, lang: Lang) -> None:
        """Say in the panel that it could not be read; what it showed before stays."""
        self.failure.content = markup.failure(reason, lang, shown=self.shown)
        if not self.shown:
            self.body.content = ""


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
        dress(lang, self.state.theme, board.title.of(lang))
        with ui.element("header").classes("cw-header"):
            self._top()
            self._choices()
        with ui.element("main").classes("cw-main").props('id="figures" tabindex="-1"') as main:
            self.panels = [PanelView(panel, self.state) for panel in board.panels]
        ui.skip_link(words.SKIP.of(lang), target=main)
        self.speaker = ui.label("").classes("cw-hidden").props('aria-live="polite" role="status"')
        self._curtain()
        first = asyncio.create_task(self._begin())
        await asyncio.wait({first}, timeout=AT_FIRST_S)
        ui.timer(self.refresh_s, self.refresh, immediate=False)

    async def _begin(self) -> None:
        await self._check_choices()
        await self.refresh()

    def _curtain(self) -> None:
        """What is seen until the scripts have built the page: the same page, without its figures."""
        lang, board = self.state.lang, self.state.dashboard
        top = tag("div", tag("div", LOGO, tag("span", "Commonwatt"), _class="cw-brand"), _class="cw-top")
        cards = "".join(
            tag("div", tag("div", tag("h2", escape(view.panel.title.of(lang))), _class="cw-head"),
                _class=f"cw-panel cw-{view.panel.kind}", style=place(view.panel))
            for view in self.panels
        )  # fmt: skip
        header = tag("div", top, _title(board, lang), tag("div", _class="cw-choices"), _class="cw-header")
        ui.add_body_html(
            tag(
                "div",
                header,
                tag("div", cards, _class="cw-main"),
                _class="cw-curtain nicegui-content",
                aria_hidden="true",
            )
        )

    def _top(self) -> None:
        lang, here = self.state.lang, self.state.dashboard
        with ui.element("div").classes("cw-top"):
            ui.html(LOGO + tag("span", "Commonwatt"), sanitize=False).classes("cw-brand")
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
        ui.html(_title(here, lang), sanitize=False)

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
        ui.run_javascript(f"document.documentElement.dataset.theme = '{theme}'; setDark({_dark(theme)})")
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
        except QueryFailed as failure:
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
        if self.level is not None and level is not self.level:
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


def _dark(theme: Theme) -> str:
    return "null" if theme == "" else str(theme == "dark").lower()
