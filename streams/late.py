"""Late samples: what they add to a GPU ledger that has gone on without them. Pure, no I/O.

Late data becomes later rows, never an edit. The ledger of a device is a line of *spans*, stretches of time that its
rows cover without a break, with *holes* between them. A late sample lies in a span (nothing is added), in a hole (it is
metered, from the end of the span before to the start of the span after), or after them all (the live meter takes it).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.samples import UNALLOCATED
from streams.metering.gpu import GpuMeter
from streams.metering.intervals import METHODS, Bool, Int, measure_energy
from streams.metering.labels import LabelSet
from streams.metering.rows import Event, Rows
from streams.metering.ticks import integers, times
from streams.telemetry import Message

_COUNTED = ("counter", "bridged")
_EVER_MS = 1 << 42  # beyond any moment that a message can name (the year 2109): (device, ms) as one number


class Hole(NamedTuple):
    """A stretch of time that the ledger of a device does not cover, between two that it does."""

    device: str
    start_ms: int
    """End of the span before; -1 where there is none."""
    end_ms: int
    """Start of the span after."""


class Spans:
    """What the ledger covers of some devices. A head that nothing followed is a span of no length."""

    def __init__(self, devices: Sequence[str], spans: Iterable[tuple[str, int, int]]) -> None:
        """`spans`: (device, start, end) in ms, disjoint, in any order."""
        self.devices = devices
        number = {device: index for index, device in enumerate(devices)}
        found = sorted((number[device], start, end) for device, start, end in spans)
        self._device, self._start, self._end = np.array(found, np.int64).reshape(-1, 3).T
        self._keys = self._device * _EVER_MS + self._start

    def find(self, device: Int, ts_ms: Int) -> tuple[Bool, Bool, Int]:
        """Of moments: whether a span covers each, whether it is after every span, and which span follows it."""
        following = np.searchsorted(self._keys, device * _EVER_MS + ts_ms, side="right")
        before = following - 1
        own = (before >= 0) & (_at(self._device, before) == device)
        covered = own & (ts_ms <= _at(self._end, before))
        newest = (following == len(self._keys)) | (_at(self._device, following) != device)
        return covered, newest & ~covered, following

    def hole_before(self, span: int) -> Hole:
        """The hole that ends where this span starts."""
        before = span - 1
        own = before >= 0 and self._device[before] == self._device[span]
        start = int(self._end[before]) if own else -1
        return Hole(self.devices[self._device[span]], start, int(self._start[span]))


class LateSamples:
    """The samples of GPU messages of one cluster, each moment of a device once, in the order of time."""

    def __init__(self, messages: Sequence[Message]) -> None:
        """`messages` are not empty and name one cluster."""
        self.messages = messages
        batches = [message.batch for message in messages]
        self._batch = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]
        device = self._batch.column("device").dictionary_decode().dictionary_encode()
        self.devices: list[str] = device.dictionary.to_pylist()
        message = np.repeat(np.arange(len(batches)), [batch.num_rows for batch in batches])
        ts_ms = times(self._batch)
        # A sighting is one device in one message: its time is that of the device's first row there.
        key = message * len(self.devices) + device.indices.to_numpy()
        found, first, self._sighting = np.unique(key, return_index=True, return_inverse=True)
        self.message, self.device = np.divmod(found, len(self.devices))
        self.ts_ms = ts_ms[first]
        self.energy_mj = integers(self._batch, "energy_mj")[first]
        order = np.lexsort((self.message, self.ts_ms, self.device))
        again = np.zeros(len(order), np.bool_)
        again[order[1:]] = (np.diff(self.device[order]) == 0) & (np.diff(self.ts_ms[order]) == 0)
        self.repeated: Bool = again
        """Sightings of a device at a moment that an earlier message has too."""

    @property
    def since_ms(self) -> int:
        return int(self.ts_ms.min())

    @property
    def until_ms(self) -> int:
        return int(self.ts_ms.max())

    def rounds(self, chosen: Bool) -> Iterator[list[tuple[str, pa.RecordBatch]]]:
        """The chosen sightings as batches to fold: of each device one sighting per round, in order; by shard."""
        sightings = np.flatnonzero(chosen)
        sightings = sightings[np.lexsort((self.ts_ms[sightings], self.device[sightings]))]
        turn = np.zeros(len(chosen), np.int64)
        turn[sightings] = _ranks(self.device[sightings])
        shards = sorted({message.shard for message in self.messages})
        shard_of = np.array([shards.index(message.shard) for message in self.messages], np.int64)
        rows = np.flatnonzero(chosen[self._sighting])
        at = self._sighting[rows]
        group = turn[at] * len(shards) + shard_of[self.message[at]]
        order = np.argsort(group, kind="stable")
        rows, group = rows[order], group[order]
        bounds = np.flatnonzero(np.diff(group, prepend=-1, append=-1)).tolist()
        now = -1
        batches: list[tuple[str, pa.RecordBatch]] = []
        for begin, end in pairwise(bounds):
            turn_of, shard = divmod(int(group[begin]), len(shards))
            if turn_of != now and batches:
                yield batches
                batches = []
            now = turn_of
            batches.append((shards[shard], self._batch.take(pa.array(rows[begin:end]))))
        if batches:
            yield batches


class Placing:
    """Where late samples lie in the ledger. Arrays are of one entry per sighting."""

    def __init__(self, samples: LateSamples, spans: Spans) -> None:
        self.samples = samples
        covered, newest, following = spans.find(samples.device, samples.ts_ms)
        self.covered: Bool = covered | samples.repeated
        self.newest: Bool = newest & ~samples.repeated
        self.in_hole: Bool = ~self.covered & ~self.newest
        self._following = np.where(self.in_hole, following, -1)
        self._spans = spans

    def waves(self) -> Iterator[tuple[list[Hole], Bool]]:
        """The holes that samples lie in, and which samples; at a time at most one hole of each device, oldest first."""
        spans, first, sightings = np.unique(self._following, return_index=True, return_inverse=True)
        wave = _ranks_among(self.samples.device[first], spans >= 0)
        for number in range(int(wave.max(initial=-1)) + 1):
            chosen = wave == number
            yield [self._spans.hole_before(span) for span in spans[chosen].tolist()], chosen[sightings] & self.in_hole


class Filled(NamedTuple):
    """Rows that fill holes, with the meter that their labels and shards are indexes of."""

    rows: Rows
    meter: GpuMeter
    raw: tuple[NDArray[Any], ...]
    """The samples behind them (see GpuMeter.take_raw)."""
    series: list[tuple[int, LabelSet, str]]
    """Label sets of those samples (see Registry.new_series)."""
    events: list[Event]


def late(shard: str) -> str:
    """The shard of rows that late samples of a shard bring. Its minutes are totals of their own, so that they and those
    of the live meter, which knows nothing of them, add up instead of replacing each other."""
    return f"{shard}/late"


def fill(
    samples: LateSamples,
    chosen: Bool,
    holes: Sequence[Hole],
    before: Iterable[Mapping[str, Any]],
    after: Mapping[str, Sequence[Mapping[str, Any]]],
    max_gap_ms: Mapping[str, int],
) -> Filled:
    """Meter the chosen samples, each in one of these holes, at most one hole of a device.

    before: the rows that stand where the holes start (see `stood`), with the columns that GpuMeter.load reads. after:
    by device the fields of the samples with which its ledger goes on at the end of the hole (see `went_on`).
    """
    cluster = samples.messages[0].envelope.cluster
    chosen = chosen & ~_stale(samples, after)
    meter = GpuMeter(max_gap_ms)
    heads = [_empty(row) for row in before]
    last_shard: dict[str, str] = {}
    for batches in samples.rounds(chosen):
        for shard, batch in batches:
            _fold(meter, late(shard), cluster, batch, heads)
            last_shard.update(dict.fromkeys(batch.column("device").unique().to_pylist(), late(shard)))
    raw, series = meter.take_raw(), list(meter.registry.new_series)
    closing: dict[str, list[Mapping[str, Any]]] = {}
    for device in last_shard:
        closing.setdefault(last_shard[device], []).extend(after[device])
    for shard, found in closing.items():
        _fold(meter, shard, cluster, pa.RecordBatch.from_pylist(found, samples.messages[0].batch.schema), heads)
    return Filled(_within(meter, holes), meter, raw, series, meter.take_events())


def stood(rows: Sequence[Mapping[str, Any]], seen: Collection[str]) -> list[Mapping[str, Any]]:
    """Those rows of a device that end at one moment, the last of each slice, whose slices it had at that moment.

    A row says that its slice ceased to exist (`ended`) also when that showed only at the end of the hole. `seen`, the
    slices in the raw samples of the moment, says which did exist. Without any: the rows that have not ended or that
    begin there, if they make up the device.
    """
    if seen:
        current = [row for row in rows if row["slice"] in seen]
        return [row for row in rows if row["slice"] in seen or (row["slice"] == UNALLOCATED and _claim(current) < 1)]
    for current in ([row for row in rows if not row["ended"]], [row for row in rows if not _long(row)]):
        if _claim(current) >= 1:
            return current
    return list(rows) if _claim(rows) == 1 else []


def _claim(rows: Iterable[Mapping[str, Any]]) -> Fraction:
    """Which part of the device rows claim together."""
    return sum((Fraction(row["share_num"], row["share_den"]) for row in rows), Fraction(0))


def went_on(
    device: str, at_ms: int, rows: Sequence[Mapping[str, Any]], raw: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The observation with which the ledger of a device goes on at `at_ms`, as fields of one sample per slice.

    rows: the ledger's, from that moment to the end of its minute. raw: the raw samples of that moment by slice, with
    `power_w`, `energy_mj`, `busy`, `busy_source`; without one the counter follows from the rows, and power and busy are
    unknown.
    """
    firsts = [row for row in rows if row["ts_start_ms"] == at_ms]
    energy_mj, power_w = _counter_at(at_ms, rows)
    found = []
    for row in firsts:
        if row["slice"] == UNALLOCATED:
            continue
        measured = raw.get(row["slice"], {"power_w": power_w, "energy_mj": energy_mj, "busy": None, "busy_source": ""})
        labels = (
            "node",
            "slice",
            "share_num",
            "share_den",
            "vendor",
            "gpu_model",
            "namespace",
            "pod",
            "job",
            "account",
        )
        found.append(
            {"ts": at_ms, "device": device, **{name: row[name] for name in labels}, **measured,
             "sm_active": None, "memory_used_mib": None, "temperature_c": None, "xid": None}
        )  # fmt: skip
    return found


