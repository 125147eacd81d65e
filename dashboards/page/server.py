"""The page as a server: routes, readiness, a clean start and a clean end."""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator
from importlib.resources import files

import uvicorn
from fastapi import FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import PlainTextResponse, Response
from nicegui import Client, ui
from nicegui import app as pages
from prometheus_client import Gauge
from starlette.types import ASGIApp

from dashboards.boards import BY_UID, DASHBOARDS
from dashboards.page.download import as_csv
from dashboards.page.feed import Feed, QueryFailed
from dashboards.page.frame import not_found
from dashboards.page.ranges import NAMES, moment
from dashboards.page.state import State
from dashboards.page.view import Board
from schemas.texts import Lang

VIEWERS = Gauge("commonwatt_page_viewers", "Browser windows that show the page.")
VIEWERS.set_function(lambda: sum(client.has_socket_connection for client in list(Client.instances.values())))

PARTING_S = 2.0  # open pages get this long to be told that the server goes away


class PageError(Exception):
    """The page cannot be served. The text names the address and the remedy."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever runs the page decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(
    clickhouse_url: str,
    *,
    user: str = "analyst",
    password: str = "",
    host: str = "127.0.0.1",
    port: int = 8080,
    refresh_s: float = 5.0,
    opens_with: str | None = None,
    stop: asyncio.Event,
) -> None:
    """Serve the dashboards on `http://host:port` until `stop` is set. Once per process.

    ClickHouse is read at `clickhouse_url` as `user`, who needs no more than to read. Figures are read again every
    `refresh_s` seconds, once for all viewers; those of long ranges once a minute. `opens_with` names the time range to
    begin with instead of each dashboard's own. `/healthz` answers 200 as soon as pages are served; a ClickHouse that is
    away is said so on the page, and is no reason to end. Raises PageError when the address cannot be listened on, or
    when there is no such range.
    """
    if opens_with is not None and opens_with not in NAMES:
        raise PageError(f"there is no time range {opens_with!r}; choose one of {', '.join(NAMES)} with --range")
    listener = _listen(host, port)
    feed = Feed(clickhouse_url, user=user, password=password, remember_s=refresh_s * 0.9)
    server = _Server(
        uvicorn.Config(
            _application(feed, refresh_s, opens_with, far=not _is_loopback(host)),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(PARTING_S),
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        stopping.cancel()
        await feed.close()
        listener.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PageError(f"the page cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error
    return listener


def _gzip(app: ASGIApp) -> GZipMiddleware:
    return GZipMiddleware(app, minimum_size=1000, compresslevel=4)


def _application(feed: Feed, refresh_s: float, opens_with: str | None, *, far: bool) -> FastAPI:
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @application.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        return "ok\n"

    @ui.page("/")
    async def home(request: Request) -> None:
        await _show(DASHBOARDS[0].uid, request)

    @ui.page("/d/{uid}")
    async def dashboard(uid: str, request: Request) -> None:
        await _show(uid, request)

    async def _show(uid: str, request: Request) -> None:
        accept: str = request.headers.get("accept-language", "")
        found = BY_UID.get(uid)
        if found is None:
            lang: Lang = "fr" if request.query_params.get("lang") == "fr" else "en"
            not_found(lang)
            return
        await Board(State.read(found, request.query_params, accept, opens_with), feed, refresh_s).open()

    @application.get("/d/{uid}/{name}.{form}")
    async def taken(uid: str, name: str, form: str, request: Request) -> Response:
        board = BY_UID.get(uid)
        panel = next((panel for panel in board.panels if panel.name == name), None) if board else None
        if board is None or panel is None or form not in ("csv", "sql"):
            return PlainTextResponse("There is no such panel.\n", status_code=404)
        state = State.read(board, request.query_params, "", opens_with)
        window = state.range.window(time.time(), refresh_s)
        sql = state.statement(panel.sql, window)
        if form == "sql":
            return PlainTextResponse(f"{sql}\n")
        try:
            text = as_csv(await feed.ask(sql))
        except QueryFailed as failure:
            return PlainTextResponse(f"{failure}\n", status_code=503)
        named = f"{uid}_{name}_{moment(window.to_ms):%Y-%m-%dT%H%MZ}.csv"
        headers = {"content-disposition": f'attachment; filename="{named}"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    pages.add_static_file(local_file=str(files("dashboards.page") / "favicon.svg"), url_path="/favicon.svg")
    ui.run_with(
        application,
        title="Commonwatt",
        favicon=str(files("dashboards.page") / "favicon.svg"),
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=30.0,
        # Over a network the scripts travel compressed; on the same machine that would only cost time.
        gzip_middleware_factory=_gzip if far else None,
    )
    return application
