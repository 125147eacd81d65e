"""What a minute cost: totals of devices and tokens in, unit costs out. Pure.

Cost of a deployment in a minute = the cost of all devices that serve it, idle moments included (allocation basis).
A shared deployment is divided among its tenants by their tokens of the same minute; parts add up to the whole.
An agreement that comes after another has lines of its own, without usage and cost: a subsidy, and
the same amount as a negative charge.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import TypeVar

from schemas.economics import UnitCost, UnitCosts
from schemas.money import round_half_even, split
from schemas.usage import GpuTotals, TokenTotals
from streams.reference import Reference

Minute = tuple[str, int]
"""(cluster, start of the minute in ms)."""
Totals = TypeVar("Totals", GpuTotals, TokenTotals)


@dataclass(slots=True)
class _Line:
    """One (model, agreement) while it is being added up; amounts in the agreement's currency."""

    gpu_ns: int = 0
    busy_ns: int = 0
    energy_mj: int = 0
    cost_nano: int = 0
    usage_cost_nano: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0
    subsidy_nano: int = 0


@dataclass(slots=True)
class _State:
    """The newest totals of every shard for one minute of one cluster."""

    gpu: dict[str, GpuTotals] = field(default_factory=dict)
    tokens: dict[str, TokenTotals] = field(default_factory=dict)
    lines: set[tuple[str, str]] = field(default_factory=set)
    """(model, agreement) that were ever reported for the minute; one that falls to nothing is reported as nothing."""


def by_minute(totals: Iterable[Totals]) -> dict[int, list[Totals]]:
    """Totals under the start of their minute, ms."""
    found: dict[int, list[Totals]] = {}
    for item in totals:
        found.setdefault(item.minute_ms, []).append(item)
    return found


