"""The cuts of an interval are exact and add up, whatever the numbers."""

from fractions import Fraction
from itertools import pairwise
from math import floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.metering.intervals import MAX_BRIDGE_MS, Int, energy_until, share_of, time_share
from tests.streams.metering.settings import repeatable


def one(value: int) -> Int:
    """An array of one."""
    return np.array([value], np.int64)


@repeatable(300)
@given(st.integers(0, 2**62), st.integers(1, MAX_BRIDGE_MS), st.floats(0, 1))
def test_energy_until_is_the_floor_of_the_proportion(energy_mj: int, dt_ms: int, at: float) -> None:
    """Exact for any energy, up to the longest interval that is metered."""
    elapsed_ms = min(dt_ms, int(at * dt_ms))
    expected = floor(Fraction(energy_mj * elapsed_ms, dt_ms))
    assert energy_until(one(energy_mj), one(dt_ms), one(elapsed_ms)).tolist() == [expected]


@repeatable(300)
@given(
    st.integers(0, 4 * 10**12),
    st.lists(st.integers(1, 60_000), min_size=1, max_size=5),
    st.lists(st.integers(1, 64), min_size=1, max_size=8),
)
def test_time_shares_add_up_both_ways(start_ms: int, lengths: list[int], shares: list[int]) -> None:
    """Over the slices of a device to its time, over consecutive intervals to the share of the whole period."""
    whole = sum(shares)
    end_ms, lower = start_ms + sum(lengths), 0
    edges = [start_ms + sum(lengths[:i]) for i in range(len(lengths) + 1)]
    of_period = []
    for share in shares:
        bounds = one(lower), one(lower + share), one(whole)
        parts = [int(time_share(one(a), one(b), *bounds)[0]) for a, b in pairwise(edges)]
        total = int(time_share(one(start_ms), one(end_ms), *bounds)[0])
        assert sum(parts) == total
        assert abs(total - Fraction(share, whole) * (end_ms - start_ms) * 10**6) < 2
        of_period.append(total)
        lower += share
    assert sum(of_period) == (end_ms - start_ms) * 10**6


def test_shares_of_a_whole_add_up() -> None:
    """10 mJ among 3/7, 3/7 and 1/7: each part ends where its cumulative share does, floored: at 4, 8 and 10."""
    lower, upper = np.array([0, 3, 6]), np.array([3, 6, 7])
    assert share_of(np.array([10, 10, 10]), lower, upper, np.array([7, 7, 7])).tolist() == [4, 4, 2]
