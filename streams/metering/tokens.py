"""The meter of tokens: cumulative counters in, ledger rows of exact differences out. Pure state, no I/O.

A counter is (cluster, endpoint, replica, served model, team). The difference of two observations is booked to the
minute of the later one; a row grows while that minute lasts and is written under its start. What a difference means:

- The process restarted (its start time changed, or its counts fell): they count from zero, unless the process is older
  than the last observation. Then another process answers under the same address, and what it counted is nobody's.
- The counts fell and it is the same process: a stale reading, which adds nothing. Two collectors whose clocks differ
  stamp readings in the wrong order. The larger value of each count is kept, so that the sum stays last - first.
- A count moved further than any server counts: it was misread, now or before. It is forgotten and begins anew with the
  next observation; a nonsensical value can neither be booked nor stand in the way of the true ones.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from streams.metering.absence import FIRST_PATIENCE_MS, next_patience
from streams.metering.intervals import COUNTER_SLACK_MS, MINUTE_MS, Bool, Int
from streams.metering.labels import Interner
from streams.metering.rows import Event, OpenRows, Rows
from streams.metering.ticks import integers, times

COUNTERS = ("prompt_tokens", "cached_tokens", "generation_tokens", "requests")

# Where no start time tells a restart from a stale reading: a fall to more than half within this time is stale. A reader
# whose clock is further ahead is refused (streams.telemetry), and a server that has just restarted has not yet counted
# half of what it had, unless it had only just begun.
STALE_MS = 300_000
# Tokens per ms, more than any one counter counts: all of DeepSeek's service together read and wrote 9,000 a ms (608 and
# 168 billion on 27 February 2025, by its own figures).
MAX_PER_MS = 10_000

# What a row of token usage measures.
_MEASURED: dict[str, tuple[Any, Any]] = {
    "resets": (np.int64, 0),
    "started_ms": (np.int64, -1),
    **dict.fromkeys(COUNTERS, (np.int64, 0)),
    **{f"{name}_end": (np.int64, -1) for name in COUNTERS},
}


class TokenLabel(NamedTuple):
    """Identity of a row: the counter, and what the configuration says of its target."""

    cluster: str
    endpoint: str
    replica: str
    served_model: str
    team: str
    deployment: str
    layer: str

    @property
    def counter(self) -> tuple[str, ...]:
        """The part that identifies the counter."""
        return self[:5]


class Change(NamedTuple):
    """What one observation of each counter adds to the one before."""

    advance: dict[str, Int]
    """Tokens, requests."""
    end: dict[str, Int]
    """The counts to go on from, -1 where nothing is known."""
    started_ms: Int
    stale: Bool
    reset: Bool
    stranger: Bool
    """Of those that are reset, the ones of another process."""
    jumped: Bool
    """A count moved too far, up or down."""


class TokenMeter:
    """Folds token samples into ledger rows. Use like GpuMeter."""

    def __init__(self) -> None:
        self.labels: list[TokenLabel] = []
        self.shards: list[str] = []
        self.slot = OpenRows(
            _MEASURED, patience_ms=(np.int64, FIRST_PATIENCE_MS), stale_ms=(np.int64, -1), loaded=(np.bool_, False)
        )
        self.known_from_ms: dict[str, int] = {}
        self.events: list[Event] = []
        self.samples = 0
        self.duplicates = 0
        self._label_index = Interner()
        self._slot_index = Interner()
        self._shard_index = Interner()

    def unknown_counters(self, shard: str, cluster: str, batch: pa.RecordBatch) -> list[TokenLabel]:
        """Counters of the message whose heads must be read from the book: new ones, and those that were away (see
        streams.metering.absence)."""
        self._shard(shard)
        labels, slots = self._read_labels(cluster, batch)
        away = times(batch) - self.slot.end_ms[slots] > self.slot.patience_ms[slots]
        asked = np.flatnonzero(away | ~self.slot.loaded[slots])
        unknown = {int(slots[i]): self.labels[labels[i]] for i in asked.tolist()}
        return list(unknown.values())

    def doubt(self, shard: str) -> None:
        """As GpuMeter.doubt."""
        slot, used = self.slot, len(self.slot)
        slot.loaded[:used] &= slot.shard[:used] != self._shard(shard)

    def load(self, shard: str, asked: Iterable[TokenLabel], heads: Iterable[Mapping[str, Any]]) -> None:
        """Take in the last row of each counter as the book has it (columns of token_usage_store, times in ms).

        A chain that is longer in the book went on elsewhere: go on from there. One that is longer in memory stays.
        """
        columns = self.slot
        for head in heads:
            label = TokenLabel(
                head["cluster"], head["endpoint"], head["replica"], head["served_model"], head["team"],
                head["deployment"], head["layer"],
            )  # fmt: skip
            slot = self._slot_of(label)
            if columns.end_ms[slot] >= head["ts_end_ms"]:
                continue
            if columns.open[slot]:  # what is stored of this row is where others went on; what is not, they have counted
                columns.touched[slot], columns.patience_ms[slot] = False, FIRST_PATIENCE_MS
                self.know_from(self.shards[columns.shard[slot]], int(columns.end_ms[slot]))
            columns.label[slot] = self._label(label)
            columns.shard[slot] = self._shard(head["shard"])
            columns.start_ms[slot], columns.end_ms[slot] = head["ts_start_ms"], head["ts_end_ms"]
            for name in ("resets", "samples", *COUNTERS):
                getattr(columns, name)[slot] = head[name]
            for name in ("started_ms", *(f"{counter}_end" for counter in COUNTERS)):
                getattr(columns, name)[slot] = -1 if head[name] is None else head[name]
            columns.open[slot] = True
            self.know_from(head["shard"], head["ts_end_ms"])
            self.know_from(shard, head["ts_end_ms"])
        for label in asked:
            columns.loaded[self._slot_of(label)] = True

    def know_from(self, shard: str, latest_ms: int) -> None:
        """The book has rows of the shard up to this moment: only minutes after it are wholly in this meter's memory.

        `load` sees to it for the counters it is told of. Whoever knows of other rows of the shard (of counters that are
        gone) says so here before the first `fold`.
        """
        after = (latest_ms // MINUTE_MS + 1) * MINUTE_MS
        self.known_from_ms[shard] = max(self.known_from_ms.get(shard, 0), after)

    def fold(self, shard: str, cluster: str, batch: pa.RecordBatch) -> None:
        """Take in one message."""
        if not batch.num_rows:
            return
        labels, slots = self._read_labels(cluster, batch)
        slots, kept = np.unique(slots, return_index=True)
        labels = labels[kept]
        ts = times(batch)[kept]
        now = {name: integers(batch, name)[kept] for name in (*COUNTERS, "started_ms")}
        slot, number = self.slot, self._shard(shard)
        head = slot.end_ms[slots].copy()
        first = head < 0
        live = ~first & (ts > head)
        self.samples += int((first | live).sum())
        self.duplicates += batch.num_rows - int((first | live).sum())

        slot.begin(slots[first], labels[first], number, ts[first])
        slot.samples[slots[first]] = 1
        elapsed = np.where(live, ts - head, 1)
        change = self._compare(slots, now, elapsed, head)
        self._report(change, live, ts, slots, labels, shard)

        begun = slot.end_ms[slots] > slot.start_ms[slots]
        other = (
            (slot.end_ms[slots] // MINUTE_MS != ts // MINUTE_MS)
            | (slot.label[slots] != labels)
            | (slot.shard[slots] != number)
        )
        self._renew(slots[live & begun & other], labels[live & begun & other], number)
        at = slots[live]
        slot.label[at], slot.shard[at] = labels[live], number
        seen = first | live
        for name in COUNTERS:
            getattr(slot, name)[at] += change.advance[name][live]
            getattr(slot, f"{name}_end")[slots[seen]] = change.end[name][seen]
        slot.started_ms[slots[seen]] = change.started_ms[seen]
        slot.end_ms[at] = ts[live]
        slot.patience_ms[at] = next_patience(elapsed, slot.patience_ms[slots])[live]
        slot.samples[at] += 1
        slot.resets[at] += ((change.reset & ~change.stranger) | change.jumped)[live]
        slot.open[slots] = True
        slot.touched[slots[seen]] = True

    def take_rows(self) -> tuple[Rows, Rows]:
        """Rows to be written since the last call: those that are final, and those still open."""
        return self.slot.take()

    def open_rows(self, shards: Int, minutes_ms: Int) -> Rows:
        """Every open row of the given shards and (booking) minutes."""
        return self.slot.booked(shards, minutes_ms, "end_ms")

    def take_events(self) -> list[Event]:
        """Defects since the last call."""
        events, self.events = self.events, []
        return events

    def _compare(self, slots: Int, now: Mapping[str, Int], elapsed_ms: Int, head_ms: Int) -> Change:
        """What an observation adds to the last one of each counter."""
        before_start, after_start = self.slot.started_ms[slots], now["started_ms"]
        told = (before_start >= 0) & (after_start >= 0)
        renewed = told & (before_start != after_start)
        before = {name: getattr(self.slot, f"{name}_end")[slots] for name in COUNTERS}
        known = {name: (before[name] >= 0) & (now[name] >= 0) for name in COUNTERS}
        fell = np.logical_or.reduce([known[name] & (now[name] < before[name]) for name in COUNTERS])
        had, has = (sum(np.where(known[name], counts[name], 0) for name in COUNTERS) for counts in (before, now))
        stale = fell & ~renewed & (told | ((elapsed_ms <= STALE_MS) & (2 * has > had)))
        reset = renewed | (fell & ~stale)
        stranger = reset & (after_start >= 0) & (after_start <= head_ms) & (before_start != after_start)

        advance, end, jumped = {}, {}, np.zeros(len(slots), np.bool_)
        for name in COUNTERS:
            base = np.where(reset, np.where(stranger, -1, 0), before[name])
            rise = np.where((base >= 0) & (now[name] >= 0), now[name] - base, 0)
            beyond = (rise > MAX_PER_MS * (elapsed_ms + COUNTER_SLACK_MS)) | (rise < -MAX_PER_MS * STALE_MS)
            advance[name] = np.where(beyond, 0, np.maximum(rise, 0))
            end[name] = np.where(beyond, -1, np.maximum(base, now[name]))
            jumped |= beyond
        kept = np.where(reset, -1, before_start)  # nothing of a process that is gone
        return Change(advance, end, np.where(after_start >= 0, after_start, kept), stale, reset, stranger, jumped)

    def _report(self, change: Change, live: Bool, ts: Int, slots: Int, labels: Int, shard: str) -> None:
        for which, kind, detail in (
            (change.reset & ~change.stranger, "counter_reset", "the counting process restarted; counted from zero"),
            (change.stranger, "counter_swapped", "another process answers; its earlier count is left out"),
            (change.jumped, "counter_jump", "a count moved further than any server counts; it is left out"),
            (
                change.stale & ~change.jumped,
                "stale_reading",
                "behind what was read before; the clocks of two collectors differ",
            ),
        ):
            for i in np.flatnonzero(which & live).tolist():
                label, ts_ms = self.labels[labels[i]], int(ts[i])
                if kind == "stale_reading":  # once a minute, dated by it: two collectors can have one at every tick
                    ts_ms -= ts_ms % MINUTE_MS
                    if self.slot.stale_ms[slots[i]] == ts_ms:
                        continue
                    self.slot.stale_ms[slots[i]] = ts_ms
                subject = f"{label.endpoint} {label.replica} {label.served_model} {label.team}".strip()
                self.events.append(Event(ts_ms, label.cluster, shard, kind, subject, detail))

    def _renew(self, slots: Int, labels: Int, shard: int) -> None:
        """Close the open rows of these slots; the next ones start where they ended and inherit the counters."""
        if not len(slots):
            return
        self.slot.end(slots)
        ends = {name: getattr(self.slot, name)[slots] for name in ("started_ms", *(f"{c}_end" for c in COUNTERS))}
        self.slot.begin(slots, labels, shard, self.slot.end_ms[slots])
        for name, values in ends.items():
            getattr(self.slot, name)[slots] = values

    def _read_labels(self, cluster: str, batch: pa.RecordBatch) -> tuple[Int, Int]:
        """Label and slot index of each row. Replicas are few beside GPUs, so a loop over rows is affordable."""
        names = ("endpoint", "replica", "model", "team", "deployment", "layer")
        columns = [batch.column(name).to_pylist() for name in names]
        found = [TokenLabel(cluster, *values) for values in zip(*columns, strict=True)]
        labels = np.array([self._label(label) for label in found], np.int64)
        return labels, np.array([self._slot_of(label) for label in found], np.int64)

    def _label(self, label: TokenLabel) -> int:
        index = self._label_index.code(label)
        if index == len(self.labels):
            self.labels.append(label)
        return index

    def _slot_of(self, label: TokenLabel) -> int:
        index = self._slot_index.code(label.counter)
        if index == len(self.slot):
            self.slot.add()
        return index

    def _shard(self, shard: str) -> int:
        index = self._shard_index.code(shard)
        if index == len(self.shards):
            self.shards.append(shard)
        return index
