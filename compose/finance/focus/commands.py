"""`commonwatt export focus|focus-check`: the commands. What they do is in the modules beside."""

from pathlib import Path
from typing import Annotated

import typer

from compose.finance.moments import AsOfOption, MonthOption
from compose.options import ClickHouseOption, DataOption, MaybeConfig, Mistake, console
from schemas.config_file import load

group = typer.Typer(help="Figures for other systems.", no_args_is_help=True)


@group.command(epilog="Example: commonwatt export focus --month 2026-10 --format parquet")
def focus(
    month: MonthOption,
    format_: Annotated[str, typer.Option("--format", help="csv or parquet")] = "csv",
    output: Annotated[Path, typer.Option(help="folder for the files", show_default=False)] = Path(),
    as_of: AsOfOption = None,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """A month as FOCUS 1.4: CostAndUsage, with subsidies as credits, BillingPeriod, and the metadata of both."""
    from datetime import UTC, datetime

    from compose.access import book
    from compose.finance import moments
    from compose.finance.focus.export import describe, export
    from compose.finance.focus.rows import Booked
    from compose.reference.history import config_at

    if format_ not in ("csv", "parquet"):
        raise Mistake(f'--format "{format_}" is not known: use csv or parquet.')
    first, until = moments.month_of(month), moments.as_of(as_of)
    with book(data, load(config) if config else None, url=clickhouse) as client:
        booked = Booked(first, until or datetime.now(UTC), config_at(client, until))
        for written in export(client, booked, "csv" if format_ == "csv" else "parquet", output):
            console.print(f"{written.rows:,} rows written to {written.path}", soft_wrap=True, highlight=False)
        console.print(f"metadata written to {describe(first, output)}", soft_wrap=True, highlight=False)


@group.command("focus-check", epilog="Example: commonwatt export focus-check focus-1.4-cost-and-usage-2026-10.csv")
def focus_check(
    files: Annotated[
        list[Path], typer.Argument(help="FOCUS files, CSV or Parquet, and their metadata", show_default=False)
    ],
) -> None:
    """Whether files keep the rules of FOCUS 1.4: each broken rule, with rows. Exit status 1 when there is one."""
    from compose.finance.focus.conformance import check

    failed = False
    for path in files:
        broken = check(path)
        failed = failed or bool(broken)
        console.print(f"{path}: {'conforms' if not broken else f'{len(broken)} rules are broken'}", soft_wrap=True)
        for each in broken:
            console.print(f"  {each}", soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(1 if failed else 0)
