-- name: conservation of time
-- protects: For each device and hour, attributed + idle + unobserved time is the whole hour, and busy time is part of it.
-- unit: device hours

SELECT cluster, device, toStartOfHour(minute) AS ts_start, addHours(ts_start, 1) AS ts_end,
    sumIf(gpu_seconds, workload != '') AS attributed_s, sumIf(gpu_seconds, workload = '') AS idle_s,
    toDecimal64(3600, 9) - attributed_s - idle_s AS unobserved_s, sum(busy_seconds) AS busy_s,
    sum(busy_known_seconds) AS busy_known_s,
    unobserved_s < 0 OR busy_s > busy_known_s OR busy_known_s > attributed_s + idle_s AS fault
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
GROUP BY cluster, device, ts_start
