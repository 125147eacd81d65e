"""Messages that nobody should send: again, damaged, with other readings of a time that is over, of a time to come.

All are made from messages that lie in the topics, go to the partition of their original behind it, and bear the header
`injected` with the kind of fault, so that the topics themselves tell in the end what was injected.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from compose.broker import servers
from schemas.arrow import TS, Unreadable, decode, encode
from schemas.topics import PARTITIONS, TELEMETRY_GPU, TELEMETRY_TOKENS, Envelope

MARK = "injected"
MOST = {"duplicate": 60, "corrupt": 6, "clock_back": 20, "clock_ahead": 3}
"""Messages of one fault at most."""
AHEAD_MS = (30 * 60_000, 30 * 24 * 3_600_000)
RETRY_S = 0.5
TRIES = 50
SOURCES = tuple(
    TopicPartition(topic, number) for topic in (TELEMETRY_GPU, TELEMETRY_TOKENS) for number in range(PARTITIONS[topic])
)
_COUNTERS = ("energy_mj", "prompt_tokens", "cached_tokens", "generation_tokens", "requests")


class Injector:
    """Use as `async with`. `start_ms` is the time of the first sample: no clock is set back beyond it."""

    def __init__(self, kafka: str, start_ms: int, *, idempotent: bool) -> None:
        self._start_ms = start_ms
        self._consumer = AIOKafkaConsumer(bootstrap_servers=servers(kafka), enable_auto_commit=False)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=servers(kafka), acks="all", enable_idempotence=idempotent, max_request_size=1 << 24
        )

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._producer.stop()
        await self._consumer.stop()

    async def inject(self, kind: str, chance: random.Random) -> int:
        """Send messages of a kind of fault; returns how many."""
        change: Callable[[ConsumerRecord, random.Random], Sent | None] = {
            "duplicate": _again,
            "corrupt": _damaged,
            "clock_back": self._earlier,
            "clock_ahead": _ahead,
        }[kind]
        sent = 0
        for record in await self._originals(chance, chance.randint(1, MOST[kind])):
            changed = change(record, chance)
            if changed is not None:
                await self._send(record, kind, *changed)
                sent += 1
        return sent

    async def _originals(self, chance: random.Random, most: int) -> list[ConsumerRecord]:
        """Up to `most` messages that lie one after the other somewhere, in order; at least one."""
        for _ in range(TRIES):
            try:
                found = await self._records(chance, most)
            except KafkaError:  # a broker is away
                await asyncio.sleep(RETRY_S)
                continue
            if found:
                return found
            await asyncio.sleep(0.01)
        return []

    async def _records(self, chance: random.Random, most: int) -> list[ConsumerRecord]:
        partition = chance.choice(SOURCES)
        self._consumer.assign([partition])
        end = (await self._consumer.end_offsets([partition]))[partition]
        if not end:
            return []
        self._consumer.seek(partition, chance.randrange(end))
        found = (await self._consumer.getmany(partition, timeout_ms=2000, max_records=most)).get(partition, [])
        return [record for record in found if MARK not in dict(record.headers)]

    async def _send(
        self, record: ConsumerRecord, kind: str, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        marked = [*headers, (MARK, kind.encode())]
        while True:
            try:
                await self._producer.send_and_wait(record.topic, value, key, record.partition, headers=marked)
                return
            except KafkaError:  # it may be there nevertheless: the topics tell
                await asyncio.sleep(RETRY_S)

    def _earlier(self, record: ConsumerRecord, chance: random.Random) -> "Sent | None":
        """Other readings, of a moment before the original."""
        room_ms = _first_ms(record) - self._start_ms
        if room_ms < 1 or record.key.startswith(b"elm/"):  # where a silent device left a hole, late readings may count
            return None
        return _moved(record, -round(room_ms ** chance.random()), chance)


Sent = tuple[bytes, bytes | None, Sequence[tuple[str, bytes]]]
"""Key, value and headers of a message."""


def _again(record: ConsumerRecord, chance: random.Random) -> Sent | None:
    return record.key, record.value, record.headers


def _ahead(record: ConsumerRecord, chance: random.Random) -> Sent | None:
    return _moved(record, round(time.time() * 1000) - _first_ms(record) + chance.randint(*AHEAD_MS), chance)


def _moved(record: ConsumerRecord, by_ms: int, chance: random.Random) -> Sent:
    """The message with other times, and other readings."""
    batch = _batch(record)
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns["ts"] = pa.array(np.asarray(columns["ts"].view(pa.int64())) + by_ms).cast(TS)
    for name in _COUNTERS:
        if name in columns:
            columns[name] = pa.array(
                [None if value is None else max(0, value + chance.randint(-(10**7), 10**7))
                 for value in columns[name].to_pylist()], pa.int64(),
            )  # fmt: skip
    changed = pa.RecordBatch.from_arrays([columns[name] for name in batch.schema.names], schema=batch.schema)
    return record.key, encode(changed), record.headers


def _damaged(record: ConsumerRecord, chance: random.Random) -> Sent | None:
    """The message so that it cannot be read: a few bits changed, cut off, or with a wrong label."""
    key, value, headers = record.key, record.value, list(record.headers)
    match chance.choice(("bits", "cut", "empty", "noise", "missing", "rows", "schema", "key")):
        case "bits":
            flipped = bytearray(value)
            for _ in range(chance.randint(1, 8)):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            value = bytes(flipped)
        case "cut":
            value = value[: chance.randrange(len(value) * 9 // 10)]
        case "empty":
            value = b""
        case "noise":
            value = chance.randbytes(len(value))
        case "missing":
            gone = chance.choice(("schema", "cluster", "boot", "seq", "rows"))
            headers = [(name, text) for name, text in headers if name != gone]
        case "rows":
            headers = [(name, b"9999" if name == "rows" else text) for name, text in headers]
        case "schema":
            headers = [(name, b"gpu-samples/0" if name == "schema" else text) for name, text in headers]
        case "key":
            key = b"nowhere/" + key
    # Bits that turn a message into another readable one are no fault that a reader can find: left alone.
    return None if _readable(key, value, headers) else (key, value, headers)


def _readable(key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> bool:
    try:
        envelope = Envelope.parse(headers)
        batch = decode(value, envelope.schema, envelope.content_type)
    except Unreadable:
        return False
    return key.startswith(f"{envelope.cluster}/".encode()) and batch.num_rows == envelope.rows


def _batch(record: ConsumerRecord) -> pa.RecordBatch:
    envelope = Envelope.parse(record.headers)
    return decode(record.value, envelope.schema, envelope.content_type)


def _first_ms(record: ConsumerRecord) -> int:
    return int(_batch(record).column("ts")[0].value)
