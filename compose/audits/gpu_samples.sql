-- name: usage equals the samples
-- protects: For each device and hour of which raw samples are kept, metered time is the time between them and metered
-- protects: energy the advance of their counters, to the millisecond and the millijoule, added up here from the samples
-- protects: alone; attributed and idle energy make the whole.
-- unit: device hours
-- note: if({parts:UInt32} = 1, '', format('one device in {}', toString({parts:UInt32})))

-- A sample comes once for each slice of its device, and after a replay maybe twice. Silences longer than max_gap are
-- left out on both sides (`bridged` there). A counter that falls by little is a stale reading, as of two collectors whose
-- clocks differ: the higher one goes on. Beyond that a fall is a reset, and a rise beyond the greatest power a defect: then
-- the energy is not the counter's. An interval over a minute's end is divided in proportion to time, rounded down.
WITH
    devices AS
    (
        SELECT series, cityHash64(cluster, device) AS id,
            toInt64(1000 * transform(cluster, {clusters:Array(String)}, {max_gap_s:Array(Float64)}, toFloat64(90))) AS max_gap_ms
        FROM gpu_series
        WHERE id % {parts:UInt32} = {part:UInt32}
        GROUP BY series, cluster, device
    ),
    readings AS
    (
        SELECT id, ts_ms, energy_mj, max_gap_ms, lagInFrame(ts_ms) OVER before AS from_ms,
            lagInFrame(energy_mj) OVER before AS from_mj,
            from_ms != 0 AND energy_mj >= 0 AND from_mj >= 0 AND
            (
                energy_mj >= from_mj
                OR from_mj - energy_mj <= {max_power_w:Int64} * {counter_slack_ms:Int64}
                AND from_mj - energy_mj < energy_mj AND ts_ms - from_ms <= {counter_slack_ms:Int64}
            ) AS goes_on
        FROM
        (
            SELECT id, toUnixTimestamp64Milli(ts) AS ts_ms, max(s.energy_mj) AS energy_mj, any(max_gap_ms) AS max_gap_ms
            FROM gpu_samples_store AS s
            INNER JOIN devices ON devices.series = s.series
            WHERE ts >= {since:DateTime('UTC')} - INTERVAL 1 HOUR
            GROUP BY id, ts_ms
        )
        WINDOW before AS (PARTITION BY id ORDER BY ts_ms ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ),
    intervals AS
    (
        SELECT id, ts_ms, from_ms, max_gap_ms, first_ms, ts_ms - from_ms AS length_ms,
            counter_mj - lagInFrame(counter_mj) OVER before AS advance_mj,
            goes_on AND advance_mj <= {max_power_w:Int64} * (length_ms + {counter_slack_ms:Int64}) AS counted
        FROM
        (
            SELECT id, ts_ms, from_ms, max_gap_ms, first_ms, goes_on,
                max(energy_mj) OVER (PARTITION BY id, life ORDER BY ts_ms ROWS UNBOUNDED PRECEDING) AS counter_mj
            FROM
            (
                SELECT *, sum(NOT goes_on) OVER until_now AS life, min(ts_ms) OVER until_now AS first_ms
                FROM readings
                WINDOW until_now AS (PARTITION BY id ORDER BY ts_ms ROWS UNBOUNDED PRECEDING)
            )
        )
        WINDOW before AS (PARTITION BY id ORDER BY ts_ms ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ),
    minutes AS
    (
        SELECT id, toInt64(number * 60) AS minute_s, '' AS cluster, '' AS device, first_ms,
            greatest(from_ms, number * 60000) - from_ms AS begin_ms, least(ts_ms, number * 60000 + 60000) - from_ms AS end_ms,
            end_ms - begin_ms AS sampled_ms, toInt64(0) AS metered_ms,
            if(counted, intDiv(advance_mj * end_ms, length_ms) - intDiv(advance_mj * begin_ms, length_ms), 0) AS counter_mj,
            toInt64(0) AS by_counter_mj, toInt64(0) AS attributed_mj, toInt64(0) AS idle_mj
        FROM intervals
        ARRAY JOIN range(toUInt64(intDiv(from_ms, 60000)), toUInt64(intDiv(ts_ms - 1, 60000) + 1)) AS number
        WHERE from_ms != 0 AND length_ms <= max_gap_ms
        UNION ALL
        SELECT cityHash64(cluster, device) AS id, toUnixTimestamp(minute), cluster, device, NULL, 0, 0,
            0, intDiv(sum(reinterpretAsInt64(gpu_seconds)), 1000000),
            0, sumIf(reinterpretAsInt64(energy_j), method = 'counter'),
            sumIf(reinterpretAsInt64(energy_j), workload != ''), sumIf(reinterpretAsInt64(energy_j), workload = '')
        FROM gpu_usage
        WHERE minute >= {since:DateTime('UTC')} AND method != 'bridged' AND id % {parts:UInt32} = {part:UInt32}
        GROUP BY cluster, device, minute
    )
SELECT names.cluster AS cluster, names.device AS device,
    toDateTime64(toStartOfHour(toDateTime(minute_s, 'UTC')), 3, 'UTC') AS ts_start,
    sum(sampled_ms) / 1000 AS sampled_s, sum(metered_ms) / 1000 AS metered_s,
    sum(counter_mj) AS counter_mj, sum(by_counter_mj) AS by_counter_mj,
    sum(attributed_mj) AS attributed_energy_mj, sum(idle_mj) AS idle_energy_mj,
    countIf(differs) AS minutes, toDateTime(minIf(minute_s, differs), 'UTC') AS first_minute, minutes > 0 AS fault
FROM
(
    -- The first minute of a device of which samples are kept may have lost some of them; a device without any is judged
    -- where samples of others have been kept for an hour.
    SELECT id, minute_s, sum(sampled_ms) AS sampled_ms, sum(metered_ms) AS metered_ms, sum(counter_mj) AS counter_mj,
        sum(by_counter_mj) AS by_counter_mj, sum(attributed_mj) AS attributed_mj, sum(idle_mj) AS idle_mj,
        sampled_ms != metered_ms OR counter_mj != by_counter_mj AS differs,
        min(min(first_ms)) OVER (PARTITION BY id) AS first_sample_ms
    FROM minutes
    GROUP BY id, minute_s
) AS compared
INNER JOIN
(
    SELECT cityHash64(cluster, device) AS id, cluster, device,
        transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, {settled_else:Int64}) AS settled_s
    FROM
    (
        SELECT cluster, device FROM gpu_series
        UNION ALL
        SELECT cluster, device FROM gpu_usage WHERE minute >= {since:DateTime('UTC')}
    )
    GROUP BY cluster, device
) AS names ON names.id = compared.id
WHERE minute_s >= toUnixTimestamp({since:DateTime('UTC')}) AND minute_s < settled_s
    AND minute_s * 1000 > ifNull(first_sample_ms, (SELECT toUnixTimestamp64Milli(min(ts)) + 3600000 FROM gpu_samples_store))
GROUP BY cluster, device, ts_start
