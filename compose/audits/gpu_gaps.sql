-- name: gaps have reasons
-- protects: Time that was not metered is visible as a gap, and each gap is explained by an event of its device in
-- protects: data_quality, dated where the gap ends.
-- unit: gaps
-- note: if(count() = 0, '', format('{} s in all, the longest {} s', sum(gap_s), max(gap_s)))

SELECT cluster, device, gap_start AS ts_start, gap_end AS ts_end, gap_s,
    (cluster, device, gap_end) NOT IN
    (
        SELECT cluster, subject, ts FROM data_quality
        WHERE kind = 'unmetered_gap' AND ts >= {since:DateTime('UTC')}
    ) AS fault
FROM
(
    SELECT cluster, device, ts_start AS gap_end,
        max(ts_end) OVER (
            PARTITION BY cluster, device ORDER BY ts_start, ts_end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS gap_start,
        dateDiff('millisecond', gap_start, gap_end) / 1e3 AS gap_s
    FROM gpu_usage
    WHERE minute >= {since:DateTime('UTC')}
)
WHERE gap_start < gap_end AND toUnixTimestamp64Milli(gap_start) != 0  -- 0: the first row of the device
