"""How a tick's rows divide its devices: which slices exist and which part of the device each one is."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.metering.columns import Columns
from streams.metering.intervals import Index, Int
from streams.metering.labels import ROW_LABELS, Interner, LabelReader, LabelSet

FINEST_SHARE = 1_000_000  # of a device whose slices have denominators without a smaller common one; no real device has


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The devices and pieces of one shard, unchanged as long as its labels are.

    m devices, n rows of the message, p pieces. A piece is a slice of a device or what no slice holds.
    """

    devices: Int
    """(m) device indexes."""
    first_row: Int
    """(m) a row of each device; all its rows repeat the device's counters."""
    position: Int
    """(n) position in `devices` of each row."""
    series: NDArray[np.uint64]
    """(n) id of each row's label set in gpu_series."""
    slots: Int
    """(p) slot index of each piece."""
    labels: Int
    """(p) label set index of each piece."""
    piece_position: Int
    """(p) position in `devices` of each piece."""
    piece_row: Int
    """(p) row that carries the piece's own values, -1 for what no slice holds."""
    lower: Int
    upper: Int
    denominator: Int
    """(p) cumulative share of each piece: from lower/denominator to upper/denominator of its device."""
    repeated_rows: Int
    """Rows left out because their slice stands in the message twice."""
    device_index: Index
    first_row_index: Index
    row_position_index: Index
    pieces: "Pieces"
    """`devices`, `first_row`, `position` and the pieces again, in the form in which numpy works fastest with them."""
    tag: int
    """Identity of this layout."""


class Pieces(NamedTuple):
    """Pieces of the devices of a message as they were at some moment, (p) each."""

    slots: Int
    """Slot of each piece."""
    position: Int
    """Position of its device in the layout's `devices`."""
    rows: Int
    """Row of the message that carries its own values, -1 where there is none."""
    slot_index: Index
    position_index: Index
    row_index: Index


def index_of(indexes: Int) -> Index:
    """Consecutive indexes as a slice: numpy then works in place instead of gathering and scattering."""
    if len(indexes) and (np.diff(indexes) == 1).all():
        return slice(int(indexes[0]), int(indexes[-1]) + 1)
    return indexes


class Piece(NamedTuple):
    """One part of one device."""

    label: int
    lower: int
    upper: int
    denominator: int


