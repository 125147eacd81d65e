-- Roll-ups for long ranges: what settled hours cost, by hour and by day, and what every device did in an hour.

-- A roll-up says again what charges and gpu_usage say, in fewer rows; `commonwatt settle` writes it after an hour is
-- settled, again when it is settled anew, and `commonwatt check` compares. An hour counts as rolled up once its row in
-- `rollups` is there, which is written last. Views add the minutes after the newest of them, so that they are complete
-- up to now; that of the fleet ends there.
CREATE TABLE rollups
(
    period_start DateTime('UTC') COMMENT 'hour that was rolled up',
    revision UInt32 COMMENT 'its settlement, as in settlements',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when'
)
ENGINE = MergeTree
PARTITION BY toYear(period_start)
ORDER BY (period_start, revision, recorded_at)
COMMENT 'Hours that were rolled up. Written after their rows';

CREATE TABLE costs_hourly_store
(
    period_start DateTime('UTC') COMMENT 'hour of the usage, its first second' CODEC(DoubleDelta, ZSTD(1)),
    cluster LowCardinality(String) COMMENT 'cluster id',
    model LowCardinality(String) COMMENT 'model served; empty = work that serves no model',
    agreement LowCardinality(String) COMMENT 'agreement; empty = none',
    programme LowCardinality(String) COMMENT 'programme of the agreement',
    category LowCardinality(String) COMMENT 'charged, idle or unattributed, as in charges',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    cost Decimal(38, 9) COMMENT 'cost in currency',
    usage_cost Decimal(38, 9) COMMENT 'busy part of cost; rounded, for display',
    energy_cost Decimal(38, 9) COMMENT 'part of cost that is electricity; rounded, for display',
    operation_cost Decimal(38, 9) COMMENT 'part of cost that is operation; rounded, for display',
    capital_cost Decimal(38, 9) COMMENT 'part of cost that is the purchase, written off: the rest of cost of owned devices',
    contract_cost Decimal(38, 9) COMMENT 'cost of rented devices',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays',
    revision UInt32 COMMENT 'settlement of the hour; the highest replaces',
    gone UInt8 COMMENT '1 = in the hour no more since that settlement; such a row is not read'
)
ENGINE = ReplacingMergeTree(revision, gone)
PARTITION BY toYYYYMM(period_start)
ORDER BY (period_start, cluster, model, agreement, category, currency)
COMMENT 'Settled hours rolled up, as stored; read costs_hourly';

CREATE TABLE costs_daily_store
(
    day Date COMMENT 'day of the usage, UTC' CODEC(DoubleDelta, ZSTD(1)),
    cluster LowCardinality(String) COMMENT 'cluster id',
    model LowCardinality(String) COMMENT 'model served; empty = work that serves no model',
    agreement LowCardinality(String) COMMENT 'agreement; empty = none',
    programme LowCardinality(String) COMMENT 'programme of the agreement',
    category LowCardinality(String) COMMENT 'charged, idle or unattributed, as in charges',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    cost Decimal(38, 9) COMMENT 'cost in currency',
    usage_cost Decimal(38, 9) COMMENT 'busy part of cost; rounded, for display',
    energy_cost Decimal(38, 9) COMMENT 'part of cost that is electricity; rounded, for display',
    operation_cost Decimal(38, 9) COMMENT 'part of cost that is operation; rounded, for display',
    capital_cost Decimal(38, 9) COMMENT 'part of cost that is the purchase, written off: the rest of cost of owned devices',
    contract_cost Decimal(38, 9) COMMENT 'cost of rented devices',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays',
    version UInt64 COMMENT 'settlements behind the day: revisions of its hours, added up; the highest replaces',
    gone UInt8 COMMENT '1 = in no hour of the day any more, as the settlements stand now; such a row is not read'
)
ENGINE = ReplacingMergeTree(version, gone)
PARTITION BY toYear(day)
ORDER BY (day, cluster, model, agreement, category, currency)
COMMENT 'Settled hours rolled up by day, as stored; read costs_daily';

