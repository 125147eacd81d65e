-- name: rolled up days are their hours
-- protects: A day that is over has in its roll-up what its hours have in theirs, to the nano-unit: of every cluster, model,
-- protects: agreement and category the device time, the tokens and each part of the money.
-- unit: days of a cluster, a model, an agreement and a category

SELECT toDateTime64(day, 3, 'UTC') AS ts_start, cluster, model, agreement, category, currency,
    sum(hours.1) AS hours_gpu_seconds, sum(days.1) AS days_gpu_seconds, sum(hours.2) AS hours_tokens,
    sum(days.2) AS days_tokens, sum(hours.3) AS hours_cost, sum(days.3) AS days_cost, sum(hours.4) AS hours_capital_cost,
    sum(days.4) AS days_capital_cost, sum(hours.5) AS hours_subsidy, sum(days.5) AS days_subsidy,
    (hours_gpu_seconds, hours_tokens, hours_cost, hours_capital_cost, hours_subsidy) != (
        days_gpu_seconds, days_tokens, days_cost, days_capital_cost, days_subsidy) AS fault
FROM
(
    SELECT toDate(period_start) AS day, cluster, model, agreement, category, currency,
        (gpu_seconds, prompt_tokens + generation_tokens, cost, capital_cost, subsidy) AS hours,
        (toDecimal128(0, 9), toInt64(0), toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 9)) AS days
    FROM costs_hourly_store FINAL
    WHERE period_start >= toStartOfDay({since:DateTime('UTC')})
    UNION ALL
    SELECT day, cluster, model, agreement, category, currency,
        (toDecimal128(0, 9), toInt64(0), toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 9)) AS hours,
        (gpu_seconds, prompt_tokens + generation_tokens, cost, capital_cost, subsidy) AS days
    FROM costs_daily_store FINAL
    WHERE day >= toDate({since:DateTime('UTC')})
)
WHERE day < (SELECT toDate(max(period_start) + INTERVAL 1 HOUR) FROM rollups)
GROUP BY ts_start, cluster, model, agreement, category, currency
