"""A segment: one file of the spool, named after its number."""

import contextlib
import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

from collectors.spool.record import ACKNOWLEDGED, Message, Record, encoded, message_of, record_at


class Segment:
    """`waiting` and `waiting_bytes` count its records that are not acknowledged."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.path = folder / f"{number:012}.segment"
        self.size = 0
        self.waiting = 0
        self.waiting_bytes = 0
        self.unsynced = False
        """Whether it has grown since `to_sync` was called."""
        self._file: int | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def append(self, message: Message, number: int, taken_ms: int) -> int:
        """Write a record to the end; returns its offset. Raises OSError, and then nothing has been written."""
        offset = self.size
        head, value = encoded(message, number, taken_ms, self.number, offset)
        file = self.open()
        try:
            written = os.pwritev(file, [head, value], offset)
            if written < len(head) + len(value):  # the disk is full: the next attempt says how
                rest = (head + value)[written:]
                written += os.pwrite(file, rest, offset + written)
                if written < len(head) + len(value):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, offset)
            raise
        self.size += written
        self.waiting += 1
        self.waiting_bytes += written
        self.unsynced = True
        return offset

    def read(self, offset: int, size: int) -> tuple[Record, Message] | None:
        """The record at a place; None when it is damaged. Raises OSError."""
        try:
            data = os.pread(self.open(), size, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None  # the disk has lost it
        record = record_at(data, self.number, offset, base=offset)
        return None if record is None or record.size != size else (record, message_of(data, record))

    def acknowledge(self, offset: int, size: int) -> None:
        """Mark a record. Where that fails it is sent once more after a restart, which does no harm."""
        with contextlib.suppress(OSError):
            os.pwrite(self.open(), ACKNOWLEDGED, offset)
        self.waiting -= 1
        self.waiting_bytes -= size

    def cut(self, size: int) -> None:
        """Remove what stands after the first `size` bytes."""
        with contextlib.suppress(OSError):
            os.truncate(self.path, size)
        self.size = size

    def to_sync(self) -> int:
        """A duplicate of its file descriptor, for a thread that forces its content to the disk and closes it."""
        self.unsynced = False
        return os.dup(self.open())

    def open(self) -> int:
        """Its file descriptor. The file is made when it is not there. Raises OSError."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._file

    def close(self) -> None:
        """Give the file descriptor back; used again, the segment opens another."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def delete(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def segments(folder: Path) -> list[Segment]:
    """The segments that lie in a folder, oldest first."""
    names = (re.fullmatch(r"(\d{12})\.segment", path.name) for path in folder.iterdir())
    return [Segment(folder, number) for number in sorted(int(name[1]) for name in names if name)]


def sync(files: Sequence[int]) -> OSError | None:
    """Force files to the disk and close them; for a thread of its own. Returns what the disk had against it."""
    failure = None
    for file in files:
        try:
            os.fdatasync(file)
        except OSError as error:
            failure = error
        finally:
            os.close(file)
    return failure
