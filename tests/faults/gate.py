"""A gate before ClickHouse: everything passes, until a chosen insert arrives, at which something is made to happen,
or until inserts are refused, or stored without an answer, for a while."""

import contextlib
import http.client
import sys
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote_plus, urlsplit

ARRIVE_S = 60.0
_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


class Trap(NamedTuple):
    """What to wait for and what to do."""

    table: str
    stored: bool
    """True: ClickHouse stores the insert first, but nobody hears of it. False: it never gets there."""
    spring: Callable[[], None]


class Inserts(Enum):
    """What becomes of inserts."""

    PASS = 0
    REFUSED = 1
    """ClickHouse says that it cannot take them now."""
    UNHEARD = 2
    """ClickHouse stores them, but the answer is lost."""


class Gate:
    """`url` is where the worker finds its ClickHouse."""

    def __init__(self) -> None:
        self.url = ""
        self.inserts = Inserts.PASS
        self._trap: Trap | None = None
        self._sprung = threading.Event()
        self._lock = threading.Lock()

    def trap(self, table: str, spring: Callable[[], None], *, stored: bool) -> None:
        """Wait for the next insert into a table; it springs the trap."""
        self._sprung.clear()
        with self._lock:
            self._trap = Trap(table, stored, spring)
        assert self._sprung.wait(ARRIVE_S), f"nothing is inserted into {table}"

    def caught(self, statement: str) -> Trap | None:
        """The trap that this statement falls into, once."""
        with self._lock:
            trap = self._trap
            if trap is not None and f"INSERT INTO {trap.table}" in statement.replace("`", ""):
                self._trap = None
                return trap
        return None

    def sprung(self) -> None:
        self._sprung.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A worker that was killed does not take its answers; anything else is worth a traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def before(clickhouse_url: str) -> Iterator[Gate]:
    """A gate before a ClickHouse, for a block."""
    gate = Gate()
    server_name = urlsplit(clickhouse_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self._body()
            statement = unquote_plus(self.path) + body[:200].decode(errors="replace")
            trap = gate.caught(statement)
            fate = gate.inserts if "INSERT INTO" in statement else Inserts.PASS
            if trap is not None and not trap.stored:
                self._spring(trap)
                return
            if fate is Inserts.REFUSED:
                self._refuse()
                return
            connection = http.client.HTTPConnection(server_name, timeout=60)
            try:
                passed = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
                connection.request(self.command, self.path, body, passed)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            if trap is not None:
                self._spring(trap)
                return
            if fate is Inserts.UNHEARD:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OF_THE_CONNECTION:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _refuse(self) -> None:
            said = b"Code: 252. DB::Exception: Too many parts (300). Merges are processing slower. (TOO_MANY_PARTS)"
            self.send_response(500)
            self.send_header("X-ClickHouse-Exception-Code", "252")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def _spring(self, trap: Trap) -> None:
            trap.spring()
            self.close_connection = True
            gate.sprung()

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    gate.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
