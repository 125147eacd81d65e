"""Protects a restart: what the rules need of the past comes out of the book as it went in."""

import time
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa
import pytest

from schemas.economics import Alert
from schemas.money import NANO
from streams.alert_rates import CostRow
from streams.alerts import AlertsAgent, _begin, _rows
from streams.app import create_app
from streams.book import Book
from streams.context import MS, Context, event_rows
from streams.metering.rows import Event
from streams.reference import Reference
from streams.telemetry import TakenIn, message_rows
from streams.unit_cost import rows as cost_rows
from tests.conftest import ClickHouse
from tests.streams.economy import config
from tests.streams.test_alert_rates import minute

NOW = int(time.time()) * 1000
MINUTE_MS = 60_000


@pytest.fixture
def book(clickhouse: ClickHouse) -> Book:
    """An empty one."""
    return Book(clickhouse.client)


def alert(name: str, ts_ms: int, **changes: Any) -> Alert:
    """One with something in every field."""
    whole: dict[str, Any] = {
        "fingerprint": name, "rule": "over_temperature", "severity": "critical", "subject": f"fir/{name}",
        "state": "firing", "value": 97.5, "threshold": 85.0, "summary": "hot", "summary_fr": "chaud",
        "cluster": "fir", "agreement": "lab", "model": "small", "at_stake_nano_per_hour": 12 * NANO + 1,
        "currency": "CAD", "evidence": ["GPU-1: 98 °C", "a, 'b'"], "ts_ms": ts_ms, "starts_at_ms": ts_ms,
    }  # fmt: skip
    return Alert(**{**whole, **changes})


def ended(of: Alert, ts_ms: int) -> Alert:
    """Its end."""
    return of.model_copy(update={"state": "resolved", "ts_ms": ts_ms, "ends_at_ms": ts_ms - 5000})


def test_alerts_come_back_whole(book: Book) -> None:
    """Open ones in the order in which they began, with every field; resolved ones back from the last change of any."""
    one, other = alert("one", NOW - 9000), alert("other", NOW - 8000, at_stake_nano_per_hour=None, evidence=[])
    old, late = alert("old", NOW - 9_000_000), alert("late", NOW - 7000)
    gone = [ended(old, NOW - 3_700_000), ended(late, NOW - 100_000)]
    book.insert("alerts", _rows([other, one, old, late, *gone]))
    book.insert("alerts", _rows([one]))  # a repetition is no second one
    assert book.open_alerts() == [one, other]
    assert book.last_resolved(3600) == [ended(late, NOW - 100_000)]
    assert book.last_resolved(7200) == [ended(old, NOW - 3_700_000), ended(late, NOW - 100_000)]


def test_what_went_down_and_was_not_seen_again(book: Book) -> None:
    """However long ago, and when a collector last spoke of it."""

    def event(age_s: int, source: str, kind: str, subject: str = "") -> Event:
        return Event(NOW - age_s * 1000, "fir", source, kind, subject, f"{kind} {age_s}")

    events = [
        event(9000, "a", "target_down"), event(8000, "a", "target_up"),
        event(800_000, "b", "target_down"), event(600, "b", "refused"), event(60, "b", "sentinel", "GPU-1"),
        event(7000, "c", "target_up"), event(6000, "c", "target_down"),
    ]  # fmt: skip
    book.insert("data_quality", event_rows(events))
    down = sorted(book.targets_down(NOW - 35 * 86_400_000, NOW - 3600_000), key=lambda row: row["source"])
    assert [(row["source"], row["why"], row["ts_ms"], row["told_ms"]) for row in down] == [
        ("b", "target_down 800000", NOW - 800_000_000, NOW - 600_000),
        ("c", "target_down 6000", NOW - 6_000_000, None),
    ]


def test_the_last_hour_of_every_cluster(book: Book) -> None:
    """Minutes by model and currency, agreements added up."""
    first = NOW // MINUTE_MS * MINUTE_MS - 5 * MINUTE_MS
    line = minute(0, tokens=900, cost_nano=7, energy_mj=3000, gpus=2).lines[0]
    costs = minute(0).model_copy(
        update={
            "minute_ms": first,
            "lines": [line, line.model_copy(update={"agreement": "share", "programme": "fund"})],
        }
    )
    book.insert("unit_costs_store", cost_rows([costs, costs.model_copy(update={"minute_ms": first - 3600_000})]))
    assert book.recent_costs(first - MINUTE_MS) == [
        CostRow("fir", first, "small", "CAD", 240 * NANO, 216 * NANO, 6000, 1800, 14)
    ]


