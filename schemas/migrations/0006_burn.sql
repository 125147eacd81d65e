-- Agreements that support what another left, in unit_costs; burn over several windows and against the plan.

CREATE OR REPLACE VIEW unit_costs
(
    minute DateTime('UTC') COMMENT 'minute',
    cluster LowCardinality(String) COMMENT 'cluster id',
    model LowCardinality(String) COMMENT 'model served; empty = work that serves no model',
    agreement LowCardinality(String) COMMENT 'agreement; empty = unattributed',
    programme LowCardinality(String) COMMENT 'programme of the agreement',
    gpu_seconds Decimal(38, 9) COMMENT 'device time, seconds of a whole device; 0 where an agreement supports what another left',
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
    charge Decimal(38, 9) COMMENT 'part that the recipient pays, before the cap: cost - subsidy; negative where an agreement supports what another left',
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
WHERE gpu_seconds != 0 OR prompt_tokens + generation_tokens != 0 OR cost != 0 OR subsidy != 0
COMMENT 'Cost, tokens and energy of (minute, cluster, model, agreement). Costs add up to those of gpu_usage; an agreement that supports what another left has lines of its own without usage';

ALTER TABLE subsidy_burn_store
    ADD COLUMN rate_1h_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last hour; null = metered for less than half of it' AFTER rate_per_hour,
    ADD COLUMN rate_6h_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last 6 hours; null = metered for less than half of them' AFTER rate_1h_per_hour,
    ADD COLUMN rate_3d_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last 3 days; null = metered for less than half of them' AFTER rate_6h_per_hour,
    ADD COLUMN planned Nullable(Decimal(38, 9)) COMMENT 'subsidy that was planned to be spent by ts; null = no plan and no cap' AFTER rate_3d_per_hour,
    ADD COLUMN sustainable_per_hour Nullable(Decimal(38, 9)) COMMENT 'rate at which the money lasts exactly until the end of the agreement; null = no cap, or the end has come' AFTER planned,
    MODIFY COLUMN rate_per_hour COMMENT 'subsidy per hour over the last 5 minutes',
    MODIFY COLUMN runway_hours COMMENT 'hours to the cap, or to the end of granted GPU-hours, at the rate of the last 5 minutes; null = nothing burns or no limit';

CREATE OR REPLACE VIEW subsidy_burn
(
    minute DateTime('UTC') COMMENT 'minute',
    programme LowCardinality(String) COMMENT 'programme id',
    agreement LowCardinality(String) COMMENT 'agreement id',
    ts DateTime64(3, 'UTC') COMMENT 'moment up to which usage is included',
    spent Decimal(38, 9) COMMENT 'subsidy spent so far, at most the cap',
    accrued Decimal(38, 9) COMMENT 'subsidy that the rule yields so far, cap not applied',
    cap Nullable(Decimal(38, 9)) COMMENT 'most that the programme pays; null = no cap',
    rate_per_hour Decimal(38, 9) COMMENT 'subsidy per hour over the last 5 minutes',
    rate_1h_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last hour; null = metered for less than half of it',
    rate_6h_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last 6 hours; null = metered for less than half of them',
    rate_3d_per_hour Nullable(Decimal(38, 9)) COMMENT 'subsidy per hour over the last 3 days; null = metered for less than half of them',
    planned Nullable(Decimal(38, 9)) COMMENT 'subsidy that was planned to be spent by ts; null = no plan and no cap',
    sustainable_per_hour Nullable(Decimal(38, 9)) COMMENT 'rate at which the money lasts exactly until the end of the agreement; null = no cap, or the end has come',
    runway_hours Nullable(Float64) COMMENT 'hours to the cap, or to the end of granted GPU-hours, at the rate of the last 5 minutes; null = nothing burns or no limit',
    projected_end Nullable(DateTime('UTC')) COMMENT 'when the cap is reached at the current rate; null beyond 50 years',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
AS SELECT
    minute, programme, agreement, ts, spent, accrued, cap, rate_per_hour, rate_1h_per_hour, rate_6h_per_hour,
    rate_3d_per_hour, planned, sustainable_per_hour, runway_hours,
    if(runway_hours IS NULL OR runway_hours > 438000, NULL, toDateTime(ts, 'UTC') + toIntervalSecond(toInt64(ifNull(runway_hours, 0) * 3600))) AS projected_end,
    currency
FROM subsidy_burn_store FINAL
COMMENT 'Subsidy of each agreement at each minute: spent, rate, runway, and against the plan';
