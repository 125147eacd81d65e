"""No Kafka at all: when the worker begins, while it publishes, when it ends."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from compose.broker import create_topics, free_port, servers
from schemas.config_file import load
from schemas.topics import ALERTS
from streams.app import create_app
from streams.book import Book as Tables
from streams.context import Context
from streams.reference import Reference
from tests.conftest import ClickHouse
from tests.faults.traffic import CONFIG, messages
from tests.faults.work import Site, until
from tests.kafka.cluster import Cluster
from tests.roles import running


async def test_a_worker_begins_and_ends_without(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """It waits for the broker and begins its work; asked to end when the broker is gone in the middle of it, it does
    not wait for ever to say goodbye."""
    port = free_port()
    site = Site(f"kafka://127.0.0.1:{port}", clickhouse.url, clickhouse.client, tmp_path)
    begun = asyncio.create_task(site.written())
    with site.worker() as worker:
        await until(lambda: "waiting for the Kafka" in worker.log.read_text())
        with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log") as broker:
            await site.feed(messages())
            await begun
            broker.kill()
        assert worker.stop() == 0
        assert "left without a goodbye, for Kafka does not answer" in worker.log.read_text()


async def test_what_is_published_waits(without_kafka: str | None, clickhouse: ClickHouse, tmp_path: Path) -> None:
    """Longer than the producer itself tries; each record arrives when the broker is back."""
    if without_kafka is not None:
        pytest.skip(f"without real Kafka: {without_kafka}")
    config_file = tmp_path / "config.toml"
    config_file.write_text(CONFIG)
    config = load(config_file)
    with Cluster(tmp_path / "kafka") as cluster:
        await create_topics(cluster.url)
        app = create_app(cluster.url)
        app.conf.producer_request_timeout = 1.0
        await app.producer.start()
        context = Context(app, Tables(clickhouse.client), config, Reference(config))
        await context.send(ALERTS, [(b"key", b"before", [])])
        cluster.kill(0)
        sending = asyncio.create_task(context.send(ALERTS, [(b"key", b"1", []), (b"key", b"2", [])]))
        await asyncio.sleep(2.5)
        assert not sending.done()
        cluster.restart(0)
        await sending
        await app.producer.stop()
        assert await values(cluster.url, ALERTS) == {b"before", b"1", b"2"}


async def values(kafka: str, topic: str) -> set[bytes]:
    """What a topic holds."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers(kafka), auto_offset_reset="earliest")
    await consumer.start()
    found = await consumer.getmany(timeout_ms=5000)
    await consumer.stop()
    return {message.value for batch in found.values() for message in batch}
