"""Roles as processes: started in order, watched, started again when they may be, and taken down together.

A role that can go on from what is stored is started again when it ends by itself, never silently: a line says which
role, how it ended, and what it said last. One that ends again and again, or that cannot be started again, ends
everything with the same words as its error. When the supervisor itself is killed, the kernel kills the roles (see
`compose.process`).
"""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client import Counter

from compose.process import dies_with_parent

MOST_ENDS = 5
"""A role that ends by itself this often within ENDS_WITHIN_S is given up."""
ENDS_WITHIN_S = 60.0
BACKOFF_S = 0.2
"""Before a role is started again; twice as long for each end within ENDS_WITHIN_S."""
ABORT_S = 5.0
"""From SIGTERM to SIGKILL when everything ends because of an error."""

_TAIL_BYTES = 4096
_TAIL_LINES = 3
_POLL_S = 0.05
_RESTARTS = Counter("commonwatt_role_restarts_total", "Times that a role was started again after it ended.", ["role"])

Ready = Callable[[], Awaitable[bool]]
Say = Callable[[str], object]


class RoleFailed(Exception):
    """A role did not start, or ended by itself. `str()` is the whole message for the user."""

    def __init__(self, role: str, text: str) -> None:
        super().__init__(text)
        self.role = role


class _Ended(RoleFailed):
    """A role ended by itself while it was waited for."""


@dataclass(frozen=True, slots=True)
class Role:
    """One process to run."""

    name: str
    command: Sequence[str]
    ready: Ready | None = None
    """Asked again and again until it says yes; None = ready at once."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to that of the supervisor."""
    restarted: bool = False
    """Whether it is started again when it ends by itself; otherwise that ends everything."""
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

    def how_it_ended(self) -> str:
        """How, and its last words. The process must have ended."""
        status = self.ended.result()
        how = f"was killed by {_signal(-status)}" if status < 0 else f"ended with exit code {status}"
        return f"{how}{_said(self)}"


class Supervisor:
    """Use as `async with Supervisor(logs) as roles`: at the end of the block every process has ended.

    `say` is told in one line when a role is started again.
    """

    def __init__(self, logs: Path, say: Say = print) -> None:
        self._logs = logs
        self._say = say
        self._running: list[_Process] = []
        self._keepers: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending = self._abort() if isinstance(error, RoleFailed) else self.stop()
        await asyncio.shield(asyncio.ensure_future(ending))

    async def start(self, role: Role) -> int:
        """Start a role and wait until it is ready. Returns its process id.

        Raises RoleFailed when it, or a role started before, ends first, or when it is not ready in time.
        """
        process = await self._spawn(role)
        self._running.append(process)
        if role.restarted:
            _RESTARTS.labels(role.name)  # shown from the start, as 0
        if role.ready is not None:
            await self._until_ready(process, role.ready, self._running)
        return process.process.pid

    def pids(self) -> dict[str, int]:
        """Process id of each role that was started."""
        return {process.role.name: process.process.pid for process in self._running}

    async def watch(self, stop: asyncio.Event) -> None:
        """Start roles again that end by themselves, until `stop` is set. Raises RoleFailed when one is given up."""
        self._keepers = {process.role.name: asyncio.create_task(self._keep(process)) for process in self._running}
        stopped = asyncio.create_task(stop.wait())
        waiting = {stopped, *self._keepers.values()}
        try:
            while not stopped.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for keeper in done - {stopped}:
                    if not keeper.cancelled():  # `stop_one` has ended this role
                        keeper.result()
        finally:
            left = [stopped, *self._keepers.values()]
            self._keepers = {}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def stop_one(self, name: str) -> int:
        """End one role in good order; the others go on. Returns its exit status."""
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
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

    async def _abort(self) -> None:
        """End the roles all at once, without much patience: some would wait in vain for the one that has failed."""
        await asyncio.gather(*(_end(process, ABORT_S) for process in self._running))
        self._running.clear()

    async def _keep(self, process: _Process) -> None:
        """Start a role again whenever it ends. Raises RoleFailed when it is given up."""
        role = process.role
        ends: deque[float] = deque(maxlen=MOST_ENDS)
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.shield(process.ended)
            _signal_group(process, signal.SIGKILL)  # its children are of no use to the next one
            if not role.restarted:
                raise RoleFailed(role.name, f"{role.name} {process.how_it_ended()}")
            ends.append(clock())
            recent = sum(end > clock() - ENDS_WITHIN_S for end in ends)
            if recent == MOST_ENDS:
                text = f"{role.name} ended {recent} times within {ENDS_WITHIN_S:g} s; the last time it "
                raise RoleFailed(role.name, text + process.how_it_ended())
            ended = process.how_it_ended()
            await asyncio.sleep(BACKOFF_S * 2 ** (recent - 1))
            successor = await self._spawn(role)
            self._running[self._running.index(process)] = successor
            _RESTARTS.labels(role.name).inc()
            self._say(f"{role.name} was started again: it {ended}")
            process = successor
            if role.ready is not None:
                with contextlib.suppress(_Ended):
                    await self._until_ready(process, role.ready, [process])

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

    async def _until_ready(self, process: _Process, ready: Ready, needed: Sequence[_Process]) -> None:
        role = process.role
        try:
            async with asyncio.timeout(role.ready_timeout_s):
                while True:
                    if await _unless_ended(ready, needed):
                        return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            text = f"{role.name} is not ready after {role.ready_timeout_s:g} s{_said(process)}"
            raise RoleFailed(role.name, text) from None


async def _unless_ended(ready: Ready, needed: Sequence[_Process]) -> bool:
    """What `ready` says, unless a process ends first: its port may be another program's, which never answers."""
    asking = asyncio.ensure_future(ready())
    try:
        await asyncio.wait([asking, *(process.ended for process in needed)], return_when=asyncio.FIRST_COMPLETED)
        for process in needed:
            if process.ended.done():
                raise _Ended(process.role.name, f"{process.role.name} {process.how_it_ended()}")
        return await asking
    finally:
        asking.cancel()


async def _end(process: _Process, patience_s: float | None = None) -> int:
    """End the process and whatever is left of its group; the patience, if not the role's own, until SIGKILL."""
    _signal_group(process, signal.SIGTERM)
    timeout_s = process.role.stop_timeout_s if patience_s is None else patience_s
    await asyncio.wait([process.ended], timeout=timeout_s)
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
