-- name: conservation of energy
-- protects: The energy of a device's rows is the advance of its energy counter, exactly, whatever slices it was divided
-- protects: among: wherever a minute follows the one before without a gap and was metered by the counter throughout.
-- unit: device minutes

SELECT cluster, device, start_at AS ts_start, end_at AS ts_end, energy_mj, counter_mj - counter_before_mj AS advance_mj,
    energy_mj - advance_mj AS difference_mj, difference_mj != 0 AS fault
FROM
(
    SELECT *, lagInFrame(end_at) OVER before AS end_before, lagInFrame(counter_mj) OVER before AS counter_before_mj
    FROM
    (
        SELECT cluster, device, minute, min(ts_start) AS start_at, max(ts_end) AS end_at,
            sum(reinterpretAsInt64(energy_j)) AS energy_mj, argMax(tuple(energy_mj_end), ts_end).1 AS counter_mj,
            min(method IN ('counter', 'bridged'))
                AND sum(gpu_seconds) * 1000 = dateDiff('millisecond', start_at, end_at) AS counted_throughout
        FROM gpu_usage
        WHERE minute >= {since:DateTime('UTC')}
        GROUP BY cluster, device, minute
    )
    WINDOW before AS (PARTITION BY cluster, device ORDER BY minute ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE counted_throughout AND start_at = end_before AND isNotNull(advance_mj)