def test_who_was_heard(book: Book) -> None:
    """The last run of each shard, and whether it sent samples."""
    book.insert(
        "telemetry_messages_store",
        message_rows(
            [
                TakenIn("fir/c1/0", "b1", 1, "telemetry.gpu", 0, 1, 5, NOW, NOW, "metered"),
                TakenIn("fir/c2/0", "b2", 1, "telemetry.gpu", 0, 2, 0, None, None, "metered"),
                TakenIn("fir/c3/0", "b3", 1, "telemetry.gpu", 0, 3, 5, None, None, "quarantined"),
            ]
        ),
    )
    heard = {row["shard"]: row for row in book.last_heard(NOW - 3600_000)}
    assert heard.keys() == {"fir/c1/0", "fir/c2/0"}
    assert (heard["fir/c1/0"]["boot"], heard["fir/c2/0"]["sampled_ms"]) == ("b1", 0)
    assert abs(heard["fir/c1/0"]["sampled_ms"] - time.time() * 1000) < 60_000
    assert book.last_heard(NOW + 3600_000) == []


def test_a_watch_begins_where_the_last_one_ended(book: Book, clickhouse: ClickHouse) -> None:
    """A silent cluster is silent, an exporter that was down is down, and what was published may not have been: it is
    published again, in the order in which it happened."""
    silent = alert("s", NOW - 500_000, rule="cluster_silent", subject="fir")
    fired = alert("f", NOW - 9000)
    book.insert("alerts", _rows([silent, fired, ended(fired, NOW - 1000)]))
    book.insert("data_quality", event_rows([Event(NOW - 60_000, "oak", "vllm http://a:8000", "target_down", "", "no")]))
    settings = config()
    context = Context(create_app("kafka://127.0.0.1:1"), book, settings, Reference(settings), lambda: NOW)
    watch = _begin(context)
    assert [(one.fingerprint, one.state) for one in watch.to_repeat] == [("s", "firing"), ("f", "resolved")]
    assert watch.alerts.open == [silent]
    conditions = watch.rules.conditions(NOW)
    assert sorted((one.rule, one.subject) for one in conditions) == [
        ("cluster_silent", "fir"), ("exporter_silent", "oak/vllm http://a:8000"),
    ]  # fmt: skip
    assert watch.alerts.update([one for one in conditions if one.rule == "cluster_silent"], NOW) == []


class Quiet:
    """A context without Kafka: what is published is kept."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.config = config()
        self.now_ms = NOW
        self.published: list[Alert] = []

    def clock(self) -> int:
        return self.now_ms

    async def publish(self, _topic: str, messages: list[tuple[str, Alert]]) -> None:
        self.published += [alert for _, alert in messages]


async def test_while_clickhouse_is_away_nobody_is_silent(book: Book) -> None:
    """Nothing can be metered then, and nothing stored: afterwards silence is measured anew."""
    context = Quiet(book)
    agent = AlertsAgent(cast(Context, context))
    await agent._evaluate()
    book._waiting.add(0)  # as if a call waited
    for _ in range(300):
        context.now_ms += 1000
        await agent._evaluate()
    book._waiting.discard(0)
    await agent._evaluate()
    for _ in range(9):
        context.now_ms += 10_000
        await agent._evaluate()
        assert context.published == []
    context.now_ms += 10_000
    await agent._evaluate()
    assert sorted(alert.subject for alert in context.published) == ["fir", "oak"]
    assert [alert.subject for alert in book.open_alerts()] == [alert.subject for alert in context.published]


def test_an_alert_of_an_earlier_version_is_read(book: Book, clickhouse: ClickHouse) -> None:
    """Its row has no French, no money and no cluster."""
    at = datetime.fromtimestamp(NOW / 1000, UTC)
    rows = pa.table(
        {
            "ts": pa.array([NOW], pa.int64()).cast(MS), "fingerprint": ["x"], "rule": ["xid"], "severity": ["critical"],
            "subject": ["fir/n1"], "state": ["firing"], "value": [79.0], "threshold": [0.0], "summary": ["XID 79"],
            "starts_at": pa.array([NOW], pa.int64()).cast(MS), "ends_at": pa.array([None], pa.int64()).cast(MS),
        }
    )  # fmt: skip
    book.insert("alerts", rows)
    (found,) = book.open_alerts()
    assert (found.summary, found.summary_fr, found.at_stake_nano_per_hour, found.evidence) == ("XID 79", "", None, [])
    assert found.starts_at_ms == round(at.timestamp() * 1000)
