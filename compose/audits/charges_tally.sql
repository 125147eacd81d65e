-- name: charges cost what the tally says
-- protects: An hour costs in its charges what its minutes cost in the running tally, to the nano-unit. They differ where
-- protects: reference data were applied that the workers had not read yet (restart them), or an hour was priced again
-- protects: (rerate), which is left out here.
-- unit: hours of a cluster, a model and an agreement
-- severity: warning

SELECT toDateTime64(hour, 3, 'UTC') AS ts_start, cluster, model, agreement, sum(tally) AS tally_cost, sum(charged) AS charged_cost,
    tally_cost != charged_cost AS fault
FROM
(
    SELECT toStartOfHour(minute) AS hour, cluster, model, agreement, cost AS tally, toDecimal128(0, 9) AS charged
    FROM unit_costs
    WHERE minute >= {since:DateTime('UTC')}
    UNION ALL
    SELECT period_start AS hour, cluster, model, agreement, toDecimal128(0, 9) AS tally, cost AS charged
    FROM charges
    WHERE period_start >= {since:DateTime('UTC')}
)
WHERE hour < toStartOfHour(now('UTC')) AND hour IN
(
    SELECT period_start FROM settlements
    WHERE period_start >= {since:DateTime('UTC')}
    GROUP BY period_start
    HAVING countIf(reason NOT IN ('settled', 'late data')) = 0
)
GROUP BY hour, cluster, model, agreement
