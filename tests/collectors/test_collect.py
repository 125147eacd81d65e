"""The whole collector: real exporters over HTTP, a real broker, and what a worker then finds on the topics."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from collectors.collect import Collector
from collectors.shard import Ticks
from collectors.spool import opened
from schemas import config_file
from schemas.arrow import decode
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS, Envelope
from tests.collectors.exporters import gpu_page, refused, says, serving, slow

VLLM = 'process_start_time_seconds 1.7e9\nvllm:prompt_tokens_total{engine="0",model_name="m"} 5\n'


def moment(row: dict[str, object]) -> datetime:
    """When the sample was taken."""
    ts = row["ts"]
    assert isinstance(ts, datetime)
    return ts


@dataclass
class Topics:
    """Everything received so far, in order, by shard."""

    envelopes: dict[str, list[Envelope]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[dict[str, object]]] = field(default_factory=lambda: defaultdict(list))
    latency_ms: list[int] = field(default_factory=list)

    def defects(self, shard: str) -> list[tuple[str, str]]:
        return [(d.kind, d.source) for envelope in self.envelopes[shard] for d in envelope.defects]


@contextlib.asynccontextmanager
async def listening(kafka: str) -> AsyncIterator[Topics]:
    """Reads both telemetry topics while the block runs, and all that is left of them at its end."""
    consumer = AIOKafkaConsumer(
        TELEMETRY_GPU,
        TELEMETRY_TOKENS,
        bootstrap_servers=kafka.removeprefix("kafka://"),
        auto_offset_reset="earliest",
    )
    topics = Topics()

    async def read(timeout_ms: int) -> int:
        found = [m for messages in (await consumer.getmany(timeout_ms=timeout_ms)).values() for m in messages]
        for message in found:
            envelope = Envelope.parse(message.headers)
            shard = message.key.decode()
            topics.envelopes[shard].append(envelope)
            rows = decode(message.value, envelope.schema, envelope.content_type).to_pylist()
            topics.rows[shard] += rows
            now_ms = time.time() * 1000
            topics.latency_ms += [int(now_ms - row["ts"].timestamp() * 1000) for row in rows]
        return len(found)

    async def follow() -> None:
        while True:
            await read(50)

    await consumer.start()
    follower = asyncio.create_task(follow())
    try:
        yield topics
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        while await read(300):
            pass
    finally:
        follower.cancel()
        await consumer.stop()


@contextlib.asynccontextmanager
async def collecting(
    toml: str, folder: Path, kafka: str, wall: Callable[[], float] = time.time
) -> AsyncIterator[Collector]:
    """A collector that runs while the block does, and then stops as it does on SIGTERM."""
    path = folder / "commonwatt.toml"
    path.write_text(toml)
    stop = asyncio.Event()
    with opened(folder / "spool") as spool:
        collector = Collector(config_file.load(path), kafka, "c1", spool, wall=wall)
        running = asyncio.create_task(collector.run(stop))
        try:
            yield collector
        finally:
            stop.set()
            await running


def target(kind: str, *urls: str, interval: str = "300ms", extra: str = "") -> str:
    listed = ", ".join(f'"{url}"' for url in urls)
    return f'[[cluster.target]]\nkind = "{kind}"\nurls = [{listed}]\ninterval = "{interval}"\n{extra}\n'


CLUSTER = '[[cluster]]\nid = "fir"\ncountry = "CA"\n'


async def test_samples_reach_the_topics_whole(broker: str, tmp_path: Path) -> None:
    """Two nodes, a server and a job exporter: numbered messages per shard, all rows, the account from the first on."""
    job_page = gpu_page(node="n2").replace('Hostname="n2"', 'Hostname="n2",hpc_job="42"')
    asked = 0

    async def jobs(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.15)  # the first tick of the GPUs has to wait for this answer
        return web.Response(text='slurm_job_memory_usage{account="rrg-acme",slurmjobid="42",user="u"} 1\n')

    async with (
        serving(one=says(gpu_page()), two=says(job_page), llm=says(VLLM), jobs=jobs) as address,
        listening(broker) as topics,
    ):
        toml = CLUSTER + target("dcgm-exporter", f"{address}/one", f"{address}/two")
        toml += target("vllm", f"{address}/llm") + target("slurm-job-exporter", f"{address}/jobs")
        async with collecting(toml, tmp_path, broker) as collector:
            await asyncio.sleep(2.0)
    gpus, llm = topics.rows["fir/c1/0"], topics.rows["fir/c1/1"]
    assert set(topics.envelopes) == {"fir/c1/0", "fir/c1/1"}
    for envelopes in topics.envelopes.values():
        assert [envelope.seq for envelope in envelopes] == list(range(1, len(envelopes) + 1))
        assert len({envelope.boot for envelope in envelopes}) == 1
        assert all(envelope.cluster == "fir" and envelope.collector == "c1" for envelope in envelopes)
    assert sum(len(rows) for rows in (gpus, llm)) == collector.statistics.samples
    assert 5 <= len(topics.envelopes["fir/c1/0"]) <= 9
    assert {row["device"] for row in gpus} == {"GPU-n1-0", "GPU-n1-1", "GPU-n2-0", "GPU-n2-1"}
    assert {(row["node"], row["job"], row["account"]) for row in gpus} == {("n1", "", ""), ("n2", "42", "rrg-acme")}
    assert {(row["prompt_tokens"], row["endpoint"]) for row in llm} == {(5, f"{address}/llm".removeprefix("http://"))}
    for device in ("GPU-n1-0", "GPU-n2-1"):
        times = [moment(row) for row in gpus if row["device"] == device]
        assert all(before < after for before, after in pairwise(times))
    assert sorted(topics.latency_ms)[len(topics.latency_ms) * 9 // 10] < 1000
    assert asked >= 4
    assert collector.statistics.spool_messages == 0
    assert collector.statistics.failures == 0


async def test_broken_targets_are_down_within_two_intervals_and_hold_up_nobody(broker: str, tmp_path: Path) -> None:
    """Slow, dead and garbage targets beside a good one: it is sampled at every tick, they are named in time."""
    async with (
        serving(good=says(gpu_page()), slow=slow, garbage=says("<html></html>\n")) as address,
        listening(broker) as topics,
    ):
        dead = refused()
        broken = {dead, f"{address}/slow", f"{address}/garbage"}
        toml = CLUSTER + target("dcgm-exporter", f"{address}/good", *sorted(broken), interval="1s")
        started = time.monotonic()
        async with collecting(toml, tmp_path, broker):
            named: set[str] = set()
            while named != {f"dcgm-exporter {url}" for url in broken}:
                await asyncio.sleep(0.02)
                assert time.monotonic() - started < 3.5
                named = {source for kind, source in topics.defects("fir/c1/0") if kind == "target_down"}
            seconds = time.monotonic() - started
            assert seconds < 2.9  # two intervals, a flush, and what a busy machine adds
            await asyncio.sleep(2.5 - seconds)
    good = [row["ts"] for row in topics.rows["fir/c1/0"] if row["device"] == "GPU-n1-0"]
    assert len(good) >= 3
    assert sorted(topics.latency_ms)[len(topics.latency_ms) // 2] < 1000


async def test_a_shard_that_reads_nothing_still_reports(broker: str, tmp_path: Path) -> None:
    """All targets dead: empty messages at every tick, with the reasons; the collector's life is visible."""
    dead = refused()
    async with listening(broker) as topics, collecting(CLUSTER + target("vllm", dead), tmp_path, broker):
        await asyncio.sleep(1.2)
    envelopes = topics.envelopes["fir/c1/0"]
    assert len(envelopes) >= 3
    assert {envelope.rows for envelope in envelopes} == {0}
    assert {envelope.schema for envelope in envelopes} == {"token-samples/1"}
    assert topics.defects("fir/c1/0") == [
        ("target_unreachable", f"vllm {dead}"),
        ("target_down", f"vllm {dead}"),
    ]


