"""The book for commands that ask it: of a running Commonwatt, of a ClickHouse by URL, or at rest in its folder."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from clickhouse_connect.driver.client import Client

from compose import datadir
from compose.client import connect
from compose.process import dies_with_parent
from schemas.config import Config

PASSWORD_VARIABLE = "COMMONWATT_CLICKHOUSE_PASSWORD"  # noqa: S105  (its name, not a password)
_STOP_S = 20


class NoAnswer(Exception):
    """The book cannot be asked. `str()` is the whole message for the user."""


def password() -> str:
    """Password of ClickHouse, from the environment."""
    return os.environ.get(PASSWORD_VARIABLE, "")


def is_at_rest(data: Path | None, config: Config | None, url: str | None) -> bool:
    """Whether `book` with these arguments opens a folder on which nothing runs: its last minutes are final."""
    remote = url is not None or (config is not None and config.clickhouse is not None)
    return not remote and datadir.addresses(data) is None


@contextlib.contextmanager
def book(
    data: Path | None, config: Config | None = None, *, url: str | None = None, user: str = "default"
) -> Iterator[Client]:
    """A client of the ClickHouse at `url`, else of the configuration's, else of what runs on (or rests in) `data`."""
    if url is not None:
        yield connect(url, user, password())
    elif config is not None and config.clickhouse is not None:
        yield connect(config.clickhouse.url, config.clickhouse.user, password(), config.clickhouse.database)
    else:
        running = datadir.addresses(data)
        if running is None:
            with datadir.held(data, min_free_bytes=0) as folder, _at_rest(folder.clickhouse) as address:
                yield connect(address, user, password())
        elif "clickhouse" in running:
            yield connect(running["clickhouse"], user, password())
        else:
            raise NoAnswer(f"Commonwatt on {datadir.default(data)} is still starting: try again in a moment.")


@contextlib.contextmanager
def _at_rest(folder: Path) -> Iterator[str]:
    """The embedded ClickHouse on a folder, for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compose.clickhouse", "--data", str(folder), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=dies_with_parent(),
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            raise NoAnswer(process.stderr.read().strip() or "the embedded ClickHouse did not start")
        yield line.removeprefix("listening on ").strip()
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_STOP_S)
        process.kill()
        process.wait()
