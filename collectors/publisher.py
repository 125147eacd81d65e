"""Sending telemetry messages to Kafka: in order within a shard, each until it is acknowledged.

The producer asks for `acks=all` and for idempotence; where the broker refuses the latter it goes on without and says
so (the ledger does not depend on it: a repeated message adds nothing). Messages wait in memory, one queue per shard.
While Kafka is away they pile up until the buffer is full; then new ones are refused, so that what is kept is the
oldest without a hole, and the next message that is taken says in a defect how many were refused. Messages are numbered
when they are taken: within a run of the collector the numbers of a shard have no gap.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from collectors.statistics import Statistics
from schemas.arrow import encode
from schemas.topics import MAX_MESSAGE_BYTES, Defect, Envelope

logger = logging.getLogger(__name__)

MAX_BUFFER_BYTES = 256 * 1024 * 1024
REQUEST_TIMEOUT_MS = 10_000
MAX_RETRY_S = 5.0
CLOSE_S = 2.0
MAX_DEFECTS = 200  # per message: they travel in a header
_OVERHEAD_BYTES = 1024  # of a waiting message beside its value

_REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError)


class Message(NamedTuple):
    """One encoded message, numbered, on its way."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    rows: int

    def size(self) -> int:
        return len(self.value) + sum(len(value) for _, value in self.headers) + _OVERHEAD_BYTES


@dataclass(slots=True)
class _Queue:
    """The messages of one shard."""

    waiting: deque[Message] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    seq: int = 0
    refused_messages: int = 0
    refused_rows: int = 0
    defects: list[Defect] = field(default_factory=list)
    """Those of refused messages: they go with the next one that is taken."""
    sender: asyncio.Task[None] | None = None


