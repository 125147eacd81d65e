"""The meter of GPU time and energy: samples in, ledger rows out. Pure state and arithmetic, no I/O.

The meter is a fold over samples. Its result depends only on the set of samples of each device, not on how they were
batched, repeated or interrupted: a row grows while its device is seen, ends at the minute, at a change of labels, of
method or of shard, and is written under its start, so that writing it again replaces it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.samples import UNALLOCATED
from streams.metering.columns import Columns
from streams.metering.intervals import (
    BRIDGED,
    COUNTER,
    HEAD,
    MAX_BRIDGE_MS,
    MAX_POWER_W,
    METHODS,
    MINUTE_MS,
    Bool,
    Float,
    Index,
    Int,
    energy_until,
    measure_energy,
    share_of,
    time_share,
)
from streams.metering.labels import LabelReader, LabelSet
from streams.metering.layout import Layout, Pieces, Registry
from streams.metering.rows import Event, OpenRows, Rows
from streams.metering.ticks import Tick, read_tick

DEFAULT_MAX_GAP_MS = 90_000  # of a cluster that the configuration does not describe

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
_NO_RAW = tuple(np.empty(0, dtype) for dtype in ("u8", "i8", "f8", "i8", "f8", "f8", "f8", "f8"))


class ShardState:
    """What the meter remembers of a shard between two of its messages."""

    def __init__(self, number: int, name: str, cluster: str, reader: LabelReader) -> None:
        self.number = number
        self.name = name
        self.cluster = cluster
        self.reader = reader
        self.row_codes: Int | None = None
        self.layout: Layout | None = None
        self.tick: Tick | None = None
        self.known_from_ms = 0
        """Minutes from here on are wholly in this meter's memory; earlier ones only in the book."""