async def test_every_page_that_was_served_is_on_the_topic_after_a_stop(broker: str, tmp_path: Path) -> None:
    """Stopping in the middle of a scrape: the page that the exporter has given out is sent, none is asked for anew."""
    served = 0
    fourth = asyncio.Event()

    async def counting(_: web.Request) -> web.StreamResponse:
        nonlocal served
        served += 1
        if served == 4:
            fourth.set()
        await asyncio.sleep(0.1)
        return web.Response(text=gpu_page(energy_mj=served))

    async with serving(metrics=counting) as address, listening(broker) as topics:
        toml = CLUSTER + target("dcgm-exporter", f"{address}/metrics", interval="200ms")
        async with collecting(toml, tmp_path, broker):
            await fourth.wait()
    assert {row["energy_mj"] for row in topics.rows["fir/c1/0"]} == set(range(1, served + 1))


async def test_stopping_does_not_wait_for_a_slow_target(broker: str, tmp_path: Path) -> None:
    """SIGTERM must not take as long as the slowest timeout."""
    async with serving(slow=slow, good=says(gpu_page())) as address:
        toml = CLUSTER + target("dcgm-exporter", f"{address}/slow", f"{address}/good", interval="20s")
        async with collecting(toml, tmp_path, broker):
            await asyncio.sleep(0.3)
            started = time.monotonic()
        assert time.monotonic() - started < 3


