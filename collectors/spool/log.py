"""The log: all segments of a spool. A place in it is one number, segment << 32 | offset."""

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from collectors.spool.record import Damage, Message, Record, record_size, scan
from collectors.spool.segment import Segment, segments

OPEN_FILES = 64
SPARSE_SEGMENTS = 4  # this much disk space in which nothing waits is left alone

_OFFSET = (1 << 32) - 1


class Log:
    """`segment_bytes` is the size at which a new segment begins."""

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self.disk_bytes = 0
        """Of all segments."""
        self.waiting_bytes = 0
        """Of the records in them that are not acknowledged."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments: dict[int, Segment] = {}
        self._opened: OrderedDict[int, Segment] = OrderedDict()
        self._active: Segment | None = None
        self._last = 0

    def load(self) -> Iterator[tuple[str, int, Record | Damage | OSError]]:
        """What an earlier run left: the name of each segment with a place and what is there, oldest first.

        Damage at the end of a segment is cut off; segments in which nothing waits are deleted.
        """
        for segment in segments(self._folder):
            self._last = segment.number
            try:
                data = segment.path.read_bytes()
            except OSError as error:
                yield segment.path.name, segment.number << 32, error
                continue
            self._segments[segment.number] = segment
            segment.size = len(data)
            for item in scan(data, segment.number):
                if isinstance(item, Record) and item.waiting:
                    segment.waiting += 1
                    segment.waiting_bytes += item.size
                elif isinstance(item, Damage) and item.offset + item.size == len(data):
                    segment.cut(item.offset)
                yield segment.path.name, segment.number << 32 | item.offset, item
            self.disk_bytes += segment.size
            self.waiting_bytes += segment.waiting_bytes
            if not segment.waiting:
                self.delete(segment)

    def store(self, message: Message, number: int, taken_ms: int) -> int:
        """Write a record; returns its place. Raises OSError, and then it is not there."""
        size = record_size(message)
        segment = self._with_room(size)
        offset = segment.append(message, number, taken_ms)
        self.disk_bytes += size
        self.waiting_bytes += size
        return segment.number << 32 | offset

    def read(self, place: int, size: int) -> tuple[Record, Message] | None:
        """The record at a place; None when it is damaged. Raises OSError when it cannot be read now."""
        return self._using(place >> 32).read(place & _OFFSET, size)

    def release(self, place: int, size: int) -> None:
        """Mark a record as acknowledged."""
        segment = self._using(place >> 32)
        segment.acknowledge(place & _OFFSET, size)
        self.waiting_bytes -= size
        if not segment.waiting and segment is not self._active:
            self.delete(segment)

    def name(self, place: int) -> str:
        """The name of the file with a place."""
        return self._segments[place >> 32].path.name

    def retire(self) -> None:
        """Begin a new segment with the next record."""
        segment, self._active = self._active, None
        if segment is not None and not segment.waiting:
            self.delete(segment)

    def free(self) -> None:
        """Give back the space of the segment that is written to, if nothing in it waits."""
        if self._active is not None and not self._active.waiting:
            self.retire()

    def sparse(self) -> tuple[int, int] | None:
        """The first place and the end of the segment in which least waits, when most of the space is of no use."""
        if self.disk_bytes - self.waiting_bytes <= self.waiting_bytes + SPARSE_SEGMENTS * self._segment_bytes:
            return None
        full = (segment for segment in self._segments.values() if segment is not self._active)
        emptiest = max(full, key=lambda segment: segment.size - segment.waiting_bytes, default=None)
        return None if emptiest is None else (emptiest.number << 32, (emptiest.number + 1) << 32)

    def to_sync(self) -> list[int]:
        """File descriptors for `sync`: of what has grown since the last call, and of the folder."""
        files: list[int] = []
        with contextlib.suppress(OSError):
            for segment in self._segments.values():
                if segment.unsynced:
                    files.append(self._using(segment.number).to_sync())
            if files:
                files.append(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC))  # names of new segments
        return files

    def close(self) -> None:
        """Close all files; a segment in which nothing waits is deleted."""
        self.retire()
        for segment in self._segments.values():
            segment.close()

    def delete(self, segment: Segment) -> None:
        """Nothing in it waits."""
        del self._segments[segment.number]
        self._opened.pop(segment.number, None)
        self.disk_bytes -= segment.size
        segment.delete()

    def _with_room(self, size: int) -> Segment:
        """The segment to write to. Raises OSError when a new one cannot be made."""
        segment = self._active
        if segment is not None and segment.size and segment.size + size > self._segment_bytes:
            self.retire()
            segment = None
        if segment is None:
            segment = Segment(self._folder, self._last + 1)
            segment.open()
            self._last += 1
            self._active = self._segments[segment.number] = segment
        return self._using(segment.number)

    def _using(self, number: int) -> Segment:
        """A segment that is about to be read or written; those used least recently are closed."""
        segment = self._segments[number]
        self._opened[number] = segment
        self._opened.move_to_end(number)
        while len(self._opened) > OPEN_FILES:
            self._opened.popitem(last=False)[1].close()
        return segment
