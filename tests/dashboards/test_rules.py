"""Grafana's alert rules as they are committed: spelled as file provisioning reads them, and leading somewhere."""

import re
from typing import Any

import pytest
import yaml

from dashboards.boards import BY_UID
from dashboards.documents.alerts_page import alerts_page
from dashboards.generate import grafana_files
from dashboards.grafana.checks import HEARTBEAT, checks
from dashboards.grafana.provisioning import FOLDERS
from dashboards.grafana.rules import LAG_S, alert_rules_file
from dashboards.grafana.sources import FINANCE, OPERATIONS
from schemas.alert_rules import BY_ID, RULES, AlertRule
from schemas.config_alerts import Alerts
from tests.dashboards.sdk import RULE, THRESHOLD, unknown_keys

TEXT = alert_rules_file(Alerts())
GROUPS: list[dict[str, Any]] = yaml.safe_load(TEXT)["groups"]
WRITTEN = [pytest.param(rule, id=rule["uid"]) for group in GROUPS for rule in group["rules"]]
EACH = pytest.mark.parametrize("rule", WRITTEN)
# Of a rule in a provisioning file, where it differs from the HTTP API that the SDK describes.
FILE_SPELLING = {"keepFiringFor": "keep_firing_for", "missing_series_evals_to_resolve": "missingSeriesEvalsToResolve"}
FILE_ONLY = {"dashboardUid", "panelId"}
# What stands between {{ and }}: a label, or the value as Grafana's template functions write it.
_VALUE = r'(?:humanize(?:Percentage|Duration)|printf "%\.\d[fg]") \$values\.A\.Value'
_COMMA = rf'reReplaceAll "\[\.\]" "," \({_VALUE}\)'
ACTION = re.compile(rf' (?:(?:urlquery )?\$labels\.\w+|{_VALUE}|{_COMMA}|reReplaceAll "%" "\u00a0%" \({_COMMA}\)) ')


def test_groups() -> None:
    """Each in a folder, evaluated at a multiple of ten seconds, no rule twice."""
    for group in GROUPS:
        assert group["folder"] == FOLDERS["en"]
        minutes = re.fullmatch(r"(\d+)m", group["interval"])
        assert minutes
        assert int(minutes[1]) in (1, 5)
    uids = [rule["uid"] for group in GROUPS for rule in group["rules"]]
    titles = [rule["title"] for group in GROUPS for rule in group["rules"]]
    assert len(set(uids)) == len(uids) == len(checks(Alerts()))
    assert len(set(titles)) == len(titles)
    assert all(len(uid) <= 40 and re.fullmatch(r"[a-z0-9-]+", uid) for uid in uids)


@EACH
def test_grafana_knows_every_key(rule: dict[str, Any]) -> None:
    """What Grafana does not know, or knows under another spelling, it drops without a word."""
    assert FILE_SPELLING.keys() <= rule.keys()
    http = {FILE_SPELLING.get(key, key): value for key, value in rule.items() if key not in FILE_ONLY}
    assert not [key for key in unknown_keys(RULE, http) if not key.startswith(".data")]
    assert not {"keep_firing_for", "missingSeriesEvalsToResolve", "keepFiringfor"} & rule.keys()
    question, comparison = rule["data"]
    assert not unknown_keys(THRESHOLD, comparison["model"])
    assert {"refId", "datasourceUid", "relativeTimeRange", "model"} == question.keys() == comparison.keys()


@EACH
def test_question_and_condition(rule: dict[str, Any]) -> None:
    """A table with one number a row, older than what is still under way, compared without a reduction."""
    question, comparison = rule["data"]
    model = question["model"]
    assert (question["refId"], comparison["refId"], rule["condition"]) == ("A", "C", "C")
    assert question["datasourceUid"] == model["datasource"]["uid"]
    assert question["datasourceUid"] in {FINANCE.uid, OPERATIONS.uid}
    assert type(model["format"]) is int
    assert (model["format"], model["editorType"]) == (1, "sql")
    assert "$__interval_s" not in model["rawSql"] or model["intervalMs"] == 60_000
    assert question["relativeTimeRange"]["to"] == LAG_S
    assert question["relativeTimeRange"]["from"] > LAG_S
    assert comparison["model"]["expression"] == "A"
    (condition,) = comparison["model"]["conditions"]
    (limit,) = condition["evaluator"]["params"]
    if "unloadEvaluator" in condition:  # a value between the two keeps an alert that fires, and begins none
        (back,) = condition["unloadEvaluator"]["params"]
        above = condition["evaluator"]["type"] in ("gt", "gte")
        assert (back < limit) is above
        assert condition["unloadEvaluator"]["type"] == ("lt" if above else "gt")


