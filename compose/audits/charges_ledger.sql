-- name: charges are made of the whole ledger
-- protects: Every second, joule and counted token of a settled hour is in exactly one line of its charges. An hour that
-- protects: the ledger has changed since is settled again within an hour if it is of the last three days, else within a
-- protects: day, or at once by commonwatt settle --everything.
-- unit: hours

WITH settled AS
(
    SELECT DISTINCT period_start AS hour FROM settlements WHERE period_start >= {since:DateTime('UTC')}
)
SELECT toDateTime64(hour, 3, 'UTC') AS ts_start, cluster, sum(book.1) AS ledger_gpu_seconds, sum(charged.1) AS charged_gpu_seconds,
    sum(book.2) AS ledger_energy_j, sum(charged.2) AS charged_energy_j, sum(book.3) AS ledger_tokens,
    sum(charged.3) AS charged_tokens,
    ledger_gpu_seconds != charged_gpu_seconds OR ledger_energy_j != charged_energy_j OR ledger_tokens != charged_tokens
        AS fault
FROM
(
    SELECT toStartOfHour(minute) AS hour, cluster,
        (toDecimal128(gpu_seconds, 9), toDecimal128(energy_j, 3), toInt64(0)) AS book,
        (toDecimal128(0, 9), toDecimal128(0, 3), toInt64(0)) AS charged
    FROM gpu_usage
    WHERE minute >= {since:DateTime('UTC')}
    UNION ALL
    SELECT toStartOfHour(minute) AS hour, cluster,
        (toDecimal128(0, 9), toDecimal128(0, 3), prompt_tokens + generation_tokens) AS book,
        (toDecimal128(0, 9), toDecimal128(0, 3), toInt64(0)) AS charged
    FROM token_usage
    WHERE minute >= {since:DateTime('UTC')} AND counted
    UNION ALL
    SELECT period_start AS hour, cluster,
        (toDecimal128(0, 9), toDecimal128(0, 3), toInt64(0)) AS book,
        (gpu_seconds, energy_j, prompt_tokens + generation_tokens) AS charged
    FROM charges
    WHERE period_start >= {since:DateTime('UTC')}
)
WHERE hour IN (SELECT hour FROM settled) AND hour < toStartOfHour(now('UTC'))
GROUP BY hour, cluster
