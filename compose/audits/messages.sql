-- name: no message is missing
-- protects: A run of a collector numbers the messages of a shard one by one. Between the first and the last number that
-- protects: was taken in, metered or put into quarantine, none is missing.
-- unit: messages

-- A message that comes again long after (a replay out of quarantine) stands alone among the newest ones: of a run that
-- seems to have holes, all that is kept is read. Messages expire after 35 days; what comes right after those that have
-- just expired has lost its predecessors.
WITH broken AS
(
    SELECT shard, boot FROM telemetry_messages_store
    WHERE stored_at >= {since:DateTime('UTC')}
    GROUP BY shard, boot
    HAVING uniqExact(seq) <= max(seq) - min(seq)
)
SELECT stored AS ts_start, shard, boot, before + 1 AS first_seq, seq - 1 AS last_seq, seq - before - 1 AS missing,
    missing > 0 AND ts_start >= {since:DateTime('UTC')} AND ts_start < {settled_at:DateTime64(3, 'UTC')}
        AND ts_start > {settled_at:DateTime64(3, 'UTC')} - INTERVAL 34 DAY AS fault
FROM
(
    SELECT shard, boot, seq, stored, lagInFrame(seq, 1, seq - 1) OVER (
        PARTITION BY shard, boot ORDER BY seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
    ) AS before
    FROM
    (
        SELECT shard, boot, seq, min(stored_at) AS stored FROM telemetry_messages_store
        WHERE stored_at >= {since:DateTime('UTC')} AND (shard, boot) NOT IN broken
        GROUP BY shard, boot, seq
        UNION ALL
        SELECT shard, boot, seq, min(stored_at) FROM telemetry_messages_store
        WHERE (shard, boot) IN broken
        GROUP BY shard, boot, seq
    )
)
