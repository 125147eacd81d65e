"""Alerts: from a sample in Kafka to the alert on the topic, and what looking at all rules costs."""

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from compose.broker import create_topics
from compose.client import connect
from compose.migrate import migrate
from schemas.config import Config
from schemas.economics import Burn, UnitCost, UnitCosts
from schemas.money import NANO
from schemas.usage import DeviceCondition, Heard, ShardHeard
from streams.alert_book import MOST, AlertBook
from streams.alerting import Rules
from tests.faults.watched import Fabric, watched, worker
from tests.kafka import artifacts
from tests.kafka.cluster import Cluster
from tests.roles import running

CLUSTERS = 50
AGREEMENTS = 500
NODES = 25
"""Of a cluster: 8 devices each, 10,000 in all."""
MODELS = 6
MINUTE_MS = 60_000
BEGUN_MS = 1_790_000_040_000
MINUTES = 68
ROUNDS = 100
LIVE_CLUSTERS = 10
LIVE_S = 60.0


def main(console: Console, folder: Path) -> None:
    """Measure both."""
    table = Table(box=box.SIMPLE_HEAD, title="Alerts", title_justify="left")
    for name in ("what", "size", "p50", "p99", "goal"):
        table.add_column(name, justify="left" if name in ("what", "size") else "right")
    for name, broker in _brokers(folder):
        with broker as kafka:
            own = folder / name.replace(" ", "-").lower()
            own.mkdir()
            seconds = asyncio.run(_live(kafka, own))
        what = f"sample taken to alert on the topic, {name}"
        table.add_row(what, f"{len(seconds)} alerts, one by one", *_percentiles(seconds, "s"), "1 s")
    rules_s, book_s = _looked_at()
    size = f"{CLUSTERS * NODES * 8:,} devices, {AGREEMENTS} agreements, {CLUSTERS} clusters"
    table.add_row("looking at every rule", size, *_percentiles(rules_s, "ms"), "")
    table.add_row("life of the alerts", "1,500 conditions, all open", *_percentiles(book_s, "ms"), "")
    console.print(table)


def _percentiles(seconds: list[float], unit: str) -> tuple[str, str]:
    several = statistics.quantiles(seconds, n=100)
    scale = 1000 if unit == "ms" else 1
    return f"{several[49] * scale:.2f} {unit}", f"{several[98] * scale:.2f} {unit}"


# ---- end to end ------------------------------------------------------------------------------------------------------


def _brokers(folder: Path) -> Iterator[tuple[str, contextlib.AbstractContextManager[str]]]:
    """The embedded broker, and Apache Kafka where one can run."""
    yield "embedded broker", _embedded(folder)
    if artifacts.missing() is None:
        yield "Apache Kafka", _kafka(folder)


@contextlib.contextmanager
def _embedded(folder: Path) -> Iterator[str]:
    with running("compose.broker", "--port", "0", log=folder / "alerts-broker.log") as broker:
        yield broker.url


@contextlib.contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    with Cluster(folder / "alerts-kafka", 1) as cluster:
        asyncio.run(create_topics(cluster.url, replication_factor=1))
        yield cluster.url


