"""Messages to a real broker: in order, without gaps, kept on the disk while Kafka is away, whatever is killed."""

import asyncio
import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from aiokafka import AIOKafkaConsumer

from collectors.accounts import Accounts
from collectors.batches import GpuBatches, Timed
from collectors.publisher import Publisher
from collectors.spool import opened
from collectors.statistics import Statistics
from compose.broker import free_port
from schemas.arrow import GPU_SAMPLES, decode
from schemas.topics import TELEMETRY_GPU, Defect, Envelope
from tests.collectors.exporters import gpu_page
from tests.collectors.support import gpu
from tests.roles import ROOT, running

BATCH = GpuBatches(Accounts()).batches([Timed(1_700_000_000_000, gpu("dcgm-exporter", gpu_page(devices=8)))])[0]
SHARDS = ("fir/c1/0", "fir/c1/1", "fir/c1/2")


def publish(publisher: Publisher, shard: str, defects: list[Defect] | None = None) -> bool:
    return publisher.publish(
        topic=TELEMETRY_GPU, shard=shard, cluster="fir", schema="gpu-samples/1", batch=BATCH, defects=defects or []
    )


async def received(kafka: str, count: int, timeout_s: float = 20.0) -> dict[str, list[Envelope]]:
    """The first `count` messages of the topic by key; each is decoded."""
    consumer = AIOKafkaConsumer(
        TELEMETRY_GPU, bootstrap_servers=kafka.removeprefix("kafka://"), auto_offset_reset="earliest"
    )
    await consumer.start()
    found: dict[str, list[Envelope]] = {}
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(count):
                message = await consumer.getone()
                envelope = Envelope.parse(message.headers)
                assert len(decode(message.value, envelope.schema, envelope.content_type)) == envelope.rows
                found.setdefault(message.key.decode(), []).append(envelope)
    finally:
        await consumer.stop()
    return found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that comes is noticed soon."""
    monkeypatch.setattr("collectors.publisher.MAX_RETRY_S", 0.5)


@contextlib.asynccontextmanager
async def publishing(kafka: str, folder: Path, **options: Any) -> AsyncIterator[Publisher]:
    """A publisher with the spool in a folder. At the end it is stopped, at once unless it was before."""
    with opened(folder / "spool", **options) as spool:
        publisher = Publisher(kafka, "c1", Statistics(), spool=spool, clock=time.time)
        publisher.start()
        try:
            yield publisher
        finally:
            await publisher.stop(0.1)


async def test_messages_are_numbered_without_gaps(
    broker: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Per shard 1, 2, 3 … of one run; a broker without idempotent producers is said in one sentence, not in errors."""
    caplog.set_level(logging.INFO)
    async with publishing(broker, tmp_path) as publisher:
        for _ in range(50):
            for shard in SHARDS:
                assert publish(publisher, shard)
        await _sent(publisher)
    found = await received(broker, 150)
    for shard in SHARDS:
        assert [envelope.seq for envelope in found[shard]] == list(range(1, 51))
        assert {(e.boot, e.cluster, e.collector, e.rows) for e in found[shard]} == {(publisher.boot, "fir", "c1", 8)}
    said = [record for record in caplog.records if "idempotent" in record.getMessage()]
    assert len(said) == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_waits_is_sent_in_order_when_kafka_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The collector starts before its broker: nothing is lost, nothing is out of order, two sentences are said."""
    port = free_port()
    async with publishing(f"kafka://127.0.0.1:{port}", tmp_path) as publisher:
        for _ in range(30):
            for shard in SHARDS:
                assert publish(publisher, shard)
        await asyncio.sleep(1.2)
        assert publisher._statistics.spool_messages == 90
        assert publisher._statistics.spool_age_s > 0
        with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log"):
            await _sent(publisher)
            found = await received(f"kafka://127.0.0.1:{port}", 90)
    assert all([envelope.seq for envelope in found[shard]] == list(range(1, 31)) for shard in SHARDS)
    ours = [record.getMessage() for record in caplog.records if record.name == "collectors.publisher"]
    assert len(ours) == 2
    assert "takes no messages" in ours[0]
    assert "takes messages again" in ours[1]


async def test_what_kafka_has_not_taken_is_sent_by_the_next_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopping without Kafka ends in time and says what waits; the next run sends that first, then its own."""
    port = free_port()
    kafka = f"kafka://127.0.0.1:{port}"
    async with publishing(kafka, tmp_path) as first:
        for _ in range(10):
            for shard in SHARDS:
                assert publish(first, shard)
        async with asyncio.timeout(10):
            await first.stop(0.3)
    assert f"has not taken 30 messages ({first._statistics.spool_bytes} bytes)" in caplog.text
    assert "the next run sends them" in caplog.text
    async with publishing(kafka, tmp_path) as second:
        for shard in SHARDS:
            assert publish(second, shard)
        with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log"):
            await _sent(second)
            found = await received(kafka, 33)
    expected = [(first.boot, number) for number in range(1, 11)] + [(second.boot, 1)]
    assert all([(envelope.boot, envelope.seq) for envelope in found[shard]] == expected for shard in SHARDS)
    assert not list((tmp_path / "spool").glob("*.segment"))


PUBLISHER = """
import asyncio, sys
from pathlib import Path
from tests.collectors.test_publisher import SHARDS, publish, publishing

async def run(kafka, folder):
    async with publishing(kafka, Path(folder)) as publisher:
        for number in range(1, 1_000_000):
            for shard in SHARDS:
                if publish(publisher, shard):
                    print(shard, publisher.boot, number, flush=True)
            await asyncio.sleep(0)

asyncio.run(run(*sys.argv[1:]))
"""