CREATE VIEW costs_hourly
(
    period_start DateTime('UTC') COMMENT 'hour of the usage, its first second',
    cluster LowCardinality(String) COMMENT 'cluster id',
    model LowCardinality(String) COMMENT 'model served; empty = work that serves no model',
    agreement LowCardinality(String) COMMENT 'agreement; empty = none',
    programme LowCardinality(String) COMMENT 'programme of the agreement',
    category LowCardinality(String) COMMENT 'charged, idle or unattributed; open = without agreement in an hour that is not settled yet',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    cost Decimal(38, 9) COMMENT 'cost in currency',
    usage_cost Decimal(38, 9) COMMENT 'busy part of cost; for display',
    energy_cost Decimal(38, 9) COMMENT 'part of cost that is electricity; for display; 0 in an hour that is not settled yet',
    operation_cost Decimal(38, 9) COMMENT 'part of cost that is operation; for display; 0 in an hour that is not settled yet',
    capital_cost Decimal(38, 9) COMMENT 'part of cost that is the purchase, written off; 0 in an hour that is not settled yet',
    contract_cost Decimal(38, 9) COMMENT 'cost of rented devices; 0 in an hour that is not settled yet',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays; before the cap in an hour that is not settled yet',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays',
    settled Bool COMMENT 'false: the hour is not settled yet, its minutes come from unit_costs'
)
AS WITH (SELECT if(count() = 0, toDateTime(0, 'UTC'), max(rollups.period_start) + INTERVAL 1 HOUR) FROM rollups) AS until
SELECT
    period_start, cluster, model, agreement, programme, category, currency, gpu_seconds, busy_seconds, energy_j,
    prompt_tokens, cached_tokens, generation_tokens, cost, usage_cost, energy_cost, operation_cost, capital_cost,
    contract_cost, subsidy, charge, true AS settled
FROM costs_hourly_store FINAL
WHERE period_start < until
UNION ALL
SELECT
    toStartOfHour(minute) AS period_start, cluster, model, agreement, any(u.programme) AS programme,
    if(agreement = '', 'open', 'charged') AS category, currency, sum(u.gpu_seconds) AS gpu_seconds,
    sum(u.busy_seconds) AS busy_seconds, sum(u.energy_j) AS energy_j, sum(u.prompt_tokens) AS prompt_tokens,
    sum(u.cached_tokens) AS cached_tokens, sum(u.generation_tokens) AS generation_tokens, sum(u.cost) AS cost,
    sum(u.usage_cost) AS usage_cost, 0 AS energy_cost, 0 AS operation_cost, 0 AS capital_cost, 0 AS contract_cost,
    sum(u.subsidy) AS subsidy, sum(u.charge) AS charge, false AS settled
FROM unit_costs AS u
WHERE minute >= until
GROUP BY period_start, cluster, model, agreement, currency
COMMENT 'Cost, subsidy, tokens and energy of (hour, cluster, model, agreement), complete up to now';

CREATE VIEW costs_daily
(
    day Date COMMENT 'day of the usage, UTC',
    cluster LowCardinality(String) COMMENT 'cluster id',
    model LowCardinality(String) COMMENT 'model served; empty = work that serves no model',
    agreement LowCardinality(String) COMMENT 'agreement; empty = none',
    programme LowCardinality(String) COMMENT 'programme of the agreement',
    category LowCardinality(String) COMMENT 'charged, idle or unattributed; open = without agreement in an hour that is not settled yet',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    cost Decimal(38, 9) COMMENT 'cost in currency',
    usage_cost Decimal(38, 9) COMMENT 'busy part of cost; for display',
    energy_cost Decimal(38, 9) COMMENT 'part of cost that is electricity; for display; of settled hours',
    operation_cost Decimal(38, 9) COMMENT 'part of cost that is operation; for display; of settled hours',
    capital_cost Decimal(38, 9) COMMENT 'part of cost that is the purchase, written off; of settled hours',
    contract_cost Decimal(38, 9) COMMENT 'cost of rented devices; of settled hours',
    subsidy Decimal(38, 9) COMMENT 'part that the programme pays; before the cap in hours that are not settled yet',
    charge Decimal(38, 9) COMMENT 'part that the recipient pays',
    settled Bool COMMENT 'false: the part of the day that is not settled yet, from unit_costs'
)
AS WITH (SELECT if(count() = 0, toDateTime(0, 'UTC'), max(rollups.period_start) + INTERVAL 1 HOUR) FROM rollups) AS until
SELECT
    day, cluster, model, agreement, programme, category, currency, gpu_seconds, busy_seconds, energy_j,
    prompt_tokens, cached_tokens, generation_tokens, cost, usage_cost, energy_cost, operation_cost, capital_cost,
    contract_cost, subsidy, charge, true AS settled
