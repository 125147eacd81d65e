"""`commonwatt check`: proves from the book itself that it tiles time and conserves time, energy, tokens and money."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.resources import files

from clickhouse_connect.driver.client import Client
from rich.console import Console
from rich.table import Table

from compose import reference_tables
from compose.audit import Audit, CheckResult, Scope
from compose.audit_money import ROWS, costs_of_minutes, costs_of_rows, subsidies
from schemas.config import Config
from streams.reference import Reference

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
SETTLE = timedelta(minutes=2)
"""A minute is compared with the tally once its cluster's usage has gone this much further."""


def run_checks(
    client: Client,
    config: Config | None = None,
    *,
    at_rest: bool = False,
    since: datetime = BEGINNING,
    rows: int = ROWS,
) -> list[CheckResult]:
    """Run every audit over the book from `since` on.

    Without a configuration, prices, rates and agreements are those that the book itself records. `at_rest`: nobody
    writes, so the last minutes must agree with the tally, too. `rows` bounds what is recomputed with exact fractions
    (the newest; the result says how many).
    """
    known = config or reference_tables.read(client)
    scope = Scope(
        since=since,
        settled_s={cluster: _settled_s(newest, at_rest) for cluster, newest in client.query(_REACH).result_rows},
        max_gap_s={cluster.id: cluster.max_gap_s for cluster in known.cluster} if known else {},
        rows=rows,
    )
    results = [audit.run(client, scope) for audit in _audits()]
    if known is not None:
        reference = Reference(known)
        results += [audit(client, scope, reference) for audit in (costs_of_rows, costs_of_minutes, subsidies)]
    return results


def _audits() -> list[Audit]:
    folder = files("compose") / "audits"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=lambda path: path.name)
    return [Audit.parse(path.read_text()) for path in paths]


_REACH = """
SELECT cluster, max(ts_end) FROM
(
    SELECT cluster, ts_end FROM gpu_usage
    UNION ALL
    SELECT cluster, ts_end FROM token_usage
)
GROUP BY cluster
"""


def _settled_s(newest: datetime, at_rest: bool) -> int:
    """Unix second of the end of the last settled minute, given how far a cluster's usage reaches (UTC)."""
    settled = newest + timedelta(minutes=1) if at_rest else newest - SETTLE
    return int(settled.replace(tzinfo=UTC).timestamp()) // 60 * 60


def render(results: Sequence[CheckResult], console: Console) -> None:
    """A line per audit, and the rows at fault below."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "audit", "examined", "at fault", ""):
        table.add_column(heading, justify="right" if heading in ("examined", "at fault") else "left")
    for result in results:
        mark = "[green]✓[/]" if result.passed else "[red]✗[/]"
        faults = "" if result.passed else f"[red]{result.faults:,}[/]"
        table.add_row(mark, result.name, f"{result.examined:,} {result.unit}", faults, result.note)
    console.print(table)
    for result in results:
        if not result.passed:
            _render_faults(result, console)


def _render_faults(result: CheckResult, console: Console) -> None:
    console.print(f"\n[red]✗[/] [bold]{result.name}[/]: {result.protects}")
    for row in result.rows:
        console.print("  " + "  ".join(f"{name}={_text(value)}" for name, value in row.items()), soft_wrap=True)
    if result.faults > len(result.rows):
        console.print(f"  … and {result.faults - len(result.rows):,} more")


def as_json(results: Sequence[CheckResult]) -> str:
    """All results as a JSON array; amounts and times as text, as exact as in the book."""
    return json.dumps([{**asdict(result), "passed": result.passed} for result in results], default=_text, indent=2)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    return str(value)
