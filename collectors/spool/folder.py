"""The folder of a spool: its version, and the lock of the process that uses it.

FORMAT               version of the layout
lock                 held by the collector while it runs; names its process
000000000001.segment messages, see collectors/segments.py
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

FORMAT = "commonwatt-spool 1"
_BEGUN = {"lock", "FORMAT.new"}  # what a start that was killed can leave


class SpoolError(Exception):
    """The spool cannot be used, or could not keep everything. `str()` is the whole message for the user."""


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder if need be and hold it for a block.

    Raises SpoolError when it is another program's, of another version, in use, or cannot be written.
    """
    try:
        lock = _claim(folder)
    except OSError as error:
        reason = error.strerror or error
        raise SpoolError(f"The spool {folder} cannot be used ({reason}): choose another folder with --spool.") from None
    try:
        yield
    finally:
        os.close(lock)


def _claim(folder: Path) -> int:
    """The file descriptor of the lock."""
    if folder.exists() and not folder.is_dir():
        raise SpoolError(f"{folder} is a file, not a folder: choose another folder with --spool.")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "FORMAT").exists() and not {entry.name for entry in folder.iterdir()} <= _BEGUN:
        raise SpoolError(f"{folder} is neither empty nor a spool of Commonwatt: choose another folder with --spool.")
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(folder, lock)
        _check_format(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(folder: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
        by = f"process {owner}" if owner.isdigit() else "another process"
        raise SpoolError(
            f"The spool {folder} is in use by {by}: stop it, or choose another folder with --spool."
        ) from None
    with contextlib.suppress(OSError):  # on a full disk: the lock holds without the name of its owner
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _check_format(folder: Path) -> None:
    file = folder / "FORMAT"
    if not file.exists():
        draft = folder / "FORMAT.new"
        draft.write_text(f"{FORMAT}\n")
        draft.replace(file)
    found = file.read_text(errors="replace").strip()
    if found != FORMAT:
        raise SpoolError(
            f"The spool {folder} has format {found!r} and this version reads {FORMAT!r}: "
            "let the version of Commonwatt that wrote it send what is in it, or choose another folder with --spool."
        )
