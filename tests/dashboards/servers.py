"""Embedded ClickHouse for dashboard tests: a process of its own, filled with the seeded ledger."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect

from tests.dashboards import seed

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "schemas" / "migrations"
START_S = 60.0


@dataclass(frozen=True)
class ClickHouse:
    url: str
    client: Any
    """clickhouse-connect as the owner of database commonwatt."""
    analyst: Any
    """clickhouse-connect as the read-only user, whom the page uses."""
    ledger: seed.Ledger | None


@contextlib.contextmanager
def process(arguments: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of the product, ended by SIGTERM; its exit status must then be 0."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            try:
                status = child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                raise
    assert status == 0, f"{arguments[0]} ended with {status}: {log.read_text()[-2000:]}"


def address(child: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a server says it listens on."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and child.poll() is None:
        if found := re.search(r"listening on (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def clickhouse(folder: Path, *, seeded: bool) -> Iterator[ClickHouse]:
    """A fresh embedded ClickHouse with all tables, seeded or empty."""
    log = folder / "clickhouse.log"
    with process(["compose.clickhouse", "--data", str(folder / "data"), "--port", "0"], log) as child:
        url = address(child, log)
        admin = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)
        admin.command("CREATE DATABASE IF NOT EXISTS commonwatt")
        client = clickhouse_connect.get_client(dsn=url, database="commonwatt", autogenerate_session_id=False)
        for path in sorted(MIGRATIONS.glob("*.sql")):
            for statement in path.read_text(encoding="utf-8").split(";\n"):
                if statement.strip():
                    client.command(statement)
        ledger = None
        if seeded:
            ledger = seed.build(seed.demo_now())
            seed.insert(client, ledger)
        analyst = clickhouse_connect.get_client(
            dsn=url, username="analyst", database="commonwatt", autogenerate_session_id=False
        )
        try:
            yield ClickHouse(url, client, analyst, ledger)
        finally:
            for one in (admin, client, analyst):
                one.close()
