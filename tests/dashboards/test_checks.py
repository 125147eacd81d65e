"""Grafana's checks of the alert rules, asked on the real engine: who is named, and who is not."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import ge, gt, lt
from typing import Any
from uuid import UUID

import pytest
from clickhouse_connect.driver.client import Client

from dashboards.grafana.checks import HEARTBEAT, Check, checks, threshold
from dashboards.grafana.rules import LAG_S, sql_of
from dashboards.macros import Window, expand, variables_in
from schemas.alert_rules import BY_ID
from schemas.config_alerts import Alerts
from tests.conftest import ClickHouse
from tests.conftest import empty as take_all_rows_out

CHECKS = checks(Alerts())
BY_RULE = {check.rule.id: check for check in CHECKS}
NOT_IN_THE_BOOK = {"over_temperature", "xid", "power_cap"}
WRONG = {"gt": gt, "gte": ge, "lt": lt}
MINUTE = timedelta(minutes=1)

# Rule -> what is wrong, and what looks alike and is not: each as the first labels of its alert.
NAMED: dict[str, tuple[set[tuple[str, ...]], set[tuple[str, ...]]]] = {
    "budget_50": ({("p", "half"), ("p", "most"), ("p", "nearly"), ("p", "all")}, {("p", "less"), ("p", "over")}),
    "budget_80": ({("p", "most"), ("p", "nearly"), ("p", "all")}, {("p", "half"), ("p", "no-cap")}),
    "budget_90": ({("p", "nearly"), ("p", "all")}, {("p", "most"), ("p", "not-begun")}),
    "budget_100": ({("p", "all")}, {("p", "nearly"), ("p", "over")}),
    "burn_fast": ({("p", "fast")}, {("p", "was-fast"), ("p", "calm"), ("p", "stopped")}),
    "burn_slow": ({("p", "slow")}, {("p", "calm"), ("p", "was-fast"), ("p", "stopped"), ("p", "all")}),
    "cost_per_mtok": ({("units", "dear")}, {("units", "cheap"), ("units", "rare")}),
    "tokens_dropped": ({("drop", "fell"), ("drop", "none")}, {("drop", "slower"), ("drop", "less-power")}),
    "tokens_without_energy": ({("units", "ghost")}, {("units", "cheap"), ("units", "rare")}),
    "energy_without_tokens": ({("units", "mute")}, {("units", "quiet"), ("drop", "none")}),
    "allocated_idle": (
        {("devices", "sleeper"), ("devices", "node-9")},
        {("devices", "worker"), ("devices", "napper"), ("devices", "node-8")},
    ),
    "counter_frozen": (
        {("devices", "frozen")},
        {("devices", "moving"), ("devices", "just-stopped"), ("devices", "unmeasured")},
    ),
    "exporter_silent": ({("down",), ("heard-again",)}, {("up",), ("hidden",)}),
    "collector_silent": ({("live", "gone")}, {("live", "here")}),
    "cluster_silent": ({("silent",)}, {("live",)}),
    "clock_skew": ({("clock", "ahead")}, {("clock", "right"), ("clock", "late")}),
    "lag": ({("clock", "late")}, {("clock", "right"), ("clock", "ahead")}),
    "quarantine": ({("telemetry.gpu",)}, {("telemetry.tokens",)}),
    "tally_differs": ({("fir",)}, {("narval",)}),
    "coverage": ({("gaps",)}, {("whole",)}),
    "check_failed": ({("tiling",)}, {("energy",)}),
    "heartbeat": (set(), {()}),
}


@pytest.fixture(scope="module")
def book(migrated: Client) -> Iterator[datetime]:
    """A book with something wrong for every rule, as of the moment that it yields. Tests that empty it come last."""
    take_all_rows_out(migrated)
    now = datetime.now(UTC).replace(microsecond=0)
    _agreements(migrated, now)
    _units(migrated, now)
    _devices(migrated, now)
    _messages(migrated, now)
    _alerts(migrated, now)
    yield now
    take_all_rows_out(migrated)


def _ask(client: Client, check: Check, now: datetime) -> tuple[Sequence[Any], list[str], set[tuple[str, ...]]]:
    """The rows of a check as Grafana would ask at `now`, the types of the columns, and who is wrong."""
    to_ms = int(now.timestamp() - LAG_S) * 1000
    answer = client.query(expand(sql_of(check), Window(to_ms - check.window_s * 1000, to_ms, 60_000)))
    names, types = list(answer.column_names), [kind.name for kind in answer.column_types]
    assert not names or names == [*check.labels, "value"]
    wrong = {tuple(row[:-1]) for row in answer.result_rows if WRONG[check.comparison](row[-1], check.threshold)}
    return answer.result_rows, types, wrong


@pytest.mark.parametrize("rule", BY_RULE)
def test_check(migrated: Client, book: datetime, rule: str) -> None:
    """A check names exactly those who are wrong, and yields what Grafana takes as numbers: texts and one number."""
    wrong, right = NAMED[rule]
    rows, types, found = _ask(migrated, BY_RULE[rule], book)
    assert types, "the book has rows for it"
    assert types[-1] == "Float64"
    assert all(re.fullmatch(r"(LowCardinality\()?String\)?", kind) for kind in types[:-1])
    assert len({tuple(row[:-1]) for row in rows}) == len(rows), "two numbers of one alert"
    length = len(next(iter(wrong | right)))
    named = {labels[:length] for labels in found}
    assert named & (wrong | right) == wrong


def test_checks_of_an_empty_book(clickhouse: ClickHouse) -> None:
    """Before anything is metered no check fails and none fires; that nothing comes at all is the heartbeat's matter."""
    for check in CHECKS:
        rows, _, _ = _ask(clickhouse.client, check, datetime.now(UTC))
        assert not rows, check.rule.id
        assert check.no_data == ("Alerting" if check.rule is HEARTBEAT else "OK")


