"""Pages have the forms of the captured ones: families and their order, labels and their order, forms of numbers."""

import re
from collections.abc import Callable, Iterator
from itertools import groupby

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collectors.simulator.fabric import Fabric
from tests.collectors.simulator.conftest import scrape
from tests.collectors.support import capture

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture(scope="module")
def pages(make_fabric: Callable[..., Fabric]) -> dict[str, str]:
    """Every page of a fabric in which pods, jobs, MIG instances and partitions are held and free."""
    fabric = make_fabric(gpus=256)
    scrape(fabric, 62.0)
    return scrape(fabric, 75.1)


def lines(page: str) -> Iterator[tuple[str, dict[str, str], str]]:
    for line in page.splitlines():
        if not line.startswith("#"):
            match = _LINE.match(line)
            assert match, line
            yield match[1], dict(_LABEL.findall(match[2] or "")), match[3]


def of(pages: dict[str, str], pattern: str) -> str:
    return "".join(page for path, page in pages.items() if re.search(pattern, path))


def heads(page: str) -> list[str]:
    """The HELP and TYPE lines in order."""
    return [line.rstrip() for line in page.splitlines() if line.startswith("#")]


def test_every_page_is_sound(pages: dict[str, str]) -> None:
    """prometheus_client reads each page; no series stands twice; each page ends in a newline."""
    for path, page in pages.items():
        assert page.endswith("\n"), path
        series = [
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        ]
        assert len(series) > 10 or "/slurm-job-exporter/" in path, path  # a node without jobs has none
        assert len(set(series)) == len(series), path


# --- dcgm-exporter --------------------------------------------------------------------------------------------------


def test_dcgm_heads_are_those_of_the_capture(pages: dict[str, str]) -> None:
    """A whole GPU prints what the captured page prints, in its order, and XID and NVLink, which that GPU lacks."""
    ours = heads(pages["/ai-fabric/h100-001/dcgm-exporter/metrics"])
    theirs = heads(capture("dcgm/l40s_k8s_unallocated_upcloud_2026.prom").decode())
    more = [line for line in ours if line not in theirs]
    assert [line for line in ours if line in theirs] == theirs
    assert {line.split()[2] for line in more} == {"DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL"}


def test_dcgm_labels_are_those_of_the_capture(pages: dict[str, str]) -> None:
    """Bound and free GPUs carry the captured labels in the captured order; the host label follows the release."""
    theirs = {
        tuple(labels) for _, labels, _ in lines(capture("dcgm/h100x8_k8s_pod_pod_uid_aicr_2026-03-10.prom").decode())
    }
    assert len(theirs) == 2
    page = of(pages, r"(us-broker|ai-fabric)/h100.*/dcgm").replace("hostname=", "Hostname=")
    assert {tuple(labels) for name, labels, _ in lines(page) if name != "DCGM_FI_DEV_XID_ERRORS"} == theirs
    hosts = {
        path.split("/")[1]: {"Hostname", "hostname"} & set(next(lines(page))[1])
        for path, page in pages.items()
        if "dcgm" in path
    }
    assert {cluster for cluster, label in hosts.items() if label == {"Hostname"}} == {"narval", "fir", "us-broker"}
    assert {cluster for cluster, label in hosts.items() if label == {"hostname"}} == {"nibi", "ai-fabric", "isambard"}


def test_dcgm_numbers_are_those_of_the_capture(pages: dict[str, str]) -> None:
    """Doubles have six decimals, integers none, family by family."""
    theirs = {
        name: "." in value for name, _, value in lines(capture("dcgm/l40s_k8s_unallocated_upcloud_2026.prom").decode())
    }
    for name, _, value in lines(of(pages, r"dcgm")):
        assert re.fullmatch(r"\d+\.\d{6}" if theirs.get(name) else r"\d+", value), (name, value)


def test_mig_instances_repeat_their_gpu(pages: dict[str, str]) -> None:
    """A GPU in MIG mode shows as its instances: the same energy, nearly the same power, no utilisation, no PCIe."""
    page = of(pages, r"fir/h100mig-001/dcgm")
    names = {name for name, _, _ in lines(page)}
    assert not names & {
        *("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL", "DCGM_FI_DEV_ENC_UTIL", "DCGM_FI_DEV_DEC_UTIL"),
        *("DCGM_FI_PROF_PCIE_TX_BYTES", "DCGM_FI_PROF_PCIE_RX_BYTES", "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL"),
    }
    theirs = next(lines(capture("dcgm/a800x8_mig_2g20gb_excerpt.prom").decode()))[1]
    shown: dict[str, dict[str, set[str]]] = {}
    for name, labels, value in lines(page):
        order = [label for label in labels if label in theirs]
        assert order == [label for label in theirs if label in order]
        shown.setdefault(labels["UUID"], {}).setdefault(name, set()).add(value)
    for values in shown.values():
        assert len(values["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"]) == 1
        powers = [float(value) for value in values["DCGM_FI_DEV_POWER_USAGE"]]
        assert max(powers) - min(powers) < 0.5
    layouts = [
        [labels["GPU_I_PROFILE"] for _, labels, _ in group]
        for _, group in groupby(
            (line for line in lines(page) if line[0] == "DCGM_FI_DEV_POWER_USAGE"), key=lambda line: line[1]["UUID"]
        )
    ]
    assert ["3g.40gb", "2g.20gb", "2g.20gb"] in layouts
    assert ["1g.10gb"] * 7 in layouts


