"""Label sets of device slices: read once per shard while they stay the same, then only an index per row.

A shard sends the same devices with the same labels tick after tick. `LabelReader` keeps the previous tick's labels:
mostly they are equal as they stand in the message, else it looks only at the rows that differ.
"""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.samples import UNALLOCATED
from streams.metering.intervals import Int

# Identity of a ledger row; busy_source may come and go without ending it.
ROW_LABELS = (
    "node", "device", "slice", "share_num", "share_den", "vendor", "gpu_model", "namespace", "pod", "job", "account",
)  # fmt: skip


class LabelSet(NamedTuple):
    """Who and what a slice was during a row."""

    cluster: str
    node: str
    device: str
    slice: str
    share_num: int
    share_den: int
    vendor: str
    gpu_model: str
    namespace: str
    pod: str
    job: str
    account: str

    def series(self, busy_source: str) -> int:
        """The 64-bit id of this label set in gpu_series."""
        text = "\x1f".join(
            (self.cluster, self.node, self.device, self.slice, self.vendor, self.gpu_model,
             busy_source, self.namespace, self.pod, self.job, self.account)
        )  # fmt: skip
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def unallocated(self, share_num: int, share_den: int) -> "LabelSet":
        """The part of this set's device that belongs to no slice."""
        return LabelSet(
            self.cluster, self.node, self.device, UNALLOCATED, share_num, share_den, self.vendor, self.gpu_model,
            "", "", "", "",
        )  # fmt: skip


class Interner:
    """Gives equal values the same small integer, in order of arrival."""

    def __init__(self) -> None:
        self._codes: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def code(self, value: object) -> int:
        return self._codes.setdefault(value, len(self._codes))


class LabelReader:
    """Turns the label columns of one shard's ticks into one integer per row; equal integers, equal labels."""

    _COLUMNS = (*ROW_LABELS, "busy_source")

    def __init__(self, cluster: str, values: Interner, rows: Interner) -> None:
        self._cluster = values.code(cluster)
        self._values = values
        self._rows = rows
        self._dictionaries: dict[str, tuple[pa.Array, Int]] = {}
        self._labels: pa.RecordBatch | None = None
        self._codes = np.empty((0, len(self._COLUMNS) + 1), np.int64)
        self._result = np.empty(0, np.int64)

    def read(self, batch: pa.RecordBatch) -> Int:
        """One integer per row. The same array object as before when no label changed since the last tick."""
        labels = batch.select(self._COLUMNS)
        if self._labels is not None and labels.equals(self._labels):
            return self._result
        codes = np.empty((batch.num_rows, len(self._COLUMNS) + 1), np.int64)
        codes[:, -1] = self._cluster
        for position, name in enumerate(self._COLUMNS):
            column = labels.column(position)
            if pa.types.is_dictionary(column.type):
                codes[:, position] = self._lookup(name, column.dictionary)[column.indices.to_numpy()]
            else:
                codes[:, position] = column.to_numpy()
        if codes.shape == self._codes.shape:
            changed = np.flatnonzero((codes != self._codes).any(axis=1))
            if not len(changed):
                self._labels = labels
                return self._result
            result = self._result.copy()
        else:
            changed = np.arange(len(codes))
            result = np.empty(len(codes), np.int64)
        result[changed] = [self._rows.code(tuple(row)) for row in codes[changed].tolist()]
        self._labels, self._codes, self._result = labels, codes, result
        return result

    def _lookup(self, name: str, dictionary: pa.Array) -> Int:
        known = self._dictionaries.get(name)
        if known is not None and known[0].equals(dictionary):
            return known[1]
        codes = np.array([self._values.code(value) for value in dictionary.to_pylist()] or [0], np.int64)
        self._dictionaries[name] = (dictionary, codes)
        return codes
