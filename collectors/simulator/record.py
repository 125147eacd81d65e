"""What truly happened between the first and the last scrape of each target, kept apart from the pages.

Two accounts of who held a slice are kept, because a meter that reads labels can only know the first:

- ``shown``: the labels of one scrape hold until the next one (the meter's own rule, applied to the true moments);
- ``true``: the tenant changes when it changed, between two scrapes.

Totals per device are the same in both. Times are those at which a page was made; a collector notes a few ms later.
"""

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from collectors.simulator.tenants import Tenant
from collectors.simulator.topology import Node

Floats = npt.NDArray[np.float64]

RECENT = 8
"""Scrapes whose totals stay in the record, so that one whose page was fetched but lost can be told apart."""
VERSION = 1
UNALLOCATED = "unallocated"


@dataclass
class TargetLedger:
    """Scrapes of one address that were answered to the end. Moments in s of the fabric's clock."""

    url: str
    kind: str
    cluster: str
    first_s: float | None = None
    last_s: float | None = None
    scrapes: int = 0

    def scraped(self, at_s: float) -> None:
        """One more."""
        self.first_s = at_s if self.first_s is None else self.first_s
        self.last_s = at_s
        self.scrapes += 1


@dataclass(frozen=True, slots=True)
class Counter:
    """One set of token counters of a page: an engine of a server, or a team of a gateway."""

    replica: str
    team: str


Totals = tuple[int, int, int, int]
"""prompt, cached, generation tokens, finished requests."""


