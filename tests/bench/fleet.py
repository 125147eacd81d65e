"""A large fleet's telemetry for benchmarks: plausible values, every tick different, labels as a cluster has them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from schemas.arrow import GPU_SAMPLES, TS, encode
from schemas.topics import MAX_ROWS, Envelope, shard

CLUSTER = "fleet"
COLLECTOR = "bench"


class Fleet:
    """`shards` messages of 4,096 devices each per tick, one tick per second from `start_ms`."""

    def __init__(self, shards: int, start_ms: int, seed: int = 7) -> None:
        self.shards = shards
        self.start_ms = start_ms
        self._random = np.random.default_rng(seed)
        self._columns = [self._identity(number) for number in range(shards)]
        self._energy_mj = [self._random.integers(10**9, 10**12, MAX_ROWS) for _ in range(shards)]

    def ticks(self, count: int) -> Iterator[list[tuple[str, bytes, list[tuple[str, bytes]]]]]:
        """(key, value, headers) of every message, tick by tick."""
        for tick in range(count):
            messages = []
            for number in range(self.shards):
                value = encode(self.batch(number, tick))
                envelope = Envelope("gpu-samples/1", CLUSTER, COLLECTOR, "bench-boot", tick + 1, MAX_ROWS)
                messages.append((shard(CLUSTER, COLLECTOR, number), value, envelope.headers()))
            yield messages

    def batch(self, number: int, tick: int) -> pa.RecordBatch:
        """The samples of one shard at one tick."""
        random, rows = self._random, MAX_ROWS
        power_w = random.normal(520, 60, rows).clip(60, 700).round(3)
        self._energy_mj[number] = self._energy_mj[number] + (power_w * 1000).astype(np.int64)
        values = {
            "ts": pa.array(np.full(rows, self.start_ms + tick * 1000)).cast(TS),
            "power_w": pa.array(power_w),
            "energy_mj": pa.array(self._energy_mj[number]),
            "busy": pa.array(random.random(rows).round(6)),
            "sm_active": pa.nulls(rows, pa.float64()),
            "memory_used_mib": pa.array(random.integers(60_000, 80_000, rows).astype(np.float64)),
            "temperature_c": pa.array(random.integers(40, 70, rows).astype(np.float64)),
            "xid": pa.array(np.zeros(rows, np.int64)),
        }
        columns = {**self._columns[number], **values}
        return pa.RecordBatch.from_arrays([columns[field.name] for field in GPU_SAMPLES], schema=GPU_SAMPLES)

    def _identity(self, number: int) -> dict[str, pa.Array]:
        rows = MAX_ROWS
        index = np.arange(rows)
        devices = [f"GPU-{number:08x}-{i:04x}-4a5b-8c6d-{number * rows + i:012x}" for i in range(rows)]
        return {
            "node": _labels(index // 8, [f"gpu-{number:03d}-{i:04d}" for i in range(rows // 8)]),
            "device": _labels(index, devices),
            "slice": _labels(index * 0, [""]),
            "share_num": pa.array(np.ones(rows, np.int64)),
            "share_den": pa.array(np.ones(rows, np.int64)),
            "vendor": _labels(index * 0, ["nvidia"]),
            "gpu_model": _labels(index * 0, ["NVIDIA H100 80GB HBM3"]),
            "busy_source": _labels(index * 0, ["gr_engine_active"]),
            "namespace": _labels(index // 512, [f"team-{i}" for i in range(rows // 512)]),
            "pod": _labels(index // 8, [f"trainer-{i}" for i in range(rows // 8)]),
            "job": _labels(index * 0, [""]),
            "account": _labels(index * 0, [""]),
        }


def _labels(codes: np.ndarray, values: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values))
