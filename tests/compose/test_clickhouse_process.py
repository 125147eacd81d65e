"""The process around the engine: what survives kill -9, how it ends, and what it says when it cannot start."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.compose.http import ask
from tests.roles import ROOT, Running, start, wait_gone

ROWS = 1000  # of one insert


def launch(data: Path) -> Running:
    return start("compose.clickhouse", "--data", str(data), "--port", "0", log=data.parent / "log")


def attempt(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compose.clickhouse", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def insert_until_dead(url: str, first: int) -> int:
    """Insert numbered batches one after the other; the number of the first that was not acknowledged."""
    number = first
    while True:
        try:
            answer = ask(url, f"{number}\n" * ROWS, query="INSERT INTO t FORMAT CSV")
        except (OSError, http.client.HTTPException):
            return number
        assert answer.status == 200, answer.text
        number += 1


def test_acknowledged_inserts_survive_kill(tmp_path: Path) -> None:
    """kill -9 while inserts run, again and again: each acknowledged one is there, and each is whole or not there."""
    reached = 0
    for round_ in range(4):
        role = launch(tmp_path / "data")
        ask(role.url, "CREATE TABLE IF NOT EXISTS t (n UInt32) ENGINE = MergeTree ORDER BY n")
        stored = ask(role.url, "SELECT n, count() FROM t GROUP BY n ORDER BY n").text.split()
        numbers = [int(word) for word in stored[::2]]
        assert numbers in (list(range(reached)), list(range(reached + 1)))  # the last one was perhaps not answered
        assert set(stored[1::2]) <= {str(ROWS)}
        killer = threading.Timer(0.3 + 0.1 * round_, role.process.kill)
        killer.start()
        reached = insert_until_dead(role.url, len(numbers))
        killer.join()
        role.process.wait(10)
    assert reached > 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    """A signal: what has begun is answered, then exit 0, no complaint, and the data opens again."""
    role = launch(tmp_path / "data")
    answers: list[str] = []
    slow = "SELECT sleep(1) + 7"
    reader = threading.Thread(target=lambda: answers.append(ask(role.url, slow).text))
    reader.start()
    time.sleep(0.5)
    role.process.send_signal(number)
    assert role.process.wait(20) == 0
    reader.join()
    assert answers == ["7\n"]
    assert role.log.read_text() == f"listening on {role.url}\n"
    again = launch(tmp_path / "data")
    assert ask(again.url, "SELECT 1").text == "1\n"
    assert again.stop() == 0


def test_an_endless_query_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """After five seconds it is ended, and its client is told."""
    role = launch(tmp_path / "data")

    endless = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"
    codes: list[str] = []
    reader = threading.Thread(
        target=lambda: codes.append(ask(role.url, endless).headers["X-ClickHouse-Exception-Code"])
    )
    reader.start()
    time.sleep(0.5)
    begin = time.monotonic()
    assert role.stop() == 0
    assert time.monotonic() - begin < 9
    reader.join()
    assert codes == ["394"]


def test_data_in_use(tmp_path: Path) -> None:
    """A second process on the same data is told who has it, and the first one goes on."""
    role = launch(tmp_path / "data")
    second = attempt("--data", str(tmp_path / "data"), "--port", "0")
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"clickhouse: The data in {tmp_path / 'data'} is in use by process {role.process.pid}: "
        "stop it, or choose another folder.\n"
    )
    assert ask(role.url, "SELECT 1").text == "1\n"
    role.kill()
    again = launch(tmp_path / "data")
    assert again.stop() == 0
    wait_gone([role.process.pid])


def test_port_in_use(tmp_path: Path) -> None:
    """One sentence, and no data folder is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = attempt("--data", str(tmp_path / "data"), "--port", str(port))
    expected = f"clickhouse: Port {port} on 127.0.0.1 cannot be used (Address already in use): choose another port.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", expected)
    assert not (tmp_path / "data").exists()


def test_open_to_others_only_with_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listening beyond this machine without passwords is refused, with the remedy."""
    monkeypatch.delenv("COMMONWATT_CLICKHOUSE_PASSWORD", raising=False)
    monkeypatch.delenv("COMMONWATT_ANALYST_PASSWORD", raising=False)
    ended = attempt("--data", str(tmp_path / "data"), "--host", "0.0.0.0", "--port", "0")
    assert ended.returncode == 1
    assert ended.stderr == (
        "clickhouse: 0.0.0.0 is open to other machines: set COMMONWATT_CLICKHOUSE_PASSWORD and "
        "COMMONWATT_ANALYST_PASSWORD first, or listen on 127.0.0.1.\n"
    )


def test_listens_on_this_machine_only(tmp_path: Path) -> None:
    """By default nothing is reachable from outside."""
    role = launch(tmp_path / "data")
    assert role.url.startswith("http://127.0.0.1:")
    port = int(role.url.rpartition(":")[2])
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0
    assert role.stop() == 0


def test_odd_folder_names(tmp_path: Path) -> None:
    """A name with signs that mean something to the engine is only a name."""
    data = tmp_path / "a b?mode=ro&x#é"
    role = launch(data)
    assert ask(role.url, "CREATE DATABASE d").status == 200
    assert ask(role.url, "CREATE TABLE d.t (x Int32) ENGINE = MergeTree ORDER BY x").status == 200
    assert role.stop() == 0
    assert (data / "store").is_dir()


def test_limits(tmp_path: Path) -> None:
    """Memory and bodies are bounded: the request fails with a clear error and the server goes on."""
    role = launch(tmp_path / "data")
    limits = "SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'"
    assert ask(role.url, limits).text == f"{4 << 30}\n"
    assert ask(role.url, "SELECT getSetting('max_memory_usage')").text == f"{3 << 30}\n"
    text = b"SELECT 1" + b" " * (257 << 20)
    packed = subprocess.run(["gzip", "-1"], input=text, capture_output=True, check=True).stdout
    for body, headers in ((text, {}), (packed, {"Content-Encoding": "gzip"})):
        answer = ask(role.url, body, headers=headers)
        assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (413, "229")
        assert "larger than 256 MiB; send it in several requests" in answer.text
    assert ask(role.url, "SELECT 1").text == "1\n"
    assert role.stop() == 0
