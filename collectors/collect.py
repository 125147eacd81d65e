"""The collector: reads the targets of the configuration and sends their samples to Kafka until it is told to stop.

For high availability two collectors can read the same targets, both under one name and each with a spool of its own:
their messages then have the same shards, so that one worker sees them side by side, and the meters count once what both
have seen.
"""

import asyncio
import contextlib
import logging
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from collectors.accounts import Accounts
from collectors.batches import GpuBatches, TokenBatches
from collectors.clock import Clock, SteadyClock
from collectors.metrics import shown
from collectors.publisher import Publisher
from collectors.readings import JobReading
from collectors.registry import KINDS
from collectors.scraper import Scraper
from collectors.shard import Batches, Shard, Ticks
from collectors.spool import LIMIT_BYTES, Spool, SpoolError, opened
from collectors.statistics import Statistics
from collectors.target import DefectLog, Target, make_target
from schemas.config import Cluster, Config
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS, shard

logger = logging.getLogger(__name__)

TARGETS_PER_SHARD = 512  # nodes of eight devices: 4,096 rows, one full message
START_SPREAD_S = 0.5  # between the first ticks of two shards
SUMMARY_S = 60.0
FLUSH_TIMEOUT_S = 15.0  # for Kafka to take what waits when the collector stops
SPARE_FILES = 256

SCHEMAS = {TELEMETRY_GPU: "gpu-samples/1", TELEMETRY_TOKENS: "token-samples/1"}


async def run(
    config: Config,
    kafka: str,
    *,
    collector: str,
    spool: Path,
    spool_limit_bytes: int = LIMIT_BYTES,
    stop: asyncio.Event,
) -> None:
    """Collect until `stop` is set. `kafka` is a URL kafka://host:port,…; `collector` names this process.

    Raises SpoolError when the folder `spool` cannot be used, or when messages could not be put there and are lost.
    """
    with opened(spool, limit_bytes=spool_limit_bytes) as messages:
        working = Collector(config, kafka, collector, messages)
        with shown(working.statistics):
            await working.run(stop)
    if messages.unwritten:
        raise SpoolError(
            f"{messages.unwritten} messages could not be sent, nor written to the spool {spool}, and are lost: "
            "make room on its disk."
        )


@dataclass(slots=True)
class _Jobs:
    """The exporters that tell a cluster's accounts, by interval."""

    accounts: Accounts
    targets: dict[float, list[Target]] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once each of them has been asked: before, a job's samples would go out without their account."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """A shard and what it waits for before its first tick."""

    shard: Shard
    jobs: _Jobs
    delay_s: float


