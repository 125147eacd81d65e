"""Held acknowledgement: messages come in, what they lead to is stored, then they are acknowledged, in order.

    agent --offer--> queue --gather--> compute (thread) --> store --> acknowledge

One batch is stored while the next is computed; nothing else is in flight, so memory is bounded by the queue and two
batches. A batch that began before a rebalance is dropped unacknowledged: its partitions may belong to another worker,
which replays them, and everything that was stored from it is written again under the same keys.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import faust

from streams.metrics import BATCH_SECONDS

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Hand:
    """A batch of messages on its way from the queue to their acknowledgement."""

    taken: list[tuple[int, Any]]
    """(epoch in which it was taken in, event)"""
    since: float = field(default_factory=time.monotonic)

    def events(self) -> list[Any]:
        return [event for _, event in self.taken]


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
        self.batches = 0
        """Batches that they came in."""
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
        self._in_hand: list[_Hand] = []
        self._progress = asyncio.Condition()

    async def offer(self, event: Any) -> None:
        """Take an event in; waits while the queue is full."""
        await self._queue.put((self._epoch, event))

    @property
    def held(self) -> int:
        """Messages taken in and not yet acknowledged."""
        return self._queue.qsize() + sum(len(hand.taken) for hand in self._in_hand)

    def oldest(self) -> tuple[float | None, dict[str, float]]:
        """Since when the oldest held message is in hand (monotonic, s; None: none is), and by topic when the oldest was
        sent (unix, s)."""
        hands = list(self._in_hand)
        sent: dict[str, float] = {}
        for hand in hands:
            for _, event in list(hand.taken):
                message = event.message
                sent[message.topic] = min(message.timestamp, sent.get(message.topic, message.timestamp))
        return (hands[0].since if hands else None), sent

    def rebalance(self) -> None:
        """Partitions were revoked: forget everything that is held, start again from what is stored."""
        self._epoch += 1

    async def run(self) -> None:
        """Work until cancelled. Raises what compute or store raised."""
        try:
            while True:
                hand = await self._gather()
                epoch = self._epoch
                if epoch != self._epoch_computed:
                    await self._settle()
                    self._reset()
                    self._epoch_computed = epoch
                hand.taken = [
                    (begun, event) for begun, event in hand.taken if begun == epoch and self._is_current(event)
                ]
                if not hand.taken:
                    await self._let_go(hand)
                    continue
                with BATCH_SECONDS.labels(self.name, "compute").time():
                    result = await asyncio.to_thread(self._compute, hand.events())
                await self._settle()
                if epoch != self._epoch:
                    await self._let_go(hand)
                    continue
                self._storing = asyncio.create_task(self._finish(epoch, hand, result), name=f"store {self.name}")
        finally:
            if self._storing is not None:
                self._storing.cancel()

    async def drained(self) -> None:
        """Wait until nothing is held."""
        async with self._progress:
            await self._progress.wait_for(lambda: not self.held)

    async def _gather(self) -> _Hand:
        waiting = asyncio.ensure_future(self._queue.get())
        if self._storing is not None:  # a failure of the last store must not wait for the next message
            await asyncio.wait({waiting, self._storing}, return_when=asyncio.FIRST_COMPLETED)
            if self._storing.done() and self._storing.exception() is not None:
                waiting.cancel()
                self._storing.result()
        hand = _Hand([await waiting])
        self._in_hand.append(hand)
        deadline = asyncio.get_running_loop().time() + self._linger_s
        while len(hand.taken) < self._most:
            left = deadline - asyncio.get_running_loop().time()
            try:
                hand.taken.append(
                    self._queue.get_nowait() if left <= 0 else await asyncio.wait_for(self._queue.get(), left)
                )
            except (asyncio.QueueEmpty, TimeoutError):
                break
        return hand

    async def _settle(self) -> None:
        """Wait for the batch that is being stored."""
        if self._storing is not None:
            storing, self._storing = self._storing, None
            await storing

    async def _finish(self, epoch: int, hand: _Hand, result: Result) -> None:
        with BATCH_SECONDS.labels(self.name, "store").time():
            await self._store(result)
        for event in hand.events():
            if epoch == self._epoch:
                event.ack()
        self.messages += len(hand.taken)
        self.batches += 1
        await self._let_go(hand)

    async def _let_go(self, hand: _Hand) -> None:
        self._in_hand.remove(hand)
        async with self._progress:
            self._progress.notify_all()

    def _is_current(self, event: Any) -> bool:
        """False for an event that Faust still delivered from before a rebalance."""
        return bool(event.message.generation_id == self._app.consumer_generation_id)
