"""A worker as a process, what it is fed, and the book that it leaves: the pieces of every fault test."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.client import Client

from compose.broker import servers
from compose.check import run_checks
from compose.lag import Lag
from compose.reference import tables
from schemas.config_file import load
from tests.faults.traffic import CONFIG, Message
from tests.roles import spawn

CAUGHT_UP_S = 60.0
STOP_S = 30.0
WAIT_S = 40.0

# What must come out the same, whatever happens on the way.
BOOK = {
    "gpu_usage": (
        "SELECT * FROM gpu_usage_store FINAL WHERE ts_end > ts_start ORDER BY cluster, device, slice, ts_start"
    ),
    "token_usage": (
        "SELECT * FROM token_usage_store FINAL WHERE ts_end > ts_start "
        "ORDER BY cluster, endpoint, replica, served_model, team, ts_start"
    ),
    "unit_costs": "SELECT * FROM unit_costs ORDER BY minute, cluster, model, agreement",
    "spent": "SELECT agreement, argMax(accrued, (minute, ts)) FROM subsidy_burn GROUP BY agreement ORDER BY agreement",
    "gpu_samples": "SELECT * FROM gpu_samples ORDER BY cluster, device, slice, ts",
    "data_quality": "SELECT * FROM data_quality FINAL ORDER BY ALL",
}

# The same where the runs of the collectors are the same. Offsets differ where messages come twice, times always.
TAKEN_IN = {
    "telemetry_messages": (
        "SELECT shard, boot, seq, topic, kafka_partition, rows, ts_first, ts_last, fate FROM telemetry_messages "
        "ORDER BY shard, boot, seq"
    ),
}

QUARANTINE = "quarantine is empty"
"""The audit that fails while messages wait there."""

Book = dict[str, list[tuple[Any, ...]]]
"""Rows of each query of BOOK and TAKEN_IN, all columns."""


async def until(met: Callable[[], bool]) -> None:
    """Wait for a condition; TimeoutError when it does not come."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if met():
                return
            await asyncio.sleep(0.02)


async def _behind(lag: Lag) -> int:
    """Messages that the workers have not acknowledged; -1 when the broker cannot say, having lost a node or not having
    had a group yet."""
    try:
        return await lag.total()
    except KafkaError:
        return -1


@dataclass(frozen=True)
class Worker:
    """`commonwatt worker` as a process."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_S)

    def freeze(self) -> None:
        """SIGSTOP: it stays as it is, in the middle of whatever it does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    async def partitions(self) -> dict[str, list[int]]:
        """What it reads by topic, once it has joined the group; of a worker that has logged nothing before."""
        await until(lambda: "streams.worker: reads " in self.log.read_text())
        *_, last = re.findall(r"streams\.worker: reads (.*)", self.log.read_text())
        return {topic: json.loads(numbers) for topic, numbers in re.findall(r"(\S+) (\[[^]]*\])", last)}


@contextlib.contextmanager
def ended(worker: Worker) -> Iterator[Worker]:
    """For a block; what is left of the worker afterwards is killed."""
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()


def launch(config_file: Path, kafka: str, clickhouse_url: str, log: Path, *options: str) -> Worker:
    """Start a worker; it lives until somebody ends it. Call from the main thread."""
    arguments = ("--config", str(config_file), "--kafka", kafka, "--clickhouse", clickhouse_url, *options)
    return Worker(spawn("compose", "worker", *arguments, log=log).process, log)


@dataclass(frozen=True)
class Site:
    """A broker, a ClickHouse, and a folder for the configuration and the logs."""

    kafka: str
    clickhouse_url: str
    client: Client
    folder: Path

    @contextlib.contextmanager
    def worker(self, name: str = "worker", *options: str, clickhouse_url: str | None = None) -> Iterator[Worker]:
        """A worker for a block; what is left of it afterwards is killed."""
        config_file = self.folder / "config.toml"
        config_file.write_text(CONFIG)
        log = self.folder / f"{name}.log"
        with ended(launch(config_file, self.kafka, clickhouse_url or self.clickhouse_url, log, *options)) as worker:
            yield worker

    async def feed(self, messages: Sequence[Message], *, pause_s: float = 0) -> None:
        """Publish messages in order; with a pause after each one, they arrive while others are worked on."""
        producer = AIOKafkaProducer(bootstrap_servers=servers(self.kafka), acks="all")
        await producer.start()
        try:
            for message in messages:
                await producer.send(message.topic, message.value, message.key, headers=list(message.headers))
                await asyncio.sleep(pause_s)
            await producer.flush()
        finally:
            await producer.stop()

    async def caught_up(self, worker: Worker) -> None:
        """Wait until the worker has acknowledged every message of every stage."""
        lag = await Lag.connect(self.kafka)
        try:
            deadline = time.monotonic() + CAUGHT_UP_S
            while left := await _behind(lag):
                said = worker.log.read_text()[-2000:]
                assert worker.process.poll() is None, said
                assert time.monotonic() < deadline, f"{left} messages behind; {said}"
                await asyncio.sleep(0.1)
        finally:
            await lag.close()

    async def written(self) -> None:
        """Wait until a worker writes of a later moment to the ledger than anybody has before."""
        known = self._latest()
        await until(lambda: self._latest() > known)

    def _latest(self) -> datetime:
        """The last moment that the ledger tells of; 1970 while it is empty."""
        latest: datetime = self.client.query("SELECT max(ts_end) FROM gpu_usage_store").result_rows[0][0]
        return latest

    def book(self) -> Book:
        """What the ClickHouse holds."""
        queries = BOOK | TAKEN_IN
        return {name: [tuple(row) for row in self.client.query(query).result_rows] for name, query in queries.items()}

    def assert_same(self, undisturbed: Book, *, quarantined: int = 0) -> None:
        """The book equals that of an undisturbed run row for row, and every audit passes on it; but for that of the
        quarantine, where so many messages wait."""
        found = self.book()
        for name, rows in undisturbed.items():
            assert found[name] == rows, name
        config = load(self.folder / "config.toml")
        tables.store(self.client, config)
        results = {result.name: result for result in run_checks(self.client, config, at_rest=True)}
        assert results.pop(QUARANTINE).faults == quarantined
        assert {result.name: result.rows for result in results.values() if not result.passed} == {}
