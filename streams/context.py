"""What every agent works with, and how it publishes."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import pyarrow as pa
import tenacity
from aiokafka.errors import KafkaError, KafkaTimeoutError
from faust.exceptions import ProducerSendError
from pydantic import BaseModel

from schemas.config import Config
from schemas.quarantine import Origin, added_headers, claims, digest
from schemas.topics import QUARANTINE
from streams import metrics
from streams.book import Book
from streams.metering.rows import Event
from streams.reference import Reference

log = logging.getLogger(__name__)

MS = pa.timestamp("ms", tz="UTC")


def now_ms() -> int:
    """Unix time in ms."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Context:
    """One worker's app, book and configuration."""

    app: faust.App
    book: Book
    config: Config
    reference: Reference
    clock: Callable[[], int] = now_ms

    async def publish(self, topic: str, messages: Iterable[tuple[str, BaseModel]]) -> None:
        """Send state messages; returns when the broker has them."""
        await self.send(topic, [(key.encode(), message.model_dump_json().encode(), []) for key, message in messages])

    async def send(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None, Any]]) -> None:
        """Send (key, value, headers) records; returns when the broker has them, however long it is away.

        When one fails all are sent again: they are states, or say where they are from, so they may come twice.
        """
        producer = await self.app.maybe_start_producer()
        everything = list(records)
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_passes),
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
            before_sleep=_complain,
            reraise=True,
        ):
            with attempt, metrics.PUBLISH_ERRORS.labels(topic).count_exceptions():
                # To the producer, not through a Faust topic: that reports each failure once more, to nobody.
                pending = [
                    await producer.send(topic, key, value, None, None, headers) for key, value, headers in everything
                ]
                for outcome in await asyncio.gather(*pending, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
        metrics.PUBLISHED.labels(topic).inc(len(everything))

    async def set_aside(self, rejected: Sequence["Rejected"]) -> None:
        """Put unreadable messages into quarantine, untouched, with the reason, and say so in the book."""
        if not rejected:
            return
        for item in rejected:
            metrics.QUARANTINED.labels(item.topic).inc()
        await self.send(QUARANTINE, [(item.topic.encode(), item.value, item.headers()) for item in rejected])
        await asyncio.to_thread(self.book.insert, "quarantine_store", _quarantine_rows(rejected, self.clock()))


def _passes(error: BaseException) -> bool:
    """Whether the broker may take the same records later: it is away, has lost a node, or is too slow."""
    cause = error.__cause__ if isinstance(error, ProducerSendError) else error
    return isinstance(cause, KafkaError) and (cause.retriable or isinstance(cause, KafkaTimeoutError))


def _complain(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("Kafka does not take what is published, waiting: %r", error)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    original_headers: Sequence[tuple[str, bytes]]
    reason: str

    @classmethod
    def of(cls, event: Any, reason: str) -> "Rejected":
        message = event.message
        return cls(
            message.topic, message.partition, message.offset, message.key, message.value, headers_of(event), reason
        )

    def headers(self) -> list[tuple[str, bytes]]:
        """The original headers, then why the message is here, where it came from, and the key that it had there."""
        origin = Origin(self.topic, self.partition, self.offset)
        return [*self.original_headers, *added_headers(self.reason, origin, self.key)]


def headers_of(event: Any) -> list[tuple[str, bytes]]:
    """Headers of an event as pairs; Faust hands them out as a mapping or as pairs."""
    headers = event.message.headers or []
    return list(headers.items()) if isinstance(headers, dict) else list(headers)


def event_rows(events: Sequence[Event]) -> pa.Table:
    """Defects as rows of data_quality."""
    return pa.table(
        {
            "ts": pa.array([event.ts_ms for event in events], pa.int64()).cast(MS),
            **{
                name: pa.array([getattr(event, name) for event in events], pa.string())
                for name in ("cluster", "source", "kind", "subject", "detail")
            },
        }
    )


def _quarantine_rows(rejected: Sequence[Rejected], ts_ms: int) -> pa.Table:
    said = [claims(item.key, item.original_headers) for item in rejected]
    return pa.table(
        {
            "ts": pa.array([ts_ms] * len(rejected), pa.int64()).cast(MS),
            "topic": pa.array([item.topic for item in rejected], pa.string()),
            "kafka_partition": pa.array([item.partition for item in rejected], pa.int32()),
            "kafka_offset": pa.array([item.offset for item in rejected], pa.int64()),
            "reason": pa.array([item.reason for item in rejected], pa.string()),
            "bytes": pa.array([len(item.value or b"") for item in rejected], pa.uint64()),
            "digest": pa.array([digest(item.key, item.value, item.original_headers) for item in rejected], pa.string()),
            "seq": pa.array([claim.seq for claim in said], pa.int64()),
            **{
                name: pa.array([getattr(claim, name) for claim in said], pa.string())
                for name in ("cluster", "shard", "collector", "boot")
            },
        }
    )
