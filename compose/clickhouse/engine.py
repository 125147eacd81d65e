"""The embedded engine: one data folder, one throw-away connection per request.

A connection costs 0.1 ms, so each request gets its own and nothing that a statement sets (SET, USE, roles, temporary
tables) outlives it. Everything here blocks; the server calls it from threads, in which the engine runs in parallel.
Only `chdb._chdb` gives what is needed (statement classes, bytes without a second copy), hence chdb's exact pin.

Durability: an insert returns after its part and the part's folder are fsynced (see `settings`). One request becomes
one block, hence all or nothing per table partition, up to 1,048,449 rows or 256 MiB unpacked
(`max_insert_block_size`, `min_insert_block_size_bytes`); beyond that, blocks before the fault stay.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from compose.clickhouse import errors, guard, settings
from compose.clickhouse.errors import ClickHouseError
from compose.clickhouse.sql import Statement

os.environ["TZ"] = "UTC"  # all times are UTC, now() included; the engine reads this when it is loaded
_chdb: Any = import_module("chdb._chdb")

_STORE = "store"
_APPEND_BYTES = 1 << 20

# Formats whose chunks can be put one after the other. Any other result is built whole before it is sent.
_STREAMED = frozenset(
    {
        *("native", "rowbinary", "lineasstring", "rawblob"),
        *("tabseparated", "tsv", "tabseparatedraw", "tsvraw", "raw", "tskv", "csv"),
        *("jsoneachrow", "jsonlines", "ndjson", "jsonl", "jsoncompacteachrow", "jsonstringseachrow"),
    }
)
_ARROW_STREAM = "arrowstream"


class DataInUse(Exception):
    """Another process has the data folder open. `str()` is the whole message for the user."""


@dataclass(frozen=True, slots=True)
class Call:
    """One statement to run, with everything it depends on."""

    statement: Statement
    text: str
    """The statement; of an INSERT with data, what stands before FORMAT."""
    query_id: str
    role: str = settings.ADMIN
    database: str = ""
    default_format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False

    @property
    def format(self) -> str:
        return self.statement.format or self.default_format


@dataclass(slots=True)
class Summary:
    """What a statement did, as in the header X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, result: Any) -> None:
        self.read_rows += result.storage_rows_read()
        self.read_bytes += result.storage_bytes_read()
        self.written_rows += result.rows_written()
        self.written_bytes += result.bytes_written()
        self.result_rows += result.rows_read()
        self.result_bytes += result.bytes_read()

    def header(self) -> dict[str, str]:
        names = ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes")
        elapsed_ns = int((time.monotonic() - self.started) * 1e9)
        return {**{name: str(getattr(self, name)) for name in names}, "elapsed_ns": str(elapsed_ns)}


