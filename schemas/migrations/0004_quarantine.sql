-- Messages in quarantine each once, what became of those that were replayed, and the ledger rows that came from them.

CREATE TABLE quarantine_store
(
    topic LowCardinality(String) COMMENT 'topic that it came from',
    kafka_partition Int32 COMMENT 'partition',
    kafka_offset Int64 COMMENT 'offset',
    digest String COMMENT 'identity of the content: 64-bit hash of key, value and headers, hexadecimal; empty = put aside by an earlier version',
    ts DateTime64(3, 'UTC') COMMENT 'when the message was put aside',
    reason String COMMENT 'why it could not be read',
    bytes UInt64 COMMENT 'size of the untouched value, kept in the Kafka topic quarantine',
    cluster String COMMENT 'cluster id as the message says; empty = it does not',
    shard String COMMENT 'cluster/collector/n as the message says; empty = it does not',
    collector String COMMENT 'collector as the message says; empty = it does not',
    boot String COMMENT 'run of the collector as the message says; empty = it does not',
    seq Nullable(Int64) COMMENT 'number of the message in that run; null = it does not say'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (topic, kafka_partition, kafka_offset, digest)
COMMENT 'Messages that could not be read, as stored: one that was read again may be present twice until merged; read quarantine';

INSERT INTO quarantine_store (topic, kafka_partition, kafka_offset, ts, reason, bytes)
SELECT topic, kafka_partition, kafka_offset, ts, reason, bytes FROM quarantine FINAL;

DROP TABLE IF EXISTS quarantine;

CREATE TABLE quarantine_replays
(
    topic LowCardinality(String) COMMENT 'topic that the message came from; empty = of no one message',
    kafka_partition Int32 COMMENT 'partition',
    kafka_offset Int64 COMMENT 'offset',
    digest String COMMENT 'identity of the content, as in quarantine_store',
    replayed_at DateTime64(3, 'UTC') COMMENT 'when the message was replayed',
    run UUID COMMENT 'replay that it was part of, as in gpu_usage_late',
    outcome LowCardinality(String) COMMENT 'filled, published or covered: the first of these that holds for any of its samples',
    filled_samples UInt64 COMMENT 'samples in a hole of the GPU ledger: metered into rows of their own',
    published_samples UInt64 COMMENT 'samples newer than everything of their device or counter: sent to the topic again',
    covered_samples UInt64 COMMENT 'samples of a time for which the ledger had rows already: nothing was added',
    early_samples UInt64 COMMENT 'token samples older than the first row of their counter: nothing was added'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, kafka_partition, kafka_offset, digest, replayed_at)
COMMENT 'Replays of messages from quarantine, one row each; a row without a topic is a replay that was cut off and whose rows the next one finished';

CREATE VIEW quarantine
(
    id String COMMENT 'name of the message: topic/partition/offset that it came from',
    ts DateTime64(3, 'UTC') COMMENT 'when the message was put aside',
    topic LowCardinality(String) COMMENT 'topic that it came from',
    kafka_partition Int32 COMMENT 'partition',
    kafka_offset Int64 COMMENT 'offset',
    reason String COMMENT 'why it could not be read',
    bytes UInt64 COMMENT 'size of the untouched value, kept in the Kafka topic quarantine',
    cluster String COMMENT 'cluster id as the message says; empty = it does not',
    shard String COMMENT 'cluster/collector/n as the message says; empty = it does not',
    collector String COMMENT 'collector as the message says; empty = it does not',
    boot String COMMENT 'run of the collector as the message says; empty = it does not',
    seq Nullable(Int64) COMMENT 'number of the message in that run; null = it does not say',
    digest String COMMENT 'identity of the content; tells messages apart that had one name under different brokers',
    replayed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was last replayed; null = not yet',
    outcome LowCardinality(String) COMMENT 'what came of that: filled, published or covered; empty = not replayed yet'
)
AS SELECT
    concat(m.topic, '/', toString(m.kafka_partition), '/', toString(m.kafka_offset)) AS id, m.ts AS ts,
    m.topic AS topic, m.kafka_partition AS kafka_partition, m.kafka_offset AS kafka_offset, m.reason AS reason,
    m.bytes AS bytes, m.cluster AS cluster, m.shard AS shard, m.collector AS collector, m.boot AS boot, m.seq AS seq,
    m.digest AS digest, if(r.replays = 0, NULL, r.last_at) AS replayed_at, r.last_outcome AS outcome
FROM (SELECT * FROM quarantine_store FINAL) AS m
LEFT JOIN
(
    SELECT topic, kafka_partition, kafka_offset, digest, count() AS replays, max(replayed_at) AS last_at,
        argMax(outcome, replayed_at) AS last_outcome
    FROM quarantine_replays GROUP BY topic, kafka_partition, kafka_offset, digest
) AS r ON m.topic = r.topic AND m.kafka_partition = r.kafka_partition AND m.kafka_offset = r.kafka_offset
    AND m.digest = r.digest
COMMENT 'Messages that could not be read, each once, and whether they were replayed';

CREATE TABLE gpu_usage_late AS gpu_usage_store
ENGINE = ReplacingMergeTree
ORDER BY (cluster, device, slice, ts_start)
COMMENT 'Rows of gpu_usage that late samples brought, written here before they are there: what came late, and when';

ALTER TABLE gpu_usage_late
    ADD COLUMN run UUID COMMENT 'replay that brought the row, as in quarantine_replays',
    ADD COLUMN recorded_at DateTime64(3, 'UTC') COMMENT 'when the row was recorded',
    MODIFY ORDER BY (cluster, device, slice, ts_start, run);
