"""How fast a month is exported: rows of CostAndUsage per second, from the query to the file on the disk."""

import time
from datetime import UTC, date, datetime
from pathlib import Path

from clickhouse_connect.driver.client import Client

from compose.finance.focus.export import Format, export
from compose.finance.focus.rows import Booked
from schemas.config import Config

_AGREEMENTS = 500
_SHARED = 60
_MONTH = date(2026, 10, 1)

# Hour by hour; of 20 lines one is idle, ten are parts of shared deployments, the others workloads of an agreement.
_FILL = f"""
INSERT INTO charges
SELECT
    toDateTime('2026-10-01 00:00:00', 'UTC') + INTERVAL intDiv(number * 744, {{lines:UInt64}}) HOUR AS period_start,
    period_start + INTERVAL 1 HOUR, '2026-10-01', 1, toDateTime64('2026-11-01 06:00:00', 3, 'UTC'), 'charge', 'settled',
    if(number % 20 = 0, 'idle', 'charged') AS category, if(category = 'idle', '', 'fund'),
    if(category = 'idle', '', concat('agreement-', toString(number % {_AGREEMENTS}))), 'fir',
    if(number % 2 = 0, concat('shared-', toString(number % {_SHARED})), '') AS deployment,
    if(deployment = '', concat('acme-', toString(number % {_AGREEMENTS}), '/train-', toString(number % 7)), ''),
    if(deployment = '', '', 'org/model'), 'NVIDIA H100 80GB HBM3', 'NVIDIA H100 80GB HBM3', '', 'cost_share 2/3',
    'fir-h100@2026-04-01/night', toDecimal64(3600 - number % 1000, 9) / 7, 1800, 3600, 1234567.891, 3600, 0, 0,
    if(deployment = '', 0, 1000000 + number % 1000), 1000, if(deployment = '', 0, 5000),
    toDecimal64(5.123456789, 9), 'USD',
    toDecimal64(7.123456789, 9) + toDecimal64(number % 1000, 9) / 1000 AS cost, 1,
    if(category = 'idle', toDecimal64(0, 9), toDecimal64(4.749000001, 9)) AS subsidy,
    if(category = 'idle', 0, cost - subsidy), 'CAD'
FROM numbers({{lines:UInt64}})
"""


def fill(client: Client, lines: int) -> None:
    """A month of so many lines, of 500 agreements."""
    client.command(_FILL, parameters={"lines": lines})


def booked() -> Booked:
    """That month."""
    term = {"starts": date(2020, 1, 1), "ends": date(2099, 12, 31)}
    rule = {"kind": "cost_share", "share": "2/3"}
    config = Config.model_validate(
        {
            "cluster": [{"id": "fir", "operator": "Simon Fraser University", "country": "CA", "region": "CA-BC"}],
            "programme": [{"id": "fund", "name": {"en": "AI Compute Fund"}, "budget": "300000000", **term}],
            "agreement": [
                {"id": f"agreement-{i}", "programme": "fund", "recipient": f"Recipient {i}", "rule": rule, **term}
                for i in range(_AGREEMENTS)
            ],
            "deployment": [
                {"id": f"shared-{i}", "cluster": "fir", "model": "org/model", "match": {"pod": "x"}, "shared": True}
                for i in range(_SHARED)
            ],
        }
    )
    return Booked(_MONTH, datetime(2026, 12, 1, tzinfo=UTC), config)


def rows_per_second(client: Client, booked: Booked, format_: Format, folder: Path) -> float:
    """Of one export."""
    began = time.perf_counter()
    written = export(client, booked, format_, folder)[0]
    return written.rows / (time.perf_counter() - began)
