"""Growing arrays, and exact integers as Arrow decimals."""

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from streams.metering.intervals import Int

_WIDE = Context(prec=60)


class Columns:
    """Named numpy arrays of one growing length: the state of the meter, one entry per slot.

    ``columns.name`` is the array (its first `len(columns)` entries are in use); an entry starts at its default.
    """

    def __init__(self, **defaults: tuple[DTypeLike, Any]) -> None:
        self._defaults = defaults
        self._used = 0
        self._room = 0
        self._grow(1024)

    def __len__(self) -> int:
        return self._used

    def __getattr__(self, name: str) -> NDArray[Any]:
        raise AttributeError(f"no column {name}")  # reached only for names that _grow did not set

    def add(self) -> int:
        """Make one more entry and return its index."""
        if self._used == self._room:
            self._grow(self._room * 2)
        self._used += 1
        return self._used - 1

    def _grow(self, room: int) -> None:
        for name, (dtype, default) in self._defaults.items():
            column = np.full(room, default, dtype)
            if self._room:
                column[: self._room] = self.__dict__[name]
            self.__dict__[name] = column
        self._room = room


def decimal(values: Int, scale: int) -> pa.Array:
    """Integers as Decimal128(38, scale) of the same digits: 1_500 at scale 3 is 1.500."""
    wide = np.empty((len(values), 2), np.int64)
    wide[:, 0] = values
    wide[:, 1] = values >> 63  # sign extension to the upper half
    return pa.Array.from_buffers(pa.decimal128(38, scale), len(values), [None, pa.py_buffer(wide)])


def decimals(values: Sequence[int | None], scale: int) -> pa.Array:
    """As :func:`decimal`, from a few integers of any size, null where None."""
    exact = [None if value is None else Decimal(value).scaleb(-scale, _WIDE) for value in values]
    return pa.array(exact, pa.decimal128(38, scale))


def nullable(values: NDArray[Any], missing: NDArray[np.bool_]) -> pa.Array:
    """An Arrow array with nulls where `missing`."""
    return pa.array(values, mask=missing)
