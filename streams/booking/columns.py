"""Columns of the ledger as Arrow arrays."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.metering.intervals import MINUTE_MS, Int
from streams.metering.labels import Interner
from streams.metering.rows import Rows

TS = pa.timestamp("ms", tz="UTC")
SECONDS = pa.timestamp("s", tz="UTC")


class TextColumn:
    """A dictionary-encoded string per label set."""

    def __init__(self) -> None:
        self._interner = Interner()
        self._values: list[str] = []
        self._codes: list[int] = []
        self._array: NDArray[np.int32] = np.empty(0, np.int32)

    def append(self, value: str) -> None:
        code = self._interner.code(value)
        if code == len(self._values):
            self._values.append(value)
        self._codes.append(code)

    def take(self, labels: Int) -> pa.DictionaryArray:
        """The strings of these label sets."""
        if len(self._array) != len(self._codes):
            self._array = np.array(self._codes, np.int32)
        codes: NDArray[np.int32] = self._array[labels]
        if len(self._values) <= max(len(codes), 1024):
            return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(self._values, pa.string()))
        used, positions = np.unique(codes, return_inverse=True)
        values = pa.array([self._values[code] for code in used.tolist()], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(positions.astype(np.int32)), values)


def minute_number(ms: Int) -> Int:
    """Whole minutes since 1970."""
    return ms // MINUTE_MS


def timestamps(ms: Int) -> pa.Array:
    return pa.array(ms).cast(TS)


def minutes(ms: Int) -> pa.Array:
    return pa.array(minute_number(ms) * 60).cast(SECONDS)


def join(parts: Iterable[Rows]) -> Rows:
    chosen = list(parts)
    return {name: np.concatenate([part[name] for part in chosen]) for name in chosen[0]}


def choose(index: Int, values: list[str]) -> pa.DictionaryArray:
    """A string per row; ClickHouse wants the values of a dictionary to be distinct."""
    known = sorted(set(values))
    position = np.array([known.index(value) for value in values], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(position[index]), pa.array(known, pa.string()))
