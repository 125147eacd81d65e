"""The embedded parts as real processes, started through the code that production starts."""

from collections.abc import Iterator
from dataclasses import dataclass

import hypothesis
import pytest
from clickhouse_connect.driver.client import Client

from compose import client, migrate
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
    for (table,) in migrated.query(_FILLED).result_rows:
        migrated.command(f"TRUNCATE TABLE `{table}`")
    return ClickHouse(clickhouse_server.url, migrated)


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`kafka://…` of a broker of the test's own, with all topics and no messages."""
    log = tmp_path_factory.mktemp("broker") / "broker.log"
    with running("compose.broker", "--port", "0", log=log) as role:
        yield role.url
