"""Every captured page of a known kind gives the values that a person reads in it. The values stand here by hand."""

import pytest

from collectors.exposition import PageError
from collectors.readings import JobReading
from tests.collectors.support import capture, gpu, gpu_rows, kinds, read, token_rows, tokens

A800 = {"node": "msxf-hpc-64-35-ai", "gpu_model": "NVIDIA A800-SXM4-80GB"}
H100 = {"node": "gpu-node-1", "gpu_model": "NVIDIA H100 80GB HBM3"}
A30 = {"node": "yg-data-k8s-gpu-a30-node-test-test0003.mt", "gpu_model": "NVIDIA A30", "share": "1/4"}
GB200 = {"node": "ip-100-64-135-20.ec2.internal", "gpu_model": "NVIDIA GB200"}
A100 = {"node": "host-1", "gpu_model": "NVIDIA A100 80GB PCIe", "busy": 0.0, "busy_source": "gr_engine_active"}
MI300X = {"gpu_model": "AMD Instinct MI300X OAM", "busy_source": "gfx_activity"}


def test_l40s_page_of_an_unallocated_gpu() -> None:
    """A full page of the default counters: integers, six decimals, no pod labels when nobody holds the GPU."""
    reading = gpu("dcgm-exporter", capture("dcgm/l40s_k8s_unallocated_upcloud_2026.prom"))
    assert gpu_rows(reading) == [
        {
            "node": "gpu1-wl8sg",
            "device": "GPU-5b4e07f6-3a86-4340-039d-25f2a83cdc43",
            "gpu_model": "NVIDIA L40S",
            "power_w": 35.686,
            "energy_mj": 5551899580,
            "busy": 0.0,
            "busy_source": "gr_engine_active",
            "memory_used_mib": 0.0,
            "temperature_c": 32.0,
        }
    ]
    assert reading.faults == []


def test_h100_page_with_one_bound_gpu_of_eight() -> None:
    """Pod labels stand only on the bound GPU; there are no HELP and TYPE lines; pod_uid is there and empty."""
    rows = gpu_rows(gpu("dcgm-exporter", capture("dcgm/h100x8_k8s_pod_pod_uid_aicr_2026-03-10.prom")))
    idle = {"busy": 0.0, "busy_source": "gpu_util"}
    bound = {"namespace": "dynamo-workload", "pod": "vllm-agg-0-vllmdecodeworker-s65j5"}
    assert rows == [
        H100
        | idle
        | bound
        | {"device": "GPU-c4529c8d-69c4-b61d-e0bc-7b2460096005", "power_w": 113.611, "temperature_c": 30.0},
        H100 | idle | {"device": "GPU-bc5610b9-79c8-fedd-8899-07539c7f868a", "power_w": 68.347, "temperature_c": 29.0},
        H100 | idle | {"device": "GPU-fbc2c554-4d37-8938-0032-f923bad0f716", "power_w": 65.709, "temperature_c": 26.0},
        H100 | idle | {"device": "GPU-a65a773d-52bb-bcc1-a8ee-f78c3faa2e2d", "power_w": 67.316, "temperature_c": 29.0},
        H100 | idle | {"device": "GPU-82e45d1b-1618-559f-144c-eab51545030b", "power_w": 68.717, "temperature_c": 28.0},
        H100 | idle | {"device": "GPU-39e28159-8c62-ee71-64db-b748edd61e15", "power_w": 65.742, "temperature_c": 26.0},
        H100 | idle | {"device": "GPU-e64d69ca-b4b3-59b2-e78c-94f26c4db365", "power_w": 67.328, "temperature_c": 28.0},
        H100 | idle | {"device": "GPU-04d228d3-3b5a-3534-f5cf-969706647d56", "power_w": 66.997, "temperature_c": 26.0},
    ]


