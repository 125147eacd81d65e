-- name: time and energy of the tally equal the book
-- protects: Every second and joule of a device, and every second that it was busy, is in exactly one unit cost. A minute
-- protects: is compared once its cluster's usage is two minutes further.
-- unit: cluster minutes
-- tally: gpu_seconds busy_seconds energy_j

SELECT cluster, toDateTime64(minute, 3, 'UTC') AS ts_start,
    sum(book.1) AS book_gpu_seconds, sum(tally.1) AS tally_gpu_seconds,
    sum(book.2) AS book_busy_seconds, sum(tally.2) AS tally_busy_seconds,
    sum(book.3) AS book_energy_j, sum(tally.3) AS tally_energy_j,
    book_gpu_seconds != tally_gpu_seconds OR book_busy_seconds != tally_busy_seconds
        OR book_energy_j != tally_energy_j AS fault
FROM
(
    SELECT cluster, minute,
        (toDecimal128(gpu_seconds, 9), toDecimal128(busy_seconds, 9), toDecimal128(energy_j, 3)) AS book,
        (toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 3)) AS tally
    FROM gpu_usage
    WHERE minute >= {since:DateTime('UTC')}
    UNION ALL
    SELECT cluster, minute, (toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 3)),
        (gpu_seconds, busy_seconds, energy_j)
    FROM unit_costs
    WHERE minute >= {since:DateTime('UTC')}
)
WHERE toUnixTimestamp(minute) < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, {settled_else:Int64})
GROUP BY cluster, minute