@dataclass
class TokenLedger:
    """Tokens of one address: lifetime totals of each of its counters at the first and the newest scrapes."""

    target: TargetLedger
    deployment: str
    model: str
    layer: str
    counters: list[Counter]
    first: list[Totals] = field(default_factory=list)
    recent: deque[tuple[float, list[Totals]]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def scraped(self, at_s: float, totals: list[Totals]) -> None:
        """One scrape, with what had been served until its page."""
        if self.target.first_s is None:
            self.first = totals
        self.target.scraped(at_s)
        self.recent.append((at_s, totals))


@dataclass(frozen=True, slots=True)
class Holding:
    """Who held which slice of the node."""

    slice: int
    tenant: Tenant | None


@dataclass
class NodeLedger:
    """Device time and energy of one node, by whoever held its slices."""

    target: TargetLedger
    node: Node
    shown: dict[Holding, Floats] = field(default_factory=dict)
    true: dict[Holding, Floats] = field(default_factory=dict)
    first_j: Floats = field(default_factory=lambda: np.zeros(0))
    recent: deque[tuple[float, Floats]] = field(default_factory=lambda: deque(maxlen=RECENT))
    reloads: int = 0
    _shown_from: tuple[float, Floats, Sequence[Tenant | None], int] | None = None
    _true_from: tuple[float, Floats] | None = None
    _changes: list[tuple[float, Floats, Sequence[Tenant | None]]] = field(default_factory=list)

    def changed(self, at_s: float, life_j: Floats, before: Sequence[Tenant | None]) -> None:
        """A tenant came or went; `before` held until now."""
        if self._true_from:
            self._changes.append((at_s, life_j.copy(), list(before)))

    def scraped(self, at_s: float, life_j: Floats, tenants: Sequence[Tenant | None], version: int) -> None:
        """One scrape whose page was made at `at_s` with these labels; the same version means the same labels."""
        self.target.scraped(at_s)
        self.recent.append((at_s, life_j))
        if self._shown_from is None or self._true_from is None:
            self.first_j = life_j
            self._shown_from, self._true_from = (at_s, life_j, tenants, version), (at_s, life_j)
            return
        if self._shown_from[3] != version:
            self._credit(self.shown, self._shown_from, (at_s, life_j), self._shown_from[2])
            self._shown_from = (at_s, life_j, tenants, version)
        while self._changes and self._changes[0][0] <= at_s:
            moment, energy, before = self._changes.pop(0)
            self._credit(self.true, self._true_from, (moment, energy), before)
            self._true_from = (moment, energy)

    def totals(self) -> tuple[dict[Holding, Floats], dict[Holding, Floats]]:
        """(shown, true) up to the newest scrape: arrays of device seconds and joules."""
        shown = {holding: value.copy() for holding, value in self.shown.items()}
        true = {holding: value.copy() for holding, value in self.true.items()}
        if self.recent and self._shown_from and self._true_from:
            end = self.recent[-1]
            self._credit(shown, self._shown_from, end, self._shown_from[2])
            held = self._changes[0][2] if self._changes else self._shown_from[2]
            self._credit(true, self._true_from, end, held)
        return shown, true

    def _credit(
        self,
        account: dict[Holding, Floats],
        start: tuple[float, Floats] | tuple[float, Floats, Sequence[Tenant | None], int],
        end: tuple[float, Floats],
        tenants: Sequence[Tenant | None],
    ) -> None:
        seconds, joules = end[0] - start[0], end[1] - start[1]
        if seconds <= 0:
            return
        first = self.node.devices.start
        for index, (part, tenant) in enumerate(zip(self.node.slice_list, tenants, strict=True)):
            num, den = part.share
            gained = np.array([seconds, float(joules[part.device - first])]) * (num / den)
            holding = Holding(index, tenant)
            account[holding] = account[holding] + gained if holding in account else gained


@dataclass
class Record:
    """The whole fabric's ledgers, written as one JSON file."""

    seed: int
    epoch_unix_s: float
    """Wall clock at 0 s of the fabric's clock."""
    nodes: list[NodeLedger] = field(default_factory=list)
    tokens: list[TokenLedger] = field(default_factory=list)
    others: list[TargetLedger] = field(default_factory=list)
    events: list[dict[str, object]] = field(default_factory=list)

    def event(self, at_s: float, kind: str, subject: str) -> None:
        """Something that a meter should notice."""
        self.events.append({"at_ms": self._ms(at_s), "kind": kind, "subject": subject})

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(self.as_dict(), separators=(",", ":")), encoding="utf-8")
        os.replace(partial, path)

    def as_dict(self) -> dict[str, object]:
        """The record as JSON holds it; targets that were never scraped have null moments and no other entries."""
        targets = [ledger.target for ledger in self.nodes] + [ledger.target for ledger in self.tokens] + self.others
        return {
            "version": VERSION,
            "seed": self.seed,
            "targets": [
                {"url": one.url, "kind": one.kind, "cluster": one.cluster, "scrapes": one.scrapes} | self._span(one)
                for one in targets
            ],
            "tokens": [row for ledger in self.tokens if ledger.recent for row in self._token_rows(ledger)],
            "devices": [row for ledger in self.nodes if ledger.recent for row in self._device_rows(ledger)],
            "holdings": [row for ledger in self.nodes if ledger.recent for row in self._holding_rows(ledger)],
            "events": self.events,
        }

    def _token_rows(self, ledger: TokenLedger) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for index, counter in enumerate(ledger.counters):
            first = ledger.first[index]
            recent = [
                [self._ms(at_s), *(now - then for now, then in zip(totals[index], first, strict=True))]
                for at_s, totals in ledger.recent
            ]
            _, prompt, cached, generation, requests = recent[-1]
            rows.append(
                {
                    "cluster": ledger.target.cluster,
                    "endpoint": endpoint_of(ledger.target.url),
                    "url": ledger.target.url,
                    "replica": counter.replica,
                    "model": ledger.model,
                    "deployment": ledger.deployment,
                    "team": counter.team,
                    "layer": ledger.layer,
                    **self._span(ledger.target),
                    "prompt_tokens": prompt,
                    "cached_tokens": cached,
                    "generation_tokens": generation,
                    "requests": requests,
                    "recent": recent,
                }
            )
        return rows

    def _device_rows(self, ledger: NodeLedger) -> list[dict[str, object]]:
        span_s = ledger.recent[-1][0] - (ledger.target.first_s or 0.0)
        return [
            {
                "cluster": ledger.node.cluster,
                "node": ledger.node.name,
                "device": device.identity,
                "gpu_model": device.gpu.model,
                **self._span(ledger.target),
                "gpu_seconds": round(span_s, 6),
                "energy_j": round(float(ledger.recent[-1][1][device.index] - ledger.first_j[device.index]), 3),
                "reloads": ledger.reloads,
                "recent": [
                    [self._ms(at_s), round(float(life[device.index] - ledger.first_j[device.index]), 3)]
                    for at_s, life in ledger.recent
                ],
            }
            for device in ledger.node.device_list
        ]

    def _holding_rows(self, ledger: NodeLedger) -> list[dict[str, object]]:
        shown, true = ledger.totals()
        node, rows = ledger.node, []
        for holding in shown | true:
            part, tenant = node.slice_list[holding.slice], holding.tenant or Tenant()
            seen, held = shown.get(holding, np.zeros(2)), true.get(holding, np.zeros(2))
            rows.append(
                {
                    "cluster": node.cluster,
                    "node": node.name,
                    "device": node.device_list[part.device - node.devices.start].identity,
                    "slice": part.name,
                    "share": list(part.share),
                    "namespace": tenant.namespace,
                    "pod": tenant.pod,
                    "job": tenant.job,
                    "account": tenant.account,
                    "deployment": tenant.deployment,
                    "shown": {"gpu_seconds": round(float(seen[0]), 6), "energy_j": round(float(seen[1]), 3)},
                    "true": {"gpu_seconds": round(float(held[0]), 6), "energy_j": round(float(held[1]), 3)},
                }
            )
        rows.extend(self._unallocated(ledger))
        return rows

    def _unallocated(self, ledger: NodeLedger) -> Iterator[dict[str, object]]:
        """What of a device belongs to no slice: rows of a device always add up to the device."""
        node, (last_s, last_j) = ledger.node, ledger.recent[-1]
        for device in node.device_list:
            shares = [part.share for owner, part in node.entities() if owner is device]
            num, den = shares[0][1] - sum(share[0] for share in shares), shares[0][1]
            if num:
                seconds = last_s - (ledger.target.first_s or 0.0)
                joules = float(last_j[device.index] - ledger.first_j[device.index])
                gained = {"gpu_seconds": round(seconds * num / den, 6), "energy_j": round(joules * num / den, 3)}
                nobody = dict.fromkeys(("namespace", "pod", "job", "account", "deployment"), "")
                place = {"cluster": node.cluster, "node": node.name, "device": device.identity}
                yield place | {"slice": UNALLOCATED, "share": [num, den]} | nobody | {"shown": gained, "true": gained}

    def _span(self, target: TargetLedger) -> dict[str, object]:
        first, last = target.first_s, target.last_s
        return {
            "first_ms": None if first is None else self._ms(first),
            "last_ms": None if last is None else self._ms(last),
        }

    def _ms(self, at_s: float) -> int:
        return round((self.epoch_unix_s + at_s) * 1000)


def endpoint_of(url: str) -> str:
    """A token server's identity: host and port, and the path where several servers share them."""
    return url.partition("://")[2].partition("?")[0].removesuffix("/metrics")
