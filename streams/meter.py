"""Agent `meter`: telemetry.gpu -> gpu_samples, gpu_usage, and the running minute totals on usage.gpu."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.config import Config
from schemas.topics import TELEMETRY_GPU, USAGE_GPU
from schemas.usage import DeviceCondition, GpuTotals
from streams.booking.gpu import GpuBooking
from streams.context import MS
from streams.ledger_agent import Folded, LedgerAgent
from streams.metering.conditions import findings
from streams.metering.gpu import GpuMeter
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

    def know_from(self, shard: str, cluster: str, latest_ms: int) -> None:
        self._meter.know_from(shard, cluster, latest_ms)

    def fold(self, message: Message) -> None:
        shard, cluster = message.shard, message.envelope.cluster
        unknown = self._meter.unknown_devices(shard, cluster, message.batch)
        if unknown:
            self._meter.load(cluster, self._context.book.gpu_heads(cluster, unknown, message.ts_ms))
            self._meter.mark_loaded(shard)
        self._meter.fold(shard, message.batch)

    def take(self) -> Folded:
        usage, totals, unknown = self._booking.totals(*self._meter.take_rows())
        tables = {
            "gpu_series": self._new_series(),
            "gpu_samples_store": _raw_table(self._meter),
            "gpu_usage_store": usage,
        }
        return Folded(
            tables, [self._with_conditions(message) for message in totals], unknown, self._meter.take_events()
        )

    def totals_from_book(self, cluster: str, minute_ms: int, shard: str) -> Sequence[GpuTotals]:
        return self._context.book.gpu_totals(cluster, minute_ms, shard)

    def _with_conditions(self, totals: GpuTotals) -> GpuTotals:
        settings = self._context.config.alerts
        conditions = []
        for kind, index, value, since_ms in findings(
            self._meter, totals.shard, int(settings.idle_for * 1000), float(settings.hot_above_c)
        ):
            label = self._meter.registry.labels[index]
            _, _, agreement = self._context.reference.resolve_gpu(
                label.cluster, label.namespace, label.pod, label.job, label.account
            )
            conditions.append(
                DeviceCondition(
                    kind=kind, device=label.device, node=label.node, agreement=agreement, value=value, since_ms=since_ms
                )
            )
        return totals.model_copy(update={"conditions": conditions})

    def _new_series(self) -> pa.Table:
        registry = self._meter.registry
        new, registry.new_series = registry.new_series, []
        columns: dict[str, Any] = {"series": pa.array([series for series, _, _ in new], pa.uint64())}
        for name in (
            "cluster", "node", "device", "slice", "vendor", "gpu_model", "namespace", "pod", "job", "account",
        ):  # fmt: skip
            columns[name] = pa.array([getattr(label, name) for _, label, _ in new], pa.string())
        columns["busy_source"] = pa.array([busy_source for _, _, busy_source in new], pa.string())
        return pa.table(columns)


def max_gaps_ms(config: Config) -> dict[str, int]:
    """Longest silence per cluster that needs no bridge: 90 s, at least three scrape intervals, unless configured."""
    return {
        cluster.id: int(1000 * (cluster.max_gap or max([90.0, *(3 * target.interval for target in cluster.target)])))
        for cluster in config.cluster
    }


def _raw_table(meter: GpuMeter) -> pa.Table:
    series, ts_ms, power_w, energy_mj, busy, sm_active, memory, temperature = meter.take_raw()
    return pa.table(
        {
            "series": pa.array(series),
            "ts": pa.array(ts_ms).cast(MS),
            "power_w": pa.array(power_w.astype(np.float32)),
            "energy_mj": pa.array(energy_mj),
            "busy": pa.array(busy.astype(np.float32)),
            "sm_active": pa.array(sm_active.astype(np.float32)),
            "memory_used_mib": pa.array(memory.astype(np.float32)),
            "temperature_c": pa.array(temperature.astype(np.float32)),
        }
    )
