"""The page of slurm-job-exporter: which job of which account runs on a node, and what its GPUs do.

Format of 2026-04 on a cgroup v2 node: families that need cgroup v1 are printed without samples. Labels in alphabetical
order; numbers as an older prometheus_client printed them (``e+010``); power in mW; a MIG instance is named by a UUID
and repeats its GPU's power. Nodes without NVIDIA GPUs have the host families only. Users are opaque (``u17``).
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence

from collectors.simulator.formats import old_python_float, sorted_label_set
from collectors.simulator.pages.reading import NodeReading, memory_used
from collectors.simulator.tenants import Tenant
from collectors.simulator.topology import Node

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GIB = 2**30

# Host families: name, type, help, and a value in bytes or counts per GPU share of the job; None = cgroup v1 only.
_HOST: tuple[tuple[str, str, str, float | None], ...] = (
    ("slurm_job_memory_usage", "gauge", "Memory used by a job", 34.1 * _GIB),
    ("slurm_job_memory_max", "gauge", "Maximum memory used by a job", None),
    ("slurm_job_memory_limit", "gauge", "Memory limit of a job", 124.0 * _GIB),
    ("slurm_job_memory_cache", "gauge", "bytes of page cache memory", 17.0 * _GIB),
    (
        "slurm_job_memory_rss",
        "gauge",
        "bytes of anonymous and swap cache memory (includes transparent hugepages).",
        16.5 * _GIB,
    ),
    ("slurm_job_memory_rss_huge", "gauge", "bytes of anonymous transparent hugepages", 12.5 * _GIB),
    ("slurm_job_memory_mapped_file", "gauge", "bytes of mapped file (includes tmpfs/shmem)", 9.0 * _GIB),
    ("slurm_job_memory_active_file", "gauge", "bytes of file-backed memory on active LRU list", 1.25 * _GIB),
    ("slurm_job_memory_inactive_file", "gauge", "bytes of file-backed memory on inactive LRU list", 6.25 * _GIB),
    ("slurm_job_memory_unevictable", "gauge", "bytes of memory that cannot be reclaimed (mlocked etc)", 0.0),
    ("slurm_job_core_usage_total", "counter", "Cpu usage of cores allocated to a job", None),
    ("slurm_job_process_count", "gauge", "Number of processes in a job", 13.0),
    ("slurm_job_threads_count", "gauge", "Number of threads in a job", 41.0),
    ("slurm_job_process_usage_total", "counter", "Cpu usage of processes within a job", None),
)
_GPU: tuple[tuple[str, str], ...] = (
    ("slurm_job_memory_total_gpu", "Memory available on a GPU"),
    ("slurm_job_memory_usage_gpu", "Memory used by a job on a GPU"),
    ("slurm_job_power_gpu", "Power used by a job on a GPU in mW"),
    (
        "slurm_job_utilization_gpu",
        "Percent of time over the past sample period during which one or more kernels was executing on the GPU.",
    ),
    (
        "slurm_job_utilization_gpu_memory",
        "Percent of time over the past sample period during which global (device) memory was being read or written.",
    ),
    (
        "slurm_job_sm_occupancy_gpu",
        "The ratio of number of warps resident on an SM. "
        "(number of resident as a ratio of the theoretical maximum number of warps per elapsed cycle)",
    ),
    (
        "slurm_job_tensor_gpu",
        "The ratio of cycles the tensor (HMMA) pipe is active (off the peak sustained elapsed cycles)",
    ),
    ("slurm_job_fp64_gpu", "Ratio of cycles the fp64 pipe is active"),
    ("slurm_job_fp32_gpu", "Ratio of cycles the fp32 pipe is active"),
    ("slurm_job_fp16_gpu", "Ratio of cycles the fp16 pipe is active"),
    ("slurm_job_pcie_gpu", "PCIe tx/rx bytes per second"),
    ("slurm_job_nvlink_gpu", "Nvlink tx/rx bytes per second"),
)
_DIRECTED = ("slurm_job_pcie_gpu", "slurm_job_nvlink_gpu")


class SlurmPage:
    """One node's page. The text is kept until a job starts or ends; then only the GPUs' numbers are put in."""

    content_type = CONTENT_TYPE

    def __init__(self, node: Node) -> None:
        self._node = node
        self._entities = node.entities()
        self._version = -1
        self._text = ""
        self._held: list[int] = []

    def render(self, reading: NodeReading) -> bytes:
        """The page as of this reading."""
        if reading.version != self._version:
            self._version = reading.version
            self._compose(reading.tenants)
        if not self._held:
            return self._text.encode()
        measures = [self._measure(index, reading) for index in self._held]
        numbers = [
            number
            for (name, _), column in zip(_GPU, zip(*measures, strict=True), strict=True)
            for number in map(old_python_float, column)
            for _ in range(2 if name in _DIRECTED else 1)
        ]
        return (self._text % tuple(numbers)).encode()

    def _compose(self, tenants: Sequence[Tenant | None]) -> None:
        jobs: dict[Tenant, list[int]] = {}
        for index, tenant in enumerate(tenants):
            if tenant:
                jobs.setdefault(tenant, []).append(index)
        nvidia = self._node.pool.gpu.vendor == "nvidia"
        self._held = [index for held in jobs.values() for index in held] if nvidia else []
        self._text = "".join([*self._host(jobs), *(self._gpu(jobs) if nvidia else ())])

    def _host(self, jobs: Mapping[Tenant, Sequence[int]]) -> Iterator[str]:
        for name, kind, text, size in _HOST:
            yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
            if size is None:
                continue
            for tenant, held in jobs.items():
                labels = self._job_labels(tenant)
                if name == "slurm_job_threads_count":
                    labels["state"] = "sleeping"
                yield f"{name}{sorted_label_set(labels)} {old_python_float(round(size * len(held)))}\n"

    def _gpu(self, jobs: Mapping[Tenant, Sequence[int]]) -> Iterator[str]:
        rows = [
            self._job_labels(tenant) | {"gpu": self._gpu_name(index), "gpu_type": self._node.pool.gpu.model}
            for tenant, held in jobs.items()
            for index in held
        ]
        for name, text in _GPU:
            yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
            for labels in rows:
                for extra in ({"direction": "TX"}, {"direction": "RX"}) if name in _DIRECTED else ({},):
                    yield f"{name}{sorted_label_set(labels | extra)} %s\n"

    def _measure(self, index: int, reading: NodeReading) -> tuple[float, ...]:
        """Values in the order of the page; a rate stands for both directions."""
        device, part = self._entities[index]
        total = part.instance.memory_mib if part.instance else device.gpu.memory_mib
        used = memory_used(reading.tenants[index], total)
        busy, work = float(reading.slice_busy[index]), float(reading.slice_intensity[index])
        power_mw = round(float(reading.power_w[device.index]) * 1000)
        pcie, nvlink = round(170_000 + 2.1e9 * work), round(8e9 * work)
        shares = (88 * busy, 45 * busy, 37 * work, 55 * work, 0.0, 6.5 * work, 1.1 * work)
        return (total * 2**20, used * 2**20, power_mw, *shares, pcie, nvlink)

    def _gpu_name(self, index: int) -> str:
        device, part = self._entities[index]
        if part.instance is None:
            return str(device.index)
        return f"MIG-{uuid.uuid5(uuid.NAMESPACE_URL, device.identity + part.name)}"

    def _job_labels(self, tenant: Tenant) -> dict[str, object]:
        account = tenant.account + self._node.site.account_suffix
        return {"account": account, "slurmjobid": tenant.job, "user": tenant.user}
