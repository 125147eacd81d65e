"""`commonwatt burn` and `commonwatt pool`: the commands. What they show is in the modules beside."""

import sys
from typing import Annotated

import typer

from compose.finance.moments import AsOfOption, MonthOption, as_of, month_of
from compose.options import ClickHouseOption, DataOption, MaybeConfig, Mistake, console
from schemas.config_file import load

group = typer.Typer(help="How fast subsidy burns, and who computes where.", no_args_is_help=True)


@group.command(epilog="Example: commonwatt burn --programme access-fund")
def burn(
    agreement: Annotated[
        str | None, typer.Argument(metavar="[AGREEMENT]", help="only this one", show_default=False)
    ] = None,
    programme: Annotated[
        str | None, typer.Option("--programme", help="only agreements of this one", show_default=False)
    ] = None,
    as_of_: AsOfOption = None,
    json_: Annotated[bool, typer.Option("--json", help="exact amounts, as JSON")] = False,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """What is spent of each agreement, against cap and plan, how fast it burns, and when it is gone."""
    from compose.access import book
    from compose.finance import burn_report, burn_show
    from compose.reference.history import NoReference

    moment = as_of(as_of_)
    try:
        with book(data, load(config) if config else None, url=clickhouse) as client:
            report = burn_report.report(client, moment, agreement=agreement, programme=programme)
    except NoReference as error:
        raise Mistake(str(error)) from None
    if json_:
        sys.stdout.write(burn_show.as_json(report) + "\n")
    else:
        console.print(burn_show.as_tables(report))


@group.command(epilog="Example: commonwatt pool --month 2026-10 --format csv")
def pool(
    month: MonthOption,
    as_of_: AsOfOption = None,
    format_: Annotated[str, typer.Option("--format", help="table, json or csv")] = "table",
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """Whose recipients computed in whose country, the balance, and energy and carbon of each region."""
    from compose.access import book
    from compose.finance import pool as pooled
    from compose.finance import pool_show
    from compose.reference.history import NoReference

    if format_ not in ("table", "json", "csv"):
        raise Mistake(f'--format "{format_}" is not known: use table, json or csv.')
    first, moment = month_of(month), as_of(as_of_)
    try:
        with book(data, load(config) if config else None, url=clickhouse) as client:
            report = pooled.report(client, first, moment)
    except NoReference as error:
        raise Mistake(str(error)) from None
    if format_ == "table":
        console.print(pool_show.as_tables(report))
    else:
        sys.stdout.write(pool_show.as_csv(report) if format_ == "csv" else pool_show.as_json(report) + "\n")
