"""The ClickHouse of a soak: embedded, killed and started again on the same folder and port."""

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from clickhouse_connect.driver.client import Client

from compose import client as clients
from compose import migrate
from compose.broker import free_port
from tests.roles import START_S, Running, spawn


class Database:
    """`url` for everybody, also while it is away. Use in a block: at its end the server is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._server: Running | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._server is not None:
            self._server.kill()

    async def start(self) -> None:
        """Returns when it answers."""
        arguments = ("--data", str(self._folder / "book"), "--port", str(self._port))
        starting = spawn("compose.clickhouse", *arguments, log=self._folder / "clickhouse.log")
        deadline = time.monotonic() + START_S
        while (server := starting.listening()) is None:
            assert time.monotonic() < deadline, f"ClickHouse does not start: {starting.log.read_text()[-1000:]}"
            await asyncio.sleep(0.02)
        self._server = server

    def migrated(self) -> Client:
        """A client, after the migrations."""
        first = clients.connect(self.url, database=None)
        migrate.migrate(first)
        first.close()
        return clients.connect(self.url)

    async def kill(self) -> None:
        """kill -9."""
        assert self._server is not None
        self._server.kill()

    async def stop(self) -> None:
        """SIGTERM; returns when it has ended."""
        assert self._server is not None
        status = await asyncio.to_thread(self._server.stop)
        assert status == 0, f"ClickHouse ended with {status}"
