"""Exact integer arithmetic on whole columns: rounded products, divisions that keep their sum, groups. Pure.

The same results as :mod:`schemas.money` gives one by one. Columns are int64 wherever the largest product provably fits
in it, else numpy works on Python's integers, which are of any size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
_FITS = 2.0**61  # leaves room for doubling a remainder, and for the error of the float that estimates


def multiply_divide(values: Int, numerator: Any, denominator: Any) -> Int:
    """``values * numerator / denominator``, half-even. Numerator and denominator are integers or columns of them.

    Values and numerators are non-negative, denominators positive; the results must fit int64.
    """
    if not len(values):
        return values
    top, bottom = _largest(numerator), _largest(denominator)
    if max(_largest(values), 1.0) * top >= _FITS or bottom >= _FITS:
        values, numerator, denominator = (_wide(part) for part in (values, numerator, denominator))
    product = values * numerator
    whole = product // denominator
    rest = product - whole * denominator
    up = (2 * rest > denominator) | ((2 * rest == denominator) & (whole % 2 == 1))
    result: Int = (whole + up.astype(np.int64)).astype(np.int64)
    return result


def weighted(columns: Sequence[Int], factors: Sequence[int]) -> Any:
    """Sum of the columns, each times its factor: int64, or Python's integers where it might not fit."""
    estimate = sum(_largest(column) * float(factor) for column, factor in zip(columns, factors, strict=True))
    if estimate >= _FITS:
        columns = [_wide(column) for column in columns]
    return sum((column * factor for column, factor in zip(columns, factors, strict=True)), start=0 * columns[0])


def apportion(amounts: Int, weights: Int, group: Int) -> Int:
    """Divide each amount among the rows of its group by their weights so that the parts add up to it.

    amounts: one per group. weights, group: one per row; `group` ascending, from 0, with no group empty. Largest
    remainder, ties to the earlier row; all weights zero: everything to the first row. (:func:`schemas.money.split`)
    """
    if not len(weights):
        return weights
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    totals = np.add.reduceat(weights, starts)
    parts = weights.copy()  # right where a group's amount is the sum of its weights
    hard = amounts != totals
    single = np.diff(np.r_[starts, len(weights)]) == 1
    parts[starts[hard & single]] = amounts[hard & single]
    hard &= ~single
    if hard.any():
        rows = np.flatnonzero(hard[group])
        inner = (np.cumsum(hard) - 1)[group[rows]]
        parts[rows] = _apportion(amounts[hard], weights[rows], inner)
    return parts


def _apportion(amounts: Int, weights: Int, group: Int) -> Int:
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    totals = np.add.reduceat(weights, starts)
    nothing = totals == 0
    if nothing.any():
        weights, totals = weights.copy(), totals.copy()
        weights[starts[nothing]] = 1
        totals[nothing] = 1
    whole: Any = amounts
    if _largest(amounts) * _largest(weights) >= _FITS:
        whole, weights, totals = _wide(amounts), _wide(weights), _wide(totals)
    shares = whole[group] * weights
    parts = shares // totals[group]
    rest = shares - parts * totals[group]
    left = (whole - np.add.reduceat(parts, starts)).astype(np.int64)
    order = np.lexsort((-_ranks(rest), group))
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - starts[group[order]]
    result: Int = (parts + (place < left[group])).astype(np.int64)
    return result


def _ranks(values: Any) -> Int:
    """Numbers in the same order as the values, which may be of any size."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def grouped(*keys: Int) -> tuple[Int, Int]:
    """Groups of rows that are equal in all keys: the number of each row's group, and the first row of each group.

    Groups are numbered in ascending order of their keys, the first key first. Keys are non-negative.
    """
    combined = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        width = int(key.max(initial=0)) + 1
        if int(combined.max(initial=0)) >= _FITS / width:
            combined = np.unique(combined, return_inverse=True)[1].astype(np.int64)
        combined = combined * width + key
    _, first, group = np.unique(combined, return_index=True, return_inverse=True)
    return group.astype(np.int64), first.astype(np.int64)


def sums(values: Int, group: Int, groups: int) -> Int:
    """Sum of the values of each group."""
    total = np.zeros(groups, np.int64)
    np.add.at(total, group, values)
    return total


def ranges(counts: Int) -> Int:
    """0, 1, … count - 1 for each count, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _largest(values: Any) -> float:
    return float(np.max(values, initial=0)) if isinstance(values, np.ndarray) else float(values)


def _wide(values: Any) -> Any:
    return values.astype(object) if isinstance(values, np.ndarray) else int(values)
