"""What is meant to be in Grafana, in the form that its HTTP API takes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compose.grafana import selection
from compose.grafana.connection import GrafanaRefuses, Json
from dashboards.grafana import dashboard_json
from dashboards.grafana.datasources import Place, datasource, role_of, variable
from dashboards.grafana.provisioning import FOLDERS, folder_uid
from dashboards.grafana.sources import Source
from schemas.config_alerts import Alerts
from schemas.config_values import duration_s
from schemas.texts import LANGS

_RENAMED = {"keepFiringFor": "keep_firing_for", "missing_series_evals_to_resolve": "missingSeriesEvalsToResolve"}
"""Field of a rule in a provisioning file -> in the API. Each drops the other's spelling without a word."""
_LINKS = {"dashboardUid": "__dashboardUid__", "panelId": "__panelId__"}
"""Field of a rule in a provisioning file -> annotation in the API."""


@dataclass(frozen=True, slots=True)
class Folder:
    uid: str
    title: str


def folders() -> list[Folder]:
    """One per language."""
    return [Folder(folder_uid(lang), FOLDERS[lang]) for lang in LANGS]


def dashboards(sources: Sequence[Source]) -> Iterator[tuple[str, Json]]:
    """(uid of its folder, dashboard) of every dashboard in every language."""
    for lang in LANGS:
        for board, source in selection.boards(sources):
            described: Json = dict(dashboard_json(board, lang))
            for variable_ in described["templating"]["list"]:
                if variable_["type"] == "datasource":
                    variable_["current"] = {"text": source.name, "value": source.uid}
            yield folder_uid(lang), described


def datasources(place: Place, sources: Sequence[Source]) -> Iterator[tuple[Source, Json]]:
    """Every data source, without its password."""
    for source in sources:
        yield source, dict(datasource(source, place, _user(source)))


def password(source: Source) -> str:
    """Of the data source's ClickHouse user; empty when the environment does not say."""
    return os.environ.get(variable(source, "PASSWORD"), "")


def _user(source: Source) -> str:
    return os.environ.get(variable(source, "USER"), "") or f"grafana_{role_of(source)}"


def place(text: str | None) -> Place:
    """Where Grafana finds ClickHouse: `text`, else the environment. Raises GrafanaRefuses."""
    said = text or os.environ.get("CLICKHOUSE_HOST", "")
    host, _, port = said.rpartition(":") if said.count(":") == 1 else (said, "", "")
    if not host or "/" in host or not (port or "1").isdecimal() or not 0 < int(port or 1) < 65536:
        what = f'"{said}" is no place of a ClickHouse' if said else "Grafana has to know where ClickHouse is"
        raise GrafanaRefuses(
            f"{what}: write --clickhouse HOST:9000, or HOST:9440 with TLS, as Grafana reaches its native protocol."
        )
    return Place(host, int(port)) if port else Place(host)


def groups(settings: Alerts, sources: Sequence[Source]) -> Iterator[Json]:
    """Every group of alert rules."""
    uid = folder_uid("en")
    for group, rules in selection.groups(settings, sources):
        name = str(group["name"])
        yield {
            "title": name,
            "folderUid": uid,
            "interval": round(duration_s(group["interval"])),
            "rules": [_rule(rule, name, uid) for rule in rules],
        }


def _rule(rule: Mapping[str, object], group: str, folder: str) -> Json:
    """A rule of a provisioning file as the API takes it."""
    annotations = rule["annotations"]
    assert isinstance(annotations, dict)
    linked = {_LINKS[name]: str(rule[name]) for name in _LINKS if name in rule}
    fields = {_RENAMED.get(name, name): value for name, value in rule.items() if name not in _LINKS}
    return fields | {
        "orgID": 1,
        "folderUID": folder,
        "ruleGroup": group,
        "annotations": annotations | linked,
        "isPaused": False,
    }
