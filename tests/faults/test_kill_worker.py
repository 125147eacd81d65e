"""kill -9 of the worker, where it hurts most: the ledger comes out the same, row for row."""

import asyncio
from collections.abc import Sequence

from tests.faults import gate
from tests.faults.traffic import messages
from tests.faults.work import Book, Site

BACKLOG = 120  # messages that wait when the first worker comes
LIVE = 60  # that arrive during the life of each one

# Table whose insert is interrupted, and whether ClickHouse had stored it when the worker died.
MOMENTS = (
    ("gpu_usage_store", True),  # rows stored, their totals never published
    ("token_usage_store", False),  # rows of the GPUs stored, those of the tokens lost on the way
    ("unit_costs_store", True),  # usage acknowledged, unit costs stored but not published
)


async def test_the_ledger_is_that_of_an_undisturbed_run(site: Site, undisturbed: Book) -> None:
    """Three die in the middle of storing, with a backlog before them and messages coming in; a fourth finishes."""
    await die_at(MOMENTS, site)
    site.assert_same(undisturbed)


async def test_also_on_real_kafka(kafka_site: Site, undisturbed: Book) -> None:
    """The same with one that dies; what differs is how the broker notices, and from where the next one reads."""
    await die_at(MOMENTS[:1], kafka_site)
    kafka_site.assert_same(undisturbed)


async def die_at(moments: Sequence[tuple[str, bool]], site: Site) -> None:
    """A worker dies at each of these moments; a last one finishes."""
    traffic = messages()
    await site.feed(traffic[:BACKLOG])
    waiting = traffic[BACKLOG:]
    with gate.before(site.clickhouse_url) as passage:
        for table, stored in moments:
            live, waiting = asyncio.create_task(site.feed(waiting[:LIVE], pause_s=0.15)), waiting[LIVE:]
            with site.worker(clickhouse_url=passage.url) as worker:
                await asyncio.to_thread(passage.trap, table, worker.kill, stored=stored)
            await live
        with site.worker(clickhouse_url=passage.url) as worker:
            await site.feed(waiting, pause_s=0.05)
            await site.caught_up(worker)
            assert worker.stop() == 0