class Registry:
    """Every label set, device and slot that was seen, each under a small index."""

    def __init__(self) -> None:
        self._values = Interner()
        self._rows = Interner()
        self._row = Columns(label=(np.int64, -1), series=(np.uint64, 0))  # of each row code
        self._label_index = Interner()
        self._device_index = Interner()
        self._slot_index = Interner()
        self._pieces: dict[tuple[int, ...], list[Piece]] = {}
        self._layouts = 0
        self.labels: list[LabelSet] = []
        self.label = Columns(
            device=(np.int64, -1), slot=(np.int64, -1), held=(np.bool_, False), whole=(np.bool_, False)
        )
        self.new_series: list[tuple[int, LabelSet, str]] = []

    def reader(self, cluster: str) -> LabelReader:
        return LabelReader(cluster, self._values, self._rows)

    def device_index(self, cluster: str, device: str) -> int:
        """Index of a device."""
        return self._device_index.code((cluster, device))

    def label_index(self, label: LabelSet) -> int:
        """Index of a label set; makes its device and slot known too."""
        index = self._label_index.code(label)
        if index == len(self.labels):
            self.labels.append(label)
            self.label.add()
            self.label.device[index] = self.device_index(label.cluster, label.device)
            self.label.slot[index] = self._slot_index.code((label.cluster, label.device, label.slice))
            self.label.held[index] = bool(label.pod or label.job)
            self.label.whole[index] = label.share_num == label.share_den
        return index

    def layout(self, cluster: str, rows: Int, batch: pa.RecordBatch) -> Layout:
        """The layout of a message whose rows carry the given row codes (see LabelReader)."""
        self._learn(cluster, rows, batch)
        labels = self._row.label[rows]
        series = self._row.series[rows]
        _, first = np.unique(self.label.slot[labels], return_index=True)
        kept = np.sort(first)
        devices, first_kept, counts = np.unique(self.label.device[labels[kept]], return_index=True, return_counts=True)
        first_row = kept[first_kept]
        position = np.searchsorted(devices, self.label.device[labels])
        piece_labels, lower, upper, denominator, piece_position, piece_row = self._cut(
            labels, first_row, kept, position, counts
        )
        slots = self.label.slot[piece_labels]
        self._layouts += 1
        return Layout(
            devices=devices,
            first_row=first_row,
            position=position,
            series=series,
            slots=slots,
            labels=piece_labels,
            piece_position=piece_position,
            piece_row=piece_row,
            lower=lower,
            upper=upper,
            denominator=denominator,
            repeated_rows=np.setdiff1d(np.arange(len(labels)), kept),
            device_index=index_of(devices),
            first_row_index=index_of(first_row),
            row_position_index=index_of(position),
            pieces=Pieces(
                slots, piece_position, piece_row, index_of(slots), index_of(piece_position), index_of(piece_row)
            ),
            tag=self._layouts,
        )

    def pieces(self, labels: Sequence[int]) -> list[Piece]:
        """The parts of one device whose slices carry these label sets, in the order of slice names.

        Shares are brought to one denominator. Slices that claim more than the device are scaled down together; what
        they leave is one more piece.
        """
        key = tuple(sorted(labels, key=lambda index: self.labels[index].slice))
        known = self._pieces.get(key)
        if known is None:
            known = self._pieces[key] = self._pieces_of(key)
        return known

    def _pieces_of(self, labels: tuple[int, ...]) -> list[Piece]:
        sets = [self.labels[index] for index in labels]
        denominator = min(math.lcm(*(label.share_den for label in sets)), FINEST_SHARE)
        shares = [label.share_num * denominator // label.share_den for label in sets]
        left = denominator - sum(shares)
        if left > 0:
            divisor = math.gcd(left, denominator)
            free = sets[0].unallocated(left // divisor, denominator // divisor)
            labels, shares = (*labels, self.label_index(free)), [*shares, left]
        bounds = [0, *itertools.accumulate(shares)]
        if bounds[-1] > FINEST_SHARE:  # thousands of slices that claim more than the device: stay within 64 bits
            bounds = [bound * FINEST_SHARE // bounds[-1] for bound in bounds]
        return [Piece(label, bounds[i], bounds[i + 1], bounds[-1]) for i, label in enumerate(labels)]

    def _cut(self, labels: Int, first_row: Int, kept: Int, position: Int, counts: Int) -> Int:
        """The pieces of the devices of a message, ordered by device: (6, p) label, lower, upper, denominator, position,
        row. Whole devices, nearly all of them, are cut without a loop."""
        whole = (counts == 1) & self.label.whole[labels[first_row]]
        rows_of: dict[int, list[int]] = {device: [] for device in np.flatnonzero(~whole).tolist()}
        divided = kept[~whole[position[kept]]]
        for row, device in zip(divided.tolist(), position[divided].tolist(), strict=True):
            rows_of[device].append(row)
        cut = []
        for device, rows in rows_of.items():
            row_of = {int(labels[row]): row for row in rows}
            for piece in self.pieces(list(row_of)):
                cut.append((*piece, device, row_of.get(piece.label, -1)))
        simple = np.zeros((int(whole.sum()), 6), np.int64)
        simple[:, 0], simple[:, 2:4] = labels[first_row[whole]], 1
        simple[:, 4], simple[:, 5] = np.flatnonzero(whole), first_row[whole]
        pieces = np.concatenate([simple, np.array(cut, np.int64).reshape(-1, 6)])
        return pieces[np.argsort(pieces[:, 4], kind="stable")].T.copy()

    def _learn(self, cluster: str, rows: Int, batch: pa.RecordBatch) -> None:
        """Make every new row code of the message known."""
        while len(self._row) < len(self._rows):
            self._row.add()
        codes, where = np.unique(rows, return_index=True)
        new = self._row.label[codes] < 0
        codes, where = codes[new], where[new]
        if not len(codes):
            return
        rows_met = batch.select([*ROW_LABELS, "busy_source"]).take(pa.array(where))
        columns = [_plain(column).to_pylist() for column in rows_met.columns]
        for code, *row, busy_source in zip(codes.tolist(), *columns, strict=True):
            label = LabelSet(cluster, *row)
            series = label.series(busy_source)
            self._row.label[code] = self.label_index(label)
            self._row.series[code] = series
            self.new_series.append((series, label, busy_source))


def _plain(column: pa.Array) -> pa.Array:
    """The values of a column; Arrow turns dictionary-encoded ones into Python objects fifty times slower."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
