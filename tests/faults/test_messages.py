"""Messages that cannot be read, that come twice, late, or all over again."""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from compose.broker import servers
from compose.lag import STAGES
from schemas.arrow import ARROW, decode
from schemas.topics import PARTITIONS, QUARANTINE, TELEMETRY_GPU, TELEMETRY_TOKENS
from tests.faults.traffic import Message, messages
from tests.faults.work import Book, Site
from tests.roles import running

EVERY = 40  # messages between two unreadable ones


async def test_only_what_is_new_and_readable_counts(site: Site, undisturbed: Book, tmp_path: Path) -> None:
    """Each message twice in a row, some again long after, unreadable ones between them; then all topics once more from
    offset 0, by a group without offsets."""
    traffic, bad = messages(), unreadable()
    doubled = [message for message in traffic for _ in range(2)]
    mixed = [*doubled[:600], *traffic[40:120], *doubled[600:], *traffic[::7]]
    for number, (message, _) in enumerate(bad, 1):
        mixed.insert(number * (EVERY + 1), message)
    await site.feed(mixed)
    with site.worker() as worker:
        await site.caught_up(worker)
        assert worker.stop() == 0
    site.assert_same(undisturbed, quarantined=len(bad))
    await assert_put_aside(site, bad)
    with running("compose.broker", "--port", "0", log=tmp_path / "other.log") as other:
        assert await copy(site.kafka, other.url) > len(mixed)
        again = replace(site, kafka=other.url)
        with again.worker() as worker:
            await again.caught_up(worker)
            assert worker.stop() == 0
        again.assert_same(undisturbed, quarantined=len(bad))


async def assert_put_aside(site: Site, bad: list[tuple[Message, str]]) -> None:
    """Key, value and headers as they came, on the topic `quarantine`; where from and why, there and in the table."""
    found = await put_aside(site.kafka, len(bad))
    rows = site.client.query("SELECT topic, kafka_partition, kafka_offset, reason, bytes FROM quarantine").result_rows
    stored = {f"{topic}/{partition}/{offset}": (reason, size) for topic, partition, offset, reason, size in rows}
    assert len(rows) == len(stored) == len(found) == len(bad)
    for message, expected in bad:
        reason, origin = found[message]
        assert reason.startswith(expected), reason
        assert stored[origin] == (reason, len(message.value))
        assert origin.startswith(f"{message.topic}/")


def spoiled(message: Message, **headers: bytes | None) -> Message:
    """The message with some headers changed, or taken out (None)."""
    changed = {**dict(message.headers), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return message._replace(headers=tuple((name, value) for name, value in changed.items() if value is not None))


def damaged(message: Message) -> bytes:
    """The message with a label that claims to reach far beyond it: whoever follows that reads foreign memory."""
    batch = decode(message.value, "gpu-samples/1", ARROW)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    sound = sink.getvalue().to_pybytes()
    changed = re.sub(rb"\0\0\0\0\x02\0\0\0(?=\0*n1)", b"\0\0\0\0\0\0\0\x40", sound)  # from 0 to 2 -> to 2**30
    assert len(changed) == len(sound)
    assert changed != sound
    return bytes(changed)


def unreadable() -> list[tuple[Message, str]]:
    """Messages, and how the reason begins. Each is read between good ones of its partition."""
    gpu = next(message for message in messages() if message.topic == TELEMETRY_GPU)
    tokens = next(message for message in messages() if message.topic == TELEMETRY_TOKENS)
    return [
        (gpu._replace(value=b"\x00\xffgarbage"), "not an Arrow IPC stream"),
        (gpu._replace(value=gpu.value[: len(gpu.value) // 2]), "not an Arrow IPC stream"),
        (gpu._replace(value=damaged(gpu)), "not an Arrow IPC stream"),
        (gpu._replace(value=b""), "not an Arrow IPC stream"),
        (gpu._replace(headers=()), "header 'schema' is missing"),
        (spoiled(gpu, cluster=None), "header 'cluster' is missing"),
        (spoiled(gpu, schema=b"gpu-samples/9"), "unknown schema 'gpu-samples/9'"),
        (tokens._replace(topic=TELEMETRY_GPU), "schema 'token-samples/1' on a topic of 'gpu-samples/1'"),
        (spoiled(tokens, schema=b"gpu-samples/1")._replace(topic=TELEMETRY_GPU), "columns differ from the schema"),
        (spoiled(gpu, rows=b"12345"), "header says 12345 rows, the message holds"),
        (spoiled(gpu, seq=b"first"), "malformed header"),
        (spoiled(gpu, defects=b'[{"ts_ms": 1e30, "source": "x", "kind": "y"}]'), "malformed header"),
        (spoiled(gpu, content_type=b"text/plain"), "unknown content-type 'text/plain'"),
        (spoiled(gpu, content_type=b"application/json")._replace(value=b'[{"device": ""}]'), "0."),
        (gpu._replace(key=b"elsewhere/c1/0"), "key 'elsewhere/c1/0' is not a shard of cluster 'fir'"),
        (gpu._replace(key=b"\xff\xfe"), "the key is not UTF-8"),
        (spoiled(gpu, collector=b"\xff\xfe"), "a header is not UTF-8"),
        (gpu._replace(topic=TELEMETRY_TOKENS), "schema 'gpu-samples/1' on a topic of 'token-samples/1'"),
    ]


async def put_aside(kafka: str, count: int) -> dict[Message, tuple[str, str]]:
    """Messages on the topic `quarantine`, as they were before, with the reason and where they came from."""
    consumer = AIOKafkaConsumer(QUARANTINE, bootstrap_servers=servers(kafka), auto_offset_reset="earliest")
    await consumer.start()
    found: dict[Message, tuple[str, str]] = {}
    while len(found) < count:
        for message in await batch(consumer):
            *original, reason, origin, key = message.headers
            assert [name for name, _ in (reason, origin, key)] == [
                "quarantine-reason", "quarantine-origin", "quarantine-key",
            ]  # fmt: skip
            before = Message(message.key.decode(), key[1], message.value, tuple(original))
            found[before] = (reason[1].decode(), origin[1].decode())
    await consumer.stop()
    return found


async def batch(consumer: AIOKafkaConsumer) -> list[ConsumerRecord]:
    """The next messages; fails when none come."""
    found = [message for messages in (await consumer.getmany(timeout_ms=5000)).values() for message in messages]
    assert found
    return found


async def copy(source: str, target: str) -> int:
    """Every message of every stage, with its partition, into a broker that nobody has read from."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers(source), auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=servers(target), acks="all")
    await consumer.start()
    await producer.start()
    partitions = [TopicPartition(topic, number) for topic in STAGES for number in range(PARTITIONS[topic])]
    consumer.assign(partitions)
    left = sum((await consumer.end_offsets(partitions)).values())
    copied = 0
    while copied < left:
        for found in (await consumer.getmany(timeout_ms=1000)).values():
            for message in found:
                headers = list(message.headers)
                await producer.send(message.topic, message.value, message.key, message.partition, headers=headers)
                copied += 1
    await producer.stop()
    await consumer.stop()
    return copied
