"""The GPU exporters: every form of label, slices, shared devices, blanks; nothing counted twice."""

from typing import Final

import numpy as np
import pytest

from collectors.dcgm_exporter import DcgmReader, mig_share
from collectors.exposition import PageError
from collectors.readings import GpuReading
from tests.collectors.support import gpu, gpu_rows, kinds, origin

DCGM: Final = "dcgm-exporter"
AMD: Final = "amd-device-metrics-exporter"


def series(metric: str, value: str, **labels: str) -> str:
    inner = ",".join(f'{name}="{text}"' for name, text in labels.items())
    return f"{metric}{{{inner}}} {value}\n"


def device(value: str = "100.0", energy: str = "5000", **labels: str) -> str:
    """Power and energy of one dcgm-exporter entity."""
    named = {"gpu": "0", "UUID": "GPU-1", "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "n1"} | labels
    return series("DCGM_FI_DEV_POWER_USAGE", value, **named) + series(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", energy, **named
    )


def amd(metric: str, value: str, **labels: str) -> str:
    named = {"gpu_id": "0", "gpu_partition_id": "0", "gpu_compute_partition_type": "spx", "serial_number": "S1"}
    return series(metric, value, **(named | {"card_series": "AMD Instinct MI300X OAM", "hostname": "n1"} | labels))


def column(reading: GpuReading, name: str) -> list[object]:
    return [row.get(name) for row in gpu_rows(reading)]


@pytest.mark.parametrize("label", ["Hostname", "hostname"])
def test_host_label_of_old_and_new_releases(label: str) -> None:
    """Releases before 4.6.0 print Hostname, later ones hostname."""
    text = f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-1",{label}="fir-g001"}} 100.0\n'
    assert column(gpu(DCGM, text), "node") == ["fir-g001"]


@pytest.mark.parametrize("labels", ["", ',Hostname="localhost"'])
def test_host_of_the_address_where_the_page_names_none(labels: str) -> None:
    """-n leaves the host out, a non-default port once printed the literal localhost."""
    assert column(gpu(DCGM, f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-1"{labels}}} 1.0\n'), "node") == ["host-1"]


def test_holder_in_every_label_form() -> None:
    """Kubernetes labels old and new, through a Prometheus, DRA claims, batch jobs."""
    forms = {
        'namespace="llm",pod="p-0",container="main",pod_uid=""': ("llm", "p-0", None),
        'container_name="c",pod_name="p-0",pod_namespace="llm"': ("llm", "p-0", None),
        'container="",namespace="",pod=""': (None, None, None),
        'exported_container="c",exported_namespace="llm",exported_pod="p-0",namespace="mon",pod="exporter-x"': (
            "llm",
            "p-0",
            None,
        ),
        'instance="10.0.0.1:9400",job="dcgm",container="nvidia-dcgm-exporter",namespace="mon",pod="nvidia-x"': (
            None,
            None,
            None,
        ),
        'instance="10.0.0.1:9400",job="dcgm",container="main",namespace="llm",pod="p-0"': ("llm", "p-0", None),
        'dra_claim_name="c-1",dra_claim_namespace="llm"': ("llm", None, None),
        'hpc_job="42"': (None, None, "42"),
    }
    for labels, (namespace, pod, job) in forms.items():
        reading = gpu(DCGM, f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-1",{labels}}} 1.0\n')
        assert (column(reading, "namespace"), column(reading, "pod"), column(reading, "job")) == (
            [namespace],
            [pod],
            [job],
        ), labels


@pytest.mark.parametrize(
    ("profile", "model", "share"),
    [
        ("3g.40gb", "NVIDIA H100 80GB HBM3", (3, 7)),
        ("1g.10gb+me", "NVIDIA H100 80GB HBM3", (1, 7)),
        ("2c.3g.40gb", "NVIDIA H100 80GB HBM3", (2, 7)),
        ("7g.80gb", "NVIDIA A100 80GB PCIe", (7, 7)),
        ("2g.12gb", "NVIDIA A30", (2, 4)),
        ("4g.96gb", "NVIDIA RTX PRO 6000 Blackwell Server Edition", (4, 4)),
        ("odd", "NVIDIA A100 80GB PCIe", (0, 7)),
    ],
)
def test_compute_share_of_mig_profiles(profile: str, model: str, share: tuple[int, int]) -> None:
    """A slice is charged by its compute slices; an A30 has four of them, not seven."""
    assert mig_share(profile, model) == share


def test_mig_slices_carry_the_value_of_their_device() -> None:
    """Two instances and the whole-GPU entity: two rows, each with the device's largest value, activity of its own."""
    big, small = {"GPU_I_PROFILE": "4g.40gb", "GPU_I_ID": "2"}, {"GPU_I_PROFILE": "3g.40gb", "GPU_I_ID": "1"}
    text = (
        device("300.5", "9007199254740993")
        + device("300.1", "9007199254740991", **big, namespace="llm", pod="a")
        + device("299.0", "9007199254740992", **small)
        + series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "0.75", gpu="0", UUID="GPU-1", Hostname="n1", **big)
        + series("DCGM_FI_DEV_GPU_UTIL", "0", gpu="0", UUID="GPU-1", Hostname="n1", **small)
        + series("DCGM_FI_DEV_FB_USED", "20000", gpu="0", UUID="GPU-1", Hostname="n1", **big)
    )
    reading = gpu(DCGM, text)
    common = {"node": "n1", "device": "GPU-1", "gpu_model": "NVIDIA H100 80GB HBM3", "power_w": 300.5}
    assert gpu_rows(reading) == [
        common
        | {
            "slice": "4g.40gb/2",
            "share": "4/7",
            "energy_mj": 9007199254740993,
            "busy": 0.75,
            "busy_source": "gr_engine_active",
            "memory_used_mib": 20000.0,
            "namespace": "llm",
            "pod": "a",
        },
        # GPU_UTIL of an instance is a meaningless 0: how busy it is, is unknown.
        common | {"slice": "3g.40gb/1", "share": "3/7", "energy_mj": 9007199254740993},
    ]
    assert reading.faults == []


def test_unknown_mig_profile_is_said() -> None:
    """A slice whose size cannot be read counts as one compute slice, and a defect says so."""
    reading = gpu(DCGM, device(GPU_I_PROFILE="weird", GPU_I_ID="3"))
    assert column(reading, "share") == ["1/7"]
    assert kinds(reading) == ["unknown_slice_share"]


def test_time_sliced_gpu_is_divided_equally() -> None:
    """One series per pod with the same power: the parts add up to the device, nothing is counted twice."""
    pods = [{"namespace": "a", "pod": "p-1", "vgpu": "0"}, {"namespace": "b", "pod": "p-2", "vgpu": "1"}]
    text = device("400.0", "100", **pods[0]) + device("400.0", "100", **pods[1])
    for util, pod in (("60", {}), ("20", pods[0]), ("40", pods[1])):
        text += series("DCGM_FI_DEV_GPU_UTIL", util, gpu="0", UUID="GPU-1", Hostname="n1", **pod)
    rows = gpu_rows(gpu(DCGM, text))
    assert [(row["slice"], row["share"], row["namespace"], row["pod"]) for row in rows] == [
        ("shared/a/p-1", "1/2", "a", "p-1"),
        ("shared/b/p-2", "1/2", "b", "p-2"),
    ]
    assert [(row["power_w"], row["energy_mj"], row["busy"]) for row in rows] == [(400.0, 100, 0.6)] * 2


def test_two_jobs_in_the_mapping_file_share_the_gpu() -> None:
    """Every series is repeated once per hpc_job; on a MIG slice the slice is what is shared."""
    slice_ = {"GPU_I_PROFILE": "2g.20gb", "GPU_I_ID": "3"}
    rows = gpu_rows(gpu(DCGM, device(hpc_job="41", **slice_) + device(hpc_job="42", **slice_)))
    assert [(row["slice"], row["share"], row["job"]) for row in rows] == [
        ("2g.20gb/3/shared/41", "1/7", "41"),
        ("2g.20gb/3/shared/42", "1/7", "42"),
    ]


def test_more_sharers_than_shares_can_say() -> None:
    """Beyond 64 holders nobody is charged, and a defect says so: an approximate share would be an invention."""
    text = "".join(device(namespace="ns", pod=f"p-{i}", vgpu=str(i)) for i in range(65))
    reading = gpu(DCGM, text)
    assert gpu_rows(reading) == [
        {"node": "n1", "device": "GPU-1", "gpu_model": "NVIDIA H100 80GB HBM3", "power_w": 100.0, "energy_mj": 5000}
    ]
    assert kinds(reading) == ["too_many_sharers"]


@pytest.mark.parametrize(
    ("metric", "value", "kind"),
    [
        ("DCGM_FI_DEV_POWER_USAGE", "9223372036854775794", "sentinel_int64"),
        ("DCGM_FI_DEV_POWER_USAGE", "140737488355330.000000", "sentinel_fp64"),
        ("DCGM_FI_DEV_POWER_USAGE", "3000.1", "power_w_out_of_range"),
        ("DCGM_FI_DEV_POWER_USAGE", "-1", "power_w_out_of_range"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "9223372036854775794", "sentinel_int64"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "9.223372036854775808e+18", "sentinel_int64"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "1.8446744073709552e+19", "sentinel_uint64"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "2147483634", "sentinel_int32"),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "140737488355328.000000", "sentinel_fp64"),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "1.000100", "ratio_out_of_range"),
        ("DCGM_FI_DEV_GPU_TEMP", "2147483634", "sentinel_int32"),
        ("DCGM_FI_DEV_FB_USED", "2147483632", "sentinel_int32"),
        ("DCGM_FI_DEV_XID_ERRORS", "2147483633", "sentinel_int32"),
    ],
)
def test_blanks_are_dropped_under_their_name(metric: str, value: str, kind: str) -> None:
    """A value that is no measurement goes, the rest of the row stays, and the defect names what leaked."""
    sound = device("120.0", "777") + series("DCGM_FI_DEV_SM_CLOCK", "1980", UUID="GPU-1", Hostname="n1")
    before = gpu_rows(gpu(DCGM, sound))[0]
    labels = {"gpu": "0", "UUID": "GPU-1", "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "n1"}
    bad = series(metric, value, **labels)
    lines = [line + "\n" for line in sound.splitlines() if not line.startswith(metric)]
    reading = gpu(DCGM, "".join(lines) + bad)
    names = {"DCGM_FI_DEV_POWER_USAGE": "power_w", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "energy_mj"}
    before.pop(names.get(metric, ""), None)
    assert gpu_rows(reading) == [before]
    assert [(fault.kind, fault.subject) for fault in reading.faults] == [(kind, "GPU-1")]


def test_a_blank_in_one_instance_does_not_hide_the_others() -> None:
    """The largest value of the instances must not be the blank."""
    one, two = {"GPU_I_PROFILE": "3g.40gb", "GPU_I_ID": "1"}, {"GPU_I_PROFILE": "4g.40gb", "GPU_I_ID": "2"}
    reading = gpu(DCGM, device("9223372036854775794", "9223372036854775794", **one) + device("250.0", "44", **two))
    assert column(reading, "power_w") == [250.0, 250.0]
    assert column(reading, "energy_mj") == [44, 44]


def test_gpu_util_stands_in_while_profiling_is_paused() -> None:
    """Profiling series vanish while Nsight runs, or leak blanks: busy then comes from GPU_UTIL and says so."""
    labels = {"gpu": "0", "UUID": "GPU-1", "Hostname": "n1"}
    util = series("DCGM_FI_DEV_GPU_UTIL", "40", **labels)
    for profiling, busy, source in (
        ("0.25", 0.25, "gr_engine_active"),
        ("140737488355328.0", 0.4, "gpu_util"),
        (None, 0.4, "gpu_util"),
    ):
        text = util + (series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", profiling, **labels) if profiling else "")
        row = gpu_rows(gpu(DCGM, text))[0]
        assert (row["busy"], row["busy_source"]) == (busy, source)


def test_xid_with_its_message() -> None:
    """The last XID is a gauge whose labels change with the error."""
    text = device() + series(
        "DCGM_FI_DEV_XID_ERRORS",
        "79",
        gpu="0",
        UUID="GPU-1",
        Hostname="n1",
        err_code="79",
        err_msg="GPU has fallen off",
    )
    assert column(gpu(DCGM, text), "xid") == [79]


def test_families_of_other_groups_are_not_devices() -> None:
    """NvLink, NvSwitch and CPU series make no rows, wherever their groups stand on the page."""
    other = (
        'DCGM_FI_DEV_NVSWITCH_TEMPERATURE{nvswitch="0",Hostname="n1"} 40\n'
        'DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL{nvlink="1",gpu="0",gpu_uuid="GPU-1",hostname="n1"} 12\n'
        'DCGM_FI_DEV_CPU_UTIL_TOTAL{cpu="0",Hostname="n1"} 0.5\n'
    )
    for text in (other + device(), device() + other):
        assert column(gpu(DCGM, text), "device") == ["GPU-1"]
    with pytest.raises(PageError) as refused:
        gpu(DCGM, other)
    assert refused.value.kind == "no_series"


def test_labels_stay_one_object_and_changes_are_noticed() -> None:
    """Labels are encoded once while they stay; a device or a quantity that goes is a defect, once."""
    reader = DcgmReader(origin())
    two = device() + device(gpu="1", UUID="GPU-2")
    first = reader.read(two.encode())
    second = reader.read(two.replace("100.0", "101.0").encode())
    assert second.rows is first.rows
    assert second.gauges[0].tolist() == [101.0, 101.0]
    one = reader.read(device().encode())
    assert [(fault.kind, fault.subject) for fault in one.faults] == [("device_vanished", "GPU-2")]
    assert reader.read(device().encode()).faults == []
    held = reader.read(device(namespace="a", pod="p").encode())
    assert held.rows.pod == ["p"]
    bare = reader.read(device(namespace="a", pod="p").splitlines()[0].encode() + b"\n")
    assert [(fault.kind, fault.subject) for fault in bare.faults] == [("series_vanished", "GPU-1")]
    assert bare.wholes[0].tolist() == [-1]


@pytest.mark.parametrize("prefix", ["", "amd_"])
def test_amd_units_and_prefix(prefix: str) -> None:
    """Energy is in microjoules and typed as a gauge; fractions of a millijoule are cut off."""
    text = "".join(
        amd(prefix + metric, value)
        for metric, value in {
            "gpu_package_power": "754",
            "gpu_energy_consumed": "2.776148269e+09",
            "gpu_gfx_activity": "87",
            "gpu_used_vram": "1024",
            "gpu_junction_temperature": "61",
        }.items()
    )
    assert gpu_rows(gpu(AMD, text)) == [
        {
            "node": "n1",
            "device": "S1",
            "gpu_model": "AMD Instinct MI300X OAM",
            "power_w": 754.0,
            "energy_mj": 2776148,
            "busy": 0.87,
            "busy_source": "gfx_activity",
            "memory_used_mib": 1024.0,
            "temperature_c": 61.0,
        }
    ]


@pytest.mark.parametrize(
    ("metric", "value", "kind"),
    [
        ("gpu_package_power", "255", "sentinel_uint8"),
        ("gpu_package_power", "65535", "sentinel_uint16"),
        ("gpu_gfx_activity", "255", "sentinel_uint8"),
        ("gpu_gfx_activity", "65535", "sentinel_uint16"),
        ("gpu_used_vram", "65535", "sentinel_uint16"),
        ("gpu_energy_consumed", "1.8446744073709552e+19", "sentinel_uint64"),
        ("gpu_energy_consumed", "4.294967295e+09", "sentinel_uint32"),
        ("gpu_junction_temperature", "65535", "sentinel_uint16"),
    ],
)
def test_amd_not_applicable_values(metric: str, value: str, kind: str) -> None:
    """The largest value of an integer type means "not applicable"."""
    reading = gpu(AMD, amd("gpu_health", "1") + amd(metric, value))
    assert gpu_rows(reading) == [{"node": "n1", "device": "S1", "gpu_model": "AMD Instinct MI300X OAM"}]
    assert kinds(reading) == [kind]


def test_amd_partitions_take_power_from_the_first_only() -> None:
    """Eight CPX partitions: 0 on the others is not measured, the device's value stands on all."""
    text = ""
    for part in range(8):
        labels = {"gpu_id": str(40 + part), "gpu_partition_id": str(part), "gpu_compute_partition_type": "cpx"}
        text += amd("gpu_package_power", "600" if part == 0 else "0", **labels)
        text += amd("gpu_energy_consumed", "5000000" if part == 0 else "0", **labels)
        text += amd("gpu_gfx_activity", str(10 * part), **labels)
    rows = gpu_rows(gpu(AMD, text))
    assert [row["slice"] for row in rows] == [f"cpx/{40 + part}" for part in range(8)]
    assert {row["share"] for row in rows} == {"1/8"}
    assert {(row["power_w"], row["energy_mj"]) for row in rows} == {(600.0, 5000)}
    np.testing.assert_allclose([row["busy"] for row in rows], [0.1 * part for part in range(8)])  # type: ignore[arg-type]
    silent = gpu(AMD, "".join(line + "\n" for line in text.splitlines() if '"40"' not in line))
    assert column(silent, "power_w") == [None] * 7
    assert column(silent, "energy_mj") == [None] * 7


@pytest.mark.parametrize(
    ("mode", "model", "share"),
    [
        ("dpx", "AMD Instinct MI300X OAM", "1/2"),
        ("qpx", "AMD Instinct MI300X OAM", "1/4"),
        ("cpx", "AMD Instinct MI300A", "1/6"),
        ("tpx", "AMD Instinct MI300A", "1/3"),
        ("CPX", "AMD Instinct MI350X", "1/8"),
    ],
)
def test_amd_partition_shares(mode: str, model: str, share: str) -> None:
    """An MI300A has six compute dies, the others eight."""
    assert column(
        gpu(AMD, amd("gpu_gfx_activity", "5", gpu_compute_partition_type=mode, card_series=model)), "share"
    ) == [share]


def test_amd_identity_without_serial_number() -> None:
    """SR-IOV guests print none: the UUID with the id, and without either the node with the id."""
    by_uuid = amd("gpu_gfx_activity", "5", serial_number="", gpu_uuid="u-1", gpu_id="3", card_series="", card_model="")
    assert column(gpu(AMD, by_uuid), "device") == ["u-1/3"]
    assert column(gpu(AMD, amd("gpu_gfx_activity", "5", serial_number="", gpu_id="3")), "device") == ["n1/gpu3"]


def test_amd_power_in_order_of_preference() -> None:
    """MI300 prints package power, MI200 its average, Radeon cards power usage."""
    text = amd("gpu_power_usage", "90") + amd("gpu_average_package_power", "100")
    assert column(gpu(AMD, text), "power_w") == [100.0]
    assert column(gpu(AMD, text + amd("gpu_package_power", "110")), "power_w") == [110.0]
