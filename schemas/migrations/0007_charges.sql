-- Finance: priced hours as a journal that only grows, and the months in which its entries are booked.

-- Every row is a difference: what a line was at a moment is the sum of its entries recorded until then. So nothing is
-- ever edited, sums need no FINAL, and `recorded_at <= T` is what was believed at T.
CREATE TABLE charges
(
    period_start DateTime('UTC') COMMENT 'hour of the usage, its first second' CODEC(DoubleDelta, ZSTD(1)),
    period_end DateTime('UTC') COMMENT 'end of that hour, exclusive' CODEC(DoubleDelta, ZSTD(1)),
    booked_month Date COMMENT 'first day of the month that the entry is booked in: that of the usage, or, when it was closed already, the open one' CODEC(Delta, ZSTD(1)),
    revision UInt32 COMMENT 'settlement of the hour that the entry belongs to: 1, 2, 3 …',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when the entry was written' CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String) COMMENT 'charge: first of its hour; revision: in the same month; adjustment: corrects a month that was closed',
    reason String COMMENT 'why: settled, late data, or the reason given to rerate',
    category LowCardinality(String) COMMENT 'charged: an agreement pays; idle: held by nobody; unattributed: held, but by nobody who has an agreement',
    programme LowCardinality(String) COMMENT 'programme id; empty = none',
    agreement LowCardinality(String) COMMENT 'agreement id; empty = none',
    cluster LowCardinality(String) COMMENT 'cluster id',
    deployment LowCardinality(String) COMMENT 'deployment id; empty = none',
    workload String COMMENT 'namespace/pod or job, where there is no deployment',
    model LowCardinality(String) COMMENT 'model served; empty = none',
    sku LowCardinality(String) COMMENT 'what was used: gpu_model, and /profile of a slice',
    gpu_model LowCardinality(String) COMMENT 'product name; empty = tokens of a minute in which no device served them',
    slice LowCardinality(String) COMMENT 'profile of the slice, such as 3g.40gb; empty = whole device',
    rule LowCardinality(String) COMMENT 'what the agreement says for that place and day, such as cost_share 2/3; after = support of what another agreement left',
    price_version LowCardinality(String) COMMENT 'price that was applied: id@effective_from, and /tariff by time of day; empty = no price known',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    rgu_seconds Decimal(38, 9) COMMENT 'device time weighted with reference GPU units, RGU s',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    counter_seconds Decimal(38, 9) COMMENT 'of gpu_seconds: energy measured by the counter, s',
    integrated_seconds Decimal(38, 9) COMMENT 'of gpu_seconds: energy integrated from power, s',
    bridged_seconds Decimal(38, 9) COMMENT 'of gpu_seconds: bridged over a silence, s',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    price_cost Decimal(38, 9) COMMENT 'cost in the currency of the price',
    price_currency LowCardinality(String) COMMENT 'ISO 4217; empty = no price known',
    cost Decimal(38, 9) COMMENT 'cost in currency',
    accrued Decimal(38, 9) COMMENT 'what the rule yields before cap, grant and stacking limit',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays: cost - subsidy; negative where an agreement supports what another left',
    currency LowCardinality(String) COMMENT 'ISO 4217: of the programme; CAD where there is none',
    -- What agreements have used up is asked at every settlement. A projection is part of the parts it sums up, so that it
    -- can never say anything else than they do.
    PROJECTION used
    (
        SELECT agreement, rule, toDate(period_start), sum(subsidy), sum(gpu_seconds), sum(rgu_seconds)
        GROUP BY agreement, rule, toDate(period_start)
    )
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(period_start)
ORDER BY (agreement, period_start, cluster, deployment, workload, sku, price_version, rule, recorded_at)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Charges: one revision of one priced line of an hour, as a difference to what was recorded before. Append-only; add up';

CREATE VIEW charges_hourly
(
    period_start DateTime('UTC') COMMENT 'hour of the usage, its first second',
    category LowCardinality(String) COMMENT 'charged, idle or unattributed',
    programme LowCardinality(String) COMMENT 'programme id; empty = none',
    agreement LowCardinality(String) COMMENT 'agreement id; empty = none',
    cluster LowCardinality(String) COMMENT 'cluster id',
    deployment LowCardinality(String) COMMENT 'deployment id; empty = none',
    workload String COMMENT 'namespace/pod or job, where there is no deployment',
    model LowCardinality(String) COMMENT 'model served; empty = none',
    sku LowCardinality(String) COMMENT 'what was used: gpu_model, and /profile of a slice',
    rule LowCardinality(String) COMMENT 'what the agreement says for that place and day',
    price_version LowCardinality(String) COMMENT 'price that was applied',
    revision UInt32 COMMENT 'latest settlement that changed the line',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when it was last changed',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    rgu_seconds Decimal(38, 9) COMMENT 'device time weighted with reference GPU units, RGU s',
    tokens Int64 COMMENT 'prompt and generation tokens',
    cost Decimal(38, 9) COMMENT 'cost in currency',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
AS SELECT
    period_start, category, programme, agreement, cluster, deployment, workload, model, sku, rule, price_version,
    max(charges.revision) AS revision, max(charges.recorded_at) AS recorded_at,
    sum(charges.gpu_seconds) AS gpu_seconds, sum(charges.energy_j) AS energy_j, sum(charges.rgu_seconds) AS rgu_seconds,
    sum(charges.prompt_tokens + charges.generation_tokens) AS tokens,
    sum(charges.cost) AS cost, sum(charges.subsidy) AS subsidy, sum(charges.charge) AS charge, currency
FROM charges
GROUP BY period_start, category, programme, agreement, cluster, deployment, workload, model, sku, rule, price_version, currency
COMMENT 'Charges as they stand now: each line of an hour once';

CREATE TABLE settlements
(
    period_start DateTime('UTC') COMMENT 'hour that was settled',
    revision UInt32 COMMENT '1, 2, 3 … of the hour',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when',
    status LowCardinality(String) COMMENT 'provisional: may still change by itself; final: changes only by late data or rerate, with a reason',
    reason String COMMENT 'why: settled, late data, or the reason given to rerate',
    reference_at DateTime64(3, 'UTC') COMMENT 'the hour is priced with the reference data as recorded until this moment',
    entries UInt32 COMMENT 'entries that the settlement wrote into charges',
    gpu_seconds Decimal(38, 9) COMMENT 'device time of the ledger that was charged, s',
    energy_j Decimal(38, 3) COMMENT 'energy of the ledger that was charged, J',
    tokens Int64 COMMENT 'counted tokens of the ledger that were charged'
)
ENGINE = MergeTree
PARTITION BY toYear(period_start)
ORDER BY (period_start, revision, recorded_at)
COMMENT 'Settlements of hours; the latest revision is the one that holds. Written after its entries';

CREATE TABLE coverage_hourly
(
    period_start DateTime('UTC') COMMENT 'hour',
    cluster LowCardinality(String) COMMENT 'cluster id',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when it was found; the latest holds',
    devices UInt32 COMMENT 'devices that were seen in the hour or in the one before',
    observed_seconds Decimal(38, 9) COMMENT 'device time that was metered, s',
    expected_seconds Decimal(38, 9) COMMENT 'devices x 3600, s'
)
ENGINE = MergeTree
PARTITION BY toYear(period_start)
ORDER BY (period_start, cluster, recorded_at)
COMMENT 'How much of each hour was observed';

CREATE TABLE billing_periods
(
    month Date COMMENT 'first day of the month',
    status LowCardinality(String) COMMENT 'closed; a month without a row is open',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when',
    reason String COMMENT 'why'
)
ENGINE = MergeTree
ORDER BY (month, recorded_at)
COMMENT 'Months that are closed: nothing more is booked in them';

CREATE TABLE subsidy_forecasts
(
    recorded_at DateTime64(3, 'UTC') COMMENT 'when the forecast was made',
    programme LowCardinality(String) COMMENT 'programme id',
    agreement LowCardinality(String) COMMENT 'agreement id',
    until DateTime('UTC') COMMENT 'charges up to here are in it',
    spent Decimal(38, 9) COMMENT 'subsidy spent until then, before metering included',
    planned Nullable(Decimal(38, 9)) COMMENT 'subsidy that was planned to be spent by then; null = no plan and no cap',
    remaining Nullable(Decimal(38, 9)) COMMENT 'what is left of the cap; null = no cap',
    days UInt32 COMMENT 'whole days of charges that the forecast rests on',
    mean_per_day Decimal(38, 9) COMMENT 'subsidy per day over these days',
    projected_end_early Nullable(DateTime('UTC')) COMMENT 'early end of the band: 1 in 10 ends sooner',
    projected_end Nullable(DateTime('UTC')) COMMENT 'when the cap is reached at the mean rate; null = not within the agreement, no cap, or nothing burns',
    projected_end_late Nullable(DateTime('UTC')) COMMENT 'late end of the band: 1 in 10 ends later; null = beyond the agreement',
    spent_at_end Nullable(Decimal(38, 9)) COMMENT 'what will have been spent on the last day of the agreement, at most the cap',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (agreement, recorded_at)
COMMENT 'Forecasts: when the money of each agreement is gone, made once an hour from settled charges';

CREATE TABLE settlement_leases
(
    holder String COMMENT 'who settles: host, process and a random part',
    taken_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'when the row was written, by the clock of the server',
    seconds UInt32 COMMENT 'for so long from then; 0 = given back'
)
ENGINE = MergeTree
ORDER BY taken_at
TTL toDateTime(taken_at) + INTERVAL 1 DAY
COMMENT 'Who may write charges: one at a time';
