"""The command line. Each command reads its arguments, calls the part that does the work, and says what went wrong."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from compose.access_commands import group as access
from compose.dashboards_commands import group as dashboards
from compose.export_commands import group as export
from compose.finance.commands import pricing
from compose.finance.report_commands import group as reports
from compose.finance.statement.commands import group as statement
from compose.options import (
    ClickHouseOption,
    ConfigOption,
    DataOption,
    ForOption,
    KafkaOption,
    MaybeConfig,
    MetricsOption,
    Mistake,
    UserOption,
    console,
    errors,
    log_to_stderr,
    seconds,
    until_signalled,
)
from compose.quarantine.commands import group as quarantine
from compose.reference.commands import group as reference
from compose.roles import roles
from schemas.config import Config
from schemas.config_file import ConfigError, load

app = typer.Typer(
    name="commonwatt",
    help="The meter of a country's subsidised AI compute: cost per token and subsidy burn, while it happens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


# ---- the whole platform ----------------------------------------------------------------------------------------------


@app.command(epilog="Example: commonwatt demo --for 2m --gpus 256")
def demo(
    for_: ForOption = None,
    gpus: Annotated[int, typer.Option(min=32, max=20_000, help="size of the simulated fabric")] = 256,
    data: DataOption = None,
    page_port: Annotated[int, typer.Option(min=0, max=65535, help="port of the page; 0 = a free one")] = 0,
    clickhouse_port: Annotated[int, typer.Option(min=0, max=65535, help="port of SQL; 0 = a free one")] = 0,
    metrics: MetricsOption = 0,
) -> None:
    """The whole platform on a simulated federated fabric."""
    from importlib.resources import as_file, files

    with as_file(files("compose") / "demo.toml") as file:
        _run_platform(file, data, for_, page_port, clickhouse_port, metrics, gpus)


@app.command(epilog="Example: commonwatt up --config my.toml --data /var/lib/commonwatt")
def up(
    config: ConfigOption,
    for_: ForOption = None,
    data: DataOption = None,
    page_port: Annotated[int, typer.Option(min=0, max=65535, help="port of the page; 0 = a free one")] = 8080,
    clickhouse_port: Annotated[int, typer.Option(min=0, max=65535, help="port of SQL; 0 = a free one")] = 8123,
    metrics: MetricsOption = 0,
) -> None:
    """The whole platform on the configuration's own targets."""
    _run_platform(config, data, for_, page_port, clickhouse_port, metrics, None)


def _run_platform(
    file: Path,
    data: Path | None,
    for_: str | None,
    page_port: int,
    clickhouse_port: int,
    metrics_port: int | None,
    gpus: int | None,
) -> None:
    from compose.platform import Plan, run

    plan = Plan(
        config=load(file),
        config_file=file.absolute(),
        data=data,
        for_s=None if for_ is None else seconds(for_),
        page_port=page_port,
        clickhouse_port=clickhouse_port,
        metrics_port=metrics_port or 0,
        simulate_gpus=gpus,
    )
    asyncio.run(until_signalled(lambda stop: run(plan, console, stop)))


app.add_typer(roles)


# ---- the book --------------------------------------------------------------------------------------------------------


@app.command(name="migrate", epilog="Example: commonwatt migrate --config my.toml")
def migrate_(config: MaybeConfig = None, clickhouse: ClickHouseOption = None, user: UserOption = "default") -> None:
    """Create or upgrade the tables of a ClickHouse, and the topics of a Kafka."""
    from compose.access import password
    from compose.broker import create_topics
    from compose.client import connect
    from compose.migrate import migrate

    settings = load(config) if config else None
    known = settings.clickhouse if settings else None
    url = clickhouse or (known.url if known else None)
    if url is None:
        raise Mistake("name a ClickHouse: --clickhouse URL, or a section [clickhouse] in --config FILE.")
    applied = migrate(connect(url, known.user if known else user, password(), None))
    console.print(f"tables: {', '.join(applied) if applied else 'up to date'}")
    if settings and settings.kafka:
        created = asyncio.run(create_topics(settings.kafka.url, replication_factor=settings.kafka.replication_factor))
        console.print(f"topics: {', '.join(created) if created else 'up to date'}")


@app.command(epilog='Example: commonwatt sql "SELECT model, sum(cost) FROM unit_costs GROUP BY model" --format csv')
def sql(
    query: Annotated[str, typer.Argument(help="what to ask", show_default=False)],
    format_: Annotated[str, typer.Option("--format", help="table, csv or json")] = "table",
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """Ask the book, running or at rest. Read-only."""
    from compose.access import book
    from compose.table import as_table

    formats = {"table": "JSONCompactStrings", "csv": "CSVWithNames", "json": "JSONEachRow"}
    if not query.strip():
        raise Mistake('there is nothing to ask: write a query, such as "SELECT count() FROM gpu_usage".')
    if format_ not in formats:
        raise Mistake(f'--format "{format_}" is not known: use table, csv or json.')
    with book(data, load(config) if config else None, url=clickhouse, user="analyst") as client:
        answer = client.raw_query(query, fmt=formats[format_])
    if format_ == "table":
        console.print(as_table(answer))
    else:
        sys.stdout.write(answer.decode())


@app.command(epilog="Example: commonwatt check --data ./commonwatt-data --since 24h")
def check(
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
    user: UserOption = "default",
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    since: Annotated[
        str | None, typer.Option(help="only this far back, such as 24h; default: everything", show_default=False)
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="repeat until stopped, such as 1m, and publish the state", show_default=False)
    ] = None,
    window: Annotated[str, typer.Option(help="with --every: how far back; once an hour everything")] = "2h",
    kafka: KafkaOption = None,
    metrics: MetricsOption = None,
) -> None:
    """Prove that the ledger tiles time and conserves time, energy, tokens and money."""
    from compose import check as audits
    from compose.access import book, is_at_rest

    settings = load(config) if config else None
    if every is not None:
        if json or since is not None:
            raise Mistake("--every repeats the audits until it is stopped: leave out --json and --since, or --every.")
        return _check_every(seconds(every), seconds(window), data, settings, clickhouse, user, kafka, metrics)
    since_s = None if since is None else seconds(since)
    at_rest = is_at_rest(data, settings, clickhouse)
    with book(data, settings, url=clickhouse, user=user) as client:
        results = audits.run_checks(client, settings, at_rest=at_rest, since=audits.ago(since_s), again=not at_rest)
    if json:
        sys.stdout.write(audits.as_json(results) + "\n")
    else:
        audits.render(results, console)
    raise typer.Exit(1 if audits.failed(results) else 0)


