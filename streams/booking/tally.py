"""Exact totals of rows by shard, minute and group."""

from collections.abc import Iterable, Mapping

import numpy as np

from streams.metering.intervals import MINUTE_MS, Int

KEPT_MINUTES = 15  # minutes of finished totals in memory; older ones are added up by the book when they change
DENSE = 1 << 24  # combinations that are numbered by counting; beyond, a sort is cheaper than the memory


class Tally:
    """Totals per (shard, minute, group) of the rows that are final, to which the open rows are added each time.

    It remembers the last minutes of each shard, counted back from that shard's newest: shards lag behind each other by
    hours while they catch up.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._final: dict[tuple[int, int], dict[int, Int]] = {}
        self._spans: dict[tuple[int, int], tuple[int, int]] = {}
        self._newest: dict[int, int] = {}

    def add(self, sums: Mapping[tuple[int, int], Mapping[int, Int]]) -> None:
        """Fold in rows that have become final."""
        for key, groups in sums.items():
            mine = self._final.setdefault(key, {})
            for group, values in groups.items():
                mine[group] = mine.get(group, np.zeros(self._width, np.int64)) + values

    def with_open(self, key: tuple[int, int], open_sums: Mapping[tuple[int, int], Mapping[int, Int]]) -> dict[int, Int]:
        """Final plus open rows of one (shard, minute)."""
        total = dict(self._final.get(key, {}))
        for group, values in open_sums.get(key, {}).items():
            total[group] = total.get(group, np.zeros(self._width, np.int64)) + values
        return total

    def span(self, key: tuple[int, int], start_ms: int, end_ms: int) -> tuple[int, int]:
        """First and latest moment of the rows of one (shard, minute) so far, given those of the rows at hand."""
        start, end = self._spans.get(key, (start_ms, end_ms))
        self._spans[key] = min(start, start_ms), max(end, end_ms)
        return self._spans[key]

    def move_on(self, touched: Iterable[tuple[int, ...]]) -> None:
        """Forget the minutes that lie too far behind, now that these (shard, minute) were touched."""
        for shard, minute in touched:
            self._newest[shard] = max(minute, self._newest.get(shard, minute))
        for memory in (self._final, self._spans):
            for key in [key for key in memory if not self.keeps(*key)]:
                del memory[key]

    def keeps(self, shard: int, minute: int) -> bool:
        """Whether everything of a (shard, minute) that became final is still here."""
        return minute >= self._newest.get(shard, minute) - KEPT_MINUTES


def sums_by_minute(shard: Int, minute: Int, group: Int, values: list[Int]) -> dict[tuple[int, int], dict[int, Int]]:
    """Exact sums of the value arrays per (shard, minute) and group."""
    result: dict[tuple[int, int], dict[int, Int]] = {}
    keys, codes = distinct(shard, minute, group)
    sums = [exact_sums(codes, column, len(keys)) for column in values]
    for i, (shard_, minute_, group_) in enumerate(keys):
        result.setdefault((shard_, minute_), {})[group_] = np.array([total[i] for total in sums])
    return result


def distinct(*columns: Int) -> tuple[list[tuple[int, ...]], Int]:
    """The distinct combinations of integer columns, sorted, and for each row the position of its own.

    Columns hold few different values within one batch (shards, minutes, groups), so combinations are numbered densely
    and found by counting; sorting the rows would cost several times as much.
    """
    if not len(columns[0]):
        return [], np.empty(0, np.int64)
    dense = np.zeros(len(columns[0]), np.int64)
    levels = []
    for column in columns:
        low, high = int(column.min()), int(column.max())
        if high - low < 1 << 20:
            present = np.flatnonzero(np.bincount(column - low))
            number = np.zeros(high - low + 1, np.int64)
            number[present] = np.arange(len(present))
            values, codes = present + low, number[column - low]
        else:
            values, codes = np.unique(column, return_inverse=True)
        levels.append(values)
        dense = dense * len(values) + codes
    if int(dense.max()) < DENSE:
        present = np.flatnonzero(np.bincount(dense))
        number = np.zeros(int(dense.max()) + 1, np.int64)
        number[present] = np.arange(len(present))
        codes = number[dense]
    else:
        present, codes = np.unique(dense, return_inverse=True)
    keys = np.unravel_index(present, [len(values) for values in levels])
    named = [values[index].tolist() for values, index in zip(levels, keys, strict=True)]
    return list(zip(*named, strict=True)), codes


def exact_sums(codes: Int, values: Int, count: int) -> Int:
    """Sums of non-negative integers per code. Exact: bincount adds in floating point, so the halves of each number are
    added apart, and no partial sum of 2**21 rows reaches 2**53."""
    low = np.bincount(codes, weights=values & 0xFFFFFFFF, minlength=count).astype(np.int64)
    high = np.bincount(codes, weights=values >> 32, minlength=count).astype(np.int64)
    return low + (high << 32)


def shards_and_minutes(keys: list[tuple[int, ...]]) -> tuple[Int, Int]:
    """Shard numbers, and starts of minutes in ms, of (shard, minute number) pairs."""
    shards, minutes = np.array(keys, np.int64).T
    return shards, minutes * MINUTE_MS
