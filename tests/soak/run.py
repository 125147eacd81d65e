"""One soak: the disturbed run, then the same input undisturbed, and what came of both."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from clickhouse_connect.driver.client import Client

from compose.audit import CheckResult
from compose.broker import create_topics
from compose.check import run_checks
from compose.quiet import quiet
from compose.reference import tables
from schemas.config_file import load
from tests.faults import gate
from tests.faults.traffic import CONFIG
from tests.faults.work import Site
from tests.roles import running
from tests.soak import tape as tapes
from tests.soak import verdict
from tests.soak.brokers import brokers
from tests.soak.database import Database
from tests.soak.inject import Injector
from tests.soak.keeper import Keeper, SoakFailed
from tests.soak.outcome import Outcome
from tests.soak.parts import Parts
from tests.soak.plan import Plan
from tests.soak.stage import Stage
from tests.soak.tape import Tape
from tests.soak.watch import Watch

LEAD_S = 2.0  # from the start of the processes to the first scrape
FINISH_S = 120.0  # from the last scrape until everything must be in the ledger
POLL_S = 0.2
TOGETHER_S = 60.0
"""Shorter runs are made at the same time: no sample is too far ahead of the clock for it. A long one comes first."""
QUARANTINE = "quarantine is empty"
"""The audit that injected messages must trip. What lies in quarantine is compared message by message instead."""

Say = Callable[[str], None]
"""Shows how far the run is."""


async def soak(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Do everything that the plan says, in a folder of its own. Raises SoakFailed when it does not come to its end."""
    begun_s = time.monotonic()
    say(f"making {plan.ticks:,} ticks of input")
    tape = await asyncio.to_thread(tapes.record, plan)
    (folder / "config.toml").write_text(CONFIG)
    with quiet("aiokafka", "clickhouse_connect", "urllib3"):  # what is away here is away on purpose
        if plan.seconds < TOGETHER_S:
            expected, (found, outcome) = await asyncio.gather(
                _undisturbed(tape, folder), _disturbed(plan, tape, folder, say)
            )
        else:
            found, outcome = await _disturbed(plan, tape, folder, say)
            say("the same input, undisturbed")
            expected = await _undisturbed(tape, folder)
    outcome.differences = verdict.compare(expected, found)
    outcome.took_s = time.monotonic() - begun_s
    return outcome


async def _disturbed(plan: Plan, tape: Tape, folder: Path, say: Say) -> tuple[verdict.Book, Outcome]:
    async with contextlib.AsyncExitStack() as block:
        kafka, cluster = block.enter_context(brokers(plan.brokers, folder))
        if cluster is not None:
            await create_topics(kafka, replication_factor=int(plan.brokers))
        database = block.enter_context(Database(folder))
        await database.start()
        client = database.migrated()
        passage = block.enter_context(gate.before(database.url))
        start_s = time.time() + LEAD_S
        watch = Watch(tape, kafka, client, start_s, plan.tick_ms / 1000)
        parts = Parts(folder, kafka, passage.url, tape, start_s, plan.tick_ms)
        workers = block.enter_context(contextlib.closing(Keeper(parts.worker, folder, plan.seed)))
        collectors = block.enter_context(contextlib.closing(Keeper(parts.collector, folder, plan.seed + 1)))
        first_ms = min(entries[0].first_ms for entries in tape.values())
        injector = await block.enter_async_context(Injector(kafka, first_ms, idempotent=cluster is not None))
        stage = Stage(workers, collectors, parts, database, passage, cluster, injector, watch)
        stage.begin()
        await _play(plan, stage, start_s, say)
        for name in workers.names:
            await workers.stop(name)
        say("reading the topics and the book")
        outcome = Outcome(
            plan, stage.caused, watch.catch_ups, await verdict.read_log(kafka, tape), verdict.quarantined(client),
            verdict.overlaps(client), _audit(client, folder), [*workers.ended, *collectors.ended],
        )  # fmt: skip
        return verdict.book(client), outcome


async def _play(plan: Plan, stage: Stage, start_s: float, say: Say) -> None:
    """Cause the faults, and wait until everything is in the ledger."""
    faults = [asyncio.create_task(stage.cause(fault, start_s), name=fault.kind) for fault in plan.faults]
    services = [
        asyncio.create_task(service, name="soak")
        for service in (stage.watch.run(), stage.workers.watch(), stage.collectors.watch())
    ]
    deadline_s = start_s + plan.seconds + FINISH_S
    try:
        while True:
            for task in (*faults, *services):
                if task.done():
                    task.result()
            if all(fault.done() for fault in faults) and not stage.collectors.names and stage.watch.settled:
                return
            if time.time() > deadline_s:
                raise SoakFailed(
                    f"not everything is in the ledger {FINISH_S:g} s after the last scrape: {stage.state()}"
                )
            say(f"{max(0.0, time.time() - start_s):4.0f} of {plan.seconds:g} s · {stage.state()}")
            await asyncio.sleep(POLL_S)
    finally:
        for task in (*faults, *services):
            task.cancel()
        await asyncio.gather(*faults, *services, return_exceptions=True)


async def _undisturbed(tape: Tape, folder: Path) -> verdict.Book:
    """The book of a run in which nothing happens."""
    folder = folder / "undisturbed"
    folder.mkdir()
    with (
        running("compose.broker", "--port", "0", log=folder / "broker.log") as broker,
        Database(folder) as database,
    ):
        await database.start()
        client = database.migrated()
        site = Site(broker.url, database.url, client, folder)
        await site.feed(tapes.messages(tape))
        watch = Watch(tape, broker.url, client, 0, 1)
        with site.worker() as worker:
            watching = asyncio.create_task(watch.run())
            async with asyncio.timeout(FINISH_S):
                while not watch.settled:
                    assert worker.process.poll() is None, worker.log.read_text()[-2000:]
                    await asyncio.sleep(POLL_S)
            watching.cancel()
            assert worker.stop() == 0
        return verdict.book(client)


def _audit(client: Client, folder: Path) -> list[CheckResult]:
    """What the audits say of the book at rest."""
    config = load(folder / "config.toml")
    tables.store(client, config)
    return [result for result in run_checks(client, config, at_rest=True) if result.name != QUARANTINE]
