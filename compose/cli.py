"""The command line. Each command reads its arguments, calls the part that does the work, and says what went wrong."""

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.config import Config
from schemas.config_file import ConfigError, load
from schemas.config_values import duration_s

app = typer.Typer(
    name="commonwatt",
    help="The meter of a country's subsidised AI compute: cost per token and subsidy burn, while it happens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# Into a file or a pipe nothing needs to be folded to a window.
console = Console(width=None if sys.stdout.isatty() else 140)
errors = Console(stderr=True)

ConfigOption = Annotated[Path, typer.Option("--config", help="configuration file (TOML)", show_default=False)]
MaybeConfig = Annotated[Path | None, typer.Option("--config", help="configuration file (TOML)", show_default=False)]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="data folder; default: commonwatt-data", show_default=False)
]
KafkaOption = Annotated[
    str | None, typer.Option("--kafka", help="kafka://host:port,…; default: the configuration's", show_default=False)
]
ClickHouseOption = Annotated[
    str | None,
    typer.Option("--clickhouse", help="http://host:8123; default: the configuration's", show_default=False),
]
UserOption = Annotated[str, typer.Option("--user", help="ClickHouse user")]
ForOption = Annotated[
    str | None, typer.Option("--for", help="end cleanly after this long, such as 2m", show_default=False)
]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="port on 127.0.0.1; 0 = a free one")]


class Mistake(Exception):
    """Something the user can correct. `str()` is the whole message."""


# ---- the whole platform ----------------------------------------------------------------------------------------------


@app.command(epilog="Example: commonwatt demo --for 2m --gpus 256")
def demo(
    for_: ForOption = None,
    gpus: Annotated[int, typer.Option(min=32, max=20_000, help="size of the simulated fabric")] = 256,
    data: DataOption = None,
    page_port: Annotated[int, typer.Option(min=0, max=65535, help="port of the page; 0 = a free one")] = 0,
    clickhouse_port: Annotated[int, typer.Option(min=0, max=65535, help="port of SQL; 0 = a free one")] = 0,
) -> None:
    """The whole platform on a simulated federated fabric."""
    from importlib.resources import as_file, files

    with as_file(files("compose") / "demo.toml") as file:
        _run_platform(file, data, for_, page_port, clickhouse_port, gpus)


@app.command(epilog="Example: commonwatt up --config my.toml --data /var/lib/commonwatt")
def up(
    config: ConfigOption,
    for_: ForOption = None,
    data: DataOption = None,
    page_port: Annotated[int, typer.Option(min=0, max=65535, help="port of the page; 0 = a free one")] = 8080,
    clickhouse_port: Annotated[int, typer.Option(min=0, max=65535, help="port of SQL; 0 = a free one")] = 8123,
) -> None:
    """The whole platform on the configuration's own targets."""
    _run_platform(config, data, for_, page_port, clickhouse_port, None)


def _run_platform(
    file: Path, data: Path | None, for_: str | None, page_port: int, clickhouse_port: int, gpus: int | None
) -> None:
    from compose.platform import Plan, run

    plan = Plan(
        config=load(file),
        config_file=file.absolute(),
        data=data,
        for_s=None if for_ is None else _seconds(for_),
        page_port=page_port,
        clickhouse_port=clickhouse_port,
        simulate_gpus=gpus,
    )
    asyncio.run(_until_signalled(lambda stop: run(plan, console, stop)))


# ---- one role each ---------------------------------------------------------------------------------------------------


@app.command(epilog="Example: commonwatt broker --port 9092")
def broker(port: PortOption = 9092) -> None:
    """The embedded broker: Kafka's protocol, in memory."""
    from compose import broker as role

    raise typer.Exit(role.main(port))


@app.command(epilog="Example: commonwatt clickhouse --data ./book --port 8123")
def clickhouse(
    data: Annotated[Path, typer.Option(help="folder of the data", show_default=False)],
    port: PortOption = 8123,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
) -> None:
    """The embedded ClickHouse: its own engine behind its own HTTP interface."""
    from compose.clickhouse.role import main as serve

    raise typer.Exit(serve(data, host, port))


@app.command(epilog="Example: commonwatt collect --config my.toml --kafka kafka://127.0.0.1:9092")
def collect(
    config: ConfigOption,
    kafka: KafkaOption = None,
    collector: Annotated[str, typer.Option(help="name of this collector, kept over restarts")] = "collector",
) -> None:
    """Scrape the configuration's targets and publish samples."""
    from collectors.collect import run

    settings = load(config)
    url = _kafka(settings, kafka)
    _log()
    asyncio.run(_until_signalled(lambda stop: run(settings, url, collector=collector, stop=stop)))


@app.command(epilog="Example: commonwatt worker --config my.toml --kafka kafka://… --clickhouse http://127.0.0.1:8123")
def worker(
    config: ConfigOption, kafka: KafkaOption = None, clickhouse: ClickHouseOption = None, user: UserOption = "default"
) -> None:
    """Meter samples, price usage, watch budgets: the stream agents."""
    from compose.access import book
    from compose.process import share_memory_arenas
    from streams.worker import WorkerFailed, run

    share_memory_arenas()
    settings = load(config)
    url = _kafka(settings, kafka)
    if clickhouse is None and settings.clickhouse is None:
        raise Mistake("name a ClickHouse: --clickhouse URL, or a section [clickhouse] in the configuration.")
    _log()
    with book(None, settings, url=clickhouse, user=user) as client:
        try:
            asyncio.run(_until_signalled(lambda stop: run(settings, url, client, stop=stop)))
        except WorkerFailed as error:
            raise Mistake(f"worker: {error}") from error


