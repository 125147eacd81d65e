"""A book for the dashboards: a year of 10,000 GPUs rolled up, and the last minutes in full.

Agreements, clusters and products are those of `finance_book`: firm a works on cluster a % 8 and is a tenant of the
deployment a % 40. Everything is made inside of ClickHouse, and ends now.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.reference import tables
from schemas.config import Config
from tests.bench import finance_book
from tests.bench.finance_book import CLUSTERS, DEPLOYMENTS, FIRMS, GPUS

DAYS = 365
HOUR = timedelta(hours=1)
LINES = 2 * FIRMS + 2 * CLUSTERS
"""Of an hour: what each firm serves and what it computes, and what is idle or unattributed on each cluster."""
SHARDS = 2 * CLUSTERS
"""One of devices and one of tokens on each cluster, with a message every ten seconds."""
DETAILED = timedelta(days=2)
"""Of which `unit_costs` has every line; the rest of the year has one a minute and cluster, so that reading it shows."""
BURNED = timedelta(days=31)
"""Of which `subsidy_burn` has every agreement; the rest of the year has a few."""


def config() -> Config:
    """That of `finance_book`, with regions and the carbon intensity of their electricity."""
    regions = ("CA-QC", "CA-ON", "CA-BC", "CA-AB")
    written = finance_book.config().model_dump()
    for number, cluster in enumerate(written["cluster"]):
        cluster["region"] = regions[number % len(regions)]
    written["carbon"] = [
        {
            "region": region,
            "g_per_kwh": str(30 + 100 * number),
            "vintage": "2025",
            "source": "bench",
            "effective_from": "2025-01-01",
        }
        for number, region in enumerate(regions)
    ]
    return Config.model_validate(written)


def fill(client: Client, now: datetime | None = None) -> datetime:
    """Write the book. Returns the moment up to which its hours are settled and rolled up: one to two hours ago."""
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    settled = now.replace(minute=0, second=0) - HOUR
    year = settled - timedelta(days=DAYS)
    tables.store(client, config(), source="bench")
    hours = DAYS * 24
    for name, rows in (("costs", hours * LINES), ("gpu", hours * GPUS)):
        step = 730 if name == "costs" else 73
        for first in range(0, hours, step):
            per_hour = rows // hours
            span = {"first": first * per_hour, "rows": min(step, hours - first) * per_hour, "year": year}
            client.command(_ROLLED_UP[name], parameters=span)
    span = {"year": year, "hours": hours, "settled": settled, "now": now}
    minutes = int((now - settled).total_seconds()) // 60
    span |= {
        "minutes": minutes, "unsettled_rows": minutes * GPUS, "sampled": now.replace(second=0) - timedelta(minutes=10),
        "detailed": now.replace(second=0) - DETAILED, "detailed_rows": int(DETAILED.total_seconds()) // 60 * LINES,
        "sparse_rows": ((now - DETAILED - year) // timedelta(minutes=1)) * CLUSTERS,
        "burned": now.replace(second=0) - BURNED, "burned_rows": BURNED // timedelta(minutes=1) * FIRMS,
        "burned_sparse": ((now - BURNED - year) // timedelta(minutes=1)) * 4,
    }  # fmt: skip
    for statement in _REST:
        client.command(statement, parameters=_named(statement, span))
    return settled


def _named(statement: str, span: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in span.items() if f"{{{name}:" in statement}


_PRODUCT = "NVIDIA H100 80GB HBM3"
_CLUSTER = f"concat('cluster-', toString(a % {CLUSTERS}))"
_FIRM = "concat('firm-', leftPad(toString(a), 3, '0'))"

# Line numbers of an hour or a minute: firms that serve, firms that compute, then what is idle and what is unattributed.
_LINE = f"""
    number % {LINES} AS line, line % {FIRMS} AS a, cityHash64(number) AS h, line < {FIRMS} AS serves,
    line >= {2 * FIRMS} AS free, line % 2 AS held"""
_LINE_NAMES = f"""
    {_CLUSTER} AS cluster, if(serves, concat('model-', toString(a % {DEPLOYMENTS})), '') AS model,
    if(free, '', {_FIRM}) AS agreement, if(free, '', concat('programme-', toString(a % 4))) AS programme"""

# About 20 devices a firm, at about 2.25 CAD an hour each.
_COSTS = f"""
INSERT INTO costs_hourly_store
WITH {{year:DateTime('UTC')}} + intDiv(number, {LINES}) * 3600 AS begin, {_LINE}
SELECT
    begin AS period_start, {_LINE_NAMES}, multiIf(NOT free, 'charged', held, 'unattributed', 'idle') AS category,
    'CAD' AS currency, reinterpret(toInt128(36000000000000 + h % 1000000000000), 'Decimal(38, 9)') AS gpu_seconds,
    if(free AND NOT held, toDecimal128(0, 9), gpu_seconds - h % 10000) AS busy_seconds,
    reinterpret(toInt128(16000000000 + h % 1000000000), 'Decimal(38, 3)') AS energy_j,
    if(serves, h % 100000000, 0) AS prompt_tokens, if(serves, h % 10000000, 0) AS cached_tokens,
    if(serves, h % 20000000, 0) AS generation_tokens,
    reinterpret(toInt128(22000000000 + h % 1000000000), 'Decimal(38, 9)') AS cost,
    cost - h % 7 AS usage_cost, toDecimal128(1, 9) AS energy_cost, toDecimal128(2, 9) AS operation_cost,
    cost - 3 AS capital_cost, 0 AS contract_cost, if(free, toDecimal128(0, 9), cost - 8) AS subsidy,
    if(free, toDecimal128(0, 9), cost - subsidy) AS charge, 1 AS revision, 0 AS gone
