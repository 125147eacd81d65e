"""The topics that collectors write to: made when they are missing, left alone when they exist."""

import logging

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from schemas.topics import MAX_MESSAGE_BYTES, PARTITIONS, RETENTION_MS, TELEMETRY_GPU, TELEMETRY_TOKENS

logger = logging.getLogger(__name__)

MAX_REPLICAS = 3


async def create_missing(servers: list[str]) -> None:
    """Create the telemetry topics with as many partitions as the design asks for.

    A broker that refuses (no right to, not supported) is left with the topics that it has: one sentence in the log.
    Raises KafkaError when the broker cannot be reached.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        brokers = len((await admin.describe_cluster())["brokers"])
        configs = {"retention.ms": str(RETENTION_MS), "max.message.bytes": str(MAX_MESSAGE_BYTES)}
        wanted = [
            NewTopic(name, PARTITIONS[name], min(brokers, MAX_REPLICAS), topic_configs=configs)
            for name in (TELEMETRY_GPU, TELEMETRY_TOKENS)
        ]
        response = await admin.create_topics(wanted)
        for name, code, *_ in response.topic_errors:
            error = for_code(code)
            if error not in (NoError, TopicAlreadyExistsError):
                logger.warning("topic %s could not be created (%s); create it by hand", name, error.__name__)
    finally:
        await admin.close()
