"""One panel definition as Grafana panel JSON."""

import re
from collections.abc import Sequence

from dashboards.grafana.links import Json, panel_links, row_link
from dashboards.model import MAX_POINTS, Column, Dashboard, Kind, Level, Panel, SeriesStyle, Threshold
from dashboards.units import Style, Unit
from schemas.texts import Lang

DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}
PLUGIN_VERSION = "4.20.0"  # grafana-clickhouse-datasource whose query form this is
INTERVAL = "1m"  # the ledger's minutes: no point is finer

TIME_SERIES, TABLE = 0, 1  # target.format; a number, not a word

# Grafana's named colours, which suit both of its themes.
COLOURS = {Level.PLAIN: "text", Level.GOOD: "green", Level.WATCH: "orange", Level.ACT: "red"}


def panel_json(panel: Panel, board: Dashboard, lang: Lang) -> Json:
    """A panel of `board` in one language."""
    options, defaults, overrides = {Kind.STAT: _stat, Kind.TIMESERIES: _timeseries, Kind.TABLE: _table}[panel.kind](
        panel, board, lang
    )
    grid = panel.grid
    return {
        "datasource": DATASOURCE,
        "description": panel.description.of(lang),
        "fieldConfig": {"defaults": {"noValue": panel.empty.of(lang)} | defaults, "overrides": overrides},
        "gridPos": {"h": grid.h, "w": grid.w, "x": grid.x, "y": grid.y},
        "id": panel.id,
        "interval": INTERVAL,
        "links": panel_links(panel, lang),
        "maxDataPoints": MAX_POINTS,
        "options": options,
        "targets": [query(panel.sql, TIME_SERIES if panel.kind is Kind.TIMESERIES else TABLE)],
        "title": panel.title.of(lang) + (" (${currency})" if _in_currency(panel) else ""),
        "type": panel.kind.value,
    }


def query(sql: str, form: int, ref_id: str = "A", source: str = DATASOURCE["uid"]) -> Json:
    """A query as the plugin reads it; `form` is TIME_SERIES or TABLE, `source` the uid of the data source."""
    return {
        "datasource": DATASOURCE | {"uid": source},
        "editorType": "sql",
        "format": form,
        "meta": {},
        "pluginVersion": PLUGIN_VERSION,
        "queryType": "timeseries" if form == TIME_SERIES else "table",
        "rawSql": sql,
        "refId": ref_id,
    }


def _in_currency(panel: Panel) -> bool:
    """Whether the panel shows amounts in the chosen currency: Grafana has no unit for it, so the title names it."""
    return panel.unit.money or any(column.unit.money for column in panel.columns)


def _unit(unit: Unit) -> Json:
    return {"unit": unit.grafana} | ({"decimals": 2} if unit.style is Style.MONEY else {})


def _steps(thresholds: Sequence[Threshold], colours: dict[Level, str]) -> Json:
    steps = [{"color": colours[t.level], "value": t.at} for t in thresholds]
    return {"mode": "absolute", "steps": steps or [{"color": colours[Level.PLAIN], "value": None}]}


