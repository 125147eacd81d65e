"""Every message that says who sent it is noted once, and a hole in its run is told: no false one, none forgotten."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types.tuples import ConsumerMessage

from schemas.arrow import GPU_SAMPLES, encode, to_batch
from schemas.samples import GpuSample
from schemas.topics import TELEMETRY_GPU, Envelope
from streams.book import Book
from streams.telemetry import METERED, QUARANTINED, TelemetryReader, message_rows

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SHARD = "fir/c/0"


def message(boot: str, seq: int, *, rows: int = 2, value: bytes | None = None, shard: str = SHARD) -> Any:
    """An event as Faust hands it out; its samples are a second apart."""
    samples = [
        GpuSample(
            ts=START + timedelta(seconds=60 * seq + number), node="n", device=f"GPU-{number}", vendor="nvidia",
            gpu_model="H100",
        )
        for number in range(rows)
    ]  # fmt: skip
    envelope = Envelope("gpu-samples/1", "fir", "c", boot, seq, rows)
    content = encode(to_batch(samples, GPU_SAMPLES)) if value is None else value
    return SimpleNamespace(
        message=ConsumerMessage(
            TELEMETRY_GPU, 3, 100 + seq, 0.0, 0, envelope.headers(), shard.encode(), content, None, 0, 0, None
        )
    )


def reader(known: dict[tuple[str, str], int] | None = None) -> TelemetryReader:
    book = known or {}
    now_ms = int((START + timedelta(hours=1)).timestamp() * 1000)
    return TelemetryReader("gpu-samples/1", lambda shard, boot: book.get((shard, boot)), lambda: now_ms)


def gaps(events: Iterable[Any], known: dict[tuple[str, str], int] | None = None) -> list[tuple[str, str]]:
    """(subject, detail) of the holes that are told."""
    reads = reader(known)
    list(reads.read(list(events)))
    return [(event.subject, event.detail) for event in reads.take().events if event.kind == "sequence_gap"]


def test_a_hole_is_told() -> None:
    """Which numbers of which run are missing, at the message that comes after them."""
    found = gaps([message("b", 1), message("b", 4), message("b", 5)])
    assert found == [("4", "2 messages missing after seq 1 of boot b")]


@pytest.mark.parametrize(
    "arrivals",
    [
        [("one", 1), ("two", 1), ("one", 2), ("two", 2), ("one", 3)],  # two collectors of the same name
        [("old", 1), ("new", 1), ("new", 2), ("old", 2), ("old", 3), ("new", 3)],  # a spool that is sent late
        [("b", 1), ("b", 2), ("b", 1), ("b", 2), ("b", 3)],  # a replay
        [("b", 7), ("b", 8)],  # a run that began before anybody looked
    ],
)
def test_no_hole_where_there_is_none(arrivals: list[tuple[str, int]]) -> None:
    """Runs are followed apart, repeated messages are nothing new."""
    assert gaps(message(boot, seq) for boot, seq in arrivals) == []


def test_a_worker_goes_on_from_the_book() -> None:
    """What is missing between the last message of another worker and the first of this one is told as well."""
    known = {(SHARD, "b"): 10}
    assert gaps([message("b", 11)], known) == []
    assert gaps([message("b", 9), message("b", 10), message("b", 11)], known) == []
    assert gaps([message("b", 13)], known) == [("13", "2 messages missing after seq 10 of boot b")]


def test_a_quarantined_number_is_no_hole() -> None:
    """It was taken in; and a hole beside it is still told."""
    broken = message("b", 2, value=b"garbage")
    assert gaps([message("b", 1), broken, message("b", 3)]) == []
    assert gaps([message("b", 1), broken, message("b", 4)]) == [("4", "1 messages missing after seq 2 of boot b")]


def test_what_is_noted_of_each_message(clickhouse: Any) -> None:
    """Where it came from, what it held, what became of it; readable or not, empty or not, but not without a sender."""
    reads = reader()
    nobody = message("b", 9, shard="elsewhere/c/0")
    readable = list(reads.read([message("b", 1), message("b", 2, rows=0), message("b", 3, value=b"x"), nobody]))
    assert [read.envelope.seq for read in readable] == [1, 2]
    noted = reads.take().messages
    first_ms = int(START.timestamp() * 1000) + 60_000
    assert [(note.seq, note.fate, note.ts_first_ms, note.ts_last_ms) for note in noted] == [
        (1, METERED, first_ms, first_ms + 1000),
        (2, METERED, None, None),
        (3, QUARANTINED, None, None),
    ]
    assert reads.take().messages == []

    book = Book(clickhouse.client)
    book.insert("telemetry_messages_store", message_rows(noted))
    book.insert("telemetry_messages_store", message_rows([]))
    (mended,) = [note._replace(fate=METERED) for note in noted if note.seq == 3]
    book.insert("telemetry_messages_store", message_rows([mended, noted[0]]))
    book.insert("telemetry_messages_store", message_rows([noted[2]]))  # read again by whoever could not read it
    query = "SELECT seq, kafka_partition, kafka_offset, rows, fate FROM telemetry_messages ORDER BY seq"
    assert clickhouse.client.query(query).result_rows == [
        (1, 3, 101, 2, METERED), (2, 3, 102, 0, METERED), (3, 3, 103, 2, METERED),
    ]  # fmt: skip
    assert book.last_seq(SHARD, "b") == 3
    assert book.last_seq(SHARD, "another") is None
