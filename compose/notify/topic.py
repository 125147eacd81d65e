"""Reads the topic `alerts` from its beginning and goes on with what comes. It is compacted, so that is quick.

Nothing is committed: what was told of already is known on disk, and reading from the beginning misses nothing, whatever
became of the topic meanwhile.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from pydantic import ValidationError

from compose.access import NoAnswer
from compose.broker import servers
from compose.quiet import quiet
from schemas.economics import Alert
from schemas.topics import ALERTS

log = logging.getLogger(__name__)

_POLL_MS = 250
_AT_ONCE = 500
_LAST_S = 3.0
"""For the last look, once reading is to end."""
_AGAIN_S = 1.0
_POSITION_S = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read at once."""

    alerts: list[Alert]
    unreadable: int
    caught_up: bool
    """Everything is read that was on the topic when reading began."""


async def connect(kafka: str) -> AIOKafkaConsumer:
    """A reader of the topic from its beginning. Raises NoAnswer when Kafka cannot be reached, or has no such topic."""
    consumer = AIOKafkaConsumer(
        ALERTS, bootstrap_servers=servers(kafka), auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        with quiet("aiokafka"):
            await consumer.start()
        if not consumer.assignment():
            raise NoAnswer(f"The Kafka at {kafka} has no topic {ALERTS}: run `commonwatt migrate`.")
    except (KafkaError, OSError) as error:
        await consumer.stop()
        if isinstance(error, KafkaConnectionError | OSError):
            raise NoAnswer(f"The Kafka at {kafka} cannot be reached: start it, or correct the URL.") from None
        raise NoAnswer(f"The Kafka at {kafka} cannot be read ({error}).") from None
    except NoAnswer:
        await consumer.stop()
        raise
    return consumer


async def follow(kafka: str, stop: asyncio.Event, *, patient: bool) -> AsyncGenerator[Batch, None]:
    """Changes as they come, until `stop` is set; then once more what had come by then.

    Kafka may go away and come back; changes may then be given again, as every change may. At first it may only be away
    where `patient`: else NoAnswer is raised.
    """
    consumer = None if patient else await connect(kafka)
    told = False
    try:
        while not stop.is_set():
            try:
                consumer = consumer or await connect(kafka)
                async with contextlib.aclosing(_read(consumer, stop)) as batches:
                    async for batch in batches:
                        told = False
                        yield batch
            except (KafkaError, NoAnswer) as error:
                if not told:
                    log.warning("the topic %s cannot be read, it is tried again and again: %s", ALERTS, error)
                told = True
                if consumer is not None:
                    await consumer.stop()
                consumer = None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _AGAIN_S)
    finally:
        if consumer is not None:
            await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, stop: asyncio.Event) -> AsyncGenerator[Batch, None]:
    """Batches until `stop`, and the last ones after it. Raises KafkaError."""
    ends = await consumer.end_offsets(consumer.assignment())
    caught_up, until_s = False, math.inf
    while True:
        if stop.is_set() and until_s == math.inf:
            until_s = time.monotonic() + _LAST_S
            with contextlib.suppress(TimeoutError):
                ends = await asyncio.wait_for(consumer.end_offsets(consumer.assignment()), _LAST_S)
        records = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
        alerts, unreadable = _parsed([record.value for batch in records.values() for record in batch])
        reached = await _reached(consumer, ends)
        if records or reached > caught_up:
            caught_up |= reached
            yield Batch(alerts, unreadable, caught_up)
        if stop.is_set() and (reached or time.monotonic() > until_s):
            return


async def _reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether everything before these offsets was read. A broker that went away tells no position: not yet."""
    try:
        async with asyncio.timeout(_POSITION_S):
            return all([await consumer.position(partition) >= end for partition, end in ends.items()])
    except TimeoutError:
        return False


def _parsed(values: list[bytes | None]) -> tuple[list[Alert], int]:
    """The alerts among messages, and how many are none. An empty message takes an alert off the topic: no change."""
    alerts, unreadable = [], 0
    for value in values:
        if value is None:
            continue
        try:
            alerts.append(Alert.model_validate_json(value))
        except ValidationError:
            unreadable += 1
    return alerts, unreadable
