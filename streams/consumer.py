"""Faust's consumer, made safe.

faust-streaming 0.15.3 can commit past a message that was never acknowledged (faust-streaming/faust#606): its guard
compares the lowest acknowledged offset with the committed one and lets a difference of one pass, which is exactly an
unacknowledged head; with nothing committed yet it does not look at all. `SafeConsumer` never commits at or beyond the
lowest message that is still in flight.

It also assigns partitions by range: usage.gpu and usage.tokens have the same partitions and keys, and the range
assignor gives partition n of both to the same worker, so that one worker sees both halves of a cluster.
"""

from typing import Any

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver


class SafeConsumer(driver.Consumer):
    """A consumer whose committed offset never passes a message that is still un-acknowledged."""

    def _new_offset(self, tp: Any) -> int | None:
        floor = min((m.offset for m in self._unacked_messages if m.tp == tp and not m.acked), default=None)
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

    def _upstream_offset(self, tp: Any) -> int | None:
        offset: int | None = super()._new_offset(tp)
        return offset


def install() -> None:
    """Make Faust use the safe consumer and the range assignor. Call before the app is created."""
    driver.Transport.Consumer = SafeConsumer
    setattr(driver, "RoundRobinPartitionAssignor", RangePartitionAssignor)  # noqa: B010  (an import of Faust's, not an export)
