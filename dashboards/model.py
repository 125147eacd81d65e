"""What a dashboard is: panels with their texts, units, thresholds and SQL, independent of who draws them.

SQL is written with the macros of Grafana's ClickHouse plugin (:mod:`dashboards.macros`) and these column conventions:

- stat: one row, column ``value`` (a number or null), optionally ``note`` (a short text beside it);
- time series: ``time``, ``series`` (the label), ``value``, sorted by time; points may lie in the future;
- table: one column per :class:`Column`, plus columns that links refer to;
- annotation: ``time``, ``timeEnd`` (null: a moment, not a region), ``title``, ``text``, ``tags`` (separated by commas).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from dashboards.units import TEXT, Unit
from schemas.texts import Text

GRID_WIDTH = 24
MAX_POINTS = 240
"""Points of a series: an interval is the range divided by this, rounded up to a usual one."""
FISCAL_YEAR_STARTS = 4
"""Month, 1 to 12: the fiscal year of Canadian governments begins in April."""
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
    """From a table row to another dashboard: variables are set to values of the row, the time range to its own."""

    dashboard: str
    variables: Mapping[str, str]
    """Variable of the other dashboard -> column of the row. An empty value leaves the variable at All; a row whose
    values are all empty has no link."""
    from_column: str | None = None
    """Column with the start of the range, unix ms; None: the range that is shown. The same for the next."""
    to_column: str | None = None
    dashboard_column: str | None = None
    """Column with the uid of the dashboard, where rows lead to different ones; a row without one has no link. None:
    all lead to `dashboard`."""

    def columns(self) -> tuple[str, ...]:
        """Columns that the SQL must yield for the link."""
        return (*self.variables.values(), *filter(None, (self.from_column, self.to_column, self.dashboard_column)))


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """How one series of a time series panel is drawn; the others have the panel's own look."""

    name: Text
    """Value of column `series`."""
    dashed: bool = False
    level: Level | None = None
    """In the colour of a level instead of one of the palette."""
    down_to: Text | None = None
    """The area between this series and the one of that name is filled: a band."""


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
    stacked: bool = False
    """Time series: areas on top of each other; the series add up to a total."""
    styles: tuple[SeriesStyle, ...] = ()
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
    """A filter. Its values come from SQL alone: columns `value`, `text`."""

    name: str
    label: Text
    sql: str
    default: str | None = None
    """None: several values can be chosen, and All. Else exactly one is, this one at first."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Moments or regions that are marked on every time series of a dashboard."""

    name: str
    title: Text
    level: Level
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
    annotations: tuple[Annotation, ...] = ()
    range: str = "6h"
    """Time range that it opens with: so long until now, or "fy": the whole fiscal year, its future included."""
    audience: Literal["finance", "operations"] = "finance"
    """Whose data source it opens with in Grafana."""


def level_of(value: float, thresholds: tuple[Threshold, ...]) -> Threshold | None:
    """The last threshold at or below the value; None without thresholds."""
    found = None
    for threshold in thresholds:
        if threshold.at is None or value >= threshold.at:
            found = threshold
    return found
