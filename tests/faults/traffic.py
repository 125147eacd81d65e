"""Three minutes of telemetry of a small fabric, the same at every call: what the workers of these tests are fed.

Two clusters, four shards. Among the devices: one whose driver reloads, one that changes tenants, one that falls silent,
one that is partitioned anew, two without an energy counter. Among the servers: one that restarts, and a gateway that
shares a deployment between two teams.
"""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, TypeAdapter

from schemas.arrow import GPU_SAMPLES, JSON, TOKEN_SAMPLES, encode, to_batch
from schemas.samples import GpuSample, TokenSample
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS, Defect, Envelope

TICKS = 90
INTERVAL_MS = 2000
# In the past and off the minute, so that the traffic has whole minutes and parts of some.
START_MS = (int(time.time()) // 60 - 10) * 60_000 + 17_300
ENGINES_STARTED_MS = START_MS - 3_600_000
RESTART = 60  # tick
H100 = "NVIDIA H100 80GB HBM3"

CONFIG = """
[[cluster]]
id = "fir"
country = "CA"
pue = 1.2
[[cluster]]
id = "oak"
country = "US"
[[deployment]]
id = "chat"
cluster = "fir"
model = "big"
match = { namespace = "chat" }
agreement = "acme"
[[deployment]]
id = "pool"
cluster = "fir"
model = "small"
match = { namespace = "pool" }
shared = true
[[price]]
id = "fir-h100"
cluster = "fir"
basis = "owned"
capex = "42000"
lifetime_years = 5
opex_per_gpu_hour = "0.35"
energy_per_kwh = "0.0776"
effective_from = 2020-01-01
[[price]]
id = "oak-mi300x"
cluster = "oak"
basis = "rented"
per_gpu_hour = "3.90"
currency = "USD"
effective_from = 2020-01-01
[[fx_rate]]
base = "USD"
quote = "CAD"
rate = "1.3642"
effective_from = 2020-01-01
[[programme]]
id = "fund"
budget = "1000000"
starts = 2020-01-01
ends = 2099-12-31
[[agreement]]
id = "acme"
programme = "fund"
recipient = "Acme AI Inc."
rule = { kind = "cost_share", share = "2/3", elsewhere = "1/2" }
cap = "500"
starts = 2020-01-01
ends = 2099-12-31
match = [{ namespace = "acme-*" }, { team = "acme" }]
[[agreement]]
id = "lab"
programme = "fund"
recipient = "A university"
rule = { kind = "credits" }
cap = "50"
starts = 2020-01-01
ends = 2099-12-31
match = [{ namespace = "lab-*" }, { team = "lab" }]
"""


class Message(NamedTuple):
    """One telemetry message."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def messages() -> list[Message]:
    """All of them, in the order of time; one of each shard at each tick."""
    return list(_Fabric().messages())


class _Fabric:
    def __init__(self) -> None:
        self._random = random.Random(11)
        self._energy_mj = {f"GPU-{number}": 10**9 + number for number in range(8)}
        self._served = {name: [1000, 100, 500, 10] for name in ("chat", "pool", "acme", "lab")}

    def messages(self) -> Iterator[Message]:
        for tick in range(TICKS):
            ts = datetime.fromtimestamp((START_MS + tick * INTERVAL_MS + tick % 7) / 1000, UTC)
            yield _message("fir/c1/0", tick, self._fir(tick, ts))
            yield _message("fir/c1/1", tick, self._engines(tick, ts))
            yield _message("fir/c1/2", tick, self._gateway(ts))
            yield _message("oak/c1/0", tick, self._oak(tick, ts))

    def _fir(self, tick: int, ts: datetime) -> list[GpuSample]:
        samples = []
        for device in self._energy_mj:
            power_w = round(self._random.uniform(80, 700), 1)
            self._energy_mj[device] += int(power_w * INTERVAL_MS)
            if device == "GPU-1" and tick == 30:
                self._energy_mj[device] = 5000  # driver reload
            if device == "GPU-3" and 50 <= tick < 54:
                continue
            samples += [
                GpuSample(
                    ts=ts, node="n1", device=device, slice=name, share_num=share, share_den=7 if name else 1,
                    vendor="nvidia", gpu_model=H100, power_w=power_w, energy_mj=self._energy_mj[device],
                    busy=round(self._random.random(), 4), busy_source="gr_engine_active", namespace=namespace,
                    pod=f"{namespace}-{name or device}" if namespace else "",
                )
                for name, share, namespace in _holders(device, tick)
            ]  # fmt: skip
        return samples

    def _oak(self, tick: int, ts: datetime) -> list[GpuSample]:
        return [
            GpuSample(
                ts=ts, node="o1", device=f"AMD-{number}", vendor="amd", gpu_model="AMD Instinct MI300X",
                power_w=round(self._random.uniform(100, 750), 1), busy=0.5, busy_source="gfx_activity",
                job=f"job-{tick // 40}", namespace="acme-us", pod="p" if number else "",
            )
            for number in range(2)
        ]  # fmt: skip

    def _engines(self, tick: int, ts: datetime) -> list[TokenSample]:
        if tick == RESTART:
            self._served["chat"] = [0, 0, 0, 0]
        restarted = START_MS + RESTART * INTERVAL_MS - 500
        return [
            self._tokens(
                ts, name, endpoint=f"{name}:8000", deployment=name,
                started_ms=restarted if name == "chat" and tick >= RESTART else ENGINES_STARTED_MS,
            )
            for name in ("chat", "pool")
        ]  # fmt: skip

    def _gateway(self, ts: datetime) -> list[TokenSample]:
        return [
            self._tokens(ts, team, endpoint="gw:4000", deployment="pool", layer="gateway", team=team)
            for team in ("acme", "lab")
        ]

    def _tokens(self, ts: datetime, name: str, **more: object) -> TokenSample:
        served = self._served[name]
        for index, most in enumerate((9000, 500, 4000, 20)):
            served[index] += self._random.randrange(most)
        prompt, cached, generation, requests = served
        return TokenSample.model_validate(
            {
                "ts": ts, "replica": "0", "model": "m", "prompt_tokens": prompt, "cached_tokens": cached,
                "generation_tokens": generation, "requests": requests, **more,
            }
        )  # fmt: skip


def _holders(device: str, tick: int) -> list[tuple[str, int, str]]:
    """(slice, share, namespace) of a device at a tick."""
    if device == "GPU-2":
        return [("", 1, "lab-a" if tick < 40 else "acme-b")]
    if device == "GPU-4":
        return [("3g.40gb/1", 3, "pool"), ("4g.40gb/2", 4, "lab-c")] if tick < 45 else [("", 1, "pool")]
    if device == "GPU-5":
        return [("3g.40gb/1", 3, "pool")]
    return [("", 1, {"GPU-0": "chat", "GPU-1": "chat", "GPU-3": "acme-x"}.get(device, ""))]


def _message(shard: str, tick: int, rows: list[GpuSample] | list[TokenSample]) -> Message:
    """Arrow, but JSON on every tenth tick; a defect now and then."""
    gpu = isinstance(rows[0], GpuSample)
    as_json = tick % 10 == 9
    envelope = Envelope(
        schema="gpu-samples/1" if gpu else "token-samples/1",
        cluster=shard.split("/")[0],
        collector="c1",
        boot="boot-1",
        seq=tick + 1,
        rows=len(rows),
        defects=(Defect(ts_ms=START_MS + tick, source="x", kind="target_down"),) if tick == 20 else (),
    )
    headers = envelope.headers()
    if as_json:
        headers = [(name, JSON.encode() if name == "content-type" else value) for name, value in headers]
        value = TypeAdapter(list[BaseModel]).dump_json(list(rows), serialize_as_any=True)
    else:
        value = encode(to_batch(rows, GPU_SAMPLES if gpu else TOKEN_SAMPLES))
    return Message(TELEMETRY_GPU if gpu else TELEMETRY_TOKENS, shard.encode(), value, tuple(headers))
