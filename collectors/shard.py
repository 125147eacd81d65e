"""A shard: some targets of one cluster that are scraped in step and whose samples share messages.

A tick starts the scrapes of all its targets and sends what has been read when all have answered or half a second is
over, whichever is first. Those that take longer go out in a later message of the same shard as they come in, so a
slow target delays nobody, and a sample is on its way within about half a second of being taken. A tick in which
nothing was read still sends a message, empty: the collector lives, and the defects say what is wrong.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from collectors.batches import Timed
from collectors.publisher import MAX_DEFECTS, Publisher
from collectors.readings import Reading
from collectors.scraper import Scraper
from collectors.target import DefectLog, Target
from schemas.topics import Defect

FLUSH_S = 0.5
STOP_GRACE_S = 1.0  # for the pages that are being read when the collector stops


Batches = Callable[[Sequence[Timed[Any]]], list[pa.RecordBatch]]
"""Makes record batches of a tick's readings: at least one, maybe empty."""


class Ticks:
    """Moments that are a multiple of the interval, plus a phase, after the epoch. The first is now.

    Kept by the monotonic clock from then on, so that a clock that is set makes no tick early or late. What is missed
    (a laptop asleep) is left out.
    """

    def __init__(self, interval_s: float, phase_s: float) -> None:
        self._interval_s = interval_s
        past_s = (time.time() - phase_s) % interval_s
        self._next_s = time.monotonic() - past_s + interval_s
        if interval_s - past_s < interval_s / 4:  # the first tick was only just now
            self._next_s += interval_s

    def wait_s(self) -> float:
        """Seconds until the next tick, which this call uses up."""
        now_s = time.monotonic()
        if self._next_s < now_s:
            self._next_s += ((now_s - self._next_s) // self._interval_s + 1) * self._interval_s
        wait_s = self._next_s - now_s
        self._next_s += self._interval_s
        return wait_s


class Shard:
    """`key` is the shard's message key, cluster/collector/n."""

    def __init__(
        self,
        *,
        key: str,
        cluster: str,
        topic: str,
        schema: str,
        interval_s: float,
        phase_s: float,
        targets: Sequence[Target],
        batches: Batches,
        other_defects: Sequence[DefectLog] = (),
    ) -> None:
        self._key = key
        self._cluster = cluster
        self._topic = topic
        self._schema = schema
        self._interval_s = interval_s
        self._phase_s = phase_s
        self._targets = targets
        self._batches = batches
        self._defects = [*(target.defects for target in targets), *other_defects]
        self._scrapes: set[asyncio.Task[Timed[Reading] | None]] = set()

    async def run(self, scraper: Scraper, publisher: Publisher, stop: asyncio.Event) -> None:
        """Tick until `stop` is set; then send what is being read, if it comes in within a second."""
        ticks = Ticks(self._interval_s, self._phase_s)
        running: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            tick = asyncio.create_task(self._tick(scraper, publisher), name=f"tick {self._key}")
            running.add(tick)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ticks.wait_s())
            for done in [tick for tick in running if tick.done()]:
                running.discard(done)
                done.result()
        if running:
            await asyncio.wait(running, timeout=STOP_GRACE_S)
            for scrape in self._scrapes:
                scrape.cancel()
            await asyncio.gather(*running)

    async def _tick(self, scraper: Scraper, publisher: Publisher) -> None:
        position: dict[asyncio.Task[Timed[Reading] | None], int] = {}
        for target in self._targets:
            if not target.busy:
                task = asyncio.create_task(target.scrape(scraper))
                position[task] = len(position)
        pending = set(position)
        self._scrapes |= pending
        sent = False
        while pending:
            done, pending = await asyncio.wait(pending, timeout=FLUSH_S)
            self._scrapes -= done
            # In the targets' order, so that a tick without changes finds its labels encoded.
            answers = [task.result() for task in sorted(done, key=position.__getitem__) if not task.cancelled()]
            readings = [answer for answer in answers if answer is not None]
            if readings:
                self._publish(publisher, readings)
                sent = True
        if not sent:
            self._publish(publisher, [])

    def _publish(self, publisher: Publisher, readings: list[Timed[Reading]]) -> None:
        for batch in self._batches(readings):
            publisher.publish(
                topic=self._topic,
                shard=self._key,
                cluster=self._cluster,
                schema=self._schema,
                batch=batch,
                defects=self._take_defects(),
            )

    def _take_defects(self) -> list[Defect]:
        taken: list[Defect] = []
        for log in self._defects:
            taken += log.take(MAX_DEFECTS - 1 - len(taken))
        return taken
