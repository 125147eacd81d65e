"""Keeps a library from logging what becomes a sentence of ours, or no error at all, or the same again and again."""

import contextlib
import logging
import time
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Nothing below CRITICAL from these loggers within the block."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


class Sparing(logging.Filter):
    """For a handler: a library says the same (whatever the figures in it) at most once in `every_s` seconds.

    Without a broker aiokafka has a hundred lines to say per second, and an absence can last for days.
    """

    def __init__(self, library: str, every_s: float = 5.0) -> None:
        super().__init__()
        self._library = library
        self._every_s = every_s
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != self._library and not record.name.startswith(f"{self._library}."):
            return True
        what, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._said.get(what, -self._every_s) < self._every_s:
            return False
        self._said[what] = now
        return True
