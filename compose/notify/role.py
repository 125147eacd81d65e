"""`commonwatt notify`: one reader of the topic, and a courier for each sink."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import tenacity

from compose.notify import metrics, queue, sinks, topic
from compose.notify.alertmanager import Alertmanager
from compose.notify.courier import Courier, remind
from schemas.config_alerts import Notify

log = logging.getLogger(__name__)

Result = TypeVar("Result")


async def run(notify: Notify, kafka: str, folder: Path, page_url: str | None, *, stop: asyncio.Event) -> None:
    """Deliver until `stop` is set. What is not delivered by then waits on disk for the next run.

    Raises NoSecret or QueueError when it cannot begin. Kafka and the sinks may be away at any time, also at first.
    """
    sinks.check_secrets(notify)
    async with contextlib.AsyncExitStack() as stack:
        told = sinks.built(notify, page_url)
        for sink in told:
            stack.push_async_callback(sink.close)
        waiting = stack.enter_context(queue.opened(folder, {sink.id: sink.wants for sink in told}))
        stack.enter_context(metrics.shown(waiting, [sink.id for sink in told]))
        couriers = [Courier(sink, waiting) for sink in told]
        servers = [sink for sink in told if isinstance(sink, Alertmanager)]
        reading = asyncio.create_task(_read(kafka, waiting, couriers, stop))
        tasks = [reading, *(asyncio.create_task(courier.run()) for courier in couriers)]
        tasks += [asyncio.create_task(remind(server, waiting, notify.repeat)) for server in servers]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _read(kafka: str, waiting: queue.Queue, couriers: Sequence[Courier], stop: asyncio.Event) -> None:
    """Queue what comes. Returns once `stop` is set and what had come by then is queued."""
    registered = False
    async with contextlib.aclosing(topic.follow(kafka, stop, patient=True)) as batches:
        async for batch in batches:
            _count(await _stored(partial(waiting.take, batch.alerts)), batch.unreadable)
            if batch.caught_up and not registered:
                for sink in await _stored(waiting.register):
                    log.info("%s is told of what is open, and of every change from now on", sink)
                registered = True
            for courier in couriers:
                courier.wake()


def _count(taken: queue.Taken, unreadable: int) -> None:
    for alert in taken.news:
        metrics.CHANGES.labels(alert.state).inc()
    metrics.REPEATED.inc(taken.repeated)
    metrics.UNREADABLE.inc(unreadable)
    if unreadable:
        log.error("%d messages on the topic hold no alert that this version can read", unreadable)
    for sink, count in taken.overflowed:
        metrics.SET_ASIDE.labels(sink).inc(count)
        log.error("the queue of %s is full: its %d oldest changes are kept aside", sink, count)


async def _stored(work: Callable[[], Result]) -> Result:
    """Do something with the queue, again until its disk takes it: nothing more is read meanwhile."""
    tries = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(sqlite3.Error),
        wait=tenacity.wait_exponential(multiplier=0.2, max=5.0),
        before_sleep=_complain,
    )
    return await tries(asyncio.to_thread, work)


def _complain(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        log.error("the queue does not take alerts (%s): make room on its disk", state.outcome.exception())
