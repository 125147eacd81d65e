"""The meter of tokens: cumulative counters in, ledger rows of exact differences out. Pure state, no I/O.

A counter is (cluster, endpoint, replica, served model, team). The difference of two observations is booked to the
minute of the later one; a row grows while that minute lasts and is written under its start. A restart of the counting
process (its start time changed, or a counter went down) counts from zero, unless the process is older than the last
observation: then another process answers under the same address, and what it counted before is nobody's.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.metering.intervals import MINUTE_MS, Int
from streams.metering.labels import Interner
from streams.metering.rows import Event, OpenRows, Rows
from streams.metering.ticks import integers, times

COUNTERS = ("prompt_tokens", "cached_tokens", "generation_tokens", "requests")

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


class TokenMeter:
    """Folds token samples into ledger rows. Use like GpuMeter."""

    def __init__(self) -> None:
        self.labels: list[TokenLabel] = []
        self.shards: list[str] = []
        self.slot = OpenRows(_MEASURED, loaded=(np.bool_, False))
        self.known_from_ms: dict[str, int] = {}
        self.events: list[Event] = []
        self.samples = 0
        self.duplicates = 0
        self._label_index = Interner()
        self._slot_index = Interner()
        self._shard_index = Interner()

    def unknown_counters(self, shard: str, cluster: str, batch: pa.RecordBatch) -> list[TokenLabel]:
        """Counters of the message whose chain heads have not been loaded."""
        self._shard(shard)
        labels, slots = self._read_labels(cluster, batch)
        unknown = {int(slot): self.labels[label] for label, slot in zip(labels, slots, strict=True)}
        return [label for slot, label in unknown.items() if not self.slot.loaded[slot]]

    def load(self, shard: str, asked: Iterable[TokenLabel], heads: Iterable[Mapping[str, Any]]) -> None:
        """Go on from the last row of each counter as the book has it (columns of token_usage_store, times in ms)."""
        for head in heads:
            label = TokenLabel(
                head["cluster"], head["endpoint"], head["replica"], head["served_model"], head["team"],
                head["deployment"], head["layer"],
            )  # fmt: skip
            slot = self._slot_of(label)
            columns = self.slot
            if columns.loaded[slot]:
                continue  # the meter is ahead of the book
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
            self.slot.loaded[self._slot_of(label)] = True

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
        reset, stranger = self._restarted(slots, now, head)
        for which, kind, detail in (
            (live & reset & ~stranger, "counter_reset", "the counting process restarted; counted from zero"),
            (live & stranger, "counter_swapped", "another process answers; its earlier count is left out"),
        ):
            for i in np.flatnonzero(which).tolist():
                label = self.labels[labels[i]]
                subject = f"{label.endpoint} {label.replica} {label.served_model} {label.team}".strip()
                self.events.append(Event(int(ts[i]), cluster, shard, kind, subject, detail))

        begun = slot.end_ms[slots] > slot.start_ms[slots]
        other = (
            (slot.end_ms[slots] // MINUTE_MS != ts // MINUTE_MS)
            | (slot.label[slots] != labels)
            | (slot.shard[slots] != number)
        )
        self._renew(slots[live & begun & other], labels[live & begun & other], number)
        at = slots[live]
        slot.label[at], slot.shard[at] = labels[live], number
        accepted = first | live
        for name in COUNTERS:
            end = getattr(slot, f"{name}_end")
            before = np.where(live & reset, np.where(stranger, -1, 0), end[slots])
            after = now[name]
            delta = np.where((before < 0) | (after < 0), 0, after - before)
            getattr(slot, name)[at] += delta[live]
            end[slots] = np.where(accepted & (after >= 0), after, before)
        started, known = now["started_ms"], slot.started_ms[slots]
        forgotten = np.where(live & reset, -1, known)  # of a process that is gone
        slot.started_ms[slots] = np.where(accepted & (started >= 0), started, forgotten)
        slot.end_ms[at] = ts[live]
        slot.samples[at] += 1
        slot.resets[at] += (reset & ~stranger)[live]
        slot.open[slots] = True
        slot.touched[slots[accepted]] = True

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

    def _restarted(
        self, slots: Int, now: Mapping[str, Int], head_ms: Int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which counters restarted since their last observation, and which belong to an older process."""
        before_start, after_start = self.slot.started_ms[slots], now["started_ms"]
        both = (before_start >= 0) & (after_start >= 0)
        reset = both & (before_start != after_start)
        for name in COUNTERS:
            before, after = getattr(self.slot, f"{name}_end")[slots], now[name]
            reset |= (before >= 0) & (after >= 0) & (after < before)
        return reset, reset & (after_start >= 0) & (after_start <= head_ms) & (before_start != after_start)

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
