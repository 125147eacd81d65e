"""A small deployment for fault tests: a broker, a ClickHouse, workers as processes that can be killed."""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from collectors.simulator import toml_file
from compose.broker import servers
from compose.client import connect
from compose.lag import Lag
from compose.migrate import migrate
from compose.process import dies_with_parent
from schemas.arrow import GPU_SAMPLES, TOKEN_SAMPLES, encode, to_batch
from schemas.config import Config
from schemas.samples import GpuSample, TokenSample
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS, Envelope
from tests.roles import ROOT

START_MS = int(time.time()) // 60 * 60_000 - 600_000  # ten whole minutes ago: raw samples older than a week are dropped
CLUSTER = "fir"
PATIENCE_S = 90.0

Message = tuple[str, bytes, bytes, list[tuple[str, bytes]]]
"""(topic, key, value, headers)."""
Book = dict[str, list[tuple[Any, ...]]]
"""Rows of each relation."""


def config() -> Config:
    """One cluster with a price, a deployment of its own, a shared one, and two agreements."""
    term = {"starts": date(2026, 1, 1), "ends": date(2036, 1, 1)}
    fund = {"programme": "fund", "recipient": "A recipient", **term}
    target = {"kind": "vllm", "urls": ["http://127.0.0.1:1/metrics"]}
    price = {"basis": "owned", "capex": "42000", "lifetime_years": "5", "energy_per_kwh": "0.0776"}
    return Config.model_validate(
        {
            "cluster": [{"id": CLUSTER, "country": "CA", "target": [target]}],
            "deployment": [
                {"id": "own", "cluster": CLUSTER, "model": "big", "match": {"namespace": "own"}, "agreement": "acme"},
                {"id": "pool", "cluster": CLUSTER, "model": "small", "match": {"namespace": "pool"}, "shared": True},
            ],
            "price": [{"id": "h100", "cluster": CLUSTER, "effective_from": date(2026, 1, 1), **price}],
            "programme": [{"id": "fund", "budget": "1000000", **term}],
            "agreement": [
                {"id": "acme", "rule": {"kind": "cost_share", "share": "2/3"}, "cap": "1000", **fund},
                {"id": "lab", "rule": {"kind": "credits"}, "cap": "500", "match": [{"team": "lab"}], **fund},
            ],
        }
    )


def telemetry(ticks: int) -> list[Message]:
    """Two GPU shards and one of tokens, a tick a second, with everything that makes rows end.

    Tenants come and go, a device is partitioned and made whole again, a counter restarts, another is missing for a
    while, a vLLM server restarts.
    """
    messages: list[Message] = []
    for tick in range(ticks):
        ts = _moment(tick)
        for shard in range(2):
            rows = [row for number in range(24) for row in _device(shard, number, tick, ts)]
            value = encode(to_batch(rows, GPU_SAMPLES))
            messages.append(_message(TELEMETRY_GPU, "gpu-samples/1", shard, tick, value, len(rows)))
        tokens = [_engine(number, tick, ts) for number in range(3)]
        tokens += [_gateway(team, tick, ts) for team in ("lab", "visitor")]
        value = encode(to_batch(tokens, TOKEN_SAMPLES))
        messages.append(_message(TELEMETRY_TOKENS, "token-samples/1", 2, tick, value, len(tokens)))
    return messages


def _moment(tick: int) -> datetime:
    return datetime.fromtimestamp((START_MS + 1000 * tick + 250) / 1000, UTC)


def _message(topic: str, schema: str, shard: int, tick: int, value: bytes, rows: int) -> Message:
    envelope = Envelope(schema, CLUSTER, "c", "boot", tick + 1, rows)
    return topic, f"{CLUSTER}/c/{shard}".encode(), value, envelope.headers()


