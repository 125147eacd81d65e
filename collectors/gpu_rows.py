"""From the series of a GPU exporter's page to rows: one per device slice and holder.

What an exporter prints is not one series per device and quantity: MIG instances repeat the power and energy of their
GPU, a GPU shared by several pods (time slicing, MPS, DRA) or listed for two batch jobs appears once for each of them,
AMD partitions print it on the first one only. The rules that make rows of that:

- Power, energy, temperature and XID belong to the device: the largest value among its series, on each of its rows.
- Activity and memory belong to the slice: the largest value among the slice's series.
- A device with slices has no row of its own, and nothing here invents one for what is in no slice.
- A slice with several holders at once is divided equally among them, into slices named after the holders
  (`shared/namespace/pod`). Nobody can tell who used how much; equal parts add up to the device, so that no second
  and no joule is counted twice.

All of this is decided once per set of series. After that a page is a few array operations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from collectors import blanks
from collectors.exposition import MISSING, Floats, Page, PageError, SeriesSet
from collectors.readings import BUSY_SOURCES, GAUGES, WHOLES, Fault, GpuReading, GpuRows, label, unreadable_faults

MAX_SHARE = 64  # largest share denominator of the wire contract

Holder = tuple[str, str, str]
"""namespace, pod, job; all empty = nobody."""


class GpuKey(NamedTuple):
    """What the labels of a series say: of which device and slice it is, and who holds that."""

    device: str
    node: str
    gpu_model: str
    slice: str
    share_num: int
    """0 = the slice's share cannot be told from its labels."""
    share_den: int
    holder: Holder


@dataclass(frozen=True, slots=True)
class BusySource:
    """A column that can stand for `busy`."""

    column: str
    name: str
    """One of BUSY_SOURCES."""
    scale: float
    whole_device_only: bool = False


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one vendor's exporter prints what the rows need. Columns are those of its families."""

    name: str
    ranges: dict[str, str]
    """gauge column -> entry of blanks.RANGES"""
    power: tuple[str, ...]
    """In order of preference."""
    busy: tuple[BusySource, ...]
    energy_units_per_mj: int
    amd_blanks: bool = False
    zero_is_missing_in_slices: bool = False
    """Partitions other than the first print power and energy as 0."""


class _Row(NamedTuple):
    key: GpuKey
    part: tuple[str, str]
    """device and slice whose activity the row shows"""


