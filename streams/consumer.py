"""Faust's consumer, made safe.

What faust-streaming 0.15.3 and aiokafka 0.14 do, and what is done against it here; each is a test in `tests/faults`:

1. Faust commits past a message that was never acknowledged (faust-streaming/faust#606): its guard compares the lowest
   acknowledged offset with the committed one and lets a difference of one pass, which is exactly an unacknowledged
   head; with nothing committed yet it does not look at all. `SafeConsumer` never commits at or beyond the lowest
   message that was handed to an agent and not acknowledged.
2. Faust forgets such a message when nobody refers to it any more, as after an exception. `SafeConsumer` remembers it
   until its partition is revoked.
3. Faust (without its compiled parts) acknowledges what it throws away: messages that come out of its buffers during a
   rebalance, or after it, and that nobody has processed. `SafeConsumer` takes no acknowledgement from the moment when
   partitions are revoked until the new assignment begins, and none of a message of an earlier one. What was stored in
   that moment is read and stored again.
4. What was fetched in the middle of a rebalance Faust throws away, and then seeks back to the committed offsets; but
   aiokafka leaves a partition where it stands, behind what was thrown away, when nothing was committed for it yet.
   `_Thread` seeks back to the beginning there.
5. aiokafka repeats a commit that failed, even when it is no member of the group any more, or has got other partitions
   meanwhile; Kafka believes whoever is a member, and anybody while the group is empty. A worker that was frozen would
   set offsets back. `Coordinator` commits only for the assignment that a commit was made for.
6. Faust takes a commit that was refused for a commit. When a rebalance overtakes it, acknowledgements below it count
   for nothing from then on, and the group stays behind until more messages come. `SafeConsumer` does not.

Besides, partitions are assigned by range: usage.gpu and usage.tokens have the same partitions and keys, and the range
assignor gives partition n of both to the same worker, so that one worker sees both halves of a cluster.
"""

from collections.abc import Mapping
from typing import Any

from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalGenerationError, IllegalStateError
from faust.transport.drivers import aiokafka as driver

# A broker holds a fetch for so long when it has nothing new. Kafka answers when something comes; the embedded broker
# looks again only now and then, the less often the longer it may wait.
FETCH_WAIT_MS = 100


class SafeConsumer(driver.Consumer):
    """A consumer whose committed offset never passes a message that is still un-acknowledged."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unacked_messages: set[Any] = set()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        self._unacked_messages.difference_update([m for m in self._unacked_messages if m.tp in revoked])
        await super().on_partitions_revoked(revoked)

    def ack(self, message: Any) -> bool:
        app = self.app
        if not app.flow_control.is_active() or message.generation_id != app.consumer_generation_id:
            return False
        acknowledged: bool = super().ack(message)
        return acknowledged

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: Any) -> int | None:
        # What was delivered before a rebalance comes again, if it is still to be acknowledged; nobody waits for it.
        generation = self.app.consumer_generation_id
        in_flight = (m for m in self._unacked_messages if m.tp == tp and not m.acked and m.generation_id == generation)
        floor = min((m.offset for m in in_flight), default=None)
        if floor is None:
            return self._upstream_offset(tp)
        every = self._acked[tp]
        below = [offset for offset in every if offset < floor]
        if not below:
            return None
        self._acked[tp] = below
        try:
            return self._upstream_offset(tp)
        finally:
            self._acked[tp] = self._acked[tp] + [offset for offset in every if offset >= floor]

    async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
        assignment = self.assignment()
        own = {tp: offset for tp, offset in offsets.items() if tp in assignment}
        # No flush of the producer first: what a message led to was published before it was acknowledged.
        if not own or not await self._commit(own):
            return False
        self._committed_offset.update(own)
        return True

    def behind(self) -> dict[Any, int]:
        """Messages of each partition that is read here which are not committed, as far as this consumer has heard.

        Where nothing was ever committed, from the beginning of the partition.
        """
        committed = self._committed_offset
        return {tp: max(0, (self.highwater(tp) or 0) - (committed.get(tp) or 0)) for tp in self.assignment()}

    def _upstream_offset(self, tp: Any) -> int | None:
        offset: int | None = super()._new_offset(tp)
        return offset


class _Thread(driver.AIOKafkaConsumerThread):
    """Where the consumer speaks with Kafka. It leaves no partition where it stands when it seeks back."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001  (Faust has no setting for it)
        return consumer

    async def seek_to_committed(self) -> Mapping[Any, int]:
        committed: Mapping[Any, int] = await self.call_thread(self._seek_back)
        return committed

    async def _seek_back(self) -> Mapping[Any, int | None]:
        consumer = self._ensure_consumer()
        try:
            committed: Mapping[Any, int | None] = await consumer.seek_to_committed()
            for partition, offset in committed.items():
                if not offset:  # nothing is committed; where a topic begins later, Kafka says so
                    consumer.seek(partition, 0)
        except KeyError as gone:
            raise IllegalStateError(f"{gone} is not assigned any more") from gone  # Faust waits for the rebalance
        return committed


class Coordinator(GroupCoordinator):  # type: ignore[misc]  # aiokafka has no types
    """What a member of the group has agreed with the others."""

    async def _do_commit_offsets(self, assignment: Any, offsets: Mapping[Any, Any]) -> None:
        subscribed = self._subscription.partitions_auto_assigned()  # otherwise partitions were chosen, without a group
        if subscribed and (self.generation < 0 or not assignment.active):
            raise IllegalGenerationError(self.group_id)
        await super()._do_commit_offsets(assignment, offsets)


def install() -> None:
    """Make Faust and aiokafka use these classes and the range assignor. Call before the app is created."""
    driver.Transport.Consumer = SafeConsumer
    for module, name, ours in (
        (driver, "RoundRobinPartitionAssignor", RangePartitionAssignor),
        (aiokafka_consumer, "GroupCoordinator", Coordinator),
    ):
        setattr(module, name, ours)