def _device(shard: int, number: int, tick: int, ts: datetime) -> list[GpuSample]:
    power_w = 100.0 + (37 * number + 13 * tick) % 500
    energy_mj: int | None = 10**9 + (number + 1) * 400_000 * tick
    if number == 1 and tick >= 40:
        energy_mj = 400_000 * (tick - 40)  # the driver was reloaded
    if number == 2 and 30 <= tick < 50:
        energy_mj = None
    namespace = ("own", "pool", "")[(number + (tick // 17 if number % 5 == 0 else 0)) % 3]
    common: dict[str, Any] = {
        "ts": ts, "node": f"n{shard}", "device": f"GPU-{shard}-{number}", "vendor": "nvidia", "gpu_model": "H100",
        "power_w": power_w, "energy_mj": energy_mj, "busy": (tick % 10) / 10, "busy_source": "gr_engine_active",
    }  # fmt: skip
    held = {"namespace": namespace, "pod": f"pod-{number}"} if namespace else {}
    if number == 3 and 25 <= tick < 60:
        parts = (
            {"slice": "3g.40gb/1", "share_num": 3, "share_den": 7},
            {"slice": "2g.20gb/2", "share_num": 2, "share_den": 7},
        )
        return [GpuSample(**common, **held, **part) for part in parts]
    return [GpuSample(**common, **held)]


def _engine(number: int, tick: int, ts: datetime) -> TokenSample:
    restarted = number == 1 and tick >= 45
    life = tick - 45 if restarted else tick
    return TokenSample(
        ts=ts, endpoint=f"10.0.0.{number}:8000", replica="0", model="big", deployment="own",
        prompt_tokens=1000 * life, cached_tokens=100 * life, generation_tokens=70 * life, requests=life,
        started_ms=START_MS + 44_500 if restarted else START_MS - 10**7,
    )  # fmt: skip


def _gateway(team: str, tick: int, ts: datetime) -> TokenSample:
    return TokenSample(
        ts=ts, endpoint="10.0.0.9:4000", replica=team, model="small", deployment="pool", layer="gateway", team=team,
        prompt_tokens=500 * tick, generation_tokens=(30 if team == "lab" else 11) * tick, requests=tick,
    )  # fmt: skip


@dataclass
class World:
    """One broker, one ClickHouse, any number of workers."""

    kafka: str
    url: str
    folder: Path
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        migrate(connect(self.url, database=None))
        self.file = self.folder / "world.toml"
        self.file.write_text(toml_file.dumps(config()))

    @property
    def client(self) -> Client:
        return connect(self.url)

    def start_worker(self) -> "subprocess.Popen[bytes]":
        """`commonwatt worker`, as in production."""
        command = ["worker", "--config", str(self.file), "--kafka", self.kafka, "--clickhouse", self.url]
        with (self.folder / f"worker-{len(self.workers)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "compose", *command],
                cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, preexec_fn=dies_with_parent(),
            )  # fmt: skip
        self.workers.append(worker)
        return worker

    def stop_workers(self) -> None:
        """SIGTERM to those that live; each must end with 0."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
                assert worker.wait(30) == 0

    def send(self, messages: list[Message]) -> None:
        """Publish, in order."""
        asyncio.run(self._send(messages))

    async def _send(self, messages: list[Message]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=servers(self.kafka), acks="all")
        await producer.start()
        try:
            for topic, key, value, headers in messages:
                await producer.send_and_wait(topic, key=key, value=value, headers=headers)
        finally:
            await producer.stop()

    def wait_stored(self, samples: int) -> None:
        """Until at least this many samples are in the ledger."""
        deadline = time.monotonic() + PATIENCE_S
        client = self.client
        while self.stored(client) < samples:
            self._check(deadline, f"fewer than {samples} samples stored")
            time.sleep(0.1)

    def stored(self, client: Client) -> int:
        """Samples in the GPU ledger."""
        return int(client.query("SELECT sum(samples) FROM gpu_usage_store FINAL").result_rows[0][0])

    def wait_caught_up(self) -> None:
        """Until every stage has acknowledged everything."""
        asyncio.run(self._caught_up())

    async def _caught_up(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        lag = await Lag.connect(self.kafka)
        try:
            while behind := await lag.total():
                self._check(deadline, f"{behind} messages not acknowledged")
                await asyncio.sleep(0.2)
        finally:
            await lag.close()

    def _check(self, deadline: float, complaint: str) -> None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{complaint}; the last worker said: {self.said()}")
        if self.workers and self.workers[-1].poll() is not None:
            raise AssertionError(f"the last worker ended: {self.said()}")

    def said(self) -> str:
        """End of the last worker's log."""
        return (self.folder / f"worker-{len(self.workers) - 1}.log").read_text()[-2000:]

    def book(self) -> Book:
        """Everything that the workers concluded, in a fixed order."""
        order = {
            "gpu_usage": "device, slice, ts_start",
            "token_usage": "endpoint, replica, team, ts_start",
            "unit_costs": "minute, cluster, model, agreement",
            "gpu_samples": "ts, device, slice",
        }
        return {
            table: [tuple(row) for row in self.client.query(f"SELECT * FROM {table} ORDER BY {key}").result_rows]
            for table, key in order.items()
        }
