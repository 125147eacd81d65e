"""Agent `meter`: telemetry.gpu -> gpu_samples, gpu_usage, and the running minute totals on usage.gpu."""

from collections.abc import Sequence

from schemas.config import Config
from schemas.topics import TELEMETRY_GPU, USAGE_GPU
from schemas.usage import DeviceCondition, GpuTotals
from streams.booking.gpu import GpuBooking
from streams.booking.samples import sample_rows, series_rows
from streams.ledger_agent import Folded, LedgerAgent
from streams.metering.conditions import DeviceWatch, limits_of
from streams.metering.gpu import GpuMeter
from streams.metering.labels import LabelSet
from streams.telemetry import Message


class Meter(LedgerAgent):
    """Meters GPU time and energy of every shard whose partition this worker has."""

    name = "meter"
    source = TELEMETRY_GPU
    target = USAGE_GPU
    schema = "gpu-samples/1"
    ledger = "gpu_usage"

    def start(self) -> None:
        config = self._context.config
        self._meter = GpuMeter(max_gaps_ms(config), float(config.alerts.idle_below))
        self._booking = GpuBooking(self._meter, self._context.reference)
        self._watch = DeviceWatch(self._meter, limits_of(config.alerts), self._agreement_of)

    def know_from(self, shard: str, cluster: str, latest_ms: int) -> None:
        self._meter.know_from(shard, cluster, latest_ms)

    def doubt(self, shard: str) -> None:
        self._meter.doubt(shard)

    def fold(self, message: Message) -> None:
        shard, cluster = message.shard, message.envelope.cluster
        unknown = self._meter.unknown_devices(shard, cluster, message.batch)
        if unknown:
            self._meter.load(shard, self._context.book.gpu_heads(cluster, unknown, message.ts_ms))
        self._meter.fold(shard, message.batch)

    def take(self) -> Folded:
        usage, totals, unknown = self._booking.totals(*self._meter.take_rows())
        registry = self._meter.registry
        new, registry.new_series = registry.new_series, []
        tables = {
            "gpu_series": series_rows(new),
            "gpu_samples_store": sample_rows(self._meter.take_raw()),
            "gpu_usage_store": usage,
        }
        duplicates, self._meter.duplicates = self._meter.duplicates, 0
        return Folded(tables, totals, unknown, self._meter.take_events(), duplicates)

    def totals_from_book(self, cluster: str, minutes_ms: Sequence[int], shards: Sequence[str]) -> Sequence[GpuTotals]:
        return self._context.book.gpu_totals(cluster, minutes_ms, shards)

    def conditions(self, shard: str) -> list[DeviceCondition]:
        return self._watch.conditions(shard)

    def _agreement_of(self, label: LabelSet) -> str:
        _, _, agreement = self._context.reference.resolve_gpu(
            label.cluster, label.namespace, label.pod, label.job, label.account
        )
        return agreement


def max_gaps_ms(config: Config) -> dict[str, int]:
    """Longest silence per cluster that needs no bridge: 90 s, at least three scrape intervals, unless configured."""
    return {
        cluster.id: int(1000 * (cluster.max_gap or max([90.0, *(3 * target.interval for target in cluster.target)])))
        for cluster in config.cluster
    }
