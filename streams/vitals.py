"""What a worker holds and how far it is behind, looked up when Prometheus asks."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from faust.exceptions import ConsumerNotStarted
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.consumer import SafeConsumer
from streams.intake import Intake


class Worker(Protocol):
    """A worker, as far as it matters here."""

    consumer: SafeConsumer | None

    @property
    def intakes(self) -> Sequence[Intake[Any]]:
        """One for each agent."""


@contextlib.contextmanager
def shown(worker: Worker) -> Iterator[None]:
    """Show the vital signs of this worker, for as long as the block lasts."""
    vitals = _Vitals(worker)
    REGISTRY.register(vitals)
    try:
        yield
    finally:
        REGISTRY.unregister(vitals)


class _Vitals(Collector):
    """Called by the thread that serves the metrics, while the worker works: looks, and changes nothing."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        acknowledged = CounterMetricFamily(
            "commonwatt_acknowledged_messages",
            "Messages whose rows are stored and that were acknowledged.",
            labels=["agent"],
        )
        batches = CounterMetricFamily("commonwatt_batches", "Batches of messages that were stored.", labels=["agent"])
        held = GaugeMetricFamily(
            "commonwatt_held_messages", "Messages taken in and not yet acknowledged.", labels=["agent"]
        )
        oldest = GaugeMetricFamily(
            "commonwatt_held_oldest_seconds", "How long the oldest of them has been held.", labels=["agent"]
        )
        sent_s: dict[str, float] = {}
        for intake in self._worker.intakes:
            agent = [intake.name]
            since, sent = intake.oldest()
            acknowledged.add_metric(agent, intake.messages)
            batches.add_metric(agent, intake.batches)
            held.add_metric(agent, intake.held)
            oldest.add_metric(agent, 0.0 if since is None else time.monotonic() - since)
            for topic, moment_s in sent.items():
                sent_s[topic] = min(moment_s, sent_s.get(topic, moment_s))
        return [acknowledged, batches, held, oldest, *self._lag(sent_s)]

    def _lag(self, sent_s: Mapping[str, float]) -> Iterable[Metric]:
        """By topic. `sent_s`: when the oldest message that is held was sent."""
        partitions = GaugeMetricFamily(
            "commonwatt_assigned_partitions", "Partitions of a topic that this worker reads.", labels=["topic"]
        )
        behind = GaugeMetricFamily(
            "commonwatt_lag_messages",
            "Messages of these partitions whose acknowledgement is not committed, as far as this worker has heard.",
            labels=["topic"],
        )
        seconds = GaugeMetricFamily(
            "commonwatt_lag_seconds",
            "Age of the oldest message of a topic that this worker holds, by Kafka's time; 0: it holds none.",
            labels=["topic"],
        )
        consumer = self._worker.consumer
        # Between two assignments the consumer knows nothing, or contradicts itself for a moment.
        with contextlib.suppress(AssertionError, ConsumerNotStarted, RuntimeError):
            known = consumer.behind() if consumer is not None else {}
            for topic, number in Counter(tp.topic for tp in known).items():
                partitions.add_metric([topic], number)
                behind.add_metric([topic], sum(count for tp, count in known.items() if tp.topic == topic))
                seconds.add_metric([topic], max(0.0, time.time() - sent_s[topic]) if topic in sent_s else 0.0)
        return [partitions, behind, seconds]