async def test_a_clock_that_is_set_loses_no_sample(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour back and right again, then an hour back for good: every scrape is sent, and the steps are events."""
    monkeypatch.setattr("collectors.clock.CONFIRM_S", 0.8)
    wall = Wall()
    async with serving(good=says(gpu_page())) as address, listening(broker) as topics:
        toml = CLUSTER + target("dcgm-exporter", f"{address}/good", interval="100ms")
        async with collecting(toml, tmp_path, broker, wall=wall) as collector:
            for wall.step_s, seconds in ((0.0, 1.0), (-3600.0, 0.5), (0.0, 0.5), (-3600.0, 1.5)):
                await asyncio.sleep(seconds)
    times = [moment(row) for row in topics.rows["fir/c1/0"] if row["device"] == "GPU-n1-0"]
    assert len(times) == collector.statistics.scrapes >= 20
    steps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert [round(step, -2) for step in steps if step <= 0] == [-3600.0]
    events = [defect for envelope in topics.envelopes["fir/c1/0"] for defect in envelope.defects]
    assert {(event.kind, event.source) for event in events} == {("clock_step", "collector c1")}
    assert [event.subject for event in events] == ["stepped", "undone", "confirmed"]
    assert "set by -3600.0" in events[0].detail


class Wall:
    """The system's clock, set by hand."""

    step_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.step_s


async def test_clusters_and_intervals_have_shards_of_their_own(tmp_path: Path) -> None:
    """A shard is of one cluster, one interval and one topic, at most 512 targets, numbered within its cluster."""
    many = [f"http://10.0.0.1:{port}/metrics" for port in range(1, 601)]
    toml = CLUSTER + target("dcgm-exporter", *many, interval="10s")
    toml += target("amd-device-metrics-exporter", "http://10.0.0.2:5000/metrics", interval="10s")
    toml += target("dcgm-exporter", "http://10.0.0.2:9400/metrics", interval="30s")
    toml += target("vllm", "http://10.0.0.3:8000/metrics", interval="10s")
    toml += CLUSTER.replace("fir", "nibi") + target("dcgm-exporter", "http://10.1.0.2:9400/metrics", interval="10s")
    path = tmp_path / "commonwatt.toml"
    path.write_text(toml)
    with opened(tmp_path / "spool") as spool:
        collector = Collector(config_file.load(path), "kafka://127.0.0.1:1", "c1", spool)
    shards = [planned.shard for planned in collector._shards]
    assert [(s._key, s._interval_s, len(s._targets), s._schema) for s in shards] == [
        ("fir/c1/0", 10, 512, "gpu-samples/1"),
        ("fir/c1/1", 10, 89, "gpu-samples/1"),
        ("fir/c1/2", 30, 1, "gpu-samples/1"),
        ("fir/c1/3", 10, 1, "token-samples/1"),
        ("nibi/c1/0", 10, 1, "gpu-samples/1"),
    ]
    assert len({s._phase_s / s._interval_s for s in shards}) == len(shards)


def test_ticks_are_aligned_and_missed_ones_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiples of the interval plus the phase, by a clock that nobody sets; after a pause no burst of ticks."""
    wall_s, monotonic_s = 1003.0, 50.0
    monkeypatch.setattr("time.time", lambda: wall_s)
    monkeypatch.setattr("time.monotonic", lambda: monotonic_s)
    ticks = Ticks(10.0, 2.0)  # 1002, 1012, 1022 …: now is one second past
    assert ticks.wait_s() == pytest.approx(9.0)
    monotonic_s += 9.0
    wall_s -= 3600.0  # the clock is set back
    assert ticks.wait_s() == pytest.approx(10.0)
    monotonic_s += 10.0 + 35.0  # a laptop was asleep
    assert ticks.wait_s() == pytest.approx(5.0)
    assert Ticks(10.0, 4.0).wait_s() > 2.5  # the first tick was only just now
