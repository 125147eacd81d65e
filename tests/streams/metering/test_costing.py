"""Money is exact: the vectorised cost is the fraction's, rounded half-even, in every row."""

from fractions import Fraction
from math import ceil

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.metering.costing import cost_nano
from streams.metering.intervals import Int
from tests.streams.metering.settings import repeatable

LARGEST = 2**53 - 1
HOUR_NS = 3600 * 10**9
_rates = st.builds(Fraction, st.integers(0, 10**12), st.integers(10**10, 10**15))
_HAIRS = tuple(sign * Fraction(1, size) for sign in (1, -1) for size in (2**60, 10**30))
_amounts = st.one_of(st.integers(0, 200), st.integers(0, 60 * 10**9), st.integers(0, LARGEST))


def ints(*values: int) -> Int:
    """An array."""
    return np.array(values, np.int64)


def exact(gpu_ns: int, energy_mj: int, per_gpu_ns: Fraction, per_mj: Fraction) -> int:
    """The definition."""
    return round(gpu_ns * per_gpu_ns + energy_mj * per_mj)


@repeatable(300)
@given(st.lists(st.tuples(_amounts, st.integers(0, 10**9)), min_size=1, max_size=20), _rates, _rates)
def test_cost_is_exact(rows: list[tuple[int, int]], per_gpu_ns: Fraction, per_mj: Fraction) -> None:
    """Any amounts, any rates."""
    costs = cost_nano(ints(*(ns for ns, _ in rows)), ints(*(mj for _, mj in rows)), per_gpu_ns, per_mj)
    assert costs.tolist() == [exact(ns, mj, per_gpu_ns, per_mj) for ns, mj in rows]


@repeatable(300)
@given(
    gpu_ns=st.integers(1, LARGEST), energy_mj=st.integers(0, 10**9), per_mj=st.fractions(0, 1000),
    whole=st.integers(0, 10**15), off=st.sampled_from((Fraction(0), *_HAIRS)),
)  # fmt: skip
def test_cost_at_and_around_a_tie(gpu_ns: int, energy_mj: int, per_mj: Fraction, whole: int, off: Fraction) -> None:
    """A rate made so that the cost lies on a half, or a hair beside it, where floats cannot tell the side."""
    energy = energy_mj * per_mj
    per_gpu_ns = (ceil(energy) + whole + Fraction(1, 2) + off - energy) / gpu_ns
    cost = cost_nano(ints(gpu_ns), ints(energy_mj), per_gpu_ns, per_mj)
    assert cost.tolist() == [exact(gpu_ns, energy_mj, per_gpu_ns, per_mj)]


def test_ties_go_to_the_even_nano() -> None:
    """0.5, 1.5, 2.5 and 3.5 nano-dollars are 0, 2, 2 and 4."""
    costs = cost_nano(ints(1, 3, 5, 7), ints(0, 0, 0, 0), Fraction(1, 2), Fraction(0))
    assert costs.tolist() == [0, 2, 2, 4]


def test_an_hour_of_a_gpu_on_paper() -> None:
    """CAD 3.90 an hour and 700 W for an hour at 0.08 a kWh: 3.90 + 0.056, to the nano-dollar."""
    per_gpu_ns = Fraction("3.90") * 10**9 / HOUR_NS
    per_mj = Fraction("0.08") * 10**9 / 3_600_000_000
    assert cost_nano(ints(HOUR_NS), ints(700 * 3_600_000), per_gpu_ns, per_mj).tolist() == [3_956_000_000]


def test_nothing_costs_nothing() -> None:
    """No rows, no time, no price."""
    assert cost_nano(ints(), ints(), Fraction(1), Fraction(1)).tolist() == []
    assert cost_nano(ints(0, 5), ints(0, 5), Fraction(0), Fraction(0)).tolist() == [0, 0]