FROM costs_daily_store FINAL
WHERE day < toDate(until)
UNION ALL
SELECT
    toDate(period_start) AS day, cluster, model, agreement, any(h.programme) AS programme, category, currency,
    sum(h.gpu_seconds) AS gpu_seconds, sum(h.busy_seconds) AS busy_seconds, sum(h.energy_j) AS energy_j,
    sum(h.prompt_tokens) AS prompt_tokens, sum(h.cached_tokens) AS cached_tokens,
    sum(h.generation_tokens) AS generation_tokens, sum(h.cost) AS cost, sum(h.usage_cost) AS usage_cost,
    sum(h.energy_cost) AS energy_cost, sum(h.operation_cost) AS operation_cost, sum(h.capital_cost) AS capital_cost,
    sum(h.contract_cost) AS contract_cost, sum(h.subsidy) AS subsidy, sum(h.charge) AS charge, true AS settled
FROM costs_hourly_store AS h FINAL
WHERE period_start >= toStartOfDay(until) AND period_start < until
GROUP BY day, cluster, model, agreement, category, currency
UNION ALL
SELECT
    toDate(minute) AS day, cluster, model, agreement, any(u.programme) AS programme,
    if(agreement = '', 'open', 'charged') AS category, currency, sum(u.gpu_seconds) AS gpu_seconds,
    sum(u.busy_seconds) AS busy_seconds, sum(u.energy_j) AS energy_j, sum(u.prompt_tokens) AS prompt_tokens,
    sum(u.cached_tokens) AS cached_tokens, sum(u.generation_tokens) AS generation_tokens, sum(u.cost) AS cost,
    sum(u.usage_cost) AS usage_cost, 0 AS energy_cost, 0 AS operation_cost, 0 AS capital_cost, 0 AS contract_cost,
    sum(u.subsidy) AS subsidy, sum(u.charge) AS charge, false AS settled
FROM unit_costs AS u
WHERE minute >= until
GROUP BY day, cluster, model, agreement, currency
COMMENT 'Cost, subsidy, tokens and energy of (day, cluster, model, agreement), complete up to now. The running day has two rows of a key: its settled hours and the rest';

CREATE TABLE gpu_usage_hourly_store
(
    period_start DateTime('UTC') COMMENT 'hour' CODEC(DoubleDelta, ZSTD(1)),
    cluster LowCardinality(String) COMMENT 'cluster id',
    device String COMMENT 'physical GPU: UUID, AMD: serial number' CODEC(ZSTD(1)),
    slice LowCardinality(String) COMMENT 'MIG instance or AMD partition; empty = whole device; unallocated = in no slice',
    workload String COMMENT 'namespace/pod or job; empty = idle, held by nobody' CODEC(ZSTD(1)),
    agreement LowCardinality(String) COMMENT 'agreement that pays; empty = unattributed or shared',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    node LowCardinality(String) COMMENT 'host that carries the device',
    vendor LowCardinality(String) COMMENT 'nvidia or amd',
    gpu_model LowCardinality(String) COMMENT 'product name',
    deployment LowCardinality(String) COMMENT 'deployment that the workload serves; empty = none',
    gpu_seconds Decimal(18, 9) COMMENT 'device time, seconds of a whole device',
    energy_j Decimal(18, 3) COMMENT 'energy of this slice''s share, J',
    busy_seconds Decimal(18, 9) COMMENT 'device time during which the compute engine was active, s',
    busy_known_seconds Decimal(18, 9) COMMENT 'device time for which busy was measured, s',
    cost Decimal(18, 9) COMMENT 'cost in currency, as metered',
    revision UInt32 COMMENT 'settlement of the hour; the highest replaces',
    gone UInt8 COMMENT '1 = in the hour no more since that settlement; such a row is not read'
)
ENGINE = ReplacingMergeTree(revision, gone)
PARTITION BY toYYYYMM(period_start)
ORDER BY (period_start, cluster, device, slice, workload, agreement, currency)
COMMENT 'What every device did in an hour, as stored; read gpu_usage_hourly';

