"""The demonstration at simulated moments: the simulator's pages, read and metered by the code that collectors and
workers run. Only HTTP, Kafka and the wall clock are left out, so the same rows come out of every run.

The fabric lives only while it is looked at: a session begins where the one before ended, and what is between two
sessions is in no ledger, as if collectors and workers had been off.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple, cast

import pyarrow as pa

from collectors.accounts import Accounts
from collectors.batches import GpuBatches, Timed, TokenBatches
from collectors.readings import GpuReading, JobReading, TokenReading
from collectors.scraper import Fetched, Scraper
from collectors.simulator.addresses import parse
from collectors.simulator.catalogue import Rhythm
from collectors.simulator.demand import synthetic_trace
from collectors.simulator.fabric import WARM_UP_S, Fabric, expand
from collectors.statistics import Statistics
from collectors.target import Target, make_target
from schemas.config import Cluster, Config
from schemas.economics import UnitCosts
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS, shard
from schemas.usage import GpuTotals, TokenTotals
from streams import burn, unit_cost
from streams.booking.gpu import GpuBooking
from streams.booking.tokens import TokenBooking
from streams.burning import Burning
from streams.meter import max_gaps_ms
from streams.metering.gpu import GpuMeter
from streams.metering.intervals import MINUTE_MS
from streams.metering.tokens import TokenMeter
from streams.reference import Reference
from streams.unit_costing import UnitCosting

MINUTES = 10
"""Length of a session."""
HALF_MS = MINUTE_MS // 2
BASE_URL = "http://fabric.example"
RHYTHM = Rhythm(job_s=(600.0, 2_400.0), gap_s=(60.0, 300.0))
"""Jobs go on over some sessions."""


class Message(NamedTuple):
    """What a collector has read of one cluster at one moment."""

    topic: str
    cluster: str
    minute: int
    """Of the session, from 0."""
    batch: pa.RecordBatch


class Ledgers(NamedTuple):
    """Rows to store, and what they amount to by minute."""

    gpu: pa.Table
    tokens: pa.Table
    totals: list[GpuTotals | TokenTotals]


@dataclass(frozen=True, slots=True)
class _Site:
    """One cluster and what its collector remembers."""

    cluster: str
    accounts: Accounts
    jobs: Sequence[Target]
    gpus: Sequence[Target]
    servers: Sequence[Target]
    gpu_batches: GpuBatches
    token_batches: TokenBatches


class _Pages(Scraper):
    """Pages of the fabric, at the moment that is set."""

    def __init__(self, fabric: Fabric) -> None:
        super().__init__()
        self._fabric = fabric
        self._at_s = WARM_UP_S
        self._ts_ms = 0

    def move(self, by_ms: int, ts_ms: int) -> None:
        """Let time pass on the fabric; what is fetched then is of `ts_ms` (unix ms)."""
        self._at_s += by_ms / 1000
        self._ts_ms = ts_ms
        self._fabric.advance(self._at_s)

    async def fetch(self, url: str, timeout_s: float, suspect: bool) -> Fetched:
        page, delivered = self._fabric.targets[parse(url).path].answer(self._at_s)
        delivered()
        return Fetched(page, self._ts_ms)


class Demonstration:
    """The fabric of `compose/demo.toml` with about `gpus` GPUs."""

    def __init__(self, config: Config, gpus: int) -> None:
        self.config = expand(config, gpus=gpus, base_url=BASE_URL)
        fabric = Fabric(self.config, trace=synthetic_trace(0), rhythm=RHYTHM)
        self.gpus = len(fabric.topology.products)
        self._pages = _Pages(fabric)
        self._statistics = Statistics()
        self._sites = [self._site(cluster) for cluster in self.config.cluster]

    def session(self, begin: datetime) -> list[Message]:
        """What is read once a minute from `begin` on, the last minute included.

        Token counters are read half a minute after devices: what they count is of minutes with metered devices, too.
        """
        return asyncio.run(self._session(round(begin.timestamp() * 1000)))

    async def _session(self, begin_ms: int) -> list[Message]:
        messages: list[Message] = []
        for minute in range(MINUTES + 1):
            at_ms = begin_ms + minute * MINUTE_MS
            self._pages.move(0 if minute == 0 else HALF_MS, at_ms)
            for site in self._sites:
                messages += await self._devices(site, minute)
            if minute < MINUTES:
                self._pages.move(HALF_MS, at_ms + HALF_MS)
                for site in self._sites:
                    messages += await self._tokens(site, minute)
        assert not self._statistics.failures
        return messages

    async def _devices(self, site: _Site, minute: int) -> list[Message]:
        for jobs in [await target.scrape(self._pages) for target in site.jobs]:
            assert jobs is not None
            assert isinstance(jobs.reading, JobReading)
            site.accounts.update(jobs.reading.accounts, jobs.ts_ms / 1000)
        read = [await target.scrape(self._pages) for target in site.gpus]
        batches = site.gpu_batches.batches([cast(Timed[GpuReading], one) for one in read])
        return [Message(TELEMETRY_GPU, site.cluster, minute, batch) for batch in batches]

    async def _tokens(self, site: _Site, minute: int) -> list[Message]:
        read = [await target.scrape(self._pages) for target in site.servers]
        batches = site.token_batches.batches([cast(Timed[TokenReading], one) for one in read]) if read else []
        return [Message(TELEMETRY_TOKENS, site.cluster, minute, batch) for batch in batches]

    def _site(self, cluster: Cluster) -> _Site:
        targets: dict[str, list[Target]] = {"jobs": [], "gpus": [], "servers": []}
        sorts = {"slurm-job-exporter": "jobs", "vllm": "servers", "litellm": "servers"}
        for section in cluster.target:
            for url in section.urls:
                target = make_target(
                    section.kind,
                    url,
                    interval_s=60.0,
                    timeout_s=None,
                    deployment=section.deployment,
                    statistics=self._statistics,
                )
                targets[sorts.get(section.kind, "gpus")].append(target)
        accounts = Accounts()
        return _Site(cluster.id, accounts, **targets, gpu_batches=GpuBatches(accounts), token_batches=TokenBatches())


def metered(config: Config, messages: Sequence[Message]) -> Ledgers:
    """The rows of one session, as workers that begin with it store them."""
    reference = Reference(config)
    gpu_meter, token_meter = GpuMeter(max_gaps_ms(config), float(config.alerts.idle_below)), TokenMeter()
    for message in messages:
        if message.topic == TELEMETRY_GPU:
            key = shard(message.cluster, "demo", 0)
            gpu_meter.unknown_devices(key, message.cluster, message.batch)
            gpu_meter.load(key, [])
            gpu_meter.fold(key, message.batch)
        else:
            key = shard(message.cluster, "demo", 1)
            token_meter.load(key, token_meter.unknown_counters(key, message.cluster, message.batch), [])
            token_meter.fold(key, message.cluster, message.batch)
    gpu, of_devices, _ = GpuBooking(gpu_meter, reference).totals(*gpu_meter.take_rows())
    tokens, of_tokens, _ = TokenBooking(token_meter, reference).totals(*token_meter.take_rows())
    return Ledgers(gpu, tokens, [*of_devices, *of_tokens])


class Tally:
    """What a worker concludes from the totals: unit costs and the state of the agreements."""

    def __init__(self, config: Config) -> None:
        self._costing, self._burning = UnitCosting(Reference(config)), Burning(config)

    def conclude(self, totals: Sequence[GpuTotals | TokenTotals]) -> dict[str, pa.Table]:
        """Rows of each table."""
        for one in totals:
            if not self._costing.knows((one.cluster, one.minute_ms)):
                self._costing.begin((one.cluster, one.minute_ms), (), (), ())
            self._costing.apply(one)
        costs = [self._costing.cost(m) for m in sorted({(one.cluster, one.minute_ms) for one in totals})]
        states = []
        for _, of_minute in groupby(sorted(costs, key=_minute), _minute):
            concerned = {agreement for one in of_minute for agreement in self._burning.apply(one)}
            states += [state for agreement in sorted(concerned) if (state := self._burning.state(agreement))]
        return {"unit_costs_store": unit_cost.rows(costs), "subsidy_burn_store": burn.rows(states)}


def _minute(costs: UnitCosts) -> int:
    return costs.minute_ms
