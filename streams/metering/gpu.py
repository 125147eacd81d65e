"""The meter of GPU time and energy: samples in, ledger rows out. Pure state and arithmetic, no I/O.

The meter is a fold over samples. Its result depends only on the set of samples of each device, not on how they were
batched, repeated or interrupted: a row grows while its device is seen, ends at the minute, at a change of labels, of
method or of shard, and is written under its start, so that writing it again replaces it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.metering.absence import next_patience
from streams.metering.chains import GpuChains, ShardState
from streams.metering.intervals import (
    BRIDGED,
    COUNTER,
    MAX_BRIDGE_MS,
    MAX_POWER_W,
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
from streams.metering.layout import Layout, Pieces
from streams.metering.rows import Rows
from streams.metering.ticks import Tick, read_tick

FROZEN_ABOVE_W = 30.0  # a device that draws as much moves its energy counter by 30,000 mJ a second
DEFAULT_MAX_GAP_MS = 90_000  # of a cluster that the configuration does not describe

_NO_RAW = tuple(np.empty(0, dtype) for dtype in ("u8", "i8", "f8", "i8", "f8", "f8", "f8", "f8"))


class GpuMeter(GpuChains):
    """Folds samples into ledger rows.

    Call `unknown_devices`, `load` their chain heads from the book, `fold` the message; `take_rows` when it is time to
    write. `max_gap_ms` maps a cluster to its longest silence that needs no bridge.
    """

    def __init__(self, max_gap_ms: Mapping[str, int], idle_below: float = 0.02) -> None:
        super().__init__()
        self.duplicates = 0
        self.samples = 0
        self._max_gap_ms = max_gap_ms
        self._idle_below = idle_below
        self._raw: list[tuple[NDArray[Any], ...]] = []

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
        patience = device.patience_ms[devices]
        first = t0 < 0
        live = ~first & (t1 > t0)
        pieces, changed, kept = self._pieces_before(layout)

        dt = np.where(live, t1 - t0, 1)
        energy, method, stale, reset, jumped = measure_energy(dt, energy0, energy1, device.power_w[devices], power1)
        gap = live & (dt > self._max_gap_ms.get(state.cluster, DEFAULT_MAX_GAP_MS))
        bridged = gap
        if gap.any():
            bridged = gap & (method == COUNTER) & ~changed & (dt <= MAX_BRIDGE_MS)
            method[bridged] = BRIDGED
        lost = gap & ~bridged
        metered = live & ~lost
        if stale.any():
            energy1 = np.where(stale, energy0, energy1)
            self._report_stale(state, t1[live & stale])
        for which, kind, detail in (
            (live & reset, "counter_reset", "energy counter went down"),
            (metered & jumped, "counter_jump", f"energy counter rose by more than {MAX_POWER_W} W allow"),
            (lost, "unmetered_gap", "silent for longer than max_gap"),
        ):
            self._report_devices(state, layout, which, t1, kind, detail)

        busy = tick.busy[pieces.row_index]
        if (pieces.rows < 0).any():
            busy = np.where(pieces.rows >= 0, busy, np.where(self.slot.free[pieces.slot_index], 0.0, np.nan))
        self._extend(state, pieces, busy, t0, t1, dt, metered, energy, method, energy0, energy1, power1)

        seen = first | live
        self._track_frozen(layout, seen, live, t0, energy0, energy1, power1)
        self._reopen(state, layout, pieces, seen, first | lost, changed, kept, t1, energy1, power1)
        patience = next_patience(dt, patience)
        if not seen.all():
            devices = layout.devices[seen]
            t1, energy1, power1, patience = t1[seen], energy1[seen], power1[seen], patience[seen]
        device.head_ms[devices], device.energy_mj[devices], device.power_w[devices] = t1, energy1, power1
        device.patience_ms[devices] = patience
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

    def _track_frozen(
        self, layout: Layout, seen: Bool, live: Bool, t0: Int, energy0: Int, energy1: Int, power1: Float
    ) -> None:
        """Since when the energy counter of each device has stood still while the device drew power."""
        device, devices = self.device, layout.device_index
        still = live & (energy1 >= 0) & (energy1 == energy0) & (power1 > FROZEN_ABOVE_W)
        since = device.frozen_since_ms[devices]
        if still.any():
            device.frozen_since_ms[devices] = np.where(seen, np.where(still, np.where(since < 0, t0, since), -1), since)
        elif since.max(initial=-1) >= 0:
            device.frozen_since_ms[devices] = np.where(seen, -1, since)

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
