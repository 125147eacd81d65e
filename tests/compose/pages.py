"""Static exporters: an HTTP server whose pages a test sets by hand, and counts how often each was read."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.roles import wait_until

READ_S = 60.0


class Pages:
    """`pages[path]` is what the server answers at that path."""

    def __init__(self) -> None:
        self.url = ""
        self._pages: dict[str, str] = {}
        self._reads: Counter[str] = Counter()
        self._lock = threading.Lock()

    def show(self, pages: dict[str, str]) -> None:
        """Set these pages, all at once."""
        with self._lock:
            self._pages |= pages
            self._reads.clear()

    def read(self, path: str) -> str | None:
        """The page at a path, counted as read."""
        with self._lock:
            self._reads[path] += 1
            return self._pages.get(path)

    def wait_read(self, times: int) -> None:
        """Wait until every page was read this often since the last `show`."""
        wait_until(lambda: not self._unread(times), READ_S, lambda: f"nobody reads {self._unread(times)}")

    def _unread(self, times: int) -> list[str]:
        with self._lock:
            return [path for path in self._pages if self._reads[path] < times]


@contextlib.contextmanager
def serving() -> Iterator[Pages]:
    """A server on a free port for a block."""
    pages = Pages()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = pages.read(self.path)
            body = (page or "").encode()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    pages.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield pages
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
