"""What a dashboard is: panels with their texts, units, thresholds and SQL, independent of who draws them.

SQL is written with the macros of Grafana's ClickHouse plugin (:mod:`dashboards.macros`) and these column conventions:

- stat: one row, column ``value`` (a number or null), optionally ``note`` (a short text beside it);
- time series: ``time``, ``series`` (the label), ``value``, sorted by time;
- table: one column per :class:`Column`, plus columns that links refer to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from dashboards.units import TEXT, Text, Unit

GRID_WIDTH = 24
NO_USAGE = Text("No usage in this range yet.", "Aucun usage dans cette période pour l’instant.")


class Kind(StrEnum):
    STAT = "stat"
    TIMESERIES = "timeseries"
    TABLE = "table"


class Level(StrEnum):
    """How a value is to be read. Shown as a colour, a sign and a word, never as a colour alone."""

    PLAIN = "plain"
    GOOD = "good"
    WATCH = "watch"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `at` upwards a value is of this level. The first threshold of a list has `at` None: everything below."""

    at: float | None
    level: Level
    label: Text | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """Place in Grafana's grid: 24 columns wide, rows of about 36 pixels."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, slots=True)
class RowLink:
    """From a table row to another dashboard, with one variable set to the value of a column of the row."""

    dashboard: str
    variable: str
    column: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table panel, by the name that the SQL gives it."""

    name: str
    title: Text
    unit: Unit = TEXT
    thresholds: tuple[Threshold, ...] = ()
    gauge: bool = False
    """Drawn as a bar from 0 to 1."""
    words: Mapping[str, Text] = field(default_factory=dict)
    """Values that are codes, with the text to show instead; the key "" stands for empty."""
    levels: Mapping[str, Level] = field(default_factory=dict)
    """Codes with the level they are shown at."""
    link: RowLink | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and its answer."""

    id: int
    name: str
    """Stable name: anchors, tests, and the page's data attributes."""
    kind: Kind
    title: Text
    description: Text
    """What it shows and what to do about it."""
    sql: str
    grid: Grid
    unit: Unit = TEXT
    thresholds: tuple[Threshold, ...] = ()
    threshold_lines: bool = False
    """Time series: draw the thresholds as lines with the areas between them."""
    log_scale: bool = False
    columns: tuple[Column, ...] = ()
    limit: int | None = None
    """Rows after which the SQL stops; said so when reached."""
    bounded: Literal["range", "end", "now"] = "range"
    """Time the SQL looks at: the whole range, the state at its end, or the present."""
    empty: Text = NO_USAGE
    link: str | None = None
    """Dashboard that explains the figure; range and variables go along."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A filter, always multi-valued with All. Its values come from SQL alone: columns `value`, `text`."""

    name: str
    label: Text
    sql: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: Text
    question: Text
    """The one question that the dashboard answers."""
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]
    freshness_sql: str
    """One row: `newest` (moment up to which usage is known) and `age_s`."""
    range: str = "6h"
    """Time range that it opens with."""


def level_of(value: float, thresholds: tuple[Threshold, ...]) -> Threshold | None:
    """The last threshold at or below the value; None without thresholds."""
    found = None
    for threshold in thresholds:
        if threshold.at is None or value >= threshold.at:
            found = threshold
    return found
