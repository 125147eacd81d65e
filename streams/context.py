"""What every agent works with, and how it publishes."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import pyarrow as pa
from pydantic import BaseModel

from schemas.config import Config
from schemas.topics import QUARANTINE
from streams.book import Book
from streams.metering.rows import Event
from streams.reference import Reference

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
        """Send (key, value, headers) records; returns when the broker has them."""
        channel = self.app.topic(topic, value_serializer="raw", key_serializer="raw")
        pending = [await channel.send(key=key, value=value, headers=headers) for key, value, headers in records]
        await asyncio.gather(*pending)

    async def set_aside(self, rejected: Sequence["Rejected"]) -> None:
        """Put unreadable messages into quarantine, untouched, with the reason, and say so in the book."""
        if not rejected:
            return
        await self.send(QUARANTINE, [(item.topic.encode(), item.value, item.headers()) for item in rejected])
        await asyncio.to_thread(self.book.insert, "quarantine", _quarantine_rows(rejected, self.clock()))


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
        origin = f"{self.topic}/{self.partition}/{self.offset}"
        added = {"reason": self.reason.encode(), "origin": origin.encode(), "key": self.key or b""}
        return [*self.original_headers, *((f"quarantine-{name}", value) for name, value in added.items())]


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
    return pa.table(
        {
            "ts": pa.array([ts_ms] * len(rejected), pa.int64()).cast(MS),
            "topic": pa.array([item.topic for item in rejected], pa.string()),
            "kafka_partition": pa.array([item.partition for item in rejected], pa.int32()),
            "kafka_offset": pa.array([item.offset for item in rejected], pa.int64()),
            "reason": pa.array([item.reason for item in rejected], pa.string()),
            "bytes": pa.array([len(item.value or b"") for item in rejected], pa.uint64()),
        }
    )
