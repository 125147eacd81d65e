"""Held acknowledgement: messages come in, what they lead to is stored, then they are acknowledged, in order.

    agent --offer--> queue --gather--> compute (thread) --> store --> acknowledge

One batch is stored while the next is computed; nothing else is in flight, so memory is bounded by the queue and two
batches. A batch that began before a rebalance is dropped unacknowledged: its partitions may belong to another worker,
which replays them, and everything that was stored from it is written again under the same keys.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import faust

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Intake(Generic[Result]):
    """One consumer of one or more topics.

    `compute(events)` runs in a thread and must not block on anything that can wait for ever; `store(result)` is
    awaited and returns when everything is durable, however long that takes. Either may raise: the worker then ends.
    """

    def __init__(
        self,
        app: faust.App,
        name: str,
        compute: Callable[[Sequence[Any]], Result],
        store: Callable[[Result], Awaitable[None]],
        *,
        reset: Callable[[], None],
        linger_s: float,
        most: int,
    ) -> None:
        self.name = name
        self.messages = 0
        """Messages acknowledged so far."""
        self._app = app
        self._compute = compute
        self._store = store
        self._reset = reset
        self._linger_s = linger_s
        self._most = most
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=most)
        self._epoch = 0
        self._epoch_computed = 0
        self._storing: asyncio.Task[None] | None = None
        self._busy = 0
        self._progress = asyncio.Condition()

    async def offer(self, event: Any) -> None:
        """Take an event in; waits while the queue is full."""
        await self._queue.put((self._epoch, event))

    @property
    def held(self) -> int:
        """Messages taken in and not yet acknowledged."""
        return self._queue.qsize() + self._busy

    def rebalance(self) -> None:
        """Partitions were revoked: forget everything that is held, start again from what is stored."""
        self._epoch += 1

    async def run(self) -> None:
        """Work until cancelled. Raises what compute or store raised."""
        try:
            while True:
                events = await self._gather()
                epoch = self._epoch
                if epoch != self._epoch_computed:
                    await self._settle()
                    self._reset()
                    self._epoch_computed = epoch
                events = [event for taken_in, event in events if taken_in == epoch and self._is_current(event)]
                if not events:
                    continue
                self._busy += len(events)
                result = await asyncio.to_thread(self._compute, events)
                await self._settle()
                if epoch != self._epoch:
                    await self._let_go(events)
                    continue
                self._storing = asyncio.create_task(self._finish(epoch, events, result), name=f"store {self.name}")
        finally:
            if self._storing is not None:
                self._storing.cancel()

    async def drained(self) -> None:
        """Wait until nothing is held."""
        async with self._progress:
            await self._progress.wait_for(lambda: not self.held)

    async def _gather(self) -> list[tuple[int, Any]]:
        waiting = asyncio.ensure_future(self._queue.get())
        if self._storing is not None:  # a failure of the last store must not wait for the next message
            await asyncio.wait({waiting, self._storing}, return_when=asyncio.FIRST_COMPLETED)
            if self._storing.done() and self._storing.exception() is not None:
                waiting.cancel()
                self._storing.result()
        batch = [await waiting]
        deadline = asyncio.get_running_loop().time() + self._linger_s
        while len(batch) < self._most:
            left = deadline - asyncio.get_running_loop().time()
            try:
                batch.append(self._queue.get_nowait() if left <= 0 else await asyncio.wait_for(self._queue.get(), left))
            except (asyncio.QueueEmpty, TimeoutError):
                break
        return batch

    async def _settle(self) -> None:
        """Wait for the batch that is being stored."""
        if self._storing is not None:
            storing, self._storing = self._storing, None
            await storing

    async def _finish(self, epoch: int, events: Sequence[Any], result: Result) -> None:
        await self._store(result)
        for event in events:
            if epoch == self._epoch:
                event.ack()
        self.messages += len(events)
        await self._let_go(events)

    async def _let_go(self, events: Sequence[Any]) -> None:
        self._busy -= len(events)
        async with self._progress:
            self._progress.notify_all()

    def _is_current(self, event: Any) -> bool:
        """False for an event that Faust still delivered from before a rebalance."""
        return bool(event.message.generation_id == self._app.consumer_generation_id)
