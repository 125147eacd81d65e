"""Messages to a real broker: in order, without gaps, kept while Kafka is away, and never more than memory allows."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from aiokafka import AIOKafkaConsumer

from collectors.accounts import Accounts
from collectors.batches import GpuBatches, Timed
from collectors.publisher import Publisher
from collectors.statistics import Statistics
from compose.broker import free_port
from schemas.arrow import GPU_SAMPLES, decode
from schemas.topics import TELEMETRY_GPU, Defect, Envelope
from tests.collectors.exporters import gpu_page
from tests.collectors.support import gpu
from tests.roles import running

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


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Publisher]]:
    """Makes publishers and stops them."""
    made = []

    def make_one(kafka: str, **options: int) -> Publisher:
        made.append(Publisher(kafka, "c1", Statistics(), **options))
        return made[-1]

    yield make_one
    for publisher in made:
        await publisher.stop(0.1)


async def test_messages_are_numbered_without_gaps(
    broker: str, make: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    """Per shard 1, 2, 3 … of one run; a broker without idempotent producers is said in one sentence, not in errors."""
    caplog.set_level(logging.INFO)
    publisher = make(broker)
    for _ in range(50):
        for shard in SHARDS:
            assert publish(publisher, shard)
    await publisher.stop(20)
    found = await received(broker, 150)
    for shard in SHARDS:
        assert [envelope.seq for envelope in found[shard]] == list(range(1, 51))
        assert {(e.boot, e.cluster, e.collector, e.rows) for e in found[shard]} == {(publisher.boot, "fir", "c1", 8)}
    said = [record for record in caplog.records if "idempotent" in record.getMessage()]
    assert len(said) == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_waits_is_sent_in_order_when_kafka_comes(
    tmp_path: Path, make: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    """The collector starts before its broker: nothing is lost, nothing is out of order, two sentences are said."""
    port = free_port()
    publisher = make(f"kafka://127.0.0.1:{port}")
    for _ in range(30):
        for shard in SHARDS:
            assert publish(publisher, shard)
    await asyncio.sleep(1.0)
    with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log"):
        await publisher.stop(20)
        found = await received(f"kafka://127.0.0.1:{port}", 90)
    assert all([envelope.seq for envelope in found[shard]] == list(range(1, 31)) for shard in SHARDS)
    ours = [record.getMessage() for record in caplog.records if record.name == "collectors.publisher"]
    assert len(ours) == 2
    assert "takes no messages" in ours[0]
    assert "takes messages again" in ours[1]


async def test_a_broker_killed_on_the_way_costs_nothing(
    tmp_path: Path, make: Callable[..., Publisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages sent while the broker is dead arrive, in order, at the one that takes its place at another address."""
    monkeypatch.setattr("collectors.publisher.REQUEST_TIMEOUT_MS", 1000)
    ports = (free_port(), free_port())
    publisher = make(f"kafka://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}")
    with running("compose.broker", "--port", str(ports[0]), log=tmp_path / "first.log") as first:
        assert publish(publisher, SHARDS[0])
        assert [e.seq for e in (await received(first.url, 1))[SHARDS[0]]] == [1]
        await _sent(publisher)
        first.kill()
    for _ in range(10):
        assert publish(publisher, SHARDS[0])
    with running("compose.broker", "--port", str(ports[1]), log=tmp_path / "second.log") as second:
        await publisher.stop(30)
        found = await received(second.url, 10)
    assert [envelope.seq for envelope in found[SHARDS[0]]] == list(range(2, 12))


async def _sent(publisher: Publisher) -> None:
    """Until nothing waits any more."""
    async with asyncio.timeout(30):
        await publisher._drained.wait()


async def test_a_full_buffer_keeps_the_oldest_and_says_what_it_dropped(
    tmp_path: Path, make: Callable[..., Publisher]
) -> None:
    """Memory is bounded; numbers stay without a gap, the next message tells how many were dropped, defects survive."""
    port = free_port()
    publisher = make(f"kafka://127.0.0.1:{port}", max_buffer_bytes=40_000)
    statistics = publisher._statistics
    taken = 0
    while publish(publisher, SHARDS[0]):
        taken += 1
    assert statistics.buffered_bytes <= 40_000
    lost = Defect(ts_ms=1, source="dcgm-exporter http://n1", kind="target_down")
    assert not publish(publisher, SHARDS[0], [lost])
    assert (statistics.dropped_messages, statistics.dropped_samples) == (2, 16)
    with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log"):
        await _sent(publisher)
        assert publish(publisher, SHARDS[0])
        await publisher.stop(20)
        found = (await received(f"kafka://127.0.0.1:{port}", taken + 1))[SHARDS[0]]
    assert [envelope.seq for envelope in found] == list(range(1, taken + 2))
    dropped, kept = found[-1].defects
    assert (dropped.kind, dropped.subject) == ("buffer_full", SHARDS[0])
    assert dropped.detail == "2 messages with 16 samples were dropped before this one"
    assert kept == lost


async def test_stopping_without_kafka_ends_and_says_what_is_lost(
    make: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    """A collector that is told to stop does stop, and says how much it could not deliver."""
    publisher = make(f"kafka://127.0.0.1:{free_port()}")
    for _ in range(3):
        publish(publisher, SHARDS[0])
    async with asyncio.timeout(10):
        await publisher.stop(0.3)
    assert "did not take 3 messages (24 samples)" in caplog.text


async def test_a_message_that_no_broker_takes_is_dropped_not_retried(make: Callable[..., Publisher]) -> None:
    """Larger than any broker is told to take: the message is refused and counted, the shard goes on."""
    publisher = make(f"kafka://127.0.0.1:{free_port()}")
    noise = pa.array(np.random.default_rng(1).integers(0, 2**62, 1_100_000))
    columns = [noise if f.name == "energy_mj" else pa.nulls(len(noise), f.type) for f in GPU_SAMPLES]
    big = pa.RecordBatch.from_arrays(columns, schema=GPU_SAMPLES)
    assert not publisher.publish(
        topic=TELEMETRY_GPU, shard=SHARDS[0], cluster="fir", schema="gpu-samples/1", batch=big, defects=[]
    )
    assert publisher._statistics.dropped_messages == 1
    assert publish(publisher, SHARDS[0])
