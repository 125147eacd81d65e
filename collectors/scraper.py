"""Fetching pages: many at once, each within its own limits, none in the way of another.

A fetch waits for a slot, so that a tick of thousands of targets does not open all connections in the same
millisecond. A request that has not been answered after SLOW_AFTER_S gives its slot back and goes on without one: what
is slow only costs a socket. Targets known to be down queue for slots of their own. So dead and slow targets, however
many, hold up a healthy one by a second at most, on the first tick, when nobody knows them yet.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp

from collectors.clock import Clock

MAX_PAGE_BYTES = 16 * 1024 * 1024  # a page of 8 GPUs has 0.1 MB, the largest of a gateway a few
HEALTHY_SLOTS = 512
SUSPECT_SLOTS = 128
SLOW_AFTER_S = 1.0
KEEP_ALIVE_S = 120.0  # longer than the usual interval: connections are reused
_CHUNK = 256 * 1024

ACCEPT = "text/plain;version=0.0.4;q=0.9,*/*;q=0.1"


class ScrapeError(Exception):
    """No page was got. `kind` names the defect; the text says why, without the address (it may hold credentials)."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Fetched(NamedTuple):
    """A page and when the exporter was read."""

    body: bytes
    ts_ms: int
    """Unix ms UTC: the middle between sending the request and the arrival of the answer's head. Exporters gather
    their values between the two."""


class Scraper:
    """The HTTP client of a collector. An asynchronous context manager."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._healthy = asyncio.Semaphore(HEALTHY_SLOTS)
        self._suspect = asyncio.Semaphore(SUSPECT_SLOTS)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No compression: within a cluster, time costs more than bytes.
            headers={"Accept": ACCEPT, "Accept-Encoding": "identity", "User-Agent": "commonwatt"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def fetch(self, url: str, timeout_s: float, suspect: bool) -> Fetched:
        """The page at `url`. Raises ScrapeError: target_timeout, target_unreachable, http_error, oversized_page."""
        try:
            async with asyncio.timeout(timeout_s), self._slot(suspect):
                return await self._get(url)
        except TimeoutError as error:
            raise ScrapeError("target_timeout", f"no complete page within {timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or type(error.os_error).__name__
            raise ScrapeError("target_unreachable", reason) from error
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
            raise ScrapeError("truncated_page", "the connection ended before the page did") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ScrapeError("target_unreachable", type(error).__name__) from error

    async def _get(self, url: str) -> Fetched:
        assert self._session is not None, "used outside its context"
        sent_s, started = self._clock(), time.monotonic()
        async with self._session.get(url, max_redirects=3, timeout=aiohttp.ClientTimeout()) as response:
            ts_ms = round((sent_s + (time.monotonic() - started) / 2) * 1000)
            if response.status != 200:
                raise ScrapeError("http_error", f"HTTP status {response.status}")
            if (response.content_length or 0) > MAX_PAGE_BYTES:
                raise _oversized()
            parts, size = [], 0
            async for part in response.content.iter_chunked(_CHUNK):
                size += len(part)
                if size > MAX_PAGE_BYTES:
                    raise _oversized()
                parts.append(part)
            body = b"".join(parts)
            if response.content_type == "application/openmetrics-text" and not body.endswith(b"# EOF\n"):
                raise ScrapeError("truncated_page", "the page lacks its # EOF")
            return Fetched(body, ts_ms)

    @asynccontextmanager
    async def _slot(self, suspect: bool) -> AsyncIterator[None]:
        slots = self._suspect if suspect else self._healthy
        await slots.acquire()
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                slots.release()

        slow = asyncio.get_running_loop().call_later(SLOW_AFTER_S, release)
        try:
            yield
        finally:
            slow.cancel()
            release()


def _oversized() -> ScrapeError:
    return ScrapeError("oversized_page", f"the page is larger than {MAX_PAGE_BYTES // 2**20} MiB; it was not read on")
