"""Protects what operators are told of devices: who is idle, failing, hot or miscounted, grouped where it is found."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import GPU_SAMPLES
from schemas.config_alerts import Alerts
from schemas.usage import DeviceCondition
from streams.metering.conditions import SHOWN, DeviceWatch, limits_of
from streams.metering.gpu import FROZEN_ABOVE_W, GpuMeter
from tests.streams.metering.samples import batch_of

NOON = 1_760_011_200_000
SHARD = "fir/a/0"
S = 1000


class Shard:
    """A shard whose devices do as they are told; agreement = namespace."""

    def __init__(self, **alerts: object) -> None:
        self.meter = GpuMeter({})
        self.watch = DeviceWatch(
            self.meter, limits_of(Alerts.model_validate(alerts)), lambda label: label.namespace.removeprefix("free")
        )

    def at(self, second: float, *devices: dict[str, object]) -> list[DeviceCondition]:
        """The conditions after a scrape; each device names what is not as usual."""
        rows = []
        for number, changes in enumerate(devices):
            usual: dict[str, object] = {
                "ts": NOON + round(second * S), "node": "n1", "device": f"GPU-{number}", "slice": "", "share_num": 1,
                "share_den": 1, "vendor": "nvidia", "gpu_model": "H100", "power_w": 500.0,
                "energy_mj": round(second * 500_000), "busy": 0.9, "busy_source": "gr_engine_active",
                "sm_active": None, "memory_used_mib": None, "temperature_c": 60.0, "xid": None, "namespace": "lab",
                "pod": "p", "job": "", "account": "",
            }  # fmt: skip
            rows.append({**usual, **changes})
        return self.fold(batch_of(rows, GPU_SAMPLES))

    def fold(self, batch: pa.RecordBatch) -> list[DeviceCondition]:
        """The conditions after a message."""
        self.meter.unknown_devices(SHARD, "fir", batch)
        self.meter.load(SHARD, [])
        self.meter.fold(SHARD, batch)
        return self.watch.conditions(SHARD)


def brief(conditions: Sequence[DeviceCondition]) -> list[tuple[str, str, int, float]]:
    """Kind, owner, devices and value."""
    return [(one.kind, one.agreement or one.node, one.devices, one.value) for one in conditions]


def test_ordinary_devices_are_no_condition() -> None:
    """Nor is a shard that nobody knows, or one without samples."""
    shard = Shard()
    assert shard.watch.conditions(SHARD) == []
    assert shard.at(0, {}, {}) == shard.at(10, {}, {}) == []


def test_idle_devices_of_an_agreement() -> None:
    """From `idle_for` on, together whatever node they stand in; those of nobody by their node."""
    shard = Shard(idle_for="60s")
    idle: list[dict[str, object]] = [
        {"busy": 0.0}, {"busy": 0.019, "node": "n2"}, {"busy": 0.02}, {"busy": 0.0, "namespace": "free"},
    ]  # fmt: skip
    assert shard.at(0, *idle) == shard.at(59, *idle) == []
    found = shard.at(60, *idle)
    assert brief(found) == [("idle", "lab", 2, 60.0), ("idle", "n1", 1, 60.0)]
    assert found[0].evidence == ["GPU-0: 60 s", "GPU-1: 60 s"]
    assert brief(shard.at(70, {"busy": 0.5}, *idle[1:])) == [("idle", "lab", 1, 70.0), ("idle", "n1", 1, 70.0)]


def test_an_idle_slice_is_part_of_a_device() -> None:
    """Three sevenths of one cost three sevenths."""
    shard = Shard(idle_for="60s")
    slices: list[dict[str, object]] = [
        {"device": "GPU-0", "slice": "3g/1", "share_num": 3, "share_den": 7, "busy": 0.0},
        {"device": "GPU-0", "slice": "4g/2", "share_num": 4, "share_den": 7},
    ]
    shard.at(0, *slices)
    (found,) = shard.at(60, *slices)
    assert found.devices == 1
    assert found.gpus == pytest.approx(float(Fraction(3, 7)))


def test_xid_errors() -> None:
    """The worst code of a node; 0 is none."""
    found = Shard().at(0, {"xid": 79}, {"xid": 48}, {"xid": 0}, {"xid": 13, "node": "n2"})
    assert brief(found) == [("xid", "n1", 2, 79.0), ("xid", "n2", 1, 13.0)]
    assert found[0].evidence == ["GPU-0: XID 79", "GPU-1: XID 48"]


def test_hot_devices() -> None:
    """Counted are those above the threshold; where there are none, those that have not cooled down yet (81.6 °C)."""
    shard = Shard()
    found = shard.at(0, {"temperature_c": 97.0}, {"temperature_c": 84.0}, {"temperature_c": 85.5})
    assert brief(found) == [("hot", "n1", 2, 97.0)]
    assert found[0].evidence == ["GPU-0: 97 °C", "GPU-2: 86 °C"]
    assert brief(shard.at(10, {"temperature_c": 84.0}, {"temperature_c": 81.0}, {})) == [("hot", "n1", 1, 84.0)]
    assert shard.at(20, {"temperature_c": 81.6}, {}, {}) == []
    assert shard.at(30, {"temperature_c": None}, {"temperature_c": float("nan")}, {}) == []


def test_frozen_counters() -> None:
    """The counter stands still while the device draws power; an idle one, one that moves and one without are sound."""
    shard = Shard(counter_frozen_for="60s")

    def devices(moved: bool = False) -> list[dict[str, object]]:
        return [
            {"energy_mj": 7_000_001 if moved else 7_000_000},
            {"energy_mj": 7_000_000, "power_w": FROZEN_ABOVE_W},
            {"energy_mj": None},
            {},
        ]

    assert shard.at(0, *devices()) == shard.at(59, *devices()) == []
    assert brief(shard.at(60, *devices())) == [("frozen", "n1", 1, 60.0)]
    assert brief(shard.at(90, *devices())) == [("frozen", "n1", 1, 90.0)]
    assert shard.at(100, *devices(moved=True)) == []
    assert shard.at(159, *devices(moved=True)) == []


def test_a_repeated_message_changes_nothing() -> None:
    """A replay brings the same samples again."""
    shard = Shard(counter_frozen_for="60s", idle_for="60s")
    devices: list[dict[str, object]] = [{"energy_mj": 7, "busy": 0.0}]
    for second in (0, 30, 60):
        first = shard.at(second, *devices)
    assert brief(first) == [("idle", "lab", 1, 60.0), ("frozen", "n1", 1, 60.0)]
    assert shard.at(60, *devices) == first


def test_a_whole_shard_in_trouble_is_a_condition_per_node() -> None:
    """4,096 hot devices in 512 nodes: one condition each, with the first few by name, and every device counted."""
    devices: list[dict[str, object]] = [
        {"node": f"n{number // 8}", "temperature_c": 90.0 + number % 8} for number in range(4096)
    ]
    found = Shard().at(0, *devices)
    assert len(found) == 512
    assert sum(one.devices for one in found) == 4096
    assert all(one.value == 97.0 and len(one.evidence) == SHOWN for one in found)
    assert found[0].evidence[0] == "GPU-7: 97 °C"
    assert np.unique([one.node for one in found]).size == 512
