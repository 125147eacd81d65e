"""The page of slurm-job-exporter: which job of which account runs on a node, and what its GPUs do.

Format of 2026-04 on a cgroup v2 node: families that need cgroup v1 are printed without samples. Labels in alphabetical
order; numbers as an older prometheus_client printed them (``e+010``); power in mW; a MIG instance is named by a UUID and
repeats its GPU's power. Nodes without NVIDIA GPUs have the host families only. Users are opaque (``u17``).
"""

import uuid
from collections.abc import Iterator

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
    ("slurm_job_tensor_gpu", "The ratio of cycles the tensor (HMMA) pipe is active (off the peak sustained elapsed cycles)"),
    ("slurm_job_fp64_gpu", "Ratio of cycles the fp64 pipe is active"),
    ("slurm_job_fp32_gpu", "Ratio of cycles the fp32 pipe is active"),
    ("slurm_job_fp16_gpu", "Ratio of cycles the fp16 pipe is active"),
    ("slurm_job_pcie_gpu", "PCIe tx/rx bytes per second"),
    ("slurm_job_nvlink_gpu", "Nvlink tx/rx bytes per second"),
)


class SlurmPage:
    """One node's page."""

    content_type = CONTENT_TYPE

    def __init__(self, node: Node) -> None:
        self._node = node
        first = node.devices.start
        self._rows = [part.device - first for part in node.slice_list]
        self._names = [
            f"MIG-{uuid.uuid5(uuid.NAMESPACE_URL, node.device_list[row].identity + part.name)}" if part.instance else str(row)
            for row, part in zip(self._rows, node.slice_list, strict=True)
        ]

    def render(self, reading: NodeReading) -> bytes:
        """The page as of this reading."""
        jobs: dict[Tenant, list[int]] = {}
        for index, tenant in enumerate(reading.tenants):
            if tenant:
                jobs.setdefault(tenant, []).append(index)
        out = [*self._host(jobs)]
        if self._node.pool.gpu.vendor == "nvidia":
            out.extend(self._gpu(jobs, reading))
        return "".join(out).encode()

    def _host(self, jobs: dict[Tenant, list[int]]) -> Iterator[str]:
        for name, kind, text, size in _HOST:
            yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
            if size is None:
                continue
            for tenant, held in jobs.items():
                labels = _job_labels(tenant)
                if name == "slurm_job_threads_count":
                    labels["state"] = "sleeping"
                yield f"{name}{sorted_label_set(labels)} {old_python_float(round(size * len(held)))}\n"

    def _gpu(self, jobs: dict[Tenant, list[int]], reading: NodeReading) -> Iterator[str]:
        rows = [
            (_job_labels(tenant) | {"gpu": self._names[index], "gpu_type": self._node.pool.gpu.model}, index)
            for tenant, held in jobs.items()
            for index in held
        ]
        values = [self._measure(index, reading) for _, index in rows]
        for name, text in _GPU:
            yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
            directed = name.endswith(("_pcie_gpu", "_nvlink_gpu"))
            for (labels, _), value in zip(rows, values, strict=True):
                number = old_python_float(value[name])
                for extra in ({"direction": "TX"}, {"direction": "RX"}) if directed else ({},):
                    yield f"{name}{sorted_label_set(labels | extra)} {number}\n"

    def _measure(self, index: int, reading: NodeReading) -> dict[str, float]:
        part, gpu = self._node.slice_list[index], self._node.pool.gpu
        total = part.instance.memory_mib if part.instance else gpu.memory_mib
        busy, work = float(reading.slice_busy[index]), float(reading.slice_intensity[index])
        return {
            "slurm_job_memory_total_gpu": total * 1_048_576,
            "slurm_job_memory_usage_gpu": memory_used(reading.tenants[index], total) * 1_048_576,
            "slurm_job_power_gpu": round(float(reading.power_w[self._rows[index]]) * 1000),
            "slurm_job_utilization_gpu": 88 * busy,
            "slurm_job_utilization_gpu_memory": 45 * busy,
            "slurm_job_sm_occupancy_gpu": 37 * work,
            "slurm_job_tensor_gpu": 55 * work,
            "slurm_job_fp64_gpu": 0.0,
            "slurm_job_fp32_gpu": 6.5 * work,
            "slurm_job_fp16_gpu": 1.1 * work,
            "slurm_job_pcie_gpu": round(170_000 + 2.1e9 * work),
            "slurm_job_nvlink_gpu": round(8e9 * work),
        }


def _job_labels(tenant: Tenant) -> dict[str, object]:
    return {"account": tenant.account, "slurmjobid": tenant.job, "user": tenant.user}
