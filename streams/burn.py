"""Agent `burn`: economics.unit-costs -> subsidy_burn, and the same on economics.burn."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from schemas.economics import Burn, UnitCosts
from schemas.topics import BURN, UNIT_COSTS
from streams.burning import BUCKET_MS, KEPT_MINUTES, REACH_MS, Burning
from streams.context import MS, Context, Rejected
from streams.intake import Intake
from streams.metering.columns import decimals
from streams.metering.intervals import MINUTE_MS
from streams.metrics import STATE_AGE


class BurnAgent:
    """Keeps the running tally of every agreement. The topic has one partition, so one worker sees every cluster."""

    name = "burn"
    source = (UNIT_COSTS,)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._start()

    def intake(self, linger_s: float) -> Intake[tuple[list[Burn], list[Rejected]]]:
        """The held-acknowledgement loop around this agent."""
        return Intake(
            self._context.app, self.name, self._compute, self._store, reset=self._start, linger_s=linger_s, most=512
        )

    def _start(self) -> None:
        self._burning = Burning(self._context.config)
        self._loaded = False

    def _compute(self, events: Sequence[Any]) -> tuple[list[Burn], list[Rejected]]:
        messages, rejected = [], []
        for event in events:
            try:
                messages.append(UnitCosts.model_validate_json(event.message.value or b""))
            except ValidationError as error:
                rejected.append(Rejected.of(event, str(error)))
        if not messages:
            return [], rejected
        newest = max(message.minute_ms for message in messages)
        oldest = min(message.minute_ms for message in messages)
        if not self._loaded or oldest < self._burning.window_start_ms:
            window = min(oldest, newest - KEPT_MINUTES * MINUTE_MS)
            subsidies = self._context.book.subsidies(window, window - REACH_MS, BUCKET_MS)
            self._burning.load(subsidies, window)
            self._loaded = True
        concerned: set[str] = set()
        for message in messages:
            concerned |= self._burning.apply(message)
        states = [self._burning.state(agreement) for agreement in sorted(concerned)]
        self._burning.slide(newest)
        return [state for state in states if state is not None], rejected

    async def _store(self, result: tuple[list[Burn], list[Rejected]]) -> None:
        states, rejected = result
        context = self._context
        await asyncio.to_thread(context.book.insert, "subsidy_burn_store", rows(states))
        await context.set_aside(rejected)
        await context.publish(BURN, [(state.agreement, state) for state in states])
        for state in states:
            STATE_AGE.saw(self.name, state.ts_ms)


def rows(states: Sequence[Burn]) -> pa.Table:
    """States of agreements as rows of subsidy_burn_store."""
    columns: dict[str, Any] = {
        "minute": pa.array([state.minute_ms // 1000 for state in states], pa.int64()).cast(pa.timestamp("s", tz="UTC")),
        "ts": pa.array([state.ts_ms for state in states], pa.int64()).cast(MS),
        "runway_hours": pa.array([state.runway_hours for state in states], pa.float64()),
    }
    for name in ("programme", "agreement", "currency"):
        columns[name] = pa.array([getattr(state, name) for state in states], pa.string())
    for column, field in (
        ("spent", "spent_nano"),
        ("accrued", "accrued_nano"),
        ("cap", "cap_nano"),
        ("rate_per_hour", "rate_nano_per_hour"),
        ("rate_1h_per_hour", "rate_1h_nano_per_hour"),
        ("rate_6h_per_hour", "rate_6h_nano_per_hour"),
        ("rate_3d_per_hour", "rate_3d_nano_per_hour"),
        ("planned", "planned_nano"),
        ("sustainable_per_hour", "sustainable_nano_per_hour"),
    ):
        columns[column] = decimals([getattr(state, field) for state in states], 9)
    return pa.table(columns)
