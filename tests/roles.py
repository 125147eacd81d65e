"""Roles as real processes, for fixtures and for tests that kill them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.process import dies_with_parent

ROOT = Path(__file__).parent.parent
START_S = 30.0
STOP_S = 20.0


@dataclass
class Running:
    """A role that said where it listens."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """SIGTERM, then its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_S)


@dataclass
class Starting:
    """A process that may not listen yet."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    """Size of the log when this process began to write to it."""

    def listening(self) -> Running | None:
        """The role once it has printed its address; fails when it has ended instead."""
        said = self.log.read_bytes()[self.log_start :].decode(errors="replace")
        for line in said.splitlines():
            if line.startswith("listening on "):
                return Running(line.removeprefix("listening on ").strip(), self.process, self.log)
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}: {said}"
        return None


def spawn(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Starting:
    """`python -m module arguments…`; its output is added to the log. Call from the main thread."""
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
            preexec_fn=dies_with_parent(),
        )
    return Starting(module, process, log, begin)


def start(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Running:
    """`python -m module arguments…`, running when it has printed its address."""
    starting = spawn(module, *arguments, log=log, environment=environment)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if (role := starting.listening()) is not None:
            return role
        time.sleep(0.02)
    starting.process.kill()
    raise AssertionError(f"{module} did not start: {log.read_text()}")


@contextlib.contextmanager
def running(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start a role for a block; afterwards nothing of it is left."""
    role = start(module, *arguments, log=log, environment=environment)
    try:
        yield role
    finally:
        role.process.terminate()
        try:
            role.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(role.process.pid, signal.SIGKILL)
            role.process.wait(STOP_S)


def children(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that its parent has not asked about yet has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(pids: list[int], within_s: float = 5.0) -> None:
    """Wait for the end of processes; fails when one is still there in the end."""
    wait_until(lambda: all(map(gone, pids)), within_s, lambda: [pid for pid in pids if not gone(pid)])


def wait_until(met: Callable[[], bool], within_s: float, told: Callable[[], object] = lambda: "") -> None:
    """Wait for what other processes or threads do; fails with what is `told` when it does not come in time."""
    deadline = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