FROM numbers({{first:UInt64}}, {{rows:UInt64}})
"""

# Of each 20 devices 8 serve a deployment, 10 are one job of a firm, one works for nobody who has an agreement, and one
# is idle. A job in 50 does nothing.
_DEVICE = """
    cityHash64(number) AS h, d % 20 AS sort, intDiv(d, 20) AS a, sort < 8 AS serves, sort < 18 AND NOT serves AS works,
    a % 50 = 7 AND sort != 19 AS lazy"""
_DEVICE_NAMES = f"""
    multiIf(serves, concat('serving-', toString(a % {DEPLOYMENTS}), '/llm-', toString(sort)),
        works, concat('firm-', toString(a), '/train'), sort = 18, 'job-7', '') AS workload,
    if(serves, concat('deployment-', leftPad(toString(a % {DEPLOYMENTS}), 2, '0')), '') AS deployment,
    if(works, {_FIRM}, '') AS agreement"""

_GPU = f"""
INSERT INTO gpu_usage_hourly_store
(
    period_start, cluster, device, slice, workload, agreement, currency, node, vendor, gpu_model, deployment,
    gpu_seconds, energy_j, busy_seconds, busy_known_seconds, cost, revision
)
WITH
    {{year:DateTime('UTC')}} + intDiv(number, {GPUS}) * 3600 AS begin,
    -- in the order of clusters, so that nothing needs to be sorted
    number % {GPUS} AS place, intDiv(place, {GPUS // CLUSTERS}) AS c, place % {GPUS // CLUSTERS} AS of_cluster,
    (intDiv(of_cluster, 20) * {CLUSTERS} + c) % {FIRMS} * 20 + of_cluster % 20 AS d, {_DEVICE}
SELECT
    begin AS period_start, concat('cluster-', toString(c)) AS cluster, concat('GPU-', leftPad(toString(place), 5, '0')),
    '' AS slice, {_DEVICE_NAMES.split(" AS workload,")[0]} AS workload, if(works, {_FIRM}, '') AS agreement, 'CAD',
    concat('node-', toString(a)) AS node, 'nvidia' AS vendor, '{_PRODUCT}' AS gpu_model,
    if(serves, concat('deployment-', leftPad(toString(a % {DEPLOYMENTS}), 2, '0')), '') AS deployment,
    3600 AS gpu_seconds, reinterpret(toInt64(1600000000 + h % 1000000000), 'Decimal(18, 3)') AS energy_j,
    if(lazy, toDecimal64(0, 9), reinterpret(toInt64(h % 3600000000000), 'Decimal(18, 9)')) AS busy_seconds,
    3600 AS busy_known_seconds, 2.25 AS cost, 1 AS revision
FROM numbers({{first:UInt64}}, {{rows:UInt64}})
"""

_ROLLED_UP = {"costs": _COSTS, "gpu": _GPU}

_REST = (
    """
INSERT INTO costs_daily_store
SELECT
    toDate(period_start) AS day, cluster, model, agreement, any(programme), category, currency, sum(gpu_seconds),
    sum(busy_seconds), sum(energy_j), sum(prompt_tokens), sum(cached_tokens), sum(generation_tokens), sum(cost),
    sum(usage_cost), sum(energy_cost), sum(operation_cost), sum(capital_cost), sum(contract_cost), sum(subsidy),
    sum(charge), count(), 0
FROM costs_hourly_store
GROUP BY day, cluster, model, agreement, category, currency
""",
    """
INSERT INTO fleet_hourly_store
SELECT
    period_start, cluster, gpu_model, currency, uniqExact(device), sum(s.gpu_seconds),
    sumIf(s.gpu_seconds, workload != ''), sum(s.busy_seconds),
    sumIf(s.gpu_seconds, workload != '' AND s.busy_seconds = 0), sumIf(s.cost, workload != '' AND s.busy_seconds = 0),
    sum(s.energy_j), sum(s.cost), 1, 0
FROM gpu_usage_hourly_store AS s
WHERE period_start >= {settled:DateTime('UTC')} - INTERVAL 1 HOUR
GROUP BY period_start, cluster, gpu_model, currency
""",
    # The other hours of the year like the last.
    """
INSERT INTO fleet_hourly_store
SELECT s.* REPLACE ({year:DateTime('UTC')} + n.number * 3600 AS period_start)
FROM fleet_hourly_store AS s CROSS JOIN (SELECT number FROM numbers({hours:UInt64} - 1)) AS n
""",
    """
INSERT INTO rollups
SELECT {year:DateTime('UTC')} + number * 3600 AS hour, 1, toDateTime64(hour, 3, 'UTC') + 3725
FROM numbers({hours:UInt64})
""",
    """
INSERT INTO settlements
SELECT
    {year:DateTime('UTC')} + number * 3600 AS hour, 1, toDateTime64(hour, 3, 'UTC') + 3720,
    if(number + 72 < {hours:UInt64}, 'final', 'provisional'), 'settled', toDateTime64(hour, 3, 'UTC'), 1000, 0, 0, 0
FROM numbers({hours:UInt64})
""",
    f"""
INSERT INTO coverage_hourly
SELECT
    {{year:DateTime('UTC')}} + intDiv(number, {CLUSTERS}) * 3600 AS hour,
    concat('cluster-', toString(number % {CLUSTERS})), toDateTime64(hour, 3, 'UTC') + 3720,
    {GPUS // CLUSTERS}, {GPUS // CLUSTERS * 3590}, {GPUS // CLUSTERS * 3600}
FROM numbers({{hours:UInt64}} * {CLUSTERS})
""",
    f"""
INSERT INTO unit_costs_store
WITH {{detailed:DateTime('UTC')}} + intDiv(number, {LINES}) * 60 AS begin, {_LINE}
SELECT
    begin AS minute, {_LINE_NAMES}, 1 AS version,
    reinterpret(toInt128(600000000000 + h % 10000000000), 'Decimal(38, 9)') AS gpu_seconds,
    gpu_seconds - h % 100 AS busy_seconds, reinterpret(toInt128(270000000 + h % 10000000), 'Decimal(38, 3)'),
    reinterpret(toInt128(370000000 + h % 10000000), 'Decimal(38, 9)') AS cost, cost AS usage_cost,
    if(serves, h % 1600000, 0), if(serves, h % 160000, 0), if(serves, h % 300000, 0),
    if(free, toDecimal128(0, 9), cost * 2 / 3) AS subsidy, if(free, toDecimal128(0, 9), cost - subsidy), 'CAD'
FROM numbers({{detailed_rows:UInt64}})
""",
    f"""
INSERT INTO unit_costs_store
SELECT
    {{year:DateTime('UTC')}} + intDiv(number, {CLUSTERS}) * 60, concat('cluster-', toString(number % {CLUSTERS})),
    concat('model-', toString(number % {DEPLOYMENTS})), 'firm-001', 'programme-1', 1, 60, 50, 20000, 0.04, 0.03, 100000,
    1000, 20000, 0.02, 0.02, 'CAD'
FROM numbers({{sparse_rows:UInt64}})
""",
    f"""
INSERT INTO gpu_usage_store
(
    cluster, device, slice, ts_start, ts_end, minute, shard, node, vendor, gpu_model, share_num, share_den, workload,
    deployment, agreement, gpu_seconds, energy_j, busy_seconds, busy_known_seconds, samples, method, cost, currency,
    price_version
)
WITH
    number % {GPUS} AS d, {{settled:DateTime('UTC')}} + intDiv(number, {GPUS}) * 60 AS begin, {_DEVICE},
    {_CLUSTER} AS c
SELECT
    c AS cluster, concat('GPU-', leftPad(toString(d), 5, '0')), '', begin, begin + 60, begin, concat(c, '/c/0'),
    concat('node-', toString(a)), 'nvidia', '{_PRODUCT}', 1, 1, {_DEVICE_NAMES}, 60,
    reinterpret(toInt64(18000000 + h % 24000000), 'Decimal(18, 3)'),
    if(lazy, toDecimal64(0, 9), reinterpret(toInt64(h % 60000000000), 'Decimal(18, 9)')), 60, 6, 'counter', 0.0375,
    'CAD', concat('price-', toString(a % {CLUSTERS}), '@2025-01-01')
FROM numbers({{unsettled_rows:UInt64}})
""",
    f"""
INSERT INTO gpu_series
WITH number AS d, {_DEVICE}
SELECT
    number AS series, {_CLUSTER}, concat('node-', toString(a)), concat('GPU-', leftPad(toString(d), 5, '0')), '',
    'nvidia', '{_PRODUCT}', 'gr_engine_active', multiIf(serves, concat('serving-', toString(a % {DEPLOYMENTS})), works,
    concat('firm-', toString(a)), ''), multiIf(serves, concat('llm-', toString(sort)), works, 'train', ''), '', ''
FROM numbers({GPUS})
""",
    f"""
INSERT INTO gpu_samples_store
SELECT
    number % {GPUS}, toDateTime64({{sampled:DateTime('UTC')}}, 3, 'UTC') + intDiv(number, {GPUS}) * 10,
    300 + number % 400, number * 3000, (number % 100) / 100, 0.5, 60000, 30 + number % 50
FROM numbers({60 * GPUS})
""",
    f"""
INSERT INTO subsidy_burn_store
(
    minute, programme, agreement, ts, spent, accrued, cap, rate_per_hour, rate_1h_per_hour, rate_6h_per_hour,
    rate_3d_per_hour, planned, sustainable_per_hour, runway_hours, currency
)
WITH intDiv(number, {FIRMS}) AS m, number % {FIRMS} AS a
SELECT
    {{burned:DateTime('UTC')}} + m * 60 AS minute, concat('programme-', toString(a % 4)), {_FIRM}, minute + 60,
    reinterpret(toInt128(4000000000000000 + m * 1200000000), 'Decimal(38, 9)') AS spent, spent,
    if(a % 4 = 3, 5000000, NULL), 30 + a % 7, 30, 29, 28, 4200000, 31, if(a % 4 = 3, 30000, NULL), 'CAD'
FROM numbers({{burned_rows:UInt64}})
""",
    """
INSERT INTO subsidy_burn_store (minute, programme, agreement, ts, spent, accrued, cap, rate_per_hour, currency)
SELECT
    {year:DateTime('UTC')} + intDiv(number, 4) * 60 AS minute, concat('programme-', toString(number % 4)),
    concat('firm-00', toString(number % 4)), minute + 60, 1000, 1000, NULL, 30, 'CAD'
FROM numbers({burned_sparse:UInt64})
""",
    f"""
INSERT INTO subsidy_forecasts
WITH intDiv(number, {FIRMS}) AS hour, number % {FIRMS} AS a
SELECT
    {{year:DateTime('UTC')}} + hour * 3600 + 125 AS recorded_at, concat('programme-', toString(a % 4)), {_FIRM},
    recorded_at - 125, reinterpret(toInt128(hour * 70000000000), 'Decimal(38, 9)'), 4200000,
    if(a % 4 = 3, 800000, NULL), 28, 720, if(a % 4 = 3, recorded_at + 86400 * 100, NULL),
    if(a % 4 = 3, recorded_at + 86400 * 120, NULL), if(a % 4 = 3, recorded_at + 86400 * 150, NULL), 4900000, 'CAD'
FROM numbers({{hours:UInt64}} * {FIRMS})
""",
    f"""
INSERT INTO telemetry_messages_store
(shard, boot, seq, topic, kafka_partition, kafka_offset, rows, ts_first, ts_last, fate, stored_at)
WITH
    number % {SHARDS} AS s, intDiv(number, {SHARDS}) AS seq,
    toDateTime64({{now:DateTime('UTC')}}, 3, 'UTC') - (302400 - seq) * 10 AS ts
SELECT
    concat('cluster-', toString(s % {CLUSTERS}), '/c/', toString(intDiv(s, {CLUSTERS}))), 'boot', seq + 1,
    if(s < {CLUSTERS}, 'telemetry.gpu', 'telemetry.tokens'), s, seq, 1250, ts, ts + 1, 'metered', ts + 2 + number % 3
FROM numbers({302_400 * SHARDS})
""",
    f"""
INSERT INTO data_quality
WITH cityHash64(number) AS h
SELECT
    {{now:DateTime('UTC')}} - h % {DAYS * 86400}, concat('cluster-', toString(number % {CLUSTERS})),
    concat('cluster-', toString(number % {CLUSTERS}), '/c/0'),
    ['counter_reset', 'clock_step', 'out_of_range', 'gap', 'sequence_gap', 'energy_frozen'][number % 6 + 1],
    concat('GPU-', leftPad(toString(h % {GPUS}), 5, '0')), 'as seen'
FROM numbers(300000)
""",
    f"""
INSERT INTO alerts
(
    ts, fingerprint, rule, severity, subject, state, value, threshold, summary, summary_fr, cluster, agreement,
    at_stake_per_hour, currency, starts_at, ends_at
)
WITH
    cityHash64(intDiv(number, 2)) AS h, number % 2 AS resolved, h % {FIRMS} AS a,
    -- 60 of them are still open
    resolved AND number > 120 AS closes, {{now:DateTime('UTC')}} - h % {DAYS * 86400} AS begin
SELECT
    if(closes, begin + 1800, begin) AS ts, toString(h), ['budget_80', 'allocated_idle', 'coverage', 'lag'][h % 4 + 1],
    ['warning', 'critical', 'info'][h % 3 + 1], {_FIRM}, if(closes, 'resolved', 'firing'), 0.83, 0.8,
    'firm used 83 % of its cap', 'l’entente a utilisé 83 % de son plafond', {_CLUSTER}, {_FIRM}, 30, 'CAD', begin,
    if(closes, begin + 1800, NULL)
FROM numbers(40000)
""",
)
