-- name: no negative quantity
-- protects: Nothing that is counted can be less than nothing; but for the charge of a line without cost, which is the
-- protects: credit of an agreement that supports what another left.

SELECT 'gpu_usage' AS relation, cluster, concat(device, ' ', slice) AS subject, ts_start,
    least(gpu_seconds, busy_seconds, busy_known_seconds, toDecimal64(energy_j, 9), cost) < 0 AS fault
FROM gpu_usage WHERE minute >= {since:DateTime('UTC')}
UNION ALL
SELECT 'token_usage', cluster, concat(endpoint, ' ', replica, ' ', model, ' ', team), ts_start,
    least(prompt_tokens, cached_tokens, generation_tokens, requests) < 0
FROM token_usage WHERE minute >= {since:DateTime('UTC')}
UNION ALL
SELECT 'unit_costs', cluster, concat(model, ' ', agreement), toDateTime64(minute, 3, 'UTC'),
    least(cost, usage_cost, subsidy, if(cost = 0, toDecimal128(0, 9), charge), gpu_seconds, busy_seconds) < 0
        OR least(prompt_tokens, cached_tokens, generation_tokens) < 0
FROM unit_costs WHERE minute >= {since:DateTime('UTC')}