def _check_every(
    every_s: float,
    window_s: float,
    data: Path | None,
    settings: Config | None,
    clickhouse: str | None,
    user: str,
    kafka: str | None,
    metrics: int | None,
) -> None:
    from compose.access import book
    from compose.alerts import kafka_of
    from compose.check_role import watch
    from compose.metrics import served

    url = kafka or kafka_of(data, settings)
    log_to_stderr()
    with served(metrics), book(data, settings, url=clickhouse, user=user) as client:
        asyncio.run(
            until_signalled(lambda stop: watch(client, settings, url, every_s=every_s, window_s=window_s, stop=stop))
        )


@app.command(epilog="Example: commonwatt alerts --follow --language fr")
def alerts(
    follow: Annotated[bool, typer.Option("--follow", help="go on with what changes")] = False,
    language: Annotated[str, typer.Option(help="en or fr")] = "en",
    json: Annotated[bool, typer.Option("--json", help="a JSON object in each line")] = False,
    data: DataOption = None,
    config: MaybeConfig = None,
    kafka: KafkaOption = None,
) -> None:
    """Open alerts; with --follow, then every change as it happens. With only --kafka, from the topic alone."""
    from compose import alerts as stream
    from compose.access import book
    from streams.book import Book

    if language not in ("en", "fr"):
        raise Mistake(f'--language "{language}" is not known: use en or fr.')
    settings = load(config) if config else None
    page_url = stream.page_of(data, settings)
    teller = stream.Teller(console, "fr" if language == "fr" else "en", json, page_url)
    known = []
    if kafka is None or data is not None or (settings is not None and settings.clickhouse is not None):
        with book(data, settings) as client:
            known = Book(client).open_alerts()
        if not follow:
            teller.open(known)
            return
    url = kafka or stream.kafka_of(data, settings)
    asyncio.run(until_signalled(lambda stop: stream.follow(url, teller, stop, known, on=follow)))


@app.command(epilog="Example: commonwatt doctor --config my.toml")
def doctor(config: ConfigOption, data: DataOption = None) -> None:
    """Reach everything that the configuration names, and say what is wrong."""
    from compose import doctor as examine

    raise typer.Exit(examine.main(config, data, console))


app.add_typer(access, name="access")
app.add_typer(dashboards, name="dashboards")
app.add_typer(quarantine, name="quarantine")


# ---- finance ---------------------------------------------------------------------------------------------------------

app.add_typer(pricing)
app.add_typer(reports)
app.add_typer(statement)
app.add_typer(export, name="export")
app.add_typer(reference, name="reference")


# ---- plumbing --------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run a command. Returns the exit status; what the user can correct is one sentence on stderr."""
    try:
        app()
    except SystemExit as end:  # how Typer ends a command; comes first, because the last clause is slow to ask
        return end.code if isinstance(end.code, int) else 0
    except ConfigError as error:
        errors.print(str(error), style="red", soft_wrap=True, markup=False, highlight=False)
        return 1
    except _mistakes() as error:
        errors.print(f"commonwatt: {_words(error)}", style="red", soft_wrap=True, markup=False, highlight=False)
        return 1
    return 0


def _mistakes() -> tuple[type[Exception], ...]:
    """Errors whose text is written for the user. Imported late: most commands need few of them."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    from collectors.spool import SpoolError
    from compose.access import NoAnswer
    from compose.broker import BrokerError
    from compose.client import CannotConnect
    from compose.datadir import DataError
    from compose.finance.lease import Busy
    from compose.grafana.connection import GrafanaRefuses
    from compose.metrics import MetricsError
    from compose.migrate import CannotMigrate
    from compose.notify.queue import QueueError
    from compose.notify.sinks import NoSecret
    from compose.readers.apply import CannotApply
    from compose.reference.history import NoReference
    from compose.supervisor import RoleFailed
    from dashboards.page.server import PageError
    from streams.reference import UnknownReference

    return (
        Mistake,
        Busy,
        NoAnswer,
        NoReference,
        NoSecret,
        BrokerError,
        GrafanaRefuses,
        CannotConnect,
        DataError,
        MetricsError,
        CannotMigrate,
        CannotApply,
        RoleFailed,
        SpoolError,
        PageError,
        QueueError,
        UnknownReference,
        DatabaseError,
    )


def _words(error: Exception) -> str:
    """The text of an error; of one of ClickHouse's, its own words without those of the driver around them."""
    found = re.search(r"DB::Exception: (.*?)( \(version [^)]*\))?( \(for url [^)]*\))?$", str(error), re.DOTALL)
    return found[1] if found else str(error)
