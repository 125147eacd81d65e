"""`commonwatt export`: figures for other systems and other tools."""

from pathlib import Path
from typing import Annotated

import typer

from compose.finance.focus.commands import group
from compose.finance.moments import hour
from compose.options import ClickHouseOption, DataOption, MaybeConfig, Mistake, console
from schemas.config_file import load

__all__ = ["group"]


@group.command(epilog="Example: commonwatt export table costs_daily --from 2026-10-01 --to 2026-10-31")
def table(
    relation: Annotated[str, typer.Argument(help="such as gpu_usage, unit_costs or charges", show_default=False)],
    from_: Annotated[
        str | None, typer.Option("--from", help="first day or hour, UTC; default: the first there is")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="last day, or hour at which it ends; default: now")] = None,
    format_: Annotated[str, typer.Option("--format", help="parquet or csv")] = "parquet",
    output: Annotated[
        Path | None, typer.Option(help="file to write; default: the relation's name", show_default=False)
    ] = None,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """A table or view of the book as a file: Parquet with exact decimals, or CSV."""
    from compose.access import book
    from compose.export_table import FORMATS, export

    chosen = next((one for one in FORMATS if one == format_), None)
    if chosen is None:
        raise Mistake(f'--format "{format_}" is not known: use {" or ".join(FORMATS)}.')
    begin = None if from_ is None else hour(from_, "--from")
    end = None if to is None else hour(to, "--to", end_of_day=True)
    if begin and end and begin >= end:
        raise Mistake("--from is not before --to: exchange them.")
    path = output or Path(f"{relation}.{chosen}")
    with (
        book(data, load(config) if config else None, url=clickhouse) as client,
        console.status(f"exporting {relation} …") as status,
    ):
        written = export(
            client, relation, chosen, path, begin=begin, end=end,
            progress=lambda day, rows: status.update(f"exporting {relation}: {day} written, {rows:,} rows …"),
        )  # fmt: skip
    console.print(f"{written.rows:,} rows written to {written.path}", soft_wrap=True, highlight=False)
