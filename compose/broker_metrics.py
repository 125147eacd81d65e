"""What the embedded broker tells Prometheus about itself."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from schemas import topics


class BrokerMetrics:
    """Asks the broker at `servers`, whose program is process `pid`. Connects when it is asked for the first time."""

    def __init__(self, servers: str, pid: int) -> None:
        self._servers = servers
        self._pid = pid
        self._consumer: AIOKafkaConsumer | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self) -> list[Metric]:
        """Messages of each topic, and memory. Raises KafkaError when the broker does not answer."""
        async with self._one_at_a_time:
            return [await self._messages(), *self._memory()]

    async def aclose(self) -> None:
        """End the connection, if there is one."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _messages(self) -> Metric:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(bootstrap_servers=self._servers)
            await consumer.start()
            self._consumer = consumer
        partitions = [
            TopicPartition(topic, number) for topic, count in topics.PARTITIONS.items() for number in range(count)
        ]
        ends = await self._consumer.end_offsets(partitions)
        family = CounterMetricFamily(
            "commonwatt_broker_messages",
            "Messages that a topic has got since the broker began: the sum of its end offsets.",
            labels=["topic"],
        )
        for topic in topics.PARTITIONS:
            family.add_metric([topic], sum(end for partition, end in ends.items() if partition.topic == topic))
        return family

    def _memory(self) -> Iterator[Metric]:
        """Nothing where the system does not tell it (source: proc(5), statm)."""
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
            yield GaugeMetricFamily(
                "commonwatt_broker_resident_memory_bytes",
                "Memory of the broker's program, which holds every message.",
                pages * os.sysconf("SC_PAGE_SIZE"),
            )
