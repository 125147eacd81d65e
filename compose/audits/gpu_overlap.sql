-- name: no overlap of a slice
-- protects: No moment of a device slice is charged twice.

SELECT cluster, device, slice, ts_start, ts_end,
    max(ts_end) OVER (
        PARTITION BY cluster, device, slice ORDER BY ts_start, ts_end
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS already_until,
    shard,
    already_until > ts_start AS fault
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
