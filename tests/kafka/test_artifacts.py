"""What is said where no real Kafka can run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka import artifacts
from tests.roles import ROOT


def said(tmp_path: Path, path: Path, **environment: str) -> tuple[int, str]:
    """Exit status and last line of `python -m tests.kafka` with an empty cache and these programs only."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kafka"],
        cwd=ROOT,
        env={"PATH": str(path), "HOME": os.environ["HOME"], "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not done.stderr or done.stderr.startswith("fetching"), done.stderr
    return done.returncode, done.stdout.splitlines()[-1]


def programs(tmp_path: Path, *names: str) -> Path:
    """A folder with only these programs of the machine. Skips where one of them is not there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"without {name}")
        (folder / name).symlink_to(found)
    return folder


def test_without_java(tmp_path: Path) -> None:
    """Left out with the reason; an error where it is required."""
    nothing = programs(tmp_path)
    text = "tests on real Kafka are left out: Java 17 or newer is not installed"
    assert said(tmp_path, nothing) == (0, text)
    assert said(tmp_path, nothing, COMMONWATT_REQUIRE_KAFKA="1") == (1, text)


def test_without_maven(tmp_path: Path) -> None:
    """Nothing was fetched before, and nothing can be fetched."""
    reason = "Maven (mvn) is not installed, and Apache Kafka has not been fetched before"
    assert said(tmp_path, programs(tmp_path, "java"))[1].endswith(reason)


def test_without_a_repository(tmp_path: Path) -> None:
    """What Maven says is passed on; nothing half fetched stays."""
    programs(tmp_path, "java", "mvn")
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text("<settings><offline>true</offline></settings>")
    _, text = said(tmp_path, Path(os.environ["PATH"]), PATH=os.environ["PATH"], MAVEN_OPTS=f"-Duser.home={tmp_path}")
    assert f"Maven Central does not deliver Apache Kafka {artifacts.VERSION} (" in text
    assert [entry.name for entry in (tmp_path / "cache" / "commonwatt" / artifacts.home().name).iterdir()] == [
        "lib.lock"
    ]
