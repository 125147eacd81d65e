"""A book for benchmarks: a year of hourly charges for 500 agreements, and hours of a ledger of 10,000 GPUs.

Firm a works on cluster a % 8 and is a tenant of the shared deployment a % 40. Everything is made inside of ClickHouse.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.reference import history
from schemas.config import Config

FIRMS, CLUSTERS, DEPLOYMENTS, GPUS = 500, 8, 40, 10_000
LINES_PER_HOUR = 1_150
"""Each firm's part of its deployment and one workload, a slice of some, and what is idle or belongs to nobody."""
FIRST = datetime(2025, 10, 1, tzinfo=UTC)
YEAR_HOURS = 8_760
LAST = FIRST + timedelta(hours=YEAR_HOURS)
"""End of the year: the first hour that is yet to be settled."""

_PRODUCT = "NVIDIA H100 80GB HBM3"
_STEP_HOURS = 730


def config() -> Config:
    """The rules take turns: a share of the cost, a price of tokens, credits in GPU-hours, and a share with a cap."""
    rules: list[dict[str, Any]] = [
        {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2"},
        {"kind": "token_price", "prompt_per_mtok": "0.02", "cached_per_mtok": "0.004", "output_per_mtok": "0.06"},
        {"kind": "credits", "unit": "gpu_hours", "quantity": "1000000"},
        {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2"},
    ]
    long = {"starts": date(2025, 4, 1), "ends": date(2028, 3, 31)}
    return Config.model_validate(
        {
            "cluster": [
                {"id": f"cluster-{c}", "country": "US" if c == 7 else "CA", "timezone": "America/Toronto", "pue": "1.1"}
                for c in range(CLUSTERS)
            ],
            "deployment": [
                {
                    "id": f"deployment-{d:02}", "cluster": f"cluster-{d % CLUSTERS}", "model": f"model-{d}",
                    "match": {"namespace": f"serving-{d}"}, "shared": True,
                }
                for d in range(DEPLOYMENTS)
            ],
            "price": [
                {
                    "id": f"price-{c}", "cluster": f"cluster-{c}", "basis": "owned", "capex": "42000",
                    "lifetime_years": 5, "opex_per_gpu_hour": "0.35", "energy_per_kwh": "0.0776",
                    "tariff": [{"id": "night", "starts": "23:00", "ends": "05:00", "energy_per_kwh": "0.0612"}],
                    "effective_from": date(2025, 1, 1),
                }
                for c in range(CLUSTERS)
            ],
            "programme": [{"id": f"programme-{p}", "budget": "300000000", **long} for p in range(4)],
            "agreement": [
                {
                    "id": f"firm-{a:03}", "programme": f"programme-{a % 4}", "recipient": f"Firm {a}",
                    "rule": rules[a % 4], "cap": "5000000" if a % 4 == 3 else None, "match": [{"team": f"firm-{a}"}],
                    **long,
                }
                for a in range(FIRMS)
            ],
            "rgu": [{"gpu_model": "NVIDIA H100*", "weight": "12.2", "effective_from": date(2025, 1, 1)}],
        }
    )  # fmt: skip


def agree(client: Client) -> None:
    """Record what is agreed, and that it was known before the year."""
    history.record(client, config(), source="bench")
    client.command(
        "INSERT INTO reference_history "
        "SELECT * REPLACE ({start:DateTime('UTC')} AS recorded_at) FROM reference_history",
        parameters={"start": FIRST},
    )


def charge_year(client: Client) -> int:
    """Write the charges of the year, its settlements and its closed months. Returns the number of charges."""
    for first in range(0, YEAR_HOURS, _STEP_HOURS):
        span = {"first": first * LINES_PER_HOUR, "rows": min(_STEP_HOURS, YEAR_HOURS - first) * LINES_PER_HOUR}
        client.command(_CHARGES, parameters={**span, "start": FIRST})
    client.command(_SETTLEMENTS, parameters={"start": FIRST, "hours": YEAR_HOURS, "entries": LINES_PER_HOUR})
    client.command(_COVERAGE, parameters={"start": FIRST, "hours": YEAR_HOURS, "devices": GPUS // CLUSTERS})
    client.command(_CLOSED, parameters={"start": FIRST})
    return YEAR_HOURS * LINES_PER_HOUR


def use_hour(client: Client, hour: datetime) -> int:
    """Write the ledger of an hour. Returns the number of its rows of devices."""
    client.command(_GPU_USAGE, parameters={"start": hour, "rows": GPUS * 60})
    client.command(_TOKEN_USAGE, parameters={"start": hour, "rows": FIRMS * 60})
    return GPUS * 60


_CHARGES = f"""
INSERT INTO charges
WITH
    intDiv(number, {LINES_PER_HOUR}) AS hour, number % {LINES_PER_HOUR} AS line, line % {FIRMS} AS a,
    cityHash64(number) AS h, line < {FIRMS} AS serves, line >= {2 * FIRMS} AS sliced_or_free,
    line >= {2 * FIRMS + 100} AS free, sliced_or_free AND NOT free AS sliced, line % 2 AS held,
    -- up to 17.4 h of devices in a line, so that they make 10,000
    h % 62640000000000 AS gpu_ns, 1 + h % 20000000000 AS cost_nano, intDiv(cost_nano * 2, 3) AS subsidy_nano,
    {{start:DateTime('UTC')}} + hour * 3600 AS begin
SELECT
    begin AS period_start, begin + 3600 AS period_end, toStartOfMonth(begin) AS booked_month, 1 AS revision,
    toDateTime64(period_end, 3, 'UTC') + 600 AS recorded_at, 'charge' AS kind, 'settled' AS reason,
    multiIf(NOT free, 'charged', held, 'unattributed', 'idle') AS category,
    if(free, '', concat('programme-', toString(a % 4))) AS programme,
    if(free, '', concat('firm-', leftPad(toString(a), 3, '0'))) AS agreement,
    concat('cluster-', toString(a % {CLUSTERS})) AS cluster,
    if(serves, concat('deployment-', leftPad(toString(a % {DEPLOYMENTS}), 2, '0')), '') AS deployment,
    multiIf(serves, '', free, if(held, 'stray/job', ''),
        concat('firm-', toString(a), '/train-', toString(intDiv(hour, 24) % 7))) AS workload,
    if(serves, concat('model-', toString(a % {DEPLOYMENTS})), '') AS model,
    concat('{_PRODUCT}', if(sliced, '/3g.40gb', '')) AS sku, '{_PRODUCT}' AS gpu_model,
    if(sliced, '3g.40gb', '') AS slice,
    multiIf(free, '', a % 4 = 1, 'token_price', a % 4 = 2, 'credits gpu_hours', 'cost_share 2/3') AS rule,
    concat('price-', toString(a % {CLUSTERS}), '@2025-01-01') AS price_version,
    reinterpret(toInt128(gpu_ns), 'Decimal(38, 9)') AS gpu_seconds, gpu_seconds AS busy_seconds,
    gpu_seconds AS rgu_seconds, reinterpret(toInt128(intDiv(gpu_ns, 2000)), 'Decimal(38, 3)') AS energy_j,
    gpu_seconds AS counter_seconds, 0 AS integrated_seconds, 0 AS bridged_seconds,
    if(serves, h % 1000000, 0) AS prompt_tokens, if(serves, h % 100000, 0) AS cached_tokens,
    if(serves, h % 200000, 0) AS generation_tokens,
    reinterpret(toInt128(cost_nano), 'Decimal(38, 9)') AS price_cost, 'CAD' AS price_currency, price_cost AS cost,
    if(free, 0, reinterpret(toInt128(subsidy_nano), 'Decimal(38, 9)')) AS accrued, accrued AS subsidy,
    if(free, 0, cost - subsidy) AS charge, 'CAD' AS currency
FROM numbers({{first:UInt64}}, {{rows:UInt64}})
"""

_SETTLEMENTS = """
INSERT INTO settlements
SELECT
    {start:DateTime('UTC')} + number * 3600 AS period_start, 1 AS revision,
    toDateTime64(period_start, 3, 'UTC') + 4200 AS recorded_at, 'final' AS status, 'settled' AS reason,
    recorded_at AS reference_at, {entries:UInt32} AS entries, 0 AS gpu_seconds, 0 AS energy_j, 0 AS tokens
FROM numbers({hours:UInt64})
"""

_COVERAGE = f"""
INSERT INTO coverage_hourly
SELECT
    {{start:DateTime('UTC')}} + intDiv(number, {CLUSTERS}) * 3600 AS period_start,
    concat('cluster-', toString(number % {CLUSTERS})) AS cluster,
    toDateTime64(period_start, 3, 'UTC') + 4200 AS recorded_at, {{devices:UInt32}} AS devices,
    devices * 3599 AS observed_seconds, devices * 3600 AS expected_seconds
FROM numbers({{hours:UInt64}} * {CLUSTERS})
"""

_CLOSED = """
INSERT INTO billing_periods
SELECT
    toStartOfMonth(toDate({start:DateTime('UTC')}) + INTERVAL number MONTH) AS month, 'closed' AS status,
    toDateTime64(month + INTERVAL 1 MONTH, 3, 'UTC') + 5 * 86400 AS recorded_at, 'month is over' AS reason
FROM numbers(11)
"""

# Of each 20 devices 8 serve a deployment, 10 are one job of a firm, one works for nobody who has an agreement, and one
# is idle: lines as in the year's hours.
_GPU_USAGE = f"""
INSERT INTO gpu_usage_store
(
    cluster, device, slice, ts_start, ts_end, minute, shard, node, vendor, gpu_model, share_num, share_den, namespace,
    pod, job, account, workload, deployment, agreement, gpu_seconds, energy_j, busy_seconds, busy_known_seconds,
    samples, method, ended, cost, currency, price_version
)
WITH
    number % {GPUS} AS d, toDateTime64({{start:DateTime('UTC')}}, 3, 'UTC') + intDiv(number, {GPUS}) * 60 AS begin,
    cityHash64(number) AS h, d % 20 AS sort, intDiv(d, 20) AS a, sort < 8 AS serves, sort < 18 AND NOT serves AS works
SELECT
    concat('cluster-', toString(a % {CLUSTERS})) AS cluster, concat('GPU-', toString(d)) AS device, '' AS slice,
    begin AS ts_start, begin + 60 AS ts_end, toDateTime(begin, 'UTC') AS minute,
    concat(cluster, '/c/', toString(d % 4)) AS shard, concat('node-', toString(a)) AS node, 'nvidia' AS vendor,
    '{_PRODUCT}' AS gpu_model, 1 AS share_num, 1 AS share_den,
    multiIf(serves, concat('serving-', toString(a % {DEPLOYMENTS})), works, concat('firm-', toString(a)), '')
        AS namespace,
    multiIf(serves, concat('llm-', toString(sort)), works, 'train', '') AS pod,
    if(sort = 18, 'job-7', '') AS job, '' AS account,
    multiIf(serves OR works, concat(namespace, '/', pod), job) AS workload,
    if(serves, concat('deployment-', leftPad(toString(a % {DEPLOYMENTS}), 2, '0')), '') AS deployment,
    if(works, concat('firm-', leftPad(toString(a), 3, '0')), '') AS agreement,
    60 AS gpu_seconds, reinterpret(toInt64(18000000 + h % 24000000), 'Decimal(18, 3)') AS energy_j,
    reinterpret(toInt64(h % 60000000000), 'Decimal(18, 9)') AS busy_seconds, 60 AS busy_known_seconds, 6 AS samples,
    'counter' AS method, false AS ended, 0.0225 AS cost, 'CAD' AS currency,
    concat('price-', toString(a % {CLUSTERS}), '@2025-01-01') AS price_version
FROM numbers({{rows:UInt64}})
"""

_TOKEN_USAGE = f"""
INSERT INTO token_usage_store
(
    cluster, endpoint, replica, model, team, ts_start, ts_end, minute, shard, served_model, layer, counted, deployment,
    agreement, prompt_tokens, cached_tokens, generation_tokens, requests, resets, samples
)
WITH
    number % {FIRMS} AS a, a % {DEPLOYMENTS} AS d, cityHash64(number) AS h,
    toDateTime64({{start:DateTime('UTC')}}, 3, 'UTC') + intDiv(number, {FIRMS}) * 60 AS begin
SELECT
    concat('cluster-', toString(a % {CLUSTERS})) AS cluster, 'gateway:4000' AS endpoint, '' AS replica,
    concat('model-', toString(d)) AS model, concat('firm-', toString(a)) AS team, begin AS ts_start,
    begin + 60 AS ts_end, toDateTime(begin, 'UTC') AS minute, concat(cluster, '/c/0') AS shard, model AS served_model,
    'gateway' AS layer, true AS counted, concat('deployment-', leftPad(toString(d), 2, '0')) AS deployment,
    concat('firm-', leftPad(toString(a), 3, '0')) AS agreement, h % 400000 AS prompt_tokens,
    h % 100000 AS cached_tokens, h % 90000 AS generation_tokens, 12 AS requests, 0 AS resets, 6 AS samples
FROM numbers({{rows:UInt64}})
"""
