"""HTTP servers that stand in for exporters: good, slow, endless, broken in every way."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def gpu_page(power_w: float = 100.0, energy_mj: int = 5000, *, devices: int = 2, node: str = "n1") -> str:
    """A page of dcgm-exporter with power and energy of some GPUs."""
    power = "".join(
        f'DCGM_FI_DEV_POWER_USAGE{{gpu="{i}",UUID="GPU-{node}-{i}",Hostname="{node}"}} {power_w:f}\n'
        for i in range(devices)
    )
    energy = "".join(
        f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="{i}",UUID="GPU-{node}-{i}",Hostname="{node}"}} {energy_mj}\n'
        for i in range(devices)
    )
    return power + energy


def says(text: str | bytes, status: int = 200) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=text if isinstance(text, bytes) else text.encode(), status=status)

    return handle


async def endless(request: web.Request) -> web.StreamResponse:
    """A gigabyte of well-formed lines."""
    response = web.StreamResponse()
    await response.prepare(request)
    block = gpu_page().encode() * 4096
    with contextlib.suppress(ConnectionError):
        for _ in range(2**30 // len(block)):
            await response.write(block)
    return response


async def slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response(text=gpu_page())


async def trickling(request: web.Request) -> web.StreamResponse:
    """Headers at once, then a byte now and then."""
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(300):
            await response.write(b"#")
            await asyncio.sleep(0.1)
    return response


async def breaks_off(request: web.Request) -> web.StreamResponse:
    """Announces more than it sends, then closes the connection."""
    page = gpu_page().encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(page))})
    await response.prepare(request)
    await response.write(page[: len(page) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


@contextlib.asynccontextmanager
async def serving(**handlers: Handler) -> AsyncIterator[str]:
    """A server on a free port that answers at /name; gives its address, http://127.0.0.1:port."""
    application = web.Application()
    for name, handler in handlers.items():
        application.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def refused() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
