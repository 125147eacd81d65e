"""Reading telemetry messages: envelope, batch, defects, and gaps in the sequence. Nothing here is lost silently."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.arrow import Unreadable, decode
from schemas.topics import Defect, Envelope
from streams.context import MS, Rejected, headers_of, now_ms
from streams.metering.rows import Event
from streams.metering.ticks import times

# How far a collector's clock may be ahead. A sample from the future would put the head of its device there, and every
# true one until then would be an old one. Clocks that are kept at all are right within seconds.
AHEAD_MS = 5 * 60_000
METERED, QUARANTINED = "metered", "quarantined"
FOLLOWED = 1 << 16  # runs of shards whose last number is held; of any other the book is asked again


class Message(NamedTuple):
    """One readable telemetry message."""

    shard: str
    envelope: Envelope
    batch: pa.RecordBatch

    @property
    def ts_ms(self) -> int:
        """Time of the first sample. The batch must not be empty."""
        return int(self.batch.column("ts")[0].value)


class TakenIn(NamedTuple):
    """A message that says who sent it, and what became of it: a row of telemetry_messages."""

    shard: str
    boot: str
    seq: int
    topic: str
    kafka_partition: int
    kafka_offset: int
    rows: int
    ts_first_ms: int | None
    ts_last_ms: int | None
    fate: str


class Noticed(NamedTuple):
    """What was read since the last time, beside the samples."""

    rejected: list[Rejected]
    events: list[Event]
    messages: list[TakenIn]
    told: list[tuple[str, Defect]]
    """What collectors said of their sources, each with the shard whose message said it."""


class TelemetryReader:
    """Reads the messages of one topic; remembers the highest number of each run of each shard.

    `last_known(shard, boot)` tells the highest number that the book has of a run. Runs are followed apart: two
    collectors of the same name send the same shard at once, and what a run left in its spool comes after its successor.
    `clock` tells the time, unix ms.
    """

    def __init__(
        self, schema: str, last_known: Callable[[str, str], int | None], clock: Callable[[], int] = now_ms
    ) -> None:
        self._schema = schema
        self._clock = clock
        self._last_known = last_known
        self._last: dict[tuple[str, str], int] = {}
        self._noticed = Noticed([], [], [], [])

    def read(self, events: Sequence[Any]) -> Iterator[Message]:
        """The readable messages in order. All else is kept for `take`: what cannot be read, defects, and every message
        that says who sent it, readable or not."""
        for event in events:
            sender: tuple[str, Envelope] | None = None
            try:
                shard, envelope = sender = _sender(event)
                message = self._read(event, shard, envelope)
            except Unreadable as error:
                self._noticed.rejected.append(Rejected.of(event, str(error)))
                if sender is not None:
                    self._take_in(event, *sender, None)
                continue
            self._take_in(event, shard, envelope, message.batch)
            yield message

    def take(self) -> Noticed:
        """What was noticed since the last call."""
        taken, self._noticed = self._noticed, Noticed([], [], [], [])
        return taken

    def _read(self, event: Any, shard: str, envelope: Envelope) -> Message:
        if envelope.schema != self._schema:
            raise Unreadable(f"schema {envelope.schema!r} on a topic of {self._schema!r}")
        batch = decode(event.message.value, envelope.schema, envelope.content_type)
        if batch.num_rows != envelope.rows:
            raise Unreadable(f"header says {envelope.rows} rows, the message holds {batch.num_rows}")
        ahead_ms = int(times(batch).max(initial=0)) - self._clock()
        if ahead_ms > AHEAD_MS:
            raise Unreadable(
                f"its samples are up to {ahead_ms // 1000} s ahead of the worker's clock: the clock of collector "
                f"{envelope.collector} is wrong, or this machine's is; set it, then replay"
            )
        return Message(shard, envelope, batch)

    def _take_in(self, event: Any, shard: str, envelope: Envelope, batch: pa.RecordBatch | None) -> None:
        """Note a message of a known sender; without a batch it is one that cannot be read."""
        first_ms = last_ms = None
        if batch is not None and batch.num_rows:
            ts_ms = times(batch)
            first_ms, last_ms = int(ts_ms.min()), int(ts_ms.max())
        origin = event.message
        fate = METERED if batch is not None else QUARANTINED
        self._noticed.messages.append(
            TakenIn(
                shard, envelope.boot, envelope.seq, origin.topic, origin.partition, origin.offset, envelope.rows,
                first_ms, last_ms, fate,
            )
        )  # fmt: skip
        if batch is not None:
            self._noticed.events.extend(
                Event(defect.ts_ms, envelope.cluster, defect.source, defect.kind, defect.subject, defect.detail)
                for defect in envelope.defects
            )
            self._noticed.told.extend((shard, defect) for defect in envelope.defects)
        self._follow(shard, envelope, first_ms)

    def _follow(self, shard: str, envelope: Envelope, ts_ms: int | None) -> None:
        """Report a jump in the numbers of a run; `ts_ms` dates it.

        Without a sample there is no date that a replay would repeat: such a hole is left to the audit of
        telemetry_messages, which finds every one.
        """
        run = (shard, envelope.boot)
        last = self._last.pop(run, None)
        if last is None:
            last = self._last_known(*run)
        if last is not None and envelope.seq > last + 1 and ts_ms is not None:
            missing = envelope.seq - last - 1
            detail = f"{missing} messages missing after seq {last} of boot {envelope.boot}"
            self._noticed.events.append(
                Event(ts_ms, envelope.cluster, shard, "sequence_gap", str(envelope.seq), detail)
            )
        self._last[run] = envelope.seq if last is None else max(last, envelope.seq)
        if len(self._last) > FOLLOWED:
            del self._last[next(iter(self._last))]  # the one that was silent for longest


def _sender(event: Any) -> tuple[str, Envelope]:
    """Who sent a message: its shard and its envelope. Raises Unreadable when it does not say."""
    envelope = Envelope.parse(headers_of(event))
    try:
        shard = (event.message.key or b"").decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"the key is not UTF-8: {error}") from error
    if not shard.startswith(f"{envelope.cluster}/"):
        raise Unreadable(f"key {shard!r} is not a shard of cluster {envelope.cluster!r}")
    return shard, envelope


def told(defects: Sequence[tuple[str, Defect]]) -> dict[str, list[Defect]]:
    """What collectors said, by shard, as far as alerts go by it: of each of their sources and kinds the last, without
    those that are about a device or a series."""
    last = {
        (shard, defect.source, defect.kind): defect
        for shard, defect in defects
        if not defect.subject or defect.kind == "clock_step"
    }
    by_shard: dict[str, list[Defect]] = {}
    for (shard, _, _), defect in last.items():
        by_shard.setdefault(shard, []).append(defect)
    return by_shard


def message_rows(messages: Sequence[TakenIn]) -> pa.Table:
    """Messages as rows of telemetry_messages_store, which dates them itself."""
    columns = dict(zip(TakenIn._fields, zip(*messages, strict=True), strict=True)) if messages else {}
    types = {
        "shard": pa.string(), "boot": pa.string(), "seq": pa.int64(), "topic": pa.string(),
        "kafka_partition": pa.int32(), "kafka_offset": pa.int64(), "rows": pa.uint64(), "fate": pa.string(),
    }  # fmt: skip
    return pa.table(
        {name: pa.array(columns.get(name, ()), kind) for name, kind in types.items()}
        | {name: pa.array(columns.get(f"{name}_ms", ()), pa.int64()).cast(MS) for name in ("ts_first", "ts_last")}
    )
