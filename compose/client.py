"""Clients of ClickHouse, embedded or not, with the settings that every part of Commonwatt wants."""

from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager

from compose.quiet import quiet

_REFUSED = frozenset({192, 193, 194, 516})  # unknown user, wrong password, required password, authentication failed
_UNKNOWN_DATABASE = 81
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class CannotConnect(Exception):
    """ClickHouse cannot be used. `str()` is the whole message for the user."""


def connect(
    url: str,
    user: str = "default",
    password: str = "",
    database: str | None = "commonwatt",
    *,
    timeout_s: int = 120,
) -> Client:
    """A client of the ClickHouse at `url` (`http://host:8123`, `https://host:8443`).

    Keeps no session, so that threads can share it. `database=None` for the user's own default, for use before the
    database exists. Raises CannotConnect when the server cannot be reached, or does not accept user or database.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError:  # a port that is no number
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CannotConnect(f"{url!r} is not the URL of a ClickHouse: write for example http://127.0.0.1:8123.")
    try:
        with quiet("clickhouse_connect", "urllib3"):
            return clickhouse_connect.get_client(
                interface=parts.scheme,
                host=parts.hostname,
                port=port,
                username=user,
                password=password,
                database=database or "__default__",
                compress="lz4",
                connect_timeout=5,
                send_receive_timeout=timeout_s,
                autogenerate_session_id=False,
                client_name="commonwatt",
                # Of its own, so that no proxy named in the environment gets in the way on this machine.
                pool_mgr=get_pool_manager(maxsize=16) if parts.hostname in _LOOPBACK else None,
            )
    except ClickHouseError as error:
        raise CannotConnect(_reason(url, user, database, error)) from None


def _reason(url: str, user: str, database: str | None, error: ClickHouseError) -> str:
    code = getattr(error, "code", None)
    if code in _REFUSED:
        return f"The ClickHouse at {url} refuses user {user!r}: check COMMONWATT_CLICKHOUSE_PASSWORD and the user."
    if code == _UNKNOWN_DATABASE:
        return f"The ClickHouse at {url} has no database {database!r}: run `commonwatt migrate` first."
    if code is None:
        return f"The ClickHouse at {url} cannot be reached: start it, or correct the URL."
    return f"The ClickHouse at {url} answers: {error}"
