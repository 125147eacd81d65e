"""Fixtures of the dashboard tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.dashboards import servers

settings.register_profile("commonwatt", deadline=None, derandomize=True)
settings.load_profile("commonwatt")


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouse]:
    """An embedded ClickHouse with the seeded ledger; tests only read it."""
    with servers.clickhouse(tmp_path_factory.mktemp("seeded"), seeded=True) as clickhouse:
        yield clickhouse


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouse]:
    """An embedded ClickHouse whose tables are empty."""
    with servers.clickhouse(tmp_path_factory.mktemp("empty"), seeded=False) as clickhouse:
        yield clickhouse
