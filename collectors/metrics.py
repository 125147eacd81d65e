"""What a collector tells Prometheus: its statistics, read when Prometheus asks."""

import contextlib
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from collectors.statistics import BUCKETS_S, Durations, Statistics


@contextlib.contextmanager
def shown(statistics: Statistics) -> Iterator[None]:
    """Show these statistics for as long as the block lasts."""
    figures = _Figures(statistics)
    REGISTRY.register(figures)
    try:
        yield
    finally:
        REGISTRY.unregister(figures)


class _Figures(Collector):
    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        now = self._statistics
        yield _total("scrapes", "Pages that were asked for.", now.scrapes)
        yield _total("scrape_failures", "Pages that were not got, or could not be read.", now.failures)
        yield _total("scraped_lines", "Lines of the pages that were read.", now.lines)
        yield _total("scraped_samples", "Samples of devices and token counters in them.", now.samples)
        yield _histogram("scrape_seconds", "Time from asking for a page until it was read, or given up.", now.scrape_s)
        yield _now("targets", "Addresses that are scraped.", now.targets)
        yield _now("targets_down", "Addresses whose last scrape failed.", now.targets_down)
        yield _total("sent_messages", "Messages that Kafka has acknowledged.", now.messages)
        yield _total(
            "refused_messages",
            "Messages that were lost: the spool was full or its disk failed, or Kafka refused them for good.",
            now.dropped_messages,
        )
        yield _total("refused_samples", "Samples in these messages.", now.dropped_samples)
        yield _now("spool_messages", "Messages that wait for Kafka.", now.spool_messages)
        yield _now("spool_bytes", "Bytes of these messages.", now.spool_bytes)
        yield _now("spool_limit_bytes", "Most that the spool may take of the disk.", now.spool_limit_bytes)
        yield _now("spool_oldest_seconds", "How long the oldest of these messages has waited.", now.spool_age_s)
        yield _total("clock_steps", "Times that the system's clock was set.", now.clock_steps)


def _total(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"commonwatt_collector_{name}", text, value=value)


def _now(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"commonwatt_collector_{name}", text, value=value)


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    bounds = [*map(floatToGoString, BUCKETS_S), "+Inf"]
    buckets = list(zip(bounds, accumulate(durations.counts), strict=True))
    return HistogramMetricFamily(f"commonwatt_collector_{name}", text, buckets=buckets, sum_value=durations.total_s)
