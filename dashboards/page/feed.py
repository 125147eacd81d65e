"""Reads ClickHouse for all viewers at once: each statement runs once per refresh period, whoever asks for it."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import clickhouse_connect
from aiohttp import ClientError
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from prometheus_client import Counter, Histogram

DATABASE = "commonwatt"
AT_ONCE = 8  # statements in flight: a page of fifteen panels must not crowd out the worker's inserts
PATIENCE_S = 30.0

QUERY_SECONDS = Histogram(
    "commonwatt_page_query_seconds",
    "Time that ClickHouse took for a statement of the page, the wait for a free place included.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30),
)
QUERY_ERRORS = Counter("commonwatt_page_query_errors_total", "Statements of the page that got no answer.")


class QueryFailed(Exception):
    """A statement that gave no answer. The text says why, in one line, for the panel that shows it."""


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to a statement."""

    names: tuple[str, ...]
    rows: Sequence[Sequence[object]]

    def column(self, name: str) -> int:
        """Position of a column; any when there are no rows, for then the driver names no columns.

        Raises QueryFailed when the statement does not yield it.
        """
        if not self.rows:
            return 0
        try:
            return self.names.index(name)
        except ValueError:
            raise QueryFailed(f"the statement yields no column {name}") from None


class Feed:
    """Statements to ClickHouse as one read-only user, shared and remembered for `remember_s` seconds."""

    def __init__(self, url: str, *, user: str, password: str, remember_s: float) -> None:
        parts = urlsplit(url)
        self._scheme = parts.scheme or "http"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (8443 if parts.scheme == "https" else 8123)
        self._user, self._password = user, password
        self._remember_s = remember_s
        self._client: clickhouse_connect.driver.AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._answers: dict[str, tuple[float, asyncio.Task[Table]]] = {}

    async def ask(self, sql: str) -> Table:
        """The answer to a statement, at most `remember_s` old. Raises QueryFailed."""
        now = time.monotonic()
        for known, (until, task) in list(self._answers.items()):
            if until < now and task.done():
                del self._answers[known]
        known_answer = self._answers.get(sql)
        if known_answer is None or known_answer[0] < now:
            task = asyncio.create_task(self._query(sql))
            task.add_done_callback(_retrieve)
            self._answers[sql] = (now + self._remember_s, task)
        else:
            task = known_answer[1]
        # Shielded: a viewer who leaves must not cancel the statement under the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End running statements and the connection."""
        tasks = [task for _, task in self._answers.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _query(self, sql: str) -> Table:
        with QUERY_ERRORS.count_exceptions(QueryFailed), QUERY_SECONDS.time():
            return await self._answer(sql)

    async def _answer(self, sql: str) -> Table:
        try:
            async with self._slots, asyncio.timeout(PATIENCE_S):
                client = await self._connect()
                result = await client.query(sql)
        except TimeoutError:
            raise QueryFailed(f"no answer from ClickHouse within {PATIENCE_S:.0f} s") from None
        except (ClickHouseError, ClientError, OSError) as error:
            if isinstance(error, ClickHouseError) and not isinstance(error.__cause__, ClientError | OSError):
                raise QueryFailed(_first_line(error)) from error
            where = f"{self._scheme}://{self._host}:{self._port}"
            raise QueryFailed(f"ClickHouse at {where} cannot be reached") from error
        return Table(tuple(result.column_names), result.result_rows)

    async def _connect(self) -> "clickhouse_connect.driver.AsyncClient":
        async with self._connecting:
            if self._client is None:
                self._client = await clickhouse_connect.get_async_client(
                    interface=self._scheme,
                    host=self._host,
                    port=self._port,
                    username=self._user,
                    password=self._password,
                    database=DATABASE,
                    connector_limit=AT_ONCE,
                    connector_limit_per_host=AT_ONCE,
                    query_retries=0,
                )
            return self._client


def _retrieve(task: asyncio.Task[Table]) -> None:
    """Mark the outcome as seen: a failure that every viewer has left behind is no event-loop error."""
    if not task.cancelled():
        task.exception()


def _first_line(error: Exception) -> str:
    """ClickHouse's message without its wrapping, in one line of reasonable length."""
    text = " ".join(str(error).split())
    match = re.search(r"Code: (\d+)\. DB::Exception: (.*?)(?: \(version .*)?$", text)
    if match:
        text = f"{match[2]} (ClickHouse error {match[1]})"
    return text if len(text) <= 300 else text[:299] + "…"
