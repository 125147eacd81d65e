"""From an HTTP request to a `Call`: who asks, in which database, with which settings, what.

Source: ClickHouse documentation, "HTTP Interface", and `src/Server/HTTPHandler.cpp`.
"""

import base64
import binascii
import hmac
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from compose.clickhouse import codec, errors, settings, sql
from compose.clickhouse.engine import Call
from compose.clickhouse.errors import ClickHouseError

# URL parameters that are no settings. Any other one is.
_OWN_PARAMETERS = frozenset(
    {
        *("query", "database", "user", "password", "default_format", "query_id", "wait_end_of_query", "buffer_size"),
        *("session_id", "session_timeout", "session_check", "quota_key", "client_protocol_version", "stacktrace"),
        *("compress", "decompress", "role"),
    }
)
_TRUE = ("1", "true")


@dataclass(frozen=True, slots=True)
class Request:
    """What the server took from the socket."""

    method: str
    url: Mapping[str, str]
    """Query string, decoded; of a repeated parameter the last."""
    headers: Mapping[str, str]
    body: bytes = b""
    form: Mapping[str, str] | None = None
    """Text fields of a multipart body, in place of `body`."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Password of each user; None = none is asked for."""

    default: str | None = None
    analyst: str | None = None
    finance: str | None = None
    operations: str | None = None


def role_of(request: Request, passwords: Passwords) -> str:
    """The role of the user who asks. Raises ClickHouseError when the password is wrong."""
    user, password = _credentials(request)
    known = {
        "default": (settings.ADMIN, passwords.default),
        "analyst": (settings.ANALYST, passwords.analyst),
        "finance": (settings.FINANCE, passwords.finance),
        "operations": (settings.OPERATIONS, passwords.operations),
    }
    role, wanted = known.get(user, ("", None))
    if role and (wanted is None or hmac.compare_digest(password.encode(), wanted.encode())):
        return role
    raise ClickHouseError.of(
        errors.AUTHENTICATION_FAILED,
        f"{user}: Authentication failed: password is incorrect, or there is no user with such name.",
    )


def _credentials(request: Request) -> tuple[str, str]:
    headers, url = request.headers, request.url
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise ClickHouseError.of(errors.AUTHENTICATION_FAILED, "Invalid authentication: not Basic.") from None
        return user or "default", password
    if scheme:
        raise ClickHouseError.of(errors.AUTHENTICATION_FAILED, f"Authentication by {scheme} is not supported here.")
    return url.get("user", "default"), url.get("password", "")


def query_id_of(request: Request) -> str:
    """The request's own id, or a new one."""
    return request.url.get("query_id") or request.headers.get("X-ClickHouse-Query-Id") or str(uuid.uuid4())


def encoding_of(request: Request) -> str:
    """Content-Encoding of the answer. As in ClickHouse, compression has to be asked for by the setting as well."""
    if request.url.get("enable_http_compression", "0").lower() not in _TRUE:
        return ""
    return codec.choose(request.headers.get("Accept-Encoding", ""))


def read(request: Request, role: str, query_id: str, limit_bytes: int) -> tuple[Call, Iterable[bytes] | None]:
    """The statement, and for an INSERT in a format its data, unpacked while it is read.

    Raises ClickHouseError for what this server does not do and for what it cannot read.
    """
    fields = {**request.url, **(request.form or {})}
    for name in ("compress", "decompress"):
        if fields.get(name, "0").lower() in _TRUE:
            remedy = "use Content-Encoding and Accept-Encoding"
            raise ClickHouseError.of(errors.NOT_IMPLEMENTED, f"{name}=1 is not supported here: {remedy}.")
    blocks = codec.unpacked(request.body, request.headers.get("Content-Encoding", "").lower(), limit_bytes)
    text, rest = _text(fields.get("query", ""), blocks)
    if not text.strip():
        raise ClickHouseError.of(errors.SYNTAX_ERROR, "Syntax error: empty query.")
    statement = sql.read(text)
    _refuse(statement)
    data: Iterable[bytes] | None = None
    if statement.data_start is not None:
        data = chain([text[statement.data_start :]], rest)
        text = text[: statement.head_end]
    else:
        text += b"".join(rest)
        statement = statement if statement.verb == "INSERT" else sql.read(text)
    return (
        Call(
            statement=statement,
            text=_decoded(text),
            query_id=query_id,
            role=role,
            database=fields.get("database") or request.headers.get("X-ClickHouse-Database", ""),
            default_format=fields.get("default_format")
            or request.headers.get("X-ClickHouse-Format", "")
            or "TabSeparated",
            settings={
                name: value
                for name, value in fields.items()
                if name not in _OWN_PARAMETERS and not name.startswith("param_")
            },
            params={name.removeprefix("param_"): v for name, v in fields.items() if name.startswith("param_")},
            read_only=request.method != "POST",
        ),
        data,
    )


def _text(query: str, blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The statement's beginning and what follows it: `?query=`, then a line end, then the body."""
    first = next(blocks, b"")
    if not query:
        return first, blocks
    head = query.encode()
    if first and sql.read(head).data_start is None:
        return head + b"\n" + first, blocks
    return head, chain([first], blocks)


def _refuse(statement: sql.Statement) -> None:
    if statement.touches_files:
        raise ClickHouseError.of(
            errors.INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE and FROM INFILE are not allowed: send data over HTTP."
        )
    if statement.reads_input:
        raise ClickHouseError.of(
            errors.NOT_IMPLEMENTED, "The function input is not supported here: insert the data, then select from them."
        )
    if statement.verb in ("SET", "USE") or (statement.verb, statement.second) == ("CREATE", "TEMPORARY"):
        raise ClickHouseError.of(
            errors.NOT_IMPLEMENTED,
            f"{statement.verb} would have no effect, as this server keeps no sessions: "
            "send settings and database with each request, and use a table that is not temporary.",
        )


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ClickHouseError.of(errors.SYNTAX_ERROR, f"Syntax error: the statement is not UTF-8: {error}.") from None
