"""Readers of one topic: as Faust reads when left to itself, and as ours do. What becomes of a message that fails.

Lines wait on a topic of one partition, each the number of its offset. Processing the `head` fails or never ends, all
others succeed. A message is lost when the group has committed past it and nobody has processed it: whoever comes next
does not get it any more.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import faust
import mode
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from faust.transport.drivers import aiokafka as driver

from compose.broker import servers
from schemas.topics import QUARANTINE
from streams.app import create_app, hold
from streams.intake import Intake

TOPIC = QUARANTINE
PARTITION = TopicPartition(TOPIC, 0)
MESSAGES = 100
READ_S = 40.0
SETTLE_S = 3.0  # after the head was met; whoever has not read to the end by then does not go on
COMMITS = 4  # intervals after which everything is committed that will be


class Broken(Exception):
    """Raised while a message is processed."""


@dataclass
class Reading:
    """What one reader does."""

    head: int
    """Offset of the message that fails."""
    hangs: bool = False
    """It does not fail but never ends."""
    delivered: Counter[int] = field(default_factory=Counter)
    """How often each offset came."""
    processed: set[int] = field(default_factory=set)
    """Offsets that were processed."""
    met: asyncio.Event = field(default_factory=asyncio.Event)
    """The head was met."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """The last message was processed."""
    committed: int | None = None
    """What the group had committed when it was looked at. A kill at that moment changes nothing of it."""
    crash: BaseException | None = None
    """Why the app stopped, or what is behind it. None: it looks healthy."""

    @property
    def lost(self) -> list[int]:
        """Messages that nobody has processed and that the next reader of the group does not get."""
        return sorted(set(range(self.committed or 0)) - self.processed)

    async def process(self, offset: int) -> None:
        """Do what is to be done with a message."""
        self.delivered[offset] += 1
        if offset == self.head:
            self.met.set()
            if self.hangs:
                await asyncio.Event().wait()
            raise Broken(f"message {offset}")
        self.processed.add(offset)
        if offset == MESSAGES - 1:
            self.finished.set()


Declare = Callable[[faust.App, Reading], Awaitable[None] | None]
"""Declares an agent; returns what is to run beside the app."""


async def read(
    kafka: str,
    group: str,
    declare: Declare,
    *,
    consumer: type[Any] = driver.Consumer,
    head: int,
    hangs: bool = False,
    seek: bool = False,
) -> Reading:
    """Run a reader of its own group until it has read to the end or does not go on.

    The group begins at the head, as if everything before had been committed; with a head of 0 nothing is committed.
    With `seek` nothing is committed either, and Faust is told to go back to there as soon as the head was met.
    """
    if head and not seek:
        await commit(kafka, group, head)
    app = create_app(kafka, group=group)
    patch.object(app.transport, "Consumer", consumer).start()  # of this app, not of the class
    reading = Reading(head, hangs, processed=set() if seek else set(range(head)))
    behind = declare(app, reading)
    app.finalize()
    await app.start()
    tasks = [asyncio.ensure_future(behind)] if behind is not None else []
    try:
        assert isinstance(app.consumer, consumer)
        async with asyncio.timeout(READ_S):
            await reading.met.wait()
            if seek:
                await app.consumer.perform_seek()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reading.finished.wait(), SETTLE_S)
        await asyncio.sleep(COMMITS * app.conf.broker_commit_interval)
        reading.committed = await committed(kafka, group)
        reading.crash = app.crash_reason if app.crashed else None
        for task in tasks:
            if task.done():
                reading.crash = task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await app.stop()
    return reading


# ---- the loops of Faust ----------------------------------------------------------------------------------------------


def _topic(app: faust.App) -> Any:
    return app.topic(TOPIC, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def values(app: faust.App, reading: Reading) -> None:
    """Plain values."""

    @app.agent(_topic(app))
    async def reader(stream: Any) -> None:
        async for value in stream:
            await reading.process(int(value))


def events(app: faust.App, reading: Reading) -> None:
    """Events."""

    @app.agent(_topic(app))
    async def reader(stream: Any) -> None:
        async for event in stream.events():
            await reading.process(int(event.value))


def noack(app: faust.App, reading: Reading) -> None:
    """Events, each acknowledged when it is done."""

    @app.agent(_topic(app))
    async def reader(stream: Any) -> None:
        async for event in stream.noack().events():
            await reading.process(int(event.value))
            event.ack()


def side_by_side(app: faust.App, reading: Reading) -> None:
    """Two loops at once."""

    @app.agent(_topic(app), concurrency=2)
    async def reader(stream: Any) -> None:
        async for event in stream.events():
            await reading.process(int(event.value))


def take(app: faust.App, reading: Reading) -> None:
    """Batches of values."""

    @app.agent(_topic(app))
    async def reader(stream: Any) -> None:
        await _take(stream, reading)


def take_crashing(app: faust.App, reading: Reading) -> None:
    """Batches of values, under the supervisor that ours have."""

    @app.agent(_topic(app), supervisor_strategy=mode.CrashingSupervisor)
    async def reader(stream: Any) -> None:
        await _take(stream, reading)


async def _take(stream: Any, reading: Reading) -> None:
    async for batch in stream.take(5, within=0.2):
        for value in batch:
            await reading.process(int(value))


def noack_take(app: faust.App, reading: Reading) -> None:
    """Batches of events, each acknowledged when it is done."""

    @app.agent(_topic(app))
    async def reader(stream: Any) -> None:
        async for batch in stream.noack_take(5, within=0.2):
            for event in batch:
                await reading.process(int(event.value))
                event.ack()


def held(app: faust.App, reading: Reading) -> None:
    """Our loop, nothing is acknowledged; what fails is passed over."""

    async def offer(event: Any) -> None:
        with contextlib.suppress(Broken):
            await reading.process(event.message.offset)

    hold(app, "reader", (TOPIC,), offer)


# ---- ours ------------------------------------------------------------------------------------------------------------


def ours(app: faust.App, reading: Reading) -> Awaitable[None]:
    """Our loop, and behind it an intake that stores by processing."""

    async def store(found: Sequence[Any]) -> None:
        for event in found:
            await reading.process(event.message.offset)

    intake = Intake(app, "reader", list, store, reset=lambda: None, linger_s=0.05, most=16)
    hold(app, "reader", (TOPIC,), intake.offer)
    return intake.run()


# ---- the topic -------------------------------------------------------------------------------------------------------


async def fill(kafka: str) -> None:
    """Put the messages on the topic."""
    producer = AIOKafkaProducer(bootstrap_servers=servers(kafka))
    await producer.start()
    for number in range(MESSAGES):
        await producer.send(TOPIC, str(number).encode(), partition=0)
    await producer.stop()


async def commit(kafka: str, group: str, offset: int) -> None:
    """Let a group begin at an offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers(kafka), group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([PARTITION])
    await consumer.commit({PARTITION: offset})
    await consumer.stop()


async def committed(kafka: str, group: str) -> int | None:
    """The offset that a group has committed; None: none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers(kafka))
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group, partitions=[PARTITION])
    finally:
        await admin.close()
    found = offsets.get(PARTITION)
    return found.offset if found is not None and found.offset >= 0 else None
