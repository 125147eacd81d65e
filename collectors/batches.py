"""From the readings of a tick to Arrow record batches of the wire contract.

Label columns are dictionary-encoded once for a combination of readings and used again for as long as every target
in it keeps the same rows; only times and numbers are made anew.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collectors.accounts import Accounts
from collectors.readings import BUSY_SOURCES, GAUGES, TOKEN_COUNTERS, WHOLES, GpuReading, Reading, TokenReading
from schemas.arrow import GPU_SAMPLES, LABEL, TOKEN_SAMPLES, TS
from schemas.topics import MAX_ROWS

MAX_REMEMBERED = 8  # combinations of targets: all, all but the slow ones, the slow ones

_BUSY_SOURCES = pa.array(BUSY_SOURCES, pa.string())

R = TypeVar("R", bound=Reading, covariant=True)
N = TypeVar("N", bound=np.generic)


class Timed(NamedTuple, Generic[R]):
    """A reading and when the exporter was read, unix ms UTC."""

    ts_ms: int
    reading: R


class _Remembered:
    """The label columns of recent combinations of rows. Holds the rows, so that an id stays theirs."""

    def __init__(self) -> None:
        self._columns: dict[tuple[int, ...], tuple[Sequence[object], dict[str, pa.Array]]] = {}

    def columns(
        self, rows: Sequence[object], version: int, build: Callable[[], dict[str, pa.Array]]
    ) -> dict[str, pa.Array]:
        key = (version, *map(id, rows))
        found = self._columns.pop(key, None) or (rows, build())
        self._columns[key] = found
        while len(self._columns) > MAX_REMEMBERED:
            del self._columns[next(iter(self._columns))]
        return found[1]


class GpuBatches:
    """Record batches of one shard of GPU targets."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._remembered = _Remembered()

    def batches(self, readings: Sequence[Timed[GpuReading]]) -> list[pa.RecordBatch]:
        """The readings in batches of at most MAX_ROWS rows, each device whole. At least one batch, maybe empty."""
        rows = [timed.reading.rows for timed in readings]
        labels = self._remembered.columns(rows, self._accounts.version, lambda: self._labels(readings))
        numbers: dict[str, pa.Array] = {"ts": _times(readings)}
        gauges = _join([timed.reading.gauges for timed in readings], len(GAUGES), np.float64)
        for name, column in zip(GAUGES, gauges, strict=True):
            numbers[name] = pa.array(column, pa.float64(), from_pandas=True)
        wholes = _join([timed.reading.wholes for timed in readings], len(WHOLES), np.int64)
        for name, column in zip(WHOLES, wholes, strict=True):
            numbers[name] = pa.array(column, pa.int64(), mask=column < 0)
        sources = _join([timed.reading.busy_source[None, :] for timed in readings], 1, np.int32)[0]
        numbers["busy_source"] = pa.DictionaryArray.from_arrays(pa.array(sources, pa.int32()), _BUSY_SOURCES)
        columns = labels | numbers
        batch = pa.RecordBatch.from_arrays([columns[field.name] for field in GPU_SAMPLES], schema=GPU_SAMPLES)
        return _cut(batch)

    def _labels(self, readings: Sequence[Timed[GpuReading]]) -> dict[str, pa.Array]:
        def all_rows(name: str) -> list[str]:
            return [value for timed in readings for value in getattr(timed.reading.rows, name)]

        job = all_rows("job")
        names = ("node", "device", "slice", "gpu_model", "namespace", "pod")
        columns = {name: _encoded(all_rows(name)) for name in names}
        columns["job"] = _encoded(job)
        columns["account"] = _encoded([self._accounts.of(name) for name in job])
        columns["vendor"] = _encoded([timed.reading.vendor for timed in readings for _ in range(len(timed.reading))])
        for name in ("share_num", "share_den"):
            columns[name] = pa.array(all_rows(name), pa.int64())
        return columns


class TokenBatches:
    """Record batches of one shard of token targets."""

    def __init__(self) -> None:
        self._remembered = _Remembered()

    def batches(self, readings: Sequence[Timed[TokenReading]]) -> list[pa.RecordBatch]:
        """The readings in batches of at most MAX_ROWS rows. At least one batch, maybe empty."""
        rows = [timed.reading.rows for timed in readings]
        labels = self._remembered.columns(rows, 0, lambda: _token_labels(readings))
        numbers: dict[str, pa.Array] = {"ts": _times(readings)}
        counters = _join([timed.reading.counters for timed in readings], len(TOKEN_COUNTERS), np.int64)
        for name, column in zip(TOKEN_COUNTERS, counters, strict=True):
            numbers[name] = pa.array(column, pa.int64(), mask=column < 0)
        columns = labels | numbers
        batch = pa.RecordBatch.from_arrays([columns[field.name] for field in TOKEN_SAMPLES], schema=TOKEN_SAMPLES)
        return [batch.slice(start, MAX_ROWS) for start in range(0, len(batch), MAX_ROWS)] or [batch]


def _token_labels(readings: Sequence[Timed[TokenReading]]) -> dict[str, pa.Array]:
    columns = {}
    for name in ("replica", "model", "team"):
        columns[name] = _encoded([value for timed in readings for value in getattr(timed.reading.rows, name)])
    for name in ("endpoint", "deployment", "layer"):
        columns[name] = _encoded(
            [value for timed in readings for value in [getattr(timed.reading, name)] * len(timed.reading)]
        )
    return columns


def _encoded(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode().cast(LABEL)


def _times(readings: Sequence[Timed[Reading]]) -> pa.Array:
    times = np.repeat(
        np.array([timed.ts_ms for timed in readings], np.int64),
        np.array([len(timed.reading) for timed in readings], np.intp),
    )
    return pa.array(times, pa.int64()).cast(TS)


def _join(parts: Iterable[NDArray[N]], height: int, dtype: type[N]) -> NDArray[N]:
    return np.concatenate([np.empty((height, 0), dtype), *parts], axis=1)


def _cut(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Cut between devices, so that no part has more than MAX_ROWS rows (a device with more stays whole)."""
    if len(batch) <= MAX_ROWS:
        return [batch]
    device = batch.column("device").indices.to_numpy()
    parts, start, end = [], 0, 0
    for edge in [*(np.flatnonzero(device[1:] != device[:-1]) + 1).tolist(), len(batch)]:
        if edge - start > MAX_ROWS and end > start:
            parts.append(batch.slice(start, end - start))
            start = end
        end = edge
    return [*parts, batch.slice(start, end - start)]
