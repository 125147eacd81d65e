"""The role `clickhouse`: one process that serves one data folder until SIGTERM or SIGINT."""

import asyncio
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from compose import metrics
from compose.clickhouse.engine import DataInUse, Engine
from compose.clickhouse.errors import ClickHouseError
from compose.clickhouse.protocol import Passwords
from compose.clickhouse.server import Server
from compose.clickhouse.settings import Limits

# Environment variables that hold the passwords.
ENV_DEFAULT = "COMMONWATT_CLICKHOUSE_PASSWORD"
ENV_ANALYST = "COMMONWATT_ANALYST_PASSWORD"
ENV_FINANCE = "COMMONWATT_FINANCE_PASSWORD"
ENV_OPERATIONS = "COMMONWATT_OPERATIONS_PASSWORD"

_STOP_S = 5.0


class CannotServe(Exception):
    """The server cannot start. `str()` is the whole message for the user."""


def main(data: Path, host: str, port: int, limits: Limits | None = None) -> int:
    """Serve `data` on host:port. Returns the exit status; prints one sentence when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        names = (ENV_DEFAULT, ENV_ANALYST, ENV_FINANCE, ENV_OPERATIONS)
        passwords = Passwords(*(os.environ.get(name) or None for name in names))
        asyncio.run(serve(data, host, port, limits or Limits(), passwords))
    except (CannotServe, DataInUse, ClickHouseError) as error:
        print(f"clickhouse: {error}", file=sys.stderr)
        return 1
    return 0


async def serve(data: Path, host: str, port: int, limits: Limits, passwords: Passwords) -> None:
    """Serve until SIGTERM or SIGINT; then answer what has begun, for at most 5 s.

    Raises CannotServe, DataInUse or ClickHouseError when it cannot start.
    """
    loopback = _is_loopback(host)
    if not loopback and (passwords.default is None or passwords.analyst is None):
        raise CannotServe(
            f"{host} is open to other machines: set {ENV_DEFAULT} and {ENV_ANALYST} first, or listen on 127.0.0.1."
        )
    if not loopback or passwords.analyst is not None:
        # Where the analyst needs a password, a user who has none is no way around it.
        nobodys = secrets.token_hex(32)
        passwords = replace(passwords, finance=passwords.finance or nobodys, operations=passwords.operations or nobodys)
    listener = _listen(host, port)
    engine = Engine(data, limits)
    try:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = Server(engine, limits, passwords, loopback_only=loopback)
        runner = web.AppRunner(
            server.app, handler_cancellation=True, auto_decompress=False, shutdown_timeout=2 * _STOP_S, access_log=None
        )
        await runner.setup()
        await web.SockSite(runner, listener).start()
        address = listener.getsockname()
        print(f"listening on http://{address[0]}:{address[1]}", flush=True)
        with metrics.asked(server.metrics):
            await stop.wait()
        asyncio.get_running_loop().call_later(_STOP_S, server.end_statements)
        await runner.cleanup()
        await server.close()
    finally:
        engine.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise CannotServe(f"Port {port} on {host} cannot be used ({reason}): choose another port.") from None
