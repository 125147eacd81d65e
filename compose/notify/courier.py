"""Brings what waits for one sink to it, again and again until it has taken it. Couriers know nothing of each other."""

import asyncio
import contextlib
import logging
import sqlite3
import time

import tenacity
from tenacity import RetryCallState

from compose.notify import metrics
from compose.notify.alertmanager import RESOLVED_MS, Alertmanager
from compose.notify.http import Later, Refused
from compose.notify.queue import Entry, Queue
from compose.notify.sinks import Sink

log = logging.getLogger(__name__)

REFUSALS = 5
"""Refusals after which a change is set aside: whoever deploys a receiver has it answer 404 for a minute."""
FIRST_WAIT_S = 1.0
"""Between two tries, with jitter; twice as long each time, up to LONGEST_WAIT_S."""
LONGEST_WAIT_S = 60.0
_LOOKS_S = 1.0
"""How often changes that were put off, or queued by another process, are looked for."""
_TOGETHER = 500
"""Alerts in one repetition to Alertmanager."""


class _Failed(Exception):
    """A try failed; `after_s` is how long the sink asks to be left alone."""

    def __init__(self, after_s: float) -> None:
        super().__init__()
        self.after_s = after_s


class Courier:
    """Delivers to one sink."""

    def __init__(self, sink: Sink, queue: Queue) -> None:
        self._sink = sink
        self._queue = queue
        self._growing = tenacity.wait_exponential_jitter(
            multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S, jitter=FIRST_WAIT_S
        )
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something was queued."""
        self._news.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._news.clear()
            tries = tenacity.AsyncRetrying(retry=tenacity.retry_if_exception_type(_Failed), wait=self._wait)
            async for attempt in tries:
                with attempt:
                    delivered = await self._next(attempt.retry_state.attempt_number)
            if not delivered:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _LOOKS_S)

    async def _next(self, tries: int) -> bool:
        """Deliver the next change that is due; False when there is none. Raises _Failed."""
        try:
            entry = await asyncio.to_thread(self._queue.due, self._sink.id)
            if entry is None:
                return False
            if self._sink.stateful and not await asyncio.to_thread(self._queue.is_latest, entry.alert):
                await asyncio.to_thread(self._queue.delivered, entry)
                return True
            await self._deliver(entry, tries)
        except sqlite3.Error as error:
            log.error("the queue does not work (%s): make room on its disk", error)
            raise _Failed(0.0) from error
        return True

    async def _deliver(self, entry: Entry, tries: int) -> None:
        try:
            await self._sink.deliver(entry.alert, time.time_ns() // 1_000_000)
        except Refused as refusal:
            metrics.FAILURES.labels(self._sink.id).inc()
            if refusal.final or entry.refusals + 1 >= REFUSALS:
                await asyncio.to_thread(self._queue.give_up, entry, str(refusal))
                metrics.SET_ASIDE.labels(self._sink.id).inc()
                log.error("%s does not take %s: %s. It is kept aside.", self._sink.id, entry.alert.summary, refusal)
                return
            await self._put_off(entry, str(refusal), tries, refused=True)
            raise _Failed(0.0) from refusal
        except Later as failure:
            metrics.FAILURES.labels(self._sink.id).inc()
            await self._put_off(entry, str(failure), tries, refused=False)
            raise _Failed(failure.after_s) from failure
        await asyncio.to_thread(self._queue.delivered, entry)
        metrics.DELIVERED.labels(self._sink.id).inc()
        metrics.SECONDS.labels(self._sink.id).observe(max(0.0, time.time() - entry.alert.ts_ms / 1000))
        metrics.LAST_SUCCESS.labels(self._sink.id).set_to_current_time()
        if tries > 1:
            log.info("%s takes alerts again", self._sink.id)

    async def _put_off(self, entry: Entry, reason: str, tries: int, *, refused: bool) -> None:
        """Others go first: one alert that its receiver chokes on must not hold up the rest."""
        if tries == 1 and entry.tries == 0:
            log.warning("%s was not told of an alert (%s): it is tried again", self._sink.id, reason)
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(entry.tries, 10))
        await asyncio.to_thread(self._queue.put_off, entry, wait_s, reason, refused=refused)

    def _wait(self, state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        return max(self._growing(state), failure.after_s if isinstance(failure, _Failed) else 0.0)


async def remind(server: Alertmanager, queue: Queue, every_s: float) -> None:
    """Repeat to an Alertmanager what is open and what has just ended, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        now_ms = time.time_ns() // 1_000_000
        try:
            alerts = await asyncio.to_thread(queue.standing, server.id, now_ms - RESOLVED_MS)
            for first in range(0, len(alerts), _TOGETHER):
                await server.tell(alerts[first : first + _TOGETHER], now_ms)
        except (Later, Refused) as failure:
            metrics.FAILURES.labels(server.id).inc()
            log.warning("%s was not reminded of open alerts (%s): again in %g s", server.id, failure, every_s)
        except sqlite3.Error as error:
            log.error("the queue does not work (%s): make room on its disk", error)
        else:
            if alerts:
                metrics.LAST_SUCCESS.labels(server.id).set_to_current_time()
