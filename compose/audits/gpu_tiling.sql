-- name: slices add up to the device
-- protects: In every minute the slices of a device, the part that no slice holds included, add up to the time for which
-- protects: the device was metered, to the nanosecond.

SELECT cluster, device, min(start_at) AS ts_start, max(end_at) AS ts_end, minute,
    sum(gpu_ns) AS charged_ns, sum(new_ms) * 1000000 AS metered_ns, charged_ns - metered_ns AS difference_ns,
    difference_ns != 0 AS fault
FROM
(
    SELECT cluster, device, minute, ts_start AS start_at, ts_end AS end_at, reinterpretAsInt64(gpu_seconds) AS gpu_ns,
        max(ts_end) OVER (
            PARTITION BY cluster, device, minute ORDER BY ts_start, ts_end
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS already_until,
        greatest(0, toUnixTimestamp64Milli(ts_end) - toUnixTimestamp64Milli(greatest(ts_start, already_until))) AS new_ms
    FROM gpu_usage
    WHERE minute >= {since:DateTime('UTC')}
)
GROUP BY cluster, device, minute