class UnitCosting:
    """Keeps the newest totals per shard and says what each minute costs."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._minutes: dict[Minute, _State] = {}

    def knows(self, minute: Minute) -> bool:
        """Whether the minute was begun here; if not, `begin` it with what the book has."""
        return minute in self._minutes

    def begin(
        self, minute: Minute, gpu: Iterable[GpuTotals], tokens: Iterable[TokenTotals], lines: Iterable[tuple[str, str]]
    ) -> None:
        """Start a minute from the book: other shards' totals may have been published before this worker came."""
        self._minutes[minute] = _State(
            {totals.shard: totals for totals in gpu}, {totals.shard: totals for totals in tokens}, set(lines)
        )

    def apply(self, totals: GpuTotals | TokenTotals) -> bool:
        """Replace a shard's totals by newer ones. False, and nothing changes, when they are older than what is here."""
        state = self._minutes[totals.cluster, totals.minute_ms]
        if isinstance(totals, GpuTotals):
            known = state.gpu.get(totals.shard)
            if known is None or totals.version >= known.version:
                state.gpu[totals.shard] = totals
                return True
        else:
            counted = state.tokens.get(totals.shard)
            if counted is None or totals.version >= counted.version:
                state.tokens[totals.shard] = totals
                return True
        return False

    def forget_before(self, minute_ms: int) -> None:
        """Drop minutes that are over; one that changes later is begun again from the book."""
        for minute in [minute for minute in self._minutes if minute[1] < minute_ms]:
            del self._minutes[minute]

    def cost(self, minute: Minute) -> UnitCosts:
        """The unit costs of a minute as far as its totals are known."""
        cluster, minute_ms = minute
        state = self._minutes[minute]
        day = datetime.fromtimestamp(minute_ms / 1000, UTC).date()
        lines: dict[tuple[str, str], _Line] = {}
        tenants = self._count_tokens(state, lines)
        self._add_devices(state, day, lines, tenants)
        self._add_subsidies(self._reference.country(cluster), day, lines)
        state.lines |= lines.keys()
        every: list[GpuTotals | TokenTotals] = [*state.gpu.values(), *state.tokens.values()]
        starts = [totals.ts_start_ms for totals in state.gpu.values()]
        return UnitCosts(
            cluster=cluster,
            minute_ms=minute_ms,
            version=sum(totals.version for totals in every),
            ts_start_ms=min(starts, default=minute_ms),
            ts_end_ms=max((totals.ts_end_ms for totals in every), default=minute_ms),
            lines=[
                self._settle(model, agreement, lines.get((model, agreement), _Line()))
                for model, agreement in sorted(state.lines)
            ],
        )

    def _count_tokens(self, state: _State, lines: dict[tuple[str, str], _Line]) -> dict[str, dict[str, int]]:
        """Add counted tokens to the lines; returns the tokens of each tenant of each deployment."""
        tenants: dict[str, dict[str, int]] = {}
        for totals in state.tokens.values():
            for group in totals.groups:
                if not group.counted:
                    continue
                line = lines.setdefault((group.model, group.agreement), _Line())
                line.prompt_tokens += group.prompt_tokens
                line.cached_tokens += group.cached_tokens
                line.generation_tokens += group.generation_tokens
                served = tenants.setdefault(group.deployment, {})
                tokens = group.prompt_tokens + group.generation_tokens
                served[group.agreement] = served.get(group.agreement, 0) + tokens
        return tenants

    def _add_devices(
        self, state: _State, day: date, lines: dict[tuple[str, str], _Line], tenants: dict[str, dict[str, int]]
    ) -> None:
        sums: dict[tuple[str, str, str], list[int]] = {}
        for totals in state.gpu.values():
            for group in totals.groups:
                total = sums.setdefault((group.deployment, group.agreement, group.currency), [0, 0, 0, 0])
                for i, value in enumerate((group.gpu_ns, group.busy_ns, group.energy_mj, group.cost_nano)):
                    total[i] += value
        for (deployment, agreement, currency), (gpu_ns, busy_ns, energy_mj, cost) in sorted(sums.items()):
            model = self._reference.model(deployment)
            parties, weights = [agreement], [1]
            if self._reference.is_shared(deployment):
                served = tenants.get(deployment, {})
                if any(served.values()):
                    parties, weights = sorted(served), [served[tenant] for tenant in sorted(served)]
            own = self._reference.currency(agreement)
            if cost:  # a device without a price has no currency, and no cost
                cost = self._reference.convert(cost, currency, own, day)
            usage_cost = round_half_even(Fraction(cost * busy_ns, gpu_ns)) if gpu_ns else 0
            parts = zip(
                *(split(whole, weights) for whole in (gpu_ns, busy_ns, energy_mj, cost, usage_cost)), strict=True
            )
            for party, part in zip(parties, parts, strict=True):
                line = lines.setdefault((model, party), _Line())
                line.gpu_ns += part[0]
                line.busy_ns += part[1]
                line.energy_mj += part[2]
                line.cost_nano += self._reference.convert(part[3], own, self._reference.currency(party), day)
                line.usage_cost_nano += self._reference.convert(part[4], own, self._reference.currency(party), day)

    def _add_subsidies(self, country: str, day: date, lines: dict[tuple[str, str], _Line]) -> None:
        for (model, agreement), line in [*lines.items()]:
            if not agreement:
                continue
            tokens = (line.prompt_tokens, line.cached_tokens, line.generation_tokens)
            for party, subsidy in self._reference.subsidies(agreement, country, day, line.cost_nano, *tokens):
                if subsidy:
                    lines.setdefault((model, party), _Line()).subsidy_nano += subsidy

    def _settle(self, model: str, agreement: str, line: _Line) -> UnitCost:
        return UnitCost(
            model=model,
            agreement=agreement,
            programme=self._reference.programme(agreement),
            gpu_ns=line.gpu_ns,
            busy_ns=line.busy_ns,
            energy_mj=line.energy_mj,
            cost_nano=line.cost_nano,
            usage_cost_nano=line.usage_cost_nano,
            prompt_tokens=line.prompt_tokens,
            cached_tokens=line.cached_tokens,
            generation_tokens=line.generation_tokens,
            subsidy_nano=line.subsidy_nano,
            charge_nano=line.cost_nano - line.subsidy_nano if agreement else 0,
            currency=self._reference.currency(agreement),
        )
