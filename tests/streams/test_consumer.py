"""Protects against Faust 0.15.3's message loss: the committed offset never passes a message that is still held.

Each case is first shown to lose messages with Faust's own consumer, so that a Faust that needs no override is noticed.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from streams.consumer import SafeConsumer

TOPIC = TP("telemetry.gpu", 0)

# committed offset, acknowledged, held; what plain Faust commits
CASES = [
    pytest.param(100, [101, 102, 103, 104], [100], 105, id="the head is held"),
    pytest.param(None, [5, 6, 7, 8, 9], [4], 10, id="nothing committed yet"),
    pytest.param(0, [7, 8, 9], [6], 10, id="committed at the beginning"),
]


def consumer_of(kind: type[Any], committed: int | None, acked: list[int], held: list[int]) -> Any:
    """A consumer in the given state, without a broker: only what `_new_offset` looks at."""
    consumer = object.__new__(kind)
    consumer._acked = defaultdict(list, {TOPIC: list(acked)})
    consumer._acked_index = defaultdict(set, {TOPIC: set(acked)})
    consumer._gap = defaultdict(list)  # no gaps
    consumer._committed_offset = {TOPIC: committed}
    consumer._unacked_messages = [SimpleNamespace(tp=TOPIC, offset=offset, acked=False) for offset in held]
    return consumer


@pytest.mark.parametrize(("committed", "acked", "held", "lost_to"), CASES)
def test_plain_faust_commits_past_a_held_message(
    committed: int | None, acked: list[int], held: list[int], lost_to: int
) -> None:
    """The defect is still there (faust-streaming/faust#606); when this fails, look whether the override may go."""
    assert consumer_of(Consumer, committed, acked, held)._new_offset(TOPIC) == lost_to


@pytest.mark.parametrize(("committed", "acked", "held", "lost_to"), CASES)
def test_ours_does_not(committed: int | None, acked: list[int], held: list[int], lost_to: int) -> None:
    """Nothing is committed while the first message is held; everything once it is acknowledged too."""
    consumer = consumer_of(SafeConsumer, committed, acked, held)
    assert consumer._new_offset(TOPIC) is None
    consumer._acked[TOPIC] += held
    consumer._unacked_messages = []
    assert consumer._new_offset(TOPIC) == lost_to


def test_what_lies_before_a_held_message_is_committed() -> None:
    """Progress is not given up for the sake of one message: 3 and 4 are done, 5 is held, 6 and 7 are done."""
    consumer = consumer_of(SafeConsumer, 3, [3, 4, 6, 7], [5])
    assert consumer._new_offset(TOPIC) == 5
    assert sorted(consumer._acked[TOPIC]) == [6, 7]
