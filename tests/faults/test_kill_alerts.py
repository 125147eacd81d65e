"""kill -9 of the worker while an alert is pending, fires or ends: it is neither lost nor told twice."""

import asyncio
import time
from pathlib import Path

from clickhouse_connect.driver.client import Client

from schemas.topics import Defect
from tests.conftest import ClickHouse
from tests.faults import gate
from tests.faults.watched import Ear, Fabric, stored, watched, worker
from tests.faults.work import Worker, until

HASTY = "tests.faults.hasty"
HOT = ("over_temperature", "fir/n1")


def consistent(client: Client, ear: Ear) -> bool:
    """Every row of the table was published, and nothing else; of each start at most one firing and one resolved."""
    rows = client.query(
        "SELECT fingerprint, toUnixTimestamp64Milli(starts_at), state FROM alerts FINAL ORDER BY ALL"
    ).result_rows
    told = sorted((alert.fingerprint, alert.starts_at_ms, alert.state) for alert in ear.told())
    return told == [tuple(row) for row in rows]


async def keep_hot(fabric: Fabric, hot: bool = True) -> None:
    """Scrape after scrape of a node that is too hot, or of one that is not."""
    while True:
        await fabric.send(hot=[1] if hot else [])
        await asyncio.sleep(0.3)


async def test_killed_while_an_alert_fires_and_while_it_ends(
    broker: str, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """The first worker dies when the alert is stored and not published; the next tells it, once. That one dies when its
    end is about to be stored; the third tells the end, once."""
    with gate.before(clickhouse.url) as passage:
        async with watched(broker, devices=16) as (fabric, ear):
            heating = asyncio.create_task(keep_hot(fabric))
            with worker(broker, passage.url, tmp_path, HASTY) as first:
                await asyncio.to_thread(passage.trap, "alerts", first.kill, stored=True)
            assert ear.heard == []
            assert stored(clickhouse.client) == [(*HOT, "firing")]
            with worker(broker, passage.url, tmp_path, HASTY) as second:
                await ear.until(lambda: ear.matters() == [(*HOT, "firing")])
                heating.cancel()
                cooling = asyncio.create_task(keep_hot(fabric, hot=False))
                await asyncio.to_thread(passage.trap, "alerts", second.kill, stored=False)
            assert stored(clickhouse.client) == ear.matters() == [(*HOT, "firing")]
            with worker(broker, passage.url, tmp_path, HASTY) as third:
                await ear.until(lambda: len(ear.matters()) > 1, within_s=90)
                await until(lambda: consistent(clickhouse.client, ear))
                assert third.stop() == 0
            cooling.cancel()
    assert stored(clickhouse.client) == ear.matters() == [(*HOT, "firing"), (*HOT, "resolved")]


async def test_killed_while_alerts_are_pending_and_open(broker: str, clickhouse: ClickHouse, tmp_path: Path) -> None:
    """An exporter is down for too short a time to be told when the worker dies: its collector does not say it again,
    and yet the next worker tells it, once. What was open is open still, and told to nobody who knows it."""
    async with watched(broker, devices=16) as (fabric, ear):
        heating = asyncio.create_task(keep_hot(fabric))
        with worker(broker, clickhouse.url, tmp_path, HASTY) as first:
            await ear.until(lambda: ear.matters() == [(*HOT, "firing")])
            down = Defect(
                ts_ms=time.time_ns() // 1_000_000, source="dcgm-exporter http://n1:9400/metrics", kind="target_down"
            )
            await fabric.send(hot=[1], defects=[down])
            await until(lambda: rows_of(clickhouse.client, "data_quality") > 0)
            first.kill()
        assert ear.matters() == [(*HOT, "firing")]
        exporter = ("exporter_silent", f"fir/{down.source}", "firing")
        with worker(broker, clickhouse.url, tmp_path, HASTY) as second:
            await ear.until(lambda: exporter in ear.matters())
            await second_look(ear, second)
        heating.cancel()
    assert ear.matters() == [(*HOT, "firing"), exporter]
    assert consistent(clickhouse.client, ear)


async def second_look(ear: Ear, running: Worker, for_s: float = 3.0) -> None:
    """For a while nothing new is told, and the worker lives."""
    before = ear.matters()
    await asyncio.sleep(for_s)
    assert ear.matters() == before
    assert running.process.poll() is None


def rows_of(client: Client, table: str) -> int:
    """How many rows a table has."""
    count: int = client.query(f"SELECT count() FROM {table}").result_rows[0][0]
    return count