def test_heartbeat_stops(clickhouse: ClickHouse) -> None:
    """Minutes after the last message the heartbeat is wrong."""
    now = datetime.now(UTC)
    _insert_messages(clickhouse.client, [("fir/c/0", now - 3 * MINUTE, now - 3 * MINUTE)])
    _, _, wrong = _ask(clickhouse.client, BY_RULE[HEARTBEAT.id], now)
    assert wrong == {()}


def test_every_rule_that_the_book_can_tell_is_checked() -> None:
    assert set(BY_RULE) == (set(BY_ID) - NOT_IN_THE_BOOK) | {HEARTBEAT.id}
    assert set(NAMED) == set(BY_RULE)


def test_thresholds_follow_the_configuration() -> None:
    """One source of thresholds: section `[alerts]`; a budget rule's is in its name, else there is nothing to set."""
    own = Alerts.model_validate(
        {"burn_fast": "3", "silent_after": "5m", "coverage_below": "0.9", "cost_per_mtok_high": "0.5"}
    )
    found = {check.rule.id: check.threshold for check in checks(own)}
    assert (found["burn_fast"], found["coverage"], found["cost_per_mtok"]) == (3.0, 0.9, 0.5)
    assert found["cluster_silent"] == found["collector_silent"] == found["heartbeat"] == 300.0
    for check in CHECKS:
        if check.rule.setting is not None:
            assert check.threshold == float(getattr(Alerts(), check.rule.setting)), check.rule.id
        else:
            assert check.threshold == threshold(check.rule, Alerts())
    assert [threshold(BY_ID[f"budget_{part}"], own) for part in (50, 80, 90, 100)] == [0.5, 0.8, 0.9, 1.0]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.rule.id)
