"""Who is told of alerts in tests: an HTTP server that checks signatures, remembers what it took, and answers badly
where a test wants it to."""

import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "correct horse battery staple"

Answer = tuple[int, dict[str, str]]
Script = Callable[[dict[str, Any], int], Answer | None]
"""Message and how often its key came, from 1 -> status and headers; None = the connection is cut."""


def well(message: dict[str, Any], times: int) -> Answer | None:
    return 200, {}


@dataclass
class Receiver:
    """What came."""

    url: str
    script: Script = well
    tried: list[str] = field(default_factory=list)
    """Idempotency key of every request, in order."""
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Messages that were answered well, in order, with their key as `key`."""
    asked: list[str] = field(default_factory=list)
    """Path and credentials of every request."""
    forged: int = 0
    """Requests whose signature does not fit."""

    @property
    def keys(self) -> list[str]:
        """Of what was taken, in order; a key that came again is not repeated."""
        return list(dict.fromkeys(message["key"] for message in self.taken))


def verified(headers: Any, body: bytes, secret: str = SECRET) -> bool:
    """Whether a request is from the holder of the secret and of these minutes."""
    if "Commonwatt-Signature" not in headers:
        return False
    parts = dict(part.split("=", 1) for part in headers["Commonwatt-Signature"].split(","))
    wanted = hmac.new(secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, parts["v1"]) and abs(time.time() - int(parts["t"])) < 300


@contextlib.contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver for a block."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            message, key = json.loads(body), self.headers.get("Idempotency-Key", "")
            with lock:
                found.asked.append(f"{self.path} {self.headers.get('Authorization', '')}")
                found.forged += not verified(self.headers, body)
                found.tried.append(key)
                times = found.tried.count(key)
            answer = found.script(message, times)
            if answer is None:
                self.close_connection = True
                return
            status, headers = answer
            if 200 <= status < 300:
                with lock:
                    found.taken.append({"alerts": message} if isinstance(message, list) else {**message, "key": key})
            said = b"so it is"
            with contextlib.suppress(OSError):  # the notifier was killed meanwhile
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(said))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    found = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
