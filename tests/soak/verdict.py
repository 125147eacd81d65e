"""Two books of the same input, compared row for row; and what the topics hold, compared with what was sent."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from clickhouse_connect.driver.client import Client

from compose.broker import servers
from schemas.arrow import decode
from schemas.topics import Envelope
from tests.faults.work import BOOK
from tests.soak.inject import MARK, SOURCES
from tests.soak.tape import Tape

SHOWN = 5
Row = tuple[Any, ...]

# Columns that name a row; `spent` and `data_quality` are named by all of theirs.
KEYS = {
    "gpu_usage": ("cluster", "device", "slice", "ts_start"),
    "token_usage": ("cluster", "endpoint", "replica", "served_model", "team", "ts_start"),
    "unit_costs": ("minute", "cluster", "model", "agreement"),
    "gpu_samples": ("cluster", "device", "slice", "ts"),
    "spent": ("agreement",),
}

# What a collector tells of itself (a full spool, say) belongs to the disturbances, and only the disturbed run has it.
TOLD, TELLER = "data_quality", "collector "

# Intervals of the same slice or counter that cover the same time.
OVERLAPS = """
SELECT count() FROM
(
    SELECT ts_start, lagInFrame(ts_end) OVER (PARTITION BY {key} ORDER BY ts_start, ts_end) AS before
    FROM {table} WHERE ts_end > ts_start
)
WHERE ts_start < before
"""
SLICES = {
    "gpu_usage_store FINAL": "cluster, device, slice",
    "token_usage_store FINAL": "cluster, endpoint, replica, served_model, team",
}


class Table(NamedTuple):
    """A query of the book and its rows."""

    columns: tuple[str, ...]
    rows: list[Row]


Book = dict[str, Table]


def book(client: Client) -> Book:
    """Everything that must come out the same, whatever happens on the way."""
    found = {}
    for name, query in BOOK.items():
        result = client.query(query)
        rows = [tuple(row) for row in result.result_rows]
        found[name] = Table(tuple(result.column_names), rows)
    return found


def overlaps(client: Client) -> int:
    """Intervals of a slice or of a counter that begin before the one before them ends."""
    return sum(client.query(OVERLAPS.format(table=table, key=key)).result_rows[0][0] for table, key in SLICES.items())


@dataclass
class Difference:
    """How a table of the disturbed run differs from that of the undisturbed one."""

    table: str
    rows: int
    lost: list[Row] = field(default_factory=list)
    doubled: list[Row] = field(default_factory=list)
    """Those that are there more than once, or though the undisturbed run has none of that name."""
    changed: list[tuple[Row, Row]] = field(default_factory=list)
    """(undisturbed, disturbed)."""

    @property
    def same(self) -> bool:
        return not (self.lost or self.doubled or self.changed)

    def lines(self) -> list[str]:
        """The first rows that differ."""
        found = [f"{self.table}: lost     {row}" for row in self.lost[:SHOWN]]
        found += [f"{self.table}: too many {row}" for row in self.doubled[:SHOWN]]
        for before, after in self.changed[:SHOWN]:
            found.append(f"{self.table}: expected {before}")
            found.append(f"{' ' * len(self.table)}  found    {after}")
        return found


def compare(undisturbed: Book, disturbed: Book) -> list[Difference]:
    """Table by table."""
    found = []
    for name, expected in undisturbed.items():
        rows = disturbed[name].rows
        if name == TOLD:
            source = expected.columns.index("source")
            rows = [row for row in rows if not row[source].startswith(TELLER)]
        at = [expected.columns.index(column) for column in KEYS.get(name, expected.columns)]
        found.append(_compare(name, expected.rows, rows, at))
    return found


def _compare(name: str, expected: Sequence[Row], rows: Sequence[Row], at: Sequence[int]) -> Difference:
    difference = Difference(name, len(expected))
    known = {tuple(row[i] for i in at): row for row in expected}
    seen: set[Row] = set()
    for row in rows:
        key = tuple(row[i] for i in at)
        if key in seen or key not in known:
            difference.doubled.append(row)
        elif known[key] != row:
            difference.changed.append((known[key], row))
        seen.add(key)
    difference.lost = [row for key, row in known.items() if key not in seen]
    return difference


@dataclass
class Log:
    """What lies in the telemetry topics."""

    sent: int = 0
    """Messages of the collectors, each once."""
    again: int = 0
    """Those that a collector sent more than once."""
    missing: list[str] = field(default_factory=list)
    """Entries of the tape that never came, or came before an earlier one of their shard."""
    injected: Counter[str] = field(default_factory=Counter)
    unreadable: set[tuple[str, int, int]] = field(default_factory=set)
    """(topic, partition, offset) of what belongs into quarantine."""


async def read_log(kafka: str, tape: Tape) -> Log:
    """Read the topics from their beginnings."""
    log = Log()
    places = dict.fromkeys(tape, 0)
    for record in await _records(kafka):
        kind = dict(record.headers).get(MARK, b"").decode()
        if kind:
            log.injected[kind] += 1
            if kind in ("corrupt", "clock_ahead"):
                log.unreadable.add((record.topic, record.partition, record.offset))
            continue
        shard, first_ms = record.key.decode(), _first_ms(record)
        place = places[shard]
        if place < len(tape[shard]) and tape[shard][place].first_ms == first_ms:
            log.sent += 1
            places[shard] += 1
        elif place and first_ms <= tape[shard][place - 1].first_ms:
            log.again += 1
        else:
            log.missing.append(f"{shard}: entry {place} does not come before a later one")
            places[shard] = 1 + next(i for i, entry in enumerate(tape[shard]) if entry.first_ms == first_ms)
    for shard, place in places.items():
        if place < len(tape[shard]):
            log.missing.append(f"{shard}: {len(tape[shard]) - place} entries never came")
    return log


async def _records(kafka: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers(kafka), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(SOURCES)
        ends = await consumer.end_offsets(SOURCES)
        left = {partition for partition, end in ends.items() if end}
        found: list[ConsumerRecord] = []
        async with asyncio.timeout(120):
            while left:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
                left = {at for at in left if await consumer.position(at) < ends[at]}
        return found
    finally:
        await consumer.stop()


def _first_ms(record: ConsumerRecord) -> int:
    envelope = Envelope.parse(record.headers)
    return int(decode(record.value, envelope.schema, envelope.content_type).column("ts")[0].value)


def quarantined(client: Client) -> set[tuple[str, int, int]]:
    """(topic, partition, offset) of what was put aside."""
    return {
        tuple(row) for row in client.query("SELECT topic, kafka_partition, kafka_offset FROM quarantine").result_rows
    }
