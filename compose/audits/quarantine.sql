-- name: quarantine is empty
-- protects: Every message that could not be read was replayed after what stood in its way was mended.
-- unit: messages
-- severity: warning

SELECT ts AS ts_start, id, reason, shard, boot, seq, bytes, isNull(replayed_at) AS fault
FROM quarantine
