"""ClickHouse's HTTP interface on the embedded engine.

Differs from a ClickHouse server in this, each with a clear error where it matters: no sessions (SET, USE, temporary
tables), no `compress=1` block compression, no external tables, no function `input`, users `default`, `analyst`,
`finance` and `operations` only, query ids are not those in system tables. Rows of an INSERT in a format are stored when
the whole body has arrived, never before.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import BodyPartReader, web
from prometheus_client import Metric

from compose.clickhouse import codec, metrics, protocol, settings
from compose.clickhouse.engine import Answer, Call, Engine, Summary
from compose.clickhouse.errors import NOT_IMPLEMENTED, ClickHouseError
from compose.clickhouse.protocol import Passwords, Request
from compose.clickhouse.settings import Limits

Result = TypeVar("Result")

_HELD_BYTES = 4 << 20  # so much of an answer is held back to send a proper status when it fails early
_CHUNK_BYTES = 1 << 18
_READING = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CONTENT_TYPES = {
    "json": "application/json; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8",
    "tab": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
}


class Server:
    """Handlers of one engine. Reads and writes have threads of their own, so neither waits for the other."""

    def __init__(self, engine: Engine, limits: Limits, passwords: Passwords, *, loopback_only: bool) -> None:
        self._engine = engine
        self._limits = limits
        self._passwords = passwords
        self._loopback_only = loopback_only
        # Twice the threads: a statement whose client has gone may need a moment to end.
        self._reads = ThreadPoolExecutor(2 * limits.concurrent_reads, "read")
        self._writes = ThreadPoolExecutor(limits.concurrent_writes, "write")
        self._control = ThreadPoolExecutor(1, "control")
        self._endings: set[asyncio.Task[None]] = set()
        of_readers = asyncio.Semaphore(limits.concurrent_readers)
        self._slots = {
            settings.ADMIN: asyncio.Semaphore(limits.concurrent_reads - limits.concurrent_readers),
            **dict.fromkeys(settings.READERS, of_readers),
        }
        self.app = web.Application(client_max_size=limits.request_bytes)
        self.app.router.add_get("/ping", self._ping)
        self.app.router.add_route("*", "/", self._handle)

    def end_statements(self) -> None:
        """End every statement that runs now; its client gets the error QUERY_WAS_CANCELLED."""
        self._control.submit(self._engine.kill_all)

    async def close(self) -> None:
        """Wait until every statement has ended and every body that has arrived is stored."""
        if self._endings:
            await asyncio.wait(self._endings)
        for pool in (self._writes, self._reads, self._control):
            await asyncio.to_thread(pool.shutdown)

    async def metrics(self) -> list[Metric]:
        """What Prometheus wants to know and has to be looked up."""
        parts = await asyncio.wrap_future(self._control.submit(self._engine.parts))
        return metrics.storage(self._engine.folder, self._limits.reserve_bytes, parts)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n", headers=self._headers(""))

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        if self._loopback_only and not _from_here(http):
            return web.Response(status=403, text="This server answers to programs on its own machine only.\n")
        if http.method not in ("GET", "HEAD", "POST"):
            return web.Response(status=405, text=f"{http.method} is not supported.\n")
        request = Request(http.method, dict(http.query), http.headers)
        query_id = protocol.query_id_of(request)
        try:
            role = protocol.role_of(request, self._passwords)
            if http.method != "POST" and "query" not in http.query:
                return await self._ping(http)
            request = await self._with_body(http, request)
            call, data = protocol.read(request, role, query_id, self._limits.request_bytes)
            if data is not None:
                with metrics.QUERY_SECONDS.labels("insert").time():
                    insert = self._writes.submit(self._insert, call, data)
                    # Shielded: a body that has arrived is stored, whether or not the client waits for the answer.
                    summary = await asyncio.shield(asyncio.wrap_future(insert))
                return web.Response(headers=self._headers(query_id, summary))
            if call.statement.verb in _READING:
                with metrics.QUERY_SECONDS.labels("read").time():
                    async with self._slots[role]:
                        return await self._answer(http, call, protocol.encoding_of(request), self._reads)
            with metrics.QUERY_SECONDS.labels("write").time():
                return await self._answer(http, call, protocol.encoding_of(request), self._writes)
        except ClickHouseError as error:
            return self._failure(query_id, self._engine.explained(error))

    def _insert(self, call: Call, data: Iterable[bytes]) -> Summary:
        summary = self._engine.insert(call, data)
        metrics.INSERTED_ROWS.inc(summary.written_rows)
        metrics.INSERTED_BYTES.inc(summary.written_bytes)
        return summary

    async def _with_body(self, http: web.Request, request: Request) -> Request:
        """Read the body. Raises ClickHouseError when it is too large or has a form this server does not know."""
        try:
            if http.content_type == "multipart/form-data":
                return Request(request.method, request.url, request.headers, form=await _form(http))
            return Request(request.method, request.url, request.headers, await http.read())
        except web.HTTPRequestEntityTooLarge:
            raise codec.too_large(self._limits.request_bytes) from None

    async def _answer(
        self, http: web.Request, call: Call, encoding: str, pool: ThreadPoolExecutor
    ) -> web.StreamResponse:
        running = _Running(self._engine, call, pool, self._control)
        try:
            return await self._send(http, call, encoding, running)
        finally:
            ending = asyncio.create_task(running.end())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def _send(self, http: web.Request, call: Call, encoding: str, running: "_Running") -> web.StreamResponse:
        packer = codec.Packer(encoding)
        answer = await running.open()
        held, last = await running.run(answer.read, _HELD_BYTES)
        headers = self._headers(call.query_id, answer.summary, call.format, encoding)
        if last:
            return web.Response(body=await running.run(lambda: packer.pack(held, last=True)), headers=headers)
        tag = secrets.token_hex(8)
        response = web.StreamResponse(headers={**headers, "X-ClickHouse-Exception-Tag": tag})
        await response.prepare(http)
        try:
            await response.write(await running.run(lambda: packer.pack(held, last=False)))
            while not last:
                piece, last = await running.run(lambda: _packed(answer, packer))
                if piece:
                    await response.write(piece)
        except ClickHouseError as error:
            metrics.ERRORS.labels(str(error.code)).inc()
            await response.write(packer.pack([_late(str(error), tag)], last=True))
            if http.transport is not None:
                http.transport.close()  # the answer must not look complete
            return response
        await response.write_eof()
        return response

    def _headers(
        self, query_id: str, summary: Summary | None = None, format_name: str = "", encoding: str = ""
    ) -> dict[str, str]:
        lower = format_name.lower()
        known = next((kind for start, kind in _CONTENT_TYPES.items() if lower.startswith(start)), None)
        kind = known or ("application/octet-stream" if format_name else "text/plain; charset=UTF-8")
        headers = {
            "Content-Type": kind,
            "X-ClickHouse-Server-Display-Name": "commonwatt",
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        optional = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Format": format_name, "Content-Encoding": encoding}
        headers.update({name: value for name, value in optional.items() if value})
        if summary is not None:
            headers["X-ClickHouse-Summary"] = json.dumps(summary.header())
        return headers

    def _failure(self, query_id: str, error: ClickHouseError) -> web.Response:
        metrics.ERRORS.labels(str(error.code)).inc()
        text = str(error)
        if "(version " not in text:
            text = f"{text} (version {self._engine.version})"
        headers = {**self._headers(query_id), "X-ClickHouse-Exception-Code": str(error.code)}
        return web.Response(status=error.status, text=f"{text}\n", headers=headers)


class _Running:
    """One statement at work. Its steps run in threads, one after the other; `end` ends it wherever it stands."""

    def __init__(self, engine: Engine, call: Call, pool: ThreadPoolExecutor, control: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._call = call
        self._pool = pool
        self._control = control
        self._answer: Answer | None = None
        self._step: asyncio.Future[Any] | None = None

    async def open(self) -> Answer:
        return await self.run(self._open)

    def _open(self) -> Answer:
        self._answer = self._engine.answer(self._call)
        return self._answer

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        step = asyncio.wrap_future(self._pool.submit(function, *arguments))
        self._step = step
        return await asyncio.shield(step)

    async def end(self) -> None:
        """Kill what still runs, because its client has gone, and release the connection."""
        loop = asyncio.get_running_loop()
        while self._step is not None and not self._step.done():
            await loop.run_in_executor(self._control, self._engine.kill, self._call.query_id)
            await asyncio.wait([self._step], timeout=0.2)
        if self._step is not None and not self._step.cancelled():
            self._step.exception()  # seen: a client that has gone is not told
        if self._answer is not None:
            await loop.run_in_executor(self._control, self._answer.close)


def _packed(answer: Answer, packer: codec.Packer) -> tuple[bytes, bool]:
    chunks, last = answer.read(_CHUNK_BYTES)
    return packer.pack(chunks, last=last), last


def _late(text: str, tag: str) -> bytes:
    """An error after the answer has begun, as ClickHouse 25.11 and later end a body with it."""
    message = text.encode() + b"\n"
    mark = tag.encode()
    head = b"\r\n__exception__\r\n" + mark + b"\r\n"
    return head + message + str(len(message)).encode() + b" " + mark + b"\r\n__exception__\r\n"


async def _form(http: web.Request) -> dict[str, str]:
    fields: dict[str, str] = {}
    async for part in await http.multipart():
        if not isinstance(part, BodyPartReader) or part.filename is not None or part.name is None:
            raise ClickHouseError.of(NOT_IMPLEMENTED, "External tables are not supported here.")
        fields[part.name] = await part.text(encoding="utf-8")
    return fields


def _from_here(http: web.Request) -> bool:
    """No web page may reach the data through a browser on this machine: neither by a foreign name that leads here
    (Host) nor by a request from its own pages (Origin)."""
    origin = http.headers.get("Origin")
    hosts = [urlsplit(f"//{http.host}").hostname, urlsplit(origin).hostname if origin else "localhost"]
    return all(host in _LOOPBACK for host in hosts)