def _stale(samples: LateSamples, after: Mapping[str, Sequence[Mapping[str, Any]]]) -> Bool:
    """Sightings whose energy counter is a little ahead of that with which the ledger went on: of another collector,
    whose clock is behind. What they have seen more is in the ledger already."""
    energy_mj, ts_ms = np.full((2, len(samples.devices)), -1)
    for position, device in enumerate(samples.devices):
        if fields := after.get(device):
            known = fields[0]["energy_mj"]
            energy_mj[position], ts_ms[position] = -1 if known is None else known, fields[0]["ts"]
    dt_ms = ts_ms[samples.device] - samples.ts_ms
    unknown_w = np.full(len(dt_ms), np.nan)
    energy = measure_energy(np.maximum(dt_ms, 1), samples.energy_mj, energy_mj[samples.device], unknown_w, unknown_w)
    return energy.stale & (dt_ms > 0)


def _counter_at(at_ms: int, rows: Sequence[Mapping[str, Any]]) -> tuple[int | None, float | None]:
    """Energy counter (mJ) and power of a device at the start of its rows, which lie in one minute."""
    if not rows:
        return None, None
    end_ms = max(row["ts_end_ms"] for row in rows)
    last = next(row for row in rows if row["ts_end_ms"] == end_ms)
    if end_ms == at_ms:  # nothing has followed that observation
        return last["energy_mj_end"], last["power_w_end"]
    if last["energy_mj_end"] is None or not all(row["method"] in _COUNTED for row in rows if _long(row)):
        return None, None
    return last["energy_mj_end"] - sum(row["row_energy_mj"] for row in rows), None


