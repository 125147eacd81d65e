"""Agent `alerts`: rules over economics.unit-costs, economics.burn and audits -> alerts (topic and table).

Each topic has one partition, which the range assignor gives to the same worker: one set of rules sees everything.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from schemas.audits import AuditState
from schemas.economics import Alert, Burn, UnitCosts
from schemas.topics import ALERTS, AUDITS, BURN, UNIT_COSTS
from streams.alerting import AlertBook, Rules
from streams.context import MS, Context, Rejected
from streams.intake import Intake

EVALUATED_S = 1.0  # rules that no message triggers (a cluster falls silent) are looked at this often
SETTLING_MS = 30_000  # after a start nothing is called resolved before its subject had time to report
_MESSAGES: dict[str, TypeAdapter[Any]] = {
    UNIT_COSTS: TypeAdapter(UnitCosts),
    BURN: TypeAdapter(Burn),
    AUDITS: TypeAdapter(AuditState),
}


class AlertsAgent:
    """Evaluates the rules whenever something arrives, and every second."""

    name = "alerts"
    source = (UNIT_COSTS, BURN, AUDITS)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._one_at_a_time = asyncio.Lock()
        self._start()

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
        self._rules: Rules | None = None
        self._alerts = AlertBook([])
        self._started_ms = 0

    def _open(self) -> Rules:
        """The rules, begun with what the book knows."""
        if self._rules is None:
            book, now_ms = self._context.book, self._context.clock()
            rules = Rules(self._context.config, now_ms)
            for burn in book.latest_burns():
                rules.saw_burn(burn)
            for cluster, ts_ms in book.last_usage_ms().items():
                rules.saw_cluster(cluster, ts_ms)
            already_open = book.open_alerts()
            for alert in already_open:
                rules.saw_open(alert)
            self._alerts = AlertBook(already_open)
            self._started_ms = now_ms
            self._rules = rules
        return self._rules

    def _compute(self, events: Sequence[Any]) -> list[Rejected]:
        rejected = []
        rules = self._open()
        for event in events:
            try:
                message = _MESSAGES[event.message.topic].validate_json(event.message.value or b"")
            except ValidationError as error:
                rejected.append(Rejected.of(event, str(error)))
                continue
            if isinstance(message, Burn):
                rules.saw_burn(message)
            elif isinstance(message, AuditState):
                rules.saw_audit(message)
            else:
                rules.saw_costs(message)
        return rejected

    async def _store(self, rejected: list[Rejected]) -> None:
        await self._context.set_aside(rejected)
        await self._evaluate()

    async def _evaluate(self) -> None:
        async with self._one_at_a_time:
            rules = await asyncio.to_thread(self._open)
            now_ms = self._context.clock()
            settled = now_ms - self._started_ms >= SETTLING_MS
            changes = self._alerts.update(rules.conditions(now_ms), now_ms, resolve=settled)
            if changes:
                await asyncio.to_thread(self._context.book.insert, "alerts", _rows(changes))
                await self._context.publish(ALERTS, [(alert.fingerprint, alert) for alert in changes])


def _rows(alerts: Sequence[Alert]) -> pa.Table:
    columns: dict[str, Any] = {
        name: pa.array([getattr(alert, f"{name}_ms") for alert in alerts], pa.int64()).cast(MS)
        for name in ("ts", "starts_at", "ends_at")
    }
    for name in ("fingerprint", "rule", "severity", "subject", "state", "summary"):
        columns[name] = pa.array([getattr(alert, name) for alert in alerts], pa.string())
    for name in ("value", "threshold"):
        columns[name] = pa.array([getattr(alert, name) for alert in alerts], pa.float64())
    return pa.table(columns)