def test_gb200_excerpt() -> None:
    """Blackwell has the same labels; the excerpt holds the power of the first GPU only: the others' is unknown."""
    assert gpu_rows(gpu("dcgm-exporter", capture("dcgm/gb200_eks_aicr_excerpt.prom"))) == [
        GB200 | {"device": "GPU-c4873a68-bfd2-8a3e-7776-061ea4b074bc", "temperature_c": 27.0, "power_w": 165.926},
        GB200 | {"device": "GPU-edc1afc5-3d3b-2f54-3197-6d588a896e20", "temperature_c": 28.0},
        GB200 | {"device": "GPU-15e915b5-e8eb-5aa0-cd6c-a873d59a4406", "temperature_c": 27.0},
        GB200 | {"device": "GPU-63c10f33-73a6-e0b7-06c8-1454c80ab6fd", "temperature_c": 26.0},
    ]


def test_a800_page_with_three_mig_instances() -> None:
    """Each instance repeats the GPU's power and energy: every row carries the device's value, once per device."""
    rows = gpu_rows(gpu("dcgm-exporter", capture("dcgm/a800x8_mig_2g20gb_excerpt.prom")))
    mig = A800 | {
        "device": "GPU-1f027ee8-6e1e-2b8c-0108-3d370e5f0418",
        "share": "2/7",
        "power_w": 78.446,
        "energy_mj": 257858316,
    }
    whole = A800 | {"busy": 0.0, "busy_source": "gpu_util"}
    assert rows == [
        mig | {"slice": "2g.20gb/3"},
        mig | {"slice": "2g.20gb/5"},
        mig | {"slice": "2g.20gb/6"},
        whole | {"device": "GPU-9e5b8fec-61bf-5124-a0a9-079af1b65cc6", "power_w": 55.942, "energy_mj": 187554325},
        whole | {"device": "GPU-5022ce43-b44a-987b-71c3-dee05378a618", "power_w": 53.752, "energy_mj": 179711977},
        whole | {"device": "GPU-f22db14d-1597-8eb1-78dc-d93765918c73", "power_w": 56.990, "energy_mj": 190722266},
        whole | {"device": "GPU-a878a9f3-cf6d-b94c-38ba-892ed140c7ee", "power_w": 58.643, "energy_mj": 196329125},
        whole | {"device": "GPU-a1dd6923-de62-e22b-c882-4d6f7e1ec5ce", "power_w": 54.581, "energy_mj": 182536958},
        whole | {"device": "GPU-c07eb90d-74b0-d3b4-e6ce-f18687564243", "power_w": 57.145, "energy_mj": 191045467},
        whole | {"device": "GPU-4e75c9ab-0ed7-8a57-75f5-23761b9f053f", "power_w": 55.011, "energy_mj": 183986286},
    ]


def test_a30_page_whose_instances_differ_slightly() -> None:
    """Instances are read one after another: the largest power of a GPU stands for the GPU. An A30 has four slices."""
    first = A30 | {"device": "GPU-265c9814-6156-355b-e589-ff2064894f16", "power_w": 52.746}
    second = A30 | {"device": "GPU-2d20791a-b4a6-ba59-97f1-e95b99fe5b49", "power_w": 56.127}
    assert gpu_rows(gpu("dcgm-exporter", capture("dcgm/a30_mig_issue317_excerpt.prom"))) == [
        first | {"slice": "1g.6gb/3"},
        first | {"slice": "1g.6gb/4"},
        first | {"slice": "1g.6gb/5"},
        first | {"slice": "1g.6gb/6"},
        second | {"slice": "1g.6gb/3"},
        second | {"slice": "1g.6gb/4"},
    ]


def test_a100_page_in_the_old_namespace() -> None:
    """`uuid`, `pod_name` (empty when unbound), no host label, and metric names that a pipeline made lower case."""
    first, second = "GPU-ed1353d6-52ba-8793-7230-4d5d3eb68167", "GPU-6043e4b2-feaa-8010-34c7-61d1a01576bb"
    assert gpu_rows(gpu("dcgm-exporter", capture("dcgm/a100_pcie_mig_oldnamespace_issue272_excerpt.prom"))) == [
        A100 | {"device": first, "slice": "3g.40gb/1", "share": "3/7"},
        A100 | {"device": first, "slice": "4g.40gb/2", "share": "4/7"},
        A100 | {"device": second, "slice": "3g.40gb/1", "share": "3/7"},
    ]


