"""Protects what operators are promised: from a sample to one alert on the topic, through real parts, within moments."""

import asyncio
from pathlib import Path

from schemas.topics import Defect
from tests.conftest import ClickHouse
from tests.faults.watched import stored, watched, worker


async def test_a_silent_cluster_of_1000_devices_is_one_alert(
    broker: str, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """All its exporters fail at one moment, and the collector goes on to say so: one alert about the cluster, with the
    money per hour that it concerns; none about 125 nodes, 50 exporters or the coverage."""
    async with watched(broker, devices=1000) as (fabric, ear):
        with worker(broker, clickhouse.url, tmp_path, silent_after="6s") as running:
            while not clickhouse.client.query("SELECT sum(cost) FROM unit_costs").result_rows[0][0]:
                ts_ms = await fabric.send()
                await asyncio.sleep(0.5)
            down = [
                Defect(ts_ms=ts_ms, source=f"dcgm-exporter http://n{number}:9400/metrics", kind="target_down")
                for number in range(50)
            ]
            await fabric.send(away=True, defects=down)

            async def go_on() -> None:
                while True:
                    await fabric.send(away=True)
                    await asyncio.sleep(0.5)

            going = asyncio.create_task(go_on())
            await ear.until(lambda: bool(ear.heard))
            await asyncio.sleep(5)
            going.cancel()
            assert ear.matters() == [("cluster_silent", "fir", "firing")]
            assert stored(clickhouse.client) == ear.matters()
            (alert,) = ear.told()
            assert (alert.cluster, alert.threshold, alert.currency) == ("fir", 6.0, "CAD")
            assert alert.summary.startswith("nothing was metered of fir for ")
            assert alert.summary_fr.startswith("rien n’a été mesuré de fir depuis ")
            assert running.stop() == 0


async def test_an_alert_comes_within_moments(broker: str, clickhouse: ClickHouse, tmp_path: Path) -> None:
    """A node overheats: from its sample to the alert on the topic, and to the row in the table. (The bench measures how
    long it takes; here a busy machine fails nothing.)"""
    async with watched(broker, devices=16) as (fabric, ear):
        with worker(broker, clickhouse.url, tmp_path) as running:
            await running.partitions()
            for _ in range(4):
                await fabric.send()
                await asyncio.sleep(0.5)
            ts_ms = await fabric.send(hot=[1])
            await ear.until(lambda: bool(ear.heard))
            heard_ms, alert = ear.heard[0]
            assert ts_ms <= alert.starts_at_ms <= heard_ms
            assert (alert.rule, alert.subject, alert.value) == ("over_temperature", "fir/n1", 95.0)
            assert alert.summary == "8 devices on fir/n1 are above 85 °C, the hottest at 95 °C"
            assert len(alert.evidence) == 5
            assert stored(clickhouse.client) == ear.matters() == [("over_temperature", "fir/n1", "firing")]
            assert running.stop() == 0
