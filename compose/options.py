"""What the commands have in common: their options, the terminal, and how a user's mistake is told."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.config import Config
from schemas.config_values import duration_s, size_bytes

MIN_SPOOL_BYTES = 64 * 1024 * 1024  # several of the largest messages

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
MetricsOption = Annotated[
    int | None,
    typer.Option(
        "--metrics", min=0, max=65535, help="port for Prometheus on 127.0.0.1; 0 = a free one", show_default=False
    ),
]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="port on 127.0.0.1; 0 = a free one")]


class Mistake(Exception):
    """Something the user can correct. `str()` is the whole message."""


async def until_signalled(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until done; Ctrl-C and SIGTERM set the event."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(stop)


def seconds(text: str) -> float:
    """A duration such as 2m. Raises Mistake."""
    try:
        return duration_s(text)
    except ValueError as error:
        raise Mistake(str(error)) from None


def spool_bytes(text: str) -> int:
    """A size such as 4GiB that a spool can have. Raises Mistake."""
    try:
        size = size_bytes(text)
    except ValueError as error:
        raise Mistake(str(error)) from None
    if size < MIN_SPOOL_BYTES:
        raise Mistake(f'--spool-limit "{text}" is too little: allow {MIN_SPOOL_BYTES >> 20}MiB or more.')
    return size


def kafka_url(settings: Config, kafka: str | None) -> str:
    """The Kafka that the option or else the configuration names. Raises Mistake or BrokerError."""
    from compose.broker import servers

    url = kafka or (settings.kafka.url if settings.kafka else None)
    if url is None:
        raise Mistake("name a Kafka: --kafka URL, or a section [kafka] in the configuration.")
    servers(url)
    return url


def log_to_stderr() -> None:
    """Roles write their log to stderr; the supervisor keeps it in a file."""
    from compose.quiet import Sparing

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("faust", "aiokafka", "mode"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for repeating in ("clickhouse_connect", "urllib3"):  # a line for each try, of what becomes an error of ours
        logging.getLogger(repeating).setLevel(logging.ERROR)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Sparing("aiokafka"))
