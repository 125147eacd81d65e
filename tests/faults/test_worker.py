"""Protects the ledger against everything that can befall a worker: the book is the same, row for row."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from compose.broker import servers
from compose.check import run_checks
from schemas.topics import QUARANTINE, TELEMETRY_GPU, Envelope
from tests.faults.world import CLUSTER, Book, World, config, telemetry
from tests.roles import Running, running, start

TICKS = 150
SAMPLES = 2 * 24 * TICKS


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Running]:
    """A ClickHouse of the test's own."""
    with running(
        "compose.clickhouse", "--data", str(tmp_path / "book"), "--port", "0", log=tmp_path / "ch.log"
    ) as role:
        yield role


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """The book of a world in which nothing happened."""
    folder = tmp_path_factory.mktemp("undisturbed")
    arguments = ("--data", str(folder / "book"), "--port", "0")
    with (
        running("compose.broker", "--port", "0", log=folder / "broker.log") as broker,
        running("compose.clickhouse", *arguments, log=folder / "clickhouse.log") as clickhouse,
    ):
        world = World(broker.url, clickhouse.url, folder)
        world.send(telemetry(TICKS))
        world.start_worker()
        world.wait_stored(SAMPLES)
        world.wait_caught_up()
        world.stop_workers()
        assert [check for check in run_checks(world.client, config(), at_rest=True) if not check.passed] == []
        return world.book()


def test_killed_again_and_again(undisturbed: Book, broker: str, book: Running, tmp_path: Path) -> None:
    """kill -9 in the middle of a backlog, twice, and messages sent twice: nothing lost, nothing double."""
    world = World(broker, book.url, tmp_path)
    messages = telemetry(TICKS)
    world.send(messages[: len(messages) // 2])
    chance = random.Random(3)
    for part in (0.2, 0.35):
        worker = world.start_worker()
        world.wait_stored(int(SAMPLES * part))
        time.sleep(chance.random() / 4)
        worker.kill()
        worker.wait()
    world.send(messages[len(messages) // 3 : len(messages) // 2])  # a producer that lost an acknowledgement
    world.send(messages[len(messages) // 2 :])
    world.start_worker()
    world.wait_stored(SAMPLES)
    world.wait_caught_up()
    world.stop_workers()
    assert_same(world, undisturbed)


def test_clickhouse_away(undisturbed: Book, broker: str, tmp_path: Path) -> None:
    """ClickHouse is killed under a working worker and comes back: the worker waits, and nothing is lost or double."""
    arguments = ("compose.clickhouse", "--data", str(tmp_path / "book"), "--port")
    first = start(*arguments, "0", log=tmp_path / "ch.log")
    port = first.url.rpartition(":")[2]
    world = World(broker, first.url, tmp_path)
    messages = telemetry(TICKS)
    world.send(messages[: len(messages) // 2])
    world.start_worker()
    world.wait_stored(SAMPLES // 10)
    first.kill()
    world.send(messages[len(messages) // 2 :])
    time.sleep(1)
    with running(*arguments, port, log=tmp_path / "ch.log"):
        world.wait_stored(SAMPLES)
        world.wait_caught_up()
        world.stop_workers()
        assert_same(world, undisturbed)


async def test_unreadable_messages_are_put_aside(broker: str, book: Running, tmp_path: Path) -> None:
    """Garbage, a wrong schema, a missing header, a wrong row count: each kept untouched with its reason."""
    world = World(broker, book.url, tmp_path)
    sound = [message for message in telemetry(3) if message[0] == TELEMETRY_GPU]
    topic, key, value, _ = sound[0]
    good = Envelope("gpu-samples/1", CLUSTER, "c", "boot", 9, 24).headers()
    bad = [
        (topic, key, b"\x00garbage", good),
        (topic, key, value, Envelope("gpu-samples/1", CLUSTER, "c", "boot", 9, 7).headers()),
        (topic, key, value, [header for header in good if header[0] != "boot"]),
        (topic, key, value, [("schema", b"gpu-samples/99"), *good[1:]]),
        (topic, b"elsewhere/c/0", value, good),
    ]
    await world._send([*sound[:2], *bad, *sound[2:]])
    world.start_worker()
    world.wait_stored(2 * 24 * 3)
    consumer = AIOKafkaConsumer(QUARANTINE, bootstrap_servers=servers(broker), auto_offset_reset="earliest")
    await consumer.start()
    kept = [await consumer.getone() for _ in bad]
    await consumer.stop()
    assert sorted(record.value for record in kept) == sorted(value for _, _, value, _ in bad)
    reasons = [dict(record.headers)["quarantine-reason"].decode() for record in kept]
    for expected in ("not an Arrow IPC", "header says 7 rows", "'boot' is missing", "unknown schema", "not a shard"):
        assert any(expected in reason for reason in reasons), reasons
    in_book = world.client.query("SELECT reason, bytes FROM quarantine ORDER BY kafka_offset").result_rows
    assert sorted(reason for reason, _ in in_book) == sorted(reasons)
    world.stop_workers()


def assert_same(world: World, undisturbed: Book) -> None:
    """Row for row, and sound."""
    found = world.book()
    for table, rows in undisturbed.items():
        assert found[table] == rows, table
    assert [check for check in run_checks(world.client, config(), at_rest=True) if not check.passed] == []
