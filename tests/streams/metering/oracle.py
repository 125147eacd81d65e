"""The meter of GPU time written once more, device by device, in exact fractions: what the ledger must hold.

Written from the measuring rules alone and shares no code with the meter. Slow, obvious, and therefore the judge.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from typing import NamedTuple

from tests.streams.metering.samples import Observation, Slice, Tenant

MINUTE_MS = 60_000
NS_PER_MS = 1_000_000
MAX_POWER_W = 3000
COUNTER_SLACK_MS = 60_000
LONGEST_BRIDGE_MS = 24 * 3600 * 1000
LARGEST_SKEW_MS = 60_000


class Row(NamedTuple):
    """One row of the ledger."""

    cluster: str
    device: str
    slice: str
    ts_start: int
    ts_end: int
    shard: str
    node: str
    vendor: str
    gpu_model: str
    share: tuple[int, int]
    tenant: Tenant
    gpu_ns: int
    energy_mj: int
    busy_ns: int
    busy_known_ns: int
    energy_mj_end: int | None
    samples: int
    method: str


@dataclass(frozen=True)
class Piece:
    """A slice of a device, or what no slice holds, and which part of the device it is."""

    name: str
    share: tuple[int, int]
    tenant: Tenant
    lower: Fraction
    upper: Fraction
    busy: float | None

    def part_of(self, amount: int) -> int:
        """This piece's part of an amount: parts of all pieces add up to it."""
        return floor(amount * self.upper) - floor(amount * self.lower)

    def identity(self, observation: Observation) -> tuple[object, ...]:
        """What ends a row when it changes."""
        return (observation.node, observation.vendor, observation.gpu_model, self.name, self.share, self.tenant)


@dataclass
class OpenRow:
    """A row that can still grow."""

    start: int
    end: int
    shard: str = ""
    method: str = ""
    gpu_ns: int = 0
    energy_mj: int = 0
    busy_ns: int = 0
    busy_known_ns: int = 0
    energy_mj_end: int | None = None
    samples: int = 0


def cut(slices: Iterable[Slice]) -> list[Piece]:
    """The pieces of a device in the order of slice names; slices that claim more than the device share it out."""
    ordered = sorted(slices, key=lambda part: part.name)
    claimed = sum((part.share for part in ordered), Fraction(0))
    scale = 1 / max(claimed, Fraction(1))
    pieces, lower = [], Fraction(0)
    for part in ordered:
        upper = lower + part.share * scale
        pieces.append(Piece(part.name, (part.share_num, part.share_den), part.tenant, lower, upper, part.busy))
        lower = upper
    if claimed < 1:
        left = 1 - claimed
        share = (left.numerator, left.denominator)
        pieces.append(Piece("unallocated", share, Tenant(), lower, Fraction(1), 0.0))
    return pieces


def measure(before: Observation, after: Observation) -> tuple[str, int]:
    """How the energy of an interval is known, and the energy in mJ."""
    elapsed_ms = after.ts_ms - before.ts_ms
    if before.energy_mj is not None and after.energy_mj is not None:
        rise = after.energy_mj - before.energy_mj
        if 0 <= rise <= MAX_POWER_W * (elapsed_ms + COUNTER_SLACK_MS):
            return "counter", rise
    if before.power_w is not None and after.power_w is not None:
        return "integrated", round((before.power_w + after.power_w) / 2 * elapsed_ms)  # 1 W for 1 ms is 1 mJ
    return "time", 0


def is_stale(before: Observation, after: Observation) -> bool:
    """Whether a counter fell because the later observation was taken earlier, by a clock that is ahead: the two are
    close in time, the fall is what a device can use within the difference of two clocks, and half of it is left."""
    if before.energy_mj is None or after.energy_mj is None or after.energy_mj >= before.energy_mj:
        return False
    fall = before.energy_mj - after.energy_mj
    return (
        after.ts_ms - before.ts_ms <= LARGEST_SKEW_MS
        and fall <= MAX_POWER_W * LARGEST_SKEW_MS
        and 2 * after.energy_mj > before.energy_mj
    )


