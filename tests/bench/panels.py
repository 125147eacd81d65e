"""Dashboards at size: every statement of every dashboard over a year of 10,000 GPUs, for short and long ranges."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client
from rich import box
from rich.console import Console
from rich.table import Table

from compose.clickhouse.settings import ANALYST
from compose.client import connect
from compose.migrate import migrate
from dashboards.boards import DASHBOARDS
from dashboards.model import Dashboard
from dashboards.page.feed import Feed, QueryFailed
from dashboards.page.ranges import FISCAL_YEAR, Range
from dashboards.page.state import State
from tests.bench import panels_book as book
from tests.roles import running

RANGES = ("1h", "24h", "7d", "30d", "1y", FISCAL_YEAR)
GOAL_S = 0.2
REPEATS = 3
SHOWN = 20
MERGING_S = 120.0
_REFRESH_S = 15.0


@dataclass(frozen=True)
class Timed:
    """One statement, warm."""

    name: str
    """Dashboards and names that ask it."""
    range: str
    seconds: float
    """Median, from the question to the rows in Python."""
    error: str = ""

    @property
    def at_fault(self) -> bool:
        return bool(self.error) or self.seconds > GOAL_S


def main(console: Console, folder: Path) -> None:
    """Fill a book with a year in `folder`, and ask it what the page asks it. Ends the program when that is too slow."""
    arguments = ("--data", str(folder / "panels"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=folder / "panels.log") as server:
        migrate(connect(server.url, database=None))
        begin = time.perf_counter()
        client = connect(server.url, timeout_s=600)
        book.fill(client)
        _settled(client)
        ((rows, size),) = client.query(
            "SELECT sum(rows), formatReadableSize(sum(bytes_on_disk)) FROM system.parts "
            "WHERE active AND database = 'commonwatt'"
        ).result_rows
        console.print(f"a year of {rows:,} rows, {size}, made in {time.perf_counter() - begin:.0f} s")
        timed = asyncio.run(measured(server.url))
    show(console, timed)
    if any(one.at_fault for one in timed):
        raise SystemExit(f"not every panel is drawn within {GOAL_S * 1000:.0f} ms")


def _settled(client: Client) -> None:
    """Wait until what was written at once is merged: a book that grew over a year has little to merge."""
    until = time.monotonic() + MERGING_S
    while time.monotonic() < until and client.query("SELECT count() FROM system.merges").result_rows != [(0,)]:
        time.sleep(1)


async def measured(url: str, boards: Sequence[Dashboard] = DASHBOARDS) -> list[Timed]:
    """Every statement of these dashboards with All chosen, one after the other, as the page's read-only user."""
    feed = Feed(url, user=ANALYST, password="", remember_s=0)
    try:
        return [await _timed(feed, *asked) for span in RANGES for asked in _asked(span, boards)]
    finally:
        await feed.close()


def _asked(span: str, boards: Sequence[Dashboard]) -> Iterator[tuple[str, str, str]]:
    """(name, range, statement) of a range, each statement once."""
    window = Range(span).window(time.time(), _REFRESH_S)
    names: dict[str, list[str]] = {}
    for board in boards:
        state = State(board, Range(span), "en", "")
        for name, sql in _statements(board):
            names.setdefault(state.statement(sql, window), []).append(f"{board.uid}/{name}")
    for statement, asking in names.items():
        yield asking[0] + (f" (+{len(asking) - 1})" if asking[1:] else ""), span, statement


def _statements(board: Dashboard) -> Iterator[tuple[str, str]]:
    yield "newest", board.freshness_sql
    yield from ((f"${variable.name}", variable.sql) for variable in board.variables)
    yield from ((f"@{annotation.name}", annotation.sql) for annotation in board.annotations)
    yield from ((panel.name, panel.sql) for panel in board.panels)


async def _timed(feed: Feed, name: str, span: str, statement: str) -> Timed:
    seconds = []
    try:
        for _ in range(1 + REPEATS):
            begin = time.perf_counter()
            await feed.ask(statement)
            seconds.append(time.perf_counter() - begin)
    except QueryFailed as failed:
        return Timed(name, span, 0, str(failed))
    return Timed(name, span, statistics.median(seconds[1:]))


def show(console: Console, timed: Sequence[Timed]) -> None:
    """A line per range, then the slowest statements and those that failed."""
    summary = Table(box=box.SIMPLE_HEAD, title="Dashboards: a year of 10,000 GPUs, one thread", title_justify="left")
    for heading in ("range", "statements", "half within", "slowest", "goal"):
        summary.add_column(heading, justify="left" if heading == "range" else "right")
    for span in RANGES:
        within = [one.seconds for one in timed if one.range == span and not one.error]
        figures = (statistics.median(within), max(within)) if within else (0.0, 0.0)
        milliseconds = (f"{figure * 1000:.0f} ms" for figure in (*figures, GOAL_S))
        summary.add_row(span, str(len(within)), *milliseconds)
    console.print(summary)
    for one in sorted(timed, key=lambda one: (not one.error, -one.seconds))[:SHOWN]:
        mark = "✗" if one.at_fault else "✓"
        said = one.error or f"{one.seconds * 1000:.0f} ms"
        console.print(f"{mark} {one.range:>3} {one.name}: {said}", soft_wrap=True, highlight=False)
