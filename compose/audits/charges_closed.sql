-- name: closed months stay closed
-- protects: Nothing is booked in a month after it was closed; what an earlier month turns out to owe is an adjustment in
-- protects: the month that is open then.
-- unit: entries

SELECT toDateTime64(period_start, 3, 'UTC') AS ts_start, cluster, agreement, booked_month, kind, charges.recorded_at AS recorded_at,
    closed.at AS closed_at,
    (closed.month != toDate(0) AND recorded_at >= closed_at)
        OR booked_month < toStartOfMonth(period_start)
        OR (kind = 'adjustment') != (booked_month > toStartOfMonth(period_start)) AS fault
FROM charges
LEFT JOIN (SELECT month, min(recorded_at) AS at FROM billing_periods GROUP BY month) AS closed
    ON closed.month = charges.booked_month
WHERE period_start >= {since:DateTime('UTC')}