def minutes(start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) cut at minutes."""
    while start < end:
        stop = min(end, (start // MINUTE_MS + 1) * MINUTE_MS)
        yield start, stop
        start = stop


@dataclass
class DeviceOracle:
    """The chain of one device."""

    max_gap_ms: int
    rows: list[Row] = field(default_factory=list)
    metered: list[tuple[int, int]] = field(default_factory=list)
    """Intervals that were metered."""
    counted_mj: int = 0
    """Rises of the counter over the intervals that were metered by it."""
    _head: Observation | None = None
    _pieces: list[Piece] = field(default_factory=list)
    _open: dict[str, OpenRow] = field(default_factory=dict)

    def see(self, now: Observation) -> None:
        """Take in an observation."""
        head = self._head
        if head is not None and now.ts_ms <= head.ts_ms:
            return
        if head is not None and is_stale(head, now):
            now = replace(now, energy_mj=head.energy_mj)  # what was read before is known already
        pieces = cut(now.slices)
        if head is None:
            self._restart(now, pieces)
        else:
            same = {p.identity(head) for p in self._pieces} == {p.identity(now) for p in pieces}
            method, energy_mj = measure(head, now)
            elapsed_ms = now.ts_ms - head.ts_ms
            if elapsed_ms > self.max_gap_ms:
                method = "bridged" if method == "counter" and same and elapsed_ms <= LONGEST_BRIDGE_MS else ""
            if method:
                self._meter(head, now, pieces, method, energy_mj)
                if not same:
                    self._change(head, now, pieces)
            else:
                self._restart(now, pieces)
        self._head, self._pieces = now, pieces

    def finish(self) -> list[Row]:
        """Every row, the open ones too."""
        if self._head is not None:
            for piece in self._pieces:
                self._close(self._head, piece)
        return self.rows

    def _restart(self, now: Observation, pieces: list[Piece]) -> None:
        if self._head is not None:
            for piece in self._pieces:
                self._close(self._head, piece)
        for piece in pieces:
            self._open[piece.name] = OpenRow(now.ts_ms, now.ts_ms, samples=1)

    def _change(self, head: Observation, now: Observation, pieces: list[Piece]) -> None:
        going_on = {piece.identity(now) for piece in pieces}
        for piece in self._pieces:
            if piece.identity(head) not in going_on:
                self._close(head, piece)
        for piece in pieces:
            if piece.name not in self._open:
                self._open[piece.name] = OpenRow(now.ts_ms, now.ts_ms)

    def _close(self, observation: Observation, piece: Piece) -> None:
        row = self._open.pop(piece.name)
        if row.end > row.start:
            self.rows.append(
                Row(
                    observation.cluster, observation.device, piece.name, row.start, row.end, row.shard,
                    observation.node, observation.vendor, observation.gpu_model, piece.share, piece.tenant,
                    row.gpu_ns, row.energy_mj, row.busy_ns, row.busy_known_ns, row.energy_mj_end, row.samples,
                    row.method,
                )
            )  # fmt: skip

    def _meter(self, head: Observation, now: Observation, pieces: list[Piece], method: str, energy_mj: int) -> None:
        t0, t1 = head.ts_ms, now.ts_ms
        self.metered.append((t0, t1))
        by_counter = method in ("counter", "bridged")
        self.counted_mj += energy_mj if by_counter else 0
        busy = {piece.name: piece.busy for piece in pieces}
        if all(piece.name != "unallocated" for piece in pieces):
            busy["unallocated"] = 0.0
        for start, end in minutes(t0, t1):
            used = floor(Fraction(energy_mj * (start - t0), t1 - t0))
            until = floor(Fraction(energy_mj * (end - t0), t1 - t0))
            for piece in self._pieces:
                row = self._open[piece.name]
                if row.end > row.start and (
                    row.start // MINUTE_MS != start // MINUTE_MS or row.method != method or row.shard != now.shard
                ):
                    self._close(head, piece)
                    row = self._open[piece.name] = OpenRow(start, start)
                # Device time is cut at fractions of absolute time, so that splitting an interval changes nothing.
                gpu_ns = piece.part_of(end * NS_PER_MS) - piece.part_of(start * NS_PER_MS)
                row.end, row.shard, row.method = end, now.shard, method
                row.gpu_ns += gpu_ns
                row.energy_mj += piece.part_of(until - used)
                load = busy.get(piece.name)
                if load is not None:
                    row.busy_ns += round(load * gpu_ns)  # a measured ratio is a float, and no money follows from it
                    row.busy_known_ns += gpu_ns
                row.samples += end == t1
                if by_counter and head.energy_mj is not None:
                    row.energy_mj_end = head.energy_mj + until
                else:
                    row.energy_mj_end = now.energy_mj if end == t1 else None


def run(observations: Iterable[Observation], max_gap_ms: Mapping[str, int]) -> dict[tuple[str, str], DeviceOracle]:
    """The finished oracle of each (cluster, device). Observations of one device come in the order of delivery."""
    devices: dict[tuple[str, str], DeviceOracle] = {}
    for observation in observations:
        devices.setdefault(observation.chain, DeviceOracle(max_gap_ms[observation.cluster])).see(observation)
    for device in devices.values():
        device.finish()
    return devices
