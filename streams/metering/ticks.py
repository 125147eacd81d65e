"""The measured values of one message as arrays."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from streams.metering.intervals import MAX_POWER_W, Float, Int

MAX_MEMORY_MIB = 1 << 30  # a pebibyte; what is meant is that infinity is no measurement


class Tick(NamedTuple):
    """The measured values of one message, (n) arrays; NaN or -1 where not measured."""

    ts_ms: Int
    power_w: Float
    energy_mj: Int
    busy: Float
    sm_active: Float
    memory_used_mib: Float
    temperature_c: Float
    xid: Int


class OutOfRange(NamedTuple):
    """Rows of a tick that claim something impossible."""

    rows: Int
    kind: str
    detail: str


def read_tick(batch: pa.RecordBatch) -> tuple[Tick, list[OutOfRange]]:
    """The values of a message. An impossible one is left out and reported; its row keeps what is sound."""
    tick = Tick(
        ts_ms=times(batch),
        power_w=_floats(batch, "power_w"),
        energy_mj=integers(batch, "energy_mj"),
        busy=_floats(batch, "busy"),
        sm_active=_floats(batch, "sm_active"),
        memory_used_mib=_floats(batch, "memory_used_mib"),
        temperature_c=_floats(batch, "temperature_c"),
        xid=integers(batch, "xid"),
    )
    impossible = []
    for values, least, most, kind in (
        (tick.power_w, 0, MAX_POWER_W, "power_out_of_range"),
        (tick.busy, 0, 1, "ratio_out_of_range"),
        (tick.sm_active, 0, 1, "ratio_out_of_range"),
        (tick.memory_used_mib, 0, MAX_MEMORY_MIB, "memory_out_of_range"),
        (tick.temperature_c, -50, 250, "temperature_out_of_range"),
    ):
        # The extremes of all, leaving out NaN, are found in half the time that comparing each one takes.
        if np.fmin.reduce(values, initial=least) < least or np.fmax.reduce(values, initial=most) > most:
            wrong = np.flatnonzero((values < least) | (values > most))
            values[wrong] = np.nan
            impossible.append(OutOfRange(wrong, kind, f"outside {least}..{most}; the value is left out"))
    return tick, impossible


def times(batch: pa.RecordBatch) -> Int:
    """The column `ts` in unix ms."""
    ts: Int = batch.column("ts").view(pa.int64()).to_numpy()
    return ts


def integers(batch: pa.RecordBatch, name: str) -> Int:
    """An integer column, -1 where null."""
    column = batch.column(name)
    values: Int = (column.fill_null(-1) if column.null_count else column).to_numpy()
    return values


def _floats(batch: pa.RecordBatch, name: str) -> Float:
    column = batch.column(name)
    values: Float = np.array(column.fill_null(np.nan) if column.null_count else column)
    return values
