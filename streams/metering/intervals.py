"""Intervals between two observations of a device: how energy is measured, how a minute or a slice gets its part.

Everything here is integer arithmetic on whole arrays. Parts are cut by *cumulative floors*: the part that ends at
fraction f of a whole W is ``floor(W*f) - floor(W*f0)``, so the parts of any cut add up to W exactly.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Index = Int | slice

MINUTE_MS = 60_000
NS_PER_MS = 1_000_000
MAX_POWER_W = 3000
# dcgm-exporter repeats its reading for up to a collection interval (30 s by default), so a counter may honestly step
# by more than the interval between two scrapes allows; and the clocks of two collectors may differ. Beyond this slack
# a step up is a defect, a step down is a reset.
COUNTER_SLACK_MS = 60_000
# Longest silence that is bridged. Each minute of it becomes a row, and a host that comes up with its clock in 1970 must
# not make half a century of them; it also keeps energy_until exact.
MAX_BRIDGE_MS = 24 * 3600 * 1000

# How a row's energy was measured. METHODS[code] is the text in the ledger; code 0 is a chain head without an interval.
METHODS = ("", "counter", "integrated", "bridged", "time")
HEAD, COUNTER, INTEGRATED, BRIDGED, TIME = range(5)


class Energy(NamedTuple):
    """Energy of intervals: millijoules, method code, and where the counter misbehaved."""

    energy_mj: Int
    method: NDArray[np.int8]
    stale: Bool
    """The later reading is older than its time: another collector, whose clock is behind, has seen more already."""
    reset: Bool
    """The counter went down: driver reload, reboot, GPU reset."""
    jumped: Bool
    """The counter rose by more than the device can have used."""


def measure_energy(dt_ms: Int, energy0_mj: Int, energy1_mj: Int, power0_w: Float, power1_w: Float) -> Energy:
    """Energy of intervals between two observations.

    By the counter where both ends have it and it is sound; over a reset, or without a counter, the trapezoid of power
    (1 W x 1 ms = 1 mJ); without power at either end the energy is unknown and the method says so.

    Two collectors whose clocks differ by s stamp readings in the wrong order only when the stamps are at most s apart,
    and then the counter falls by at most what the device uses in s. Such a fall, to more than half of what it was (a
    counter that was reset begins at zero), is a stale reading: no energy, and the larger value stays the counter's.

    Arrays of one shape. A missing counter is -1, a missing power NaN. dt_ms > 0.
    """
    counted = (energy0_mj >= 0) & (energy1_mj >= 0)
    delta = np.where(counted, energy1_mj - energy0_mj, 0)
    jumped = delta > MAX_POWER_W * (dt_ms + COUNTER_SLACK_MS)
    stale = reset = delta < 0
    if reset.any():
        stale = reset & (delta >= -MAX_POWER_W * COUNTER_SLACK_MS) & (dt_ms <= COUNTER_SLACK_MS)
        stale &= energy1_mj > -delta  # half of a counter near 2**63 has no double
        reset = reset & ~stale
        delta = np.maximum(delta, 0)
    by_counter = counted & ~reset & ~jumped
    if by_counter.all():
        return Energy(delta, np.full(len(delta), COUNTER, np.int8), stale, reset, jumped)
    mean_power_w = (power0_w + power1_w) / 2
    by_power = ~by_counter & ~np.isnan(mean_power_w)
    trapezoid = np.rint(np.where(by_power, mean_power_w, 0.0) * dt_ms).astype(np.int64)
    energy_mj = np.where(by_counter, delta, trapezoid)
    method = np.where(by_counter, COUNTER, np.where(by_power, INTEGRATED, TIME)).astype(np.int8)
    return Energy(energy_mj, method, stale, reset, jumped)


def energy_until(energy_mj: Int, dt_ms: Int, elapsed_ms: Int) -> Int:
    """Energy used in the first `elapsed_ms` of intervals of `dt_ms`, in proportion, floored.

    ``floor(energy * elapsed / dt)`` without leaving int64: exact while dt is below 35 days.
    """
    quotient, remainder = np.divmod(energy_mj, dt_ms)
    return quotient * elapsed_ms + remainder * elapsed_ms // dt_ms


def share_of(amount: Int, lower: Int, upper: Int, denominator: Int) -> Int:
    """The part of an amount between the cumulative shares lower/denominator and upper/denominator."""
    if (denominator == 1).all():  # whole devices, nearly always: integer division is the slowest thing here
        return amount * (upper - lower)
    return amount * upper // denominator - amount * lower // denominator


def time_share(start_ms: Int, end_ms: Int, lower: Int, upper: Int, denominator: Int) -> Int:
    """Device time, ns, of the share from lower/denominator to upper/denominator during [start, end).

    Cut at cumulative shares of absolute time, so that it does not matter into how many intervals a period was split:
    3/7 of any 70 s are 30 s, to the nanosecond. Whole multiples of `denominator` ms divide evenly and are left out.
    """
    if (denominator == 1).all():
        return (end_ms - start_ms) * NS_PER_MS * (upper - lower)
    phase_ms = start_ms % denominator
    before = share_of(phase_ms * NS_PER_MS, lower, upper, denominator)
    return share_of((phase_ms + end_ms - start_ms) * NS_PER_MS, lower, upper, denominator) - before
