"""Which offset is committed, asked directly: Faust's consumer passes messages in flight, `SafeConsumer` does not."""

from collections.abc import Iterable
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.app import create_app
from streams.consumer import SafeConsumer

PARTITION = TP("telemetry.gpu", 0)
GENERATION = 7


def consumer_of(consumer_class: type[Any], committed: int | None, acked: Iterable[int]) -> Any:
    """A consumer in the middle of its life, with flow."""

    async def nothing(*_: Any) -> None: ...

    app = create_app("kafka://127.0.0.1:1")
    app.consumer_generation_id = GENERATION
    app.flow_control.resume()
    app.topics.acking_topics.add(PARTITION.topic)
    consumer = consumer_class(app.transport, nothing, nothing, nothing)
    consumer._committed_offset[PARTITION] = committed
    consumer._acked[PARTITION] = list(acked)
    return consumer


def message(offset: int, generation: int = GENERATION) -> ConsumerMessage:
    """A message as the consumer makes it."""
    return ConsumerMessage(*PARTITION, offset, 0.0, 0, [], b"", b"", None, tp=PARTITION, generation_id=generation)


def delivered(consumer: Any, offset: int, generation: int = GENERATION) -> ConsumerMessage:
    """A message that an agent got and has not acknowledged."""
    got = message(offset, generation)
    consumer.track_message(got)
    return got


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
async def test_never_beyond_what_is_in_flight(
    committed: int | None, in_flight: list[int], acked: list[int], lost_from: int | None, safe: int | None
) -> None:
    """And as far as without the floor, where nothing is in flight below."""
    for consumer_class, expected in ((driver.Consumer, lost_from), (SafeConsumer, safe)):
        consumer = consumer_of(consumer_class, committed, acked)
        held = [delivered(consumer, offset) for offset in in_flight]
        assert consumer._new_offset(PARTITION) == expected
        del held


async def test_a_message_that_nobody_refers_to_is_not_forgotten() -> None:
    """An exception in an agent leaves none behind."""
    for consumer_class, expected in ((driver.Consumer, 105), (SafeConsumer, None)):
        consumer = consumer_of(consumer_class, 100, [101, 102, 103, 104])
        delivered(consumer, 100)
        assert consumer._new_offset(PARTITION) == expected


async def test_acknowledged_offsets_are_not_forgotten() -> None:
    """What lies above a message in flight is committed as soon as that one is acknowledged."""
    consumer = consumer_of(SafeConsumer, 3, [3, 4, 6, 7])
    head = delivered(consumer, 5)
    assert consumer._new_offset(PARTITION) == 5
    consumer._committed_offset[PARTITION] = 5
    assert consumer._new_offset(PARTITION) is None
    head.incref()
    assert head.ack(consumer)
    assert consumer._new_offset(PARTITION) == 8


async def test_what_is_thrown_away_in_a_rebalance_is_not_acknowledged() -> None:
    """Faust acknowledges messages that come out of its buffers during a rebalance or after it, unprocessed; with
    nothing committed yet, the next commit passes everything below them, too."""
    for consumer_class, expected in ((driver.Consumer, 6), (SafeConsumer, None)):
        late = consumer_of(consumer_class, None, [])
        message(5, generation=GENERATION - 1).ack(late)
        assert late._new_offset(PARTITION) == expected
        between = consumer_of(consumer_class, None, [])
        between.app.flow_control.suspend()
        message(5).ack(between)
        assert between._new_offset(PARTITION) == expected


async def test_what_was_in_flight_before_a_rebalance_does_not_hold_up_commits() -> None:
    """It is delivered again; the old one is never acknowledged."""
    consumer = consumer_of(SafeConsumer, 5, [5, 6])
    delivered(consumer, 5, generation=GENERATION - 1)
    assert consumer._new_offset(PARTITION) == 7


async def test_a_refused_commit_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance overtook it; otherwise the acknowledgements of what is read again would count for nothing."""

    async def refused(offsets: object) -> bool:
        return False

    for consumer_class, expected in ((driver.Consumer, []), (SafeConsumer, [100])):
        consumer = consumer_of(consumer_class, 100, [])
        monkeypatch.setattr(consumer, "_commit", refused)
        monkeypatch.setattr(consumer, "assignment", lambda: {PARTITION})
        assert not await consumer._commit_offsets({PARTITION: 103})
        again = delivered(consumer, 100)
        again.incref()
        again.ack(consumer)
        assert consumer._acked[PARTITION] == expected