CREATE VIEW gpu_usage_hourly
(
    period_start DateTime('UTC') COMMENT 'hour',
    cluster LowCardinality(String) COMMENT 'cluster id',
    node LowCardinality(String) COMMENT 'host that carries the device',
    device String COMMENT 'physical GPU: UUID, AMD: serial number',
    slice LowCardinality(String) COMMENT 'MIG instance or AMD partition; empty = whole device; unallocated = in no slice',
    vendor LowCardinality(String) COMMENT 'nvidia or amd',
    gpu_model LowCardinality(String) COMMENT 'product name',
    workload String COMMENT 'namespace/pod or job; empty = idle, held by nobody',
    deployment LowCardinality(String) COMMENT 'deployment that the workload serves; empty = none',
    agreement LowCardinality(String) COMMENT 'agreement that pays; empty = unattributed or shared',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    energy_j Decimal(38, 3) COMMENT 'energy of this slice''s share, J',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    busy_known_seconds Decimal(38, 9) COMMENT 'device time for which busy was measured, s',
    cost Decimal(38, 9) COMMENT 'cost in currency, as metered',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
AS WITH (SELECT if(count() = 0, toDateTime(0, 'UTC'), max(rollups.period_start) + INTERVAL 1 HOUR) FROM rollups) AS until
SELECT
    period_start, cluster, node, device, slice, vendor, gpu_model, workload, deployment, agreement,
    gpu_seconds, energy_j, busy_seconds, busy_known_seconds, cost, currency
FROM gpu_usage_hourly_store FINAL
WHERE period_start < until
UNION ALL
SELECT
    toStartOfHour(minute) AS period_start, cluster, any(u.node) AS node, device, slice, any(u.vendor) AS vendor,
    any(u.gpu_model) AS gpu_model, workload, any(u.deployment) AS deployment, agreement,
    sum(u.gpu_seconds) AS gpu_seconds, sum(u.energy_j) AS energy_j, sum(u.busy_seconds) AS busy_seconds,
    sum(u.busy_known_seconds) AS busy_known_seconds, sum(u.cost) AS cost, currency
FROM gpu_usage AS u
WHERE ts_start >= until
GROUP BY period_start, cluster, device, slice, workload, agreement, currency
COMMENT 'What every device did in an hour, under whom: one row per (hour, device slice, workload, agreement), complete up to now';

CREATE TABLE fleet_hourly_store
(
    period_start DateTime('UTC') COMMENT 'hour' CODEC(DoubleDelta, ZSTD(1)),
    cluster LowCardinality(String) COMMENT 'cluster id',
    gpu_model LowCardinality(String) COMMENT 'product name',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    devices UInt32 COMMENT 'devices that were seen in the hour',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    held_seconds Decimal(38, 9) COMMENT 'device time held by a workload, s',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    idle_held_seconds Decimal(38, 9) COMMENT 'device time held for the hour by a workload that kept the engine less than 2 % busy, s',
    idle_held_cost Decimal(38, 9) COMMENT 'its cost in currency',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    cost Decimal(38, 9) COMMENT 'cost in currency, as metered',
    revision UInt32 COMMENT 'settlement of the hour; the highest replaces',
    gone UInt8 COMMENT '1 = in the hour no more since that settlement; such a row is not read'
)
ENGINE = ReplacingMergeTree(revision, gone)
PARTITION BY toYear(period_start)
ORDER BY (period_start, cluster, gpu_model, currency)
COMMENT 'What the fleet did in an hour, as stored; read fleet_hourly';

CREATE VIEW fleet_hourly
(
    period_start DateTime('UTC') COMMENT 'hour',
    cluster LowCardinality(String) COMMENT 'cluster id',
    gpu_model LowCardinality(String) COMMENT 'product name',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    devices UInt32 COMMENT 'devices that were seen in the hour',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device',
    held_seconds Decimal(38, 9) COMMENT 'device time held by a workload, s',
    busy_seconds Decimal(38, 9) COMMENT 'device time during which the compute engine was active, s',
    idle_held_seconds Decimal(38, 9) COMMENT 'device time held for the hour by a workload that kept the engine less than 2 % busy, s',
    idle_held_cost Decimal(38, 9) COMMENT 'its cost in currency',
    energy_j Decimal(38, 3) COMMENT 'GPU energy, J',
    cost Decimal(38, 9) COMMENT 'cost in currency, as metered'
)
AS WITH (SELECT if(count() = 0, toDateTime(0, 'UTC'), max(rollups.period_start) + INTERVAL 1 HOUR) FROM rollups) AS until
SELECT
    period_start, cluster, gpu_model, currency, devices, gpu_seconds, held_seconds, busy_seconds, idle_held_seconds,
    idle_held_cost, energy_j, cost
FROM fleet_hourly_store FINAL
WHERE period_start < until
COMMENT 'What the fleet did in an hour: devices, time held, time busy, energy, cost of (hour, cluster, product), in hours that are settled; of the minutes since unit_costs and gpu_usage tell';

-- Dashboards ask for the state of all agreements at one moment: minute first finds it without a look at the history.
CREATE TABLE subsidy_burn_by_minute AS subsidy_burn_store
ENGINE = ReplacingMergeTree(ts)
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, agreement)
COMMENT 'Subsidy burn as stored; read subsidy_burn';

