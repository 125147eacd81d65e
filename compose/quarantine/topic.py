"""The topic `quarantine`, where the untouched messages are, and sending messages on."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from compose import datadir
from compose.access import NoAnswer
from compose.broker import servers
from compose.quarantine.entries import Entry
from compose.quiet import quiet
from schemas import quarantine
from schemas.config import Config
from schemas.quarantine import Origin, Put
from schemas.topics import MAX_MESSAGE_BYTES, QUARANTINE
from streams.app import GROUP

_TAKEN_S = 20.0
_SILENT_S = 30.0
_POLL_MS = 1000
_BACK_MS = 10 * 60 * 1000  # clocks of workers and of the broker may differ by this much


class Record(NamedTuple):
    """A message to send."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: quarantine.Headers = ()


def kafka_of(data: Path | None, config: Config | None, url: str | None) -> str:
    """Where the messages are. Raises NoAnswer when no Kafka is named and nothing runs."""
    known = url or (config.kafka.url if config is not None and config.kafka is not None else None)
    known = known or (datadir.addresses(data) or {}).get("kafka")
    if known is None:
        raise NoAnswer(
            "the messages are in Kafka, and nothing runs here: name --kafka URL. "
            "(The embedded broker keeps them in memory, as long as it runs.)"
        )
    servers(known)
    return known


async def fetch(kafka: str, entries: Collection[Entry]) -> dict[Entry, Put]:
    """The messages that the topic still has. It keeps them for seven days."""
    if not entries:
        return {}
    consumer = AIOKafkaConsumer(
        QUARANTINE, bootstrap_servers=servers(kafka), max_partition_fetch_bytes=MAX_MESSAGE_BYTES
    )
    async with _connected(consumer, kafka):
        partitions = sorted(consumer.assignment())
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        guessed = await _guess(consumer, partitions, min(entry.ts for entry in entries))
        starts = {partition: max(begins[partition], guessed.get(partition, 0)) for partition in partitions}
        found = await _scan(consumer, starts, ends, entries)
        if len(found) < len(entries):  # a broker can answer wrongly what it has since when
            found |= await _scan(consumer, begins, starts, [entry for entry in entries if entry not in found])
        return found


async def _guess(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since: datetime
) -> dict[TopicPartition, int]:
    """Where to begin to read, as the broker says; empty when it does not."""
    since_ms = int(since.replace(tzinfo=UTC).timestamp() * 1000) - _BACK_MS
    try:
        answer = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
    except KafkaError:
        return {}
    return {partition: found.offset for partition, found in answer.items() if found is not None}


async def _scan(
    consumer: AIOKafkaConsumer,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    entries: Iterable[Entry],
) -> dict[Entry, Put]:
    """Look through a part of the topic. Raises NoAnswer when the broker stops to deliver."""
    wanted: dict[Origin, list[Entry]] = {}
    for entry in entries:
        wanted.setdefault(entry.origin, []).append(entry)
    found: dict[Entry, Put] = {}
    left = {partition for partition, start in starts.items() if start < ends[partition]}
    for partition in left:
        consumer.seek(partition, starts[partition])
    heard = time.monotonic()
    while left and len(found) < sum(len(same) for same in wanted.values()):
        for partition, records in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).items():
            heard = time.monotonic()
            for put in filter(None, (quarantine.read(record.value, record.headers) for record in records)):
                for entry in wanted.get(put.origin, ()):
                    if entry.digest in ("", put.digest):
                        found[entry] = put
            if await consumer.position(partition) >= ends[partition]:
                left.discard(partition)
        if time.monotonic() > heard + _SILENT_S:
            raise NoAnswer(f"Kafka does not deliver the topic {QUARANTINE}: look at its broker, then try again.")
    return found


async def send(kafka: str, records: Iterable[Record]) -> list[Origin]:
    """Send messages in order; returns where each one is, when the broker has them all."""
    producer = AIOKafkaProducer(bootstrap_servers=servers(kafka), acks="all", max_request_size=MAX_MESSAGE_BYTES)
    async with _connected(producer, kafka):
        pending = [
            await producer.send(record.topic, record.value, record.key, headers=list(record.headers))
            for record in records
        ]
        return [Origin(sent.topic, sent.partition, sent.offset) for sent in await asyncio.gather(*pending)]


async def taken(kafka: str, sent: Collection[Origin]) -> bool:
    """Wait until the workers have acknowledged these messages; False when they do not in time."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers(kafka))
    latest: dict[TopicPartition, int] = {}
    for origin in sent:
        partition = TopicPartition(origin.topic, origin.partition)
        latest[partition] = max(origin.offset, latest.get(partition, -1))
    async with _connected(admin, kafka):
        deadline = time.monotonic() + _TAKEN_S
        while time.monotonic() < deadline:
            committed = await admin.list_consumer_group_offsets(GROUP, partitions=list(latest))
            if all(partition in committed and committed[partition].offset > last for partition, last in latest.items()):
                return True
            await asyncio.sleep(0.2)
    return False


@asynccontextmanager
async def _connected(
    part: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient, kafka: str
) -> AsyncIterator[None]:
    """A client of Kafka while it is connected. Raises NoAnswer when Kafka cannot be reached."""
    end = part.close if isinstance(part, AIOKafkaAdminClient) else part.stop
    try:
        with quiet("aiokafka"):
            await part.start()
        yield
    except (KafkaError, OSError) as error:
        reason = "nobody answers there" if isinstance(error, KafkaConnectionError) else error
        raise NoAnswer(f"The Kafka at {kafka} cannot be used ({reason}): start it, or correct the URL.") from None
    finally:
        await end()