def test_only_what_alert_rules_know(check: Check) -> None:
    """No variable, no frontend macro, no macro that is left unexpanded; bounded in time."""
    sql = sql_of(check)
    assert not variables_in(sql)
    assert "conditionalAll" not in sql
    assert "adHocFilters" not in sql
    assert "$__" not in expand(sql, Window(0, 3_600_000))
    said = set(re.findall(r"\$labels\.(\w+)", check.what.en + check.what.fr))
    assert said <= set(check.labels), "a label that the answer does not have"
    assert re.search(r"\$__(timeFilter\(|fromTime|toTime)|now\(\) - INTERVAL", sql)


# ---- the book --------------------------------------------------------------------------------------------------------


def _agreements(client: Client, now: datetime) -> None:
    today, begun = now.date(), now.date() - timedelta(days=90)
    rows: list[tuple[str, int | None, str, date, date]] = [
        ("less", 1000, "499.99", begun, today + timedelta(days=90)),
        ("half", 1000, "500", begun, today + timedelta(days=90)),
        ("most", 1000, "850", begun, today + timedelta(days=90)),
        ("nearly", 1000, "999.99", begun, today + timedelta(days=90)),
        ("all", 1000, "1000", begun, today + timedelta(days=90)),
        ("over", 1000, "1000", begun, today - timedelta(days=1)),
        ("not-begun", 1000, "950", today + timedelta(days=1), today + timedelta(days=90)),
        ("no-cap", None, "950", begun, today + timedelta(days=90)),
    ]
    rows += [
        (name, 1_000_000, "0", begun, today + timedelta(days=90))
        for name in ("fast", "was-fast", "slow", "calm", "stopped")
    ]
    client.insert(
        "agreements",
        [(i, "p", f"{i} inc.", "CA", "credits", "{}", cap, Decimal(s), a, b, now) for i, cap, s, a, b in rows],
        column_names=[
            "id", "programme", "recipient", "country", "rule", "terms", "cap", "spent_before", "starts", "ends",
            "recorded_at",
        ],
    )  # fmt: skip
    client.insert(
        "programmes",
        [("p", "P", "P", Decimal(10**9), "CAD", begun, today + timedelta(days=90), now)],
        column_names=["id", "name_en", "name_fr", "budget", "currency", "starts", "ends", "recorded_at"],
    )
    newest = now.replace(second=0) - 2 * MINUTE
    # Times what is sustainable: now, over 1 h, over 6 h, over 3 d.
    burns: dict[str, tuple[Any, ...]] = {
        "fast": (newest, 12, 11, 1, 1),
        "was-fast": (newest, 1, 11, 1, 2),
        "slow": (newest, 1, 1, Decimal("1.4"), Decimal("1.3")),
        "calm": (newest, 1, 1, 1, 1),
        "all": (newest, 20, 20, 20, 20),
        "stopped": (newest - 20 * MINUTE, 20, 20, 20, 20),
    }
    client.insert(
        "subsidy_burn_store",
        [
            (minute, "p", name, minute, Decimal(0), Decimal(0), Decimal(1_000_000),
             *(Decimal(part) * 5 for part in parts), Decimal(5), "CAD")
            for name, (minute, *parts) in burns.items()
        ],
        column_names=[
            "minute", "programme", "agreement", "ts", "spent", "accrued", "cap", "rate_per_hour", "rate_1h_per_hour",
            "rate_6h_per_hour", "rate_3d_per_hour", "sustainable_per_hour", "currency",
        ],
    )  # fmt: skip


