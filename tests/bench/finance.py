"""Finance at size: one year of hourly charges for 500 agreements, and how long the daily work on it takes."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from clickhouse_connect.driver.client import Client
from rich import box
from rich.console import Console
from rich.table import Table

from compose.client import connect
from compose.finance.focus.export import Format, export
from compose.finance.focus.rows import Booked
from compose.finance.settle import settle
from compose.finance.statement.document import document
from compose.finance.statement.markdown import markdown
from compose.finance.statement.reading import open_month, statement
from compose.migrate import migrate
from tests.bench import finance_book as book
from tests.roles import running

MONTH = date(2026, 8, 1)
"""A month of 31 days that is closed."""
FIRMS = ("firm-000", "firm-123", "firm-250", "firm-377", "firm-499")
HOURS = 3
REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """One figure beside its goal."""

    name: str
    size: str
    result: str
    goal: str


def main(console: Console, folder: Path) -> None:
    """Fill a book with a year in `folder`, and measure the daily work on it."""
    arguments = ("--data", str(folder / "finance"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=folder / "finance.log") as server:
        migrate(connect(server.url, database=None))
        client = connect(server.url)
        begin = time.perf_counter()
        book.agree(client)
        charges = book.charge_year(client)
        console.print(f"a year of {charges:,} charges, made in {time.perf_counter() - begin:.0f} s")
        measured = [_settle(client), _statement(client)]
        measured += [_focus(client, folder, format_) for format_ in ("csv", "parquet")]
    _show(console, measured)


def _settle(client: Client) -> Measured:
    """Hours of 10,000 GPUs, each for the first time."""
    seconds, rows = [], 0
    for number in range(HOURS):
        hour = book.LAST + number * timedelta(hours=1)
        rows = book.use_hour(client, hour)
        now = hour + timedelta(hours=1, minutes=5)
        begin = time.perf_counter()
        outcome = settle(client, _clock(now))
        seconds.append(time.perf_counter() - begin)
        if outcome.hours != 1:
            raise SystemExit(f"{outcome.hours} hours were settled instead of one")
    _check(client)
    return Measured("settle an hour", f"{rows:,} rows of devices", f"{statistics.median(seconds):.2f} s", "2 s")


def _check(client: Client) -> None:
    """What was settled is what the ledger holds, and nothing of its cost is lost."""
    used, charged, cost, paid = client.query(
        "SELECT (SELECT sum(gpu_seconds) FROM gpu_usage), sum(gpu_seconds), sumIf(cost, category = 'charged'), "
        "sum(subsidy) + sum(charge) FROM charges WHERE period_start >= {start:DateTime('UTC')}",
        parameters={"start": book.LAST},
    ).result_rows[0]
    if used != charged or cost != paid or not cost:
        raise SystemExit("the charges are not what was used")


def _statement(client: Client) -> Measured:
    """Statements of a closed month, read and written out."""
    seconds = []
    for firm in FIRMS:
        begin = time.perf_counter()
        markdown(document(statement(open_month(client, MONTH), firm), "en"))
        seconds.append(time.perf_counter() - begin)
    return Measured("a monthly statement", "of 500", f"{statistics.median(seconds):.2f} s", "1 s")


def _focus(client: Client, folder: Path, format_: Format) -> Measured:
    """A month of everybody as a file."""
    per_second, rows = [], 0
    for _ in range(REPEATS):
        begin = time.perf_counter()
        written = export(client, Booked(MONTH, datetime.now(UTC), book.config()), format_, folder / "focus")
        rows = written[0].rows
        per_second.append(rows / (time.perf_counter() - begin))
        for file in written:
            file.path.unlink()
    result = f"{statistics.median(per_second):,.0f} rows/s"
    return Measured(f"FOCUS export, {format_}", f"{rows:,} rows", result, "200,000 rows/s")


def _clock(now: datetime) -> Callable[[], datetime]:
    return lambda: now


def _show(console: Console, measured: list[Measured]) -> None:
    title = "Finance: a year of charges of 500 agreements, two cores shared by all parts"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for name in ("what", "size", "measured", "goal"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for one in measured:
        table.add_row(one.name, one.size, one.result, one.goal)
    console.print(table)