class GpuPlan:
    """How one set of series becomes rows."""

    def __init__(self, vendor: Vendor, series: SeriesSet) -> None:
        self.vendor = vendor
        self.series = series
        self.faults: list[Fault] = []
        keys = cast(list[GpuKey], [entry.key for entry in (*series.gauges, *series.counters)])
        rows = _rows(keys, self.faults)
        self.rows = GpuRows(
            node=[label(row.key.node) for row in rows],
            device=[label(row.key.device) for row in rows],
            slice=[label(row.key.slice) for row in rows],
            share_num=[row.key.share_num for row in rows],
            share_den=[row.key.share_den for row in rows],
            gpu_model=[label(row.key.gpu_model) for row in rows],
            namespace=[label(row.key.holder[0]) for row in rows],
            pod=[label(row.key.holder[1]) for row in rows],
            job=[label(row.key.holder[2]) for row in rows],
        )
        sliced = {row.key.device for row in rows if row.part[1]}
        self._sliced_gauges = np.array([cast(GpuKey, s.key).device in sliced for s in series.gauges], bool)
        self._sliced_counters = np.array([cast(GpuKey, s.key).device in sliced for s in series.counters], bool)
        self._index_columns(rows, sliced)
        ranges = [blanks.RANGES[vendor.ranges[entry.column]] for entry in series.gauges]
        self._low = np.array([low for low, _ in ranges], np.float64)
        self._high = np.array([high for _, high in ranges], np.float64)
        self._amd_checked = np.array(
            [vendor.ranges[entry.column] in ("power_w", "memory_used_mib") for entry in series.gauges], bool
        )
        self._power_slots = np.array([entry.column in vendor.power for entry in series.gauges], bool)

    def _index_columns(self, rows: Sequence[_Row], sliced: set[str]) -> None:
        """For every row and column the slots of the page that feed it."""
        by_device: dict[tuple[str, str], list[int]] = {}
        by_part: dict[tuple[str, str, str], list[int]] = {}
        for slot, (column, key) in enumerate(self.series.gauges):
            gpu = cast(GpuKey, key)
            by_device.setdefault((column, gpu.device), []).append(slot)
            by_part.setdefault((column, gpu.device, gpu.slice), []).append(slot)
        energy: dict[str, list[int]] = {}
        for slot, (_, key) in enumerate(self.series.counters):
            energy.setdefault(cast(GpuKey, key).device, []).append(slot)

        def device_slots(row: _Row, columns: Iterable[str]) -> list[int]:
            return next((found for name in columns if (found := by_device.get((name, row.key.device)))), [])

        def busy_slots(row: _Row, source: BusySource | None) -> list[int]:
            if source is None or (source.whole_device_only and row.key.device in sliced):
                return []
            return by_part.get((source.column, *row.part), [])

        first = self.vendor.busy[0]
        second = self.vendor.busy[1] if len(self.vendor.busy) > 1 else None
        columns: list[list[list[int]]] = [
            [device_slots(row, self.vendor.power) for row in rows],
            [busy_slots(row, first) for row in rows],
            [by_part.get(("sm_active", *row.part), []) for row in rows],
            [by_part.get(("memory_used_mib", *row.part), []) for row in rows],
            [device_slots(row, ("temperature_c",)) for row in rows],
            [busy_slots(row, second) for row in rows],
            [device_slots(row, ("xid",)) for row in rows],
        ]
        self._gauge_index = _padded(columns, len(self.series.gauges))
        self._energy_index = _padded([[energy.get(row.key.device, []) for row in rows]], len(self.series.counters))
        self._scale = np.array([1, first.scale, 1, 1, 1, second.scale if second else 1, 1], np.float64)[:, None]
        self._first_busy = np.full(len(rows), BUSY_SOURCES.index(first.name), np.int32)
        self._second_busy = np.int32(BUSY_SOURCES.index(second.name) if second else 0)
        self._has_xid = any(columns[-1])
        self.measured = [
            {name for name, column in zip((*GAUGES, "busy", "xid"), columns, strict=True) if column[row]}
            | ({"energy_mj"} if energy.get(rows[row].key.device) else set())
            for row in range(len(rows))
        ]

    def evaluate(self, page: Page, faults: list[Fault]) -> GpuReading:
        """The rows' values on a page of this plan's series. Values that are no measurement are dropped with a fault."""
        values = self._sound_gauges(page, faults)[self._gauge_index]
        if values.ndim == 3:
            values = np.fmax.reduce(values, axis=2)
        values *= self._scale
        wholes = np.full((len(WHOLES), len(self.rows.device)), -1, np.int64)
        energy = self._sound_energy(page, faults)[self._energy_index]
        wholes[0] = energy[0] if energy.ndim == 2 else energy[0].max(axis=1)
        if self._has_xid:
            xid = values[6]
            wholes[1] = np.where(xid == xid, xid, -1)
        busy_source = self._first_busy
        known = values[1] == values[1]
        if not known.all():
            second = values[5]
            busy_source = np.where(known, self._first_busy, np.where(second == second, self._second_busy, np.int32(0)))
            values[1] = np.where(known, values[1], second)
        return GpuReading(
            vendor=self.vendor.name,
            rows=self.rows,
            gauges=values[: len(GAUGES)],
            wholes=wholes,
            busy_source=busy_source,
            lines=page.lines,
            faults=faults,
        )

    def _sound_gauges(self, page: Page, faults: list[Fault]) -> Floats:
        """(slots + 1,): the page's gauges, NaN where out of range or a blank; the last one stands for "no series"."""
        values = np.empty(page.gauges.size + 1)
        values[-1] = np.nan
        gauges = values[:-1]
        gauges[:] = page.gauges
        bad = (gauges < self._low) | (gauges > self._high)
        if self.vendor.amd_blanks:
            bad |= blanks.amd_blanks(gauges) & self._amd_checked
        if bad.any():
            for slot in np.flatnonzero(bad).tolist():
                column, key = self.series.gauges[slot]
                faults.append(self._fault(page.gauges[slot].item(), column, cast(GpuKey, key)))
            gauges[bad] = np.nan
        if self.vendor.zero_is_missing_in_slices:
            gauges[self._sliced_gauges & self._power_slots & (gauges == 0)] = np.nan
        return values

    def _sound_energy(self, page: Page, faults: list[Fault]) -> NDArray[np.int64]:
        """(slots + 1,): the page's energy counters in mJ, -1 where unknown or a blank; the last one is "no series"."""
        counters = page.counters
        bad = blanks.blank_counters(counters, self.vendor.amd_blanks)
        if self.vendor.zero_is_missing_in_slices:
            bad |= self._sliced_counters & (counters == 0)
        values = np.empty(counters.size + 1, np.int64)
        values[-1] = -1
        per_mj = self.vendor.energy_units_per_mj
        values[:-1] = counters if per_mj == 1 else counters // np.uint64(per_mj)
        if bad.any():
            values[:-1][bad] = -1
            for slot in np.flatnonzero(bad & (counters != MISSING) & (counters != 0)).tolist():
                column, key = self.series.counters[slot]
                faults.append(self._fault(int(counters[slot]), column, cast(GpuKey, key)))
        return values

    def _fault(self, value: float, column: str, key: GpuKey) -> Fault:
        quantity = self.vendor.ranges.get(column, column)
        kind = blanks.name(value, quantity, self.vendor.amd_blanks)
        where = f"{key.device} {key.slice}".rstrip()
        return Fault(kind, where, f"{column} {value} was dropped")


