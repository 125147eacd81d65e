-- name: burn equals the unit costs
-- protects: The subsidy of an agreement is what it had spent before plus that of every minute since. Minutes whose
-- protects: cluster is not two minutes further may or may not be in it yet.
-- unit: agreements
-- period: whole

SELECT burn.ts AS ts_start, burn.agreement AS agreement, burn.accrued AS accrued,
    agreements.spent_before + ifNull(costs.settled, toDecimal128(0, 9)) AS at_least,
    agreements.spent_before + ifNull(costs.known, toDecimal128(0, 9)) AS at_most,
    accrued < at_least OR accrued > at_most AS fault
FROM
(
    SELECT agreement, max(subsidy_burn.ts) AS ts, argMax(subsidy_burn.accrued, (minute, subsidy_burn.ts)) AS accrued
    FROM subsidy_burn GROUP BY agreement
) AS burn
INNER JOIN (SELECT id, spent_before FROM agreements FINAL) AS agreements ON agreements.id = burn.agreement
LEFT JOIN
(
    SELECT agreement, sum(subsidy) AS known,
        sumIf(subsidy, toUnixTimestamp(minute) < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, {settled_else:Int64})) AS settled
    FROM unit_costs GROUP BY agreement
) AS costs ON costs.agreement = burn.agreement
