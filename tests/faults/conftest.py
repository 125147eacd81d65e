"""What every fault is compared with: the same traffic, undisturbed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from tests.conftest import ClickHouse, empty
from tests.faults.traffic import messages
from tests.faults.work import Book, Site
from tests.roles import Running, running


@pytest.fixture(scope="session")
def undisturbed(
    clickhouse_server: Running, migrated: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Book]:
    """The book of a run in which nothing happens."""
    empty(migrated)  # other tests may have left rows
    folder = tmp_path_factory.mktemp("undisturbed")
    with running("compose.broker", "--port", "0", log=folder / "broker.log") as broker:
        site = Site(broker.url, clickhouse_server.url, migrated, folder)

        async def run() -> None:
            await site.feed(messages())
            with site.worker() as worker:
                await site.caught_up(worker)
                assert worker.stop() == 0

        asyncio.run(run())
        yield site.book()


@pytest.fixture
def site(undisturbed: Book, broker: str, clickhouse: ClickHouse, tmp_path: Path) -> Site:
    """A broker of the test's own and an empty book."""
    return Site(broker, clickhouse.url, clickhouse.client, tmp_path)


@pytest.fixture
def each_site(undisturbed: Book, each_broker: str, clickhouse: ClickHouse, tmp_path: Path) -> Site:
    """The same on the embedded broker, then on a real Kafka."""
    return Site(each_broker, clickhouse.url, clickhouse.client, tmp_path)


@pytest.fixture
def kafka_site(undisturbed: Book, kafka: str, clickhouse: ClickHouse, tmp_path: Path) -> Site:
    """The same on a real Kafka."""
    return Site(kafka, clickhouse.url, clickhouse.client, tmp_path)


@pytest.fixture
def site_at_hand(undisturbed: Book, broker_at_hand: str, clickhouse: ClickHouse, tmp_path: Path) -> Site:
    """The same on a real Kafka where one can run, else on the embedded broker; one for each module."""
    return Site(broker_at_hand, clickhouse.url, clickhouse.client, tmp_path)
