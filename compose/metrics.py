"""The metrics of a role for Prometheus: `http://host:port/metrics`, read from prometheus_client's default registry.

Metrics are declared where they are counted (`streams.metrics`, `collectors.metrics`, …); a role that imports them shows
them. Pages are made by a thread of their own, so that a busy role still answers.
"""

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import platform
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import REGISTRY, Info, Metric, disable_created_metrics, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

Ask = Callable[[], Awaitable[Iterable[Metric]]]

_POLL_S = 0.1  # how long an end waits for the thread at most
_ASK_S = 5.0

disable_created_metrics()  # a series more for each counter, which tells what the start of the process tells
Info("commonwatt_build", "Version of Commonwatt, and of the Python that runs it.").info(
    {"version": importlib.metadata.version("commonwatt"), "python": platform.python_version()}
)


class MetricsError(Exception):
    """The metrics cannot be served. `str()` is the whole message for the user."""


@contextlib.contextmanager
def served(port: int | None, host: str = "127.0.0.1") -> Iterator[str | None]:
    """Serve the metrics of this process for as long as the block lasts; gives their URL.

    Port None: nothing is served, and there is no URL. Port 0: a free one. Raises MetricsError for a port that cannot be
    listened on.
    """
    if port is None:
        yield None
        return
    try:
        server = make_server(host, port, make_wsgi_app(), ThreadingWSGIServer, _Handler)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise MetricsError(
            f"Port {port} on {host} cannot be used for metrics ({reason}): choose another with --metrics, or 0."
        ) from None
    url = f"http://{host}:{server.server_port}/metrics"
    serving = threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="metrics", daemon=True)
    serving.start()
    logger.info("metrics on %s", url)
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def asked(ask: Ask) -> Iterator[None]:
    """Show also what `ask` tells whenever the page is read, for as long as the block lasts.

    `ask` is awaited on the running loop. Where it fails the rest of the page is shown without its metrics.
    """
    collector = _Asked(ask, asyncio.get_running_loop())
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)


class _Asked(Collector):
    def __init__(self, ask: Ask, loop: asyncio.AbstractEventLoop) -> None:
        self._ask = ask
        self._loop = loop

    def describe(self) -> Iterable[Metric]:
        """Without asking: the registry wants to know when nobody scrapes yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        asking = asyncio.run_coroutine_threadsafe(self._answer(), self._loop)
        try:
            return asking.result(_ASK_S)
        except Exception as error:
            asking.cancel()
            logger.warning("some metrics are missing (%s: %s)", type(error).__name__, error)
            return ()

    async def _answer(self) -> list[Metric]:
        return list(await self._ask())


class _Handler(WSGIRequestHandler):
    """Without a line in the log for every scrape."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Not a word; errors are written all the same."""
