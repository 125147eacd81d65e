"""Files that are there only when they are complete."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is complete."""

    path: Path
    rows: int


@contextlib.contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to: it takes that name at the end of the block, or is gone when that fails."""
    partial = path.with_name(f".{path.name}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # why it could not be written is told by what failed
            partial.unlink(missing_ok=True)
