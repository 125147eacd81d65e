-- name: whole or slices
-- protects: A device is charged either as a whole or by its slices, never as both at one moment.

SELECT cluster, device, slice, ts_start, ts_end,
    if(slice = '', maxIf(ts_end, slice != '') OVER before, maxIf(ts_end, slice = '') OVER before) AS other_form_until,
    shard,
    other_form_until > ts_start AS fault
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
WINDOW before AS (
    PARTITION BY cluster, device ORDER BY ts_start, ts_end, slice ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
)
