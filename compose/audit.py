"""One audit of the book: what it examines, which rows are at fault.

An audit in `audits/*.sql` is one query over everything that it examines, with the columns `ts_start` and `fault`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from string import Template

from clickhouse_connect.driver.client import Client

SHOWN = 20
"""Rows at fault that an audit returns."""


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
    max_gap_s: Mapping[str, float]
    """Cluster -> longest silence of a device that is metered."""
    rows: int
    """How many rows are recomputed with exact fractions, newest first."""

    def parameters(self) -> dict[str, object]:
        """For the placeholders of the audits."""
        clusters = sorted({*self.settled_s, *self.max_gap_s})
        return {
            "since": self.since,
            "clusters": clusters,
            "settled_s": [self.settled_s.get(cluster, 0) for cluster in clusters],
            "max_gap_s": [self.max_gap_s.get(cluster, 90.0) for cluster in clusters],
        }


_SUMMARY = Template("SELECT count(), countIf(fault), $note FROM (\n$query)")
_LISTING = Template(
    "SELECT * EXCEPT fault FROM (\n$query) WHERE fault ORDER BY ts_start, toString(tuple(*)) LIMIT $shown"
)


@dataclass(frozen=True, slots=True)
class Audit:
    """A query over everything that is examined, with a column `fault`."""

    name: str
    protects: str
    unit: str
    note: str
    """An SQL expression over the whole, or empty."""
    query: str

    @classmethod
    def parse(cls, text: str) -> "Audit":
        """From a file of `audits/`: comments ``-- key: value`` before the query; a repeated key continues."""
        header, _, query = text.partition("\n\n")
        values: dict[str, str] = {}
        for key, value in re.findall(r"^-- (\w+): (.*)$", header, re.MULTILINE):
            values[key] = f"{values[key]} {value}" if key in values else value
        return cls(values["name"], values["protects"], values.get("unit", "rows"), values.get("note", "''"), query)

    def run(self, client: Client, scope: Scope) -> CheckResult:
        """Ask the book."""
        parameters = scope.parameters()
        summary = _SUMMARY.substitute(query=self.query, note=self.note)
        ((examined, faults, note),) = client.query(summary, parameters=parameters).result_rows
        rows: list[dict[str, object]] = []
        if faults:
            listing = _LISTING.substitute(query=self.query, shown=SHOWN)
            rows = [dict(row) for row in client.query(listing, parameters=parameters).named_results()]
        return CheckResult(self.name, self.protects, examined, self.unit, faults, rows, note)
