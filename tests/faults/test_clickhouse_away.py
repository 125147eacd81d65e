"""A ClickHouse that is killed, or whose disk is full, under a working worker: it waits, goes on where it was, and
nothing is lost or double."""

import asyncio
import contextlib
import functools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from compose import client as clients
from compose import migrate
from compose.broker import free_port
from compose.clickhouse.settings import MIB, Limits
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS
from tests.faults.traffic import messages
from tests.faults.work import Book, Site, until
from tests.prometheus import Page, fetch
from tests.roles import running

BACKLOG = 120
AWAY_S = 1.0
RESERVE_BYTES = Limits().reserve_bytes
MOST_HELD = 3 * 64  # messages of an agent: a full queue, and a batch computed beside one that is stored


async def test_the_ledger_is_that_of_an_undisturbed_run(undisturbed: Book, broker: str, tmp_path: Path) -> None:
    """Killed twice while messages come in: right after it has stored the first rows, and again later."""
    port, traffic = free_port(), messages()
    arguments = ("--data", str(tmp_path / "data"), "--port", str(port))
    serve = functools.partial(running, "compose.clickhouse", *arguments, log=tmp_path / "clickhouse.log")
    url = f"http://127.0.0.1:{port}"
    with serve() as server:
        migrate.migrate(clients.connect(url, database=None))
        site = Site(broker, url, clients.connect(url), tmp_path)
        await site.feed(traffic[:BACKLOG])
        with site.worker() as worker:
            live = asyncio.create_task(site.feed(traffic[BACKLOG:], pause_s=0.05))
            await site.written()
            server.kill()
            await asyncio.sleep(AWAY_S)
            with serve() as server:
                await site.written()
                server.kill()
                await asyncio.sleep(AWAY_S)
                with serve():
                    await live
                    await site.caught_up(worker)
                    assert worker.stop() == 0
                    assert "ClickHouse does not take the call" in worker.log.read_text()
                    site.assert_same(undisturbed)


