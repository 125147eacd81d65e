"""Agent `unit_cost`: usage.gpu and usage.tokens -> unit_costs, and the same on economics.unit-costs."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from schemas.economics import UnitCosts
from schemas.topics import UNIT_COSTS, USAGE_GPU, USAGE_TOKENS
from schemas.usage import GpuTotals, TokenTotals
from streams.context import Context, Rejected
from streams.intake import Intake
from streams.metering.columns import decimals
from streams.metering.intervals import MINUTE_MS
from streams.metrics import STATE_AGE
from streams.unit_costing import Minute, UnitCosting, by_minute

KEPT_MS = 60 * MINUTE_MS  # minutes held in memory; one that changes later is begun again from the book
SKEW_MS = 5 * MINUTE_MS
_MESSAGES: dict[str, TypeAdapter[Any]] = {USAGE_GPU: TypeAdapter(GpuTotals), USAGE_TOKENS: TypeAdapter(TokenTotals)}


class UnitCostAgent:
    """Turns the newest totals of each (cluster, minute) into unit costs."""

    name = "unit_cost"
    source = (USAGE_GPU, USAGE_TOKENS)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._start()

    def intake(self, linger_s: float) -> Intake[tuple[list[UnitCosts], list[Rejected]]]:
        """The held-acknowledgement loop around this agent."""
        return Intake(
            self._context.app, self.name, self._compute, self._store, reset=self._start, linger_s=linger_s, most=512
        )

    def _start(self) -> None:
        self._costing = UnitCosting(self._context.reference)
        self._since_ms = self._context.clock()
        self._forgotten_ms = 0

    def _compute(self, events: Sequence[Any]) -> tuple[list[UnitCosts], list[Rejected]]:
        costing = self._costing
        states: list[GpuTotals | TokenTotals] = []
        rejected = []
        for event in events:
            try:
                states.append(_MESSAGES[event.message.topic].validate_json(event.message.value or b""))
            except ValidationError as error:
                rejected.append(Rejected.of(event, str(error)))
        minutes = {(totals.cluster, totals.minute_ms) for totals in states}
        changed = {minute for minute in minutes if not costing.knows(minute)}
        self._begin(changed)
        changed |= {(totals.cluster, totals.minute_ms) for totals in states if costing.apply(totals)}
        costs = [costing.cost(minute) for minute in sorted(changed)]
        if changed:
            self._forgotten_ms = max(self._forgotten_ms, max(minute_ms for _, minute_ms in changed) - KEPT_MS)
            costing.forget_before(self._forgotten_ms)
        return costs, rejected

    def _begin(self, minutes: Iterable[Minute]) -> None:
        """Start minutes with what was published before this worker got the partition, or has forgotten: the book has
        it, and is asked for all minutes of a cluster together (a bridged gap brings a day of them at once).

        Every message of a minute that began later comes here, so the book is not asked; SKEW_MS allows for collectors
        whose clocks are ahead.
        """
        book = self._context.book
        for cluster, of_cluster in groupby(sorted(minutes), itemgetter(0)):
            wanted = [minute_ms for _, minute_ms in of_cluster]
            past = [ms for ms in wanted if ms <= self._since_ms + SKEW_MS or ms < self._forgotten_ms]
            gpu = by_minute(book.gpu_totals(cluster, past))
            tokens = by_minute(book.token_totals(cluster, past))
            lines = book.unit_cost_keys(cluster, past) if past else {}
            for ms in wanted:
                self._costing.begin((cluster, ms), gpu.get(ms, ()), tokens.get(ms, ()), lines.get(ms, ()))

    async def _store(self, result: tuple[list[UnitCosts], list[Rejected]]) -> None:
        costs, rejected = result
        context = self._context
        await asyncio.to_thread(context.book.insert, "unit_costs_store", rows(costs))
        await context.set_aside(rejected)
        await context.publish(UNIT_COSTS, [(message.cluster, message) for message in costs])
        for message in costs:
            STATE_AGE.saw(self.name, message.ts_end_ms)


def rows(costs: Sequence[UnitCosts]) -> pa.Table:
    """Unit costs as rows of unit_costs_store."""
    lines = [(message, line) for message in costs for line in message.lines]
    columns: dict[str, Any] = {
        "minute": pa.array([message.minute_ms // 1000 for message, _ in lines], pa.int64()).cast(
            pa.timestamp("s", tz="UTC")
        ),
        "cluster": pa.array([message.cluster for message, _ in lines], pa.string()),
        "version": pa.array([message.version for message, _ in lines], pa.uint64()),
    }
    for name in ("model", "agreement", "programme", "currency"):
        columns[name] = pa.array([getattr(line, name) for _, line in lines], pa.string())
    for name in ("prompt_tokens", "cached_tokens", "generation_tokens"):
        columns[name] = pa.array([getattr(line, name) for _, line in lines], pa.int64())
    for column, field, scale in (
        ("gpu_seconds", "gpu_ns", 9),
        ("busy_seconds", "busy_ns", 9),
        ("energy_j", "energy_mj", 3),
        ("cost", "cost_nano", 9),
        ("usage_cost", "usage_cost_nano", 9),
        ("subsidy", "subsidy_nano", 9),
        ("charge", "charge_nano", 9),
    ):
        columns[column] = decimals([getattr(line, field) for _, line in lines], scale)
    return pa.table(columns)
