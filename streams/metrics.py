"""What a worker tells Prometheus.

Counted once a batch or block, never a row. What a worker knows anyway is looked up when Prometheus asks: see
`streams.vitals`. Labels are bounded: agents, tables and topics are the programme's own, clusters those of the
configuration.
"""

import time

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

SAMPLES = Counter("commonwatt_samples_total", "Samples that a meter read, repeated ones included.", ["agent"])
DUPLICATES = Counter(
    "commonwatt_duplicate_samples_total", "Samples that a meter had already counted, and left out.", ["agent"]
)
BATCH_SECONDS = Histogram(
    "commonwatt_batch_seconds",
    "Time for a batch of messages: computing it, storing it.",
    ["agent", "step"],
    buckets=_SECONDS,
)
INSERT_SECONDS = Histogram(
    "commonwatt_insert_seconds", "Time until ClickHouse had stored a block of rows.", ["table"], buckets=_SECONDS
)
ROWS = Counter("commonwatt_rows_total", "Rows stored in ClickHouse.", ["table"])
RETRIES = Counter("commonwatt_clickhouse_retries_total", "Calls that ClickHouse did not take and that were repeated.")
WAITING = Gauge("commonwatt_clickhouse_waiting_calls", "Calls that ClickHouse does not take at this moment.")
PUBLISHED = Counter("commonwatt_published_messages_total", "Messages sent to a topic.", ["topic"])
PUBLISH_ERRORS = Counter("commonwatt_publish_errors_total", "Times that sending to a topic failed.", ["topic"])
QUARANTINED = Counter(
    "commonwatt_quarantined_messages_total", "Messages of a topic that could not be read and were set aside.", ["topic"]
)
REBALANCES = Counter("commonwatt_rebalances_total", "Times that partitions were given to this worker.")


class Age:
    """How long ago something was that bears a time: negative when that time is in the future."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self._gauge = Gauge(name, text, [label])
        self._newest_ms: dict[str, int] = {}

    def saw(self, key: str, ts_ms: int) -> None:
        """Something of this moment; the newest counts."""
        if key not in self._newest_ms:
            self._newest_ms[key] = ts_ms
            self._gauge.labels(key).set_function(lambda: time.time() - self._newest_ms.get(key, ts_ms) / 1000)
        elif ts_ms > self._newest_ms[key]:
            self._newest_ms[key] = ts_ms

    def forget(self) -> None:
        """Another worker may see them from now on."""
        self._gauge.clear()
        self._newest_ms.clear()


SAMPLE_AGE = Age(
    "commonwatt_sample_age_seconds",
    "Age of the newest sample of a cluster by this worker's clock; negative: the collector's clock is ahead.",
    "cluster",
)
STATE_AGE = Age("commonwatt_state_age_seconds", "Age of the newest figures that an agent has published.", "agent")