INSERT INTO subsidy_burn_by_minute SELECT * FROM subsidy_burn_store FINAL;

DROP TABLE IF EXISTS subsidy_burn_store;

RENAME TABLE IF EXISTS subsidy_burn_by_minute TO subsidy_burn_store;

-- Subsidies so far: days, then hours of the day, then minutes of the hour, as far as each is settled.
CREATE VIEW agreement_state
(
    programme String COMMENT 'programme id',
    agreement String COMMENT 'agreement id',
    recipient String COMMENT 'organisation that receives the subsidy',
    country LowCardinality(String) COMMENT 'ISO 3166-1 alpha-2',
    rule LowCardinality(String) COMMENT 'cost_share, token_price or credits',
    starts Date COMMENT 'first day',
    ends Date COMMENT 'last day, inclusive',
    currency LowCardinality(String) COMMENT 'ISO 4217: of the programme',
    cap Nullable(Decimal(38, 9)) COMMENT 'most that the programme pays; null = no cap',
    spent Decimal(38, 9) COMMENT 'subsidy spent by then: before metering, settled and since, at most the cap',
    used_share Nullable(Float64) COMMENT 'spent / cap, 0..1; null = no cap. For display',
    used_now Bool COMMENT 'whether it was used in the ten minutes before the newest minute',
    rate_per_hour Decimal(38, 9) COMMENT 'subsidy per hour over the last 5 minutes; 0 once the cap is reached, and when not used now',
    rate_1h_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last hour; null = not used now, or metered for less than half of it',
    rate_6h_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last 6 hours; null likewise',
    rate_3d_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last 3 days; null likewise',
    sustainable_per_hour Nullable(Decimal(38, 9)) COMMENT 'rate at which the money lasts exactly until the end of the agreement; null = no cap, at its end, or not used now',
    planned Nullable(Decimal(38, 9)) COMMENT 'subsidy that was planned to be spent by then; null = no plan and no cap',
    runway_hours Nullable(Float64) COMMENT 'hours to the cap, or to the end of granted GPU-hours, at the rate of the last 5 minutes; null = nothing burns or no limit',
    runs_out Nullable(DateTime('UTC')) COMMENT 'when that is; null likewise',
    runs_out_early Nullable(DateTime('UTC')) COMMENT 'early end of the forecast band: 1 in 10 ends sooner',
    runs_out_likely Nullable(DateTime('UTC')) COMMENT 'when the cap is reached at the mean rate of the last days; null = not within the agreement',
    runs_out_late Nullable(DateTime('UTC')) COMMENT 'late end of the band: 1 in 10 ends later; null = beyond the agreement',
    spent_at_end Nullable(Decimal(38, 9)) COMMENT 'what will have been spent on the last day of the agreement, at most the cap',
    mean_per_day Nullable(Decimal(38, 9)) COMMENT 'subsidy per day over the days that the forecast rests on; null = no forecast yet'
)
AS WITH
    {at:DateTime('UTC')} AS moment,
    (SELECT if(count() = 0, toDateTime(0, 'UTC'), max(rollups.period_start) + INTERVAL 1 HOUR) FROM rollups) AS until,
    (SELECT b.minute FROM subsidy_burn_store AS b WHERE b.minute <= {at:DateTime('UTC')} ORDER BY b.minute DESC LIMIT 1) AS newest
