"""The data folder of one running Commonwatt: its version, its lock, its addresses.

FORMAT       version of the layout
lock         held by the supervisor while it runs; names its process
run.json     addresses of the running roles
metrics.json where their metrics are, as Prometheus reads it (file_sd_configs)
clickhouse/  the book
spool/       what the collector has taken and Kafka has not
notify/      what receivers of alerts are still to be told
log/         one file per role
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

FORMAT = 1
DEFAULT_NAME = "commonwatt-data"
MIN_FREE_BYTES = 500 * 1024 * 1024

METRICS = "metrics."
"""Begins the name of an address at which a role serves its metrics."""

_ADDRESSES = "run.json"
_SCRAPED = "metrics.json"
_MIB = 1 << 20


class DataError(Exception):
    """The data folder cannot be used. `str()` is the whole message for the user."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """A data folder that this process holds."""

    path: Path

    @property
    def clickhouse(self) -> Path:
        return self.path / "clickhouse"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def notify(self) -> Path:
        return self.path / "notify"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    def write_addresses(self, addresses: Mapping[str, str]) -> None:
        """Say where the running roles can be reached: role -> URL; `metrics.ROLE` for its metrics."""
        self._write(_ADDRESSES, {"pid": os.getpid(), "addresses": dict(addresses)})
        # Not the label `role`: metrics about roles have it.
        scraped = [
            {"targets": [urlsplit(url).netloc], "labels": {"process": name.removeprefix(METRICS)}}
            for name, url in addresses.items()
            if name.startswith(METRICS)
        ]
        self._write(_SCRAPED, scraped)

    def forget_addresses(self) -> None:
        """Nothing runs here any more."""
        for name in (_ADDRESSES, _SCRAPED):
            (self.path / name).unlink(missing_ok=True)

    def _write(self, name: str, content: object) -> None:
        """Replaced as a whole, never half written."""
        draft = self.path / f"{name}.new"
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(self.path / name)


@contextlib.contextmanager
def held(path: Path | None, *, min_free_bytes: int = MIN_FREE_BYTES) -> Iterator[DataDir]:
    """Open or create a data folder and hold it until the end of the block.

    Default: `commonwatt-data` in the working directory. Raises DataError when the folder is another program's, of
    another version or in use, cannot be written, or its disk is nearly full.
    """
    folder = default(path)
    try:
        _claim(folder)
        _check_space(folder, min_free_bytes)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"The data folder {folder} cannot be used ({reason}): choose another with --data.") from None
    try:
        _lock(folder, lock)
        (folder / "log").mkdir(exist_ok=True)
        data = DataDir(folder)
        data.forget_addresses()
        try:
            yield data
        finally:
            data.forget_addresses()
    finally:
        os.close(lock)


def default(path: Path | None) -> Path:
    """The folder meant by a `--data` that may not have been given, absolute."""
    return (path if path is not None else Path(DEFAULT_NAME)).absolute()


def addresses(path: Path | None) -> dict[str, str] | None:
    """Where the roles on this folder can be reached; None when nothing runs on it.

    Raises DataError when there is no such data folder, or of another version.
    """
    folder = default(path)
    if not (folder / "FORMAT").exists():
        raise DataError(f"{folder} is no data folder of Commonwatt: name one with --data.")
    _check_format(folder)
    if not _is_locked(folder):
        return None
    try:
        found = json.loads((folder / _ADDRESSES).read_text())["addresses"]
    except (OSError, ValueError, KeyError):
        return {}
    return {str(role): str(url) for role, url in found.items()}


def _claim(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder: choose another with --data.")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "FORMAT").exists():
        if any(folder.iterdir()):
            raise DataError(f"{folder} is neither empty nor a data folder of Commonwatt: choose another with --data.")
        (folder / "FORMAT").write_text(f"{FORMAT}\n")
    _check_format(folder)


def _check_format(folder: Path) -> None:
    found = (folder / "FORMAT").read_text(errors="replace").strip()
    if found != str(FORMAT):
        raise DataError(
            f"The data folder {folder} has format {found!r} and this version reads format {FORMAT}: "
            "use the version of Commonwatt that wrote it, or choose another folder with --data."
        )


def _check_space(folder: Path, min_free_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < min_free_bytes:
        raise DataError(
            f"Only {free // _MIB} MiB are free on the disk of {folder}, and {min_free_bytes // _MIB} MiB are needed: "
            "make room, or choose another folder with --data."
        )


def _lock(folder: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _pid(folder)
        by = f"process {owner}" if owner else "another process"
        raise DataError(
            f"The data folder {folder} is in use by {by}: stop it, or choose another folder with --data."
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _pid(folder: Path) -> int | None:
    try:
        return int((folder / "lock").read_text())
    except (OSError, ValueError):
        return None
