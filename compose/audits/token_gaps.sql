-- name: no gap of a counter
-- protects: No token is left out: each row of a counter starts where the one before it ended.

SELECT cluster, endpoint, replica, served_model, team, ts_start, ts_end,
    max(ts_end) OVER (
        PARTITION BY cluster, endpoint, replica, served_model, team ORDER BY ts_start, ts_end
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS counted_until,
    shard,
    counted_until < ts_start AND toUnixTimestamp64Milli(counted_until) != 0 AS fault  -- 0: the first row
FROM token_usage_store FINAL
WHERE minute >= {since:DateTime('UTC')}
