"""kill -9 of the nodes of a Kafka cluster under a working worker: it goes on, and the ledger does not notice."""

import asyncio
from pathlib import Path

from tests.conftest import ClickHouse
from tests.faults.traffic import messages
from tests.faults.work import Book, Site
from tests.kafka.cluster import Cluster

BACKLOG = 60
PART = 75  # messages that come in while one node, or all, are away


async def test_the_ledger_is_that_of_an_undisturbed_run(
    kafka_cluster: Cluster, undisturbed: Book, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """One after the other, each killed when the one before is whole again; then all three at once. Messages come in
    all the time, by a producer that tries again, and one worker reads them."""
    site, traffic = Site(kafka_cluster.url, clickhouse.url, clickhouse.client, tmp_path), messages()
    numbers = range(len(kafka_cluster.nodes))
    begun = asyncio.create_task(site.written())
    with site.worker() as worker:
        await site.feed(traffic[:BACKLOG])
        await begun
        for number in numbers:
            begin = BACKLOG + number * PART
            live = asyncio.create_task(site.feed(traffic[begin : begin + PART], pause_s=0.05))
            kafka_cluster.kill(number)
            await site.written()  # two of three are enough
            kafka_cluster.launch(number)
            await asyncio.to_thread(kafka_cluster.wait_in_sync)
            await live
        live = asyncio.create_task(site.feed(traffic[BACKLOG + len(numbers) * PART :], pause_s=0.05))
        await site.written()
        for number in numbers:
            kafka_cluster.kill(number)
        for number in numbers:
            kafka_cluster.launch(number)
        await asyncio.to_thread(kafka_cluster.wait_ready)
        await live
        await site.caught_up(worker)  # the same worker: it would fail here if it had ended
        assert worker.stop() == 0
    site.assert_same(undisturbed)