def test_jobs_and_errors_as_attributes(pages: dict[str, str]) -> None:
    """Slurm clusters print `hpc_job` and no pod; the error code stands, sorted, on its own family only."""
    for name, labels, _ in lines(of(pages, r"narval/.*/dcgm")):
        assert not {"pod", "namespace", "container"} & set(labels)
        assert ("err_code" in labels) == (name == "DCGM_FI_DEV_XID_ERRORS")
        attributes = list(labels)[list(labels).index("DCGM_FI_DRIVER_VERSION") + 1 :]
        assert attributes == sorted(attributes)
    assert 'err_code="95",err_msg="Uncontained ECC error",hpc_job=' not in of(pages, "narval")
    assert 'err_code="95",err_msg="Uncontained ECC error"} 95' in of(pages, r"narval/.*/dcgm")


def test_the_link_group_repeats_a_family(make_fabric: Callable[..., Fabric]) -> None:
    """B200 nodes print NVLink twice, under other labels, before or after the GPU group."""
    fabric = make_fabric(gpus=64)
    first = [
        scrape(fabric, 61.0 + at)["/ai-fabric/b200-001/dcgm-exporter/metrics?gpus=6"].split("\n", 1)[0]
        for at in range(8)
    ]
    assert len(set(first)) == 2
    page = scrape(fabric, 70.0)["/ai-fabric/b200-001/dcgm-exporter/metrics?gpus=6"]
    assert page.count("# TYPE DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL counter") == 2
    links = [labels for name, labels, _ in lines(page) if "nvlink" in labels]
    assert len(links) == 6 * 18
    assert {"gpu_uuid", "model_name"} <= set(links[0])


# --- AMD ------------------------------------------------------------------------------------------------------------


def test_amd_labels_and_numbers(pages: dict[str, str]) -> None:
    """Alphabetical families and labels, gauges only, Go's numbers, the captured labels among ours, a prefix or none."""
    theirs = next(lines(capture("amd/mi300x_gfx_activity_kaiwo_excerpt.prom").decode()))[1]
    slurm = next(lines(capture("amd/mi300x_slurm_pr16_excerpt.prom").decode()))[1]
    for path, prefix in (("mi300x/", "amd_gpu_"), ("mi300a", "gpu_")):
        page = of(pages, rf"{path}.*amd-device")
        for one in (page for found, page in pages.items() if path in found and "amd-device" in found):
            types = [line.split()[2:] for line in one.splitlines() if line.startswith("# TYPE")]
            assert types == sorted(types)
            assert {kind for _, kind in types} == {"gauge"}
        for name, labels, value in lines(page):
            assert name.startswith(prefix)
            assert list(labels) == sorted(labels)
            assert re.fullmatch(r"\d{1,6}|\d(\.\d+)?e\+\d\d", value), value
            if "card_model" in labels:
                assert set(theirs) | set(slurm) <= set(labels)


def test_amd_partitions(pages: dict[str, str]) -> None:
    """Of a GPU in CPX mode only partition 0 carries energy and activity; the others show 0 W; ids run on past 7."""
    cpx = [
        line
        for line in lines(of(pages, r"/mi300x/mi300x-001/amd"))
        if line[1].get("gpu_compute_partition_type") == "cpx"
    ]
    assert len({labels["serial_number"] for _, labels, _ in cpx}) == 1
    ids = {(labels["gpu_id"], labels["gpu_partition_id"]) for _, labels, _ in cpx}
    assert ids == {(str(7 + part), str(part)) for part in range(8)}
    for family in ("amd_gpu_energy_consumed", "amd_gpu_package_power", "amd_gpu_gfx_activity"):
        assert {labels["gpu_partition_id"] for name, labels, _ in cpx if name == family} == {"0"}
    power = {labels["gpu_partition_id"]: value for name, labels, value in cpx if name == "amd_gpu_power_usage"}
    assert len(power) == 8
    assert {value for part, value in power.items() if part != "0"} == {"0"}
    assert power["0"] != "0"


def test_amd_leaves_out_what_it_takes_for_a_sentinel(make_fabric: Callable[..., Fabric]) -> None:
    """A GPU that happens to draw 255 W has no power in that scrape: a gap, not a zero."""
    fabric = make_fabric(gpus=64)
    node = next(node for node in fabric.topology.nodes if node.cluster == "mi300x")
    fabric.devices.power_w[node.devices.start] = 255.0
    fabric.devices.target_w[node.devices.start] = 255.0
    path = next(path for path in fabric.targets if "/mi300x/mi300x-001/" in path)
    page = fabric.targets[path].answer(fabric.now_s)[0].decode()
    shown = [labels["gpu_id"] for name, labels, _ in lines(page) if name == "amd_gpu_package_power"]
    assert "0" not in shown
    assert shown
    assert any(labels["gpu_id"] == "0" for name, labels, _ in lines(page) if name == "amd_gpu_energy_consumed")


