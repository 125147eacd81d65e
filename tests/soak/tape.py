"""The input of a soak, made once: every run of it, disturbed or not, is fed from the same tape."""

import pickle
import time
from pathlib import Path
from typing import NamedTuple

from schemas.topics import Defect, Envelope
from tests.faults.traffic import Message, Shape, scrapes
from tests.soak.plan import Plan

INTERVAL_MS = 4000  # between two samples of a device


class Entry(NamedTuple):
    """What a collector publishes for a shard at a tick."""

    shard: str
    cluster: str
    topic: str
    schema: str
    rows: int
    first_ms: int
    """Time of the first sample: identifies the entry within its shard."""
    last_ms: int
    """Time of the latest sample."""
    value: bytes
    """Arrow IPC stream."""
    defects: tuple[Defect, ...]


Tape = dict[str, list[Entry]]
"""Entries of each shard by tick."""


def record(plan: Plan) -> Tape:
    """Samples run faster than the clock on the wall, and meet it when the run ends: none of them is ever of a time to
    come, and the last are as young as those of a real collector."""
    reach_ms = plan.ticks * INTERVAL_MS
    end_ms = round((time.time() + plan.seconds) * 1000)
    start_ms = (end_ms - reach_ms) // 60_000 * 60_000 - 60_000 + 17_300  # off the minute
    tape: Tape = {}
    for scrape in scrapes(Shape(plan.ticks, plan.fleet, start_ms, INTERVAL_MS, plan.seed)):
        times = [round(row.ts.timestamp() * 1000) for row in scrape.rows]
        tape.setdefault(scrape.shard, []).append(
            Entry(
                scrape.shard, scrape.cluster, scrape.topic, scrape.schema, len(scrape.rows), times[0], max(times),
                scrape.arrow(), scrape.defects,
            )
        )  # fmt: skip
    return tape


def messages(tape: Tape) -> list[Message]:
    """The whole tape as messages, tick by tick."""
    found = []
    for tick, entries in enumerate(zip(*tape.values(), strict=True)):
        for entry in entries:
            envelope = Envelope(
                schema=entry.schema,
                cluster=entry.cluster,
                collector=collector_of(entry.shard),
                boot="undisturbed",
                seq=tick + 1,
                rows=entry.rows,
                defects=entry.defects,
            )
            found.append(Message(entry.topic, entry.shard.encode(), entry.value, tuple(envelope.headers())))
    return found


def collector_of(shard: str) -> str:
    """Name of the collector within its cluster."""
    return shard.split("/")[1]


def collectors(tape: Tape) -> dict[str, list[str]]:
    """Shards of each collector; those of different clusters are different collectors."""
    found: dict[str, list[str]] = {}
    for shard in tape:
        cluster, name, _ = shard.split("/")
        found.setdefault(f"{cluster}-{name}", []).append(shard)
    return found


def save(tape: Tape, path: Path) -> None:
    """For the collectors."""
    path.write_bytes(pickle.dumps(tape))


def load(path: Path) -> Tape:
    """What `save` wrote."""
    tape: Tape = pickle.loads(path.read_bytes())
    return tape