@contextlib.contextmanager
def publishing_process(kafka: str, folder: Path) -> Iterator[Iterator[list[str]]]:
    """A process that publishes as fast as it can and says each message that it has taken; killed at the end."""
    command = [sys.executable, "-c", PUBLISHER, kafka, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield (line.split() for line in process.stdout)
    finally:
        process.kill()
        process.wait()


async def test_what_was_taken_survives_kill_9(tmp_path: Path) -> None:
    """Two runs killed in the middle while Kafka is away: each message that was taken arrives, in order per shard."""
    port = free_port()
    kafka = f"kafka://127.0.0.1:{port}"
    taken: dict[str, list[tuple[str, int]]] = {shard: [] for shard in SHARDS}
    for most in (200, 333):
        with ExitStack() as stack:
            said = stack.enter_context(publishing_process(kafka, tmp_path))
            for _ in range(most):
                shard, boot, number = next(said)
                taken[shard].append((boot, int(number)))
            stack.close()  # the kill; what it has said until then is still to be read
            for shard, boot, number in said:
                taken[shard].append((boot, int(number)))
    count = sum(map(len, taken.values()))
    assert count >= 533
    async with publishing(kafka, tmp_path) as publisher:
        waiting = publisher._statistics.spool_messages
        assert count <= waiting <= count + 2  # the last of each run may not have been said any more
        with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log"):
            await _sent(publisher)
            found = await received(kafka, waiting)
    for shard in SHARDS:
        arrived = [(envelope.boot, envelope.seq) for envelope in found[shard]]
        assert [message for message in arrived if message in taken[shard]] == taken[shard]
        assert len(arrived) <= len(taken[shard]) + 2


async def test_a_broker_killed_on_the_way_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages sent while the broker is dead arrive, in order, at the one that takes its place at another address."""
    monkeypatch.setattr("collectors.publisher.REQUEST_TIMEOUT_MS", 1000)
    ports = (free_port(), free_port())
    async with publishing(f"kafka://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}", tmp_path) as publisher:
        with running("compose.broker", "--port", str(ports[0]), log=tmp_path / "first.log") as first:
            assert publish(publisher, SHARDS[0])
            assert [e.seq for e in (await received(first.url, 1))[SHARDS[0]]] == [1]
            await _sent(publisher)
            first.kill()
        for _ in range(10):
            assert publish(publisher, SHARDS[0])
        with running("compose.broker", "--port", str(ports[1]), log=tmp_path / "second.log") as second:
            await _sent(publisher)
            found = await received(second.url, 10)
    assert [envelope.seq for envelope in found[SHARDS[0]]] == list(range(2, 12))


async def _sent(publisher: Publisher) -> None:
    """Until nothing waits any more."""
    async with asyncio.timeout(30):
        await publisher._drained.wait()


async def test_a_full_spool_keeps_the_oldest_and_says_what_was_dropped(tmp_path: Path) -> None:
    """Numbers stay without a gap, the next message tells how many were dropped, and their defects are not lost."""
    port = free_port()
    async with publishing(f"kafka://127.0.0.1:{port}", tmp_path, limit_bytes=40_000) as publisher:
        statistics = publisher._statistics
        taken = 0
        while publish(publisher, SHARDS[0]):
            taken += 1
        assert 0 < statistics.spool_bytes <= statistics.spool_limit_bytes == 40_000
        lost = Defect(ts_ms=1, source="dcgm-exporter http://n1", kind="target_down")
        assert not publish(publisher, SHARDS[0], [lost])
        assert (statistics.dropped_messages, statistics.dropped_samples) == (2, 16)
        with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log"):
            await _sent(publisher)
            assert publish(publisher, SHARDS[0])
            await _sent(publisher)
            found = (await received(f"kafka://127.0.0.1:{port}", taken + 1))[SHARDS[0]]
    assert [envelope.seq for envelope in found] == list(range(1, taken + 2))
    dropped, kept = found[-1].defects
    assert (dropped.kind, dropped.subject) == ("spool_full", SHARDS[0])
    assert dropped.detail == "2 messages with 16 samples were dropped before this one"
    assert kept == lost


async def test_a_damaged_spool_is_said_with_the_next_message(broker: str, tmp_path: Path) -> None:
    """What a crash left half written is an event of the collector, in the data that analysts see."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "FORMAT").write_text("commonwatt-spool 1\n")
    (tmp_path / "spool" / "000000000007.segment").write_bytes(b"no message at all")
    async with publishing(broker, tmp_path) as publisher:
        assert publish(publisher, SHARDS[0])
        await _sent(publisher)
        (envelope,) = (await received(broker, 1))[SHARDS[0]]
    (defect,) = envelope.defects
    assert (defect.kind, defect.source) == ("spool_damaged", "collector c1")
    assert (defect.subject, defect.detail) == (
        "000000000007.segment",
        "17 bytes from byte 0 on hold no sound message",
    )


async def test_a_message_that_no_broker_takes_is_dropped_not_retried(tmp_path: Path) -> None:
    """Larger than any broker is told to take: the message is refused and counted, the shard goes on."""
    async with publishing(f"kafka://127.0.0.1:{free_port()}", tmp_path) as publisher:
        noise = pa.array(np.random.default_rng(1).integers(0, 2**62, 1_100_000))
        columns = [noise if f.name == "energy_mj" else pa.nulls(len(noise), f.type) for f in GPU_SAMPLES]
        big = pa.RecordBatch.from_arrays(columns, schema=GPU_SAMPLES)
        assert not publisher.publish(
            topic=TELEMETRY_GPU, shard=SHARDS[0], cluster="fir", schema="gpu-samples/1", batch=big, defects=[]
        )
        assert publisher._statistics.dropped_messages == 1
        assert publish(publisher, SHARDS[0])
