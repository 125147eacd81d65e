"""Apache Kafka's own jars, fetched once from Maven Central by `mvn` and kept outside the tree.

Which release is said in pom.xml, exactly. From which mirror is the business of the machine's own Maven settings.
"""

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.roles import ROOT

POM = Path(__file__).with_name("pom.xml")
OLDEST_JAVA = 17
FETCH_S = 900.0

_VERSION = re.search(r"<kafka\.version>(.+)</kafka\.version>", POM.read_text())
assert _VERSION is not None
VERSION = _VERSION[1]


class Unavailable(Exception):
    """Apache Kafka cannot run here. `str()` is the whole reason."""


def missing() -> str | None:
    """Why Apache Kafka cannot run on this machine; None when it can. Fetches it when it is not there yet."""
    try:
        java()
        libraries()
    except Unavailable as reason:
        return str(reason)
    return None


def required() -> bool:
    """Whether it is a failure to leave real Kafka out: `COMMONWATT_REQUIRE_KAFKA=1`."""
    return os.environ.get("COMMONWATT_REQUIRE_KAFKA") == "1"


def home() -> Path:
    """Where everything of this release is kept: `$XDG_CACHE_HOME/commonwatt/kafka-<version>`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "commonwatt" / f"kafka-{VERSION}"


@functools.cache
def libraries() -> Path:
    """The folder of the jars; fetches them the first time. Raises Unavailable."""
    folder = home() / "lib"
    with alone("lib"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=home(), prefix="fetching-") as draft:
                _fetch(Path(draft) / "lib")
                (Path(draft) / "lib").rename(folder)  # whole or not at all
    return folder


@functools.cache
def java() -> tuple[str, str]:
    """The program `java`, and a short name of its exact build. Raises Unavailable when it is not there, or too old."""
    at_home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{at_home}/bin" if at_home else None)
    if program is None:
        raise Unavailable(f"Java {OLDEST_JAVA} or newer is not installed")
    says = subprocess.run([program, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', says.stderr)
    if version is None or int(version[1]) < OLDEST_JAVA:
        found = version[1] if version else "of an unknown version"
        raise Unavailable(f"Java {OLDEST_JAVA} or newer is needed, and {program} is Java {found}")
    return program, hashlib.sha256(says.stderr.encode()).hexdigest()[:12]


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Only one process at a time does this for this release. Raises Unavailable when the cache cannot be written."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        lock = (home() / f"{name}.lock").open("w")
    except OSError as error:
        raise Unavailable(f"the cache folder {home()} cannot be written ({error.strerror})") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def tell(text: str) -> None:
    """One line about something that takes a while."""
    print(text, file=sys.stderr, flush=True)


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("Maven (mvn) is not installed, and Apache Kafka has not been fetched before")
    tell(f"fetching Apache Kafka {VERSION} (about 44 MB) from Maven Central into {home()}, once …")
    command = [maven, "-B", "-q", "-Dstyle.color=never", "-f", str(POM), "dependency:copy-dependencies"]
    try:
        done = subprocess.run(
            [*command, f"-DoutputDirectory={folder}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FETCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Maven Central did not deliver Apache Kafka {VERSION} within {FETCH_S:g} s") from None
    if done.returncode:
        errors = [line.removeprefix("[ERROR] ") for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        reason = errors[0] if errors else f"mvn ended with {done.returncode}"
        raise Unavailable(f"Maven Central does not deliver Apache Kafka {VERSION} ({reason})")