class Engine:
    """The engine on one data folder. Create one per process; `close` when no request runs any more."""

    def __init__(self, folder: Path, limits: settings.Limits) -> None:
        """Open or create the data in `folder`, which becomes the working directory of the process.

        The engine takes its options as part of the path's text, so the path has to be one of our own making.
        Raises DataInUse, or ClickHouseError when the engine cannot start on the data.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        os.chdir(folder)
        config = settings.write(Path(), limits)
        _refuse_when_locked(self.folder, Path(_STORE, "status"))
        self._limits = limits
        try:
            self._root = _chdb.connect(f"{_STORE}?config-file={config}")
        except RuntimeError as error:
            raise ClickHouseError(str(error)) from None
        self.version, self.timezone = self._ask("SELECT version(), timezone()").split("\t")
        formats = "SELECT lower(name) FROM system.formats WHERE {}"
        self._inputs = frozenset(self._ask(formats.format("is_input")).split())
        self._outputs = frozenset(self._ask(formats.format("is_output")).split())

    def close(self) -> None:
        """End every query, finish background work and release the data."""
        self.kill_all()
        self._root.close()

    def kill_all(self) -> None:
        """End every running statement."""
        self._root.query("KILL QUERY WHERE 1 ASYNC", "Null", params={})

    def _ask(self, query: str) -> str:
        return str(self._root.query(query, "TSVRaw", params={}).data()).strip()

    def insert(self, call: Call, data: Iterable[bytes]) -> Summary:
        """Store the data of an INSERT. An error means that nothing of this block was stored.

        The engine reads the data as a file, which lies in memory. Handing them over piece by piece (`send_insert`)
        would be more direct, but chdb 4.4.0 then keeps to itself what goes wrong once they are read: a violated
        constraint, a full disk, too many parts look like success. In the text of the statement a blank line ends them.
        """
        statement = call.statement
        if statement.format.lower() not in self._inputs:
            raise ClickHouseError.of(errors.UNKNOWN_FORMAT, f"Unknown format {statement.format}.")
        summary = Summary()
        connection = self._connect(call)
        try:
            with _file_of(data) as path, _engine_errors():
                head, rest = call.text.encode()[: statement.source_at], call.text.encode()[statement.source_at :]
                source = f"\nFROM INFILE '{path}' COMPRESSION 'none'\n"
                text = f"{head.decode()}{source}{rest.decode()}\nFORMAT {statement.format}"
                summary.add(connection.query(text, "Null", params={}))
        finally:
            connection.close()
        return summary

    def answer(self, call: Call) -> "Answer":
        """Begin any other statement."""
        if call.format.lower() not in self._outputs:
            raise ClickHouseError.of(errors.UNKNOWN_FORMAT, f"Unknown format {call.format}.")
        connection = self._connect(call)
        try:
            return Answer(connection, call, self._limits)
        except BaseException:
            connection.close()
            raise

    def kill(self, query_id: str) -> None:
        """End a running statement; nothing happens when it has ended already."""
        condition = f"startsWith(Settings['log_comment'], {_quoted(query_id)})"
        self._root.query(f"KILL QUERY WHERE {condition} ASYNC", "Null", params={})

    def explained(self, error: ClickHouseError) -> ClickHouseError:
        """The error; of a full disk with figures and a remedy. What was refused is not stored, all else is safe."""
        free = shutil.disk_usage(self.folder).free
        if error.code != errors.NOT_ENOUGH_SPACE or free >= self._limits.reserve_bytes:
            return error
        return ClickHouseError.of(
            errors.NOT_ENOUGH_SPACE,
            f"Only {free // settings.MIB} MiB are free on the disk of {self.folder}; "
            f"rows are taken again from {self._limits.reserve_bytes // settings.MIB} MiB on: make room.",
        )

    def parts(self) -> list[tuple[str, int, int]]:
        """(table, active parts, bytes on the disk) of each table of Commonwatt."""
        answer = self._ask(
            "SELECT table, count(), sum(bytes_on_disk) FROM system.parts "
            "WHERE active AND database = 'commonwatt' GROUP BY table ORDER BY table"
        )
        rows = (line.split("\t") for line in answer.splitlines())
        return [(table, int(parts), int(size)) for table, parts, size in rows]

    def _connect(self, call: Call) -> Any:
        """A connection in the state that the call asks for, with no rights beyond those of its role."""
        connection = _chdb.connect(_STORE)
        try:
            with _engine_errors():
                wanted = dict(call.settings)
                if call.role != settings.ADMIN:
                    connection.query(f"SET ROLE {call.role}", "Null", params={})
                    wanted = guard.allowed_settings(wanted)
                wanted.setdefault("max_result_bytes", str(self._limits.result_bytes))
                wanted["log_comment"] = f"{call.query_id} {wanted.get('log_comment', '')}".rstrip()
                if call.database:
                    connection.query(f"USE {_backticked(call.database)}", "Null", params={})
                _set(connection, wanted)
                if call.role != settings.ADMIN:
                    _set(connection, {"readonly": "1"})
                    guard.check_reader(connection, call.text, call.role)
                elif call.read_only and call.settings.get("readonly", "0") == "0":
                    _set(connection, {"readonly": "2"})
        except BaseException:
            connection.close()
            raise
        return connection


class Answer:
    """The result of one statement, chunk by chunk. `close` ends the statement where it stands."""

    def __init__(self, connection: Any, call: Call, limits: settings.Limits) -> None:
        self.summary = Summary()
        self._connection = connection
        name = call.format.lower()
        parts_follow = call.statement.sub_totals or "extremes" in call.settings
        if (name in _STREAMED or name == _ARROW_STREAM) and not parts_follow and self._selects(call):
            # Streamed results never lie in memory as a whole, so their size needs no limit but the caller's own.
            if "max_result_bytes" not in call.settings and call.role == settings.ADMIN:
                _set(connection, {"max_result_bytes": "0"})
            chunks = self._stream(call)
            self._chunks = _joined_arrow(chunks) if name == _ARROW_STREAM else chunks
        else:
            self._chunks = self._whole(call)

    def read(self, at_least: int) -> tuple[list[bytes], bool]:
        """Chunks of `at_least` so many bytes together, fewer at the end; and whether this is the end."""
        held: list[bytes] = []
        size = 0
        with _engine_errors():
            for chunk in self._chunks:
                held.append(chunk)
                size += len(chunk)
                if size >= at_least:
                    return held, False
        return held, True

    def close(self) -> None:
        self._connection.close()

    def _selects(self, call: Call) -> bool:
        if call.statement.verb == "WITH":  # also begins an INSERT
            return bool(self._connection.classify_query(call.text)["query_class"].name == "READ_ONLY")
        return call.statement.verb in ("SELECT", "FROM")

    def _stream(self, call: Call) -> Iterator[bytes]:
        handle = self._connection.send_query(call.text, call.default_format, params=dict(call.params))
        while (result := self._connection.streaming_fetch_result(handle)).rows_read():
            self.summary.add(result)
            yield result.bytes()

    def _whole(self, call: Call) -> Iterator[bytes]:
        if self._connection.classify_query(call.text)["statement_count"] > 1:
            raise ClickHouseError.of(errors.SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed).")
        result = self._connection.query(call.text, call.default_format, params=dict(call.params))
        self.summary.add(result)
        view = result.get_memview().view()
        for start in range(0, len(view), _APPEND_BYTES):
            yield bytes(view[start : start + _APPEND_BYTES])


@contextmanager
def _file_of(data: Iterable[bytes]) -> Iterator[str]:
    """A path under which this process reads the data, for a block; they never touch the disk."""
    file = os.memfd_create("insert")
    try:
        with os.fdopen(file, "wb", closefd=False) as writer:
            writer.writelines(data)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Turn the engine's RuntimeError into ClickHouseError, text unchanged."""
    try:
        yield
    except RuntimeError as error:
        raise ClickHouseError(str(error)) from None


