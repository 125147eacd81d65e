-- name: intervals
-- protects: Every ledger row is an interval forward in time that lies within one minute.

SELECT cluster, device, slice, ts_start, ts_end, minute, shard,
    ts_end < ts_start
        OR minute != toStartOfMinute(ts_start)
        OR ts_end > addMinutes(toDateTime64(minute, 3, 'UTC'), 1) AS fault
FROM gpu_usage_store FINAL
WHERE minute >= {since:DateTime('UTC')}
