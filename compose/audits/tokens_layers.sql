-- name: engines against gateways
-- protects: Where both are seen, the engines and the gateway of a deployment count the same tokens of an hour, but for 1 %
-- protects: (alerts.token_difference), for requests under way at its edges (as many as the busiest minute counted), and
-- protects: for what a counter that was not seen throughout may have missed (at the pace of its own busiest minute).
-- protects: More at the engines is a fault only where the gateway counts: those tokens are nobody's.
-- unit: tokens of deployment hours
-- severity: warning

WITH
    rows AS
    (
        SELECT cluster, deployment, layer, counted, toStartOfHour(minute) AS hour, minute, ts_start, ts_end,
            (endpoint, replica, model, team) AS counter, amount.1 AS quantity, amount.2 AS tokens,
            dateDiff('millisecond', ts_start, ts_end) / 6e4 AS minutes, minutes > 3 AS unseen_before
        FROM token_usage
        ARRAY JOIN [
            ('prompt_tokens', prompt_tokens, isNotNull(prompt_tokens_end)),
            ('generation_tokens', generation_tokens, isNotNull(generation_tokens_end))
        ] AS amount
        WHERE minute >= {since:DateTime('UTC')} AND deployment != '' AND amount.3
            AND toUnixTimestamp(minute) < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, {settled_else:Int64})
    ),
    totals AS
    (
        SELECT cluster, deployment, hour, quantity, sum(engine) AS engine_tokens, sum(gateway) AS gateway_tokens,
            greatest(max(engine), max(gateway)) AS busiest, max(gateway_counts) AS gateway_counts
        FROM
        (
            SELECT cluster, deployment, hour, quantity, minute, sumIf(tokens, layer = 'engine') AS engine,
                sumIf(tokens, layer = 'gateway') AS gateway, max(counted AND layer = 'gateway') AS gateway_counts
            FROM rows GROUP BY cluster, deployment, hour, quantity, minute
        )
        GROUP BY cluster, deployment, hour, quantity
    ),
    unseen AS
    (
        SELECT cluster, deployment, hour, quantity, sum(late + greatest(0, span - seen) * pace) AS tokens
        FROM
        (
            SELECT cluster, deployment, hour, quantity, sumIf(tokens, unseen_before) AS late,
                sumIf(minutes, NOT unseen_before) AS seen, max(tokens / greatest(minutes, 1)) AS pace,
                dateDiff('millisecond', min(min(ts_start)) OVER whole, max(max(ts_end)) OVER whole) / 6e4 AS span
            FROM rows GROUP BY cluster, deployment, hour, quantity, layer, counter
            WINDOW whole AS (PARTITION BY cluster, deployment, hour, quantity)
        )
        GROUP BY cluster, deployment, hour, quantity
    ),
    seen AS
    (
        SELECT cluster, deployment, hour, quantity FROM rows
        GROUP BY cluster, deployment, hour, quantity HAVING uniqExact(layer) = 2
    )
SELECT cluster, deployment, toDateTime64(hour, 3, 'UTC') AS ts_start, quantity, engine_tokens, gateway_tokens,
    ceil({token_difference:Float64} * greatest(engine_tokens, gateway_tokens) + busiest + unseen.tokens) AS allowed,
    gateway_tokens - engine_tokens > allowed OR (gateway_counts AND engine_tokens - gateway_tokens > allowed) AS fault
FROM totals
INNER JOIN unseen USING (cluster, deployment, hour, quantity)
WHERE (cluster, deployment, hour, quantity) IN seen
