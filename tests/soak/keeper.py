"""Processes that are started again when they end, as an operator's supervisor does it, and that can be disturbed."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

STOP_S = 40.0
POLL_S = 0.1
RESTART_S = (0.3, 2.0)
MOST_ENDS = 15  # of one process, before the run is given up


class SoakFailed(Exception):
    """The run did not come to its end. `str()` says why."""


class Ended(NamedTuple):
    """A process that ended though nobody asked it to."""

    name: str
    status: int
    said: str
    """The end of its log."""


class Keeper:
    """Keeps named processes running. `launch(name, log)` starts one and must not block."""

    def __init__(self, launch: Callable[[str, Path], "subprocess.Popen[bytes]"], folder: Path, seed: int) -> None:
        self._launch = launch
        self._folder = folder
        self._chance = random.Random(seed)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._away: set[str] = set()
        """Ended on purpose, or waiting for the next start."""
        self.finished: set[str] = set()
        """Ended by themselves with status 0: their work is done."""
        self.ended: list[Ended] = []

    @property
    def names(self) -> list[str]:
        """Those that run, or soon will."""
        return sorted(self._processes.keys() - self.finished)

    def choose(self, chance: random.Random) -> str | None:
        """One that runs, if any."""
        running = [name for name in self.names if name not in self._away]
        return chance.choice(running) if running else None

    def start(self, name: str) -> None:
        """Start one, or start it again."""
        self._processes[name] = self._launch(name, self._log(name))
        self._away.discard(name)

    async def kill(self, name: str, for_s: float) -> None:
        """kill -9, and start it again a little later."""
        self._away.add(name)
        self._processes[name].kill()
        await self._gone(name)
        await asyncio.sleep(for_s)
        self.start(name)

    async def freeze(self, name: str, for_s: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        process = self._processes[name]
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            process.send_signal(signal.SIGCONT)

    async def stop(self, name: str) -> None:
        """SIGTERM. One that does not end, or not with status 0, is noted and killed."""
        self._away.add(name)
        self._processes[name].terminate()
        await self._gone(name)
        process = self._processes.pop(name)
        if process.returncode not in (0, -signal.SIGTERM):  # the latter: it had only just begun
            self._note_end(name, process.returncode)

    async def watch(self) -> None:
        """Start again what ends."""
        while True:
            for name, process in list(self._processes.items()):
                if name in self._away or name in self.finished or process.poll() is None:
                    continue
                if process.returncode == 0:
                    self.finished.add(name)
                    continue
                self._note_end(name, process.returncode)
                self._away.add(name)
                asyncio.get_running_loop().call_later(self._chance.uniform(*RESTART_S), self.start, name)
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Nothing of them is left."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    async def _gone(self, name: str) -> None:
        process = self._processes[name]
        try:
            await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _note_end(self, name: str, status: int) -> None:
        self.ended.append(Ended(name, status, self._said(name)))
        if sum(ended.name == name for ended in self.ended) > MOST_ENDS:
            raise SoakFailed(f"{name} does not live: {self._said(name)}")

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _said(self, name: str) -> str:
        lines = [line for line in self._log(name).read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-2:])[-500:]
