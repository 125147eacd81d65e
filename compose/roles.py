"""The commands that run one role each: what `up` starts, for running them apart."""

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from compose.metrics import served
from compose.options import (
    ClickHouseOption,
    ConfigOption,
    KafkaOption,
    MetricsOption,
    Mistake,
    PortOption,
    UserOption,
    console,
    kafka_url,
    log_to_stderr,
    seconds,
    spool_bytes,
    until_signalled,
)
from schemas.config_file import load

roles = typer.Typer()


@roles.command(epilog="Example: commonwatt broker --port 9092")
def broker(port: PortOption = 9092, metrics: MetricsOption = None) -> None:
    """The embedded broker: Kafka's protocol, in memory."""
    from compose import broker as role

    log_to_stderr()
    with served(metrics):
        raise typer.Exit(role.main(port))


@roles.command(epilog="Example: commonwatt clickhouse --data ./book --port 8123")
def clickhouse(
    data: Annotated[Path, typer.Option(help="folder of the data", show_default=False)],
    port: PortOption = 8123,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    metrics: MetricsOption = None,
) -> None:
    """The embedded ClickHouse: its own engine behind its own HTTP interface."""
    from compose.clickhouse.role import main as serve

    log_to_stderr()
    with served(metrics):
        raise typer.Exit(serve(data, host, port))


@roles.command(epilog="Example: commonwatt collect --config my.toml --kafka kafka://127.0.0.1:9092")
def collect(
    config: ConfigOption,
    kafka: KafkaOption = None,
    collector: Annotated[str, typer.Option(help="name of this collector, kept over restarts")] = "collector",
    spool: Annotated[
        Path | None,
        typer.Option(help="folder for messages until Kafka has them; default: commonwatt-spool/COLLECTOR"),
    ] = None,
    spool_limit: Annotated[str, typer.Option(help="most that the spool may take of the disk")] = "4GiB",
    metrics: MetricsOption = None,
) -> None:
    """Scrape the configuration's targets and publish samples."""
    from collectors.collect import run

    settings = load(config)
    url = kafka_url(settings, kafka)
    log_to_stderr()
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", collector) is None:
        raise Mistake(f'--collector "{collector}" cannot be a name: use letters, digits, ".", "_" and "-".')
    folder = spool or Path("commonwatt-spool", collector)
    limit_bytes = spool_bytes(spool_limit)
    with served(metrics):
        asyncio.run(
            until_signalled(
                lambda stop: run(
                    settings, url, collector=collector, spool=folder, spool_limit_bytes=limit_bytes, stop=stop
                )
            )
        )


@roles.command(
    epilog="Example: commonwatt worker --config my.toml --kafka kafka://… --clickhouse http://127.0.0.1:8123"
)
def worker(
    config: ConfigOption,
    kafka: KafkaOption = None,
    clickhouse: ClickHouseOption = None,
    user: UserOption = "default",
    metrics: MetricsOption = None,
) -> None:
    """Meter samples, price usage, watch budgets: the stream agents."""
    from compose.access import book
    from compose.process import share_memory_arenas
    from compose.reference.history import effective
    from streams.worker import WorkerFailed, run

    share_memory_arenas()
    settings = load(config)
    url = kafka_url(settings, kafka)
    if clickhouse is None and settings.clickhouse is None:
        raise Mistake("name a ClickHouse: --clickhouse URL, or a section [clickhouse] in the configuration.")
    log_to_stderr()
    with served(metrics), book(None, settings, url=clickhouse, user=user) as client:
        corrected = effective(client, settings)
        try:
            asyncio.run(until_signalled(lambda stop: run(corrected, url, client, stop=stop)))
        except WorkerFailed as error:
            raise Mistake(f"worker: {error}") from error


@roles.command(epilog="Example: commonwatt notify --config my.toml --kafka kafka://127.0.0.1:9092 --state ./notify")
def notify(
    config: ConfigOption,
    kafka: KafkaOption = None,
    state: Annotated[Path, typer.Option(help="folder of what is still to be told")] = Path("commonwatt-notify"),
    page: Annotated[
        str | None, typer.Option(help="address for links; default: page_url of the configuration", show_default=False)
    ] = None,
    undelivered: Annotated[bool, typer.Option("--undelivered", help="show what could not be told, and end")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="queue again what was kept aside, and end")] = False,
    metrics: MetricsOption = None,
) -> None:
    """Tell Alertmanagers and webhooks of alerts (section \\[notify] of the configuration)."""
    from compose.notify import queue, role, show, sinks

    settings = load(config)
    if undelivered or retry:
        with queue.beside(state) as waiting:
            if retry:
                console.print(f"queued again: {waiting.retry():,}")
            if undelivered:
                show.show(waiting, console)
        return
    if not sinks.is_configured(settings.notify):
        raise Mistake(f"{config} names nobody to tell: add [[notify.alertmanager]] or [[notify.webhook]].")
    url = kafka_url(settings, kafka)
    log_to_stderr()
    with served(metrics):
        asyncio.run(
            until_signalled(
                lambda stop: role.run(settings.notify, url, state, page or settings.notify.page_url, stop=stop)
            )
        )


@roles.command(epilog="Example: commonwatt page --clickhouse http://127.0.0.1:8123 --port 8080")
def page(
    clickhouse: Annotated[str, typer.Option(help="http://host:8123", show_default=False)],
    port: PortOption = 8080,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    refresh: Annotated[str, typer.Option(help="how often figures are read again")] = "5s",
    opens_with: Annotated[
        str | None,
        typer.Option("--range", help="time range to open with, such as 15m or fy", show_default="each dashboard's own"),
    ] = None,
    metrics: MetricsOption = None,
) -> None:
    """The built-in dashboards."""
    import os

    from dashboards.page import run

    secret = os.environ.get("COMMONWATT_ANALYST_PASSWORD", "")
    refresh_s = seconds(refresh)
    log_to_stderr()
    serve = partial(run, clickhouse, password=secret, host=host, port=port, refresh_s=refresh_s, opens_with=opens_with)
    with served(metrics):
        asyncio.run(until_signalled(lambda stop: serve(stop=stop)))


@roles.command(epilog="Example: commonwatt simulate --config demo.toml --port 9400")
def simulate(
    config: ConfigOption,
    port: PortOption = 9400,
    record: Annotated[Path | None, typer.Option(help="write what truly happened to this JSON file")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same events")] = 1,
    metrics: MetricsOption = None,
) -> None:
    """The exporters of a simulated fabric (configuration as written by `demo`)."""
    from collectors.simulator.serve import run

    settings = load(config)
    log_to_stderr()
    try:
        with served(metrics):
            asyncio.run(
                until_signalled(
                    lambda stop: run(settings, host="127.0.0.1", port=port, record=record, seed=seed, stop=stop)
                )
            )
    except (OSError, ValueError) as error:
        raise Mistake(f"simulate: {error}.") from error
