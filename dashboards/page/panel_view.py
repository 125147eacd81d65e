"""One panel on the page."""

from collections.abc import Awaitable, Callable, Sequence
from html import escape

from nicegui import ui
from nicegui.events import GenericEventArguments

from dashboards.macros import Window
from dashboards.model import Kind, Panel
from dashboards.page import charts, markup, tables, words
from dashboards.page.feed import Table
from dashboards.page.frame import place
from dashboards.page.marks import Mark
from dashboards.page.markup import tag
from dashboards.page.ranges import Range
from dashboards.page.series import newest, series_of, spacing_ms
from dashboards.page.state import State
from schemas.texts import Lang

# A range is chosen by dragging over a chart. The brush must be taken up anew whenever the chart was built anew; with a
# finger it would stand in the way of scrolling.
_TAKE_BRUSH = """() => {{
  const chart = getElement({id})?.chart;
  if (!chart || !matchMedia('(pointer: fine)').matches) return;
  if (chart.getModel().getComponent('brush')?.brushType === 'lineX') return;
  const brushOption = {{brushType: 'lineX', brushMode: 'single', z: 10}};
  chart.dispatchAction({{type: 'takeGlobalCursor', key: 'brush', brushOption}});
}}"""
_BRUSHED = """event => {{
  const range = event.areas[0]?.coordRange;
  getElement({id}).chart.dispatchAction({{type: 'brush', areas: []}});
  if (range) emit(range.map(Math.round));
}}"""
_SORTED = "event => { const head = event.target.closest('[data-sort]'); if (head) emit(head.dataset.sort); }"
_MINUTE_MS = 60_000


class PanelView:
    """One panel on the page: what it showed last stays until there is something newer."""

    def __init__(self, panel: Panel, state: State, zoom: Callable[[Range], Awaitable[None]]) -> None:
        """`zoom` is called with the range that the viewer drew in a chart."""
        self.panel = panel
        self.failed = False
        self._state = state
        self._zoom = zoom
        self._last: tuple[Table, Window, int] | None = None
        self._marks: Sequence[Mark] = ()
        self._order: tables.Order | None = None
        section = ui.element("section").classes(f"cw-panel cw-{panel.kind}").style(place(panel))
        section.props(f'id="panel-{panel.name}" aria-labelledby="title-{panel.name}"')
        with section:
            self._head = ui.html(markup.heading(panel, state), sanitize=False, tag="div").classes("cw-head")
            self._failure = ui.html("", sanitize=False).classes("cw-hold")
            self._chart = self._build_chart() if panel.kind is Kind.TIMESERIES else None
            # The scrolling element stays while its content is replaced, so that scrolling and focus stay too.
            with ui.element("div").classes("cw-scroll") as scroll:
                loading = tag("p", escape(words.LOADING.of(state.lang)), _class="cw-note cw-loading")
                self._body = ui.html(loading, sanitize=False).classes("cw-body")
            if panel.kind is not Kind.STAT:
                scroll.props(f'tabindex="0" role="group" aria-labelledby="title-{panel.name}"')
            if panel.kind is Kind.TABLE:
                self._body.on("click", self._sort, js_handler=_SORTED)

    @property
    def shown(self) -> bool:
        return self._last is not None

    def _build_chart(self) -> ui.echart:
        chart = ui.echart({}, renderer="svg").classes("cw-chart").props('aria-hidden="true"')
        chart.on("chart:finished", js_handler=_TAKE_BRUSH.format(id=chart.id))
        chart.on("chart:brushEnd", self._brushed, js_handler=_BRUSHED.format(id=chart.id))
        chart.set_visibility(False)
        return chart

    async def _brushed(self, event: GenericEventArguments) -> None:
        start_ms, end_ms = (int(end) for end in event.args)
        start_ms = start_ms // _MINUTE_MS * _MINUTE_MS
        span = Range.between(start_ms, max(-(-end_ms // _MINUTE_MS), start_ms // _MINUTE_MS + 1) * _MINUTE_MS)
        if span is not None:
            await self._zoom(span)

    def _sort(self, event: GenericEventArguments) -> None:
        self._order = tables.next_order(self.panel, self._order, str(event.args))
        self._draw()

    def carry(self, state: State) -> None:
        """The viewer has chosen something else: links and downloads follow at once, figures when they are read."""
        self._head.content = markup.heading(self.panel, state)

    def mark(self, marks: Sequence[Mark], state: State) -> None:
        """Show other annotations in a chart."""
        if self._chart is None or (list(marks) == list(self._marks) and state.marks == self._state.marks):
            return
        self._marks, self._state = marks, state
        self._draw()

    def show(self, table: Table, window: Window, state: State, now_ms: int) -> None:
        """Show an answer. Raises QueryFailed or TypeError when it is not of the form that the panel needs."""
        before = self._last, self._state
        self._last, self._state = (table, window, now_ms), state
        try:
            self._draw()
        except Exception:
            self._last, self._state = before
            raise
        self._failure.content = ""
        self.failed = False

    def _draw(self) -> None:
        if self._last is None:
            return
        (table, window, now_ms), panel, state = self._last, self.panel, self._state
        if self._chart is not None:
            series = series_of(table)
            self._chart.set_visibility(bool(series))
            if series:
                drawn = charts.options(panel, series, window, state, self._marks, now_ms)
                self._chart.options.clear()
                self._chart.options.update(drawn)
                self._chart.update()
            inks = [charts.colour(panel, one.name, index, state) for index, one in enumerate(series)]
            ends = newest(series, spacing_ms(series, window.interval_ms), now_ms)
            empty = markup.note(panel.empty.of(state.lang))
            content = markup.legend(panel, ends, inks, window, state) if ends else empty
        elif panel.kind is Kind.STAT:
            content = markup.tile(panel, table, state)
        else:
            content = tables.grid(panel, table, state, self._order)
        self._body.content = content

    def fail(self, reason: str, lang: Lang) -> None:
        """Say in the panel that it could not be read; what it showed before stays."""
        self.failed = True
        self._failure.content = markup.failure(reason, lang, shown=self.shown)
        if not self.shown:
            self._body.content = ""
