"""From the series of an inference server's or gateway's page to rows: one per replica, model and team.

Each cell of a row is the sum of the series that its counter is split into (by finish reason, by cache source, by
user); rows are never summed here: differences are taken per replica first, by whoever meters them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from collectors.exposition import Page, PageError, SeriesSet
from collectors.readings import TOKEN_COUNTERS, Fault, Origin, TokenReading, TokenRows, label, unreadable_faults

MAX_COUNTER = np.uint64(2**55)  # of one series; the parts of a sum stay below what TokenSample takes
"""Beyond any token count (1e18); the sum of a few still fits 63 bits."""
MAX_SECONDS = 1e12
MS_PER_S = 1000
STARTED = TOKEN_COUNTERS.index("started_ms")


class TokenKey(NamedTuple):
    """What the labels of a series say."""

    replica: str
    model: str
    team: str = ""


PROCESS = TokenKey("", "")
"""Key of process_start_time_seconds, which has no labels: it holds for every row of the page."""


@dataclass(frozen=True, slots=True)
class Layer:
    """How one kind of server prints what the rows need."""

    name: str
    """engine or gateway"""
    sources: dict[str, tuple[str, ...]]
    """counter -> columns in order of preference; those of the first one on the page are summed."""
    started: tuple[str, ...]
    """Gauge columns with the start of counting in unix seconds, in order of preference."""
    may_be_empty: bool
    """True when a page without any counter is normal: nobody has asked yet."""


class TokenPlan:
    """How one set of series becomes rows."""

    def __init__(self, layer: Layer, series: SeriesSet) -> None:
        self.series = series
        keys = list(dict.fromkeys(cast(TokenKey, entry.key) for entry in series.counters))
        self.rows = TokenRows(
            replica=[label(key.replica) for key in keys],
            model=[label(key.model) for key in keys],
            team=[label(key.team) for key in keys],
        )
        counters: dict[tuple[str, TokenKey], list[int]] = {}
        for slot, (column, key) in enumerate(series.counters):
            counters.setdefault((column, cast(TokenKey, key)), []).append(slot)
        gauges: dict[tuple[str, TokenKey], list[int]] = {}
        for slot, (column, key) in enumerate(series.gauges):
            gauges.setdefault((column, cast(TokenKey, key)), []).append(slot)

        def slots(counter: str, key: TokenKey) -> list[int]:
            return next((found for name in layer.sources[counter] if (found := counters.get((name, key)))), [])

        def started(key: TokenKey) -> list[int]:
            found = (gauges.get((column, who)) for column in layer.started for who in (PROCESS, key))
            return next((slots for slots in found if slots), [])

        order = [TOKEN_COUNTERS.index(name) for name in layer.sources]
        self._parts = _Parts(
            [
                (row * len(keys) + at, slots(name, key))
                for row, name in zip(order, layer.sources, strict=True)
                for at, key in enumerate(keys)
            ]
        )
        self._starts = _Parts([(at, started(key)) for at, key in enumerate(keys)])

    def evaluate(self, page: Page, faults: list[Fault]) -> NDArray[np.int64]:
        """(len(TOKEN_COUNTERS), n): the rows' counters; -1 where one is not printed or a part of it is unreadable."""
        bad = page.counters > MAX_COUNTER
        for slot in np.flatnonzero(bad).tolist():
            column, key = self.series.counters[slot]
            where = " ".join(word for word in cast(TokenKey, key) if word)
            faults.append(Fault("counter_out_of_range", where, f"{column} {page.counters[slot]} was dropped"))
        count = len(self.rows.model)
        values = np.where(bad, np.uint64(0), page.counters).astype(np.int64)
        cells = np.full(len(TOKEN_COUNTERS) * count, -1, np.int64)
        cells[self._parts.cell] = 0
        np.add.at(cells, self._parts.cell, values[self._parts.slot])
        cells[self._parts.cell[bad[self._parts.slot]]] = -1
        result = cells.reshape(len(TOKEN_COUNTERS), count)
        started = np.full(count, np.inf)
        np.fmin.at(started, self._starts.cell, page.gauges[self._starts.slot])
        known = (started >= 0) & (started < MAX_SECONDS)
        result[STARTED] = np.where(known, np.rint(np.where(known, started, 0) * MS_PER_S), -1)
        return result


class _Parts:
    """Which slots of a page make up which cell: two arrays of equal length."""

    def __init__(self, cells: list[tuple[int, list[int]]]) -> None:
        pairs = [(cell, slot) for cell, slots in cells for slot in slots]
        self.cell = np.array([cell for cell, _ in pairs], np.intp)
        self.slot = np.array([slot for _, slot in pairs], np.intp)


class TokenPages:
    """Turns the pages of one target into readings; remembers the plan of the last set of series."""

    def __init__(self, layer: Layer, origin: Origin) -> None:
        self._layer = layer
        self._origin = origin
        self._plan: TokenPlan | None = None

    def reading(self, page: Page) -> TokenReading:
        """Raises PageError when the page holds no counter although it should."""
        if not page.series.counters and not self._layer.may_be_empty:
            raise PageError("no_series", "the page holds no token counter")
        faults = unreadable_faults(page.unreadable, page.unreadable_count)
        plan = self._plan
        if plan is None or plan.series is not page.series:
            plan = TokenPlan(self._layer, page.series)
            if self._plan is not None:
                faults += _vanished(self._plan.rows, plan.rows)
                if self._plan.rows == plan.rows:
                    plan.rows = self._plan.rows
            self._plan = plan
        return TokenReading(
            endpoint=self._origin.endpoint,
            deployment=self._origin.deployment,
            layer=self._layer.name,
            rows=plan.rows,
            counters=plan.evaluate(page, faults),
            lines=page.lines,
            faults=faults,
        )


def _vanished(before: TokenRows, after: TokenRows) -> list[Fault]:
    left = set(_names(after))
    return [
        Fault("counter_vanished", name, "the page no longer shows this counter")
        for name in _names(before)
        if name not in left
    ]


def _names(rows: TokenRows) -> Sequence[str]:
    return [" ".join(word for word in key if word) for key in zip(rows.replica, rows.model, rows.team, strict=True)]
