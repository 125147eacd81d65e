"""`commonwatt up` and `commonwatt demo`: every role on this machine, a live summary, and an orderly end."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from collectors.simulator import toml_file
from collectors.simulator.scale import expand
from collectors.spool import opened
from compose import datadir, metrics, summary
from compose.access import password
from compose.broker import create_topics, free_port, is_ready
from compose.client import connect
from compose.finance.lease import Busy, held
from compose.finance.settle import settle
from compose.lag import Lag
from compose.migrate import migrate
from compose.notify import sinks
from compose.reference import history, tables
from compose.rollup import roll_up
from compose.supervisor import Ready, Role, RoleFailed, Supervisor
from schemas.config import Config
from streams.reference import UnknownReference

SHOWN_EVERY_S = 1.0  # on a terminal
PRINTED_EVERY_S = 20.0  # into a file or a pipe
DRAIN_S = 60.0
NOTICED_S = 1.0  # a role that has ended is heard of within this time, and explains what else goes wrong
CHECKED_EVERY = "1m"  # the audits
SETTLED_EVERY = "1m"
DEMO_RANGE = "15m"  # the page of a demo opens with this
FINAL_TITLE = "What was metered"
_BROKER_LOSS = "The embedded broker keeps messages in memory: those that were not stored yet are lost with it."
_AWAY = (ClickHouseError, KafkaError, OSError)  # what the book and the broker raise while they are not there


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
    metrics_port: int = 0
    """Of this process; each role gets a free one."""


async def run(plan: Plan, console: Console, stop: asyncio.Event) -> None:
    """Start everything, show what happens until `stop` or the time is over, end in order.

    Raises RoleFailed when a role is given up, DataError, BrokerError, MetricsError, NoSecret or CannotConnect when one
    cannot begin.
    """
    sinks.check_secrets(plan.config.notify)
    for port, option in ((plan.page_port, "--page-port"), (plan.clickhouse_port, "--clickhouse-port")):
        _check_port(port, option)
    with datadir.held(plan.data) as folder, metrics.served(plan.metrics_port) as url:
        async with Supervisor(folder.logs, lambda line: console.print(line, soft_wrap=True)) as roles:
            platform = _Platform(plan, folder, roles, console)
            platform.addresses[f"{datadir.METRICS}up"] = str(url)
            await platform.run(stop)


class _Platform:
    def __init__(self, plan: Plan, folder: datadir.DataDir, roles: Supervisor, console: Console) -> None:
        self.addresses: dict[str, str] = {}
        self._plan = plan
        self._folder = folder
        self._roles = roles
        self._console = console
        self._config = plan.config
        self._config_file = plan.config_file
        self._samples = (0.0, 0)
        self._ports: set[int] = set()

    async def run(self, stop: asyncio.Event) -> None:
        started = time.monotonic()
        kafka = await self._start_kafka()
        client = await self._start_clickhouse()
        if self._plan.simulate_gpus is not None:
            await self._start_simulator(self._plan.simulate_gpus)
        self._config = self._recorded(client)
        await self._start_agents(kafka)
        self._folder.write_addresses(self.addresses)
        self._console.print(f"everything is up after {time.monotonic() - started:.1f} s; logs in {self._folder.logs}")
        await self._watched(self._show_and_finish(stop, client, kafka))

    async def _watched(self, work: Coroutine[None, None, None]) -> None:
        """Do the work while roles that end are started again. Raises RoleFailed when one is given up."""
        over = asyncio.Event()
        watching = asyncio.create_task(self._roles.watch(over))
        working = asyncio.create_task(work)
        try:
            await asyncio.wait({watching, working}, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done() and working.exception() is not None:
                await asyncio.wait({watching}, timeout=NOTICED_S)
            if watching.done():
                await watching
            await working
        except RoleFailed as error:
            if error.role == "broker":
                raise RoleFailed("broker", f"{error} {_BROKER_LOSS}") from None
            raise
        finally:
            over.set()
            working.cancel()
            await asyncio.gather(watching, working, return_exceptions=True)

    # ---- starting --------------------------------------------------------------------------------------------------

    async def _start_kafka(self) -> str:
        if self._config.kafka is not None:
            kafka = self._config.kafka
            await create_topics(kafka.url, replication_factor=kafka.replication_factor)
            return self._config.kafka.url
        port = self._free_port()
        url = f"kafka://127.0.0.1:{port}"
        await self._roles.start(self._role("broker", "--port", port, ready=lambda: is_ready(url)))
        await create_topics(url)
        self.addresses["kafka"] = url
        return url

    async def _start_clickhouse(self) -> Client:
        settings = self._config.clickhouse
        if settings is not None:
            client = connect(settings.url, settings.user, password(), None)
            self._clickhouse = (settings.url, settings.user)
        else:
            port = self._plan.clickhouse_port or self._free_port()
            url = f"http://127.0.0.1:{port}"
            arguments = ("--data", self._folder.clickhouse, "--port", port)
            role = self._role("clickhouse", *arguments, ready=lambda: _answers(f"{url}/ping"), restarted=True)
            await self._roles.start(role)
            client = connect(url, password=password(), database=None)
            self.addresses["clickhouse"] = url
            self._clickhouse = (url, "default")
        migrate(client)
        client.close()
        return connect(*self._clickhouse, password())

    def _recorded(self, client: Client) -> Config:
        """Record the reference data of the file. Returns the configuration with the corrections that the book has."""
        stored = tables.store(client, self._config, source=self._config_file.name)
        if stored.corrected:
            self._console.print(
                f"{self._config_file}: {', '.join(stored.corrected)} "
                f"{'does' if len(stored.corrected) == 1 else 'do'} not hold, because corrections were applied to the "
                "book; correct the file alike, or `commonwatt reference apply` what shall hold instead.",
                style="yellow",
                soft_wrap=True,
            )
        return history.effective(client, self._config)

    async def _start_simulator(self, gpus: int) -> None:
        port = self._free_port()
        url = f"http://127.0.0.1:{port}"
        self._config = expand(self._config, gpus=gpus, base_url=url)
        self._config_file = self._folder.path / "demo.toml"
        self._config_file.write_text(toml_file.dumps(self._config), encoding="utf-8")
        arguments = ("--config", self._config_file, "--port", port, "--record", self._folder.path / "record.json")
        target = self._config.cluster[0].target[0].urls[0]
        await self._roles.start(self._role("simulate", *arguments, ready=lambda: _listens(target)))

    async def _start_agents(self, kafka: str) -> None:
        clickhouse, user = self._clickhouse
        common = ("--config", self._config_file, "--kafka", kafka)
        book = ("--clickhouse", clickhouse, "--user", user)
        port = self._plan.page_port or self._free_port()
        url = f"http://127.0.0.1:{port}"
        if sinks.is_configured(self._config.notify):  # first, so that it ends after the one who has something to tell
            told = ("--state", self._folder.notify, "--page", self._config.notify.page_url or url)
            await self._roles.start(self._role("notify", *common, *told, restarted=True))
        await self._roles.start(self._role("worker", *common, *book, restarted=True))
        await self._roles.start(self._role("collect", *common, "--spool", self._folder.spool, restarted=True))
        arguments: tuple[object, ...] = ("--clickhouse", clickhouse, "--port", port)
        if self._plan.simulate_gpus is not None:  # nothing is older than a few minutes
            arguments += ("--range", DEMO_RANGE)
        await self._roles.start(
            self._role("page", *arguments, ready=lambda: _answers(f"{url}/healthz"), restarted=True)
        )
        self.addresses["page"] = url
        await self._roles.start(self._role("check", "--every", CHECKED_EVERY, *common, *book, restarted=True))
        await self._roles.start(self._role("settle", "--every", SETTLED_EVERY, *book, restarted=True))

    def _role(self, name: str, *arguments: object, ready: Ready | None = None, restarted: bool = False) -> Role:
        """One of our own commands, with its metrics on a port that stays the same when it is started again."""
        port = self._free_port()
        self.addresses[f"{datadir.METRICS}{name}"] = f"http://127.0.0.1:{port}/metrics"
        words = [sys.executable, "-m", "compose", name, *arguments, "--metrics", port]
        return Role(name, [str(word) for word in words], ready, restarted=restarted)

    def _free_port(self) -> int:
        """One that was not given away already: a role listens only some time after it got its port."""
        while (port := free_port()) in self._ports:
            pass
        self._ports.add(port)
        return port

    # ---- showing ---------------------------------------------------------------------------------------------------

    async def _show_and_finish(self, stop: asyncio.Event, client: Client, kafka: str) -> None:
        """Show the summary until it is time to end, then end in order."""
        async with _connected(kafka) as lag:
            with metrics.asked(lag.metrics):
                await self._show_until(stop, client, lag)
                await self._finish(client, lag)

    async def _show_until(self, stop: asyncio.Event, client: Client, lag: Lag) -> None:
        stopping = asyncio.create_task(stop.wait())
        showing = asyncio.create_task(self._show(client, lag))
        try:
            await asyncio.wait({stopping, showing}, timeout=self._plan.for_s, return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                await showing
        finally:
            for task in (stopping, showing):
                task.cancel()
            await asyncio.gather(stopping, showing, return_exceptions=True)

    async def _show(self, client: Client, lag: Lag) -> None:
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(PRINTED_EVERY_S)
                self._console.print(await self._picture(client, lag))
        with Live(console=self._console, screen=False, auto_refresh=False) as live:
            while True:
                live.update(await self._picture(client, lag), refresh=True)
                await asyncio.sleep(SHOWN_EVERY_S)

    async def _picture(self, client: Client, lag: Lag) -> RenderableType:
        title = f"Commonwatt · page {self.addresses['page']}"
        try:
            return summary.render(await self._read(client, lag), self._config, title)
        except _AWAY as error:  # it is being started again, or its owner is asked for
            return Text(f"{title}\nno figures at the moment: {_first_line(error)}")

    async def _read(self, client: Client, lag: Lag) -> summary.Summary:
        figures = await asyncio.to_thread(summary.read, client)
        figures.lag = await lag.total()
        before_s, before = self._samples
        now = time.monotonic()
        if before:
            figures.samples_per_s = (figures.samples - before) / (now - before_s)
        self._samples = (now, figures.samples)
        figures.addresses = {
            "page": self.addresses["page"],
            "SQL": f'{self._clickhouse[0]} (user analyst), or: commonwatt sql "SELECT …"',
        }
        return figures

    # ---- ending ----------------------------------------------------------------------------------------------------

    async def _finish(self, client: Client, lag: Lag) -> None:
        """Stop collecting, wait until everything that was collected is in the book, say what it is."""
        self._console.print("stopping: no more scrapes; waiting until everything is stored …")
        status = await self._roles.stop_one("collect")
        with opened(self._folder.spool) as spool:
            waiting = spool.messages
        try:
            async with asyncio.timeout(DRAIN_S):
                figures = await self._drained(client, lag)
        except TimeoutError:
            text = f"not everything was stored within {DRAIN_S:g} s: the logs in {self._folder.logs} say why."
            raise RoleFailed("worker", text) from None
        await self._settle(client)
        summary.show(self._console, figures, self._config, FINAL_TITLE)
        client.close()
        if waiting:
            kept = f"{waiting} messages wait in {self._folder.spool}: Kafka did not take them, the next run sends them."
            self._console.print(kept, style="yellow", soft_wrap=True)
        if status not in (0, -signal.SIGTERM):  # SIGTERM: it had not begun
            text = (
                f"the collector did not end in good order (exit status {status}): {self._folder.logs / 'collect.log'}"
            )
            raise RoleFailed("collect", f"{text} says why.")

    async def _settle(self, client: Client) -> None:
        """Price the hour that is running as far as it has come, so that statements have what was metered."""
        await self._roles.stop_one("settle")
        try:
            await asyncio.to_thread(_settled, client)
        except (Busy, UnknownReference) as error:
            self._console.print(f"the running hour is not priced: {error}", style="yellow", soft_wrap=True)

    async def _drained(self, client: Client, lag: Lag) -> summary.Summary:
        """The figures once nothing is left to be stored."""
        while True:
            with contextlib.suppress(*_AWAY):
                if not await lag.total():
                    return await asyncio.to_thread(summary.read, client)
            await asyncio.sleep(0.2)


def _check_port(port: int, option: str) -> None:
    """Raises RoleFailed when a port is taken. Found later, another program's answers would pass for the role's."""
    try:
        free_port(port=port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        text = f"Port {port} on 127.0.0.1 cannot be used ({reason}): choose another with {option}, or 0."
        raise RoleFailed(option, text) from None


@contextlib.asynccontextmanager
async def _connected(kafka: str) -> AsyncIterator[Lag]:
    lag = await Lag.connect(kafka)
    try:
        yield lag
    finally:
        await lag.close()


def _settled(client: Client) -> None:
    with held(client) as lease:
        settle(client, running=True, lease=lease)
        roll_up(client, lease)


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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
