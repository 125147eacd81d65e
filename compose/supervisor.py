"""Roles as processes: started in order, watched, and taken down together.

No role is ever restarted silently. When one ends by itself, everything ends, and the error says which role, how, and
what it said last. When the supervisor itself is killed, the kernel kills the roles (see `compose.process`).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from compose.process import dies_with_parent

_TAIL_BYTES = 4096
_TAIL_LINES = 3
_POLL_S = 0.05

Ready = Callable[[], Awaitable[bool]]


class RoleFailed(Exception):
    """A role did not start, or ended by itself. `str()` is the whole message for the user."""

    def __init__(self, role: str, text: str) -> None:
        super().__init__(text)
        self.role = role


@dataclass(frozen=True, slots=True)
class Role:
    """One process to run."""

    name: str
    command: Sequence[str]
    ready: Ready | None = None
    """Asked again and again until it says yes; None = ready at once."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to that of the supervisor."""
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 20.0
    """From SIGTERM to SIGKILL."""


@dataclass(slots=True)
class _Process:
    role: Role
    process: asyncio.subprocess.Process
    ended: asyncio.Task[int]
    log: Path
    log_start: int
    """Size of the log file when this process began to write to it."""


class Supervisor:
    """Use as `async with Supervisor(logs) as roles`: at the end of the block every process has ended."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[_Process] = []

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.ensure_future(self.stop()))

    async def start(self, role: Role) -> int:
        """Start a role and wait until it is ready. Returns its process id.

        Raises RoleFailed when it, or a role started before, ends first, or when it is not ready in time.
        """
        process = await self._spawn(role)
        self._running.append(process)
        if role.ready is not None:
            await self._until_ready(process, role.ready)
        return process.process.pid

    def pids(self) -> dict[str, int]:
        """Process id of each role that was started."""
        return {process.role.name: process.process.pid for process in self._running}

    async def watch(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set. Raises RoleFailed as soon as a role ends by itself."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait(
                [stopped, *(process.ended for process in self._running)], return_when=asyncio.FIRST_COMPLETED
            )
            if not stopped.done():
                self._raise_if_ended()
        finally:
            stopped.cancel()

    async def stop_one(self, name: str) -> int:
        """End one role in good order; the others go on. Returns its exit status."""
        (process,) = [process for process in self._running if process.role.name == name]
        status = await _end(process)
        self._running.remove(process)
        return status

    async def stop(self) -> dict[str, int]:
        """End the roles, the last one first: SIGTERM, time to finish, SIGKILL. Returns their exit statuses."""
        statuses: dict[str, int] = {}
        while self._running:
            process = self._running[-1]
            statuses[process.role.name] = await _end(process)
            self._running.pop()
        return statuses

    async def _spawn(self, role: Role) -> _Process:
        log = self._logs / f"{role.name}.log"
        with log.open("ab") as output:
            log_start = output.tell()
            try:
                process = await asyncio.create_subprocess_exec(
                    *role.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=asyncio.subprocess.STDOUT,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **role.environment},
                    start_new_session=True,
                    preexec_fn=dies_with_parent(),
                )
            except OSError as error:
                raise RoleFailed(role.name, f"{role.name} cannot be started: {error}.") from None
        return _Process(role, process, asyncio.ensure_future(process.wait()), log, log_start)

    async def _until_ready(self, process: _Process, ready: Ready) -> None:
        role = process.role
        try:
            async with asyncio.timeout(role.ready_timeout_s):
                while True:
                    if await self._unless_ended(ready):
                        return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            text = f"{role.name} is not ready after {role.ready_timeout_s:g} s{_said(process)}"
            raise RoleFailed(role.name, text) from None

    async def _unless_ended(self, ready: Ready) -> bool:
        """What `ready` says, unless a role ends first: its port may be another program's, which never answers."""
        asking = asyncio.ensure_future(ready())
        try:
            await asyncio.wait(
                [asking, *(process.ended for process in self._running)], return_when=asyncio.FIRST_COMPLETED
            )
            self._raise_if_ended()
            return await asking
        finally:
            asking.cancel()

    def _raise_if_ended(self) -> None:
        for process in self._running:
            if process.ended.done():
                status = process.ended.result()
                how = f"was killed by {_signal(-status)}" if status < 0 else f"ended with exit code {status}"
                raise RoleFailed(process.role.name, f"{process.role.name} {how}{_said(process)}")


async def _end(process: _Process) -> int:
    """End the process and whatever is left of its group."""
    _signal_group(process, signal.SIGTERM)
    await asyncio.wait([process.ended], timeout=process.role.stop_timeout_s)
    _signal_group(process, signal.SIGKILL)
    return await process.ended


def _signal_group(process: _Process, number: signal.Signals) -> None:
    # The group's id is the leader's process id, and the kernel does not give it away while a member lives.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.process.pid, number)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _said(process: _Process) -> str:
    """The last lines that the process wrote, as the end of a message."""
    with process.log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(process.log_start, size - _TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    last = " | ".join(lines[-_TAIL_LINES:])
    return f"; it said: {last} (all of it: {process.log})" if last else f", without a word (its log: {process.log})."
