"""The command line as a user has it: a process, what it prints, how it ends."""

import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compose.process import dies_with_parent
from tests.roles import ROOT, children

UP_S = 90.0  # until everything is up, on a busy machine
END_S = 90.0


def commonwatt(*arguments: object, timeout_s: float = 170) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "compose", *(str(argument) for argument in arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def rows(query: str, data: Path) -> list[dict[str, str]]:
    """What `commonwatt sql` answers, as text by column."""
    answer = commonwatt("sql", query, "--format", "csv", "--data", data)
    assert answer.returncode == 0, answer.stderr
    return list(csv.DictReader(io.StringIO(answer.stdout)))


@dataclass(frozen=True)
class Platform:
    """`commonwatt up` while it runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def roles(self) -> dict[str, int]:
        """Process ids of the roles, by name (`python -m compose worker …` is "worker")."""
        found = {}
        for pid in children(self.process.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            found[words[words.index("compose") + 1]] = pid
        return found

    def end(self) -> int:
        """Ctrl-C, and its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(END_S)


@contextlib.contextmanager
def up(*arguments: object, log: Path) -> Iterator[Platform]:
    """`commonwatt up arguments…`, from the moment at which everything is up; at the end of the block it is gone."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "compose", "up", *(str(argument) for argument in arguments)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=dies_with_parent(),
        )
    platform = Platform(process, log)
    try:
        deadline = time.monotonic() + UP_S
        while "everything is up" not in platform.said():
            assert process.poll() is None, platform.said()
            assert time.monotonic() < deadline, platform.said()
            time.sleep(0.05)
        yield platform
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
