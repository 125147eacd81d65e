"""The chains of devices: how far each one is metered, in memory and in the book. No I/O.

A chain is a device's rows from its first sample on; its head is where the last one ends. The meter goes on from the
head that it remembers, and names the devices of which it must ask the book: those that it sees for the first time, and
those that were away (see streams.metering.absence).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.samples import UNALLOCATED
from streams.metering.absence import FIRST_PATIENCE_MS
from streams.metering.columns import Columns
from streams.metering.intervals import HEAD, METHODS, MINUTE_MS, Bool, Int
from streams.metering.labels import LabelReader, LabelSet
from streams.metering.layout import Layout, Registry
from streams.metering.rows import Event, OpenRows
from streams.metering.ticks import Tick, times

# What a row of GPU usage measures.
_MEASURED: dict[str, tuple[Any, Any]] = {
    "gpu_ns": (np.int64, 0),
    "busy_ns": (np.int64, 0),
    "busy_known_ns": (np.int64, 0),
    "energy_mj": (np.int64, 0),
    "energy_mj_end": (np.int64, -1),
    "power_w_end": (np.float64, np.nan),
    "method": (np.int8, HEAD),
    "ended": (np.bool_, False),
}

Head = Mapping[str, Any]
"""The last row of a slice, as the book has it: columns of gpu_usage_store, times in ms."""


class ShardState:
    """What the meter remembers of a shard between two of its messages."""

    def __init__(self, number: int, name: str, cluster: str, reader: LabelReader) -> None:
        self.number = number
        self.name = name
        self.cluster = cluster
        self.reader = reader
        self.row_codes: Int | None = None
        self.layout: Layout | None = None
        self.asked: Int | None = None
        """Devices of the layout that `unknown_devices` named."""
        self.tick: Tick | None = None
        self.known_from_ms = 0
        """Minutes from here on are wholly in this meter's memory; earlier ones only in the book."""
        self.stale_ms = -1
        """Latest minute for which a stale reading was reported."""


