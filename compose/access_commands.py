"""`commonwatt access apply`: who may read the book, from the configuration to the ClickHouse server."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from compose.options import ClickHouseOption, ConfigOption, Mistake, console
from schemas.config import Reader
from schemas.config_file import load

group = typer.Typer(help="Who may read the book on a ClickHouse server.", no_args_is_help=True)


@group.callback()
def _group() -> None:
    """Who may read the book on a ClickHouse server."""


@group.command(epilog="Example: commonwatt access apply --config my.toml --user admin --dry-run")
def apply(
    config: ConfigOption,
    clickhouse: ClickHouseOption = None,
    user: Annotated[
        str | None, typer.Option("--user", help="ClickHouse user who may manage users; default: the configuration's")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the SQL, and run nothing")] = False,
) -> None:
    """Make the configuration's readers: users, roles, quotas, and the rows that each may see."""
    from compose.access import password
    from compose.client import connect
    from compose.readers import apply as readers

    settings = load(config)
    known = settings.clickhouse
    url = clickhouse or (known.url if known else None)
    if url is None:
        raise Mistake("name a ClickHouse: --clickhouse URL, or a section [clickhouse] in --config FILE.")
    if not settings.reader:
        raise Mistake(
            f"{config} describes no reader: add [[reader]] with id, role and password_env, see docs/grafana.md."
        )
    client = connect(url, user or (known.user if known else "default"), password())
    plan = readers.plan(client, settings.reader)
    if dry_run:
        for statement in plan.statements:
            console.print(f"{statement.shown};", soft_wrap=True, markup=False, highlight=False)
    else:
        readers.run(client, plan)
        console.print(_table(settings.reader))
    for name in plan.strangers:
        console.print(
            f"{name} holds a role of these but is no reader of {config}: it is left alone; take it out with "
            f"DROP USER `{name}`.",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )


def _table(readers: list[Reader]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("reader", "role", "clusters", "programmes"):
        table.add_column(heading, overflow="fold")
    for reader in readers:
        seen = (", ".join(names) or "all" for names in (reader.clusters, reader.programmes))
        table.add_row(*(Text(cell) for cell in (reader.id, reader.role, *seen)))
    return table