class Publisher:
    """Sends the messages of a collector. `boot` names this run."""

    def __init__(
        self, kafka: str, collector: str, statistics: Statistics, *, max_buffer_bytes: int = MAX_BUFFER_BYTES
    ) -> None:
        self.boot = uuid.uuid4().hex
        self._address = kafka.removeprefix("kafka://")
        self._servers = self._address.split(",")
        self._collector = collector
        self._statistics = statistics
        self._max_buffer_bytes = max_buffer_bytes
        self._queues: dict[str, _Queue] = {}
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._drained = asyncio.Event()
        self._drained.set()
        self._idempotent = True
        self._away = False

    def publish(
        self, *, topic: str, shard: str, cluster: str, schema: str, batch: pa.RecordBatch, defects: list[Defect]
    ) -> bool:
        """Take a batch to be sent; returns at once. False when the buffer is full: the batch is dropped and counted.

        At most MAX_DEFECTS defects go with one message.
        """
        queue = self._queues.setdefault(shard, _Queue())
        queue.defects = [*queue.defects, *defects][: MAX_DEFECTS - 1]
        envelope = Envelope(
            schema=schema,
            cluster=cluster,
            collector=self._collector,
            boot=self.boot,
            seq=queue.seq + 1,
            rows=len(batch),
            defects=(*self._refusals(queue, shard), *queue.defects),
        )
        message = Message(topic, shard.encode(), encode(batch), envelope.headers(), len(batch))
        full = self._statistics.buffered_bytes + message.size() > self._max_buffer_bytes
        if full or len(message.value) > MAX_MESSAGE_BYTES:
            self._refuse(queue, len(batch), "the buffer is full" if full else "a message is too large")
            return False
        queue.seq += 1
        queue.refused_messages = queue.refused_rows = 0
        queue.defects = []
        queue.waiting.append(message)
        queue.filled.set()
        self._drained.clear()
        self._statistics.buffered_messages += 1
        self._statistics.buffered_bytes += message.size()
        if queue.sender is None:
            queue.sender = asyncio.create_task(self._send_all(queue), name=f"send {shard}")
        return True

    async def stop(self, timeout_s: float) -> None:
        """Send what waits, for `timeout_s` at most, and close. What is left then is lost, and the log says so."""
        senders = [queue.sender for queue in self._queues.values() if queue.sender is not None]
        try:
            async with asyncio.timeout(timeout_s):
                await self._drained.wait()
        except TimeoutError:
            rows = sum(message.rows for queue in self._queues.values() for message in queue.waiting)
            logger.error(
                "Kafka at %s did not take %d messages (%d samples) within %g s; they are lost",
                self._address,
                self._statistics.buffered_messages,
                rows,
                timeout_s,
            )
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        if self._producer is not None:
            await _close(self._producer)
            self._producer = None

    # ---- taking --------------------------------------------------------------------------------------------------

    def _refuse(self, queue: _Queue, rows: int, why: str) -> None:
        if not queue.refused_messages:
            logger.warning("samples are being dropped: %s", why)
        queue.refused_messages += 1
        queue.refused_rows += rows
        self._statistics.dropped_messages += 1
        self._statistics.dropped_samples += rows

    def _refusals(self, queue: _Queue, shard: str) -> list[Defect]:
        """The defect that tells of the messages refused before this one."""
        if not queue.refused_messages:
            return []
        ts_ms = round(time.time() * 1000)
        detail = f"{queue.refused_messages} messages with {queue.refused_rows} samples were dropped before this one"
        return [
            Defect(ts_ms=ts_ms, source=f"collector {self._collector}", kind="buffer_full", subject=shard, detail=detail)
        ]

    # ---- sending -------------------------------------------------------------------------------------------------

    async def _send_all(self, queue: _Queue) -> None:
        while True:
            await queue.filled.wait()
            queue.filled.clear()
            while queue.waiting:
                message = queue.waiting[0]
                await self._send(message)
                queue.waiting.popleft()
                self._statistics.buffered_messages -= 1
                self._statistics.buffered_bytes -= message.size()
            if not self._statistics.buffered_messages:
                self._drained.set()

    async def _send(self, message: Message) -> None:
        """Returns when the message is acknowledged, or when the broker says that it will never take it."""
        async for attempt in self._retrying():
            with attempt:
                producer = await self._connected()
                try:
                    await producer.send_and_wait(message.topic, message.value, key=message.key, headers=message.headers)
                except _REFUSED as error:
                    self._statistics.dropped_messages += 1
                    self._statistics.dropped_samples += message.rows
                    logger.error("Kafka refused a message of %d samples for good: %s", message.rows, error)
                    return
                except Exception:
                    # The producer has retried on its own for REQUEST_TIMEOUT_MS. A new one asks the addresses of
                    # the configuration again: brokers may have moved.
                    await self._disconnect(producer)
                    raise
        self._statistics.messages += 1
        if self._away:
            self._away = False
            logger.warning("Kafka at %s takes messages again", self._address)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(multiplier=0.1, max=MAX_RETRY_S),
            before_sleep=self._note_away,
        )

    def _note_away(self, state: RetryCallState) -> None:
        if not self._away:
            self._away = True
            error = state.outcome.exception() if state.outcome else None
            logger.warning(
                "Kafka at %s takes no messages (%s); they are kept in memory, up to %d MiB, and sent later",
                self._address,
                type(error).__name__,
                self._max_buffer_bytes // 2**20,
            )

    async def _connected(self) -> AIOKafkaProducer:
        """The producer; waits until there is one."""
        async with self._connecting:
            if self._producer is None:
                async for attempt in self._retrying():
                    with attempt:
                        self._producer = await self._connect()
            return self._producer

    async def _disconnect(self, producer: AIOKafkaProducer) -> None:
        """Give up a producer that does not get through."""
        async with self._connecting:
            if self._producer is producer:
                self._producer = None
                await _close(producer)

    async def _connect(self) -> AIOKafkaProducer:
        if self._idempotent:
            try:
                with _quiet("aiokafka.producer.sender"):
                    return await self._started(idempotent=True)
            except KafkaConnectionError:
                raise
            except KafkaError as error:
                logger.info("this broker has no idempotent producers (%s); going on without", type(error).__name__)
                self._idempotent = False
        return await self._started(idempotent=False)

    async def _started(self, idempotent: bool) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            client_id=f"commonwatt-{self._collector}",
            acks="all",
            enable_idempotence=idempotent,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_request_size=2 * MAX_MESSAGE_BYTES,
            max_batch_size=1024 * 1024,
        )
        try:
            await producer.start()
        except BaseException:
            await _close(producer)
            raise
        return producer


async def _close(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), CLOSE_S)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """No log from a library while it finds out what is not an error here."""
    source = logging.getLogger(name)

    def silence(_: logging.LogRecord) -> bool:
        return False

    source.addFilter(silence)
    try:
        yield
    finally:
        source.removeFilter(silence)