def _named(name: str, properties: Json) -> Json:
    """An override of one column, or of the one series that goes by that name."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _stat(panel: Panel, _: Dashboard, __: Lang) -> tuple[Json, Json, list[Json]]:
    """A figure, and the row's `note` beside it, as its name.

    Only "all values" knows the other columns of the row. The figure is then found as the one number of the row: a name
    that is replaced is no longer found by a pattern. The note must not be read as a number or a date.
    """
    noted = re.search(r"\bAS note\b", panel.sql) is not None
    options: Json = {
        "colorMode": "value" if panel.thresholds else "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "limit": 1, "values": True}
        if noted
        else {"calcs": ["lastNotNull"], "fields": "/^value$/", "values": False},
        "textMode": "value_and_name" if noted else "value",
        "wideLayout": not noted,
    }
    defaults: Json = {"thresholds": _steps(panel.thresholds, COLOURS)} | _unit(panel.unit)
    if not noted:
        return options, defaults, []
    return options, defaults | {"displayName": "${__data.fields.note}"}, [_named("note", {"unit": "string"})]


def _timeseries(panel: Panel, _: Dashboard, lang: Lang) -> tuple[Json, Json, list[Json]]:
    options: Json = {
        "legend": {"calcs": ["lastNotNull"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    custom: Json = {
        "drawStyle": "line",
        "fillOpacity": 0,
        "lineWidth": 2,
        "scaleDistribution": {"log": 10, "type": "log"} if panel.log_scale else {"type": "linear"},
        "showPoints": "never",
        "spanNulls": False,
        "thresholdsStyle": {"mode": "line+area" if panel.threshold_lines else "off"},
    }
    if panel.stacked:
        custom |= {"fillOpacity": 60, "lineWidth": 1, "stacking": {"group": "A", "mode": "normal"}}
    if not panel.log_scale:
        custom["axisSoftMin"] = 0
    marks = [t.at for t in panel.thresholds if t.at is not None]
    if panel.threshold_lines and marks and not panel.log_scale:
        custom["axisSoftMax"] = max(marks) * 1.2
    defaults: Json = {
        "color": {"mode": "palette-classic-by-name"},
        "custom": custom,
        "displayName": "${__field.labels.series}",
        "thresholds": _steps(panel.thresholds, COLOURS | {Level.PLAIN: "transparent"}),
    }
    return options, defaults | _unit(panel.unit), [_series(style, lang) for style in panel.styles]


def _series(style: SeriesStyle, lang: Lang) -> Json:
    properties: Json = {}
    if style.dashed:
        properties["custom.lineStyle"] = {"dash": [8, 6], "fill": "dash"}
    if style.down_to is not None:
        properties["custom.fillBelowTo"] = style.down_to.of(lang)
        properties["custom.fillOpacity"] = 15
    if style.level is not None:
        properties["color"] = {"fixedColor": COLOURS[style.level], "mode": "fixed"}
    return _named(style.name.of(lang), properties)


def _table(panel: Panel, board: Dashboard, lang: Lang) -> tuple[Json, Json, list[Json]]:
    shown = {column.name for column in panel.columns}
    carried = {name for column in panel.columns if column.link for name in column.link.columns()}
    overrides = [_column(column, board, lang) for column in panel.columns]
    overrides += [_named(name, {"custom.hidden": True}) for name in sorted(carried - shown)]
    defaults: Json = {
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False},
        "thresholds": _steps((), COLOURS),
        "unit": "string",
    }
    return {"cellHeight": "sm", "footer": {"show": False}, "showHeader": True}, defaults, overrides


def _column(column: Column, board: Dashboard, lang: Lang) -> Json:
    properties: Json = {"displayName": column.title.of(lang)} | _unit(column.unit)
    if column.thresholds:
        properties["thresholds"] = _steps(column.thresholds, COLOURS)
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.gauge:
        properties["custom.cellOptions"] = {"mode": "basic", "type": "gauge", "valueDisplayMode": "text"}
        properties["min"], properties["max"] = 0, 1
    if column.words:
        properties["mappings"] = _mappings(column, lang)
    if column.levels:
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.link is not None:
        properties["links"] = [row_link(column.link, board, lang, column.title.of(lang))]
    return _named(column.name, properties)


def _mappings(column: Column, lang: Lang) -> list[Json]:
    """Codes as words, with the colour of their level; the empty text is a special match."""
    options: Json = {}
    mappings: list[Json] = []
    for index, (code, text) in enumerate(column.words.items()):
        result: Json = {"index": index, "text": text.of(lang)}
        if code in column.levels:
            result["color"] = COLOURS[column.levels[code]]
        if code:
            options[code] = result
        else:
            mappings.append({"options": {"match": "empty", "result": result}, "type": "special"})
    if options:
        mappings.insert(0, {"options": options, "type": "value"})
    return mappings
