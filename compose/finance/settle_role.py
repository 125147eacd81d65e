"""`commonwatt settle --every`: settles and rolls up again and again, and forecasts once an hour.

Its state goes to Prometheus.
"""

import asyncio
import contextlib
import logging
import os
import time
from datetime import datetime, timedelta

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from prometheus_client import Counter, Gauge

from compose.finance import forecast
from compose.finance.lease import Busy, held
from compose.finance.settle import LOOKED_BACK, Clock, Outcome, settle, utc_now
from compose.reference.history import NoReference
from compose.rollup import roll_up
from streams.reference import UnknownReference

log = logging.getLogger(__name__)

NICE = 5
"""Whoever meters comes first: an hour can be priced a second later."""
DEEP = timedelta(hours=1)
"""After which a pass looks at the final hours of the last days for late data, and forecasts."""
EVERYTHING = timedelta(days=1)
"""After which a pass looks at all of history for late data."""

PRICED = Counter("commonwatt_settle_priced_total", "Hours that were priced, again or for the first time.")
ENTRIES = Counter("commonwatt_settle_entries_total", "Entries that were written into charges.")
ROLLED_UP = Counter("commonwatt_settle_rolled_up_total", "Hours of which the roll-ups were written.")
LATE = Counter("commonwatt_settle_late_total", "Final hours that changed because of late data.")
SECONDS = Gauge("commonwatt_settle_seconds", "How long the last pass took.")
LAST_SUCCESS = Gauge("commonwatt_settle_last_success_timestamp_seconds", "When a pass last came to its end, unix time.")


class Settler:
    """Pass after pass over the ledger."""

    def __init__(self, client: Client, clock: Clock = utc_now) -> None:
        self._client = client
        self._clock = clock
        self._everything_at: datetime | None = None
        self._deep_at: datetime | None = None

    def look(self) -> Outcome:
        """One pass: over provisional hours, once an hour also over the last days, once a day over everything.

        Raises what `settle` raises, and Busy.
        """
        now = self._clock()
        everything = self._everything_at is None or now - self._everything_at >= EVERYTHING
        deep = everything or self._deep_at is None or now - self._deep_at >= DEEP
        look_back = None if everything else LOOKED_BACK if deep else timedelta(0)
        with held(self._client) as lease:
            outcome = settle(self._client, self._clock, look_back=look_back, lease=lease)
            outcome.rolled_up = roll_up(self._client, lease)
            self._everything_at = now if everything else self._everything_at
            if deep or outcome.hours:
                forecast.write(self._client)
            self._deep_at = now if deep else self._deep_at
        return outcome


async def watch(client: Client, *, every_s: float, stop: asyncio.Event) -> None:
    """Settle until `stop` is set. When a pass fails the log says why, and the next one does what is left."""
    os.nice(NICE)
    client.set_client_setting("max_threads", 1)  # the others belong to those who write
    settler = Settler(client)
    while not stop.is_set():
        began = time.monotonic()
        try:
            show(await asyncio.to_thread(settler.look), time.monotonic() - began)
        except Busy as busy:
            log.info("%s", busy)
        except (ClickHouseError, OSError, NoReference, UnknownReference) as error:
            log.warning("this pass did not come to its end: %s", str(error).split("\n")[0])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(0.0, every_s - (time.monotonic() - began)))


def show(outcome: Outcome, seconds: float) -> None:
    """A pass in the log and as metrics."""
    PRICED.inc(outcome.hours)
    ENTRIES.inc(outcome.entries)
    ROLLED_UP.inc(outcome.rolled_up)
    LATE.inc(len(outcome.late))
    SECONDS.set(seconds)
    LAST_SUCCESS.set(time.time())
    if not outcome.did_nothing:
        log.info("%s", in_words(outcome))


def in_words(outcome: Outcome) -> str:
    """What a pass did, in a sentence."""
    if outcome.did_nothing:
        return "nothing was due"
    parts = []
    if outcome.hours:
        parts.append(f"hours priced: {outcome.hours}, entries written: {outcome.entries}")
    if outcome.late:
        parts.append(f"final ones among them, changed by late data: {len(outcome.late)}")
    if outcome.finalised:
        parts.append(f"hours that became final: {outcome.finalised}")
    parts += [f"{month:%Y-%m} closed" for month in outcome.closed]
    if outcome.rolled_up:
        parts.append(f"hours rolled up: {outcome.rolled_up}")
    return ", ".join(parts)
