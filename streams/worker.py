"""The worker: one process with all agents, until it is told to stop or something fails."""

import asyncio
import logging
from typing import Any

from aiokafka.errors import KafkaConnectionError
from clickhouse_connect.driver.client import Client

from schemas.config import Config
from streams.alerts import AlertsAgent
from streams.app import create_app, hold
from streams.book import Book
from streams.burn import BurnAgent
from streams.context import Context
from streams.intake import Intake
from streams.meter import Meter
from streams.reference import Reference
from streams.tokens import Tokens
from streams.unit_cost import UnitCostAgent

log = logging.getLogger(__name__)

METER_LINGER_S = 0.5  # rows are readable about this long after a sample arrives; shorter makes smaller parts
ECONOMICS_LINGER_S = 0.3
DRAIN_S = 20.0


class WorkerFailed(RuntimeError):
    """The worker cannot go on; what it had not acknowledged is replayed by the next one."""


class Worker:
    """Agents on one Faust app."""

    def __init__(self, config: Config, kafka: str, client: Client) -> None:
        self._kafka = kafka
        self.app = create_app(kafka)
        self.context = Context(self.app, Book(client), config, Reference(config))
        self.alerts = AlertsAgent(self.context)
        self.intakes: list[Intake[Any]] = []
        for agent in (Meter(self.context), Tokens(self.context)):
            self._declare(agent.name, (agent.source,), agent.intake(METER_LINGER_S))
        for reader in (UnitCostAgent(self.context), BurnAgent(self.context), self.alerts):
            self._declare(reader.name, reader.source, reader.intake(ECONOMICS_LINGER_S))
        self.app.on_partitions_revoked.connect(self._on_revoked)
        self.app.on_partitions_assigned.connect(self._on_assigned)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is held. Raises WorkerFailed when anything breaks."""
        self.app.finalize()
        try:
            await self.app.start()
        except KafkaConnectionError as away:
            raise WorkerFailed(f"the Kafka at {self._kafka} cannot be reached: start it, or correct the URL") from away
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(intake.run(), name=intake.name) for intake in self.intakes
        ]
        tasks.append(asyncio.create_task(self.alerts.watch(), name="watch alerts"))
        ended = asyncio.create_task(self.app.wait_until_stopped(), name="faust")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({*tasks, ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and (error := task.exception()) is not None:
                    raise WorkerFailed(f"agent {task.get_name()} failed: {error}") from error
            if self.app.crashed or ended.done():
                raise WorkerFailed(f"the Faust app stopped: {self.app.crash_reason}")
            await self._drain()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await self.app.stop()
            ended.cancel()

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
        topics: dict[str, list[int]] = {}
        for topic, partition in sorted(app_and_partitions[1]):
            topics.setdefault(topic, []).append(partition)
        log.info("reads %s", ", ".join(f"{topic} {partitions}" for topic, partitions in topics.items()) or "nothing")


async def run(config: Config, kafka: str, client: Client, *, stop: asyncio.Event) -> None:
    """Run one worker until `stop` is set."""
    await Worker(config, kafka, client).run(stop)