@dataclass(frozen=True)
class Disk:
    """A disk that can be filled."""

    folder: Path
    mounted: bool

    def fill(self, client: Client) -> None:
        """Leave less than ClickHouse keeps free."""
        if self.mounted:
            with (self.folder / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, os.statvfs(self.folder).f_bavail * 4096 - RESERVE_BYTES + 32 * MIB)
        else:
            self._set(client, "MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000")

    def empty(self, client: Client) -> None:
        if self.mounted:
            (self.folder / "filler").unlink()
        else:
            self._set(client, "RESET SETTING min_free_disk_bytes_to_perform_insert")

    def _set(self, client: Client, change: str) -> None:
        tables = "SELECT name FROM system.tables WHERE database = 'commonwatt' AND engine LIKE '%MergeTree'"
        for (table,) in client.query(tables).result_rows:
            client.command(f"ALTER TABLE `{table}` {change}")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A file system of its own, little larger than what ClickHouse keeps free. Where none can be mounted, the folder on
    a disk that ClickHouse is told to be full."""
    folder.mkdir()
    size = f"size={RESERVE_BYTES + 64 * MIB}"
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    try:
        yield Disk(folder, mount.returncode == 0)
    finally:
        if mount.returncode == 0:
            subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_loses_nothing(undisturbed: Book, broker: str, tmp_path: Path) -> None:
    """ClickHouse refuses rows before its disk is full and says so; the worker holds what it has, a bounded number of
    messages, and acknowledges nothing; when there is room it goes on by itself. Its metrics say all of that, and in the
    end exactly what it did."""
    traffic = messages()
    metrics = {
        role: f"http://127.0.0.1:{port}/metrics" for role, port in (("worker", free_port()), ("book", free_port()))
    }
    ports = {role: url.split(":")[2].split("/")[0] for role, url in metrics.items()}
    with small_disk(tmp_path / "disk") as disk:
        arguments = ("clickhouse", "--data", str(disk.folder / "data"), "--port", "0", "--metrics", ports["book"])
        with running("compose", *arguments, log=tmp_path / "clickhouse.log") as server:
            migrate.migrate(clients.connect(server.url, database=None))
            site = Site(broker, server.url, clients.connect(server.url), tmp_path)
            await site.feed(traffic[:BACKLOG])
            with site.worker("worker", "--metrics", ports["worker"]) as worker:
                await site.written()
                disk.fill(site.client)
                await site.feed(traffic[BACKLOG:])
                await until(lambda: "NOT_ENOUGH_SPACE" in worker.log.read_text())
                await asyncio.sleep(AWAY_S)
                stored, waiting = site.book(), fetch(metrics["worker"])
                await asyncio.sleep(AWAY_S)
                assert site.book() == stored != undisturbed
                assert_waits(waiting, fetch(metrics["worker"]))
                assert_full(fetch(metrics["book"]), worker.log.read_text(), disk)
                disk.empty(site.client)
                await site.caught_up(worker)
                assert_told(fetch(metrics["worker"]), site)
                assert worker.stop() == 0
            site.assert_same(undisturbed)


def assert_waits(before: Page, after: Page) -> None:
    """Held messages are bounded and none is acknowledged, while their age grows."""
    acknowledged = "commonwatt_acknowledged_messages_total"
    assert after.samples[acknowledged] == before.samples[acknowledged]
    assert after.value("commonwatt_clickhouse_waiting_calls") >= 1
    assert after.value("commonwatt_clickhouse_retries_total") > before.value("commonwatt_clickhouse_retries_total")
    assert 0 < after.value("commonwatt_held_messages", agent="meter") <= MOST_HELD
    oldest = [page.value("commonwatt_held_oldest_seconds", agent="meter") for page in (before, after)]
    assert oldest[1] >= oldest[0] + AWAY_S > AWAY_S
    assert after.value("commonwatt_lag_seconds", topic=TELEMETRY_GPU) > AWAY_S
    assert after.value("commonwatt_lag_messages", topic=TELEMETRY_GPU) > 0


def assert_full(page: Page, log: str, disk: Disk) -> None:
    """The reason stands in the log with its remedy; ClickHouse counts what it refused, and shows how much is free."""
    assert page.value("commonwatt_clickhouse_errors_total", code="243") > 1
    assert page.value("commonwatt_clickhouse_disk_reserve_bytes") == RESERVE_BYTES
    if disk.mounted:
        assert f"are free on the disk of {disk.folder / 'data'}; rows are taken again from 256 MiB on: make room" in log
        assert 0 < page.value("commonwatt_clickhouse_disk_free_bytes") < RESERVE_BYTES


def assert_told(page: Page, site: Site) -> None:
    """Once everything is stored: figures that equal what was sent and what is in the book."""

    def count(table: str) -> int:
        return int(site.client.query(f"SELECT count() FROM {table}").result_rows[0][0])

    sent = messages()
    acknowledged = page.by("commonwatt_acknowledged_messages_total", "agent")
    for agent, topic in (("meter", TELEMETRY_GPU), ("tokens", TELEMETRY_TOKENS)):
        assert acknowledged[agent] == sum(message.topic == topic for message in sent)
    rows = page.by("commonwatt_rows_total", "table")
    assert rows["gpu_samples_store"] == count("gpu_samples_store")
    assert page.value("commonwatt_samples_total", agent="meter") >= rows["gpu_samples_store"]
    quarantined = page.by("commonwatt_quarantined_messages_total", "topic")
    assert sum(quarantined.values()) == count("quarantine")
    for name in ("commonwatt_held_messages", "commonwatt_held_oldest_seconds"):
        assert set(page.by(name, "agent").values()) == {0}
    assert set(page.by("commonwatt_lag_seconds", "topic").values()) == {0}
    assert page.value("commonwatt_clickhouse_waiting_calls") == 0
    assert page.value("commonwatt_rebalances_total") == 1