class Collector:
    """All targets of a configuration. A target belongs to the same shard for as long as the process lives."""

    def __init__(self, config: Config, kafka: str, collector: str, spool: Spool, *, wall: Clock = time.time) -> None:
        self.statistics = Statistics()
        self._clock = SteadyClock(self._clock_stepped, wall)
        self._publisher = Publisher(kafka, collector, self.statistics, spool=spool, clock=self._clock)
        self._own_defects = {cluster.id: DefectLog(f"collector {collector}") for cluster in config.cluster}
        self._jobs: list[_Jobs] = []
        self._shards: list[_Planned] = []
        groups = [group for cluster in config.cluster for group in self._groups(cluster)]
        numbers: dict[str, int] = {}
        for index, group in enumerate(groups):
            number = numbers[group.cluster] = numbers.get(group.cluster, -1) + 1
            gpu = group.topic == TELEMETRY_GPU
            batches: Batches = GpuBatches(group.jobs.accounts).batches if gpu else TokenBatches().batches
            phase_s = group.interval_s * index / len(groups)
            jobs_targets = [target for targets in group.jobs.targets.values() for target in targets]
            planned = Shard(
                key=shard(group.cluster, collector, number),
                cluster=group.cluster,
                topic=group.topic,
                schema=SCHEMAS[group.topic],
                interval_s=group.interval_s,
                phase_s=phase_s,
                targets=group.targets,
                batches=batches,
                other_defects=(
                    [self._own_defects[group.cluster], *(target.defects for target in jobs_targets)]
                    if number == 0
                    else []
                ),
            )
            self._shards.append(_Planned(planned, group.jobs, min(phase_s, index * START_SPREAD_S)))

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until `stop` is set, then send what has been read. No last round of scrapes is made."""
        _allow_sockets(self.statistics.targets)
        self._publisher.start()
        async with Scraper(self._clock) as scraper:
            background = [asyncio.create_task(self._summarise())]
            for jobs in self._jobs:
                background.append(asyncio.create_task(_follow_jobs(jobs, scraper)))
            try:
                await asyncio.gather(
                    stop.wait(), *(self._run_shard(planned, scraper, stop) for planned in self._shards)
                )
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                await self._publisher.stop(FLUSH_TIMEOUT_S)
        logger.info("collector stopped: %s", self.statistics.summary(Statistics()))

    def _groups(self, cluster: Cluster) -> Iterator["_Group"]:
        """The targets of a cluster in groups that can share messages."""
        jobs = _Jobs(Accounts())
        wanted: dict[tuple[str, float], list[Target]] = {}
        for section in cluster.target:
            topic = KINDS[section.kind].topic
            for url in section.urls:
                target = make_target(
                    section.kind,
                    url,
                    interval_s=section.interval,
                    timeout_s=section.timeout,
                    deployment=section.deployment,
                    statistics=self.statistics,
                    clock=self._clock,
                )
                if topic is None:
                    jobs.targets.setdefault(section.interval, []).append(target)
                else:
                    wanted.setdefault((topic, section.interval), []).append(target)
        if jobs.targets:
            self._jobs.append(jobs)
        else:
            jobs.ready.set()
        for (topic, interval_s), targets in wanted.items():
            for start in range(0, len(targets), TARGETS_PER_SHARD):
                yield _Group(cluster.id, topic, interval_s, targets[start : start + TARGETS_PER_SHARD], jobs)

    async def _run_shard(self, planned: _Planned, scraper: Scraper, stop: asyncio.Event) -> None:
        for event, timeout_s in ((planned.jobs.ready, None), (stop, planned.delay_s)):
            await _either(event, stop, timeout_s)
        if not stop.is_set():
            await planned.shard.run(scraper, self._publisher, stop)

    def _clock_stepped(self, now_s: float, what: str, detail: str) -> None:
        """An event in every cluster, since the stamps of all are concerned."""
        logger.warning("%s", detail)
        self.statistics.clock_steps += what == "stepped"
        for log in self._own_defects.values():
            log.note(round(now_s * 1000), "clock_step", what, detail)

    async def _summarise(self) -> None:
        before = replace(self.statistics)
        while True:
            await asyncio.sleep(SUMMARY_S)
            logger.info("%s", self.statistics.summary(before))
            before = replace(self.statistics)


@dataclass(frozen=True, slots=True)
class _Group:
    cluster: str
    topic: str
    interval_s: float
    targets: Sequence[Target]
    jobs: _Jobs


async def _either(first: asyncio.Event, second: asyncio.Event, timeout_s: float | None) -> None:
    """Wait until one of two events is set, or the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in (first, second)]
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _follow_jobs(jobs: _Jobs, scraper: Scraper) -> None:
    """Keep a cluster's accounts current. Each first scrape is bounded by its timeout, and so is the wait for them."""

    async def ask(target: Target) -> None:
        answer = await target.scrape(scraper)
        if answer is not None and isinstance(answer.reading, JobReading):
            jobs.accounts.update(answer.reading.accounts, answer.ts_ms / 1000)

    async def follow(interval_s: float, targets: list[Target]) -> None:
        ticks = Ticks(interval_s, 0)
        while True:
            await asyncio.sleep(ticks.wait_s())
            await asyncio.gather(*map(ask, targets))

    await asyncio.gather(*(ask(target) for targets in jobs.targets.values() for target in targets))
    jobs.ready.set()
    await asyncio.gather(*(follow(interval_s, targets) for interval_s, targets in jobs.targets.items()))


def _allow_sockets(targets: int) -> None:
    """A connection to each target is kept open: raise the limit of open files as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = targets + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        if limit < wanted:
            logger.warning(
                "%d targets need %d open files, %d are allowed; raise the limit (ulimit -n)", targets, wanted, limit
            )
