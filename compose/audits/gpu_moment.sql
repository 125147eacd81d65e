-- name: slices of a moment
-- protects: At no moment do the slices of a device claim more than the device.

-- Shares are in millionths, rounded down; 100 millionths of room, as a row's time is itself made of whole nanoseconds.
SELECT cluster, device, edge.1 AS ts_start, edge.2 AS opens,
    sum(if(opens, share, -share)) OVER (PARTITION BY cluster, device ORDER BY edge ROWS UNBOUNDED PRECEDING) / 1e6 AS claimed_devices,
    opens AND claimed_devices > 1.0001 AS fault
FROM
(
    SELECT cluster, device, [(ts_start, true), (ts_end, false)] AS edges,
        intDiv(reinterpretAsInt64(gpu_seconds), toUnixTimestamp64Milli(ts_end) - toUnixTimestamp64Milli(ts_start)) AS share
    FROM gpu_usage
    WHERE minute >= {since:DateTime('UTC')}
)
ARRAY JOIN edges AS edge
