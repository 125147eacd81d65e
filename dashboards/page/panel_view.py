"""One panel on the page."""

from html import escape

from nicegui import ui

from dashboards.macros import Window
from dashboards.model import Kind, Panel
from dashboards.page import charts, markup, words
from dashboards.page.feed import Table
from dashboards.page.frame import place
from dashboards.page.markup import tag
from dashboards.page.state import State
from dashboards.units import Lang


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
            newest = charts.newest(series, window)
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
