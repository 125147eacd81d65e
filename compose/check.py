"""`commonwatt check`: proves from the book itself that it tiles time and conserves time, energy, tokens and money."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import files

from clickhouse_connect.driver.client import Client
from rich.console import Console
from rich.table import Table

from compose.audit import Audit, CheckResult, Scope
from compose.audit_money import (
    COST_OF_DEVICE_HOURS,
    COST_OF_ROWS,
    ROWS,
    SUBSIDIES,
    costs_of_device_hours,
    costs_of_rows,
    subsidies,
)
from compose.audit_scope import BEGINNING, scope_of
from compose.audit_tally import COSTS_OF_MINUTES, MONEY_OF_HOURS, costs_of_minutes
from compose.reference import history
from schemas.config import Config
from streams.reference import Reference

_MONEY = {
    costs_of_rows: (COST_OF_ROWS,),
    costs_of_device_hours: (COST_OF_DEVICE_HOURS,),
    costs_of_minutes: (COSTS_OF_MINUTES, MONEY_OF_HOURS),
    subsidies: (SUBSIDIES,),
}

AGAIN_S = 5.0
"""After which an audit of a running book that found something looks again."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that examines the book."""

    names: tuple[str, ...]
    """Of the audits that it makes at once."""
    run: Callable[[Client, Scope], list[CheckResult]]
    whole: bool = False
    """Whether it adds up all of history, however late the period begins."""


def run_checks(
    client: Client,
    config: Config | None = None,
    *,
    at_rest: bool = False,
    since: datetime = BEGINNING,
    rows: int = ROWS,
    again: bool = False,
) -> list[CheckResult]:
    """Run every audit over the book from `since` on.

    Without a configuration, prices, rates and agreements are those that the book itself records. `at_rest`: nobody
    writes, so the last minutes must agree with the tally, too. `rows` bounds what is recomputed with exact fractions
    (the newest; the result says how many). `again`: an audit that fails is repeated after AGAIN_S, and only what it
    finds then counts: what it found may have been half written.
    """
    known = history.current(client, config)
    scope = scope_of(client, known, at_rest=at_rest, since=since, rows=rows)
    found = [(check, run(check, client, scope)) for check in checks(known)]
    if again and any(failed(results) for _, results in found):
        time.sleep(AGAIN_S)
        found = [(check, run(check, client, scope) if failed(results) else results) for check, results in found]
    return [result for _, results in found for result in results]


def checks(config: Config | None) -> list[Check]:
    """Everything that is audited; money only where it is known what things cost."""
    found = [Check((audit.name,), audit.run, audit.whole) for audit in _audits()]
    if config is not None:
        reference = Reference(config)
        found += [Check(names, partial(audit, reference=reference)) for audit, names in _MONEY.items()]
    return found


def ago(seconds: float | None) -> datetime:
    """The moment so long before now; None: the beginning of everything."""
    return BEGINNING if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)


def failed(results: Sequence[CheckResult]) -> bool:
    """Whether anything is at fault."""
    return not all(result.passed for result in results)


def run(check: Check, client: Client, scope: Scope) -> list[CheckResult]:
    """What it finds, and how long that took."""
    began = time.perf_counter()
    results = check.run(client, scope)
    seconds = (time.perf_counter() - began) / len(results)
    return [replace(result, seconds=seconds) for result in results]


def _audits() -> list[Audit]:
    folder = files("compose") / "audits"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=lambda path: path.name)
    return [Audit.parse(path.read_text()) for path in paths]


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
        console.print(f"  {in_words(row)}", soft_wrap=True)
    if result.faults > len(result.rows):
        console.print(f"  … and {result.faults - len(result.rows):,} more")


def in_words(row: Mapping[str, object]) -> str:
    """A row at fault in a line; amounts and times as exact as in the book."""
    return "  ".join(f"{name}={_text(value)}" for name, value in row.items())


def as_json(results: Sequence[CheckResult]) -> str:
    """All results as a JSON array; amounts and times as text, as exact as in the book."""
    return json.dumps([{**asdict(result), "passed": result.passed} for result in results], default=_text, indent=2)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    return str(value)
