"""The queues of a spool: messages in, in order out of each shard, and what is done when there is no room."""

import contextlib
import logging
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from collectors.spool.folder import claimed
from collectors.spool.line import Line
from collectors.spool.log import Log
from collectors.spool.record import Damage, Message, record_size

logger = logging.getLogger(__name__)

LIMIT_BYTES = 4 * 1024**3
SEGMENT_BYTES = 16 * 1024**2
MEMORY_BYTES = 64 * 1024**2  # while the disk cannot be written
SEGMENTS_PER_LIMIT = 16  # a small limit has small segments
RESERVE = 8  # the last 1/8 of a limit is shared equally among the shards
RETRY_S = 1.0
SYNC_AFTER_S = 1.0
SILENT_S = 600.0  # a disk that fails again and again is said every ten minutes
MAX_NOTES = 100


class SpoolFull(Exception):
    """A message was refused. `kind` names the defect: spool_full or disk_full."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Note(NamedTuple):
    """Something that happened to the spool: becomes a defect once time and source are added."""

    kind: str
    subject: str
    detail: str


@contextlib.contextmanager
def opened(
    folder: Path,
    *,
    limit_bytes: int = LIMIT_BYTES,
    segment_bytes: int = SEGMENT_BYTES,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator["Spool"]:
    """The spool in a folder, with what an earlier run left in it, for a block. Raises SpoolError."""
    with claimed(folder):
        log = Log(folder, min(segment_bytes, limit_bytes // SEGMENTS_PER_LIMIT))
        spool = Spool(log, folder, limit_bytes, memory_bytes)
        try:
            yield spool
        finally:
            spool.close()


class Spool:
    """Made by `opened`. Not for use by several threads."""

    def __init__(self, log: Log, folder: Path, limit_bytes: int, memory_limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.messages = 0
        """Waiting."""
        self.memory_bytes = 0
        """Of those that wait in memory, because the disk cannot be written."""
        self._log = log
        self._memory_limit_bytes = memory_limit_bytes
        self._lines: dict[bytes, Line] = {}
        self._last_number = 0
        self._failure: OSError | None = None
        """Why the disk cannot be written. Only then is anything in memory."""
        self._retry_s = 0.0
        self._silent_until_s = 0.0
        self._notes: list[Note] = []
        self._load()

    @property
    def waiting_bytes(self) -> int:
        """Of all waiting messages."""
        return self._log.waiting_bytes + self.memory_bytes

    @property
    def disk_bytes(self) -> int:
        """Of the files."""
        return self._log.disk_bytes

    @property
    def unwritten(self) -> int:
        """Messages that wait in memory only."""
        return sum(len(line.unwritten) for line in self._lines.values())

    def append(self, message: Message) -> None:
        """Take a message: when this returns it is on the disk, or in memory while the disk fails. Raises SpoolFull."""
        line = self._lines.setdefault(message.key, Line())
        size, taken_ms = record_size(message), round(time.time() * 1000)
        if self._failure is None or (time.monotonic() >= self._retry_s and self._write_back()):
            if not self._has_room(self.disk_bytes, self.limit_bytes, line.disk_bytes, size):
                detail = f"the spool holds {self.disk_bytes >> 20} of {self.limit_bytes >> 20} MiB"
                raise SpoolFull("spool_full", detail)
            if self._write(line, message, taken_ms):
                self.messages += 1
                self._recovered()
                self._clean()
                return
        if not self._has_room(self.memory_bytes, self._memory_limit_bytes, line.memory_bytes, size):
            raise SpoolFull("disk_full", f"the spool cannot be written ({self._reason()}) and its memory is full")
        line.push_unwritten(message, size, taken_ms)
        self.memory_bytes += size
        self.messages += 1

    def waiting_keys(self) -> list[bytes]:
        """The shards of which something waits."""
        return [key for key, line in self._lines.items() if line.on_disk or line.unwritten]

    def head(self, key: bytes) -> Message | None:
        """The oldest waiting message of a shard; it waits until it is acknowledged. Raises OSError."""
        line = self._lines[key]
        while line.on_disk:
            place, size = line.head()
            found = self._log.read(place, size)
            if found is not None:
                return found[1]
            self._note_damage(place, size)
            self.acknowledge(key)
        return line.unwritten[0][0] if line.unwritten else None

    def acknowledge(self, key: bytes) -> None:
        """The oldest waiting message of a shard has arrived: forget it."""
        line = self._lines[key]
        if line.on_disk:
            place, size = line.head()
            line.pop()
            self._log.release(place, size)
        else:
            self.memory_bytes -= line.pop_unwritten()
        self.messages -= 1

    def oldest_s(self) -> float | None:
        """When the message was taken that has waited longest, unix seconds."""
        times = (line.oldest_s() for line in self._lines.values())
        return min((taken_s for taken_s in times if taken_s is not None), default=None)

    def take_notes(self) -> list[Note]:
        """What has happened since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def to_sync(self) -> list[int]:
        """File descriptors for `sync`: none when nothing has waited for more than a second."""
        oldest_s = self.oldest_s()
        if oldest_s is None or 0 <= time.time() - oldest_s < SYNC_AFTER_S:
            return []
        return self._log.to_sync()

    def note_failure(self, error: OSError) -> None:
        """The disk does not take what is written."""
        begun, self._failure, self._retry_s = self._failure is None, error, time.monotonic() + RETRY_S
        if begun and time.monotonic() >= self._silent_until_s:
            self._silent_until_s = time.monotonic() + SILENT_S
            logger.error(
                "the spool %s cannot be written (%s): up to %d MiB of messages are kept in memory, then new ones are "
                "dropped; make room, and it goes on by itself",
                self.folder, self._reason(), self._memory_limit_bytes >> 20,
            )  # fmt: skip
            self._note("disk_full", "", f"the spool cannot be written: {self._reason()}")
        self._log.free()

    def close(self) -> None:
        """Put on the disk what is only in memory, and close the files. What is `unwritten` then is lost."""
        self._write_back()
        self._log.close()

    # ---- the disk ------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        numbers: dict[bytes, array[int]] = {}
        for name, place, item in self._log.load():
            if isinstance(item, OSError):
                logger.error("the spool %s: %s cannot be read and is left as it is: %s", self.folder, name, item)
                self._note("spool_damaged", name, f"cannot be read ({item.strerror}); left as it is")
            elif isinstance(item, Damage):
                self._note_damage(place, item.size)
            else:
                self._last_number = max(self._last_number, item.number)
                if item.waiting:
                    self._lines.setdefault(item.key, Line()).push(place, item.size, item.taken_ms)
                    numbers.setdefault(item.key, array("Q")).append(item.number)
        for key, line in self._lines.items():
            for place, size in line.put_in_order(numbers[key]):
                self._log.release(place, size)
            self.messages += line.on_disk

    def _write(self, line: Line, message: Message, taken_ms: int) -> bool:
        """Put a message at the end of the log and of its line; False when the disk does not take it."""
        self._last_number += 1
        try:
            place = self._log.store(message, self._last_number, taken_ms)
        except OSError as error:
            self.note_failure(error)
            return False
        line.push(place, record_size(message), taken_ms)
        return True

    def _write_back(self) -> bool:
        """Move what is in memory to the disk, in order; whether that worked."""
        for line in self._lines.values():
            while line.unwritten:
                if not self._write(line, *line.unwritten[0]):
                    return False
                self.memory_bytes -= line.pop_unwritten()
        return True

    def _recovered(self) -> None:
        """A message was written after everything that was in memory."""
        if self._failure is not None:
            self._failure = None
            logger.info("the spool %s can be written again", self.folder)

    def _clean(self) -> None:
        """Write anew what waits in segments that hardly hold anything else, so that these can go."""
        while (sparse := self._log.sparse()) is not None:
            for line in self._lines.values():
                for index, place, size in line.within(*sparse):
                    try:
                        self._move(line, index, place, size)
                    except OSError:
                        return
                    self._log.release(place, size)

    def _move(self, line: Line, index: int, place: int, size: int) -> None:
        """Write a record anew. Raises OSError."""
        found = self._log.read(place, size)
        if found is None:
            self._note_damage(place, size)
            line.remove(index)
            self.messages -= 1
        else:
            record, message = found
            line.move(index, self._log.store(message, record.number, record.taken_ms))

    def _has_room(self, used: int, limit: int, own: int, size: int) -> bool:
        """Whether a message of a shard that has `own` bytes there may go where `used` bytes are used."""
        if used + size > limit:
            return False
        shared = limit // RESERVE
        return used + size <= limit - shared or not own or (own + size) * len(self._lines) <= shared

    # ---- saying --------------------------------------------------------------------------------------------------

    def _reason(self) -> str:
        return (self._failure and self._failure.strerror) or str(self._failure)

    def _note(self, kind: str, subject: str, detail: str) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes.append(Note(kind, subject, detail))

    def _note_damage(self, place: int, size: int) -> None:
        name, detail = self._log.name(place), f"{size} bytes from byte {place & 0xFFFFFFFF} on hold no sound message"
        logger.error("the spool %s is damaged: %s: %s", self.folder, name, detail)
        self._note("spool_damaged", name, detail)
