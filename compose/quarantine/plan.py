"""What a replay would do: where the samples of each message lie in the ledger, and the rows that fill its holes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from compose.quarantine.entries import Entry
from compose.quarantine.ledger import LateLedger
from compose.quarantine.reading import Reading
from schemas.config import Config
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS
from streams.booking.gpu import GpuBooking
from streams.late import Filled, LateSamples, Placing, Spans, fill
from streams.meter import max_gaps_ms
from streams.metering.intervals import Bool
from streams.metering.ticks import times
from streams.reference import Reference
from streams.telemetry import Message


class Share(NamedTuple):
    """Where the samples of a message go."""

    filled: int = 0
    """They lie in a hole of the ledger of their device and are metered."""
    published: int = 0
    """They are newer than everything of their device or counter: the workers take them."""
    covered: int = 0
    """The ledger has rows for their time."""
    early: int = 0
    """Token samples older than the first row of their counter."""

    @property
    def outcome(self) -> str:
        """In a word, as the book has it."""
        return "filled" if self.filled else "published" if self.published else "covered"


@dataclass
class Plan:
    """What follows from replaying some readable messages together."""

    readings: Sequence[Reading]
    shares: dict[Entry, Share] = field(default_factory=dict)
    fills: list[Filled] = field(default_factory=list)
    rows: list[pa.Table] = field(default_factory=list)
    """For each fill, its rows as columns of gpu_usage_store."""

    @property
    def to_publish(self) -> list[Reading]:
        """Messages to send to their topics again, in the order in which they came."""
        chosen = [reading for reading in self.readings if self.shares[reading.entry].published]
        return sorted(chosen, key=lambda reading: reading.entry.origin)


class Planner:
    """Makes plans against the book as it is."""

    def __init__(self, ledger: LateLedger, config: Config) -> None:
        self._ledger = ledger
        self._max_gap_ms = max_gaps_ms(config)
        self._reference = Reference(config)

    def plan(self, readings: Sequence[Reading]) -> Plan:
        """`readings` are of readable messages."""
        plan = Plan(readings)
        groups: dict[tuple[str, str], list[Reading]] = {}
        for reading in readings:
            if reading.message is None:  # a state: newer ones replace it, wherever it comes
                plan.shares[reading.entry] = Share(published=1)
            elif not reading.message.batch.num_rows:
                plan.shares[reading.entry] = Share()
            else:
                groups.setdefault((reading.entry.topic, reading.message.envelope.cluster), []).append(reading)
        for (topic, cluster), group in sorted(groups.items()):
            if topic == TELEMETRY_GPU:
                self._gpu(plan, cluster, group)
            elif topic == TELEMETRY_TOKENS:
                self._tokens(plan, cluster, group)
        return plan

    def _gpu(self, plan: Plan, cluster: str, group: Sequence[Reading]) -> None:
        samples = LateSamples(_messages(group))
        ledger = self._ledger
        spans = Spans(samples.devices, ledger.spans(cluster, samples.devices, samples.since_ms, samples.until_ms))
        placing = Placing(samples, spans)
        for holes, chosen in placing.waves():
            filled = fill(
                samples, chosen, holes, ledger.before(cluster, holes), ledger.after(cluster, holes), self._max_gap_ms
            )
            plan.fills.append(filled)
            plan.rows.append(_plain(GpuBooking(filled.meter, self._reference).table(filled.rows)[0]))

        def counted(which: Bool) -> list[int]:
            return [int(n) for n in np.bincount(samples.message[which], minlength=len(group))]

        counts = zip(counted(placing.in_hole), counted(placing.newest), counted(placing.covered), strict=True)
        for reading, (filled_, newest, covered) in zip(group, counts, strict=True):
            plan.shares[reading.entry] = Share(filled_, newest, covered)

    def _tokens(self, plan: Plan, cluster: str, group: Sequence[Reading]) -> None:
        """Only what is newer than everything of its counter adds to it: the next observation that the ledger had covers
        whatever was counted before it."""
        endpoints = {endpoint for message in _messages(group) for endpoint in _texts(message, "endpoint")}
        chains = self._ledger.counters(cluster, sorted(endpoints))
        for reading, message in zip(group, _messages(group), strict=True):
            names = zip(*(_texts(message, name) for name in ("endpoint", "replica", "model", "team")), strict=True)
            share = Share()
            for counter, ts_ms in zip(names, times(message.batch).tolist(), strict=True):
                first_ms, last_ms = chains.get(counter, (0, -1))
                where = "published" if ts_ms > last_ms else "covered" if ts_ms >= first_ms else "early"
                share = share._replace(**{where: getattr(share, where) + 1})
            plan.shares[reading.entry] = share


def _messages(group: Iterable[Reading]) -> list[Message]:
    return [reading.message for reading in group if reading.message is not None]


def _texts(message: Message, name: str) -> list[str]:
    texts: list[str] = message.batch.column(name).to_pylist()
    return texts


def _plain(rows: pa.Table) -> pa.Table:
    """Without dictionaries, so that tables of several meters can be joined."""
    for position, field_ in enumerate(rows.schema):
        if pa.types.is_dictionary(field_.type):
            rows = rows.set_column(position, field_.name, rows.column(position).cast(pa.string()))
    return rows
