"""What a collector measures: one row per device slice (or token counter) at one moment.

These two models are the wire contract ``gpu-samples/1`` and ``token-samples/1``: the Arrow schemas
(:mod:`schemas.arrow`) are derived from them, and JSON producers in any language send the same field names.
Cluster and collector travel once, in the message headers (:mod:`schemas.topics`), not in every row.
"""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

UNALLOCATED = "unallocated"
"""Slice name of what no slice of a device holds; no producer may use it."""

Label = Annotated[str, Field(max_length=512)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Counter = Annotated[int, Field(ge=0, lt=2**63)]
TokenCounter = Annotated[int, Field(ge=0, lt=2**58)]
"""Far beyond any server's life, and small enough that sums of differences stay within 64 bits."""


class Sample(BaseModel):
    """Common part: unknown fields are refused, so that a misspelt producer is seen and not half-read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ts: datetime = Field(
        ge=datetime(2000, 1, 1, tzinfo=UTC),
        lt=datetime(2100, 1, 1, tzinfo=UTC),
        description="when the exporter was read, UTC, milliseconds",
    )

    @field_validator("ts")
    @classmethod
    def _names_its_zone(cls, ts: datetime) -> datetime:
        if ts.tzinfo is None:
            raise ValueError("a time without a zone; write 2026-01-01T00:00:00Z")
        return ts


class GpuSample(Sample):
    """One device slice at one moment. A value that was not measured is null, never zero."""

    node: Label = Field(description="host that carries the device")
    device: Label = Field(min_length=1, description="physical GPU: UUID (AMD: serial number), never an index")
    slice: Label = Field(default="", description="MIG instance or AMD partition; empty = the whole device")
    share_num: int = Field(default=1, ge=1, le=64, description="compute share of the slice, numerator (3 of 3/7)")
    share_den: int = Field(default=1, ge=1, le=64, description="compute share of the slice, denominator (7 of 3/7)")
    vendor: Label = Field(default="", description="nvidia or amd")
    gpu_model: Label = Field(default="", description="product name as the exporter prints it")
    power_w: float | None = Field(default=None, ge=0, le=3000, description="power of the whole device, W")
    energy_mj: Counter | None = Field(default=None, description="cumulative energy of the whole device, mJ")
    busy: Ratio | None = Field(default=None, description="share of time the compute engine is active, 0..1")
    busy_source: Label = Field(default="", description="series behind busy: gr_engine_active, gfx_activity, gpu_util")
    sm_active: Ratio | None = Field(default=None, description="share of SMs with work, 0..1 (NVIDIA)")
    memory_used_mib: float | None = Field(default=None, ge=0, description="device memory in use, MiB")
    temperature_c: float | None = Field(default=None, ge=-50, le=250, description="temperature, degrees Celsius")
    xid: int | None = Field(
        default=None, ge=0, le=65535, description="last NVIDIA XID error, 0 = none; null = not reported"
    )
    namespace: Label = Field(default="", description="Kubernetes namespace that holds the slice")
    pod: Label = Field(default="", description="Kubernetes pod that holds the slice")
    job: Label = Field(default="", description="batch job id that holds the slice")
    account: Label = Field(default="", description="Slurm account of the job")

    @model_validator(mode="after")
    def _is_part_of_its_device(self) -> Self:
        if self.share_num > self.share_den:
            raise ValueError("a slice is more than its device: share_num exceeds share_den")
        if self.slice == UNALLOCATED:
            raise ValueError(f"the slice name {UNALLOCATED!r} is reserved for what no slice holds")
        return self


class TokenSample(Sample):
    """The cumulative token counters of one replica and model at one moment."""

    endpoint: Label = Field(
        min_length=1, description="host:port of the server that was read, and its path where it has one before /metrics"
    )
    replica: Label = Field(default="", description="engine within the endpoint")
    model: Label = Field(default="", description="model name as the server prints it")
    deployment: Label = Field(default="", description="deployment that the target belongs to (configuration)")
    layer: Label = Field(default="engine", description="where the tokens were counted: engine or gateway")
    team: Label = Field(default="", description="tenant as the gateway knows it; empty for engines")
    prompt_tokens: TokenCounter | None = Field(
        default=None, description="cumulative prompt tokens, cached ones included"
    )
    cached_tokens: TokenCounter | None = Field(default=None, description="cumulative prompt tokens served from cache")
    generation_tokens: TokenCounter | None = Field(default=None, description="cumulative output tokens")
    requests: TokenCounter | None = Field(default=None, description="cumulative finished requests")
    started_ms: TokenCounter | None = Field(
        default=None, description="start of the counting process, unix ms; a change is a reset"
    )
