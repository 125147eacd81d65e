"""The fabric behind one HTTP server."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import Counter

from collectors.simulator.fabric import WARM_UP_S, Fabric
from schemas.config import Config

PAGES = Counter("commonwatt_simulator_pages_total", "Pages of simulated exporters that were delivered.")

_TICK_S = 0.25
_GOODBYE_S = 2.0
_RECORD_EVERY_S = 5.0
_RECORD_SHARE = 0.01
"""The record is written less often when writing it takes more than this share of the time."""


class Clock:
    """The fabric's clock: wall time, but never stepped."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.epoch_unix_s = time.time() - WARM_UP_S

    def now_s(self) -> float:
        """Seconds on the fabric's clock."""
        return WARM_UP_S + time.monotonic() - self._start


async def run(config: Config, *, host: str, port: int, record: Path | None, seed: int, stop: asyncio.Event) -> None:
    """Serve an expanded configuration until `stop` is set; keep `record` up to date and write it once more at the end.

    Raises ValueError when the configuration does not describe a fabric that can be simulated, OSError when the port is
    taken or the record cannot be written.
    """
    clock = Clock()
    fabric = Fabric(config, seed=seed, epoch_unix_s=clock.epoch_unix_s)
    runner = web.ServerRunner(web.Server(_handler(fabric, clock), access_log=None), shutdown_timeout=_GOODBYE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await _keep_going(fabric, clock, record, stop)
    finally:
        await runner.cleanup()
        if record:
            fabric.record.write(record)


async def _keep_going(fabric: Fabric, clock: Clock, record: Path | None, stop: asyncio.Event) -> None:
    """Advance the fabric while nobody asks, so that nobody waits for it."""
    next_write_s = clock.now_s()
    while not stop.is_set():
        fabric.advance(clock.now_s())
        if record and clock.now_s() >= next_write_s:
            begun_s = clock.now_s()
            fabric.record.write(record)
            next_write_s = begun_s + max(_RECORD_EVERY_S, (clock.now_s() - begun_s) / _RECORD_SHARE)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TICK_S)


def _handler(fabric: Fabric, clock: Clock) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        target = fabric.targets.get(request.path_qs)
        if target is None:
            return web.Response(status=404, text="no such target; the configuration lists them all\n")
        now_s = clock.now_s()
        fabric.advance(now_s)
        page, delivered = target.answer(now_s)
        response = web.Response(body=page, headers={"Content-Type": target.content_type})
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionResetError:  # the reader went away: it has not got this page
            return response
        delivered()
        PAGES.inc()
        return response

    return answer
