-- Reference data with their history: what was known about prices, terms and places, and when.

CREATE TABLE reference_history
(
    recorded_at DateTime64(3, 'UTC') COMMENT 'when the entry was recorded; what was recorded together has one moment',
    section LowCardinality(String) COMMENT 'section of the configuration: cluster, deployment, price, fx_rate, programme, agreement, rgu, carbon, pool, finance',
    id String COMMENT 'id of the entry, or what tells it from others: USD/CAD@2026-01-01, NVIDIA H100*/3g.40gb@2026-04-01, CA-QC@2026-01-01, finance',
    position UInt32 COMMENT 'place among the entries of its section: the first whose patterns fit holds',
    body String COMMENT 'the entry as JSON, exact: amounts are texts, 2/3 stays 2/3; without the targets of a cluster' CODEC(ZSTD(1)),
    withdrawn Bool COMMENT 'true: from then on the entry does not hold any more',
    origin LowCardinality(String) COMMENT 'configuration: the file of up; applied: a correction, which that file does not undo',
    source String COMMENT 'file that it was read from'
)
ENGINE = MergeTree
ORDER BY (section, id, recorded_at)
COMMENT 'Reference data as recorded. Append-only: as of a moment, the newest row of each entry until then holds, unless it is withdrawn';

ALTER TABLE clusters
    ADD COLUMN operator_country LowCardinality(String) DEFAULT country COMMENT 'home of who runs it, ISO 3166-1 alpha-2' AFTER region,
    ADD COLUMN timezone LowCardinality(String) DEFAULT 'UTC' COMMENT 'in which tariffs by time of day are written' AFTER operator_country;

ALTER TABLE prices
    ADD COLUMN residual_value Nullable(Decimal(38, 9)) COMMENT 'what it is worth after its lifetime, not written off (owned); null = nothing' AFTER lifetime_years,
    ADD COLUMN tariffs String DEFAULT '[]' COMMENT 'electricity at certain local hours, JSON; the first that fits holds, else energy_per_kwh' AFTER energy_per_kwh,
    ADD COLUMN pue Nullable(Decimal(18, 9)) COMMENT 'power usage effectiveness (owned); null = of the cluster' AFTER tariffs;

ALTER TABLE programmes
    ADD COLUMN stacking_limit String COMMENT 'most that all programmes together may pay of a cost that it supports, exact fraction; empty = all of it' AFTER currency;

ALTER TABLE agreements
    ADD COLUMN after String COMMENT 'agreement that pays first, this one supports what it leaves; empty = none' AFTER spent_before,
    ADD COLUMN plan String DEFAULT '[]' COMMENT 'what is meant to be spent by the end of which day, JSON; empty list = a straight line' AFTER after;

CREATE TABLE rgu_weights
(
    gpu_model String COMMENT 'shell-style pattern of product names; the most specific one holds',
    slice String COMMENT 'profile of the slice, such as 3g.40gb; empty = whole device, and slices that are not listed by their share',
    share_num UInt32 COMMENT 'compute share of the device that the slice is: numerator',
    share_den UInt32 COMMENT 'compute share of the device that the slice is: denominator',
    weight Decimal(38, 9) COMMENT 'reference GPU units that one of them counts as',
    effective_from Date COMMENT 'first day',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was recorded'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY (gpu_model, slice, effective_from)
COMMENT 'Reference GPU units of devices and slices, effective-dated';

CREATE TABLE carbon_intensity
(
    region String COMMENT 'region, as in clusters',
    g_per_kwh Decimal(38, 9) COMMENT 'emissions of its electricity, g CO2e per kWh',
    vintage String COMMENT 'year or edition of the figure',
    source String COMMENT 'who publishes it',
    effective_from Date COMMENT 'first day',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was recorded'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY (region, effective_from)
COMMENT 'Carbon intensity of electricity, effective-dated';

CREATE TABLE pools
(
    id String COMMENT 'pool id',
    currencies Map(String, String) COMMENT 'country -> currency in which it counts',
    allies Array(String) COMMENT 'further countries whose operators count as allied',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when this row was recorded'
)
ENGINE = ReplacingMergeTree(recorded_at) ORDER BY id
COMMENT 'Pools: countries that lend each other compute';
