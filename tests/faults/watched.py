"""A fabric that an operator watches: telemetry of this moment, and the alerts that a worker publishes about it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from compose.broker import servers
from schemas.arrow import GPU_SAMPLES, encode, to_batch
from schemas.economics import Alert
from schemas.samples import GpuSample
from schemas.topics import ALERTS, TELEMETRY_GPU, Defect, Envelope
from tests.faults.work import Worker, ended, launch
from tests.roles import spawn

CONFIG = """
[alerts]
silent_after = "90s"
[[cluster]]
id = "fir"
country = "CA"
  [[cluster.target]]
  kind = "dcgm-exporter"
  urls = ["http://127.0.0.1:1/metrics"]
  interval = "1s"
[[price]]
id = "fir-h100"
cluster = "fir"
basis = "rented"
per_gpu_hour = "3.60"
effective_from = 2020-01-01
"""
SOON_S = 40.0


@dataclass
class Fabric:
    """One collector of a cluster; eight devices stand in a node."""

    producer: AIOKafkaProducer
    devices: int = 8
    cluster: str = "fir"
    boot: str = field(default_factory=lambda: f"boot-{time.time_ns()}")
    seq: int = 0
    energy_mj: int = 10**9

    async def send(
        self, *, hot: Sequence[int] = (), away: bool = False, defects: Sequence[Defect] = (), at_ms: int | None = None
    ) -> int:
        """One scrape of all devices, taken now; returns its time, ms. `hot`: numbers of nodes at 95 °C; `away`: nothing
        of the devices could be read."""
        ts_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
        self.seq += 1
        self.energy_mj += 500_000
        samples = [
            GpuSample(
                ts=datetime.fromtimestamp(ts_ms / 1000, UTC), node=f"n{number // 8}", device=f"GPU-{number}",
                vendor="nvidia", gpu_model="NVIDIA H100", power_w=500.0, energy_mj=self.energy_mj, busy=0.9,
                busy_source="gr_engine_active", temperature_c=95.0 if number // 8 in hot else 60.0,
            )
            for number in range(0 if away else self.devices)
        ]  # fmt: skip
        envelope = Envelope(
            "gpu-samples/1", self.cluster, "c1", self.boot, self.seq, len(samples), defects=tuple(defects)
        )
        value, key = encode(to_batch(samples, GPU_SAMPLES)), f"{self.cluster}/c1/0".encode()
        await self.producer.send_and_wait(TELEMETRY_GPU, value, key, headers=envelope.headers())
        return ts_ms

    async def run(self, every_s: float = 0.5) -> None:
        """Scrape after scrape, until cancelled."""
        while True:
            await self.send()
            await asyncio.sleep(every_s)


@dataclass
class Ear:
    """Everything that was ever published on the topic `alerts`, with the moment at which it was heard, ms."""

    consumer: AIOKafkaConsumer
    heard: list[tuple[int, Alert]] = field(default_factory=list)

    def told(self) -> list[Alert]:
        """As whoever acts on alerts sees them: what is repeated is nothing new."""
        known = {(alert.fingerprint, alert.starts_at_ms, alert.state): alert for _, alert in self.heard}
        return list(known.values())

    def matters(self) -> list[tuple[str, str, str]]:
        """(rule, subject, state) of them, in the order in which they were told."""
        return [(alert.rule, alert.subject, alert.state) for alert in self.told()]

    async def until(self, met: Callable[[], bool], within_s: float = SOON_S) -> None:
        """Wait until something was told; fails with what was told instead."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not met():
            assert asyncio.get_running_loop().time() < deadline, self.matters()
            await asyncio.sleep(0.01)

    async def listen(self) -> None:
        """Take in what comes, until cancelled."""
        async for record in self.consumer:
            self.heard.append((time.time_ns() // 1_000_000, Alert.model_validate_json(record.value)))


@contextlib.asynccontextmanager
async def watched(kafka: str, devices: int = 8) -> AsyncIterator[tuple[Fabric, Ear]]:
    """A fabric and an ear, for a block."""
    producer = AIOKafkaProducer(bootstrap_servers=servers(kafka), acks="all")
    consumer = AIOKafkaConsumer(ALERTS, bootstrap_servers=servers(kafka), auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()
    ear = Ear(consumer)
    listening = asyncio.create_task(ear.listen())
    try:
        yield Fabric(producer, devices), ear
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await consumer.stop()
        await producer.stop()


@contextlib.contextmanager
def worker(
    kafka: str, clickhouse_url: str, folder: Path, module: str = "compose", silent_after: str = "90s", more: str = ""
) -> Iterator[Worker]:
    """A worker for a block; `more` is added to its configuration."""
    file = folder / "config.toml"
    file.write_text(CONFIG.replace('silent_after = "90s"', f'silent_after = "{silent_after}"') + more)
    log = folder / "worker.log"
    if module == "compose":
        started = launch(file, kafka, clickhouse_url, log)
    else:
        arguments = ("worker", "--config", str(file), "--kafka", kafka, "--clickhouse", clickhouse_url)
        started = Worker(spawn(module, *arguments, log=log).process, log)
    with ended(started) as running:
        yield running


def stored(client: Client) -> list[tuple[str, str, str]]:
    """(rule, subject, state) of every row of the table, in the order of time."""
    rows = client.query("SELECT rule, subject, state FROM alerts FINAL ORDER BY ts, rule, subject").result_rows
    return [(str(rule), str(subject), str(state)) for rule, subject, state in rows]