# --- Slurm ----------------------------------------------------------------------------------------------------------


def test_slurm_heads_labels_and_units(pages: dict[str, str]) -> None:
    """The captured families in their order, the captured labels, power in mW, users opaque."""
    theirs = capture("slurm/slurm_job_exporter_a100_account_readme.prom").decode()
    ours = of(pages, r"narval/a100-001/slurm")
    assert heads(ours) == heads(theirs)
    forms = {name: set(labels) for name, labels, _ in lines(theirs)}
    for name, labels, value in lines(ours):
        assert list(labels) == sorted(labels)
        assert set(labels) == forms[name]
        assert re.fullmatch(r"u\d+", labels["user"])
        assert labels["account"].endswith("_gpu")
        if name == "slurm_job_power_gpu":
            assert 40_000 < float(value) < 410_000


def test_slurm_on_mig_and_amd_nodes(pages: dict[str, str]) -> None:
    """MIG instances are named by UUID; a node without NVIDIA GPUs has the host families only."""
    mig = [labels["gpu"] for name, labels, _ in lines(of(pages, r"h100mig-001/slurm")) if name == "slurm_job_power_gpu"]
    assert mig
    assert all(gpu.startswith("MIG-") for gpu in mig)
    amd = of(pages, r"mi300a-001/slurm")
    assert "slurm_job_memory_usage{" in amd
    assert "_gpu " not in amd
    assert "_gpu{" not in amd


# --- Token counters -------------------------------------------------------------------------------------------------


def test_vllm_page_is_the_captured_one(pages: dict[str, str]) -> None:
    """Every family, type, help text, label set and bucket of the captured page, in its order; only numbers differ."""
    theirs = capture("tokens/vllm_v1_kops_2026-03.prom").decode()
    ours = of(pages, r"prairie-8b-0/vllm")
    assert heads(ours) == heads(theirs)

    def shape(page: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        free = {"model_name", "num_gpu_blocks"}
        return [
            (name, tuple((key, "" if key in free else text) for key, text in labels.items()))
            for name, labels, _ in lines(page)
        ]

    assert shape(ours) == shape(theirs)
    for name, _, value in lines(ours):
        assert re.fullmatch(r"\d+\.\d+(e[+-]\d+)?|\de\+\d+", value), (name, value)


def test_vllm_page_is_consistent(pages: dict[str, str]) -> None:
    """Within a page, sources sum to the prompt, histograms to their counters, engines stand side by side."""
    for path, page in pages.items():
        if "/vllm/" not in path:
            continue
        value = {
            (name, labels.get("engine"), labels.get("source"), labels.get("le")): float(number)
            for name, labels, number in lines(page)
        }
        engines = {key[1] for key in value if key[0] == "vllm:prompt_tokens_total"}
        assert engines == ({"0", "1"} if "shared-8b" in path else {"0"})
        for engine in engines:
            prompt = value["vllm:prompt_tokens_total", engine, None, None]
            cached = value["vllm:prompt_tokens_cached_total", engine, None, None]
            assert 0 < cached < prompt
            assert prompt == sum(
                value["vllm:prompt_tokens_by_source_total", engine, source, None]
                for source in ("local_compute", "local_cache_hit", "external_kv_transfer")
            )
            generated = value["vllm:generation_tokens_total", engine, None, None]
            assert value["vllm:iteration_tokens_total_sum", engine, None, None] == prompt - cached + generated
            buckets = [
                number
                for key, number in value.items()
                if key[:2] == ("vllm:e2e_request_latency_seconds_bucket", engine)
            ]
            assert buckets == sorted(buckets)
            assert buckets[-1] == value["vllm:e2e_request_latency_seconds_count", engine, None, None] > 0


def test_gateway_counts_by_team(pages: dict[str, str]) -> None:
    """Teams are those of the agreements; keys are hashes; the request counter knows only the requested model."""
    page = of(pages, r"gateway/litellm")
    teams = {labels["team"] for name, labels, _ in lines(page) if name == "litellm_input_tokens_metric_total"}
    assert teams == {
        "lumen-legal",
        "tidewater-books",
        "erable-education",
        "sandhill-clinics",
        "kootenay-maps",
        "fundy-fisheries",
    }
    totals: dict[str, float] = {}
    for name, labels, value in lines(page):
        if name.startswith("litellm_"):
            assert list(labels) == sorted(labels)
            assert (labels["end_user"], labels["user"], len(labels["hashed_api_key"])) == ("None", "None", 64)
            assert ("model" in labels) == (not name.startswith("litellm_proxy"))
            totals[name] = totals.get(name, 0) + float(value)
    assert totals["litellm_total_tokens_metric_total"] == (
        totals["litellm_input_tokens_metric_total"] + totals["litellm_output_tokens_metric_total"]
    )
