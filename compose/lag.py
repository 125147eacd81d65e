"""How far the workers are behind the topics."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from compose.broker import BrokerError, servers
from schemas.topics import (
    AUDITS,
    BURN,
    HEARD,
    PARTITIONS,
    TELEMETRY_GPU,
    TELEMETRY_TOKENS,
    UNIT_COSTS,
    USAGE_GPU,
    USAGE_TOKENS,
)
from streams.app import GROUP

# In the order of the data: a stage is caught up only once everything before it is.
STAGES = (TELEMETRY_GPU, TELEMETRY_TOKENS, USAGE_GPU, USAGE_TOKENS, HEARD, UNIT_COSTS, BURN, AUDITS)


@dataclass(slots=True)
class Lag:
    """Reads committed and end offsets over connections that stay open."""

    consumer: AIOKafkaConsumer
    admin: AIOKafkaAdminClient

    @classmethod
    async def connect(cls, kafka: str) -> "Lag":
        """Open the connections. kafka: `kafka://host:port,…`. Raises BrokerError when nobody answers there."""
        address = servers(kafka)
        lag = cls(AIOKafkaConsumer(bootstrap_servers=address), AIOKafkaAdminClient(bootstrap_servers=address))
        try:
            await lag.consumer.start()
            await lag.admin.start()
        except (KafkaError, OSError) as error:
            await lag.close()
            raise BrokerError(
                f"The Kafka at {kafka} does not answer ({error}): start it, or correct the URL."
            ) from None
        return lag

    async def close(self) -> None:
        """Close the connections."""
        await self.consumer.stop()
        await self.admin.close()

    async def messages(self, topic: str) -> int:
        """Messages of a topic that the workers have not acknowledged yet."""
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS[topic])]
        committed = await self.admin.list_consumer_group_offsets(GROUP, partitions=partitions)
        ends = await self.consumer.end_offsets(partitions)
        begins = await self.consumer.beginning_offsets(partitions)
        behind = 0
        for partition in partitions:
            known = committed.get(partition)
            done = known.offset if known is not None and known.offset >= 0 else begins[partition]
            behind += max(0, ends[partition] - done)
        return behind

    async def total(self) -> int:
        """Messages of all stages together."""
        return sum([await self.messages(topic) for topic in STAGES])

    async def metrics(self) -> list[Metric]:
        """The same by topic, for Prometheus."""
        family = GaugeMetricFamily(
            "commonwatt_group_lag_messages",
            "Messages of a topic that the workers together have not acknowledged, as the broker knows.",
            labels=["topic"],
        )
        for topic in STAGES:
            family.add_metric([topic], await self.messages(topic))
        return [family]