class GpuChains:
    """Open rows and heads of every device that was seen, and the layouts of the shards that they came from."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.shards: dict[str, ShardState] = {}
        self.shard_names: list[str] = []
        self.slot = OpenRows(
            _MEASURED,
            device=(np.int64, -1), lower=(np.int64, 0), upper=(np.int64, 1), denominator=(np.int64, 1),
            free=(np.bool_, False), idle_since_ms=(np.int64, -1),
        )  # fmt: skip
        self.device = Columns(
            head_ms=(np.int64, -1), energy_mj=(np.int64, -1), power_w=(np.float64, np.nan),
            tag=(np.int64, -1), patience_ms=(np.int64, FIRST_PATIENCE_MS), loaded=(np.bool_, False),
            frozen_since_ms=(np.int64, -1),
        )  # fmt: skip
        self.events: list[Event] = []

    # ---- what must be asked ----------------------------------------------------------------------------------------

    def unknown_devices(self, shard: str, cluster: str, batch: pa.RecordBatch) -> list[str]:
        """Devices of the message whose heads must be read from the book. Prepares the shard's layout."""
        state = self._shard(shard, cluster)
        rows = state.reader.read(batch)
        if rows is not state.row_codes or state.layout is None:
            state.row_codes = rows
            state.layout = self.registry.layout(cluster, rows, batch)
            self._make_room()
            self._report(
                state, state.layout.repeated_rows, batch, "repeated_series", "this slice stands in the message twice"
            )
        layout, device = state.layout, self.device
        away_ms = times(batch)[layout.first_row_index] - device.head_ms[layout.device_index]
        known = device.loaded[layout.device_index] & (away_ms <= device.patience_ms[layout.device_index])
        if known.all():
            return []
        state.asked = layout.devices[~known]
        labels = self.registry.labels
        return [labels[label].device for label in self._label_of(layout)[~known].tolist()]

    def doubt(self, shard: str) -> None:
        """Nothing came of the shard for long: ask the book again of all its devices.

        What a collector kept on disk while Kafka was out of its reach is without a gap when it comes, but somebody else
        may have metered the devices meanwhile.
        """
        state = self.shards.get(shard)
        if state is not None:
            slot, used = self.slot, len(self.slot)
            own = slot.open[:used] & (slot.shard[:used] == state.number)
            self.device.loaded[slot.device[:used][own]] = False

    # ---- what the book says ----------------------------------------------------------------------------------------

    def load(self, shard: str, heads: Iterable[Head]) -> None:
        """Take in the heads of the devices that `unknown_devices` named.

        A chain that is longer in the book went on elsewhere: go on from there. One that is longer in memory stays, its
        rows are on their way to the book. Where a device was partitioned anew, only slices that reach its latest moment
        and have not ended are open.
        """
        state, device = self.shards[shard], self.device
        by_device: dict[str, list[Head]] = {}
        for head in heads:
            by_device.setdefault(head["device"], []).append(head)
        longer: dict[int, list[Head]] = {}
        for name, slices in by_device.items():
            head_ms = max(head["ts_end_ms"] for head in slices)
            index = self.registry.device_index(state.cluster, name)
            if head_ms > device.head_ms[index]:
                longer[index] = [head for head in slices if head["ts_end_ms"] == head_ms and not head["ended"]]
                self.know_from(shard, state.cluster, head_ms)
        self._let_go(np.array([index for index in longer if device.head_ms[index] >= 0], np.int64))
        for current in longer.values():
            if current:
                self._load_device(state.cluster, current)
        if state.asked is not None:
            device.loaded[state.asked] = True
            state.asked = None

    def know_from(self, shard: str, cluster: str, latest_ms: int) -> ShardState:
        """The book has rows of the shard up to this moment: only minutes after it are wholly in this meter's memory.

        `load` sees to it for the devices it is told of. Whoever knows of other rows of the shard (of devices that are
        gone) says so here before the first `fold`.
        """
        state = self._shard(shard, cluster)
        state.known_from_ms = max(state.known_from_ms, (latest_ms // MINUTE_MS + 1) * MINUTE_MS)
        return state

    def _let_go(self, devices: Int) -> None:
        """Forget the open rows of these devices. What is stored of them is where others went on; what is not, others
        have metered. From now on only the book can tell the totals of their minutes."""
        if not len(devices):
            return
        slot, used = self.slot, len(self.slot)
        slots = np.flatnonzero(slot.open[:used] & np.isin(slot.device[:used], devices))
        for number in np.unique(slot.shard[slots]).tolist():
            state = self.shards[self.shard_names[number]]
            self.know_from(state.name, state.cluster, int(slot.end_ms[slots][slot.shard[slots] == number].max()))
        slot.open[slots] = slot.touched[slots] = False
        self.device.tag[devices] = -1
        self.device.patience_ms[devices] = FIRST_PATIENCE_MS

    def _load_device(self, cluster: str, heads: Sequence[Head]) -> None:
        indexes = []
        for head in heads:
            label = LabelSet(
                cluster, head["node"], head["device"], head["slice"], head["share_num"], head["share_den"],
                head["vendor"], head["gpu_model"], head["namespace"], head["pod"], head["job"], head["account"],
            )  # fmt: skip
            indexes.append(self.registry.label_index(label))
        pieces = {piece.label: piece for piece in self.registry.pieces(
            [index for index, head in zip(indexes, heads, strict=True) if head["slice"] != UNALLOCATED] or indexes
        )}  # fmt: skip
        self._make_room()
        slot, device = self.slot, self.device
        for index, head in zip(indexes, heads, strict=True):
            s = int(self.registry.label.slot[index])
            piece = pieces[index]
            slot.label[s] = index
            slot.shard[s] = self.know_from(head["shard"], cluster, head["ts_end_ms"]).number
            slot.start_ms[s], slot.end_ms[s] = head["ts_start_ms"], head["ts_end_ms"]
            slot.gpu_ns[s], slot.energy_mj[s] = head["gpu_ns"], head["row_energy_mj"]
            slot.busy_ns[s], slot.busy_known_ns[s] = head["busy_ns"], head["busy_known_ns"]
            slot.energy_mj_end[s] = -1 if head["energy_mj_end"] is None else head["energy_mj_end"]
            slot.power_w_end[s] = np.nan if head["power_w_end"] is None else head["power_w_end"]
            slot.samples[s], slot.method[s] = head["samples"], METHODS.index(head["method"])
            slot.lower[s], slot.upper[s], slot.denominator[s] = piece.lower, piece.upper, piece.denominator
            slot.open[s] = True
            slot.ended[s] = False
            slot.free[s] = head["slice"] == UNALLOCATED
            d = int(self.registry.label.device[index])
            slot.device[s] = d
            device.head_ms[d] = head["ts_end_ms"]
            device.energy_mj[d] = slot.energy_mj_end[s]
            device.power_w[d] = slot.power_w_end[s]

    # ---- places ----------------------------------------------------------------------------------------------------

    def _shard(self, shard: str, cluster: str) -> ShardState:
        state = self.shards.get(shard)
        if state is None:
            state = self.shards[shard] = ShardState(
                len(self.shard_names), shard, cluster, self.registry.reader(cluster)
            )
            self.shard_names.append(shard)
        return state

    def _make_room(self) -> None:
        label = self.registry.label
        devices = int(label.device[: len(label)].max(initial=-1)) + 1
        slots = int(label.slot[: len(label)].max(initial=-1)) + 1
        while len(self.device) < devices:
            self.device.add()
        while len(self.slot) < slots:
            self.slot.add()

    # ---- defects ---------------------------------------------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """Defects since the last call."""
        events, self.events = self.events, []
        return events

    def _label_of(self, layout: Layout) -> Int:
        """A label set of each device of the layout."""
        label_of = np.empty(len(layout.devices), np.int64)
        label_of[layout.piece_position] = layout.labels
        return label_of

    def _report(self, state: ShardState, rows: Int, batch: pa.RecordBatch, kind: str, detail: str) -> None:
        for row in rows.tolist():
            ts = batch.column("ts")[row].cast(pa.int64()).as_py()
            device = batch.column("device")[row].as_py()
            self.events.append(Event(ts, state.cluster, state.name, kind, device, detail))

    def _report_devices(
        self, state: ShardState, layout: Layout, which: Bool, ts_ms: Int, kind: str, detail: str
    ) -> None:
        if which.any():
            label_of = self._label_of(layout)
            for position in np.flatnonzero(which).tolist():
                device = self.registry.labels[label_of[position]].device
                self.events.append(Event(int(ts_ms[position]), state.cluster, state.name, kind, device, detail))

    def _report_stale(self, state: ShardState, ts_ms: Int) -> None:
        """One event a minute for the whole shard: where two collectors are a moment apart, every device has one at
        every tick. Dated by the minute, so that a replay that begins within it says the same."""
        for minute_ms in np.unique(ts_ms // MINUTE_MS * MINUTE_MS).tolist():
            if minute_ms > state.stale_ms:
                state.stale_ms = minute_ms
                detail = "energy counters were behind what was read before; the clocks of two collectors differ"
                self.events.append(Event(minute_ms, state.cluster, state.name, "stale_reading", "", detail))
