"""Grafana dashboards (classic v1 JSON) from the panel definitions, one per language.

Verified against the semantics of the plugin's macros and the ClickHouse engine, not against a running Grafana. Every
object names what differs from Grafana's defaults and no more; keys are sorted, so that a change is a small diff.
"""

import json

from dashboards.grafana.links import TAG, Json, dashboard_links, grafana_uid, tag_of
from dashboards.grafana.panels import panel_json
from dashboards.grafana.templating import annotations, variables
from dashboards.model import FISCAL_YEAR_STARTS, Dashboard
from schemas.texts import Lang

SCHEMA_VERSION = 39  # the newest that every Grafana from 11.6 to 13 loads unchanged
REFRESH = {"finance": "1m", "operations": "10s"}


def dashboard_json(board: Dashboard, lang: Lang) -> Json:
    """A dashboard as Grafana reads it from a file."""
    return {
        "annotations": {"list": annotations(board, lang)},
        "description": board.question.of(lang),
        "editable": False,
        "fiscalYearStartMonth": FISCAL_YEAR_STARTS - 1,  # Grafana counts from 0
        "graphTooltip": 1,
        "links": dashboard_links(board, lang),
        "panels": [panel_json(panel, board, lang) for panel in board.panels],
        "refresh": REFRESH[board.audience],
        "schemaVersion": SCHEMA_VERSION,
        "tags": [TAG, tag_of(lang)],
        "templating": {"list": variables(board, lang)},
        "time": _range(board),
        "timezone": "utc",
        "title": board.title.of(lang),
        "uid": grafana_uid(board, lang),
    }


def _range(board: Dashboard) -> Json:
    if board.range == "fy":
        return {"from": "now/fy", "to": "now/fy"}
    return {"from": f"now-{board.range}", "to": "now"}


def render(board: Dashboard, lang: Lang) -> str:
    """The text of the file: sorted keys, two spaces, newline at the end."""
    return json.dumps(dashboard_json(board, lang), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