def _units(client: Client, now: datetime) -> None:
    """An hour of minutes. Models: per minute, tokens (then and in the last minutes), CAD, joules, busy share."""
    minutes = [now.replace(second=0) - back * MINUTE for back in range(61)]
    models: dict[tuple[str, str], tuple[int, int, str, int, int, str]] = {
        ("units", "dear"): (100_000, 100_000, "0.02", 20_000, 20_000, "0.8"),
        ("units", "cheap"): (100_000, 100_000, "0.005", 20_000, 20_000, "0.8"),
        ("units", "rare"): (100, 100, "0.02", 1, 1, "0.1"),
        ("units", "ghost"): (100_000, 100_000, "0.005", 50, 50, "0"),
        ("units", "mute"): (0, 0, "0.02", 20_000, 20_000, "0.5"),
        ("units", "quiet"): (0, 0, "0.02", 4_000, 4_000, "0.05"),
        ("drop", "fell"): (100_000, 40_000, "0.005", 20_000, 20_000, "0.8"),
        ("drop", "none"): (100_000, 0, "0.005", 20_000, 20_000, "0.8"),
        ("drop", "slower"): (100_000, 60_000, "0.005", 20_000, 20_000, "0.8"),
        ("drop", "less-power"): (100_000, 40_000, "0.005", 20_000, 8_000, "0.8"),
        ("whole", ""): (0, 0, "0", 20_000, 20_000, "0"),
        ("gaps", ""): (0, 0, "0", 20_000, 20_000, "0"),
        ("live", ""): (0, 0, "0", 20_000, 20_000, "0"),
        ("silent", ""): (0, 0, "0", 20_000, 20_000, "0"),
    }
    rows = []
    for minute in minutes:
        back_s = (now - minute).total_seconds()
        for (cluster, model), (tokens_then, tokens_now, cost, j_then, j_now, busy) in models.items():
            if (cluster == "gaps" and 1200 < back_s < 1500) or (cluster == "silent" and back_s < 600):
                continue
            tokens, joules = (tokens_now, j_now) if back_s < 20 * 60 else (tokens_then, j_then)
            rows.append(
                (minute, cluster, model, "", "", 1, Decimal(60), Decimal(60) * Decimal(busy), Decimal(joules),
                 Decimal(cost), Decimal(0), tokens, 0, 0, Decimal(0), Decimal(0), "CAD")
            )  # fmt: skip
    client.insert(
        "unit_costs_store",
        rows,
        column_names=[
            "minute", "cluster", "model", "agreement", "programme", "version", "gpu_seconds", "busy_seconds",
            "energy_j", "cost", "usage_cost", "prompt_tokens", "cached_tokens", "generation_tokens", "subsidy",
            "charge", "currency",
        ],
    )  # fmt: skip


def _devices(client: Client, now: datetime) -> None:
    """Twenty-five minutes. Devices: node, workload, agreement, minutes idle at the end, minutes frozen, method."""
    devices = [
        ("node-1", "job-1", "sleeper", 25, 0, "counter"),
        ("node-1", "job-2", "worker", 0, 0, "counter"),
        ("node-1", "job-3", "napper", 5, 0, "counter"),
        ("node-8", "", "", 25, 0, "counter"),
        ("node-9", "job-4", "", 25, 0, "counter"),
        ("frozen", "", "", 0, 25, "counter"),
        ("moving", "", "", 0, 0, "counter"),
        ("just-stopped", "", "", 0, 3, "counter"),
        ("unmeasured", "", "", 0, 25, "time"),
    ]
    rows = []
    for back in range(25):
        minute = now.replace(second=0) - (back + 1) * MINUTE
        for number, (node, workload, agreement, idle, frozen, method) in enumerate(devices):
            busy = Decimal(0) if back < idle else Decimal(30)
            energy = Decimal(0) if back < frozen else Decimal(18_000)
            rows.append(
                ("devices", f"GPU-{number}", "", minute, minute + MINUTE, minute, "devices/c/0", node, "nvidia",
                 "NVIDIA H100", 1, 1, workload, agreement, Decimal(60), energy, busy, Decimal(60), 6, method,
                 Decimal(0), "CAD", "h100@2026-04-01")
            )  # fmt: skip
    client.insert(
        "gpu_usage_store",
        rows,
        column_names=[
            "cluster", "device", "slice", "ts_start", "ts_end", "minute", "shard", "node", "vendor", "gpu_model",
            "share_num", "share_den", "workload", "agreement", "gpu_seconds", "energy_j", "busy_seconds",
            "busy_known_seconds", "samples", "method", "cost", "currency", "price_version",
        ],
    )  # fmt: skip


