"""Protects the arithmetic on columns: the same integers as one by one, of any size, and nothing lost in a division."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compose.finance.integers import apportion, grouped, multiply_divide, ranges, sums, weighted
from schemas.money import split

AMOUNT = st.integers(0, 10**16)
LARGE = st.integers(1, 10**14)


def column(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


@given(st.lists(st.tuples(AMOUNT, st.integers(0, 10**9), st.integers(1, 10**9)), max_size=20))
def test_products_are_rounded_half_even(rows: list[tuple[int, int, int]]) -> None:
    """Each is the exact fraction rounded once, whether 64 bits are enough for the product or not."""
    rows = [row for row in rows if row[0] * row[1] // row[2] < 2**62]
    values, tops, bottoms = (column([row[part] for row in rows]) for part in range(3))
    assert multiply_divide(values, tops, bottoms).tolist() == [round(Fraction(a * b, c)) for a, b, c in rows]


@given(st.lists(AMOUNT, max_size=20), st.integers(0, 10**20), LARGE)
def test_one_factor_for_all(values: list[int], top: int, bottom: int) -> None:
    """Factors beyond 64 bits are no factors less."""
    values = [value for value in values if value * top // bottom < 2**62]
    expected = [round(Fraction(value * top, bottom)) for value in values]
    assert multiply_divide(column(values), top, bottom).tolist() == expected


@given(st.lists(st.tuples(AMOUNT, st.lists(st.one_of(st.just(0), LARGE), min_size=1, max_size=6)), max_size=8))
def test_parts_add_up(groups: list[tuple[int, list[int]]]) -> None:
    """Every group is divided as `schemas.money.split` divides it, so its parts add up to its amount."""
    weights = column([weight for _, parts in groups for weight in parts])
    group = np.repeat(np.arange(len(groups)), [len(parts) for _, parts in groups])
    parts = apportion(column([amount for amount, _ in groups]), weights, group)
    expected = [part for amount, weights_ in groups for part in split(amount, weights_)]
    assert parts.tolist() == expected


@given(st.lists(st.lists(st.integers(0, 2**31), min_size=4, max_size=4), max_size=30))
def test_groups_are_the_rows_that_are_equal(rows: list[list[int]]) -> None:
    """Groups are numbered as their keys are sorted, however wide the keys are together."""
    keys = [column([row[part] for row in rows]) for part in range(4)]
    group, first = grouped(*keys)
    distinct = sorted({tuple(row) for row in rows})
    assert [distinct[number] for number in group.tolist()] == [tuple(row) for row in rows]
    assert [tuple(rows[row]) for row in first.tolist()] == distinct
    ones = np.ones(len(rows), np.int64)
    assert int(sums(ones, group, len(first)).sum()) == len(rows)


@given(st.lists(st.integers(0, 5), max_size=10))
def test_ranges(counts: list[int]) -> None:
    """0 … count - 1 for each count, in a row."""
    assert ranges(column(counts)).tolist() == [number for count in counts for number in range(count)]


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=10), st.integers(0, 10**14))
def test_weighted_sums_of_any_size(rows: list[tuple[int, int]], factor: int) -> None:
    """Sums that leave 64 bits are exact."""
    first, second = (column([row[part] for row in rows]) for part in range(2))
    assert list(weighted([first, second], [factor, 3])) == [a * factor + b * 3 for a, b in rows]
