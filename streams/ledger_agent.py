"""What the two meters have in common: messages in, ledger rows stored, then the running totals published."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.usage import GpuTotals, TokenTotals
from streams.context import Context, Rejected, event_rows
from streams.intake import Intake
from streams.metering.intervals import MINUTE_MS
from streams.metering.rows import Event
from streams.telemetry import Message, TelemetryReader

REPUBLISHED_MS = (
    3 * MINUTE_MS
)  # a crash can fall between storing rows and publishing totals: these minutes are repeated


class Folded(NamedTuple):
    """What a meter makes of a batch of messages."""

    tables: dict[str, pa.Table]
    """Rows to write, by table, in this order."""
    totals: Sequence[GpuTotals | TokenTotals]
    unknown: set[tuple[str, int]]
    """(shard, minute_ms) whose totals only the book can tell."""
    events: list[Event]


class Batch(NamedTuple):
    """What a batch of messages leads to."""

    folded: Folded
    from_book: set[tuple[str, str, int]]
    """(cluster, shard, minute_ms) whose totals are read back once the rows are stored."""
    rejected: list[Rejected]
    events: list[Event]


class LedgerAgent(ABC):
    """One meter of one kind of telemetry. Whatever it keeps in memory can be rebuilt from the book and the topic."""

    name: str
    source: str
    """Topic that it reads."""
    target: str
    """Topic for its totals."""
    schema: str
    """Schema id of its messages."""
    ledger: str
    """View that shows its rows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._begin()

    @abstractmethod
    def start(self) -> None:
        """Begin with an empty meter."""

    @abstractmethod
    def know_from(self, shard: str, cluster: str, latest_ms: int) -> None:
        """The book has rows of the shard up to this moment, perhaps of devices that are gone."""

    @abstractmethod
    def fold(self, message: Message) -> None:
        """Take in one message; chain heads that are not known yet are read from the book."""

    @abstractmethod
    def take(self) -> Folded:
        """Everything since the last call."""

    @abstractmethod
    def totals_from_book(self, cluster: str, minute_ms: int, shard: str) -> Sequence[GpuTotals | TokenTotals]:
        """Totals of one shard and minute as the book has them."""

    def intake(self, linger_s: float) -> Intake[Batch]:
        """The held-acknowledgement loop around this agent."""
        return Intake(
            self._context.app, self.name, self._compute, self._store, reset=self._begin, linger_s=linger_s, most=64
        )

    def _begin(self) -> None:
        self._reader = TelemetryReader(self.schema)
        self._shards: set[str] = set()
        self.start()

    def _compute(self, events: Sequence[Any]) -> Batch:
        from_book: set[tuple[str, str, int]] = set()
        for message in self._reader.read(events):
            shard, cluster = message.shard, message.envelope.cluster
            if shard not in self._shards and message.batch.num_rows:
                self._shards.add(shard)
                since = message.ts_ms - REPUBLISHED_MS
                minutes = self._context.book.recent_minutes(self.ledger, cluster, shard, since)
                from_book |= {(cluster, shard, minute) for minute in minutes}
                self.know_from(shard, cluster, max([*minutes, since]))
            self.fold(message)
        folded = self.take()
        # A device can bring a row of a shard that another worker reads: a shard is named after its cluster.
        from_book |= {(shard.partition("/")[0], shard, minute) for shard, minute in folded.unknown}
        rejected, noticed = self._reader.take()
        return Batch(folded, from_book, rejected, [*folded.events, *noticed])

    async def _store(self, batch: Batch) -> None:
        """Rows first, then what is published about them."""
        context = self._context
        await asyncio.to_thread(self._insert, batch)
        await context.set_aside(batch.rejected)
        messages = list(batch.folded.totals)
        for cluster, shard, minute_ms in sorted(batch.from_book):
            messages += await asyncio.to_thread(self.totals_from_book, cluster, minute_ms, shard)
        await context.publish(self.target, [(message.cluster, message) for message in messages])

    def _insert(self, batch: Batch) -> None:
        # Ledger rows last: once they are stored, a replay drops their samples as duplicates, and with them whatever
        # was noticed on the way.
        self._context.book.insert("data_quality", event_rows(batch.events))
        for table, rows in batch.folded.tables.items():
            self._context.book.insert(table, rows)
