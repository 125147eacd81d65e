"""`commonwatt quarantine replay`: late data becomes later rows, never an edit.

    fetch -> read -> plan -> say it -> rows that fill holes -> messages that the workers take -> record

A replay that is cut off at any point is made whole by the next one: rows are recorded before they are in the ledger
(gpu_usage_late), and whatever is done twice has the same result.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
from clickhouse_connect.driver.client import Client
from rich.console import Console

from compose.access import NoAnswer
from compose.quarantine import topic
from compose.quarantine.entries import Entry
from compose.quarantine.ledger import LateLedger
from compose.quarantine.plan import Plan, Planner, Share
from compose.quarantine.reading import Reading, read
from schemas.config import Config
from schemas.topics import USAGE_GPU
from schemas.usage import GpuTotals
from streams.booking.samples import sample_rows, series_rows
from streams.context import MS, event_rows
from streams.telemetry import message_rows

MOST_BYTES = 256 * 1024 * 1024
"""Messages are put in order as a whole; decoded, these need a few gigabytes of memory."""

_ROUNDS = 3  # a device can come back while its messages are sent: what then lies in a hole is metered in another round


class Replay:
    """Replays messages of one quarantine."""

    def __init__(self, client: Client, kafka: str, config: Config, console: Console) -> None:
        self._client = client
        self._kafka = kafka
        self._console = console
        self._ledger = LateLedger(client)
        self._planner = Planner(self._ledger, config)

    def run(self, entries: Sequence[Entry], *, again: bool = False, dry_run: bool = False) -> bool:
        """Replay these messages; False when one of them could not be. Messages that were replayed before are left out
        unless `again`. Raises NoAnswer for more than fit into memory, and when the book changes underneath."""
        open_ = [entry for entry in entries if again or entry.replayed_at is None]
        if len(open_) < len(entries):
            self._say(f"{len(entries) - len(open_)} were replayed before and are left out (--again takes them)")
        size = sum(entry.bytes for entry in open_)
        if size > MOST_BYTES:
            raise NoAnswer(
                f"{len(open_):,} messages of {size / 2**20:,.0f} MiB do not fit into memory together: "
                f"narrow them down with --cluster or --reason to {MOST_BYTES / 2**20:,.0f} MiB."
            )
        if not dry_run:
            self._finish_earlier()
        readable, sound = self._read(open_)
        plan = self._planner.plan(readable)
        self._explain(plan)
        if dry_run or not readable:
            return sound
        return self._do(plan) and sound

    # ---- what would happen -----------------------------------------------------------------------------------------

    def _read(self, entries: Sequence[Entry]) -> tuple[list[Reading], bool]:
        """The readable ones; whether all are."""
        with self._console.status(f"looking for {len(entries):,} messages in Kafka"):
            puts = asyncio.run(topic.fetch(self._kafka, entries))
        readable = []
        for entry in entries:
            if entry not in puts:
                self._say(f"{entry.id}  no longer in Kafka, which keeps messages for seven days")
                continue
            reading = read(entry, puts[entry])
            if reading.reason:
                self._say(f"{entry.id}  still unreadable: {' '.join(reading.reason.split())}")
            else:
                readable.append(reading)
        return readable, len(readable) == len(entries)

    def _explain(self, plan: Plan) -> None:
        for reading in plan.readings:
            self._say(f"{reading.entry.id}  {contents(reading)}: {words(plan.shares[reading.entry])}")
        if plan.fills:
            rows = sum(len(rows) for rows in plan.rows)
            hours = sum(int(filled.rows["gpu_ns"].sum()) for filled in plan.fills) / 3.6e12
            kwh = sum(int(filled.rows["energy_mj"].sum()) for filled in plan.fills) / 3.6e9
            self._say(f"holes of the ledger: {rows:,} new rows, {hours:,.4f} device-hours, {kwh:,.4f} kWh")

    # ---- doing it --------------------------------------------------------------------------------------------------

    def _do(self, plan: Plan) -> bool:
        run = uuid4()
        shares = dict(plan.shares)
        self._note(plan)
        self._fill(run, plan)
        refused: set[Entry] = set()
        published = plan.to_publish
        for _ in range(_ROUNDS):
            if not published:
                break
            sent = self._publish(published)
            if sent is None:
                break
            refused |= {reading.entry for reading, put_aside in zip(published, sent, strict=True) if put_aside}
            later = self._planner.plan(
                [reading for reading in published if reading.message is not None and reading.entry not in refused]
            )
            self._fill(run, later)
            for entry, share in later.shares.items():
                filled, published_, *rest = shares[entry]
                shares[entry] = Share(filled + share.filled, published_ - share.filled, *rest)
            published = later.to_publish
        done = [reading for reading in plan.readings if reading.entry not in refused]
        self._record(run, done, shares)
        for reading in done:
            self._say(f"{reading.entry.id}  replayed: {words(shares[reading.entry], past=True)}")
        return not refused

    def _note(self, plan: Plan) -> None:
        """What a worker records of the messages that it will not see."""
        unseen = [reading.noticed for reading in plan.readings if not plan.shares[reading.entry].published]
        noticed = [each for each in unseen if each is not None]
        book = self._ledger.book
        book.insert("data_quality", event_rows([event for each in noticed for event in each.events]))
        book.insert("telemetry_messages_store", message_rows([taken for each in noticed for taken in each.messages]))

    def _fill(self, run: UUID, plan: Plan) -> None:
        """What a worker would have written for samples in holes, the ledger rows last, then their minutes' totals."""
        book = self._ledger.book
        for filled in plan.fills:
            book.insert("gpu_series", series_rows(filled.series))
            book.insert("gpu_samples_store", sample_rows(filled.raw))
            book.insert("data_quality", event_rows(filled.events))
        if any(len(rows) for rows in plan.rows):
            now = pa.scalar(datetime.now(UTC), MS)
            rows = pa.concat_tables(plan.rows)
            self._ledger.record(run, rows.append_column("recorded_at", pa.repeat(now, len(rows))))
            self._ledger.check(run)
            self._send_totals(self._ledger.finish(run))

    def _publish(self, readings: Sequence[Reading]) -> list[bool] | None:
        """Send messages to their topics again and wait for the workers. Says of each whether it was put aside again;
        None when no worker has taken them."""
        records = [
            topic.Record(reading.put.origin.topic, reading.put.key, reading.put.value, reading.put.headers)
            for reading in readings
        ]
        with self._console.status(f"waiting for the workers to take {len(records):,} messages"):
            sent = asyncio.run(topic.send(self._kafka, records))
            taken = asyncio.run(topic.taken(self._kafka, sent))
        if not taken:
            self._say("the workers have not taken the messages yet: they do when they run and have caught up")
            return None
        names = [str(origin) for origin in sent]
        refused = self._client.query(_PUT_ASIDE, parameters={"names": names}).result_rows
        reasons: dict[str, str] = {row[0]: row[1] for row in refused}
        for reading, name in zip(readings, names, strict=True):
            if name in reasons:
                self._say(
                    f"{reading.entry.id}  put aside again as {name}, by a worker of another version: {reasons[name]}"
                )
        return [name in reasons for name in names]

    def _send_totals(self, totals: Sequence[GpuTotals]) -> None:
        records = [
            topic.Record(USAGE_GPU, message.cluster.encode(), message.model_dump_json().encode()) for message in totals
        ]
        asyncio.run(topic.send(self._kafka, records))

    def _record(self, run: UUID, readings: Sequence[Reading], shares: dict[Entry, Share]) -> None:
        now = datetime.now(UTC)
        rows: list[Sequence[Any]] = [
            (*reading.entry.origin, reading.entry.digest, now, run, shares[reading.entry].outcome,
             *shares[reading.entry])
            for reading in readings
        ]  # fmt: skip
        if rows:
            self._client.insert("quarantine_replays", rows, column_names=_RECORDED)

    def _finish_earlier(self) -> None:
        """Make whole what an earlier replay began and did not end."""
        for run in self._ledger.unfinished():
            if self._ledger.overlaps(run):
                self._ledger.abandon(run)
                self._say("an earlier replay was cut off, and the ledger has gone on since: its rows were taken back")
                continue
            self._send_totals(self._ledger.finish(run))
            row = ("", -1, -1, "", datetime.now(UTC), run, "filled", *Share())
            self._client.insert("quarantine_replays", [row], column_names=_RECORDED)
            self._say("an earlier replay was cut off: its rows are in the ledger now")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


