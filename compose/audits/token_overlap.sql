-- name: no overlap of a counter
-- protects: No token is counted twice: the intervals of one counter follow each other, each booked to the minute of its
-- protects: later observation.

SELECT cluster, endpoint, replica, served_model, team, ts_start, ts_end, minute,
    max(ts_end) OVER (
        PARTITION BY cluster, endpoint, replica, served_model, team ORDER BY ts_start, ts_end
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS already_until,
    shard,
    already_until > ts_start OR ts_end < ts_start OR minute != toStartOfMinute(ts_end) AS fault
FROM token_usage_store FINAL
WHERE minute >= {since:DateTime('UTC')}
