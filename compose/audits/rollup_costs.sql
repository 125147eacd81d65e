-- name: roll-ups cost what charges say
-- protects: Of every month, cluster, model and agreement the hours that are rolled up have the device time, energy, tokens
-- protects: and money of their charges, to the nano-unit. What was settled since is rolled up by the next pass of
-- protects: commonwatt settle, and is left out here.
-- unit: months of a cluster, a model and an agreement

WITH done AS
(
    SELECT period_start FROM
    (
        SELECT period_start, revision AS settled, toUInt32(0) AS rolled_up FROM settlements
        WHERE period_start >= {since:DateTime('UTC')}
        UNION ALL
        SELECT period_start, toUInt32(0) AS settled, revision AS rolled_up FROM rollups
        WHERE period_start >= {since:DateTime('UTC')}
    )
    GROUP BY period_start
    HAVING max(settled) = max(rolled_up)
)
SELECT toDateTime64(toStartOfMonth(hour), 3, 'UTC') AS ts_start, cluster, model, agreement, currency,
    sum(charged.1) AS charged_gpu_seconds, sum(rolled.1) AS rolled_up_gpu_seconds, sum(charged.2) AS charged_energy_j,
    sum(rolled.2) AS rolled_up_energy_j, sum(charged.3) AS charged_tokens, sum(rolled.3) AS rolled_up_tokens,
    sum(charged.4) AS charged_cost, sum(rolled.4) AS rolled_up_cost, sum(charged.5) AS charged_subsidy,
    sum(rolled.5) AS rolled_up_subsidy, sum(charged.6) AS charged_charge, sum(rolled.6) AS rolled_up_charge,
    (charged_gpu_seconds, charged_energy_j, charged_tokens, charged_cost, charged_subsidy, charged_charge) != (
        rolled_up_gpu_seconds, rolled_up_energy_j, rolled_up_tokens, rolled_up_cost, rolled_up_subsidy,
        rolled_up_charge) AS fault
FROM
(
    SELECT period_start AS hour, cluster, model, agreement, currency,
        (gpu_seconds, energy_j, prompt_tokens + generation_tokens, cost, subsidy, charge) AS charged,
        (toDecimal128(0, 9), toDecimal128(0, 3), toInt64(0), toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 9))
            AS rolled
    FROM charges
    WHERE period_start >= {since:DateTime('UTC')}
    UNION ALL
    SELECT period_start AS hour, cluster, model, agreement, currency,
        (toDecimal128(0, 9), toDecimal128(0, 3), toInt64(0), toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 9))
            AS charged,
        (gpu_seconds, energy_j, prompt_tokens + generation_tokens, cost, subsidy, charge) AS rolled
    FROM costs_hourly_store FINAL
    WHERE period_start >= {since:DateTime('UTC')}
)
WHERE hour IN (SELECT period_start FROM done)
GROUP BY ts_start, cluster, model, agreement, currency
