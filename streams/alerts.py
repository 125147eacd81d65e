"""Agent `alerts`: rules over usage.heard, economics.unit-costs, economics.burn and audits -> alerts (topic and table).

Each topic has one partition, which the range assignor gives to the same worker: one set of rules sees everything.

A change is stored first and published then. Whoever begins publishes again what is open and what was resolved of late,
so that a crash between the two loses nothing; consumers know a repetition by (fingerprint, starts_at, state). What the
rules need of the past (open alerts, the last hour, who was heard when) is read from the book.
"""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from schemas.audits import AuditState
from schemas.economics import Alert, Burn, UnitCosts
from schemas.topics import ALERTS, AUDITS, BURN, HEARD, UNIT_COSTS, Defect
from schemas.usage import Heard
from streams.alert_book import AlertBook
from streams.alert_hearing import FORGOTTEN_S
from streams.alert_rates import HOUR, MINUTE_MS, RECENT
from streams.alerting import Rules
from streams.context import MS, Context, Rejected
from streams.intake import Intake
from streams.metering.columns import decimals

EVALUATED_S = 1.0  # rules that no message triggers (a cluster falls silent) are looked at this often
REPEATED_S = 3600.0  # resolved alerts that are published again at the start, back from the last change
DOWN_MS = 35 * 86_400_000  # targets that went down longer ago are not looked for
STALLED_S = 15.0  # without an evaluation for so long, something held this worker up
_MESSAGES: dict[str, TypeAdapter[Any]] = {
    HEARD: TypeAdapter(Heard),
    UNIT_COSTS: TypeAdapter(UnitCosts),
    BURN: TypeAdapter(Burn),
    AUDITS: TypeAdapter(AuditState),
}


@dataclass(slots=True)
class _Watch:
    """What this worker knows since it got the topics."""

    rules: Rules
    alerts: AlertBook
    to_repeat: list[Alert]
    """What was published before, and perhaps was not."""
    evaluated_ms: int


class AlertsAgent:
    """Evaluates the rules whenever something arrives, and every second."""

    name = "alerts"
    source = (HEARD, UNIT_COSTS, BURN, AUDITS)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._watch: _Watch | None = None
        self._one_at_a_time = asyncio.Lock()
        self._rules_lock = threading.Lock()

    def intake(self, linger_s: float) -> Intake[list[Rejected]]:
        """The held-acknowledgement loop around this agent."""
        return Intake(
            self._context.app, self.name, self._compute, self._store, reset=self._start, linger_s=linger_s, most=512
        )

    async def watch(self) -> None:
        """Evaluate every second while this worker has the topics. Runs until cancelled."""
        while True:
            await asyncio.sleep(EVALUATED_S)
            if any(tp.topic == UNIT_COSTS for tp in self._context.app.consumer.assignment()):
                await self._evaluate()

    def _start(self) -> None:
        self._watch = None

    def _begun(self) -> _Watch:
        """The watch, begun with what the book knows."""
        with self._rules_lock:
            if self._watch is None:
                self._watch = _begin(self._context)
            return self._watch

    def _compute(self, events: Sequence[Any]) -> list[Rejected]:
        rejected, messages = [], []
        for event in events:
            try:
                messages.append(_MESSAGES[event.message.topic].validate_json(event.message.value or b""))
            except ValidationError as error:
                rejected.append(Rejected.of(event, str(error)))
        rules = self._begun().rules
        with self._rules_lock:
            for message in messages:
                rules.saw(message)
        return rejected

    async def _store(self, rejected: list[Rejected]) -> None:
        await self._context.set_aside(rejected)
        await self._evaluate()

    async def _evaluate(self) -> None:
        if self._context.book.waits:
            return  # nothing is metered meanwhile, and nothing can be stored
        async with self._one_at_a_time:
            watch = await asyncio.to_thread(self._begun)
            repeated, watch.to_repeat = watch.to_repeat, []
            await self._publish(repeated)
            changes = await asyncio.to_thread(self._judge, watch)
            if changes:
                await asyncio.to_thread(self._context.book.insert, "alerts", _rows(changes))
                await self._publish(changes)

    def _judge(self, watch: _Watch) -> list[Alert]:
        """What changes now."""
        now_ms = self._context.clock()
        with self._rules_lock:
            if now_ms - watch.evaluated_ms > STALLED_S * 1000:
                watch.rules.hearing.waited(now_ms)
            conditions = watch.rules.conditions(now_ms)
        watch.evaluated_ms = now_ms
        return watch.alerts.update(conditions, now_ms)

    async def _publish(self, alerts: Sequence[Alert]) -> None:
        if alerts:
            await self._context.publish(ALERTS, [(alert.fingerprint, alert) for alert in alerts])


def _begin(context: Context) -> _Watch:
    book, now_ms = context.book, context.clock()
    rules = Rules(context.config, now_ms)
    for burn in book.latest_burns():
        rules.saw(burn)
    rules.rates.begin(book.recent_costs(now_ms - (HOUR + RECENT) * MINUTE_MS), book.last_usage_ms())
    since_ms = now_ms - round(FORGOTTEN_S * 1000)
    for row in book.last_heard(since_ms):
        # Nobody listened while no worker ran: how long it has been silent counts from now.
        rules.hearing.began(row["shard"], row["boot"], now_ms, row["sampled_ms"])
    for row in book.targets_down(now_ms - DOWN_MS, since_ms):
        defect = Defect(ts_ms=row["ts_ms"], source=row["source"], kind=row["state"], detail=row["why"])
        rules.hearing.told(row["cluster"], defect, row["told_ms"] or 0)
    already_open = book.open_alerts()
    for alert in already_open:
        rules.saw_open(alert)
    repeated = sorted(
        [*already_open, *book.last_resolved(REPEATED_S)], key=lambda alert: (alert.ts_ms, alert.starts_at_ms)
    )
    return _Watch(rules, AlertBook(already_open, now_ms), repeated, now_ms)


def _rows(alerts: Sequence[Alert]) -> pa.Table:
    columns: dict[str, Any] = {
        name: pa.array([getattr(alert, f"{name}_ms") for alert in alerts], pa.int64()).cast(MS)
        for name in ("ts", "starts_at", "ends_at")
    }
    for name in (
        "fingerprint", "rule", "severity", "subject", "state", "summary", "summary_fr", "cluster", "agreement", "model",
        "currency",
    ):  # fmt: skip
        columns[name] = pa.array([getattr(alert, name) for alert in alerts], pa.string())
    for name in ("value", "threshold"):
        columns[name] = pa.array([getattr(alert, name) for alert in alerts], pa.float64())
    columns["at_stake_per_hour"] = decimals([alert.at_stake_nano_per_hour for alert in alerts], 9)
    columns["evidence"] = pa.array([alert.evidence for alert in alerts], pa.list_(pa.string()))
    return pa.table(columns)
