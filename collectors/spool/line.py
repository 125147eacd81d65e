"""A line: what waits of one shard."""

from array import array
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from collectors.spool.record import Message, record_size


class Line:
    """The waiting messages of a shard, oldest first: those on the disk, by their places, then those in memory only."""

    def __init__(self) -> None:
        self.disk_bytes = 0
        self.memory_bytes = 0
        self.unwritten: deque[tuple[Message, int]] = deque()
        """With the time of taking, unix ms."""
        self._places = array("Q")
        self._sizes = array("I")
        self._taken_s = array("I")  # unix seconds
        self._head = 0  # index of the oldest: what is before it has been acknowledged

    @property
    def on_disk(self) -> int:
        """How many."""
        return len(self._places) - self._head

    def oldest_s(self) -> float | None:
        """When the oldest was taken, unix seconds."""
        if self.on_disk:
            return self._taken_s[self._head]
        return self.unwritten[0][1] / 1000 if self.unwritten else None

    # ---- on the disk ---------------------------------------------------------------------------------------------

    def push(self, place: int, size: int, taken_ms: int) -> None:
        """The newest."""
        self._places.append(place)
        self._sizes.append(size)
        self._taken_s.append(taken_ms // 1000)
        self.disk_bytes += size

    def head(self) -> tuple[int, int]:
        """Place and size of the oldest."""
        return self._places[self._head], self._sizes[self._head]

    def pop(self) -> None:
        """The oldest waits no more."""
        self.disk_bytes -= self._sizes[self._head]
        self._head += 1
        if 2 * self._head > len(self._places):  # in the long run each is moved once
            del self._places[: self._head], self._sizes[: self._head], self._taken_s[: self._head]
            self._head = 0

    def within(self, first: int, end: int) -> list[tuple[int, int, int]]:
        """Index, place and size of those at places from `first` up to `end`, the last of them first."""
        places = np.array(self._places, np.uint64)
        found = np.flatnonzero((places >= first) & (places < end))
        return [(i, self._places[i], self._sizes[i]) for i in found[found >= self._head].tolist()[::-1]]

    def move(self, index: int, place: int) -> None:
        """One of them lies elsewhere now."""
        self._places[index] = place

    def remove(self, index: int) -> None:
        """One of them is lost."""
        self.disk_bytes -= self._sizes[index]
        del self._places[index], self._sizes[index], self._taken_s[index]

    def put_in_order(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """Sort those on the disk, none of them acknowledged, by their numbers.

        Returns place and size of those that are there twice; the later ones are kept.
        """
        if all(before < after for before, after in pairwise(numbers)):
            return []
        newest = {number: index for index, number in enumerate(numbers)}
        kept = [newest[number] for number in sorted(newest)]
        double = [(self._places[i], self._sizes[i]) for i in sorted(set(range(len(numbers))) - set(kept))]
        self.disk_bytes -= sum(size for _, size in double)
        for column in (self._places, self._sizes, self._taken_s):
            column[:] = array(column.typecode, [column[i] for i in kept])
        return double

    # ---- in memory -----------------------------------------------------------------------------------------------

    def push_unwritten(self, message: Message, size: int, taken_ms: int) -> None:
        """The newest."""
        self.unwritten.append((message, taken_ms))
        self.memory_bytes += size

    def pop_unwritten(self) -> int:
        """The oldest waits no more in memory. Returns its size."""
        message, _ = self.unwritten.popleft()
        size = record_size(message)
        self.memory_bytes -= size
        return size
