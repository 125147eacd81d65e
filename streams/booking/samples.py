"""Raw samples of devices and their label sets as they are stored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.booking.columns import timestamps
from streams.metering.labels import LabelSet

_MEASURED = ("power_w", "energy_mj", "busy", "sm_active", "memory_used_mib", "temperature_c")
_LABELS = ("cluster", "node", "device", "slice", "vendor", "gpu_model", "namespace", "pod", "job", "account")


def sample_rows(raw: tuple[NDArray[Any], ...]) -> pa.Table:
    """Samples as `GpuMeter.take_raw` gives them, as rows of gpu_samples_store."""
    series, ts_ms, *measured = raw
    columns = {"series": pa.array(series), "ts": timestamps(ts_ms)}
    for name, values in zip(_MEASURED, measured, strict=True):
        columns[name] = pa.array(values if name == "energy_mj" else values.astype(np.float32))
    return pa.table(columns)


def series_rows(new: Sequence[tuple[int, LabelSet, str]]) -> pa.Table:
    """Label sets as `Registry.new_series` has them, as rows of gpu_series."""
    columns = {"series": pa.array([series for series, _, _ in new], pa.uint64())}
    for name in _LABELS:
        columns[name] = pa.array([getattr(label, name) for _, label, _ in new], pa.string())
    columns["busy_source"] = pa.array([busy_source for _, _, busy_source in new], pa.string())
    return pa.table(columns)
