"""A worker that is frozen for longer than its session, and wakes up when another one has done its work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from compose.broker import servers
from compose.lag import STAGES
from schemas.topics import PARTITIONS
from streams.app import GROUP
from tests.faults import gate
from tests.faults.traffic import messages
from tests.faults.work import Book, Site

BACKLOG = 120
MEANWHILE = 160  # messages that come while it is frozen


async def test_the_ledger_is_that_of_an_undisturbed_run(site_at_hand: Site, undisturbed: Book) -> None:
    """Frozen just before its rows are stored. The second one stores them and goes on. Then the first wakes up among
    new messages, writes its rows late (and twice: it does not hear that they are stored), publishes totals that are
    long superseded, acknowledges, and commits. Nobody's offsets go back."""
    site, traffic = site_at_hand, messages()
    await site.feed(traffic[:BACKLOG])
    with gate.before(site.clickhouse_url) as passage, site.worker("first", clickhouse_url=passage.url) as first:
        await asyncio.to_thread(passage.trap, "gpu_usage_store", first.freeze, stored=False)
        with site.worker("second") as second:
            await site.feed(traffic[BACKLOG : BACKLOG + MEANWHILE])
            await site.caught_up(second)
            async with never_back(site.kafka):
                late = asyncio.create_task(asyncio.to_thread(passage.trap, "gpu_usage_store", nothing, stored=True))
                first.thaw()
                await site.feed(traffic[BACKLOG + MEANWHILE :], pause_s=0.03)
                await late
                assert first.stop() == 0
                await site.caught_up(second)
            assert second.stop() == 0
    site.assert_same(undisturbed)


def nothing() -> None:
    """What happens besides."""


@contextlib.asynccontextmanager
async def never_back(kafka: str) -> AsyncIterator[None]:
    """What the workers have committed only grows, throughout a block."""
    partitions = [TopicPartition(topic, number) for topic in STAGES for number in range(PARTITIONS[topic])]
    highest = dict.fromkeys(partitions, -1)
    back: list[str] = []

    async def look() -> None:
        found = await admin.list_consumer_group_offsets(GROUP, partitions=partitions)
        for partition, committed in found.items():
            if committed.offset < highest[partition]:
                back.append(f"{partition}: {highest[partition]} to {committed.offset}")
            highest[partition] = committed.offset

    async def watch() -> None:
        while True:
            await look()
            await asyncio.sleep(0.05)

    admin = AIOKafkaAdminClient(bootstrap_servers=servers(kafka))
    await admin.start()
    await look()
    watching = asyncio.create_task(watch())
    try:
        yield
        assert not watching.done(), watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await admin.close()
    assert not back