def _long(row: Mapping[str, Any]) -> bool:
    return bool(row["ts_end_ms"] > row["ts_start_ms"])


def _empty(row: Mapping[str, Any]) -> dict[str, Any]:
    """The head that a row leaves: labels and counters at its end, and nothing metered yet, so that what follows becomes
    a row of its own."""
    measured = dict.fromkeys(("gpu_ns", "row_energy_mj", "busy_ns", "busy_known_ns", "samples"), 0)
    return {**row, **measured, "ts_start_ms": row["ts_end_ms"], "method": METHODS[0], "ended": False}


def _fold(meter: GpuMeter, shard: str, cluster: str, batch: pa.RecordBatch, heads: list[dict[str, Any]]) -> None:
    unknown = set(meter.unknown_devices(shard, cluster, batch))
    if unknown:
        meter.load(shard, [head for head in heads if head["device"] in unknown])
    meter.fold(shard, batch)


def _within(meter: GpuMeter, holes: Sequence[Hole]) -> Rows:
    """The rows of a meter that lie in the holes: not the heads at their edges, which the ledger has."""
    final, growing = meter.take_rows()
    rows = {name: np.concatenate([final[name], growing[name]]) for name in final}
    by_device = {hole.device: hole for hole in holes}
    edges = [by_device[label.device] for label in meter.registry.labels]
    start = np.array([hole.start_ms for hole in edges], np.int64)[rows["label"]]
    end = np.array([hole.end_ms for hole in edges], np.int64)[rows["label"]]
    inside = (rows["start_ms"] < end) & ((rows["end_ms"] > rows["start_ms"]) | (rows["start_ms"] > start))
    return {name: column[inside] for name, column in rows.items()}


def _at(values: Int, index: Int) -> Int:
    """Values at indexes, -1 where the index is outside."""
    if not len(values):
        return np.full(len(index), -1, np.int64)
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.where(inside, index, 0)], -1)


def _ranks(sorted_values: Int) -> Int:
    """Position of each value among its equals; equal values stand together."""
    index = np.arange(len(sorted_values))
    fresh = np.flatnonzero(np.diff(sorted_values, prepend=-1))
    return index - np.repeat(fresh, np.diff(fresh, append=len(sorted_values)))


def _ranks_among(values: Int, chosen: Bool) -> Int:
    """As `_ranks`, among the chosen values in any order; -1 for the others."""
    ranks = np.full(len(values), -1, np.int64)
    index = np.flatnonzero(chosen)
    order = index[np.argsort(values[index], kind="stable")]
    ranks[order] = _ranks(values[order])
    return ranks
