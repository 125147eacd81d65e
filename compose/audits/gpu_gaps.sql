-- name: gaps have reasons
-- protects: Time that was not metered is visible as a gap, and every gap is either longer than the cluster's max_gap or
-- protects: explained by an event in data_quality.
-- unit: gaps
-- note: if(count() = 0, '', format('{} s in all, the longest {} s', sum(gap_s), max(gap_s)))

SELECT gap.cluster AS cluster, gap.device AS device, gap.gap_start AS ts_start, gap.gap_end AS ts_end, gap_s,
    gap_s <= transform(cluster, {clusters:Array(String)}, {max_gap_s:Array(Float64)}, toFloat64(90))
        AND event.ts < subtractSeconds(gap.gap_start, 60) AS fault
FROM
(
    SELECT cluster, device, ts_start AS gap_end, addSeconds(ts_start, 60) AS event_until,
        max(ts_end) OVER (
            PARTITION BY cluster, device ORDER BY ts_start, ts_end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS gap_start,
        dateDiff('millisecond', gap_start, gap_end) / 1e3 AS gap_s
    FROM gpu_usage
    WHERE minute >= {since:DateTime('UTC')}
) AS gap
ASOF LEFT JOIN data_quality AS event ON gap.cluster = event.cluster AND gap.event_until >= event.ts
WHERE gap_start < gap_end AND toUnixTimestamp64Milli(gap_start) != 0  -- 0: the first row of the device
