"""`commonwatt reference show|history|apply`: the commands. What they do is in the modules beside."""

import sys
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from compose.finance.moments import AsOfOption, as_of
from compose.options import ClickHouseOption, DataOption, MaybeConfig, Mistake, console
from schemas.config_file import load

if TYPE_CHECKING:
    from compose.reference.apply import Difference
    from compose.reference.history import Entry

group = typer.Typer(
    help="Prices, rates, agreements and places: what holds, what was believed when, and corrections.",
    no_args_is_help=True,
)

_AFTERWARDS = (
    "Running workers take it over when they are restarted. Hours that are settled keep their price until "
    "`commonwatt rerate --from … --reason …`."
)


@group.command(epilog="Example: commonwatt reference show price --as-of 2026-03-31")
def show(
    section: Annotated[str, typer.Argument(help="price, agreement, fx_rate …; default: all", show_default=False)] = "",
    as_of_: AsOfOption = None,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """What holds, or what was believed to hold."""
    from compose.access import book
    from compose.reference import history
    from compose.reference.apply import written_fields

    _check(section)
    moment = as_of(as_of_)
    with book(data, load(config) if config else None, url=clickhouse) as client:
        entries = [one for one in history.in_force(history.newest(client, moment)) if section in ("", one.section)]
    table = _table("entry", "what it says", "recorded", "from")
    for entry in entries:
        fields = written_fields(entry.table)
        fields.pop("id", None)
        said = "  ".join(f"{name}={value}" for name, value in fields.items())
        _add(table, f"{entry.section}/{entry.id}", said, _at(entry.recorded_at), _origin(entry))
    console.print(table if entries else "nothing is recorded")


@group.command("history", epilog="Example: commonwatt reference history price/fir-h100-2026")
def history_(
    name: Annotated[
        str, typer.Argument(metavar="[SECTION[/ID]]", help="such as price/fir-h100; default: all", show_default=False)
    ] = "",
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """Every change, oldest first: when, what, and from which file."""
    from compose.access import book
    from compose.reference import history
    from compose.reference.apply import Difference

    section, _, entry_id = name.partition("/")
    _check(section)
    with book(data, load(config) if config else None, url=clickhouse) as client:
        changes = history.changes(client, section, entry_id)
    if not changes:
        raise Mistake(f'nothing is recorded of "{name}": `commonwatt reference show` lists what there is.')
    held: dict[tuple[str, str], Entry] = {}
    for (moment, _), together in groupby(changes, key=lambda entry: (entry.recorded_at, entry.source)):
        found, origin = [], ""
        for entry in together:
            before = held.get(entry.key)
            was = None if before is None or before.withdrawn else before.table
            found.append(Difference(entry.key, was, None if entry.withdrawn else entry.table))
            held[entry.key], origin = entry, _origin(entry)
        console.print(f"{_at(moment)}  {origin}", style="bold", highlight=False)
        _print(found)


@group.command(epilog="Example: commonwatt reference apply prices-2026-07.toml --dry-run")
def apply(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE…", help="TOML with the sections that change")
    ] = None,
    withdraw: Annotated[
        list[str] | None, typer.Option("--withdraw", metavar="SECTION/ID", help="this no longer holds")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="write without asking")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would change, and write nothing")] = False,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """Correct or add reference data. The history keeps what was believed before."""
    from compose.access import book
    from compose.reference.apply import differences, write

    if not files and not withdraw:
        raise Mistake("name a TOML file with what changes, or --withdraw SECTION/ID.")
    with book(data, load(config) if config else None, url=clickhouse) as client:
        found = differences(client, files or [], withdraw or [])
        if not found:
            console.print("nothing to change")
            return
        _print(found)
        if dry_run:
            console.print("dry run: nothing was written")
        elif not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
            console.print("nothing was written: add --yes to write it")
        elif yes or typer.confirm("Write this?"):
            write(client, found, files or [])
            console.print(f"{len(found)} {'entry' if len(found) == 1 else 'entries'} written. {_AFTERWARDS}")
        else:
            console.print("nothing was written")


def _print(found: "list[Difference]") -> None:
    table = _table("", "entry", "field", "was", "is")
    for difference in found:
        kind, entry = difference.kind, "/".join(difference.key)
        fields = difference.fields() if difference.kind != "withdrawn" else []
        for number, row in enumerate(fields or [("", "", "")]):
            _add(table, *((kind, entry) if number == 0 else ("", "")), *row)
    console.print(table)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """A row as it is: brackets in patterns are no markup."""
    table.add_row(*(Text(cell) for cell in cells))


def _check(section: str) -> None:
    from schemas.entries import SECTIONS

    if section and section not in SECTIONS:
        raise Mistake(f'"{section}" is no section: use {", ".join(SECTIONS)}.')


def _at(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00") + "Z"


def _origin(entry: "Entry") -> str:
    return f"{'applied: ' if entry.origin == 'applied' else ''}{entry.source or 'configuration'}"
