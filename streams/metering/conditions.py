"""Devices that an operator should know of, as of the last tick of a shard.

They are grouped where they are found, by the agreement that holds them or the node that they stand in: a rack that
overheats is one matter, and what follows from it costs no more than one device would.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.alert_rules import BY_ID
from schemas.config_alerts import Alerts
from schemas.usage import DeviceCondition
from streams.metering.gpu import GpuMeter
from streams.metering.intervals import Bool, Float, Int
from streams.metering.labels import LabelSet
from streams.metering.layout import Layout
from streams.metering.ticks import Tick

SHOWN = 5
"""Devices that a condition names."""


class Limits(NamedTuple):
    """What counts as a condition."""

    idle_for_ms: int
    hot_above_c: float
    hot_until_c: float
    """A device that was too hot counts as hot until it has cooled down to this."""
    frozen_for_ms: int


def limits_of(alerts: Alerts) -> Limits:
    """As configured."""
    hot_above_c = float(alerts.hot_above_c)
    return Limits(
        idle_for_ms=round(alerts.idle_for * 1000),
        hot_above_c=hot_above_c,
        hot_until_c=hot_above_c * BY_ID["over_temperature"].clears_at,
        frozen_for_ms=round(alerts.counter_frozen_for * 1000),
    )


class _Found(NamedTuple):
    """Slices or devices in one condition, (n) each."""

    labels: Int
    """Index of a label set of each in the meter's registry."""
    values: Float
    gpus: Float
    beyond: Bool
    """False for those that only go on to be in it."""


_NONE = _Found(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.bool_))


class DeviceWatch:
    """Names the conditions of a shard's devices.

    `agreement_of` tells whose a slice with these labels is; empty: nobody's who has one.
    """

    def __init__(self, meter: GpuMeter, limits: Limits, agreement_of: Callable[[LabelSet], str]) -> None:
        self._meter = meter
        self._limits = limits
        self._holders = _Groups(
            meter, lambda label: ("", agreement) if (agreement := agreement_of(label)) else (label.node, "")
        )
        self._nodes = _Groups(meter, lambda label: (label.node, ""))

    def conditions(self, shard: str) -> list[DeviceCondition]:
        """Slices held but idle for too long; devices with an XID error, too hot, or with a frozen energy counter."""
        state = self._meter.shards.get(shard)
        if state is None or state.layout is None or state.tick is None or not len(state.layout.devices):
            return []
        layout, tick = state.layout, state.tick
        found = [*self._conditions("idle", self._holders, self._idle(layout, tick), "{:,.0f} s")]
        for kind, trouble, text in (
            ("xid", self._xid(layout, tick), "XID {:.0f}"),
            ("hot", self._hot(layout, tick), "{:.0f} °C"),
            ("frozen", self._frozen(layout, tick), "{:,.0f} s"),
        ):
            found += self._conditions(kind, self._nodes, trouble, text)
        return found

    def _idle(self, layout: Layout, tick: Tick) -> _Found:
        since = self._meter.slot.idle_since_ms[layout.pieces.slot_index]
        if since.max(initial=-1) < 0:
            return _NONE
        now = tick.ts_ms[layout.first_row_index][layout.pieces.position_index]
        idle_ms = np.where(since >= 0, now - since, -1)
        pieces = np.flatnonzero(idle_ms >= self._limits.idle_for_ms)
        gpus = (layout.upper[pieces] - layout.lower[pieces]) / layout.denominator[pieces]
        return _Found(layout.labels[pieces], idle_ms[pieces] / 1000, gpus, np.ones(len(pieces), np.bool_))

    def _xid(self, layout: Layout, tick: Tick) -> _Found:
        xid = tick.xid[layout.first_row_index]
        return _devices(layout, xid, xid > 0, xid > 0)

    def _hot(self, layout: Layout, tick: Tick) -> _Found:
        degrees = tick.temperature_c[layout.first_row_index]
        return _devices(layout, degrees, degrees > self._limits.hot_until_c, degrees > self._limits.hot_above_c)

    def _frozen(self, layout: Layout, tick: Tick) -> _Found:
        since = self._meter.device.frozen_since_ms[layout.device_index]
        if since.max(initial=-1) < 0:
            return _NONE
        still_ms = np.where(since >= 0, tick.ts_ms[layout.first_row_index] - since, -1)
        frozen = still_ms >= self._limits.frozen_for_ms
        return _devices(layout, still_ms / 1000, frozen, frozen)

    def _conditions(self, kind: str, groups: "_Groups", found: _Found, text: str) -> Iterator[DeviceCondition]:
        if not len(found.labels):
            return
        codes = groups.codes(found.labels)
        order = np.lexsort((-found.values, codes))  # the worst of each group first
        begins = np.flatnonzero(np.diff(codes[order], prepend=-1))
        registry = self._meter.registry
        for members in np.split(order, begins[1:]):
            beyond = members[found.beyond[members]]
            counted = beyond if len(beyond) else members
            labels = found.labels[counted]
            node, agreement = groups.names[codes[members[0]]]
            yield DeviceCondition(
                kind=kind,
                node=node,
                agreement=agreement,
                devices=len(np.unique(registry.label.device[labels])),
                gpus=float(found.gpus[counted].sum()),
                value=float(found.values[members[0]]),
                evidence=[
                    f"{registry.labels[label].device}: {text.format(value)}"
                    for label, value in zip(
                        labels[:SHOWN].tolist(), found.values[counted][:SHOWN].tolist(), strict=True
                    )
                ],
            )


def _devices(layout: Layout, values: NDArray[np.generic], which: Bool, beyond: Bool) -> _Found:
    """Those of the layout's devices, each under a label set of its own; `values`, `which` and `beyond` are (m)."""
    chosen = np.flatnonzero(which)
    if not len(chosen):
        return _NONE
    label_of = np.empty(len(layout.devices), np.int64)
    label_of[layout.piece_position] = layout.labels
    return _Found(label_of[chosen], values[chosen].astype(np.float64), np.ones(len(chosen), np.float64), beyond[chosen])


class _Groups:
    """Which group each label set belongs to, asked once for each."""

    def __init__(self, meter: GpuMeter, name_of: Callable[[LabelSet], tuple[str, str]]) -> None:
        self._meter = meter
        self._name_of = name_of
        self._codes = np.empty(0, np.int64)
        self._known: dict[tuple[str, str], int] = {}
        self.names: list[tuple[str, str]] = []
        """(node, agreement) of each code."""

    def codes(self, labels: Int) -> Int:
        """The group of each of these label sets."""
        registry = self._meter.registry
        if len(self._codes) < len(registry.labels):
            room = np.full(max(2 * len(self._codes), len(registry.labels)), -1, np.int64)
            room[: len(self._codes)] = self._codes
            self._codes = room
        for label in labels[self._codes[labels] < 0].tolist():
            name = self._name_of(registry.labels[label])
            code = self._known.setdefault(name, len(self.names))
            if code == len(self.names):
                self.names.append(name)
            self._codes[label] = code
        found: Int = self._codes[labels]
        return found