async def _live(kafka: str, folder: Path) -> list[float]:
    """Nodes overheat one by one; seconds until each alert is heard on the topic."""
    with running("compose.clickhouse", "--data", str(folder / "book"), "--port", "0", log=folder / "book.log") as book:
        migrate(connect(book.url, database=None))
        names = [f"c{number}" for number in range(LIVE_CLUSTERS)]
        more = "".join(f'[[cluster]]\nid = "{name}"\ncountry = "CA"\n' for name in names)
        async with watched(kafka, devices=8 * MOST) as (fabric, ear):
            with worker(kafka, book.url, folder, more=more) as process:
                await process.partitions()
                fabrics = {name: Fabric(fabric.producer, fabric.devices, name) for name in names}
                for _ in range(6):
                    for one in fabrics.values():
                        await one.send()
                    await asyncio.sleep(0.5)
                chance = random.Random(1)
                taken_ms: dict[str, int] = {}
                for node in range(MOST):
                    for name, one in fabrics.items():
                        taken_ms[f"{name}/n{node}"] = await one.send(hot=range(node + 1))
                        await asyncio.sleep(chance.uniform(0.1, 0.5))
                await ear.until(lambda: len(ear.heard) >= len(taken_ms), LIVE_S)
                assert process.stop() == 0
    return [(heard_ms - taken_ms[alert.subject]) / 1000 for heard_ms, alert in ear.heard]


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def _looked_at() -> tuple[list[float], list[float]]:
    """Seconds for the rules, and for the alerts, once a second, while messages of every cluster come in."""
    target = {"kind": "dcgm-exporter", "urls": ["http://127.0.0.1:1/metrics"]}
    clusters = [
        {"id": f"c{number}", "country": "CA", "power_cap_kw": 500, "target": [target]} for number in range(CLUSTERS)
    ]
    begun_ms = BEGUN_MS + MINUTES * MINUTE_MS
    rules, book = Rules(Config.model_validate({"cluster": clusters}), begun_ms), AlertBook()
    for message in _past():
        rules.saw(message)
    rules_s, book_s = [], []
    for second in range(ROUNDS + 1):
        now_ms = begun_ms + second * 1000
        for number in range(CLUSTERS):
            rules.saw(_heard(number, now_ms))
            rules.saw(_costs(number, MINUTES - 1, second))
        begin = time.perf_counter()
        conditions = rules.conditions(now_ms)
        looked = time.perf_counter()
        book.update(conditions, now_ms)
        if second:  # the first adds up the hour, and opens every alert
            rules_s.append(looked - begin)
            book_s.append(time.perf_counter() - looked)
    return rules_s, book_s


def _past() -> Iterator[UnitCosts | Burn]:
    for minute in range(MINUTES):
        for number in range(CLUSTERS):
            yield _costs(number, minute, 0)
    for number in range(AGREEMENTS):
        yield Burn(
            programme="p", agreement=f"a{number}", minute_ms=BEGUN_MS, ts_ms=BEGUN_MS + MINUTES * MINUTE_MS,
            spent_nano=85 * NANO, accrued_nano=85 * NANO, cap_nano=100 * NANO, rate_nano_per_hour=NANO,
            rate_1h_nano_per_hour=NANO, rate_6h_nano_per_hour=2 * NANO, rate_3d_nano_per_hour=2 * NANO,
            sustainable_nano_per_hour=NANO, runway_hours=3.0, currency="CAD",
        )  # fmt: skip


def _costs(cluster: int, minute: int, version: int) -> UnitCosts:
    each = AGREEMENTS // CLUSTERS
    at_ms = BEGUN_MS + minute * MINUTE_MS
    lines = [
        UnitCost(
            model=f"m{number % MODELS}", agreement=f"a{cluster * each + number}", programme="p",
            gpu_ns=NODES * 8 * 60 * NANO // each, busy_ns=NODES * 8 * 30 * NANO // each, energy_mj=10**8,
            cost_nano=NANO // 20, usage_cost_nano=0, prompt_tokens=10**6, cached_tokens=0, generation_tokens=10**5,
            subsidy_nano=0, charge_nano=0, currency="CAD",
        )
        for number in range(each)
    ]  # fmt: skip
    return UnitCosts(
        cluster=f"c{cluster}", minute_ms=at_ms, version=version, ts_start_ms=at_ms, ts_end_ms=at_ms + MINUTE_MS,
        lines=lines,
    )  # fmt: skip


def _heard(cluster: int, now_ms: int) -> Heard:
    hot = [
        DeviceCondition(
            kind="hot", node=f"n{node}", agreement="", devices=8, gpus=8, value=90, evidence=[f"{now_ms}: 90 °C"]
        )
        for node in range(MOST)
    ]
    one = ShardHeard(
        shard=f"c{cluster}/c/0", boot="b", since_ms=BEGUN_MS, heard_ms=now_ms, ts_ms=now_ms - 500, conditions=hot
    )
    return Heard(cluster=f"c{cluster}", shards=[one])
