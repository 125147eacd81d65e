"""Variables and annotations of a dashboard as Grafana reads them."""

from dashboards.grafana.links import Json
from dashboards.grafana.panels import COLOURS, DATASOURCE, TABLE, query
from dashboards.grafana.sources import BY_AUDIENCE
from dashboards.model import Annotation, Dashboard, Variable
from schemas.texts import Lang, Text

# What Grafana marks by itself: annotations made by hand, and the states of its own alert rules.
_BUILT_IN: Json = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def variables(board: Dashboard, lang: Lang) -> list[Json]:
    """Data source and language first, then those of the dashboard."""
    return [_datasource(board, lang), _language(lang), *(_variable(variable, lang) for variable in board.variables)]


def annotations(board: Dashboard, lang: Lang) -> list[Json]:
    return [_BUILT_IN, *(_annotation(annotation, lang) for annotation in board.annotations)]


def _datasource(board: Dashboard, lang: Lang) -> Json:
    """The data source, chosen among those of the plugin; at first that of the dashboard's audience.

    Links do not carry it: the next dashboard may be for others, with tables that this data source may not read.
    """
    source = BY_AUDIENCE[board.audience]
    return {
        "current": {"text": source.name, "value": source.uid},
        "hide": 0,
        "label": Text("Data source", "Source de données").of(lang),
        "name": "datasource",
        "query": DATASOURCE["type"],
        "refresh": 1,
        "skipUrlSync": True,
        "type": "datasource",
    }


def _language(lang: Lang) -> Json:
    """The language as a hidden constant: SQL picks names in it."""
    value: Json = {"text": lang, "value": lang}
    return {
        "current": value,
        "hide": 2,
        "name": "lang",
        "options": [value | {"selected": True}],
        "query": lang,
        "skipUrlSync": True,
        "type": "constant",
    }


def _variable(variable: Variable, lang: Lang) -> Json:
    several = variable.default is None
    return {
        "current": {"text": ["All"], "value": ["$__all"]}
        if several
        else {"text": variable.default, "value": variable.default},
        "datasource": DATASOURCE,
        "definition": variable.sql,
        "hide": 0,
        "includeAll": several,
        "label": variable.label.of(lang),
        "multi": several,
        "name": variable.name,
        "query": {"editorType": "sql", "queryType": "sql", "rawSql": variable.sql, "refId": f"var-{variable.name}"},
        "refresh": 2,  # when the time range changes
        "sort": 0,
        "type": "query",
    }


def _annotation(annotation: Annotation, lang: Lang) -> Json:
    return {
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": COLOURS[annotation.level],
        "name": annotation.title.of(lang),
        "target": query(annotation.sql, TABLE, f"annotation-{annotation.name}"),
    }
