"""Running minute totals, the state that the meters publish downstream.

A totals message says what one shard's minute amounts to *so far*. It replaces the previous one of the same
(shard, minute); `version` only grows, so an old message after a new one changes nothing.
All quantities are exact integers: nanoseconds of a whole device, millijoules, nano-units of the currency, tokens.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.topics import Defect

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
    conditions: list[Any] = []
    """Not read. Workers of earlier versions wrote it, and their messages may still be there."""


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


class DeviceCondition(_Message):
    """Devices of one node or agreement that an operator should know of: a meter saw them, the alerts agent decides."""

    kind: str
    """`idle` (value: seconds), `xid` (the code), `hot` (degrees Celsius) or `frozen` (an energy counter; seconds)."""
    node: str
    """Empty where they are one agreement's."""
    agreement: str
    devices: int
    gpus: float
    """The same in whole devices: a 3/7 slice is 3/7."""
    value: float
    """The worst."""
    evidence: list[str]
    """The worst few, each with its value."""


class ShardHeard(_Message):
    """One shard, as of its last message."""

    shard: str
    boot: str
    """Run of the collector that sent it."""
    since_ms: UnixMs
    """When this meter began to hear the shard."""
    heard_ms: UnixMs
    """When it read the message, by the clock of its worker."""
    ts_ms: UnixMs | None
    """Latest sample of the message; null without samples."""
    defects: list[Defect] = []
    """What the collector said of its targets and its clock since the last time."""
    conditions: list[DeviceCondition] | None = None
    """All that hold; null where the message says nothing of devices."""


class Heard(_Message):
    """What a meter heard of a cluster in a batch of messages: topic `usage.heard`, key = cluster."""

    cluster: str
    shards: list[ShardHeard]
