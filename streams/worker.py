"""The worker: one process with all agents, until it is told to stop or something fails."""

import asyncio
import logging
import os
from typing import Any, cast

from aiokafka.errors import KafkaConnectionError
from clickhouse_connect.driver.client import Client

from schemas.config import Config
from streams.alerts import AlertsAgent
from streams.app import create_app, hold, until_reached
from streams.book import Book
from streams.burn import BurnAgent
from streams.consumer import SafeConsumer
from streams.context import Context
from streams.intake import Intake
from streams.meter import Meter
from streams.metrics import REBALANCES
from streams.reference import Reference
from streams.tokens import Tokens
from streams.unit_cost import UnitCostAgent
from streams.vitals import shown

log = logging.getLogger(__name__)

METER_LINGER_S = 0.5  # rows are readable about this long after a sample arrives; shorter makes smaller parts
ECONOMICS_LINGER_S = 0.3
ALERTS_LINGER_S = 0.05  # few messages, and somebody waits for what follows from them
START_S = 30.0  # for Kafka to be there: a worker may come back before its brokers do
# Together less than what a supervisor allows between SIGTERM and SIGKILL.
DRAIN_S = 12.0
LEAVE_S = 5.0


class WorkerFailed(RuntimeError):
    """The worker cannot go on; what it had not acknowledged is replayed by the next one."""


class Worker:
    """Agents on one Faust app."""

    def __init__(self, config: Config, kafka: str, client: Client) -> None:
        self._kafka = kafka
        self.app = create_app(kafka)
        self.consumer: SafeConsumer | None = None
        """Once partitions were assigned. (Asking the app for it would make it, too early and anywhere.)"""
        self.context = Context(self.app, Book(client), config, Reference(config))
        self.alerts = AlertsAgent(self.context)
        self.intakes: list[Intake[Any]] = []
        for agent in (Meter(self.context), Tokens(self.context)):
            self._declare(agent.name, (agent.source,), agent.intake(METER_LINGER_S))
        for reader in (UnitCostAgent(self.context), BurnAgent(self.context)):
            self._declare(reader.name, reader.source, reader.intake(ECONOMICS_LINGER_S))
        self._declare(self.alerts.name, self.alerts.source, self.alerts.intake(ALERTS_LINGER_S))
        self.app.on_partitions_revoked.connect(self._on_revoked)
        self.app.on_partitions_assigned.connect(self._on_assigned)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is held. Raises WorkerFailed when anything breaks.

        Kafka may lose nodes or be away meanwhile. When it is away in the end, this ends the process.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await self._start(stopping)
            if not stopping.done():
                await self._work(stopping)
        except WorkerFailed as failed:
            await self._leave(failed)
            raise
        finally:
            stopping.cancel()
        await self._leave(None)

    async def _start(self, stopping: "asyncio.Task[Any]") -> None:
        reaching = asyncio.create_task(until_reached(self._kafka, START_S), name="reach Kafka")
        await asyncio.wait({reaching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not reaching.done():
            reaching.cancel()
            return
        try:
            await reaching
            self.app.finalize()
            await self.app.start()
        except KafkaConnectionError as away:
            raise WorkerFailed(f"the Kafka at {self._kafka} cannot be reached: start it, or correct the URL") from away

    async def _work(self, stopping: "asyncio.Task[Any]") -> None:
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(intake.run(), name=intake.name) for intake in self.intakes
        ]
        tasks.append(asyncio.create_task(self.alerts.watch(), name="watch alerts"))
        ended = asyncio.create_task(self.app.wait_until_stopped(), name="faust")
        try:
            await asyncio.wait({*tasks, ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and (error := task.exception()) is not None:
                    raise WorkerFailed(f"agent {task.get_name()} failed: {error}") from error
            if self.app.crashed or ended.done():
                raise WorkerFailed(f"the Faust app stopped: {self.app.crash_reason}")
            await self._drain()
        finally:
            self.context.book.give_up()  # a thread that waits for an absent ClickHouse would outlive the agents
            for task in (*tasks, ended):
                task.cancel()
            await asyncio.gather(*tasks, ended, return_exceptions=True)

    async def _leave(self, failed: WorkerFailed | None) -> None:
        """Stop the app, which says goodbye to Kafka. Where nobody answers Faust tries for ever: the process ends."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await self.app.stop()
        except TimeoutError:
            log.error("left without a goodbye, for Kafka does not answer%s", f"; {failed}" if failed else "")
            logging.shutdown()
            os._exit(1 if failed else 0)

    async def _drain(self) -> None:
        """Store and commit what has been taken in."""
        try:
            async with asyncio.timeout(DRAIN_S):
                for intake in self.intakes:
                    await intake.drained()
                await self.app.consumer.commit()
        except TimeoutError:
            log.warning("stopped with messages still held; the next worker replays them")

    def _declare(self, name: str, source: tuple[str, ...], intake: Intake[Any]) -> None:
        hold(self.app, name, source, intake.offer)
        self.intakes.append(intake)

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        for intake in self.intakes:
            intake.rebalance()

    async def _on_assigned(self, *app_and_partitions: Any, **_: Any) -> None:
        REBALANCES.inc()
        self.consumer = cast(SafeConsumer, self.app.consumer)
        topics: dict[str, list[int]] = {}
        for topic, partition in sorted(app_and_partitions[1]):
            topics.setdefault(topic, []).append(partition)
        log.info("reads %s", ", ".join(f"{topic} {partitions}" for topic, partitions in topics.items()) or "nothing")


async def run(config: Config, kafka: str, client: Client, *, stop: asyncio.Event) -> None:
    """Run one worker until `stop` is set."""
    worker = Worker(config, kafka, client)
    with shown(worker):
        await worker.run(stop)
