"""Faust commits past messages that were never acknowledged (faust-streaming/faust#606); `SafeConsumer` does not.

The first half of each test shows the loss with Faust's own consumer. When an upgrade of Faust makes it fail, the defect
is gone, and perhaps the override with it.
"""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message

from compose.broker import servers
from schemas.topics import QUARANTINE
from streams.app import create_app, hold
from streams.consumer import SafeConsumer

PARTITION = TP("telemetry.gpu", 0)


def offset_to_commit(
    consumer_class: type[Any], committed: int | None, in_flight: list[int], acked: list[int]
) -> int | None:
    """What a consumer would commit that has taken in these messages and acknowledged some of them."""

    async def nothing(*_: Any) -> None: ...

    transport = create_app("kafka://127.0.0.1:1").transport
    consumer = consumer_class(transport, nothing, nothing, nothing)
    held = [Message(*PARTITION, offset, 0.0, 0, [], b"", b"", None, tp=PARTITION) for offset in in_flight]
    for message in held:
        consumer._unacked_messages.add(message)
    consumer._committed_offset[PARTITION] = committed
    consumer._acked[PARTITION] = list(acked)
    offset: int | None = consumer._new_offset(PARTITION)
    return offset


@pytest.mark.parametrize(
    ("committed", "in_flight", "acked", "lost_from", "safe"),
    [
        (100, [100], [101, 102, 103, 104], 105, None),
        (None, [4], [5, 6, 7, 8, 9], 10, None),
        (0, [0], [7, 8, 9], 10, None),
        (100, [103], [100, 101, 102], 103, 103),
        (100, [], [100, 101, 102], 103, 103),
        (100, [102], [100, 101, 103], 102, 102),
        (100, [101], [102, 103], None, None),
        (100, [101, 103], [100, 102], 101, 101),
    ],
)
async def test_the_offset_that_would_be_committed(
    committed: int | None, in_flight: list[int], acked: list[int], lost_from: int | None, safe: int | None
) -> None:
    """Never beyond the lowest message in flight; as far as without it where nothing is in flight below."""
    assert offset_to_commit(driver.Consumer, committed, in_flight, acked) == lost_from
    assert offset_to_commit(SafeConsumer, committed, in_flight, acked) == safe


async def test_acknowledged_offsets_are_not_forgotten() -> None:
    """What lies above a message in flight is committed as soon as that one is acknowledged."""

    async def nothing(*_: Any) -> None: ...

    consumer = SafeConsumer(create_app("kafka://127.0.0.1:1").transport, nothing, nothing, nothing)
    head = Message(*PARTITION, 5, 0.0, 0, [], b"", b"", None, tp=PARTITION)
    consumer._unacked_messages.add(head)
    consumer._acked[PARTITION] = [3, 4, 6, 7]
    consumer._committed_offset[PARTITION] = 3
    assert consumer._new_offset(PARTITION) == 5
    consumer._committed_offset[PARTITION] = 5
    assert consumer._new_offset(PARTITION) is None
    head.acked = True
    consumer._acked[PARTITION].append(5)
    assert consumer._new_offset(PARTITION) == 8


HEAD = 3
MESSAGES = 10


async def test_a_message_in_flight_is_read_again_after_a_crash(broker: str) -> None:
    """On a broker: message 3 of 10 is never acknowledged. Faust's consumer commits 10 and 3 is lost, ours commits 3."""
    producer = AIOKafkaProducer(bootstrap_servers=servers(broker))
    await producer.start()
    for number in range(MESSAGES):
        await producer.send_and_wait(QUARANTINE, str(number).encode(), partition=0)
    await producer.stop()
    plain, safe = await asyncio.gather(
        committed_without_the_head(broker, "plain", driver.Consumer),
        committed_without_the_head(broker, "safe", SafeConsumer),
    )
    assert plain == MESSAGES
    assert safe == HEAD


async def committed_without_the_head(kafka: str, group: str, consumer_class: type[Any]) -> int:
    """Acknowledge every message but one, and say what the group has committed some commits later."""
    app = create_app(kafka, group=group)
    setattr(app.transport, "Consumer", consumer_class)  # noqa: B010  (Faust declares it for the class)
    held: list[Any] = []

    async def offer(event: Any) -> None:
        if event.message.offset == HEAD:
            held.append(event)
        else:
            event.ack()
        if event.message.offset == MESSAGES - 1:
            done.set()

    done = asyncio.Event()
    hold(app, "reader", (QUARANTINE,), offer)
    app.finalize()
    await app.start()
    try:
        assert isinstance(app.consumer, consumer_class)
        async with asyncio.timeout(30):
            await done.wait()
        await asyncio.sleep(3 * app.conf.broker_commit_interval)
    finally:
        await app.stop()
    assert len(held) == 1
    return await committed_offset(kafka, group)


async def committed_offset(kafka: str, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers(kafka))
    await admin.start()
    partition = TopicPartition(QUARANTINE, 0)
    try:
        offsets = await admin.list_consumer_group_offsets(group, partitions=[partition])
    finally:
        await admin.close()
    return int(offsets[partition].offset)
