"""One panel definition as Grafana panel JSON."""

from collections.abc import Callable, Sequence

from dashboards.model import Column, Kind, Level, Panel, Threshold
from dashboards.units import Lang, Style, Unit

DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}
PLUGIN_VERSION = "4.20.0"  # grafana-clickhouse-datasource whose query form this is
INTERVAL = "1m"  # the ledger's minutes: no point is finer

TIME_SERIES, TABLE = 0, 1  # target.format; a number, not a word

# Grafana's named colours, which suit both of its themes.
_COLOURS = {Level.PLAIN: "text", Level.GOOD: "green", Level.WATCH: "orange", Level.ACT: "red"}

Uid = Callable[[str], str]
Json = dict[str, object]


def panel_json(panel: Panel, lang: Lang, uid_of: Uid) -> Json:
    """A panel; `uid_of` gives the Grafana uid of a dashboard in the same language."""
    options, defaults, overrides = {
        Kind.STAT: _stat,
        Kind.TIMESERIES: _timeseries,
        Kind.TABLE: _table,
    }[panel.kind](panel, lang, uid_of)
    grid = panel.grid
    return {
        "datasource": DATASOURCE,
        "description": panel.description.of(lang),
        "fieldConfig": {"defaults": {"noValue": panel.empty.of(lang)} | defaults, "overrides": overrides},
        "gridPos": {"h": grid.h, "w": grid.w, "x": grid.x, "y": grid.y},
        "id": panel.id,
        "interval": INTERVAL,
        "links": _links(panel, lang, uid_of),
        "options": options,
        "targets": [
            {
                "datasource": DATASOURCE,
                "editorType": "sql",
                "format": TIME_SERIES if panel.kind is Kind.TIMESERIES else TABLE,
                "meta": {},
                "pluginVersion": PLUGIN_VERSION,
                "queryType": "timeseries" if panel.kind is Kind.TIMESERIES else "table",
                "rawSql": panel.sql,
                "refId": "A",
            }
        ],
        "title": panel.title.of(lang),
        "type": panel.kind.value,
    }


def _links(panel: Panel, lang: Lang, uid_of: Uid) -> list[Json]:
    if panel.link is None:
        return []
    return [
        {
            "targetBlank": False,
            "title": "Explique" if lang == "fr" else "Explain",
            "url": f"/d/{uid_of(panel.link)}?${{__url_time_range}}&${{__all_variables}}",
        }
    ]


def _unit(unit: Unit) -> Json:
    return {"unit": unit.grafana} | ({"decimals": 2} if unit.style is Style.MONEY else {})


def _steps(thresholds: Sequence[Threshold], colours: dict[Level, str]) -> Json:
    steps = [{"color": colours[t.level], "value": t.at} for t in thresholds]
    return {"mode": "absolute", "steps": steps or [{"color": colours[Level.PLAIN], "value": None}]}


def _stat(panel: Panel, _: Lang, __: Uid) -> tuple[Json, Json, list[Json]]:
    options: Json = {
        "colorMode": "value" if panel.thresholds else "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/^value$/", "values": False},
        "textMode": "value",
        "wideLayout": True,
    }
    return options, {"thresholds": _steps(panel.thresholds, _COLOURS)} | _unit(panel.unit), []


def _timeseries(panel: Panel, _: Lang, __: Uid) -> tuple[Json, Json, list[Json]]:
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
    if not panel.log_scale:
        custom["axisSoftMin"] = 0
    marks = [t.at for t in panel.thresholds if t.at is not None]
    if panel.threshold_lines and marks and not panel.log_scale:
        custom["axisSoftMax"] = max(marks) * 1.2
    defaults: Json = {
        "color": {"mode": "palette-classic-by-name"},
        "custom": custom,
        "displayName": "${__field.labels.series}",
        "thresholds": _steps(panel.thresholds, _COLOURS | {Level.PLAIN: "transparent"}),
    }
    return options, defaults | _unit(panel.unit), []


def _table(panel: Panel, lang: Lang, uid_of: Uid) -> tuple[Json, Json, list[Json]]:
    shown = {column.name for column in panel.columns}
    linked = {column.link.column for column in panel.columns if column.link} - shown
    overrides = [_override(column, lang, uid_of) for column in panel.columns]
    overrides += [_named(name, {"custom.hidden": True}) for name in sorted(linked)]
    defaults: Json = {
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False},
        "thresholds": _steps((), _COLOURS),
        "unit": "string",
    }
    return {"cellHeight": "sm", "footer": {"show": False}, "showHeader": True}, defaults, overrides


def _named(name: str, properties: Json) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _override(column: Column, lang: Lang, uid_of: Uid) -> Json:
    properties: Json = {"displayName": column.title.of(lang)} | _unit(column.unit)
    if column.thresholds:
        properties["thresholds"] = _steps(column.thresholds, _COLOURS)
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.gauge:
        properties["custom.cellOptions"] = {"mode": "basic", "type": "gauge", "valueDisplayMode": "text"}
        properties["min"], properties["max"] = 0, 1
    if column.words:
        properties["mappings"] = _mappings(column, lang)
    if column.levels:
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.link is not None:
        query = (
            f"${{__url_time_range}}&var-{column.link.variable}=${{__data.fields.{column.link.column}:percentencode}}"
        )
        properties["links"] = [{"title": column.title.of(lang), "url": f"/d/{uid_of(column.link.dashboard)}?{query}"}]
    return _named(column.name, properties)


def _mappings(column: Column, lang: Lang) -> list[Json]:
    """Codes as words, with the colour of their level; the empty text is a special match."""
    options: Json = {}
    mappings: list[Json] = []
    for index, (code, text) in enumerate(column.words.items()):
        result: Json = {"index": index, "text": text.of(lang)}
        if code in column.levels:
            result["color"] = _COLOURS[column.levels[code]]
        if code:
            options[code] = result
        else:
            mappings.append({"options": {"match": "empty", "result": result}, "type": "special"})
    if options:
        mappings.insert(0, {"options": options, "type": "value"})
    return mappings