def _joined_arrow(streams: Iterator[bytes]) -> Iterator[bytes]:
    """Many Arrow IPC streams of one schema as one: the schema once, the end mark once.

    A stream is messages, each `FFFFFFFF`, length of the metadata (int32), metadata, body; the first is the schema,
    which has no body; the last is `FFFFFFFF 00000000` (Arrow columnar format, "IPC Streaming Format").
    """
    end = b"\xff\xff\xff\xff\x00\x00\x00\x00"
    first = True
    for stream in streams:
        schema_end = 8 + int.from_bytes(stream[4:8], "little")
        yield stream[0 if first else schema_end : -len(end) if stream.endswith(end) else None]
        first = False
    if not first:
        yield end


def _refuse_when_locked(folder: Path, status: Path) -> None:
    """The engine locks its status file and writes its process id into it. Look before it complains on stderr."""
    try:
        with status.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except OSError:
        owner = status.read_text(errors="replace").partition("PID: ")[2].split()[:1]
        by = f"process {owner[0]}" if owner else "another process"
        raise DataInUse(f"The data in {folder} is in use by {by}: stop it, or choose another folder.") from None


def _set(connection: Any, values: Mapping[str, str]) -> None:
    if values:
        pairs = ", ".join(f"{_backticked(name)} = {_quoted(value)}" for name, value in values.items())
        connection.query(f"SET {pairs}", "Null", params={})


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _backticked(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
