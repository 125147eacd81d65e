"""Devices that an operator should know of, as of the last tick of a shard."""

from typing import NamedTuple

import numpy as np

from streams.metering.gpu import GpuMeter

MOST = 1000  # of one kind and shard; a whole shard in trouble needs no longer list


class Finding(NamedTuple):
    """A device and what is wrong with it."""

    kind: str
    """`idle` (value: seconds), `xid` (value: the code) or `hot` (value: degrees Celsius)."""
    label: int
    """Index of the label set in the meter's registry."""
    value: float
    since_ms: int


def findings(meter: GpuMeter, shard: str, idle_for_ms: int, hot_above_c: float) -> list[Finding]:
    """Slices held but idle for at least `idle_for_ms`, devices with an XID error, devices too hot."""
    state = meter.shards[shard]
    layout, tick = state.layout, state.tick
    if layout is None or tick is None or not len(layout.devices):
        return []
    now = tick.ts_ms[layout.first_row]
    found = []
    since = meter.slot.idle_since_ms[layout.slots]
    idle_ms = np.where(since >= 0, now[layout.piece_position] - since, -1)
    for piece in np.flatnonzero((since >= 0) & (idle_ms >= idle_for_ms))[:MOST].tolist():
        found.append(Finding("idle", int(layout.labels[piece]), float(idle_ms[piece]) / 1000, int(since[piece])))
    label_of = np.empty(len(layout.devices), np.int64)
    label_of[layout.piece_position] = layout.labels
    for kind, values, limit in (("xid", tick.xid, 0.0), ("hot", tick.temperature_c, hot_above_c)):
        of_device = values[layout.first_row]
        for position in np.flatnonzero(of_device > limit)[:MOST].tolist():
            found.append(Finding(kind, int(label_of[position]), float(of_device[position]), int(now[position])))
    return found
