"""Observations of devices in plain Python, and the messages that carry them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa

from schemas.arrow import GPU_SAMPLES, TS


@dataclass(frozen=True)
class Tenant:
    """Who holds a slice."""

    namespace: str = ""
    pod: str = ""
    job: str = ""
    account: str = ""


@dataclass(frozen=True)
class Slice:
    """One slice of a device at one moment."""

    name: str = ""
    share_num: int = 1
    share_den: int = 1
    tenant: Tenant = Tenant()
    busy: float | None = None

    @property
    def share(self) -> Fraction:
        """The part of the device that the slice claims."""
        return Fraction(self.share_num, self.share_den)


@dataclass(frozen=True)
class Observation:
    """One device at one moment, as its shard delivered it."""

    cluster: str
    shard: str
    device: str
    ts_ms: int
    power_w: float | None = None
    energy_mj: int | None = None
    slices: tuple[Slice, ...] = (Slice(),)
    node: str = "node-1"
    vendor: str = "nvidia"
    gpu_model: str = "NVIDIA H100 80GB HBM3"

    @property
    def chain(self) -> tuple[str, str]:
        """What the observation belongs to."""
        return self.cluster, self.device


def gpu_batch(observations: Sequence[Observation]) -> pa.RecordBatch:
    """The message that holds these observations of one shard."""
    rows = [
        {
            "ts": observation.ts_ms, "node": observation.node, "device": observation.device, "slice": part.name,
            "share_num": part.share_num, "share_den": part.share_den, "vendor": observation.vendor,
            "gpu_model": observation.gpu_model, "power_w": observation.power_w, "energy_mj": observation.energy_mj,
            "busy": part.busy, "busy_source": "" if part.busy is None else "gr_engine_active", "sm_active": None,
            "memory_used_mib": None, "temperature_c": None, "xid": None, "namespace": part.tenant.namespace,
            "pod": part.tenant.pod, "job": part.tenant.job, "account": part.tenant.account,
        }
        for observation in observations
        for part in observation.slices
    ]  # fmt: skip
    return batch_of(rows, GPU_SAMPLES)


def batch_of(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as a record batch; `ts` in ms."""
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if field.type == TS:
            columns.append(pa.array(values, pa.int64()).cast(TS))
        elif pa.types.is_dictionary(field.type):
            columns.append(pa.array(values, pa.string()).dictionary_encode())
        else:
            columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
