"""Every way in which Faust 0.15.3 loses messages, and that ours do not; on real Kafka where it is at hand.

Each case is read by Faust's own consumer or loop, then by ours. When an upgrade of Faust makes a test fail that shows a
loss, that defect is gone, and perhaps what was written against it can go with it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError

from compose.broker import servers
from streams.consumer import Coordinator, SafeConsumer
from tests.faults import readers
from tests.faults.readers import MESSAGES, Broken, Reading, read

HEAD = 3  # where a group begins, and what fails

SAFE = {"consumer": SafeConsumer}
FAILS, HANGS = {"head": HEAD}, {"head": HEAD, "hangs": True}
NOTHING_COMMITTED = {"head": 0, "hangs": True}
SEEKS = {"head": MESSAGES - 1, "seek": True}

CASES: dict[str, tuple[readers.Declare, Mapping[str, Any]]] = {
    "values": (readers.values, FAILS),
    "values, safe consumer": (readers.values, FAILS | SAFE),
    "events": (readers.events, FAILS),
    "noack": (readers.noack, FAILS),
    "noack, safe consumer": (readers.noack, FAILS | SAFE),
    "two loops": (readers.side_by_side, HANGS),
    "two loops, safe consumer": (readers.side_by_side, HANGS | SAFE),
    "two loops from 0": (readers.side_by_side, NOTHING_COMMITTED),
    "two loops from 0, safe consumer": (readers.side_by_side, NOTHING_COMMITTED | SAFE),
    "take": (readers.take, FAILS),
    "noack_take": (readers.noack_take, FAILS),
    "take, crashing": (readers.take_crashing, FAILS),
    "back to the beginning": (readers.held, SEEKS),
    "back to the beginning, safe consumer": (readers.held, SEEKS | SAFE),
    "ours": (readers.ours, FAILS | SAFE),
    "ours, in flight": (readers.ours, HANGS | SAFE),
    "ours from 0": (readers.ours, NOTHING_COMMITTED | SAFE),
}


@pytest.fixture(scope="module")
def readings(broker_at_hand: str) -> dict[str, Reading]:
    """What each reader did. They all read at once, each in a group of its own."""

    async def run() -> dict[str, Reading]:
        await readers.fill(broker_at_hand)
        reading = (
            read(broker_at_hand, f"group-{number}", declare, **how)
            for number, (declare, how) in enumerate(CASES.values())
        )
        return dict(zip(CASES, await asyncio.gather(*reading), strict=True))

    return asyncio.run(run())


@pytest.mark.parametrize("case", ["values", "events", "noack"])
def test_faust_commits_past_a_message_that_failed(readings: dict[str, Reading], case: str) -> None:
    """The agent is started again behind it, everything else succeeds, and nothing looks wrong."""
    reading = readings[case]
    assert (reading.committed, reading.lost, reading.crash) == (MESSAGES, [HEAD], None)


def test_values_are_acknowledged_when_they_fail(readings: dict[str, Reading]) -> None:
    """So the safe consumer alone does not help: whoever counts money must not iterate over values."""
    assert readings["values, safe consumer"].lost == [HEAD]


@pytest.mark.parametrize(("case", "head"), [("two loops", HEAD), ("two loops from 0", 0)])
def test_faust_commits_past_a_message_in_flight(readings: dict[str, Reading], case: str, head: int) -> None:
    """A kill at this moment loses it, also when nothing had been committed before."""
    reading = readings[case]
    assert (reading.committed, reading.lost) == (MESSAGES, [head])


@pytest.mark.parametrize("case", ["noack", "two loops"])
def test_the_safe_consumer_stops_at_the_head(readings: dict[str, Reading], case: str) -> None:
    """Everything behind it was read and processed, and will be again."""
    reading = readings[f"{case}, safe consumer"]
    assert (reading.committed, reading.lost) == (HEAD, [])
    assert reading.finished.is_set()


def test_the_safe_consumer_commits_nothing_before_the_first(readings: dict[str, Reading]) -> None:
    """The head is the first message there is."""
    assert readings["two loops from 0, safe consumer"].committed is None


def test_a_batch_of_values_is_acknowledged_when_it_fails(readings: dict[str, Reading]) -> None:
    """All of it, also what had not been looked at; the agent is started again behind it, and nothing looks wrong."""
    reading = readings["take"]
    assert reading.committed == MESSAGES
    assert reading.lost[0] == HEAD
    assert len(reading.lost) > 1
    assert reading.crash is None


def test_a_failed_batch_of_events_ends_all_committing(readings: dict[str, Reading]) -> None:
    """The app goes on behind it and looks healthy, but whatever it does is done again by the next one."""
    reading = readings["noack_take"]
    assert reading.finished.is_set()
    assert (reading.committed, reading.crash) == (HEAD, None)


def test_where_nothing_is_committed_faust_does_not_go_back(readings: dict[str, Reading]) -> None:
    """It does so after every rebalance, having thrown away what it had fetched; ours reads everything again."""
    assert readings["back to the beginning"].delivered[0] == 1
    assert readings["back to the beginning, safe consumer"].delivered[0] == 2


def test_a_crashing_supervisor_makes_it_visible(readings: dict[str, Reading]) -> None:
    """What ours have: the app says that it crashed, and why."""
    assert isinstance(readings["take, crashing"].crash, Broken)


def test_ours_stops_at_a_message_that_failed(readings: dict[str, Reading]) -> None:
    """Nothing is acknowledged at it or behind it, and the failure comes out, so that the worker ends."""
    reading = readings["ours"]
    assert (reading.committed, reading.lost) == (HEAD, [])
    assert isinstance(reading.crash, Broken)


@pytest.mark.parametrize(("case", "committed"), [("ours, in flight", HEAD), ("ours from 0", None)])
def test_ours_commits_nothing_behind_a_message_in_flight(
    readings: dict[str, Reading], case: str, committed: int | None
) -> None:
    """A kill at this moment loses nothing."""
    reading = readings[case]
    assert (reading.committed, reading.lost, reading.crash) == (committed, [], None)


async def test_a_former_member_does_not_set_offsets_back(
    broker_at_hand: str, without_kafka: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was frozen; meanwhile the others have read on, committed and left. Kafka would believe it."""
    if without_kafka is not None:
        pytest.skip(f"without real Kafka: {without_kafka}")
    for coordinator, group, expected in ((GroupCoordinator, "believed", 1), (Coordinator, "refused", 50)):
        monkeypatch.setattr("aiokafka.consumer.consumer.GroupCoordinator", coordinator)
        former = AIOKafkaConsumer(
            readers.TOPIC, bootstrap_servers=servers(broker_at_hand), group_id=group, enable_auto_commit=False
        )
        await former.start()
        await former.seek_to_committed()  # it has joined
        former._coordinator._coordination_task.cancel()  # and is as if frozen
        await former._coordinator._maybe_leave_group()
        await readers.commit(broker_at_hand, group, 50)
        if coordinator is GroupCoordinator:
            await former.commit({readers.PARTITION: 1})
        else:
            with pytest.raises(CommitFailedError):
                await former.commit({readers.PARTITION: 1})
        assert await readers.committed(broker_at_hand, group) == expected
        await former.stop()
