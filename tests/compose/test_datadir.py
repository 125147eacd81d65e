"""The data folder: never opened twice, never by another version, never another program's folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compose import datadir
from compose.datadir import DataError, held


def test_new_folder(tmp_path: Path) -> None:
    """A missing folder is created, and can be used again afterwards."""
    for _ in range(2):
        with held(tmp_path / "a" / "b") as data:
            assert (data.path / "FORMAT").read_text() == "1\n"
            assert data.logs.is_dir()


def test_default_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written anywhere else."""
    monkeypatch.chdir(tmp_path)
    with held(None) as data:
        assert data.path == tmp_path / "commonwatt-data"


def test_another_version_is_refused(tmp_path: Path) -> None:
    """With what to do about it, and nothing touched."""
    (tmp_path / "FORMAT").write_text("2\n")
    text = "has format '2' and this version reads format 1: use the version"
    with pytest.raises(DataError, match=text) as error, held(tmp_path):
        pass
    assert str(tmp_path) in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["FORMAT"]
    with pytest.raises(DataError, match="has format '2'"):
        datadir.addresses(tmp_path)


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    """A folder with other things in it, a file, a folder that cannot be written."""
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(DataError, match="neither empty nor a data folder"), held(tmp_path):
        pass
    with pytest.raises(DataError, match="is a file, not a folder"), held(tmp_path / "letter.txt"):
        pass
    with pytest.raises(DataError, match="cannot be used"), held(tmp_path / "letter.txt" / "below"):
        pass
    with pytest.raises(DataError, match="is no data folder"):
        datadir.addresses(tmp_path)


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """The second one is told the first one's process, and does not disturb it."""
    with held(tmp_path) as data:
        data.write_addresses({"clickhouse": "http://127.0.0.1:1"})
        with pytest.raises(DataError, match=f"is in use by process {os.getpid()}: stop it"), held(tmp_path):
            pass
        assert datadir.addresses(tmp_path) == {"clickhouse": "http://127.0.0.1:1"}
    assert datadir.addresses(tmp_path) is None


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """After kill -9 the folder is at rest, whatever its files say."""
    script = (
        "import sys, time; from pathlib import Path; from compose.datadir import held\n"
        "with held(Path(sys.argv[1])) as data:\n"
        "    data.write_addresses({'clickhouse': 'http://127.0.0.1:1'}); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert datadir.addresses(tmp_path) == {"clickhouse": "http://127.0.0.1:1"}
        with pytest.raises(DataError, match=f"process {holder.pid}"), held(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    assert datadir.addresses(tmp_path) is None
    with held(tmp_path):
        pass


def test_full_disk_is_refused(tmp_path: Path) -> None:
    """Before anything is started on it."""
    text = r"Only \d+ MiB are free on the disk of .*: make room"
    with pytest.raises(DataError, match=text), held(tmp_path, min_free_bytes=1 << 60):
        pass
