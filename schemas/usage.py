"""Running minute totals, the state that the meters publish downstream.

A totals message says what one shard's minute amounts to *so far*. It replaces the previous one of the same
(shard, minute); `version` only grows, so an old message after a new one changes nothing.
All quantities are exact integers: nanoseconds of a whole device, millijoules, nano-units of the currency, tokens.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

UnixMs = Annotated[int, Field(ge=0, lt=4_102_444_800_000)]
"""Unix ms before 2100, so that every store can hold it."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GpuGroup(_Message):
    """What the rows of one shard and minute with the same identity add up to."""

    deployment: str
    agreement: str
    gpu_model: str
    currency: str
    price_version: str
    gpu_ns: int
    """Device time, ns of a whole device (a 3/7 slice held for 7 s counts 3 s)."""
    busy_ns: int
    energy_mj: int
    cost_nano: int


class DeviceCondition(_Message):
    """A device that an operator should know of: the meter saw it, the alerts agent decides."""

    kind: str
    """`idle`, `xid` or `hot`."""
    device: str
    node: str
    agreement: str
    value: float
    since_ms: int


class GpuTotals(_Message):
    """One (shard, minute) of GPU usage: topic `usage.gpu`, key = cluster."""

    cluster: str
    shard: str
    minute_ms: UnixMs
    version: int
    """Device time folded into the minute so far, ns: grows with every interval."""
    ts_start_ms: UnixMs
    """First moment that the minute's rows cover."""
    ts_end_ms: UnixMs
    """Latest moment that the minute's rows reach."""
    groups: list[GpuGroup]
    conditions: list[DeviceCondition] = []


class TokenGroup(_Message):
    """What the token rows of one shard and minute with the same identity add up to."""

    deployment: str
    model: str
    agreement: str
    layer: str
    counted: bool
    """False for the layer that is kept for triangulation only."""
    prompt_tokens: int
    cached_tokens: int
    generation_tokens: int
    requests: int


class TokenTotals(_Message):
    """One (shard, minute) of token usage: topic `usage.tokens`, key = cluster."""

    cluster: str
    shard: str
    minute_ms: UnixMs
    version: int
    """Counter time folded into the minute so far, ms: grows with every interval."""
    ts_end_ms: UnixMs
    groups: list[TokenGroup]
