"""NVIDIA dcgm-exporter: https://github.com/NVIDIA/dcgm-exporter

Power is in W, energy in mJ, framebuffer in MiB, utilisation in percent, profiling ratios in 0..1. All releases name
the GPU by `UUID` (`uuid` with --use-old-namespace); the host label is `Hostname` up to 4.5.3 and `hostname` after.
"""

import re
from collections.abc import Mapping

from collectors.exposition import Family, PageReader
from collectors.gpu_rows import BusySource, GpuKey, GpuPages, Holder, Vendor
from collectors.readings import GpuReading, Origin

_FAMILIES = {
    "DCGM_FI_DEV_POWER_USAGE": Family("power_w"),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": Family("energy_mj", counter=True),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": Family("gr_engine_active"),
    "DCGM_FI_DEV_GPU_UTIL": Family("gpu_util"),
    "DCGM_FI_PROF_SM_ACTIVE": Family("sm_active"),
    "DCGM_FI_DEV_FB_USED": Family("memory_used_mib"),
    "DCGM_FI_DEV_GPU_TEMP": Family("temperature_c"),
    "DCGM_FI_DEV_XID_ERRORS": Family("xid"),
    # Read to know that a device is there when nothing else of it is printed.
    "DCGM_FI_DEV_SM_CLOCK": Family("seen"),
    "DCGM_FI_DEV_MEMORY_TEMP": Family("memory_temperature_c"),
}
FAMILIES = _FAMILIES | {name.lower(): family for name, family in _FAMILIES.items()}
"""Both as the exporter prints them and as some pipelines rewrite them."""

NVIDIA = Vendor(
    name="nvidia",
    ranges={
        "power_w": "power_w",
        "gr_engine_active": "ratio",
        "gpu_util": "percent",
        "sm_active": "ratio",
        "memory_used_mib": "memory_used_mib",
        "temperature_c": "temperature_c",
        "xid": "xid",
        "seen": "any",
        "memory_temperature_c": "temperature_c",
    },
    power=("power_w",),
    busy=(
        BusySource("gr_engine_active", "gr_engine_active", 1),
        # Absent or a meaningless 0 on MIG instances.
        BusySource("gpu_util", "gpu_util", 0.01, whole_device_only=True),
    ),
    energy_units_per_mj=1,
)

# Compute slices of a whole GPU: NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles".
_FOUR_SLICES = re.compile(r"\bA30\b|RTX PRO 6000")
_PROFILE = re.compile(r"(?:(\d+)c\.)?(\d+)g\.")


def mig_share(profile: str, gpu_model: str) -> tuple[int, int]:
    """Compute share of a MIG profile: 3g.40gb -> 3/7, 2c.3g.40gb (two of its three slices) -> 2/7; 0/7 if unknown."""
    whole = 4 if _FOUR_SLICES.search(gpu_model) else 7
    match = _PROFILE.match(profile)
    slices = int(match[1] or match[2]) if match else 0
    return (slices if 0 < slices <= whole else 0, whole)


def holder(labels: Mapping[str, str]) -> Holder:
    """Who holds the device: Kubernetes namespace and pod, and the batch job.

    A page that went through a Prometheus (it added `instance`) carries the exporter's own pod unless `exported_pod`
    gives the workload's; there a pod is only believed together with a container that is no exporter.
    """
    job = labels.get("hpc_job", "")
    if "exported_pod" in labels or "exported_namespace" in labels:
        return labels.get("exported_namespace", ""), labels.get("exported_pod", ""), job
    pod = labels.get("pod") or labels.get("pod_name", "")
    namespace = labels.get("namespace") or labels.get("pod_namespace", "")
    if "instance" in labels:
        container = labels.get("container", "")
        if not container or "exporter" in container:
            return "", "", job
    if not pod:
        namespace = namespace or labels.get("dra_claim_namespace", "")
    return namespace, pod, job


class DcgmReader:
    """Reads the pages of one dcgm-exporter."""

    def __init__(self, origin: Origin) -> None:
        self._host = origin.host
        self._reader = PageReader(FAMILIES, self._identify)
        self._pages = GpuPages(NVIDIA)

    def read(self, page: bytes) -> GpuReading:
        """Raises PageError when nothing of the page can be used."""
        return self._pages.reading(self._reader.read(page))

    def _identify(self, column: str, labels: Mapping[str, str]) -> GpuKey:
        node = labels.get("Hostname") or labels.get("hostname") or ""
        if node in ("", "localhost"):  # exporter without -n, or with -r to another port of its own host
            node = self._host
        gpu_model = labels.get("modelName", "")
        profile, instance = labels.get("GPU_I_PROFILE", ""), labels.get("GPU_I_ID", "")
        sliced = bool(profile or instance)
        num, den = mig_share(profile, gpu_model) if sliced else (1, 1)
        return GpuKey(
            # Without a UUID (a stripped page) the index within the node is the best name that there is.
            device=labels.get("UUID") or labels.get("uuid") or f"{node}/gpu{labels.get('gpu', '')}",
            node=node,
            gpu_model=gpu_model,
            slice=f"{profile}/{instance}".strip("/") if sliced else "",
            share_num=num,
            share_den=den,
            holder=holder(labels),
        )
