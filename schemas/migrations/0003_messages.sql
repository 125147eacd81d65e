-- What the workers took in, message by message: the proof that no number of a collector's run is missing.

-- Written together with what a batch of messages leads to, before the ledger rows. A message comes at least once: when
-- it comes again, and when it is replayed out of quarantine, its row is written again, and metered replaces quarantined.
CREATE TABLE telemetry_messages_store
(
    shard LowCardinality(String) COMMENT 'cluster/collector/n that sent it',
    boot String COMMENT 'run of the collector' CODEC(ZSTD(1)),
    seq Int64 COMMENT 'number of the message within the run, from 1' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'topic that it was read from',
    kafka_partition Int32 COMMENT 'partition' CODEC(ZSTD(1)),
    kafka_offset Int64 COMMENT 'offset' CODEC(Delta, ZSTD(1)),
    rows UInt64 COMMENT 'samples in it; of a quarantined one, as its header says' CODEC(ZSTD(1)),
    ts_first Nullable(DateTime64(3, 'UTC')) COMMENT 'earliest sample; null without any, and when quarantined' CODEC(Delta, ZSTD(1)),
    ts_last Nullable(DateTime64(3, 'UTC')) COMMENT 'latest sample; null without any, and when quarantined' CODEC(Delta, ZSTD(1)),
    fate LowCardinality(String) COMMENT 'metered or quarantined',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'when this row was written, by the clock of the database' CODEC(Delta, ZSTD(1)),
    version UInt8 DEFAULT fate = 'metered' COMMENT '1 = metered, which replaces 0 = quarantined'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(stored_at)
ORDER BY (shard, boot, seq)
TTL toDateTime(stored_at) + INTERVAL 35 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Telemetry messages as stored: repeated ones may be present until merged; read telemetry_messages. Kept 35 days';

CREATE VIEW telemetry_messages
(
    shard LowCardinality(String) COMMENT 'cluster/collector/n that sent it',
    boot String COMMENT 'run of the collector',
    seq Int64 COMMENT 'number of the message within the run, from 1',
    topic LowCardinality(String) COMMENT 'topic that it was read from',
    kafka_partition Int32 COMMENT 'partition',
    kafka_offset Int64 COMMENT 'offset',
    rows UInt64 COMMENT 'samples in it; of a quarantined one, as its header says',
    ts_first Nullable(DateTime64(3, 'UTC')) COMMENT 'earliest sample; null without any, and when quarantined',
    ts_last Nullable(DateTime64(3, 'UTC')) COMMENT 'latest sample; null without any, and when quarantined',
    fate LowCardinality(String) COMMENT 'metered or quarantined',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was last written, by the clock of the database'
)
AS SELECT
    shard, boot, seq, topic, kafka_partition, kafka_offset, rows, ts_first, ts_last, fate, stored_at
FROM telemetry_messages_store FINAL
COMMENT 'Every telemetry message that was taken in, once: its number within its collector''s run, and what became of it';

-- What the audits need beside them. A part of a ledger says which minutes it holds, so that an audit of the last hours
-- does not read the history; and the book says how long a silence of a device its cluster meters.
ALTER TABLE gpu_usage_store ADD INDEX minutes minute TYPE minmax GRANULARITY 1;

ALTER TABLE token_usage_store ADD INDEX minutes minute TYPE minmax GRANULARITY 1;

ALTER TABLE clusters
    ADD COLUMN max_gap_s Float64 DEFAULT 90 COMMENT 'longest silence of a device that is metered without a bridge, s' AFTER pue;
