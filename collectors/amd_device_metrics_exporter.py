"""AMD device-metrics-exporter: https://github.com/ROCm/device-metrics-exporter

Every metric is a gauge, the accumulated energy (in microjoules) included. The metric prefix is configurable; the
shipped examples set `amd_`. Only the first partition of a GPU carries power and energy.
"""

from collections.abc import Mapping

from collectors.dcgm_exporter import holder
from collectors.exposition import Family, PageReader
from collectors.gpu_rows import BusySource, GpuKey, GpuPages, Vendor
from collectors.readings import GpuReading, Origin

_FAMILIES = {
    "gpu_package_power": Family("package_power"),  # MI300 and newer: power of the socket
    "gpu_average_package_power": Family("average_package_power"),  # MI200, Radeon
    "gpu_power_usage": Family("power_usage"),  # not in guests
    "gpu_energy_consumed": Family("energy_uj", counter=True),
    "gpu_gfx_activity": Family("gfx_activity"),
    "gpu_used_vram": Family("memory_used_mib"),
    "gpu_junction_temperature": Family("temperature_c"),
    # Read to know that a device is there when nothing else of it is printed.
    "gpu_health": Family("seen"),
    "gpu_ecc_uncorrect_mpio": Family("seen"),
}
FAMILIES = _FAMILIES | {f"amd_{name}": family for name, family in _FAMILIES.items()}

AMD = Vendor(
    name="amd",
    ranges={
        "package_power": "power_w",
        "average_package_power": "power_w",
        "power_usage": "power_w",
        "energy_uj": "energy_mj",
        "gfx_activity": "percent",
        "memory_used_mib": "memory_used_mib",
        "temperature_c": "temperature_c",
        "seen": "any",
    },
    power=("package_power", "average_package_power", "power_usage"),
    busy=(BusySource("gfx_activity", "gfx_activity", 0.01),),
    energy_units_per_mj=1000,
    amd_blanks=True,
    zero_is_missing_in_slices=True,
)

# Partitions of a GPU in each compute mode: AMD Instinct documentation, "GPU partitioning". CPX is one partition per
# compute die: eight on MI300X, MI325X and MI350, six on MI300A, which also has TPX.
_PARTITIONS = {"spx": 1, "dpx": 2, "tpx": 3, "qpx": 4, "cpx": 8}
_MI300A_CPX = 6


def partition_share(compute_partition: str, gpu_model: str) -> tuple[int, int]:
    """Compute share of one partition: cpx -> 1/8 (MI300A: 1/6), spx or unknown -> the whole device."""
    mode = compute_partition.lower()
    parts = _MI300A_CPX if mode == "cpx" and "MI300A" in gpu_model else _PARTITIONS.get(mode, 1)
    return 1, parts


class AmdReader:
    """Reads the pages of one device-metrics-exporter."""

    def __init__(self, origin: Origin) -> None:
        self._host = origin.host
        self._reader = PageReader(FAMILIES, self._identify)
        self._pages = GpuPages(AMD)

    def read(self, page: bytes) -> GpuReading:
        """Raises PageError when nothing of the page can be used."""
        return self._pages.reading(self._reader.read(page))

    def _identify(self, column: str, labels: Mapping[str, str]) -> GpuKey:
        node = labels.get("hostname") or self._host
        gpu_id = labels.get("gpu_id", "")
        gpu_model = labels.get("card_series") or labels.get("card_model") or ""
        mode = labels.get("gpu_compute_partition_type", "").lower()
        num, den = partition_share(mode, gpu_model)
        namespace, pod, _ = holder(labels)
        uuid = labels.get("gpu_uuid", "")
        return GpuKey(
            # SR-IOV guests print no serial number; without any identity the index within the node has to do.
            device=labels.get("serial_number") or (f"{uuid}/{gpu_id}" if uuid else f"{node}/gpu{gpu_id}"),
            node=node,
            gpu_model=gpu_model,
            # gpu_id, not gpu_partition_id: the latter is seen as 0 on a partition that is not the first.
            slice=f"{mode}/{gpu_id}" if den > 1 else "",
            share_num=num,
            share_den=den,
            holder=(namespace, pod, labels.get("job_id", "")),
        )
