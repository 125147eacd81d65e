-- What the stream workers conclude from the ledger, and the reference data they concluded it with.

CREATE TABLE unit_costs_store
(
    minute DateTime('UTC') COMMENT 'minute' CODEC(DoubleDelta, ZSTD(1)),
    cluster LowCardinality(String) COMMENT 'cluster id',
    model LowCardinality(String) COMMENT 'model served; empty = work that serves no model',
    agreement LowCardinality(String) COMMENT 'agreement; empty = unattributed',
    programme LowCardinality(String) COMMENT 'programme of the agreement',
    version UInt64 COMMENT 'observations behind the line; the highest replaces',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    cost Decimal(38, 9) COMMENT 'cost on the allocation basis, in currency',
    usage_cost Decimal(38, 9) COMMENT 'cost on the usage basis: the busy part of cost',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays, before the cap',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays, before the cap',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, cluster, model, agreement)
COMMENT 'Unit costs as stored: superseded versions may be present until merged; read unit_costs';

CREATE VIEW unit_costs
(
    minute DateTime('UTC') COMMENT 'minute',
    cluster LowCardinality(String) COMMENT 'cluster id',
    model LowCardinality(String) COMMENT 'model served; empty = work that serves no model',
    agreement LowCardinality(String) COMMENT 'agreement; empty = unattributed',
    programme LowCardinality(String) COMMENT 'programme of the agreement',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    cost Decimal(38, 9) COMMENT 'cost on the allocation basis, in currency',
    usage_cost Decimal(38, 9) COMMENT 'cost on the usage basis: the busy part of cost',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    cost_per_mtok Nullable(Float64) COMMENT 'cost / (prompt + generation tokens) x 1e6; null without tokens. For display: exact sums come from cost and tokens',
    cost_per_mtok_output Nullable(Float64) COMMENT 'cost / generation tokens x 1e6; null without output. For display',
    energy_j_per_token Nullable(Float64) COMMENT 'GPU energy / (prompt + generation tokens), J; scope: GPU only',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays, before the cap',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays, before the cap',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
AS SELECT
    minute, cluster, model, agreement, programme, gpu_seconds, busy_seconds, energy_j, cost, usage_cost,
    prompt_tokens, cached_tokens, generation_tokens,
    if(prompt_tokens + generation_tokens = 0, NULL, toFloat64(cost) * 1e6 / (prompt_tokens + generation_tokens)) AS cost_per_mtok,
    if(generation_tokens = 0, NULL, toFloat64(cost) * 1e6 / generation_tokens) AS cost_per_mtok_output,
    if(prompt_tokens + generation_tokens = 0, NULL, toFloat64(energy_j) / (prompt_tokens + generation_tokens)) AS energy_j_per_token,
    subsidy, charge, currency
FROM unit_costs_store FINAL
WHERE gpu_seconds != 0 OR prompt_tokens + generation_tokens != 0
COMMENT 'Cost, tokens and energy of (minute, cluster, model, agreement). Costs add up to those of gpu_usage';

CREATE TABLE subsidy_burn_store
(
    minute DateTime('UTC') COMMENT 'minute' CODEC(DoubleDelta, ZSTD(1)),
    programme LowCardinality(String) COMMENT 'programme id',
    agreement LowCardinality(String) COMMENT 'agreement id',
    ts DateTime64(3, 'UTC') COMMENT 'moment up to which usage is included; the latest replaces',
    spent Decimal(38, 9) COMMENT 'subsidy spent so far, at most the cap',
    accrued Decimal(38, 9) COMMENT 'subsidy that the rule yields so far, cap not applied',
    cap Nullable(Decimal(38, 9)) COMMENT 'most that the programme pays; null = no cap',
    rate_per_hour Decimal(38, 9) COMMENT 'subsidy per hour at the current rate',
    runway_hours Nullable(Float64) COMMENT 'hours to the cap at the current rate; null = nothing burns or no cap',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
ENGINE = ReplacingMergeTree(ts)
PARTITION BY toYYYYMM(minute)
ORDER BY (agreement, minute)
COMMENT 'Subsidy burn as stored; read subsidy_burn';

CREATE VIEW subsidy_burn
(
    minute DateTime('UTC') COMMENT 'minute',
    programme LowCardinality(String) COMMENT 'programme id',
    agreement LowCardinality(String) COMMENT 'agreement id',
    ts DateTime64(3, 'UTC') COMMENT 'moment up to which usage is included',
    spent Decimal(38, 9) COMMENT 'subsidy spent so far, at most the cap',
    accrued Decimal(38, 9) COMMENT 'subsidy that the rule yields so far, cap not applied',
    cap Nullable(Decimal(38, 9)) COMMENT 'most that the programme pays; null = no cap',
    rate_per_hour Decimal(38, 9) COMMENT 'subsidy per hour at the current rate',
    runway_hours Nullable(Float64) COMMENT 'hours to the cap at the current rate; null = nothing burns or no cap',
    projected_end Nullable(DateTime('UTC')) COMMENT 'when the cap is reached at the current rate; null beyond 50 years',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
AS SELECT
    minute, programme, agreement, ts, spent, accrued, cap, rate_per_hour, runway_hours,
    if(runway_hours IS NULL OR runway_hours > 438000, NULL, toDateTime(ts, 'UTC') + toIntervalSecond(toInt64(ifNull(runway_hours, 0) * 3600))) AS projected_end,
    currency
FROM subsidy_burn_store FINAL
COMMENT 'Subsidy of each agreement at each minute: spent, rate, runway';

CREATE TABLE alerts
(
    ts DateTime64(3, 'UTC') COMMENT 'when the alert changed',
    fingerprint String COMMENT 'identity of rule and subject',
    rule LowCardinality(String) COMMENT 'rule that fired',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    subject String COMMENT 'agreement, device, cluster or model that it is about',
    state LowCardinality(String) COMMENT 'firing or resolved',
    value Float64 COMMENT 'measured value',
    threshold Float64 COMMENT 'value that the rule compares with',
    summary String COMMENT 'what happened, in a sentence',
    starts_at DateTime64(3, 'UTC') COMMENT 'when the condition began',
    ends_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it ended; null while firing'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (fingerprint, starts_at, state)
COMMENT 'Changes of alerts: at most one firing and one resolved row per alert and start';

CREATE TABLE data_quality
(
    ts DateTime64(3, 'UTC') COMMENT 'when it was seen',
    cluster LowCardinality(String) COMMENT 'cluster id',
    source String COMMENT 'target, shard or topic where it was seen',
    kind LowCardinality(String) COMMENT 'name of the defect',
    subject String COMMENT 'device, series or message that it is about',
    detail String COMMENT 'what exactly'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (cluster, kind, source, subject, ts)
COMMENT 'Defects seen in the data, one row each; a replay adds none';

CREATE TABLE quarantine
(
    ts DateTime64(3, 'UTC') COMMENT 'when the message was put aside',
    topic LowCardinality(String) COMMENT 'topic that it came from',
    kafka_partition Int32 COMMENT 'partition',
    kafka_offset Int64 COMMENT 'offset',
    reason String COMMENT 'why it could not be read',
    bytes UInt64 COMMENT 'size of the untouched value, kept in the Kafka topic quarantine'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (topic, kafka_partition, kafka_offset)
COMMENT 'Messages that could not be read';

CREATE TABLE clusters
(
    id String COMMENT 'cluster id',
    name String COMMENT 'display name',
    operator String COMMENT 'who runs it',
    country LowCardinality(String) COMMENT 'ISO 3166-1 alpha-2',
    region String COMMENT 'region or province',
    pue Decimal(18, 9) COMMENT 'power usage effectiveness: facility energy / IT energy',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was read from the configuration'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY id
COMMENT 'Clusters';

CREATE TABLE deployments
(
    id String COMMENT 'deployment id',
    cluster String COMMENT 'cluster id',
    model String COMMENT 'model served',
    agreement String COMMENT 'agreement that it belongs to; empty = shared or none',
    shared Bool COMMENT 'true: its cost is divided by the tokens of its tenants',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was read from the configuration'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY id
COMMENT 'Deployments: what serves a model';

CREATE TABLE prices
(
    id String COMMENT 'price id',
    cluster String COMMENT 'cluster id',
    gpu_model String COMMENT 'shell-style pattern of product names',
    basis LowCardinality(String) COMMENT 'owned or rented',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    capex Nullable(Decimal(38, 9)) COMMENT 'purchase price of one GPU (owned)',
    lifetime_years Nullable(Decimal(38, 9)) COMMENT 'years over which it is written off, 8,766 hours each (owned)',
    opex_per_gpu_hour Decimal(38, 9) COMMENT 'operation, per GPU-hour (owned)',
    energy_per_kwh Decimal(38, 9) COMMENT 'electricity tariff per kWh (owned)',
    per_gpu_hour Nullable(Decimal(38, 9)) COMMENT 'contract price per GPU-hour (rented)',
    effective_from Date COMMENT 'first day',
    effective_to Nullable(Date) COMMENT 'first day on which it no longer holds; null = open',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was read from the configuration'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY (id, effective_from)
COMMENT 'Prices of devices, effective-dated';

CREATE TABLE fx_rates
(
    base LowCardinality(String) COMMENT 'ISO 4217',
    quote LowCardinality(String) COMMENT 'ISO 4217',
    rate Decimal(38, 9) COMMENT 'units of quote for one unit of base',
    effective_from Date COMMENT 'first day',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was read from the configuration'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY (base, quote, effective_from)
COMMENT 'Exchange rates, effective-dated';

CREATE TABLE programmes
(
    id String COMMENT 'programme id',
    name_en String COMMENT 'name in English',
    name_fr String COMMENT 'name in French',
    budget Decimal(38, 9) COMMENT 'money granted to the programme',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    starts Date COMMENT 'first day',
    ends Date COMMENT 'last day, inclusive',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was read from the configuration'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY id
COMMENT 'Programmes that pay';

CREATE TABLE agreements
(
    id String COMMENT 'agreement id',
    programme String COMMENT 'programme id',
    recipient String COMMENT 'organisation that receives the subsidy',
    country LowCardinality(String) COMMENT 'ISO 3166-1 alpha-2',
    rule LowCardinality(String) COMMENT 'cost_share, token_price or credits',
    terms String COMMENT 'parameters of the rule, JSON; fractions as written',
    cap Nullable(Decimal(38, 9)) COMMENT 'most that the programme pays, in its currency',
    spent_before Decimal(38, 9) COMMENT 'subsidy spent before Commonwatt began to meter',
    starts Date COMMENT 'first day',
    ends Date COMMENT 'last day, inclusive',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was read from the configuration'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY id
COMMENT 'Agreements between a programme and a recipient';
