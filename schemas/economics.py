"""Economics of a minute: what `unit_cost`, `burn` and `alerts` publish. Amounts are nano-units (see schemas.money)."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UnitCost(_Message):
    """One (minute, cluster, model, agreement). Charge + subsidy = cost when an agreement pays; else both are 0.

    An agreement that supports what another left has a line without usage and cost: its charge is negative.
    """

    model: str
    agreement: str
    programme: str
    gpu_ns: int
    busy_ns: int
    energy_mj: int
    cost_nano: int
    usage_cost_nano: int
    """Cost on the usage basis: the part of the cost during which the engine was busy."""
    prompt_tokens: int
    cached_tokens: int
    generation_tokens: int
    subsidy_nano: int
    charge_nano: int
    currency: str


class UnitCosts(_Message):
    """All lines of one (minute, cluster): topic `economics.unit-costs`, key = cluster. The newest version replaces."""

    cluster: str
    minute_ms: int
    version: int
    ts_start_ms: int
    """First moment of the minute that is covered by usage."""
    ts_end_ms: int
    lines: list[UnitCost]
    conditions: dict[str, Any] = {}
    """Not read. Workers of earlier versions wrote it, and their messages may still be there."""


class Burn(_Message):
    """State of one agreement: topic `economics.burn`, key = agreement."""

    programme: str
    agreement: str
    minute_ms: int
    ts_ms: int
    spent_nano: int
    """Subsidy spent so far, at most the cap."""
    accrued_nano: int
    """Subsidy that the rule yields without the cap."""
    cap_nano: int | None
    rate_nano_per_hour: int
    """Over the last 5 minutes."""
    rate_1h_nano_per_hour: int | None = None
    """Over the last hour; null while less than half of it was metered. The same for the next two."""
    rate_6h_nano_per_hour: int | None = None
    rate_3d_nano_per_hour: int | None = None
    planned_nano: int | None = None
    """Subsidy that was planned to be spent by `ts_ms`; null without plan and cap."""
    sustainable_nano_per_hour: int | None = None
    """Rate at which what is left of the cap lasts exactly until the end of the agreement; null without a cap, and when
    the end has come."""
    runway_hours: float | None
    """Time to the cap, or until granted GPU-hours are used up, at the rate of the last 5 minutes; null when nothing
    burns or there is no limit."""
    currency: str


class Alert(_Message):
    """One change of one alert: topic `alerts`, key = fingerprint. The newest replaces; the same one again says nothing
    new, and whoever acts on alerts tells them apart by (fingerprint, starts_at_ms, state)."""

    fingerprint: str
    rule: str
    """Id of the rule, see schemas.alert_rules."""
    severity: str
    """info, warning or critical."""
    subject: str
    state: str
    """firing or resolved."""
    value: float
    threshold: float
    summary: str
    """What happened, in a sentence."""
    summary_fr: str = ""
    cluster: str = ""
    """What it is about, as far as it is about one: for routing and for links."""
    agreement: str = ""
    model: str = ""
    at_stake_nano_per_hour: int | None = None
    """Money per hour that the matter concerns; null when it is not known."""
    currency: str = ""
    evidence: list[str] = []
    """Devices, rows or figures at fault, the first of them."""
    ts_ms: int
    starts_at_ms: int
    ends_at_ms: int | None = None