def _rows(keys: Iterable[GpuKey], faults: list[Fault]) -> list[_Row]:
    """The rows for the series of a page: devices in the page's order, the slices of each beside each other."""
    devices: dict[str, dict[str, dict[Holder, GpuKey]]] = {}
    models: dict[str, str] = {}
    for key in dict.fromkeys(keys):
        models[key.device] = models.get(key.device) or key.gpu_model
        devices.setdefault(key.device, {}).setdefault(key.slice, {}).setdefault(key.holder, key)
    rows: list[_Row] = []
    for device, slices in devices.items():
        if len(slices) > 1:
            slices.pop("", None)
        for name, holders in slices.items():
            first = next(iter(holders.values()))._replace(gpu_model=models[device])
            if first.share_num == 0:
                faults.append(Fault("unknown_slice_share", f"{device} {name}", f"counted as 1/{first.share_den}"))
                first = first._replace(share_num=1)
            rows += _divided(first, (device, name), sorted(holder for holder in holders if any(holder)), faults)
    return rows


def _divided(key: GpuKey, part: tuple[str, str], holders: list[Holder], faults: list[Fault]) -> list[_Row]:
    """One row, or one per holder in equal parts when there are several."""
    if len(holders) < 2:
        return [_Row(key._replace(holder=holders[0] if holders else ("", "", "")), part)]
    share = Fraction(key.share_num, key.share_den * len(holders))
    if share.denominator > MAX_SHARE:
        detail = f"{len(holders)} holders cannot be told apart, the slice is counted as held by nobody"
        faults.append(Fault("too_many_sharers", f"{key.device} {key.slice}".rstrip(), detail))
        return [_Row(key._replace(holder=("", "", "")), part)]
    return [
        _Row(
            key._replace(
                slice="/".join(word for word in (key.slice, "shared", *holder) if word),
                share_num=share.numerator,
                share_den=share.denominator,
                holder=holder,
            ),
            part,
        )
        for holder in holders
    ]


def _padded(columns: list[list[list[int]]], pad: int) -> NDArray[np.intp]:
    """(columns, rows, most slots of a cell): indices of slots, filled up with `pad`; (columns, rows) if that is one."""
    depth = max(1, *(len(cell) for column in columns for cell in column))
    if depth == 1:
        return np.array([[cell[0] if cell else pad for cell in column] for column in columns], np.intp)
    return np.array([[cell + [pad] * (depth - len(cell)) for cell in column] for column in columns], np.intp)


class GpuPages:
    """Turns the pages of one target into readings; remembers the plan of the last set of series."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._plan: GpuPlan | None = None

    def reading(self, page: Page) -> GpuReading:
        """Raises PageError when the page holds no device."""
        if not page.series.gauges and not page.series.counters:
            raise PageError("no_series", "the page holds no series of a GPU")
        faults = unreadable_faults(page.unreadable, page.unreadable_count)
        plan = self._plan
        if plan is None or plan.series is not page.series:
            plan = GpuPlan(self._vendor, page.series)
            if self._plan is not None:
                faults += _vanished(self._plan, plan)
                if _equal(self._plan.rows, plan.rows):
                    plan.rows = self._plan.rows
            self._plan = plan
        return plan.evaluate(page, faults + plan.faults)


def _equal(a: GpuRows, b: GpuRows) -> bool:
    return all(getattr(a, column.name) == getattr(b, column.name) for column in fields(GpuRows))


def _vanished(before: GpuPlan, after: GpuPlan) -> list[Fault]:
    """Devices and quantities that were on the previous page and are on this one no longer."""
    devices = set(after.rows.device)
    faults = [
        Fault("device_vanished", device, "the page no longer shows this device")
        for device in dict.fromkeys(before.rows.device)
        if device not in devices
    ]
    measured = {
        (device, name): columns
        for device, name, columns in zip(after.rows.device, after.rows.slice, after.measured, strict=True)
    }
    for device, name, columns in zip(before.rows.device, before.rows.slice, before.measured, strict=True):
        lost = columns - measured.get((device, name), columns)
        if lost:
            faults.append(
                Fault("series_vanished", f"{device} {name}".rstrip(), f"no longer on the page: {sorted(lost)}")
            )
    return faults