def _insert_messages(client: Client, messages: list[tuple[str, datetime, datetime]]) -> None:
    """Messages of (shard, stored, newest sample)."""
    client.insert(
        "telemetry_messages_store",
        [
            (shard, "boot", number, "telemetry.gpu", 0, number, 100, newest, newest, "metered", stored)
            for number, (shard, stored, newest) in enumerate(messages, 1)
        ],
        column_names=[
            "shard",
            "boot",
            "seq",
            "topic",
            "kafka_partition",
            "kafka_offset",
            "rows",
            "ts_first",
            "ts_last",
            "fate",
            "stored_at",
        ],
    )


def _messages(client: Client, now: datetime) -> None:
    second = timedelta(seconds=1)
    recent = [now - back * second for back in (0, 30, 90, 150, 210)]
    messages = [("live/here/0", at, at - second) for at in recent]
    messages += [("live/gone/0", now - 10 * MINUTE, now - 10 * MINUTE)]
    messages += [("clock/right/0", at, at - second) for at in recent]
    messages += [("clock/ahead/0", at, at + 8 * second) for at in recent]
    messages += [("clock/late/0", at, at - 120 * second) for at in recent]
    _insert_messages(client, messages)
    seen = [
        ("down", "dcgm-exporter http://a", "target_down", 10),
        ("down", "dcgm-exporter http://b", "target_up", 10),
        ("up", "dcgm-exporter http://c", "target_down", 20),
        ("up", "dcgm-exporter http://c", "target_up", 10),
        ("hidden", "dcgm-exporter http://d", "target_down", 10),
        ("heard-again", "dcgm-exporter http://e", "target_down", 10),
    ]
    client.insert(
        "data_quality",
        [(now - back * MINUTE, cluster, source, kind, "", "") for cluster, source, kind, back in seen],
        column_names=["ts", "cluster", "source", "kind", "subject", "detail"],
    )
    put_aside = [("telemetry.gpu", 1), ("telemetry.gpu", 2), ("telemetry.tokens", 3)]
    client.insert(
        "quarantine_store",
        [(topic, 0, offset, f"{offset:016x}", now - 60 * MINUTE, "truncated", 10) for topic, offset in put_aside],
        column_names=["topic", "kafka_partition", "kafka_offset", "digest", "ts", "reason", "bytes"],
    )
    client.insert(
        "quarantine_replays",
        [("telemetry.tokens", 0, 3, f"{3:016x}", now - 30 * MINUTE, UUID(int=1), "filled", 1, 0, 0, 0)],
        column_names=[
            "topic", "kafka_partition", "kafka_offset", "digest", "replayed_at", "run", "outcome", "filled_samples",
            "published_samples", "covered_samples", "early_samples",
        ],
    )  # fmt: skip


def _alerts(client: Client, now: datetime) -> None:
    """Rule, subject, cluster, minutes since it fired, minutes since it ended."""
    changes: list[tuple[str, str, str, int, int | None]] = [
        ("check_failed", "tiling", "", 300, None),
        ("check_failed", "energy", "", 300, 200),
        ("tally_differs", "fir", "fir", 30, None),
        ("tally_differs", "narval", "narval", 30, 20),
        ("cluster_silent", "hidden", "hidden", 30, None),
        ("cluster_silent", "heard-again", "heard-again", 30, 20),
    ]
    rows: list[tuple[object, ...]] = []
    for rule, subject, cluster, since, until in changes:
        about = (f"{rule}/{subject}", rule, "critical", subject)
        begun = now - since * MINUTE
        rows.append((begun, *about, "firing", 1.0, 0.0, "", cluster, begun, None))
        if until is not None:
            ended = now - until * MINUTE
            rows.append((ended, *about, "resolved", 0.0, 0.0, "", cluster, begun, ended))
    client.insert(
        "alerts",
        rows,
        column_names=[
            "ts",
            "fingerprint",
            "rule",
            "severity",
            "subject",
            "state",
            "value",
            "threshold",
            "summary",
            "cluster",
            "starts_at",
            "ends_at",
        ],
    )
