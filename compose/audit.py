"""One audit of the book: what it examines, which rows are at fault.

An audit in `audits/*.sql` is one query over everything that it examines, with the columns `ts_start` and `fault`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from string import Template

from clickhouse_connect.driver.client import Client

from streams.metering.intervals import COUNTER_SLACK_MS, MAX_POWER_W

SHOWN = 20
"""Rows at fault that an audit returns."""
SAMPLES = 5_000_000
"""Raw samples that an audit reads at most; where there are more it takes a part of the devices, in turn."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What the tally and the book of a cluster do not agree on, added up without sign over what was examined."""

    cluster: str
    quantity: str
    amount: Decimal
    """In the unit of the quantity's column."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one audit found."""

    name: str
    protects: str
    """The promise that the audit checks, in a sentence."""
    examined: int
    unit: str
    """What was examined: rows, device minutes, …"""
    faults: int
    rows: list[dict[str, object]] = field(default_factory=list)
    """The first rows at fault, oldest first."""
    note: str = ""
    severity: str = "critical"
    """critical or warning: how bad it is when something is at fault."""
    differences: list[Difference] = field(default_factory=list)
    """Of an audit that compares the tally with the book: one per cluster and quantity, 0 where they agree."""
    seconds: float = 0.0
    """How long the audit took."""

    @property
    def passed(self) -> bool:
        """Whether nothing is at fault."""
        return self.faults == 0


@dataclass(frozen=True, slots=True)
class Scope:
    """What is examined."""

    since: datetime
    settled_s: Mapping[str, int]
    """Cluster -> unix second before which its minutes are settled: nothing is expected to change them any more."""
    settled_at: datetime
    """Messages that were stored before this moment are settled: none before them is still on its way."""
    max_gap_s: Mapping[str, float]
    """Cluster -> longest silence of a device that is metered."""
    rows: int
    """How many rows are recomputed with exact fractions, newest first."""
    token_difference: float = 0.01
    """Share by which tokens of engines and gateways may differ."""
    samples: int = 0
    """Raw samples kept from `since` on."""
    turn: int = 0
    """Which part of the devices is examined where their raw samples are too many."""

    def parameters(self) -> dict[str, object]:
        """For the placeholders of the audits."""
        clusters = sorted({*self.settled_s, *self.max_gap_s})
        # A cluster without usage of late is settled as far as the others are.
        settled_else = max(self.settled_s.values(), default=0)
        parts = max(1, math.ceil(self.samples / SAMPLES))
        return {
            "since": self.since,
            "clusters": clusters,
            "settled_s": [self.settled_s.get(cluster, settled_else) for cluster in clusters],
            "settled_else": settled_else,
            "settled_at": self.settled_at,
            "max_gap_s": [self.max_gap_s.get(cluster, 90.0) for cluster in clusters],
            "token_difference": self.token_difference,
            "parts": parts,
            "part": self.turn % parts,
            "max_power_w": MAX_POWER_W,
            "counter_slack_ms": COUNTER_SLACK_MS,
        }


_SUMMARY = Template("SELECT count(), countIf(fault), $note FROM (\n$query)")
_LISTING = Template(
    "SELECT * EXCEPT fault FROM (\n$query) WHERE fault ORDER BY ts_start, toString(tuple(*)) LIMIT $shown"
)
_DIFFERENCES = Template("SELECT cluster, $sums FROM (\n$query) GROUP BY cluster ORDER BY cluster")


@dataclass(frozen=True, slots=True)
class Audit:
    """A query over everything that is examined, with a column `fault`."""

    name: str
    protects: str
    unit: str
    note: str
    """An SQL expression over the whole, or empty."""
    severity: str
    tally: tuple[str, ...]
    """Quantities of the tally that it compares with the book: columns `tally_…` and `book_…`."""
    whole: bool
    """Whether it adds up all of history and is left out where only the last hours are examined."""
    query: str

    @classmethod
    def parse(cls, text: str) -> "Audit":
        """From a file of `audits/`: comments ``-- key: value`` before the query; a repeated key continues."""
        header, _, query = text.partition("\n\n")
        values: dict[str, str] = {}
        for key, value in re.findall(r"^-- (\w+): (.*)$", header, re.MULTILINE):
            values[key] = f"{values[key]} {value}" if key in values else value
        return cls(
            name=values["name"],
            protects=values["protects"],
            unit=values.get("unit", "rows"),
            note=values.get("note", "''"),
            severity=values.get("severity", "critical"),
            tally=tuple(values.get("tally", "").split()),
            whole=values.get("period") == "whole",
            query=query,
        )

    def run(self, client: Client, scope: Scope) -> list[CheckResult]:
        """Ask the book."""
        parameters = scope.parameters()
        summary = _SUMMARY.substitute(query=self.query, note=self.note)
        ((examined, faults, note),) = client.query(summary, parameters=parameters).result_rows
        rows: list[dict[str, object]] = []
        if faults:
            listing = _LISTING.substitute(query=self.query, shown=SHOWN)
            rows = [dict(row) for row in client.query(listing, parameters=parameters).named_results()]
        differences = self._differences(client, parameters)
        return [
            CheckResult(self.name, self.protects, examined, self.unit, faults, rows, note, self.severity, differences)
        ]

    def _differences(self, client: Client, parameters: dict[str, object]) -> list[Difference]:
        if not self.tally:
            return []
        sums = ", ".join(f"sum(abs(toDecimal128(tally_{name} - book_{name}, 9)))" for name in self.tally)
        query = _DIFFERENCES.substitute(query=self.query, sums=sums)
        return [
            Difference(cluster, quantity, amount)
            for cluster, *amounts in client.query(query, parameters=parameters).result_rows
            for quantity, amount in zip(self.tally, amounts, strict=True)
        ]
