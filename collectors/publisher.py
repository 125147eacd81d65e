"""Sending telemetry messages to Kafka: in order within a shard, each until it is acknowledged.

A message is taken by putting it into the spool (collectors/spool): from then on neither a kill of the collector nor a
Kafka that is away loses it. What the spool refuses, because it is full or the disk fails, is counted, and the next
message that is taken says in a defect how many were refused. Messages are numbered when they are taken: within a run of
the collector the numbers of a shard have no gap.

The producer asks for `acks=all` and for idempotence; where the broker refuses the latter it goes on without and says
so (the ledger does not depend on it: a repeated message adds nothing). A shard has one message on its way at a time.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from collectors.clock import Clock
from collectors.spool import Message, Spool, SpoolFull, sync
from collectors.statistics import Statistics
from schemas.arrow import encode
from schemas.topics import MAX_MESSAGE_BYTES, Defect, Envelope

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_MS = 10_000
MAX_RETRY_S = 5.0
CLOSE_S = 2.0
AWAY_S = 2.0
TEND_S = 1.0
MAX_DEFECTS = 200  # per message: they travel in a header

_REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(slots=True)
class _Shard:
    """What a shard's next message needs, and who sends those that wait."""

    filled: asyncio.Event = field(default_factory=asyncio.Event)
    seq: int = 0
    refused_messages: int = 0
    refused_rows: int = 0
    refused_kind: str = ""
    defects: list[Defect] = field(default_factory=list)
    """Those of refused messages: they go with the next one that is taken."""
    sender: asyncio.Task[None] | None = None