SELECT
    a.programme AS programme, a.id AS agreement, a.recipient AS recipient, a.country AS country, a.rule AS rule,
    a.starts AS starts, a.ends AS ends, p.currency AS currency, a.cap AS cap,
    if(a.cap IS NULL, a.spent_before + s.subsidy, least(assumeNotNull(a.cap), a.spent_before + s.subsidy)) AS spent,
    if(a.cap = 0, NULL, toFloat64(spent) / toFloat64(a.cap)) AS used_share,
    b.agreement != '' AS used_now,
    if(used_now AND (a.cap IS NULL OR spent < a.cap), b.rate_per_hour, 0) AS rate_per_hour,
    if(used_now, b.rate_1h_per_hour, NULL) AS rate_1h_per_hour,
    if(used_now, b.rate_6h_per_hour, NULL) AS rate_6h_per_hour,
    if(used_now, b.rate_3d_per_hour, NULL) AS rate_3d_per_hour,
    if(used_now, b.sustainable_per_hour, NULL) AS sustainable_per_hour,
    if(used_now, b.planned, f.planned) AS planned,
    if(used_now, b.runway_hours, NULL) AS runway_hours,
    if(used_now AND b.runway_hours > 0, b.projected_end, NULL) AS runs_out,
    f.projected_end_early AS runs_out_early, f.projected_end AS runs_out_likely, f.projected_end_late AS runs_out_late,
    f.spent_at_end AS spent_at_end, f.mean_per_day AS mean_per_day
FROM (SELECT * FROM agreements FINAL) AS a
LEFT JOIN (SELECT id, currency FROM programmes FINAL) AS p ON p.id = a.programme
LEFT JOIN
(
    SELECT toString(part.agreement) AS agreement, sum(part.subsidy) AS subsidy
    FROM
    (
        SELECT d.agreement AS agreement, d.subsidy AS subsidy FROM costs_daily_store AS d FINAL
        WHERE d.day < toDate(least(until, moment)) AND d.agreement != ''
        UNION ALL
        SELECT h.agreement AS agreement, h.subsidy AS subsidy FROM costs_hourly_store AS h FINAL
        WHERE h.period_start >= toStartOfDay(least(until, moment)) AND h.period_start < least(until, toStartOfHour(moment))
            AND h.agreement != ''
        UNION ALL
        SELECT u.agreement AS agreement, u.subsidy AS subsidy FROM unit_costs_store AS u FINAL
        WHERE u.minute >= least(until, toStartOfHour(moment)) AND u.minute <= moment AND u.agreement != ''
    ) AS part
    GROUP BY part.agreement
) AS s ON s.agreement = a.id
LEFT JOIN
(
    SELECT * FROM subsidy_burn AS n WHERE n.minute <= {at:DateTime('UTC')} AND n.minute >= newest - INTERVAL 10 MINUTE
    ORDER BY n.minute DESC LIMIT 1 BY n.agreement
) AS b ON b.agreement = a.id
LEFT JOIN
(
    SELECT * FROM subsidy_forecasts AS g
    WHERE g.recorded_at <= {at:DateTime('UTC')} AND g.recorded_at >= {at:DateTime('UTC')} - INTERVAL 3 DAY
    ORDER BY g.recorded_at DESC LIMIT 1 BY g.agreement
) AS f ON f.agreement = a.id
COMMENT 'State of every agreement as of a moment: agreement_state(at = toDateTime(…)). Rates are those of the newest minute, runs_out_* and spent_at_end those of the newest forecast; SHOW CREATE TABLE agreement_state describes its columns';

ALTER TABLE alerts
    MODIFY COLUMN rule COMMENT 'rule that fired, see docs/alerts.md',
    MODIFY COLUMN subject COMMENT 'agreement, node, cluster or model that it is about',
    MODIFY COLUMN starts_at COMMENT 'when it began to fire: the condition had held for as long as the rule asks',
    ADD COLUMN summary_fr String COMMENT 'the same in French; empty = recorded by an earlier version' AFTER summary,
    ADD COLUMN cluster LowCardinality(String) COMMENT 'cluster that it is about; empty = none or several' AFTER summary_fr,
    ADD COLUMN agreement LowCardinality(String) COMMENT 'agreement that it is about; empty = none' AFTER cluster,
    ADD COLUMN model LowCardinality(String) COMMENT 'model that it is about; empty = none' AFTER agreement,
    ADD COLUMN at_stake_per_hour Nullable(Decimal(38, 9)) COMMENT 'money per hour that the matter concerns, in currency; null = not known' AFTER model,
    ADD COLUMN currency LowCardinality(String) COMMENT 'ISO 4217; empty = not known' AFTER at_stake_per_hour,
    ADD COLUMN evidence Array(String) COMMENT 'devices, rows or figures at fault, the first of them' AFTER currency;