@app.command(epilog="Example: commonwatt page --clickhouse http://127.0.0.1:8123 --port 8080")
def page(
    clickhouse: Annotated[str, typer.Option(help="http://host:8123", show_default=False)],
    port: PortOption = 8080,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    refresh: Annotated[str, typer.Option(help="how often figures are read again")] = "5s",
) -> None:
    """The built-in dashboards."""
    import os

    from dashboards.page import run

    secret = os.environ.get("COMMONWATT_ANALYST_PASSWORD", "")
    _log()
    asyncio.run(
        _until_signalled(
            lambda stop: run(clickhouse, password=secret, host=host, port=port, refresh_s=_seconds(refresh), stop=stop)
        )
    )


@app.command(epilog="Example: commonwatt simulate --config demo.toml --port 9400")
def simulate(
    config: ConfigOption,
    port: PortOption = 9400,
    record: Annotated[Path | None, typer.Option(help="write what truly happened to this JSON file")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same events")] = 1,
) -> None:
    """The exporters of a simulated fabric (configuration as written by `demo`)."""
    from collectors.simulator.serve import run

    settings = load(config)
    try:
        asyncio.run(
            _until_signalled(
                lambda stop: run(settings, host="127.0.0.1", port=port, record=record, seed=seed, stop=stop)
            )
        )
    except (OSError, ValueError) as error:
        raise Mistake(f"simulate: {error}.") from error


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


@app.command(epilog="Example: commonwatt check --data ./commonwatt-data")
def check(
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Prove that the ledger tiles time and conserves time, energy, tokens and money."""
    from compose import check as audits
    from compose.access import book, is_at_rest

    settings = load(config) if config else None
    at_rest = is_at_rest(data, settings, clickhouse)
    with book(data, settings, url=clickhouse) as client:
        results = audits.run_checks(client, settings, at_rest=at_rest)
    if json:
        sys.stdout.write(audits.as_json(results) + "\n")
    else:
        audits.render(results, console)
    raise typer.Exit(0 if all(result.passed for result in results) else 1)


@app.command(epilog="Example: commonwatt alerts --follow")
def alerts(
    follow: Annotated[bool, typer.Option("--follow", help="go on with what changes")] = False,
    data: DataOption = None,
    config: MaybeConfig = None,
    kafka: KafkaOption = None,
) -> None:
    """Open alerts; with --follow, then every change as it happens."""
    from compose import alerts as stream
    from compose.access import book

    settings = load(config) if config else None
    with book(data, settings) as client:
        stream.show_open(client, console)
    if follow:
        url = kafka or stream.kafka_of(data, settings)
        asyncio.run(_until_signalled(lambda stop: stream.follow(url, console, stop)))


@app.command(epilog="Example: commonwatt doctor --config my.toml")
def doctor(config: ConfigOption, data: DataOption = None) -> None:
    """Reach everything that the configuration names, and say what is wrong."""
    from compose import doctor as examine

    raise typer.Exit(examine.main(config, data, console))


dashboards = typer.Typer(help="Grafana dashboards, generated from the panel definitions.", no_args_is_help=True)
app.add_typer(dashboards, name="dashboards")


@dashboards.command(epilog="Example: commonwatt dashboards build --folder ./grafana")
def build(
    folder: Annotated[Path, typer.Option(help="where to write the JSON files")] = Path("dashboards/grafana"),
) -> None:
    """Write the dashboards as Grafana JSON."""
    from dashboards.grafana import build as write

    try:
        written = write(folder)
    except OSError as error:
        raise Mistake(f"{folder} cannot be written ({error.strerror}): name another --folder.") from error
    for path in written:
        console.print(str(path), soft_wrap=True)


# ---- plumbing --------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run a command. Returns the exit status; what the user can correct is one sentence on stderr."""
    try:
        app()
    except ConfigError as error:
        errors.print(str(error), style="red", soft_wrap=True, markup=False, highlight=False)
        return 1
    except _mistakes() as error:
        errors.print(f"commonwatt: {_words(error)}", style="red", soft_wrap=True, markup=False, highlight=False)
        return 1
    except SystemExit as end:  # how Typer ends a command, also one that was misspelt
        return end.code if isinstance(end.code, int) else 0
    return 0


def _mistakes() -> tuple[type[Exception], ...]:
    """Errors whose text is written for the user. Imported late: most commands need few of them."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    from compose.access import NoAnswer
    from compose.broker import BrokerError
    from compose.client import CannotConnect
    from compose.datadir import DataError
    from compose.migrate import CannotMigrate
    from compose.supervisor import RoleFailed
    from dashboards.page.server import PageError

    return (
        Mistake,
        NoAnswer,
        BrokerError,
        CannotConnect,
        DataError,
        CannotMigrate,
        RoleFailed,
        PageError,
        DatabaseError,
    )


def _words(error: Exception) -> str:
    """The text of an error; of one of ClickHouse's, its own words without those of the driver around them."""
    found = re.search(r"DB::Exception: (.*?)( \(version [^)]*\))?( \(for url [^)]*\))?$", str(error), re.DOTALL)
    return found[1] if found else str(error)


async def _until_signalled(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until done; Ctrl-C and SIGTERM set the event."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(stop)


def _seconds(text: str) -> float:
    try:
        return duration_s(text)
    except ValueError as error:
        raise Mistake(str(error)) from None


def _kafka(settings: Config, kafka: str | None) -> str:
    from compose.broker import servers

    url = kafka or (settings.kafka.url if settings.kafka else None)
    if url is None:
        raise Mistake("name a Kafka: --kafka URL, or a section [kafka] in the configuration.")
    servers(url)
    return url


def _log() -> None:
    """Roles write their log to stderr; the supervisor keeps it in a file."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("faust", "aiokafka", "mode"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
