"""The data sources that dashboards open with and alert rules ask: one per role, each with a ClickHouse user of its own.

They are described in dashboards/provisioning/datasources; a person can choose another one of the plugin in Grafana.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    uid: str
    name: str


FINANCE = Source("commonwatt-finance", "Commonwatt (finance)")
OPERATIONS = Source("commonwatt-operations", "Commonwatt (operations)")
ANALYSTS = Source("commonwatt-analysts", "Commonwatt (analysts)")
SOURCES = (FINANCE, OPERATIONS, ANALYSTS)

BY_AUDIENCE = {"finance": FINANCE, "operations": OPERATIONS}
"""By `Dashboard.audience`."""
