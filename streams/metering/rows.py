"""Ledger rows while they grow, and when they have ended: what both meters keep."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.metering.columns import Columns
from streams.metering.intervals import MINUTE_MS, Index, Int

Rows = dict[str, NDArray[Any]]
"""Ledger rows as equally long columns."""

# Columns of every row. The rest is what the meter measures.
_COMMON: dict[str, tuple[DTypeLike, Any]] = {
    "label": (np.int64, -1),
    "shard": (np.int64, -1),
    "start_ms": (np.int64, -1),
    "end_ms": (np.int64, -1),
    "samples": (np.int64, 0),
}


class Event(NamedTuple):
    """A defect that a meter saw."""

    ts_ms: int
    cluster: str
    source: str
    kind: str
    subject: str
    detail: str


class OpenRows(Columns):
    """One row per slot, open while it may still grow, and copies of those that ended since they were last taken.

    `measured` names the other columns of a row with their type and what they start from; `state` those of a slot that
    are no part of its row.
    """

    def __init__(self, measured: Mapping[str, tuple[DTypeLike, Any]], **state: tuple[DTypeLike, Any]) -> None:
        self._row = {**_COMMON, **measured}
        self._ended: list[Rows] = []
        super().__init__(**self._row, **state, open=(np.bool_, False), touched=(np.bool_, False))

    def begin(self, slots: Index, labels: Int, shard: int, start_ms: Int) -> None:
        """Begin a row of no length in each of these slots."""
        for name, (_, default) in self._row.items():
            getattr(self, name)[slots] = default
        self.label[slots] = labels
        self.shard[slots] = shard
        self.start_ms[slots] = self.end_ms[slots] = start_ms

    def end(self, slots: Int) -> None:
        """Keep a copy of these rows as they are: nothing will be added to them."""
        if len(slots):
            self._ended.append(self._copy(slots))

    def take(self) -> tuple[Rows, Rows]:
        """Rows to be written since the last call: those that ended, and those still open."""
        ended, self._ended = self._ended, []
        final = {
            name: np.concatenate([rows[name] for rows in ended]) if ended else np.empty(0, dtype)
            for name, (dtype, _) in self._row.items()
        }
        used = len(self)
        growing = self._copy(np.flatnonzero(self.touched[:used] & self.open[:used]))
        self.touched[:used] = False
        return final, growing

    def booked(self, shards: Int, minutes_ms: Int, moment: str) -> Rows:
        """Every open row of these shards whose `moment` (start_ms or end_ms) lies in one of these minutes."""
        used = len(self)
        minute_ms = getattr(self, moment)[:used] // MINUTE_MS * MINUTE_MS
        chosen = self.open[:used] & np.isin(self.shard[:used], shards) & np.isin(minute_ms, minutes_ms)
        return self._copy(np.flatnonzero(chosen))

    def _copy(self, slots: Int) -> Rows:
        return {name: getattr(self, name)[slots] for name in self._row}
