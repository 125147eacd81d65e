"""Reading telemetry messages: envelope, batch, defects, and gaps in the sequence. Nothing here is lost silently."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.arrow import Unreadable, decode
from schemas.topics import Envelope
from streams.context import Rejected, headers_of
from streams.metering.rows import Event


class Message(NamedTuple):
    """One readable telemetry message."""

    shard: str
    envelope: Envelope
    batch: pa.RecordBatch

    @property
    def ts_ms(self) -> int:
        """Time of the first sample. The batch must not be empty."""
        return int(self.batch.column("ts")[0].value)


class TelemetryReader:
    """Reads the messages of one topic; remembers the last sequence number of each shard."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._last: dict[str, tuple[str, int]] = {}
        self.rejected: list[Rejected] = []
        self.events: list[Event] = []

    def read(self, events: Sequence[Any]) -> Iterator[Message]:
        """The readable messages in order. What cannot be read is kept in `rejected`, defects in `events`."""
        for event in events:
            try:
                message = self._read(event)
            except Unreadable as error:
                self.rejected.append(Rejected.of(event, str(error)))
                continue
            self._follow(message)
            yield message

    def take(self) -> tuple[list[Rejected], list[Event]]:
        """What was rejected and noticed since the last call."""
        taken = self.rejected, self.events
        self.rejected, self.events = [], []
        return taken

    def _read(self, event: Any) -> Message:
        envelope = Envelope.parse(headers_of(event))
        if envelope.schema != self._schema:
            raise Unreadable(f"schema {envelope.schema!r} on a topic of {self._schema!r}")
        try:
            shard = (event.message.key or b"").decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"the key is not UTF-8: {error}") from error
        if not shard.startswith(f"{envelope.cluster}/"):
            raise Unreadable(f"key {shard!r} is not a shard of cluster {envelope.cluster!r}")
        batch = decode(event.message.value, envelope.schema, envelope.content_type)
        if batch.num_rows != envelope.rows:
            raise Unreadable(f"header says {envelope.rows} rows, the message holds {batch.num_rows}")
        return Message(shard, envelope, batch)

    def _follow(self, message: Message) -> None:
        envelope = message.envelope
        for defect in envelope.defects:
            self.events.append(
                Event(defect.ts_ms, envelope.cluster, defect.source, defect.kind, defect.subject, defect.detail)
            )
        boot, last = self._last.get(message.shard, (envelope.boot, envelope.seq - 1))
        if boot == envelope.boot and envelope.seq > last + 1 and message.batch.num_rows:
            missing = envelope.seq - last - 1
            detail = f"{missing} messages missing after seq {last} of boot {boot}"
            self.events.append(
                Event(message.ts_ms, envelope.cluster, message.shard, "sequence_gap", str(envelope.seq), detail)
            )
        if boot != envelope.boot or envelope.seq > last:
            self._last[message.shard] = (envelope.boot, envelope.seq)
