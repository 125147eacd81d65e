"""Grafana dashboards (classic v1 JSON) from the panel definitions, one per language.

Verified against the semantics of the plugin's macros and the ClickHouse engine, not against a running Grafana. Every
object names what differs from Grafana's defaults and no more; keys are sorted, so that a change is a small diff.
"""

import json
from pathlib import Path

from dashboards.boards import DASHBOARDS
from dashboards.grafana.panels import DATASOURCE, panel_json
from dashboards.model import Dashboard, Variable
from dashboards.units import LANGS, Lang, Text

SCHEMA_VERSION = 39  # the newest that every Grafana from 11.6 to 13 loads unchanged
REFRESH = "30s"


def uid(board: Dashboard, lang: Lang) -> str:
    """Grafana uid: the dashboard's own in English, with the language behind it otherwise."""
    return board.uid if lang == "en" else f"{board.uid}-{lang}"


def dashboard_json(board: Dashboard, lang: Lang) -> dict[str, object]:
    """A dashboard as Grafana reads it from a file."""
    return {
        "annotations": {"list": []},
        "description": board.question.of(lang),
        "editable": False,
        "graphTooltip": 1,
        "links": [
            {
                "asDropdown": False,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "tags": [_tag(lang)],
                "targetBlank": False,
                "title": "",
                "tooltip": "",
                "type": "dashboards",
                "url": "",
            }
        ],
        "panels": [panel_json(panel, lang, lambda other: uid(_by_uid(other), lang)) for panel in board.panels],
        "refresh": REFRESH,
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["commonwatt", _tag(lang)],
        "templating": {
            "list": [_datasource(lang), _language(lang), *(_variable(variable, lang) for variable in board.variables)]
        },
        "time": {"from": f"now-{board.range}", "to": "now"},
        "timezone": "utc",
        "title": board.title.of(lang),
        "uid": uid(board, lang),
    }


def _by_uid(name: str) -> Dashboard:
    return next(board for board in DASHBOARDS if board.uid == name)


def _tag(lang: Lang) -> str:
    return f"commonwatt-{lang}"


def _datasource(lang: Lang) -> dict[str, object]:
    return {
        "hide": 0,
        "label": Text("Data source", "Source de données").of(lang),
        "name": "datasource",
        "query": DATASOURCE["type"],
        "refresh": 1,
        "type": "datasource",
    }


def _language(lang: Lang) -> dict[str, object]:
    """The language as a hidden constant: SQL picks names in it."""
    value = {"text": lang, "value": lang}
    return {
        "current": value,
        "hide": 2,
        "name": "lang",
        "options": [value | {"selected": True}],
        "query": lang,
        "skipUrlSync": True,
        "type": "constant",
    }


def _variable(variable: Variable, lang: Lang) -> dict[str, object]:
    return {
        "current": {"text": ["All"], "value": ["$__all"]},
        "datasource": DATASOURCE,
        "definition": variable.sql,
        "hide": 0,
        "includeAll": True,
        "label": variable.label.of(lang),
        "multi": True,
        "name": variable.name,
        "query": {"editorType": "sql", "queryType": "sql", "rawSql": variable.sql, "refId": f"var-{variable.name}"},
        "refresh": 2,  # when the time range changes
        "sort": 0,
        "type": "query",
    }


def render(board: Dashboard, lang: Lang) -> str:
    """The text of the file: sorted keys, two spaces, newline at the end."""
    return json.dumps(dashboard_json(board, lang), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def build(folder: Path) -> list[Path]:
    """Write every dashboard as `<language>/<uid>.json` below `folder`; returns the files, in order."""
    written = []
    for lang in LANGS:
        for board in DASHBOARDS:
            path = folder / lang / f"{uid(board, lang)}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(board, lang), encoding="utf-8")
            written.append(path)
    return written
