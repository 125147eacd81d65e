"""Alert rules as Grafana reads them from a file: the checks, with what schemas.alert_rules says about each rule.

File provisioning spells `keepFiringFor` and `missing_series_evals_to_resolve`; what is spelled otherwise is dropped
without a word. Values are compared as they come: a table with one number per row needs no reduction.
"""

from fractions import Fraction
from itertools import groupby
from typing import Literal

from dashboards.boards import BY_UID
from dashboards.grafana.checks import Check, checks
from dashboards.grafana.links import TAG, Json, grafana_uid
from dashboards.grafana.panels import TABLE, query
from dashboards.grafana.provisioning import FOLDERS, as_yaml
from dashboards.macros import quote
from schemas.alert_rules import AlertRule
from schemas.config_alerts import Alerts

LAG_S = 60
"""The range of a question ends this long ago: what is younger may still be under way to the book."""
MISSING_EVALUATIONS = 5
"""An alert goes after so many evaluations in which nothing is said about its subject."""

_OPPOSITE: dict[str, Literal["lt", "gt"]] = {"gt": "lt", "gte": "lt", "lt": "gt"}


def alert_rules_file(settings: Alerts) -> str:
    """The file in provisioning/alerting."""
    return as_yaml(
        {"apiVersion": 1, "groups": rule_groups(settings)},
        "Put it into Grafana's folder provisioning/alerting, beside the data sources of provisioning/datasources.",
        "Route by the labels rule and severity. What each rule means, and what to do: docs/alerts.md.",
    )


def rule_groups(settings: Alerts) -> list[Json]:
    """Rules in groups that are evaluated together; thresholds are those of section `[alerts]`."""
    every = sorted(checks(settings), key=lambda check: check.every_s)
    return [
        {
            "orgId": 1,
            "name": f"{TAG}-{every_s // 60}m",
            "folder": FOLDERS["en"],
            "interval": f"{every_s // 60}m",
            "rules": [_rule(check) for check in group],
        }
        for every_s, group in groupby(every, key=lambda check: check.every_s)
    ]


def rule_uid(rule: AlertRule) -> str:
    return f"cw-{rule.id.replace('_', '-')}"


def sql_of(check: Check) -> str:
    """The question of a check, without the clusters about which a rule that hides it fires."""
    if "cluster" not in check.labels or not check.rule.hidden_by:
        return check.sql
    rules = ", ".join(quote(rule) for rule in check.rule.hidden_by)
    return f"""SELECT * FROM (
{check.sql}
)
WHERE cluster NOT IN (
    SELECT any(cluster) FROM alerts FINAL
    WHERE rule IN ({rules}) AND ts >= now() - INTERVAL 7 DAY
    GROUP BY fingerprint HAVING argMax(state, (ts, state)) = 'firing'
)"""


def _rule(check: Check) -> Json:
    rule = check.rule
    board = BY_UID[rule.dashboard]
    panel = next(panel for panel in board.panels if panel.name == rule.panel)
    asked: Json = query(sql_of(check), TABLE, source=check.source.uid) | {"intervalMs": 60_000, "maxDataPoints": 1000}
    compared: Json = {
        "conditions": [_condition(check)],
        "datasource": {"type": "__expr__", "uid": "__expr__"},
        "expression": "A",
        "refId": "C",
        "type": "threshold",
    }
    return {
        "uid": rule_uid(rule),
        "title": f"{rule.title.of('en')} / {rule.title.of('fr')}",
        "condition": "C",
        "dashboardUid": grafana_uid(board, "en"),
        "panelId": panel.id,
        "for": f"{rule.for_s:g}s",
        "keepFiringFor": f"{rule.keep_s:g}s",
        "missing_series_evals_to_resolve": MISSING_EVALUATIONS,
        "noDataState": check.no_data,
        "execErrState": "Error",
        "labels": {"rule": rule.id, "severity": rule.severity},
        "annotations": {
            "summary": check.what.of("en"),
            "summary_fr": check.what.of("fr"),
            "advice": rule.advice.of("en"),
            "advice_fr": rule.advice.of("fr"),
            "dashboard": _link(check, grafana_uid(board, "en")),
            "dashboard_fr": _link(check, grafana_uid(board, "fr")),
        },
        "data": [
            {
                "refId": "A",
                "datasourceUid": check.source.uid,
                "relativeTimeRange": {"from": check.window_s + LAG_S, "to": LAG_S},
                "model": asked,
            },
            {
                "refId": "C",
                "datasourceUid": "__expr__",
                "relativeTimeRange": {"from": 0, "to": 0},
                "model": compared,
            },
        ],
    }


def _condition(check: Check) -> Json:
    """From the threshold on it fires; with hysteresis, until the value is back at a part of it."""
    condition: Json = {"evaluator": {"params": [check.threshold], "type": check.comparison}}
    if check.rule.clears_at != 1 and check.threshold:
        back = float(Fraction(repr(check.threshold)) * Fraction(repr(check.rule.clears_at)))
        condition["unloadEvaluator"] = {"params": [back], "type": _OPPOSITE[check.comparison]}
    return condition


def _link(check: Check, uid: str) -> str:
    """Way to the dashboard, below Grafana's own address, with what the alert is about chosen there."""
    offered = {variable.name for variable in BY_UID[check.rule.dashboard].variables}
    chosen = [f"var-{name}={{{{ urlquery $labels.{name} }}}}" for name in check.labels if name in offered]
    return f"/d/{uid}" + ("?" + "&".join(chosen) if chosen else "")
