"""Telemetry of a small fabric, the same at every call: what the workers of these tests are fed.

Three minutes of two clusters, four shards. Among the devices: one whose driver reloads, one that changes tenants, one
that falls silent, one that is partitioned anew, two without an energy counter. Among the servers: one that restarts,
and a gateway that shares a deployment between two teams. `Shape` makes it longer (everything happens again every three
minutes) and larger (a fleet of devices that change tenants, in two more shards).
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, TypeAdapter

from schemas.arrow import ARROW, GPU_SAMPLES, JSON, TOKEN_SAMPLES, encode, to_batch
from schemas.samples import GpuSample, TokenSample
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS, Defect, Envelope

TICKS = 90
CYCLE = 90  # ticks after which everything happens again
INTERVAL_MS = 2000
# In the past and off the minute, so that the traffic has whole minutes and parts of some.
START_MS = (int(time.time()) // 60 - 10) * 60_000 + 17_300
RESTART = 60  # tick of the cycle
H100 = "NVIDIA H100 80GB HBM3"

CONFIG = """
[[cluster]]
id = "fir"
country = "CA"
pue = 1.2
[[cluster]]
id = "oak"
country = "US"
[[cluster]]
id = "elm"
country = "CA"
pue = 1.1
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
[[price]]
id = "elm-h100"
cluster = "elm"
basis = "rented"
per_gpu_hour = "2.85"
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


@dataclass(frozen=True, slots=True)
class Shape:
    """How long the traffic is and how large the fabric."""

    ticks: int = TICKS
    fleet: int = 0
    """Devices of each of the shards fir/c2/0 and elm/c1/0; 0 = without these shards."""
    start_ms: int = START_MS
    interval_ms: int = INTERVAL_MS
    seed: int = 11


class Scrape(NamedTuple):
    """What a collector reads of one shard at one tick."""

    shard: str
    tick: int
    rows: Sequence[GpuSample] | Sequence[TokenSample]
    defects: tuple[Defect, ...]

    @property
    def cluster(self) -> str:
        return self.shard.partition("/")[0]

    @property
    def is_gpu(self) -> bool:
        return isinstance(self.rows[0], GpuSample)

    @property
    def topic(self) -> str:
        return TELEMETRY_GPU if self.is_gpu else TELEMETRY_TOKENS

    @property
    def schema(self) -> str:
        return "gpu-samples/1" if self.is_gpu else "token-samples/1"

    def arrow(self) -> bytes:
        """The samples as the value of a message."""
        return encode(to_batch(self.rows, GPU_SAMPLES if self.is_gpu else TOKEN_SAMPLES))

    def message(self) -> Message:
        """As its collector sends it; as JSON on every tenth tick."""
        envelope = Envelope(
            schema=self.schema,
            cluster=self.cluster,
            collector=self.shard.split("/")[1],
            boot="boot-1",
            seq=self.tick + 1,
            rows=len(self.rows),
            content_type=JSON if self.tick % 10 == 9 else ARROW,
            defects=self.defects,
        )
        value = self.arrow()
        if envelope.content_type == JSON:
            value = TypeAdapter(list[BaseModel]).dump_json(list(self.rows), serialize_as_any=True)
        return Message(self.topic, self.shard.encode(), value, tuple(envelope.headers()))


def messages(shape: Shape = Shape()) -> list[Message]:
    """All of them, in the order of time; one of each shard at each tick."""
    return [scrape.message() for scrape in scrapes(shape)]


def scrapes(shape: Shape) -> Iterator[Scrape]:
    """What is read, in the order of time; every shard at every tick."""
    fabric = _Fabric(shape)
    for tick in range(shape.ticks):
        ts_ms = shape.start_ms + tick * shape.interval_ms
        defects = (Defect(ts_ms=ts_ms, source="x", kind="target_down"),) if tick % CYCLE == 20 else ()
        for shard, rows in fabric.read(tick).items():
            yield Scrape(shard, tick, rows, defects)


