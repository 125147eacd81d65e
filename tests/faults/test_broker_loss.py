"""kill -9 of the nodes of a Kafka cluster under a working worker: it goes on, and the ledger does not notice."""

import asyncio
from pathlib import Path

from tests.conftest import ClickHouse
from tests.faults.traffic import messages
from tests.faults.work import Book, Site
from tests.kafka.cluster import Cluster


async def test_the_ledger_is_that_of_an_undisturbed_run(
    kafka_cluster: Cluster, undisturbed: Book, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """One after the other, each killed when the one before is whole again; then all three at once. Messages come in
    all the time, by a producer that tries again, and one worker reads them."""
    site = Site(kafka_cluster.url, clickhouse.url, clickhouse.client, tmp_path)
    with site.worker() as worker:
        live = asyncio.create_task(site.feed(messages(), pause_s=0.08))
        await site.written()
        for node in kafka_cluster.nodes:
            kafka_cluster.kill(node.number)
            await site.written()  # two of three are enough
            kafka_cluster.launch(node.number)
            await asyncio.to_thread(kafka_cluster.wait_in_sync)
        for node in kafka_cluster.nodes:
            kafka_cluster.kill(node.number)
        for node in kafka_cluster.nodes:
            kafka_cluster.launch(node.number)
        await asyncio.to_thread(kafka_cluster.wait_ready)
        await live
        await site.caught_up(worker)  # the same worker: it would fail here if it had ended
        assert worker.stop() == 0
    site.assert_same(undisturbed)
