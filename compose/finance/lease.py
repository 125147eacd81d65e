"""One at a time: whoever writes charges holds a lease in the book, so that two never write the same difference."""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.client import Client

LASTS_S = 30
"""From the last `hold`; a holder that was killed is waited for this long."""
SETTLING_S = 0.05  # rows of others that were written at the same moment are there

_FIRST = """
SELECT holder, min(taken_at) AS since
FROM settlement_leases
GROUP BY holder
HAVING argMax(seconds, taken_at) > 0 AND dateDiff('ms', max(taken_at), now64(3)) < argMax(seconds, taken_at) * 1000
ORDER BY since, holder
LIMIT 1
"""


class Busy(Exception):
    """Somebody else is settling. `str()` is the whole message for the user."""


class Lease:
    """A lease that is held."""

    def __init__(self, client: Client, holder: str) -> None:
        self._client = client
        self._holder = holder

    def take(self) -> None:
        """Begin to hold it. Raises Busy when somebody else does."""
        self._write(LASTS_S)
        time.sleep(SETTLING_S)
        self._check()

    def hold(self) -> None:
        """Go on holding it, right before something is written. Raises Busy when it was lost in the meantime."""
        self._check()
        self._write(LASTS_S)

    def _check(self) -> None:
        first = self._client.query(_FIRST).result_rows
        if not first:
            raise Busy(f"this settlement stood still for more than {LASTS_S} s and gave way to others: start it again.")
        ((holder, since),) = first
        if holder != self._holder:
            raise Busy(f"{holder} has been settling since {since:%Y-%m-%d %H:%M:%S} UTC: wait until it is done.")

    def give_back(self) -> None:
        """Let the next one begin."""
        self._write(0)

    def _write(self, seconds: int) -> None:
        self._client.insert("settlement_leases", [[self._holder, seconds]], column_names=["holder", "seconds"])


@contextmanager
def held(client: Client) -> Iterator[Lease]:
    """The lease, for a block. Raises Busy when somebody else has it."""
    lease = Lease(client, f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}")
    try:
        lease.take()
        yield lease
    finally:
        lease.give_back()