class _Fabric:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._random = random.Random(shape.seed)
        fleet = [f"{cluster}-{number}" for cluster in ("fir", "elm") for number in range(shape.fleet)]
        devices = [*(f"GPU-{number}" for number in range(8)), *fleet]
        self._energy_mj = {device: 10**9 + number for number, device in enumerate(devices)}
        self._served = {name: [1000, 100, 500, 10] for name in ("chat", *_TEAMS)}
        self._chat_started_ms = self._pool_started_ms = shape.start_ms - 3_600_000

    def read(self, tick: int) -> dict[str, list[GpuSample] | list[TokenSample]]:
        """Samples of each shard. Call for every tick in order."""
        ts = datetime.fromtimestamp((self._shape.start_ms + tick * self._shape.interval_ms + tick % 7) / 1000, UTC)
        read: dict[str, list[GpuSample] | list[TokenSample]] = {
            "fir/c1/0": self._fir(tick, ts),
            "fir/c1/1": self._engines(tick, ts),
            "fir/c1/2": self._gateway(ts),
            "oak/c1/0": self._oak(tick, ts),
        }
        if self._shape.fleet:
            read |= {"fir/c2/0": self._fleet("fir", tick, ts), "elm/c1/0": self._fleet("elm", tick, ts)}
        return read

    def _fir(self, tick: int, ts: datetime) -> list[GpuSample]:
        samples = []
        cycle = tick % CYCLE
        for number in range(8):
            device, power_w = f"GPU-{number}", self._draw(f"GPU-{number}")
            if device == "GPU-1" and cycle == 30:
                self._energy_mj[device] = 5000  # driver reload
            if device == "GPU-3" and 50 <= cycle < 54:
                continue
            samples += [
                GpuSample(
                    ts=ts, node="n1", device=device, slice=name, share_num=share, share_den=7 if name else 1,
                    vendor="nvidia", gpu_model=H100, power_w=power_w, energy_mj=self._energy_mj[device],
                    busy=round(self._random.random(), 4), busy_source="gr_engine_active", namespace=namespace,
                    pod=f"{namespace}-{name or device}" if namespace else "",
                )
                for name, share, namespace in _holders(device, cycle)
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

    def _fleet(self, cluster: str, tick: int, ts: datetime) -> list[GpuSample]:
        """Each changes its tenant in a rhythm of its own; every fifth has no energy counter; the last but one of `elm`
        falls silent for longer than can be metered."""
        samples = []
        for number in range(self._shape.fleet):
            device = f"{cluster}-{number}"
            power_w, namespace = self._draw(device), _TENANTS[(number + tick // (20 + number)) % len(_TENANTS)]
            if cluster == "elm" and number == self._shape.fleet - 2 and 25 <= tick % CYCLE < 75:
                continue
            samples.append(
                GpuSample(
                    ts=ts, node=f"{cluster}-n{number // 8}", device=device, vendor="nvidia", gpu_model=H100,
                    power_w=power_w, energy_mj=self._energy_mj[device] if number % 5 else None,
                    busy=round(self._random.random(), 4), busy_source="gr_engine_active", namespace=namespace,
                    pod=f"{namespace}-{number}" if namespace else "",
                )
            )  # fmt: skip
        return samples

    def _draw(self, device: str) -> float:
        """Power of a device, which it also adds to its energy counter."""
        power_w = round(self._random.uniform(80, 700), 1)
        self._energy_mj[device] += int(power_w * self._shape.interval_ms)
        return power_w

    def _engines(self, tick: int, ts: datetime) -> list[TokenSample]:
        if tick % CYCLE == RESTART:
            self._served["chat"] = [0, 0, 0, 0]
            self._chat_started_ms = self._shape.start_ms + tick * self._shape.interval_ms - 500
        started = {"chat": self._chat_started_ms, "pool": self._pool_started_ms}
        self._serve("chat")
        for team in _TEAMS:
            self._serve(team)
        self._served["pool"] = [sum(counts) for counts in zip(*(self._served[team] for team in _TEAMS), strict=True)]
        return [
            self._tokens(ts, name, endpoint=f"{name}:8000", deployment=name, started_ms=started_ms)
            for name, started_ms in started.items()
        ]

    def _gateway(self, ts: datetime) -> list[TokenSample]:
        return [
            self._tokens(ts, team, endpoint="gw:4000", deployment="pool", layer="gateway", team=team) for team in _TEAMS
        ]

    def _serve(self, name: str) -> None:
        for index, most in enumerate((9000, 500, 4000, 20)):
            self._served[name][index] += self._random.randrange(most)

    def _tokens(self, ts: datetime, name: str, **more: object) -> TokenSample:
        prompt, cached, generation, requests = self._served[name]
        return TokenSample.model_validate(
            {
                "ts": ts, "replica": "0", "model": "m", "prompt_tokens": prompt, "cached_tokens": cached,
                "generation_tokens": generation, "requests": requests, **more,
            }
        )  # fmt: skip


_TEAMS = ("acme", "lab")  # whom the gateway serves from the deployment `pool`
_TENANTS = ("acme-x", "pool", "", "lab-c", "chat", "acme-y", "other")


def _holders(device: str, cycle: int) -> list[tuple[str, int, str]]:
    """(slice, share, namespace) of a device at a tick of the cycle."""
    if device == "GPU-2":
        return [("", 1, "lab-a" if cycle < 40 else "acme-b")]
    if device == "GPU-4":
        return [("3g.40gb/1", 3, "pool"), ("4g.40gb/2", 4, "lab-c")] if cycle < 45 else [("", 1, "pool")]
    if device == "GPU-5":
        return [("3g.40gb/1", 3, "pool")]
    return [("", 1, {"GPU-0": "chat", "GPU-1": "chat", "GPU-3": "acme-x"}.get(device, ""))]
