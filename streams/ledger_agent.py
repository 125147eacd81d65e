"""What the two meters have in common: messages in, ledger rows stored, then the running totals published."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.topics import HEARD
from schemas.usage import DeviceCondition, GpuTotals, Heard, ShardHeard, TokenTotals
from streams import metrics
from streams.context import Context, Rejected, event_rows
from streams.intake import Intake
from streams.metering.intervals import MINUTE_MS
from streams.metering.rows import Event
from streams.telemetry import METERED, Message, Noticed, TakenIn, TelemetryReader, message_rows, told

REPUBLISHED_MS = (
    3 * MINUTE_MS
)  # a crash can fall between storing rows and publishing totals: these minutes are repeated
# The devices of a shard that sent nothing for longer may have been taken over, and what it kept on disk meanwhile has
# no gap. One and a half of the longest usual scrape interval; a slower shard costs one question to the book per tick.
SILENT_MS = 45_000


class Folded(NamedTuple):
    """What a meter makes of a batch of messages."""

    tables: dict[str, pa.Table]
    """Rows to write, by table, in this order."""
    totals: Sequence[GpuTotals | TokenTotals]
    unknown: set[tuple[str, int]]
    """(shard, minute_ms) whose totals only the book can tell."""
    events: list[Event]
    duplicates: int
    """Samples that were counted already."""


class Batch(NamedTuple):
    """What a batch of messages leads to."""

    folded: Folded
    from_book: set[tuple[str, str, int]]
    """(cluster, shard, minute_ms) whose totals are read back once the rows are stored."""
    rejected: list[Rejected]
    events: list[Event]
    messages: list[TakenIn]
    heard: list[Heard]


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
        self._clusters = {cluster.id for cluster in context.config.cluster}
        self._begin()

    @abstractmethod
    def start(self) -> None:
        """Begin with an empty meter."""

    @abstractmethod
    def know_from(self, shard: str, cluster: str, latest_ms: int) -> None:
        """The book has rows of the shard up to this moment, perhaps of devices that are gone."""

    @abstractmethod
    def doubt(self, shard: str) -> None:
        """What the shard sent before may have gone on elsewhere: the book is asked again."""

    @abstractmethod
    def fold(self, message: Message) -> None:
        """Take in one message; chain heads that are not known yet are read from the book."""

    @abstractmethod
    def take(self) -> Folded:
        """Everything since the last call."""

    @abstractmethod
    def totals_from_book(
        self, cluster: str, minutes_ms: Sequence[int], shards: Sequence[str]
    ) -> Sequence[GpuTotals | TokenTotals]:
        """Totals of each of these minutes and shards as the book has them."""

    def conditions(self, shard: str) -> list[DeviceCondition] | None:
        """Devices of a shard that an operator should know of, as of its last samples; None: it has no devices."""
        return None

    def intake(self, linger_s: float) -> Intake[Batch]:
        """The held-acknowledgement loop around this agent."""
        return Intake(
            self._context.app, self.name, self._compute, self._store, reset=self._begin, linger_s=linger_s, most=64
        )

    def _begin(self) -> None:
        self._reader = TelemetryReader(self.schema, self._context.book.last_seq, self._context.clock)
        self._heard_ms: dict[str, int] = {}
        self._since_ms: dict[str, int] = {}
        metrics.SAMPLE_AGE.forget()
        self.start()

    def _compute(self, events: Sequence[Any]) -> Batch:
        from_book: set[tuple[str, str, int]] = set()
        now_ms = self._context.clock()
        samples = 0
        for message in self._reader.read(events):
            samples += message.batch.num_rows
            if message.batch.num_rows:
                from_book |= self._hear(message, now_ms)
            self.fold(message)
        folded = self.take()
        # A device can bring a row of a shard that another worker reads: a shard is named after its cluster.
        from_book |= {(shard.partition("/")[0], shard, minute) for shard, minute in folded.unknown}
        noticed = self._reader.take()
        metrics.SAMPLES.labels(self.name).inc(samples)
        metrics.DUPLICATES.labels(self.name).inc(folded.duplicates)
        for taken_in in noticed.messages:
            cluster = taken_in.shard.partition("/")[0]
            if taken_in.ts_last_ms is not None and cluster in self._clusters:
                metrics.SAMPLE_AGE.saw(cluster, taken_in.ts_last_ms)
        events = [*folded.events, *noticed.events]
        return Batch(folded, from_book, noticed.rejected, events, noticed.messages, self._heard(noticed, now_ms))

    def _hear(self, message: Message, now_ms: int) -> set[tuple[str, str, int]]:
        """Take note that a shard sent samples.

        Returns minutes as in `Batch.from_book`: the last ones of a shard that this worker meets.
        """
        shard, cluster = message.shard, message.envelope.cluster
        heard_ms = self._heard_ms.get(shard)
        self._heard_ms[shard] = now_ms
        if heard_ms is not None:
            if now_ms - heard_ms > SILENT_MS:
                self.doubt(shard)
            return set()
        since = message.ts_ms - REPUBLISHED_MS
        minutes = self._context.book.recent_minutes(self.ledger, cluster, shard, since)
        self.know_from(shard, cluster, max([*minutes, since]))
        return {(cluster, shard, minute) for minute in minutes}

    def _heard(self, noticed: Noticed, now_ms: int) -> list[Heard]:
        """What the alerts agent is told of the shards that sent something, cluster by cluster."""
        defects = told(noticed.told)
        latest: dict[str, TakenIn] = {}
        latest_ms: dict[str, int | None] = {}
        for message in noticed.messages:
            if message.fate != METERED:
                continue
            latest[message.shard] = message
            latest_ms[message.shard] = max(
                (ts_ms for ts_ms in (message.ts_last_ms, latest_ms.get(message.shard)) if ts_ms is not None),
                default=None,
            )
        clusters: dict[str, list[ShardHeard]] = {}
        for shard, message in latest.items():
            clusters.setdefault(shard.partition("/")[0], []).append(
                ShardHeard(
                    shard=shard,
                    boot=message.boot,
                    since_ms=self._since_ms.setdefault(shard, now_ms),
                    heard_ms=now_ms,
                    ts_ms=latest_ms[shard],
                    defects=defects.get(shard, []),
                    conditions=None if latest_ms[shard] is None else self.conditions(shard),
                )
            )
        return [Heard(cluster=cluster, shards=shards) for cluster, shards in clusters.items()]

    async def _store(self, batch: Batch) -> None:
        """Rows first, then what is published about them; who was heard is no matter of rows, and alerts wait for it."""
        context = self._context
        await asyncio.gather(
            asyncio.to_thread(self._insert, batch),
            context.publish(HEARD, [(heard.cluster, heard) for heard in batch.heard]),
        )
        await context.set_aside(batch.rejected)
        messages = list(batch.folded.totals)
        for cluster, places in groupby(sorted(batch.from_book), itemgetter(0)):
            wanted = {(shard, minute_ms) for _, shard, minute_ms in places}
            shards, minutes_ms = ({*column} for column in zip(*wanted, strict=True))
            found = await asyncio.to_thread(self.totals_from_book, cluster, sorted(minutes_ms), sorted(shards))
            messages += [totals for totals in found if (totals.shard, totals.minute_ms) in wanted]
        await context.publish(self.target, [(message.cluster, message) for message in messages])

    def _insert(self, batch: Batch) -> None:
        # Ledger rows last: once they are stored, a replay drops their samples as duplicates, and with them whatever
        # was noticed on the way. Messages after the events that tell of holes between them: a hole is noticed against
        # the last message in the book.
        self._context.book.insert("data_quality", event_rows(batch.events))
        self._context.book.insert("telemetry_messages_store", message_rows(batch.messages))
        for table, rows in batch.folded.tables.items():
            self._context.book.insert(table, rows)