class GpuMeter:
    """Folds samples into ledger rows.

    Call `unknown_devices`, `load` their chain heads from the book, `fold` the message; `take_rows` when it is time to
    write. `max_gap_ms` maps a cluster to its longest silence that needs no bridge.
    """

    def __init__(self, max_gap_ms: Mapping[str, int], idle_below: float = 0.02) -> None:
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
            tag=(np.int64, -1), loaded=(np.bool_, False),
        )  # fmt: skip
        self.events: list[Event] = []
        self.duplicates = 0
        self.samples = 0
        self._max_gap_ms = max_gap_ms
        self._idle_below = idle_below
        self._raw: list[tuple[NDArray[Any], ...]] = []

    # ---- reading a message -----------------------------------------------------------------------------------------

    def unknown_devices(self, shard: str, cluster: str, batch: pa.RecordBatch) -> list[str]:
        """Devices of the message whose chain heads have not been loaded. Prepares the shard's layout."""
        state = self._shard(shard, cluster)
        rows = state.reader.read(batch)
        if rows is state.row_codes and state.layout is not None:
            return []
        state.row_codes = rows
        state.layout = self.registry.layout(cluster, rows, batch)
        self._make_room()
        layout = state.layout
        self._report(state, layout.repeated_rows, batch, "repeated_series", "this slice stands in the message twice")
        unknown = ~self.device.loaded[layout.devices]
        labels = self.registry.labels
        first_piece = np.full(len(layout.devices), -1)
        first_piece[layout.piece_position] = layout.labels
        return [labels[label].device for label in first_piece[unknown].tolist()]

    def load(self, cluster: str, heads: Iterable[Mapping[str, Any]]) -> None:
        """Go on from the last row of each slice as the book has it (columns of gpu_usage_store, times in ms).

        Where a device was partitioned anew, only slices that reach its latest moment and have not ended are open.
        """
        by_device: dict[str, list[Mapping[str, Any]]] = {}
        for head in heads:
            by_device.setdefault(head["device"], []).append(head)
        for slices in by_device.values():
            head_ms = max(head["ts_end_ms"] for head in slices)
            current = [head for head in slices if head["ts_end_ms"] == head_ms and not head["ended"]]
            self._load_device(cluster, head_ms, current)

    def mark_loaded(self, shard: str) -> None:
        """The chain heads of every device in the shard's layout have been asked for."""
        layout = self.shards[shard].layout
        assert layout is not None
        asked = layout.devices[~self.device.loaded[layout.devices]]
        self.device.loaded[asked] = True
        latest = int(self.device.head_ms[asked].max(initial=-1))
        if latest >= 0:
            self.know_from(shard, self.shards[shard].cluster, latest)

    def know_from(self, shard: str, cluster: str, latest_ms: int) -> ShardState:
        """The book has rows of the shard up to this moment: only minutes after it are wholly in this meter's memory.

        `load` and `mark_loaded` see to it for the devices they are told of. Whoever knows of other rows of the shard
        (of devices that are gone) says so here before the first `fold`.
        """
        state = self._shard(shard, cluster)
        state.known_from_ms = max(state.known_from_ms, (latest_ms // MINUTE_MS + 1) * MINUTE_MS)
        return state

    def _load_device(self, cluster: str, head_ms: int, heads: list[Mapping[str, Any]]) -> None:
        indexes = []
        for head in heads:
            label = LabelSet(
                cluster, head["node"], head["device"], head["slice"], head["share_num"], head["share_den"],
                head["vendor"], head["gpu_model"], head["namespace"], head["pod"], head["job"], head["account"],
            )  # fmt: skip
            indexes.append(self.registry.label_index(label))
        if not indexes:
            return
        pieces = {piece.label: piece for piece in self.registry.pieces(
            [index for index, head in zip(indexes, heads, strict=True) if head["slice"] != UNALLOCATED] or indexes
        )}  # fmt: skip
        self._make_room()
        slot, device = self.slot, self.device
        for index, head in zip(indexes, heads, strict=True):
            s = int(self.registry.label.slot[index])
            piece = pieces[index]
            slot.label[s] = index
            slot.shard[s] = self.know_from(head["shard"], cluster, head_ms).number
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
            device.head_ms[d] = head_ms
            device.energy_mj[d] = slot.energy_mj_end[s]
            device.power_w[d] = slot.power_w_end[s]

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

    # ---- folding ---------------------------------------------------------------------------------------------------

    def fold(self, shard: str, batch: pa.RecordBatch) -> None:
        """Take in one message whose layout was prepared by `unknown_devices`."""
        state = self.shards[shard]
        layout = state.layout
        assert layout is not None
        if not batch.num_rows:
            return
        tick, impossible = read_tick(batch)
        state.tick = tick
        for rows, kind, detail in impossible:
            self._report(state, rows, batch, kind, detail)
        device, devices = self.device, layout.device_index
        t1 = tick.ts_ms[layout.first_row_index]
        energy1, power1 = tick.energy_mj[layout.first_row_index], tick.power_w[layout.first_row_index]
        t0, energy0 = device.head_ms[devices].copy(), device.energy_mj[devices].copy()
        first = t0 < 0
        live = ~first & (t1 > t0)
        pieces, changed, kept = self._pieces_before(layout)

        dt = np.where(live, t1 - t0, 1)
        energy, method, reset, jumped = measure_energy(dt, energy0, energy1, device.power_w[devices], power1)
        gap = live & (dt > self._max_gap_ms.get(state.cluster, DEFAULT_MAX_GAP_MS))
        bridged = gap & (method == COUNTER) & ~changed & (dt <= MAX_BRIDGE_MS)
        metered = live & (~gap | bridged)
        method[bridged] = BRIDGED
        self._report_devices(state, layout, live & reset, t1, "counter_reset", "energy counter went down")
        self._report_devices(
            state,
            layout,
            metered & jumped,
            t1,
            "counter_jump",
            f"energy counter rose by more than {MAX_POWER_W} W allow",
        )
        self._report_devices(state, layout, gap & ~bridged, t1, "unmetered_gap", "silent for longer than max_gap")

        busy = tick.busy[pieces.row_index]
        if (pieces.rows < 0).any():
            busy = np.where(pieces.rows >= 0, busy, np.where(self.slot.free[pieces.slot_index], 0.0, np.nan))
        self._extend(state, pieces, busy, t0, t1, dt, metered, energy, method, energy0, energy1, power1)

        seen = first | live
        self._reopen(state, layout, pieces, seen, first | (gap & ~bridged), changed, kept, t1, energy1, power1)
        if not seen.all():
            devices, t1, energy1, power1 = layout.devices[seen], t1[seen], energy1[seen], power1[seen]
        device.head_ms[devices], device.energy_mj[devices], device.power_w[devices] = t1, energy1, power1
        device.tag[devices] = layout.tag
        self._track_idle(layout, tick, seen)
        self._keep_raw(layout, tick, seen)

    def _pieces_before(self, layout: Layout) -> tuple[Pieces, Bool, Bool]:
        """The pieces that the message's devices had at their last sample.

        Returns them, which devices changed their labels or slices since, and which of the layout's pieces go on
        unchanged.
        """
        if (self.device.tag[layout.device_index] == layout.tag).all():
            unchanged = np.zeros(len(layout.devices), np.bool_)
            return layout.pieces, unchanged, np.ones(len(layout.slots), np.bool_)
        slot = self.slot
        position_of = np.full(len(self.device), -1, np.int64)
        position_of[layout.devices] = np.arange(len(layout.devices))
        row_of = np.full(len(slot), -1, np.int64)
        row_of[layout.slots] = layout.piece_row
        slots = np.flatnonzero(slot.open[: len(slot)])
        position = position_of[slot.device[slots]]
        slots, position = slots[position >= 0], position[position >= 0]
        kept = slot.open[layout.slots] & (slot.label[layout.slots] == layout.labels)
        changed = np.bincount(layout.piece_position[kept], minlength=len(layout.devices)) != np.bincount(
            layout.piece_position, minlength=len(layout.devices)
        )
        changed |= np.bincount(position, minlength=len(layout.devices)) != np.bincount(
            layout.piece_position, minlength=len(layout.devices)
        )
        rows = row_of[slots]
        return Pieces(slots, position, rows, slots, position, rows), changed, kept

    def _extend(
        self, state: ShardState, pieces: Pieces, busy: Float, t0: Int, t1: Int, dt: Int, metered: Bool,
        energy: Int, method: NDArray[np.int8], energy0: Int, energy1: Int, power1: Float,
    ) -> None:  # fmt: skip
        """Add the intervals [t0, t1) of the metered devices to the rows of their pieces, cut at minutes."""
        slot = self.slot
        by_counter = (method == COUNTER) | (method == BRIDGED)
        start, used, active = t0, np.zeros_like(energy), metered
        while active.any():
            end = np.minimum(t1, (start // MINUTE_MS + 1) * MINUTE_MS)
            last = end == t1
            until = energy if last.all() else energy_until(energy, dt, end - t0)
            slots, s, q, part = pieces.slots, pieces.slot_index, pieces.position_index, busy
            if not active.all():
                chosen = active[pieces.position]
                slots, q, part = pieces.slots[chosen], pieces.position[chosen], busy[chosen]
                s = slots
            shares = (slot.lower[s], slot.upper[s], slot.denominator[s])
            ns = time_share(start[q], end[q], *shares)
            self._begin_rows(state, slots, s, start[q], method[q])
            slot.end_ms[s] = end[q]
            slot.gpu_ns[s] += ns
            slot.energy_mj[s] += share_of((until - used)[q], *shares)
            known = ~np.isnan(part)
            slot.busy_ns[s] += np.rint(np.where(known, part, 0.0) * ns).astype(np.int64)
            slot.busy_known_ns[s] += np.where(known, ns, 0)
            counter_end = np.where(by_counter, energy0 + until, np.where(last, energy1, -1))
            slot.energy_mj_end[s] = counter_end[q]
            slot.power_w_end[s] = np.where(last, power1, np.nan)[q]
            slot.samples[s] += last[q]
            slot.method[s] = method[q]
            slot.touched[s] = True
            start, used, active = end, until, active & ~last

    def _begin_rows(self, state: ShardState, slots: Int, index: Index, start_ms: Int, method: NDArray[np.int8]) -> None:
        """Where the interval to come cannot join the open row, close that row and begin one at start_ms."""
        slot = self.slot
        begun = slot.end_ms[index] > slot.start_ms[index]
        other = (
            (slot.start_ms[index] // MINUTE_MS != start_ms // MINUTE_MS)
            | (slot.method[index] != method)
            | (slot.shard[index] != state.number)
        )
        fresh = begun & other
        if fresh.any():
            slot.end(slots[fresh])
            slot.begin(slots[fresh], slot.label[slots[fresh]], state.number, start_ms[fresh])
        slot.shard[index] = state.number

    def _reopen(
        self, state: ShardState, layout: Layout, before: Pieces, seen: Bool, anew: Bool, changed: Bool,
        kept: Bool, t1: Int, energy1: Int, power1: Float,
    ) -> None:  # fmt: skip
        """Begin the rows that start at t1: of devices seen anew, and of pieces whose labels or slices changed."""
        if not (anew.any() or (changed & seen).any()):
            return
        slot = self.slot
        position = layout.piece_position
        gone = seen & (anew | changed)
        opening = (anew[position] | (changed[position] & ~kept)) & seen[position]
        to_open = layout.slots[opening]
        remaining = np.zeros(len(slot), np.bool_)
        remaining[layout.slots] = True
        leaving = gone[before.position]
        vanished = before.slots[leaving & ~remaining[before.slots]]
        slot.ended[vanished] = True
        slot.touched[vanished] = True
        slot.end(vanished)
        slot.open[vanished] = False
        slot.end(to_open[slot.open[to_open]])
        where = position[opening]
        slot.begin(to_open, layout.labels[opening], state.number, t1[where])
        slot.device[to_open] = layout.devices[where]
        slot.energy_mj_end[to_open], slot.power_w_end[to_open] = energy1[where], power1[where]
        slot.samples[to_open] = anew[where]
        slot.free[to_open] = layout.piece_row[opening] < 0
        slot.open[to_open] = True
        slot.touched[to_open] = True
        slot.idle_since_ms[to_open] = -1
        moved = seen[position]
        slot.lower[layout.slots[moved]] = layout.lower[moved]
        slot.upper[layout.slots[moved]] = layout.upper[moved]
        slot.denominator[layout.slots[moved]] = layout.denominator[moved]

    def _track_idle(self, layout: Layout, tick: Tick, seen: Bool) -> None:
        slot, pieces = self.slot, layout.pieces
        busy = tick.busy[pieces.row_index]
        idle = self.registry.label.held[layout.labels] & (pieces.rows >= 0) & (busy < self._idle_below)
        since = slot.idle_since_ms[pieces.slot_index]
        now = tick.ts_ms[layout.first_row_index][pieces.position_index]
        fresh = np.where(idle, np.where(since < 0, now, since), -1)
        slot.idle_since_ms[pieces.slot_index] = np.where(seen[pieces.position_index], fresh, since)

    def _keep_raw(self, layout: Layout, tick: Tick, seen: Bool) -> None:
        accepted = seen[layout.row_position_index].copy()
        if len(layout.repeated_rows):
            accepted[layout.repeated_rows] = False
        columns = (
            layout.series, tick.ts_ms, tick.power_w, tick.energy_mj, tick.busy, tick.sm_active,
            tick.memory_used_mib, tick.temperature_c,
        )  # fmt: skip
        count = int(accepted.sum())
        self.samples += count
        self.duplicates += len(accepted) - count
        self._raw.append(columns if count == len(accepted) else tuple(column[accepted] for column in columns))

    # ---- taking rows -----------------------------------------------------------------------------------------------

    def take_rows(self) -> tuple[Rows, Rows]:
        """Rows to be written since the last call: those that are final for this meter, and those still open."""
        return self.slot.take()

    def open_rows(self, shards: Int, minutes_ms: Int) -> Rows:
        """Every open row of the given shards and minutes, touched or not."""
        return self.slot.booked(shards, minutes_ms, "start_ms")

    def take_raw(self) -> tuple[NDArray[Any], ...]:
        """Accepted samples since the last call, by column: series, ts_ms, power_w, energy_mj, busy, sm_active, …"""
        raw, self._raw = self._raw, []
        return tuple(np.concatenate(columns) for columns in zip(_NO_RAW, *raw, strict=True))

    def take_events(self) -> list[Event]:
        """Defects since the last call."""
        events, self.events = self.events, []
        return events

    # ---- defects ---------------------------------------------------------------------------------------------------

    def _report(self, state: ShardState, rows: Int, batch: pa.RecordBatch, kind: str, detail: str) -> None:
        for row in rows.tolist():
            ts = batch.column("ts")[row].cast(pa.int64()).as_py()
            device = batch.column("device")[row].as_py()
            self.events.append(Event(ts, state.cluster, state.name, kind, device, detail))

    def _report_devices(
        self, state: ShardState, layout: Layout, which: Bool, ts_ms: Int, kind: str, detail: str
    ) -> None:
        if which.any():
            label_of = np.empty(len(layout.devices), np.int64)
            label_of[layout.piece_position] = layout.labels
            for position in np.flatnonzero(which).tolist():
                device = self.registry.labels[label_of[position]].device
                self.events.append(Event(int(ts_ms[position]), state.cluster, state.name, kind, device, detail))
