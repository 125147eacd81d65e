"""A second worker comes and the first one goes while messages arrive: partitions change hands, the ledger does not."""

import asyncio

from compose.lag import STAGES
from schemas.topics import PARTITIONS, TELEMETRY_GPU, USAGE_GPU, USAGE_TOKENS
from tests.faults.traffic import messages
from tests.faults.work import Book, Site

BACKLOG = 120
JOINED = 260  # messages of the backlog and of the time in which the second one comes


async def test_the_ledger_is_that_of_an_undisturbed_run(each_site: Site, undisturbed: Book) -> None:
    """The first is alone, then they share the work, then the second is alone."""
    site, traffic = each_site, messages()
    await site.feed(traffic[:BACKLOG])
    joining, leaving = traffic[BACKLOG:JOINED], traffic[JOINED:]
    begun = asyncio.create_task(site.written())
    with site.worker("first") as first:
        reads = await first.partitions()
        assert {topic: len(partitions) for topic, partitions in reads.items()} == {
            topic: PARTITIONS[topic] for topic in STAGES
        }
        await begun
        live = asyncio.create_task(site.feed(joining, pause_s=0.06))
        with site.worker("second") as second:
            reads = await second.partitions()
            # Half of them, and both halves of a cluster: totals of devices and of tokens meet in one worker.
            assert len(reads[TELEMETRY_GPU]) == PARTITIONS[TELEMETRY_GPU] // 2
            assert reads[USAGE_GPU] == reads[USAGE_TOKENS]
            await live
            live = asyncio.create_task(site.feed(leaving, pause_s=0.06))
            await site.written()
            assert first.stop() == 0
            await live
            await site.caught_up(second)
            assert second.stop() == 0
    site.assert_same(undisturbed)
