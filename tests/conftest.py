"""The embedded parts as real processes, started through the code that production starts; and a real Apache Kafka."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import hypothesis
import pytest
from clickhouse_connect.driver.client import Client

from compose import client, migrate
from compose.broker import create_topics
from tests.kafka import artifacts
from tests.kafka.cluster import Cluster
from tests.roles import Running, running

# The same examples in every run; a slow machine fails nothing.
hypothesis.settings.register_profile("commonwatt", deadline=None, derandomize=True)
hypothesis.settings.load_profile("commonwatt")

_FILLED = """
SELECT name FROM system.tables
WHERE database = 'commonwatt' AND engine LIKE '%MergeTree' AND total_rows > 0 AND name != 'schema_migrations'
"""


@dataclass(frozen=True)
class ClickHouse:
    """An embedded ClickHouse with the tables of this version."""

    url: str
    client: Client
    """User `default`, database `commonwatt`."""


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for the whole run."""
    folder = tmp_path_factory.mktemp("clickhouse")
    arguments = ("--data", str(folder / "data"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=folder / "clickhouse.log") as role:
        yield role


@pytest.fixture(scope="session")
def migrated(clickhouse_server: Running) -> Iterator[Client]:
    """A client of that server, after the migrations."""
    first = client.connect(clickhouse_server.url, database=None)
    migrate.migrate(first)
    first.close()
    connected = client.connect(clickhouse_server.url)
    yield connected
    connected.close()


@pytest.fixture
def clickhouse(clickhouse_server: Running, migrated: Client) -> ClickHouse:
    """The server with empty tables."""
    empty(migrated)
    return ClickHouse(clickhouse_server.url, migrated)


def empty(client: Client) -> None:
    """Take every row out of every table."""
    filled = [table for (table,) in client.query(_FILLED).result_rows]
    with ThreadPoolExecutor(4) as pool:  # each waits for the disk
        list(pool.map(lambda table: client.command(f"TRUNCATE TABLE `{table}`"), filled))


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`kafka://…` of a broker of the test's own, with all topics and no messages."""
    log = tmp_path_factory.mktemp("broker") / "broker.log"
    with running("compose.broker", "--port", "0", log=log) as role:
        yield role.url


@pytest.fixture(scope="session")
def without_kafka() -> str | None:
    """Why no real Apache Kafka can run here; None when one can. With COMMONWATT_REQUIRE_KAFKA=1 that is a failure."""
    reason = artifacts.missing()
    if reason is not None and artifacts.required():
        pytest.fail(f"real Kafka is required here: {reason}")
    return reason


@pytest.fixture
def kafka_cluster(without_kafka: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes of a real Apache Kafka of the test's own, each topic on all of them, and no messages."""
    if without_kafka is not None:
        pytest.skip(f"without real Kafka: {without_kafka}")
    with _kafka(tmp_path_factory, nodes=3) as cluster:
        yield cluster


@pytest.fixture
def kafka(without_kafka: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`kafka://…` of a real Apache Kafka of the test's own, with all topics and no messages."""
    if without_kafka is not None:
        pytest.skip(f"without real Kafka: {without_kafka}")
    with _kafka(tmp_path_factory) as cluster:
        yield cluster.url


@pytest.fixture(params=["embedded", "kafka"])
def each_broker(request: pytest.FixtureRequest) -> str:
    """`kafka://…` of the embedded broker, then of a real Kafka; of the test's own."""
    url: str = request.getfixturevalue("broker" if request.param == "embedded" else "kafka")
    return url


@pytest.fixture(scope="module")
def broker_at_hand(without_kafka: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`kafka://…` of a real Kafka where one can run, else of the embedded broker; of the module's own."""
    if without_kafka is None:
        with _kafka(tmp_path_factory) as cluster:
            yield cluster.url
    else:
        log = tmp_path_factory.mktemp("broker") / "broker.log"
        with running("compose.broker", "--port", "0", log=log) as role:
            yield role.url


@contextlib.contextmanager
def _kafka(tmp_path_factory: pytest.TempPathFactory, nodes: int = 1) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("kafka"), nodes) as cluster:
        asyncio.run(create_topics(cluster.url, replication_factor=nodes))
        yield cluster
