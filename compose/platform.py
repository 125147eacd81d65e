"""`commonwatt up` and `commonwatt demo`: every role on this machine, a live summary, and an orderly end."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from clickhouse_connect.driver.client import Client
from rich.console import Console
from rich.live import Live

from collectors.simulator import toml_file
from collectors.simulator.scale import expand
from compose import datadir, reference_tables, summary
from compose.access import password
from compose.broker import create_topics, free_port, is_ready
from compose.client import connect
from compose.lag import Lag
from compose.migrate import migrate
from compose.supervisor import Role, RoleFailed, Supervisor
from schemas.config import Config

SHOWN_EVERY_S = 1.0  # on a terminal
PRINTED_EVERY_S = 20.0  # into a file or a pipe
DRAIN_S = 60.0
FINAL_TITLE = "What was metered"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    config: Config
    config_file: Path
    data: Path | None
    for_s: float | None
    """None: until stopped."""
    page_port: int
    """0: a free one."""
    clickhouse_port: int
    simulate_gpus: int | None = None
    """Not None: the targets are those of the simulated fabric, with this many GPUs."""


async def run(plan: Plan, console: Console, stop: asyncio.Event) -> None:
    """Start everything, show what happens until `stop` or the time is over, end in order.

    Raises RoleFailed when a role ends by itself, DataError, BrokerError or CannotConnect when one cannot begin.
    """
    for port, option in ((plan.page_port, "--page-port"), (plan.clickhouse_port, "--clickhouse-port")):
        _check_port(port, option)
    with datadir.held(plan.data) as folder:
        async with Supervisor(folder.logs) as roles:
            await _Platform(plan, folder, roles, console).run(stop)


class _Platform:
    def __init__(self, plan: Plan, folder: datadir.DataDir, roles: Supervisor, console: Console) -> None:
        self._plan = plan
        self._folder = folder
        self._roles = roles
        self._console = console
        self._config = plan.config
        self._config_file = plan.config_file
        self._addresses: dict[str, str] = {}
        self._samples = (0.0, 0)

    async def run(self, stop: asyncio.Event) -> None:
        started = time.monotonic()
        kafka = await self._start_kafka()
        client = await self._start_clickhouse()
        if self._plan.simulate_gpus is not None:
            await self._start_simulator(self._plan.simulate_gpus)
        reference_tables.store(client, self._config)
        await self._start_agents(kafka)
        self._folder.write_addresses(self._addresses)
        self._console.print(f"everything is up after {time.monotonic() - started:.1f} s; logs in {self._folder.logs}")
        async with _connected(kafka) as lag:
            await self._show_until(stop, client, lag)
            await self._finish(client, lag)

    # ---- starting --------------------------------------------------------------------------------------------------

    async def _start_kafka(self) -> str:
        if self._config.kafka is not None:
            kafka = self._config.kafka
            await create_topics(kafka.url, replication_factor=kafka.replication_factor)
            return self._config.kafka.url
        port = free_port()
        url = f"kafka://127.0.0.1:{port}"
        await self._roles.start(_role("broker", "--port", port, ready=lambda: is_ready(url)))
        await create_topics(url)
        self._addresses["kafka"] = url
        return url

    async def _start_clickhouse(self) -> Client:
        settings = self._config.clickhouse
        if settings is not None:
            client = connect(settings.url, settings.user, password(), None)
            self._clickhouse = (settings.url, settings.user)
        else:
            port = self._plan.clickhouse_port or free_port()
            url = f"http://127.0.0.1:{port}"
            arguments = ("--data", self._folder.clickhouse, "--port", port)
            await self._roles.start(_role("clickhouse", *arguments, ready=lambda: _answers(f"{url}/ping")))
            client = connect(url, password=password(), database=None)
            self._addresses["clickhouse"] = url
            self._clickhouse = (url, "default")
        migrate(client)
        client.close()
        return connect(*self._clickhouse, password())

    async def _start_simulator(self, gpus: int) -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        self._config = expand(self._config, gpus=gpus, base_url=url)
        self._config_file = self._folder.path / "demo.toml"
        self._config_file.write_text(toml_file.dumps(self._config), encoding="utf-8")
        arguments = ("--config", self._config_file, "--port", port, "--record", self._folder.path / "record.json")
        target = self._config.cluster[0].target[0].urls[0]
        await self._roles.start(_role("simulate", *arguments, ready=lambda: _listens(target)))

    async def _start_agents(self, kafka: str) -> None:
        clickhouse, user = self._clickhouse
        common = ("--config", self._config_file, "--kafka", kafka)
        book = ("--clickhouse", clickhouse, "--user", user)
        await self._roles.start(_role("worker", *common, *book))
        await self._roles.start(_role("collect", *common))
        port = self._plan.page_port or free_port()
        url = f"http://127.0.0.1:{port}"
        arguments = ("--clickhouse", clickhouse, "--port", port)
        await self._roles.start(_role("page", *arguments, ready=lambda: _answers(f"{url}/healthz")))
        self._addresses["page"] = url

    # ---- showing ---------------------------------------------------------------------------------------------------

    async def _show_until(self, stop: asyncio.Event, client: Client, lag: Lag) -> None:
        """Show the summary until it is time to end. Raises RoleFailed when a role ends."""
        over = asyncio.Event()
        watching = asyncio.create_task(self._roles.watch(over))
        stopping = asyncio.create_task(stop.wait())
        showing = asyncio.create_task(self._show(client, lag))
        try:
            await asyncio.wait(
                {watching, stopping, showing}, timeout=self._plan.for_s, return_when=asyncio.FIRST_COMPLETED
            )
            if watching.done():
                await watching
            if showing.done():
                await showing
        finally:
            over.set()
            for task in (stopping, showing):
                task.cancel()
            await asyncio.gather(watching, stopping, showing, return_exceptions=True)

    async def _show(self, client: Client, lag: Lag) -> None:
        title = f"Commonwatt · page {self._addresses['page']}"
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(PRINTED_EVERY_S)
                summary.show(self._console, await self._read(client, lag), self._config, title)
        with Live(console=self._console, screen=False, auto_refresh=False) as live:
            while True:
                live.update(summary.render(await self._read(client, lag), self._config, title), refresh=True)
                await asyncio.sleep(SHOWN_EVERY_S)

    async def _read(self, client: Client, lag: Lag) -> summary.Summary:
        figures = await asyncio.to_thread(summary.read, client)
        figures.lag = await lag.total()
        before_s, before = self._samples
        now = time.monotonic()
        if before:
            figures.samples_per_s = (figures.samples - before) / (now - before_s)
        self._samples = (now, figures.samples)
        figures.addresses = {
            "page": self._addresses["page"],
            "SQL": f'{self._clickhouse[0]} (user analyst), or: commonwatt sql "SELECT …"',
        }
        return figures

    # ---- ending ----------------------------------------------------------------------------------------------------

    async def _finish(self, client: Client, lag: Lag) -> None:
        """Stop collecting, wait until everything that was collected is in the book, say what it is."""
        self._console.print("stopping: no more scrapes; waiting until everything is stored …")
        await self._roles.stop_one("collect")
        deadline = time.monotonic() + DRAIN_S
        while await lag.total():
            if time.monotonic() > deadline:
                raise RoleFailed("worker", f"the worker did not catch up within {DRAIN_S:g} s: its log says why.")
            await asyncio.sleep(0.2)
        figures = await asyncio.to_thread(summary.read, client)
        summary.show(self._console, figures, self._config, FINAL_TITLE)
        client.close()


def _check_port(port: int, option: str) -> None:
    """Raises RoleFailed when a port is taken. Found later, another program's answers would pass for the role's."""
    try:
        free_port(port=port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        text = f"Port {port} on 127.0.0.1 cannot be used ({reason}): choose another with {option}, or 0."
        raise RoleFailed(option, text) from None


def _role(name: str, *arguments: object, ready: Callable[[], Awaitable[bool]] | None = None) -> Role:
    command = [sys.executable, "-m", "compose", name, *(str(argument) for argument in arguments)]
    return Role(name, command, ready)


@contextlib.asynccontextmanager
async def _connected(kafka: str) -> AsyncIterator[Lag]:
    lag = await Lag.connect(kafka)
    try:
        yield lag
    finally:
        await lag.close()


async def _answers(url: str) -> bool:
    """Whether a URL answers 200."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False


async def _listens(url: str) -> bool:
    """Whether something listens at the host and port of a URL (an exporter's page counts every reading)."""
    host, _, port = url.split("/")[2].partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True
