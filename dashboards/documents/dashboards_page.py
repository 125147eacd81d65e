"""docs/dashboards.md: every dashboard with its variables and panels."""

from collections.abc import Sequence

from dashboards.boards import BY_UID, DASHBOARDS
from dashboards.documents.markdown import GENERATED, link, table
from dashboards.model import MAX_POINTS, Column, Dashboard, Kind, Panel, Threshold, Variable
from dashboards.units import Style, Unit, figure

_AUDIENCES = {"finance": "finance", "operations": "operators"}
_KINDS = {Kind.STAT: "figure", Kind.TIMESERIES: "lines", Kind.TABLE: "table"}
_SIZES = {"h": "hours", "d": "days"}


def dashboards_page() -> str:
    """The page as Markdown."""
    overview = table(
        ("dashboard", "en français", "for", "answers"),
        [(link(b.title.en), b.title.of("fr"), _AUDIENCES[b.audience], b.question.en) for b in DASHBOARDS],
    )
    sections = "\n".join(_section(board) for board in DASHBOARDS)
    return f"""# Dashboards

{GENERATED}
Dashboards in English and French, each with one question. One definition of a panel
(`dashboards/boards/`) makes the Grafana dashboard, the same panel on the built-in page, and its row here, so the three
cannot disagree.

{overview}
- **On the built-in page** they are at `/d/<uid>`: `commonwatt page`, or `commonwatt demo` to see them filled.
- **In Grafana** (11.6 to 13, with the plugin grafana-clickhouse-datasource 4.15 or newer) they come from the folders
  `dashboards/grafana/en` and `dashboards/grafana/fr` with the files of `dashboards/provisioning`, or by
  `commonwatt dashboards push`. They are verified against the semantics of the plugin's macros and the ClickHouse
  engine, not against a running Grafana; `commonwatt dashboards verify` runs every query on yours.
- **Times** are UTC. A fiscal year begins in April. A line has at most {MAX_POINTS} points; long ranges are read from
  settled hours and days, with the minutes since.
- **Money** is in the currency chosen above a dashboard; what is booked in another one is named, never added.
- **Levels** (good, watch, act) are a colour, and on the page a word or a sign beside it.
- **Links** in tables carry what the row is about, its own time range where it has one, and what else is chosen.

{sections}"""


def _section(board: Dashboard) -> str:
    variables = "\n".join(f"- `{v.name}` ({v.label.en}): {_choice(v)}" for v in board.variables)
    marked = ", ".join(annotation.title.en for annotation in board.annotations)
    panels = table(
        ("panel", "kind", "unit", "what it shows, and what to do"),
        [
            (
                f"**{panel.title.en}**<br>{panel.title.of('fr')}<br>`{panel.name}`",
                _KINDS[panel.kind],
                "" if panel.kind is Kind.TABLE else unit_in_words(panel.unit),
                _about(panel),
            )
            for panel in board.panels
        ],
    )
    return f"""## {board.title.en}

{board.question.en} *{board.question.of("fr")}*

Uid `{board.uid}`, in French `{board.uid}-fr`. Opens with {_range(board)}. Choices:

{variables}
{f"{chr(10)}Marked on its charts: {marked}.{chr(10)}" if marked else ""}
{panels}"""


def _range(board: Dashboard) -> str:
    if board.range == "fy":
        return "the fiscal year, its future included"
    return f"the last {board.range[:-1]} {_SIZES[board.range[-1]]}"


def _choice(variable: Variable) -> str:
    return "one, several or all" if variable.default is None else f"one; {variable.default} at first"


def _about(panel: Panel) -> str:
    parts = [panel.description.en]
    if panel.thresholds:
        parts.append(_levels(panel.thresholds, panel.unit))
    if panel.columns:
        parts.append(f"Columns: {', '.join(_column(column) for column in panel.columns)}.")
    if panel.limit:
        parts.append(f"At most {panel.limit} rows.")
    if panel.link:
        parts.append(f"Explained by {_to(panel.link)}.")
    for column in panel.columns:
        if column.link is not None:
            to = "the dashboard that explains it" if column.link.dashboard_column else _to(column.link.dashboard)
            parts.append(f"*{column.title.en}* leads to {to}.")
    return "<br>".join(parts)


def _to(uid: str) -> str:
    return link(BY_UID[uid].title.en)


def _levels(thresholds: Sequence[Threshold], unit: Unit) -> str:
    words = []
    for threshold in thresholds:
        name = f"{threshold.level.value}{f' ({threshold.label.en})' if threshold.label else ''}"
        words.append(name if threshold.at is None else f"from {figure(threshold.at, unit, 'en')} {name}")
    return f"Levels: {'; '.join(words)}."


def _column(column: Column) -> str:
    unit = unit_in_words(column.unit)
    return f"{column.title.en} ({unit})" if unit else column.title.en


def unit_in_words(unit: Unit) -> str:
    """What the values of a unit are, for readers; nothing for texts."""
    match unit.style:
        case Style.TEXT:
            return ""
        case Style.DURATION:
            return "duration"
        case Style.MOMENT:
            return "date and time"
    if unit.money:
        return f"chosen currency{unit.suffix.en}"
    if unit.style is Style.MONEY:
        return f"amount{unit.suffix.en}"
    return unit.suffix.en or "number"