class Publisher:
    """Sends the messages of a collector. `boot` names this run."""

    def __init__(self, kafka: str, collector: str, statistics: Statistics, *, spool: Spool, clock: Clock) -> None:
        self.boot = uuid.uuid4().hex
        self._address = kafka.removeprefix("kafka://")
        self._servers = self._address.split(",")
        self._collector = collector
        self._statistics = statistics
        self._spool = spool
        self._clock = clock
        self._shards: dict[str, _Shard] = {}
        self._tending: asyncio.Task[None] | None = None
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._drained = asyncio.Event()
        self._idempotent = True
        self._away = False
        statistics.spool_limit_bytes = spool.limit_bytes
        self._count_spool()

    def start(self) -> None:
        """Begin to send, first what an earlier run has left in the spool."""
        if self._spool.messages:
            waiting = f"{self._spool.messages} messages ({self._spool.waiting_bytes} bytes)"
            logger.info("%s of an earlier run wait in the spool %s; they are sent first", waiting, self._spool.folder)
        for key in self._spool.waiting_keys():
            self._wake(key.decode())
        self._tending = asyncio.create_task(self._tend())

    def publish(
        self, *, topic: str, shard: str, cluster: str, schema: str, batch: pa.RecordBatch, defects: list[Defect]
    ) -> bool:
        """Take a batch to be sent; returns at once. When it returns True the batch is in the spool, and arrives.

        False when there is no room: the batch is dropped and counted. At most MAX_DEFECTS defects go with one message.
        """
        state = self._shards.setdefault(shard, _Shard())
        notes = [self._defect(*note) for note in self._spool.take_notes()]
        state.defects = [*state.defects, *notes, *defects][: MAX_DEFECTS - 1]
        envelope = Envelope(
            schema=schema,
            cluster=cluster,
            collector=self._collector,
            boot=self.boot,
            seq=state.seq + 1,
            rows=len(batch),
            defects=(*self._refusals(state, shard), *state.defects),
        )
        message = Message(topic, shard.encode(), encode(batch), envelope.headers())
        try:
            if len(message.value) > MAX_MESSAGE_BYTES:
                raise SpoolFull("oversized_message", f"a message has more than {MAX_MESSAGE_BYTES >> 20} MiB")
            self._spool.append(message)
        except SpoolFull as error:
            self._refuse(state, len(batch), error)
            return False
        state.seq += 1
        state.refused_messages = state.refused_rows = 0
        state.defects = []
        self._count_spool()
        self._wake(shard)
        return True

    async def stop(self, timeout_s: float) -> None:
        """Send what waits, for `timeout_s` at most, and close. What is left then stays in the spool.

        A Kafka that is away already gets AWAY_S only.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, AWAY_S) if self._away else timeout_s):
                await self._drained.wait()
        tasks = [shard.sender for shard in self._shards.values()] + [self._tending]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._producer is not None:
            await _close(self._producer)
            self._producer = None
        if self._spool.messages:
            logger.warning(
                "Kafka at %s has not taken %d messages (%d bytes): they wait in the spool %s, and the next run sends "
                "them",
                self._address, self._spool.messages, self._spool.waiting_bytes, self._spool.folder,
            )  # fmt: skip

    # ---- taking --------------------------------------------------------------------------------------------------

    def _refuse(self, state: _Shard, rows: int, error: SpoolFull) -> None:
        if not state.refused_messages:
            logger.warning("samples are being dropped: %s", error)
            state.refused_kind = error.kind
        state.refused_messages += 1
        state.refused_rows += rows
        self._statistics.dropped_messages += 1
        self._statistics.dropped_samples += rows

    def _refusals(self, state: _Shard, shard: str) -> list[Defect]:
        """The defect that tells of the messages refused before this one."""
        if not state.refused_messages:
            return []
        detail = f"{state.refused_messages} messages with {state.refused_rows} samples were dropped before this one"
        return [self._defect(state.refused_kind, shard, detail)]

    def _defect(self, kind: str, subject: str, detail: str) -> Defect:
        source = f"collector {self._collector}"
        return Defect(ts_ms=round(self._clock() * 1000), source=source, kind=kind, subject=subject, detail=detail)

    def _wake(self, shard: str) -> None:
        """There is something to be sent."""
        state = self._shards.setdefault(shard, _Shard())
        state.filled.set()
        if state.sender is None:
            state.sender = asyncio.create_task(self._send_all(shard.encode(), state), name=f"send {shard}")

    # ---- the spool -----------------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """About once a second: what could be lost with the power is put on the disk."""
        while True:
            await asyncio.sleep(TEND_S)
            oldest_s = self._spool.oldest_s()
            self._statistics.spool_age_s = 0.0 if oldest_s is None else max(0.0, time.time() - oldest_s)
            files = self._spool.to_sync()
            failure = await asyncio.to_thread(sync, files) if files else None
            if failure is not None:
                self._spool.note_failure(failure)

    def _count_spool(self) -> None:
        spool, statistics = self._spool, self._statistics
        statistics.spool_messages, statistics.spool_bytes = spool.messages, spool.waiting_bytes
        if spool.messages:
            self._drained.clear()
        else:
            self._drained.set()

    # ---- sending -------------------------------------------------------------------------------------------------

    async def _send_all(self, key: bytes, state: _Shard) -> None:
        while True:
            await state.filled.wait()
            state.filled.clear()
            while (message := await self._oldest(key)) is not None:
                await self._send(message)
                self._spool.acknowledge(key)
                self._count_spool()

    async def _oldest(self, key: bytes) -> Message | None:
        """The message of a shard whose turn it is. While the spool cannot be read it waits."""
        while True:
            try:
                return self._spool.head(key)
            except OSError as error:
                logger.error("the spool %s cannot be read now: %s", self._spool.folder, error)
                await asyncio.sleep(MAX_RETRY_S)

    async def _send(self, message: Message) -> None:
        """Returns when the message is acknowledged, or when the broker says that it will never take it."""
        async for attempt in self._retrying():
            with attempt:
                producer = await self._connected()
                try:
                    await producer.send_and_wait(message.topic, message.value, key=message.key, headers=message.headers)
                except _REFUSED as error:
                    rows = Envelope.parse(message.headers).rows
                    self._statistics.dropped_messages += 1
                    self._statistics.dropped_samples += rows
                    logger.error("Kafka refused a message of %d samples for good: %s", rows, error)
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
                "Kafka at %s takes no messages (%s); they wait in the spool %s, up to %d MiB, and are sent later",
                self._address,
                type(error).__name__,
                self._spool.folder,
                self._spool.limit_bytes >> 20,
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
