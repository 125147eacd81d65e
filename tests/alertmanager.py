"""Prometheus's own Alertmanager as a process: from Debian's package, unpacked below out/ and never installed."""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compose.broker import free_port
from compose.process import dies_with_parent
from tests.roles import ROOT, wait_until

CACHE = ROOT / "out" / "alertmanager"
PACKAGE = "prometheus-alertmanager"
REQUIRED = "COMMONWATT_REQUIRE_ALERTMANAGER"
"""Set to 1: a machine without it fails."""
FETCH_S = 180
START_S = 30.0
SHARED = Path("usr/share/prometheus/alertmanager")
"""Where Debian's programs look for their templates, at this very path. What is unpacked looks in its working directory
instead, so the programs are kept there and run there."""
CONFIG = """
route: {receiver: nobody, group_wait: 100ms, group_interval: 100ms}
receivers: [{name: nobody}]
"""


@functools.cache
def found() -> tuple[Path | None, str]:
    """The folder of its programs, and why there is none."""
    installed = shutil.which(PACKAGE)
    if installed is not None:
        return Path(installed).parent, ""
    programs = CACHE / SHARED
    CACHE.parent.mkdir(exist_ok=True)
    with (CACHE.parent / "alertmanager.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes come here at once
        reason = "" if programs.is_dir() else _fetch()
    return (None, reason) if reason else (programs, "")


def program(name: str) -> Path:
    """Path of `prometheus-alertmanager` or `amtool`, to be run in its own folder. Without them the test is left out, or
    fails where they are required."""
    folder, reason = found()
    if folder is None:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"Alertmanager is required here: {reason}")
        pytest.skip(f"without Alertmanager: {reason}")
    return folder / name


def _fetch() -> str:
    """Unpack the package. Returns why it cannot be had."""
    apt = shutil.which("apt-get")
    if apt is None or shutil.which("dpkg-deb") is None:
        return f"this is no Debian, and {PACKAGE} is not installed"
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as draft:
        fetched = _run(draft, apt, "download", PACKAGE)
        if fetched and not _run(draft, apt, "update"):
            fetched = _run(draft, apt, "download", PACKAGE)
        if fetched:
            return f"apt-get download {PACKAGE} failed: {fetched}"
        (archive,) = Path(draft).glob("*.deb")
        failed = _run(draft, "dpkg-deb", "-x", archive.name, "unpacked")
        if failed:
            return f"{archive.name} cannot be unpacked: {failed}"
        unpacked = Path(draft) / "unpacked"
        for file in (unpacked / "usr" / "bin").iterdir():
            place = f"/{SHARED}".encode()
            changed = unpacked / SHARED / file.name
            changed.write_bytes(file.read_bytes().replace(place, (b"./" * len(place))[: len(place)]))
            changed.chmod(0o755)
        unpacked.rename(CACHE)  # whole or not at all
    return ""


def _run(folder: str, *command: str) -> str:
    """What went wrong; empty when nothing did."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["without a word"])[-1]


@dataclass
class Alertmanager:
    """A server of the test's own."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, again if it was killed, and wait until it answers."""
        config = self.folder / "alertmanager.yml"
        if not config.exists():
            config.write_text(CONFIG)
        with (self.folder / "alertmanager.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    program(PACKAGE), f"--config.file={config}", f"--storage.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=",
                    *self.options,
                ],
                cwd=program(PACKAGE).parent, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=dies_with_parent(),
            )  # fmt: skip
        wait_until(self._is_ready, START_S, lambda: (self.folder / "alertmanager.log").read_text())

    def kill(self) -> None:
        """kill -9: what it knows of alerts is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def alerts(self) -> list[dict[str, Any]]:
        """What is firing, as `GET /api/v2/alerts` tells it."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def subjects(self) -> list[str]:
        """Of what is firing."""
        return sorted(alert["labels"]["subject"] for alert in self.alerts())

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "alertmanager.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
                return True
        except urllib.error.HTTPError as error:
            return error.code == 401  # it asks who wants to know
        except OSError:
            return False


@contextlib.contextmanager
def alertmanager(folder: Path, *options: str) -> Iterator[Alertmanager]:
    """One that runs for a block; a kill in between is allowed."""
    program(PACKAGE)
    server = Alertmanager(folder, free_port(), options)
    folder.mkdir(exist_ok=True)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill()
