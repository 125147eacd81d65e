"""What the notifier tells Prometheus."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from compose.notify.queue import Queue

CHANGES = Counter("commonwatt_notify_changes_total", "Changes of alerts that were news.", ["state"])
REPEATED = Counter("commonwatt_notify_repeated_total", "Changes that were known already.")
UNREADABLE = Counter("commonwatt_notify_unreadable_total", "Messages on the topic that hold no alert.")
DELIVERED = Counter("commonwatt_notify_delivered_total", "Changes that a sink has taken.", ["sink"])
FAILURES = Counter("commonwatt_notify_failures_total", "Tries to deliver that failed.", ["sink"])
SET_ASIDE = Counter(
    "commonwatt_notify_set_aside_total",
    "Changes that a sink was not told: it refused them for good, or its queue was full.",
    ["sink"],
)
SECONDS = Histogram(
    "commonwatt_notify_seconds",
    "Time from a change of an alert until a sink had taken it.",
    ["sink"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
LAST_SUCCESS = Gauge(
    "commonwatt_notify_last_success_timestamp_seconds", "When a sink last took something, unix time.", ["sink"]
)


@contextlib.contextmanager
def shown(queue: Queue, sinks: Sequence[str]) -> Iterator[None]:
    """Show also what waits, for as long as the block lasts; the metrics of each sink begin with 0."""
    for sink in sinks:
        for family in (DELIVERED, FAILURES, SET_ASIDE, SECONDS):
            family.labels(sink)
    for state in ("firing", "resolved"):
        CHANGES.labels(state)
    figures = _Figures(queue, sinks)
    REGISTRY.register(figures)
    try:
        yield
    finally:
        REGISTRY.unregister(figures)


class _Figures(Collector):
    def __init__(self, queue: Queue, sinks: Sequence[str]) -> None:
        self._queue = queue
        self._sinks = sinks

    def describe(self) -> Iterable[Metric]:
        """Without asking."""
        return ()

    def collect(self) -> Iterable[Metric]:
        now_s, waiting, kept = time.time(), self._queue.waiting(), self._queue.set_aside()
        yield GaugeMetricFamily(
            "commonwatt_notify_open_alerts", "Alerts that are firing, as the notifier knows.", self._queue.open_alerts()
        )
        counts = GaugeMetricFamily("commonwatt_notify_waiting", "Changes that wait for a sink.", labels=["sink"])
        oldest = GaugeMetricFamily(
            "commonwatt_notify_oldest_waiting_seconds", "How long the oldest of them has waited.", labels=["sink"]
        )
        aside = GaugeMetricFamily(
            "commonwatt_notify_set_aside",
            "Changes that are kept aside, see `--undelivered`.",
            labels=["sink"],
        )
        for sink in self._sinks:
            count, since_ms = waiting.get(sink, (0, 0))
            counts.add_metric([sink], count)
            oldest.add_metric([sink], max(0.0, now_s - since_ms / 1000) if count else 0.0)
            aside.add_metric([sink], kept.get(sink, (0, 0))[0])
        yield from (counts, oldest, aside)
