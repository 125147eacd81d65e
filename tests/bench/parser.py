"""Lines of exporter pages read per second and core: ours against prometheus-client, same pages, one run.

The pages are successive scrapes of the same targets: their labels stay, every number changes, as numbers of exporters
do (powers with six decimals, energy counters that grow by digits). Both parsers get the same bytes in turns; what
counts is processor time, so other work on the machine does not. `python -m tests.bench.parser`
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from collectors import dcgm_exporter, vllm
from collectors.dcgm_exporter import DcgmReader
from collectors.exposition import Family, PageReader
from collectors.readings import Origin
from collectors.vllm import VllmReader

GOAL, MUST = 3_000_000, 1_000_000
SCRAPES = 40
ROUNDS = 5
_ORIGIN = Origin("bench", "http://node:9400/metrics", "node", "node:9400")

# The default counters of dcgm-exporter and what their values look like: g = gauge, integer; r = ratio or watts with
# six decimals; c = counter.
_DCGM = {
    "SM_CLOCK": "g", "MEM_CLOCK": "g", "MEMORY_TEMP": "g", "GPU_TEMP": "g", "POWER_USAGE": "r",
    "TOTAL_ENERGY_CONSUMPTION": "c", "PCIE_REPLAY_COUNTER": "g", "GPU_UTIL": "g", "MEM_COPY_UTIL": "g", "ENC_UTIL": "g",
    "DEC_UTIL": "g", "XID_ERRORS": "g", "FB_FREE": "g", "FB_USED": "g", "FB_RESERVED": "g",
    "UNCORRECTABLE_REMAPPED_ROWS": "g", "CORRECTABLE_REMAPPED_ROWS": "g", "ROW_REMAP_FAILURE": "g",
    "NVLINK_BANDWIDTH_TOTAL": "c", "VGPU_LICENSE_STATUS": "g",
}  # fmt: skip
_PROF = {
    "GR_ENGINE_ACTIVE": "r", "PIPE_TENSOR_ACTIVE": "r", "DRAM_ACTIVE": "r", "PCIE_TX_BYTES": "c", "PCIE_RX_BYTES": "c",
}  # fmt: skip


@dataclass(frozen=True)
class Speed:
    """Lines per second and core of one parser on one kind of page.

    Ours reads the families that are wanted and checks the lines of the others; every family; or goes on to samples.
    """

    page: str
    parser: str
    lines_per_s: float


def dcgm_pages(scrapes: int = SCRAPES, devices: int = 8) -> list[bytes]:
    """Successive pages of an eight-GPU node whose devices are held by pods."""
    random = np.random.default_rng(11)
    families = [(f"DCGM_FI_DEV_{name}", form) for name, form in _DCGM.items()]
    families += [(f"DCGM_FI_PROF_{name}", form) for name, form in _PROF.items()]
    labels = [
        f'gpu="{i}",UUID="GPU-{random.bytes(16).hex()}",pci_bus_id="00000000:{i}B:00.0",device="nvidia{i}",'
        f'modelName="NVIDIA H100 80GB HBM3",Hostname="fir-g017",DCGM_FI_DRIVER_VERSION="580.105.08",'
        f'container="main",namespace="llm",pod="command-r-{i}-decode-s65j5",pod_uid=""'
        for i in range(devices)
    ]
    pages = []
    for _ in range(scrapes):
        lines = []
        for name, form in families:
            kind = "counter" if form == "c" else "gauge"
            lines += [f"# HELP {name} What the field holds (in some unit).", f"# TYPE {name} {kind}"]
            for label in labels:
                value = {
                    "g": lambda: str(random.integers(0, 100)),
                    "r": lambda: f"{random.uniform(0, 0.999999):.6f}",
                    "c": lambda: str(random.integers(10**8, 10**12)),
                }[form]()
                lines.append(f"{name}{{{label}}} {value}")
        pages.append(("\n".join(lines) + "\n").encode())
    return pages


def vllm_pages(scrapes: int = SCRAPES) -> list[bytes]:
    """Successive pages of a vLLM server: mostly histograms, of which nothing is wanted."""
    random = np.random.default_rng(12)
    label = 'engine="0",model_name="cohere/command-r-plus"'
    histograms = ("time_to_first_token_seconds", "e2e_request_latency_seconds", "iteration_tokens_total")
    counters = ("prompt_tokens", "generation_tokens", "prompt_tokens_cached", "prefix_cache_hits")
    pages = []
    for _ in range(scrapes):
        lines = ["process_start_time_seconds 1.7740113846e+09"]
        for name in counters:
            lines += [f"# HELP vllm:{name}_total Tokens.", f"# TYPE vllm:{name}_total counter"]
            lines.append(f"vllm:{name}_total{{{label}}} {float(random.integers(10**6, 10**9))!r}")
        for reason in ("stop", "length", "abort", "error"):
            count = float(random.integers(0, 10**6))
            lines.append(f'vllm:request_success_total{{{label},finished_reason="{reason}"}} {count!r}')
        for name in histograms:
            lines += [f"# HELP vllm:{name} A histogram.", f"# TYPE vllm:{name} histogram"]
            for edge in range(60):
                lines.append(f'vllm:{name}_bucket{{{label},le="{edge / 8!r}"}} {float(random.integers(0, 10**6))!r}')
            lines.append(f"vllm:{name}_sum{{{label}}} {random.uniform(0, 1e6)!r}")
        pages.append(("\n".join(lines) + "\n").encode())
    return pages


def prometheus_client(page: bytes) -> int:
    """Reads a page with prometheus-client; the number of its samples."""
    return sum(len(family.samples) for family in text_string_to_metric_families(page.decode()))


def measure() -> list[Speed]:
    """Every parser on every kind of page, in turns."""
    results = []
    for name, pages, reader, families in (
        ("dcgm-exporter, 8 GPUs", dcgm_pages(), DcgmReader(_ORIGIN), dcgm_exporter.FAMILIES),
        ("vLLM", vllm_pages(), VllmReader(_ORIGIN), vllm.FAMILIES),
    ):
        wanted = PageReader(families, _labels)
        every = PageReader(_all_families(pages[0]), _labels)
        parsers: dict[str, Callable[[bytes], object]] = {
            "wanted families": wanted.read,
            "every family": every.read,
            "as far as samples": reader.read,
            "prometheus-client": prometheus_client,
        }
        for parser, speed in _rounds(pages, parsers).items():
            results.append(Speed(name, parser, speed))
    return results


def _labels(_: str, labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def _all_families(page: bytes) -> dict[str, Family]:
    names = {line.split("{")[0].split(" ")[0] for line in page.decode().splitlines() if line[:1] != "#"}
    return {name: Family(name, counter=name.endswith(("_total", "_CONSUMPTION"))) for name in names}


def _rounds(pages: Sequence[bytes], parsers: dict[str, Callable[[bytes], object]]) -> dict[str, float]:
    lines = sum(page.count(b"\n") for page in pages)
    seconds: dict[str, list[float]] = {name: [] for name in parsers}
    for parse in parsers.values():
        parse(pages[0])  # the first page is learned; a collector does that once per target
    for _ in range(ROUNDS):
        for name, parse in parsers.items():
            repeats = 1 if name == "prometheus-client" else 20
            started = time.process_time()
            for _ in range(repeats):
                for page in pages:
                    parse(page)
            seconds[name].append((time.process_time() - started) / repeats)
    return {name: lines / statistics.median(found) for name, found in seconds.items()}


def main() -> int:
    """Print the table; 1 when the parser is slower than it must be."""
    speeds = measure()
    print("Lines of exporter pages per second and core")
    for speed in speeds:
        theirs = next(s.lines_per_s for s in speeds if s.page == speed.page and s.parser == "prometheus-client")
        print(f"  {speed.page:24}{speed.parser:22}{speed.lines_per_s:>12,.0f}{speed.lines_per_s / theirs:>8.0f} x")
    ours = [parser for parser in dict.fromkeys(speed.parser for speed in speeds) if parser != "prometheus-client"]
    slowest = {parser: min(speed.lines_per_s for speed in speeds if speed.parser == parser) for parser in ours}
    for parser, lines_per_s in slowest.items():
        goal = "reached" if lines_per_s >= GOAL else "not reached"
        must = "exceeded" if lines_per_s > MUST else "NOT EXCEEDED"
        print(f"  {parser}: minimum of {MUST:,} {must}, goal of {GOAL:,} {goal}")
    return 0 if min(slowest.values()) > MUST else 1


if __name__ == "__main__":
    raise SystemExit(main())