def test_a100_vgpu_guest() -> None:
    """A guest sees no power, energy or temperature; the memory temperature that reads 0 is not taken for one."""
    assert gpu_rows(gpu("dcgm-exporter", capture("dcgm/a100_vgpu_grid_vks_2026.prom"))) == [
        {
            "node": "test-ai-1-node-pool-40c-d5ds8-br9r6-9tb2c",
            "device": "GPU-0946f70c-659b-4c39-8b78-7e7600000000",
            "gpu_model": "GRID A100-40C",
            "busy": 0.0,
            "busy_source": "gpu_util",
            "memory_used_mib": 0.0,
        }
    ]


def test_page_with_a_blank_value_and_headers_in_front() -> None:
    """A space after a comma, all headers first, empty pod labels, and int64 "not supported" as a temperature."""
    reading = gpu("dcgm-exporter", capture("dcgm/readme_blank_sentinel_old.prom"))
    assert gpu_rows(reading) == [{"node": "host-1", "device": "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"}]
    assert kinds(reading) == ["sentinel_int64"]
    assert reading.faults[0].subject == "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"


def test_mi300x_lines_from_exporter_and_prometheus() -> None:
    """SPX, a CPX partition with a gpu_id past 7, and an unbound GPU that carries the exporter's own pod."""
    assert gpu_rows(gpu("amd-device-metrics-exporter", capture("amd/mi300x_gfx_activity_kaiwo_excerpt.prom"))) == [
        MI300X | {"node": "tw038", "device": "692409005408", "busy": 0.0},
        MI300X | {"node": "tw009", "device": "692409005296", "slice": "cpx/47", "share": "1/8", "busy": 0.0},
        MI300X
        | {
            "node": "tw038",
            "device": "692409005328",
            "busy": 1.0,
            "namespace": "default",
            "pod": "high-utilization-57ls6",
        },
    ]


def test_mi300x_line_with_slurm_labels() -> None:
    """A 2024 build without partition labels: the device and its job are known although nothing of it is measured."""
    assert gpu_rows(gpu("amd-device-metrics-exporter", capture("amd/mi300x_slurm_pr16_excerpt.prom"))) == [
        {"node": "109dcea3cb13", "device": "692407004347", "gpu_model": "AMD Instinct MI300X OAM", "job": "5"}
    ]


def test_vllm_page() -> None:
    """A full page of an idle server: all counters zero, started when the process did."""
    assert token_rows(tokens("vllm", capture("tokens/vllm_v1_kops_2026-03.prom"))) == [
        {
            "replica": "0",
            "model": "Qwen/Qwen2.5-0.5B-Instruct",
            "prompt_tokens": 0,
            "cached_tokens": 0,
            "generation_tokens": 0,
            "requests": 0,
            "started_ms": 1774011384600,
        }
    ]


def test_slurm_page() -> None:
    """Four jobs and who pays for them; exponents such as e+010 are no obstacle."""
    reading = read("slurm-job-exporter", capture("slurm/slurm_job_exporter_a100_account_readme.prom"))
    assert isinstance(reading, JobReading)
    assert reading.accounts == {"1": "account1", "2": "account2", "3": "account3", "4": "account4"}
    assert reading.faults == []


@pytest.mark.parametrize("name", ["sglang_current_label_shapes_synthetic.prom", "triton_energy_4gpu_excerpt.prom"])
def test_pages_of_another_kind_are_refused(name: str) -> None:
    """A target of the wrong kind is marked down: its page holds nothing that this kind prints."""
    with pytest.raises(PageError) as refused:
        read("vllm", capture(f"tokens/{name}"))
    assert refused.value.kind == "no_series"
