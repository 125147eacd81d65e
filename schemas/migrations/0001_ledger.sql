-- The ledger and the raw samples. Public names are views; the tables behind them end in _store.

CREATE TABLE gpu_series
(
    series UInt64 COMMENT 'identity of one label set: 64-bit hash of every other column',
    cluster LowCardinality(String) COMMENT 'cluster id',
    node LowCardinality(String) COMMENT 'host that carries the device',
    device String COMMENT 'physical GPU: UUID, AMD: serial number',
    slice LowCardinality(String) COMMENT 'MIG instance or AMD partition; empty = whole device',
    vendor LowCardinality(String) COMMENT 'nvidia or amd',
    gpu_model LowCardinality(String) COMMENT 'product name',
    busy_source LowCardinality(String) COMMENT 'series behind busy',
    namespace LowCardinality(String) COMMENT 'Kubernetes namespace that holds the slice',
    pod String COMMENT 'Kubernetes pod that holds the slice',
    job String COMMENT 'batch job id that holds the slice',
    account LowCardinality(String) COMMENT 'Slurm account of the job'
)
ENGINE = ReplacingMergeTree ORDER BY series
COMMENT 'Label sets of gpu_samples, each once';

CREATE TABLE gpu_samples_store
(
    series UInt64 COMMENT 'label set, see gpu_series' CODEC(ZSTD(1)),
    ts DateTime64(3, 'UTC') COMMENT 'when the exporter was read' CODEC(DoubleDelta, ZSTD(1)),
    power_w Float32 COMMENT 'power of the whole device, W; NaN = not measured' CODEC(ZSTD(1)),
    energy_mj Int64 COMMENT 'cumulative energy of the whole device, mJ; -1 = not measured' CODEC(Delta, ZSTD(1)),
    busy Float32 COMMENT 'share of time the compute engine is active, 0..1; NaN = not measured' CODEC(ZSTD(1)),
    sm_active Float32 COMMENT 'share of SMs with work, 0..1; NaN = not measured' CODEC(ZSTD(1)),
    memory_used_mib Float32 COMMENT 'device memory in use, MiB; NaN = not measured' CODEC(ZSTD(1)),
    temperature_c Float32 COMMENT 'temperature, degrees Celsius; NaN = not measured' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toStartOfHour(ts)
ORDER BY (series, ts)
TTL toDateTime(ts) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1, min_parts_to_merge_at_once = 10
COMMENT 'Raw samples as stored: measurements only, labels once in gpu_series. Kept 7 days';

CREATE VIEW gpu_samples
(
    ts DateTime64(3, 'UTC') COMMENT 'when the exporter was read',
    cluster LowCardinality(String) COMMENT 'cluster id',
    node LowCardinality(String) COMMENT 'host that carries the device',
    device String COMMENT 'physical GPU: UUID, AMD: serial number',
    slice LowCardinality(String) COMMENT 'MIG instance or AMD partition; empty = whole device',
    vendor LowCardinality(String) COMMENT 'nvidia or amd',
    gpu_model LowCardinality(String) COMMENT 'product name',
    power_w Nullable(Float32) COMMENT 'power of the whole device, W (one value per device, however many slices repeat it)',
    energy_mj Nullable(Int64) COMMENT 'cumulative energy of the whole device, mJ',
    busy Nullable(Float32) COMMENT 'share of time the compute engine is active, 0..1',
    busy_source LowCardinality(String) COMMENT 'series behind busy: gr_engine_active, gfx_activity or gpu_util',
    sm_active Nullable(Float32) COMMENT 'share of SMs with work, 0..1',
    memory_used_mib Nullable(Float32) COMMENT 'device memory in use, MiB',
    temperature_c Nullable(Float32) COMMENT 'temperature, degrees Celsius',
    namespace LowCardinality(String) COMMENT 'Kubernetes namespace that holds the slice',
    pod String COMMENT 'Kubernetes pod that holds the slice',
    job String COMMENT 'batch job id that holds the slice',
    account LowCardinality(String) COMMENT 'Slurm account of the job'
)
AS SELECT
    s.ts AS ts, l.cluster AS cluster, l.node AS node, l.device AS device, l.slice AS slice, l.vendor AS vendor,
    l.gpu_model AS gpu_model,
    if(isNaN(s.power_w), NULL, s.power_w) AS power_w,
    if(s.energy_mj < 0, NULL, s.energy_mj) AS energy_mj,
    if(isNaN(s.busy), NULL, s.busy) AS busy,
    l.busy_source AS busy_source,
    if(isNaN(s.sm_active), NULL, s.sm_active) AS sm_active,
    if(isNaN(s.memory_used_mib), NULL, s.memory_used_mib) AS memory_used_mib,
    if(isNaN(s.temperature_c), NULL, s.temperature_c) AS temperature_c,
    l.namespace AS namespace, l.pod AS pod, l.job AS job, l.account AS account
FROM gpu_samples_store AS s FINAL
INNER JOIN (SELECT * FROM gpu_series FINAL) AS l ON s.series = l.series
COMMENT 'One device slice at one moment, as read from its exporter. Kept 7 days; for longer ranges use gpu_usage';

-- One row per (cluster, device, slice, ts_start); while a row is open it is written again with a later ts_end, and the
-- latest wins. A replay writes the same rows under the same keys. A row with ts_end = ts_start is a chain head that
-- nothing has followed yet: it carries the counters for whoever goes on.
CREATE TABLE gpu_usage_store
(
    cluster LowCardinality(String) COMMENT 'cluster id',
    device String COMMENT 'physical GPU: UUID, AMD: serial number',
    slice LowCardinality(String) COMMENT 'MIG instance or AMD partition; empty = whole device; unallocated = in no slice',
    ts_start DateTime64(3, 'UTC') COMMENT 'start of the interval, inclusive' CODEC(DoubleDelta, ZSTD(1)),
    ts_end DateTime64(3, 'UTC') COMMENT 'end of the interval, exclusive' CODEC(DoubleDelta, ZSTD(1)),
    minute DateTime('UTC') COMMENT 'minute that holds the whole interval' CODEC(DoubleDelta, ZSTD(1)),
    shard LowCardinality(String) COMMENT 'cluster/collector/n that delivered the samples',
    node LowCardinality(String) COMMENT 'host that carries the device',
    vendor LowCardinality(String) COMMENT 'nvidia or amd',
    gpu_model LowCardinality(String) COMMENT 'product name',
    share_num UInt32 COMMENT 'compute share of the slice, numerator',
    share_den UInt32 COMMENT 'compute share of the slice, denominator',
    namespace LowCardinality(String) COMMENT 'Kubernetes namespace that held the slice',
    pod String COMMENT 'Kubernetes pod that held the slice',
    job String COMMENT 'batch job that held the slice',
    account LowCardinality(String) COMMENT 'Slurm account of the job',
    workload String COMMENT 'namespace/pod or job; empty = idle, held by nobody',
    deployment LowCardinality(String) COMMENT 'deployment that the workload serves; empty = none',
    agreement LowCardinality(String) COMMENT 'agreement that pays; empty = unattributed or shared',
    gpu_seconds Decimal(18, 9) COMMENT 'device time, seconds of a whole device',
    energy_j Decimal(18, 3) COMMENT 'energy of this slice''s share, J',
    busy_seconds Decimal(18, 9) COMMENT 'device time during which the compute engine was active, s',
    busy_known_seconds Decimal(18, 9) COMMENT 'device time for which busy was measured, s',
    energy_mj_end Nullable(Int64) COMMENT 'energy counter of the device at ts_end, mJ; within an interval in proportion to time',
    power_w_end Nullable(Float64) COMMENT 'power of the device at ts_end, W',
    samples UInt32 COMMENT 'observations that the row is made of',
    method LowCardinality(String) COMMENT 'counter, integrated, bridged, or time (energy not measured); empty at a chain head',
    ended Bool COMMENT 'true: the slice ceased to exist at ts_end (the device was partitioned anew)',
    cost Decimal(18, 9) COMMENT 'cost of the row in its currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    price_version LowCardinality(String) COMMENT 'price that was applied: id@effective_from; empty = no price known'
)
ENGINE = ReplacingMergeTree(ts_end)
PARTITION BY toDate(ts_start)
ORDER BY (cluster, device, slice, ts_start)
COMMENT 'The GPU ledger as stored: open rows may be present in several lengths until merged; read gpu_usage';

CREATE VIEW gpu_usage
(
    ts_start DateTime64(3, 'UTC') COMMENT 'start of the interval, inclusive',
    ts_end DateTime64(3, 'UTC') COMMENT 'end of the interval, exclusive',
    minute DateTime('UTC') COMMENT 'minute that holds the whole interval',
    shard LowCardinality(String) COMMENT 'cluster/collector/n that delivered the samples',
    cluster LowCardinality(String) COMMENT 'cluster id',
    node LowCardinality(String) COMMENT 'host that carries the device',
    device String COMMENT 'physical GPU: UUID, AMD: serial number',
    slice LowCardinality(String) COMMENT 'MIG instance or AMD partition; empty = whole device; unallocated = in no slice',
    vendor LowCardinality(String) COMMENT 'nvidia or amd',
    gpu_model LowCardinality(String) COMMENT 'product name',
    workload String COMMENT 'namespace/pod or job; empty = idle, held by nobody',
    namespace LowCardinality(String) COMMENT 'Kubernetes namespace that held the slice',
    account LowCardinality(String) COMMENT 'Slurm account of the job',
    deployment LowCardinality(String) COMMENT 'deployment that the workload serves; empty = none',
    agreement LowCardinality(String) COMMENT 'agreement that pays; empty = unattributed or shared',
    gpu_seconds Decimal(18, 9) COMMENT 'device time, seconds of a whole device',
    energy_j Decimal(18, 3) COMMENT 'energy of this slice''s share, J',
    busy_seconds Decimal(18, 9) COMMENT 'device time during which the compute engine was active, s',
    busy_known_seconds Decimal(18, 9) COMMENT 'device time for which busy was measured, s',
    energy_mj_end Nullable(Int64) COMMENT 'energy counter of the device at ts_end, mJ',
    samples UInt32 COMMENT 'observations that the row is made of',
    method LowCardinality(String) COMMENT 'counter, integrated, bridged, or time (energy not measured)',
    cost Decimal(18, 9) COMMENT 'cost of the row in its currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    price_version LowCardinality(String) COMMENT 'price that was applied: id@effective_from; empty = no price known'
)
AS SELECT
    ts_start, ts_end, minute, shard, cluster, node, device, slice, vendor, gpu_model, workload, namespace, account,
    deployment, agreement, gpu_seconds, energy_j, busy_seconds, busy_known_seconds, energy_mj_end, samples, method,
    cost, currency, price_version
FROM gpu_usage_store FINAL
WHERE ts_end > ts_start
COMMENT 'The GPU ledger: one interval of one device slice, each exactly once. Intervals of a slice never overlap';

CREATE TABLE token_usage_store
(
    cluster LowCardinality(String) COMMENT 'cluster id',
    endpoint String COMMENT 'host:port of the server that was read, and its path before /metrics',
    replica LowCardinality(String) COMMENT 'engine within the endpoint',
    model LowCardinality(String) COMMENT 'model: the deployment''s, else as the server prints it',
    team LowCardinality(String) COMMENT 'tenant as the gateway knows it; empty for engines',
    ts_start DateTime64(3, 'UTC') COMMENT 'start of the interval, inclusive' CODEC(DoubleDelta, ZSTD(1)),
    ts_end DateTime64(3, 'UTC') COMMENT 'end of the interval, exclusive' CODEC(DoubleDelta, ZSTD(1)),
    minute DateTime('UTC') COMMENT 'minute of the later observation' CODEC(DoubleDelta, ZSTD(1)),
    shard LowCardinality(String) COMMENT 'cluster/collector/n that delivered the samples',
    served_model LowCardinality(String) COMMENT 'model name as the server prints it',
    layer LowCardinality(String) COMMENT 'engine or gateway',
    counted Bool COMMENT 'true where these tokens count; false for the layer kept for triangulation',
    deployment LowCardinality(String) COMMENT 'deployment that the endpoint belongs to; empty = none',
    agreement LowCardinality(String) COMMENT 'agreement whose tokens these are; empty = unattributed',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    requests Int64 COMMENT 'finished requests',
    resets UInt32 COMMENT 'counter restarts seen in the interval',
    samples UInt32 COMMENT 'observations that the row is made of',
    prompt_tokens_end Nullable(Int64) COMMENT 'counter at ts_end',
    cached_tokens_end Nullable(Int64) COMMENT 'counter at ts_end',
    generation_tokens_end Nullable(Int64) COMMENT 'counter at ts_end',
    requests_end Nullable(Int64) COMMENT 'counter at ts_end',
    started_ms Nullable(Int64) COMMENT 'start of the counting process at ts_end, unix ms'
)
ENGINE = ReplacingMergeTree(ts_end)
PARTITION BY toDate(ts_start)
ORDER BY (cluster, endpoint, replica, served_model, team, ts_start)
COMMENT 'The token ledger as stored: open rows may be present in several lengths until merged; read token_usage';

CREATE VIEW token_usage
(
    ts_start DateTime64(3, 'UTC') COMMENT 'start of the interval, inclusive',
    ts_end DateTime64(3, 'UTC') COMMENT 'end of the interval, exclusive',
    minute DateTime('UTC') COMMENT 'minute of the later observation',
    shard LowCardinality(String) COMMENT 'cluster/collector/n that delivered the samples',
    cluster LowCardinality(String) COMMENT 'cluster id',
    endpoint String COMMENT 'host:port of the server that was read, and its path before /metrics',
    replica LowCardinality(String) COMMENT 'engine within the endpoint',
    model LowCardinality(String) COMMENT 'model: the deployment''s, else as the server prints it',
    team LowCardinality(String) COMMENT 'tenant as the gateway knows it; empty for engines',
    layer LowCardinality(String) COMMENT 'engine or gateway',
    counted Bool COMMENT 'true where these tokens count; false for the layer kept for triangulation',
    deployment LowCardinality(String) COMMENT 'deployment that the endpoint belongs to; empty = none',
    agreement LowCardinality(String) COMMENT 'agreement whose tokens these are; empty = unattributed',
    prompt_tokens Int64 COMMENT 'prompt tokens, cached ones included',
    cached_tokens Int64 COMMENT 'prompt tokens served from cache',
    generation_tokens Int64 COMMENT 'output tokens',
    requests Int64 COMMENT 'finished requests',
    resets UInt32 COMMENT 'counter restarts seen in the interval',
    samples UInt32 COMMENT 'observations that the row is made of',
    prompt_tokens_end Nullable(Int64) COMMENT 'counter at ts_end',
    cached_tokens_end Nullable(Int64) COMMENT 'counter at ts_end',
    generation_tokens_end Nullable(Int64) COMMENT 'counter at ts_end',
    requests_end Nullable(Int64) COMMENT 'counter at ts_end'
)
AS SELECT
    ts_start, ts_end, minute, shard, cluster, endpoint, replica, model, team, layer, counted, deployment, agreement,
    prompt_tokens, cached_tokens, generation_tokens, requests, resets, samples,
    prompt_tokens_end, cached_tokens_end, generation_tokens_end, requests_end
FROM token_usage_store FINAL
WHERE ts_end > ts_start
COMMENT 'The token ledger: one interval of one counter, each exactly once. Sum only rows where counted';
