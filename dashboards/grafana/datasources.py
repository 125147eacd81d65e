"""The data sources as Grafana's ClickHouse plugin reads them: the same for provisioning files and for the API.

Each role has a data source with a ClickHouse user of its own, because nothing in Grafana separates people who share
one: every viewer can send any SQL through it. What each user may see is said on the server (`commonwatt access apply`).
"""

from dataclasses import dataclass

from dashboards.grafana.links import Json
from dashboards.grafana.panels import DATASOURCE, PLUGIN_VERSION
from dashboards.grafana.provisioning import as_yaml
from dashboards.grafana.sources import SOURCES, Source

PORT, TLS_PORT = 9000, 9440
QUERY_TIMEOUT_S = 60
"""The plugin sets `max_execution_time` to it on every query."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where ClickHouse is, as Grafana reaches it by its native protocol."""

    host: str
    port: int = PORT

    @property
    def secure(self) -> bool:
        return self.port == TLS_PORT


def role_of(source: Source) -> str:
    """finance, operations or analysts."""
    return source.uid.removeprefix("commonwatt-")


def variable(source: Source, what: str) -> str:
    """Environment variable for the USER or PASSWORD of a data source."""
    return f"CLICKHOUSE_{role_of(source).upper()}_{what}"


def datasource(source: Source, place: Place, user: str) -> Json:
    """A data source without its password. Keys are the plugin's own: others it would pass over without a word."""
    return {
        "name": source.name,
        "uid": source.uid,
        "type": DATASOURCE["type"],
        "access": "proxy",
        "jsonData": {
            "version": PLUGIN_VERSION,
            "host": place.host,
            "port": place.port,
            "protocol": "native",
            "secure": place.secure,
            "username": user,
            "defaultDatabase": "commonwatt",
            "dialTimeout": "10",
            "queryTimeout": str(QUERY_TIMEOUT_S),
            "connMaxLifetime": "5",  # min
            "maxIdleConns": "5",
            "maxOpenConns": "20",
            "validateSql": True,
            "enableRowLimit": False,  # it would cut the answers to alert rules too
            "enableMapKeysDiscovery": False,
            "hideTableNameInAdhocFilters": True,
        },
    }


def datasource_files() -> dict[str, str]:
    """Path -> content: one provisioning file for each role."""
    return {f"provisioning/datasources/{source.uid}.yaml": _file(source) for source in SOURCES}


def _file(source: Source) -> str:
    user, password = variable(source, "USER"), variable(source, "PASSWORD")
    described = datasource(source, Place("$CLICKHOUSE_HOST"), f"${user}") | {
        "editable": False,
        "secureJsonData": {"password": f"${password}"},
    }
    return as_yaml(
        {"apiVersion": 1, "prune": True, "datasources": [described]},
        f"Set in Grafana's environment: CLICKHOUSE_HOST, {user}, {password}.",
        f"With TLS write port: {TLS_PORT} and secure: true. The user: docs/grafana.md.",
    )
