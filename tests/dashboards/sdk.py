"""Grafana's own models: they drop keys that they do not know, so what is gone after a round trip is a typing error."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

with warnings.catch_warnings():  # it advises format v2, which Grafana 13 refuses from files
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models import alerting, expr
    from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()  # else options and custom fields of panels are kept whatever they say

THRESHOLD = expr.TypeThreshold
RULE = alerting.Rule


def unknown_keys(model: Any, content: dict[str, Any]) -> list[str]:
    """Places in `content` whose keys the model does not know."""
    back = json.loads(json.dumps(model.from_json(content), cls=JSONEncoder))
    return list(_missing(content, back, ""))


def unknown_in_dashboard(board: dict[str, Any]) -> list[str]:
    """The same for a dashboard, and for what its overrides set, field by field.

    There is no model of the queries of ClickHouse; targets are left out.
    """
    panels = [panel | {"targets": []} for panel in board["panels"]]
    annotations = [{k: v for k, v in one.items() if k != "target"} for one in board["annotations"]["list"]]
    board = board | {"panels": panels, "annotations": {"list": annotations}}
    found = unknown_keys(Dashboard, board)
    for panel in panels:
        for override in panel["fieldConfig"]["overrides"]:
            options: dict[str, Any] = {}
            for item in override["properties"]:
                place, *inner = item["id"].split(".")
                options[place] = options.get(place, {}) | {inner[0]: item["value"]} if inner else item["value"]
            single = {"defaults": options, "overrides": []}
            found += unknown_keys(Dashboard, {"panels": [panel | {"fieldConfig": single}]})
    return found


def _missing(want: Any, got: Any, where: str) -> Iterator[str]:
    if isinstance(want, dict):
        for key, value in want.items():
            if not isinstance(got, dict) or key not in got:
                if value not in (None, [], {}, ""):
                    yield f"{where}.{key}"
            else:
                yield from _missing(value, got[key], f"{where}.{key}")
    elif isinstance(want, list):
        if not isinstance(got, list) or len(want) != len(got):
            yield where
            return
        for index, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from _missing(one, other, f"{where}[{index}]")