@EACH
def test_what_people_read(rule: dict[str, Any]) -> None:
    """Every alert says in both languages what happened and what to do, and leads to the panel that shows it."""
    known = BY_ID | {HEARTBEAT.id: HEARTBEAT}
    defined = known[rule["labels"]["rule"]]
    board = BY_UID[rule["dashboardUid"]]
    panel = next(panel for panel in board.panels if panel.id == rule["panelId"])
    assert (board.uid, panel.name) == (defined.dashboard, defined.panel)
    assert rule["labels"] == {"rule": defined.id, "severity": defined.severity}
    assert "$" not in rule["title"] + rule["uid"] + "".join(rule["labels"].values()), "Grafana would replace it"
    texts = rule["annotations"]
    assert texts.keys() == {"summary", "summary_fr", "advice", "advice_fr", "dashboard", "dashboard_fr"}
    assert texts["summary"] != texts["summary_fr"]
    for text in texts.values():
        assert all(ACTION.fullmatch(action) for action in re.findall(r"\{\{(.*?)\}\}", text)), text
        assert text.count("{{") == text.count("}}") == len(re.findall(r"\{\{(.*?)\}\}", text))
        assert "@" not in text.replace("{{", "")
        assert "#" not in text
    variables = {variable.name for variable in board.variables}
    assert set(re.findall(r"var-(\w+)=", texts["dashboard"])) <= variables
    assert texts["dashboard"].split("?")[0] == f"/d/{board.uid}"
    assert texts["dashboard_fr"].split("?")[0] == f"/d/{board.uid}-fr"
    assert rule["for"] == f"{defined.for_s:g}s"
    assert rule["keepFiringFor"] == f"{defined.keep_s:g}s"
    assert rule["noDataState"] == ("Alerting" if defined is HEARTBEAT else "OK")
    assert rule["execErrState"] == "Error"


def test_every_rule_leads_to_a_panel() -> None:
    """Also those that only the stream evaluates: the page and the notifications link to it."""
    for rule in RULES:
        assert rule.panel in {panel.name for panel in BY_UID[rule.dashboard].panels}, rule.id


def test_thresholds_of_the_configuration_reach_the_file() -> None:
    text = alert_rules_file(Alerts.model_validate({"burn_fast": "3"}))
    rules = {rule["uid"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}
    (condition,) = rules["cw-burn-fast"]["data"][1]["model"]["conditions"]
    assert condition["evaluator"] == {"params": [3.0], "type": "gt"}
    assert condition["unloadEvaluator"] == {"params": [2.7], "type": "lt"}


def test_yaml_is_read_back_as_it_was_meant() -> None:
    """SQL stands in blocks, one statement under another, and comes back to the letter."""
    sql = {check.rule.id: check.sql for check in checks(Alerts())}
    for group in GROUPS:
        for rule in group["rules"]:
            assert sql[rule["labels"]["rule"]] in rule["data"][0]["model"]["rawSql"]
    assert TEXT.count("rawSql: |") == len(sql)
    assert "&id" not in TEXT


def test_rules_ask_data_sources_that_are_provisioned() -> None:
    files = [text for name, text in grafana_files().items() if name.startswith("provisioning/datasources/")]
    provisioned = {source["uid"] for text in files for source in yaml.safe_load(text)["datasources"]}
    assert {rule["data"][0]["datasourceUid"] for group in GROUPS for rule in group["rules"]} <= provisioned


@pytest.mark.parametrize("rule", [*RULES, HEARTBEAT], ids=lambda rule: rule.id)
def test_the_page_says_everything_about_a_rule(rule: AlertRule) -> None:
    """docs/alerts.md: what, when, how bad, which setting, for how long, what to do, and where to look."""
    (section,) = (part for part in alerts_page().split("\n## ") if part.startswith(f"{rule.id}\n"))
    panel = next(panel for panel in BY_UID[rule.dashboard].panels if panel.name == rule.panel)
    for said in (
        rule.title.en,
        rule.title.of("fr"),
        f"**{rule.severity}**",
        rule.advice.en,
        panel.title.en,
        "**When.** ",
    ):
        assert said in section
    if rule.setting:
        assert f"`{rule.setting}`" in section