def contents(reading: Reading) -> str:
    """What a readable message holds."""
    message, noticed = reading.message, reading.noticed
    if message is None or noticed is None:
        return "a state"
    if not message.batch.num_rows:
        return "no samples"
    subject = "device" if "device" in message.batch.schema.names else "endpoint"
    count = len(message.batch.column(subject).unique())
    first, last = _moment(noticed.messages[0].ts_first_ms), _moment(noticed.messages[0].ts_last_ms)
    period = first if first == last else f"{first} to {last}"
    return f"{message.batch.num_rows:,} rows of {count:,} {subject}{'' if count == 1 else 's'}, {period}"


def _moment(ts_ms: int | None) -> str:
    return "" if ts_ms is None else f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"


def words(share: Share, *, past: bool = False) -> str:
    """Where the samples of a message go, or went."""
    counted = [
        (share.filled, "filled holes of the ledger" if past else "fill holes of the ledger"),
        (
            share.published,
            "sent to the topic again" if past else "newer than the ledger, to be sent to the topic again",
        ),
        (share.covered, "already covered by the ledger"),
        (share.early, "before the first row of their counter, not counted"),
    ]
    return ", ".join(f"{count:,} {what}" for count, what in counted if count) or "nothing to add"


_RECORDED = (
    "topic", "kafka_partition", "kafka_offset", "digest", "replayed_at", "run", "outcome", "filled_samples",
    "published_samples", "covered_samples", "early_samples",
)  # fmt: skip
_PUT_ASIDE = "SELECT id, reason FROM quarantine WHERE id IN {names:Array(String)}"
