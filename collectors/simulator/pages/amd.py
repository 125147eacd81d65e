"""The page of AMD's device-metrics-exporter (v1.5.2), written by client_golang.

Families and labels in alphabetical order, numbers in Go's shortest form, every metric a gauge: energy too, in uJ. An
optional prefix (``amd_``). A partitioned GPU (CPX) shows eight partitions numbered on in ``gpu_id``; only partition 0
carries power, energy and activity. A value of exactly 255 or 65535 is taken for "not applicable" by the exporter, and
its line is left out for that scrape.
"""

from collectors.simulator.formats import go_float, sorted_label_set
from collectors.simulator.pages.reading import NodeReading, memory_used
from collectors.simulator.topology import CPX_PARTITIONS, Device, Node, Slice

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_SENTINELS = frozenset({255.0, 65535.0})

# Family and help, in the order of the page. `gpu_clock` has two lines per entity, `gpu_nodes_total` one per node.
_FAMILIES: tuple[tuple[str, str], ...] = (
    ("gpu_clock", "Clock measure of the GPU in Mhz"),
    ("gpu_ecc_correct_total", "Total Correctable ECC error count"),
    ("gpu_ecc_uncorrect_total", "Total Uncorrectable ECC error count"),
    ("gpu_energy_consumed", "Accumulated energy consumed by the GPU in Micro Jules (uJ)"),
    ("gpu_free_vram", "Total VRAM memory free in MB"),
    ("gpu_gfx_activity", "Graphics engine usage percentage (0 - 100)"),
    ("gpu_health", "Health of the GPU (0 = Unhealthy | 1 = Healthy)"),
    ("gpu_junction_temperature", "Hotspot (aka junction) temperature value in Celsius"),
    ("gpu_memory_temperature", "Memory temperature value in Celsius"),
    ("gpu_nodes_total", "Number of GPU nodes on the machine"),
    ("gpu_package_power", "Current socket power in Watts"),
    ("gpu_power_usage", "GPU power usage in Watts"),
    ("gpu_total_vram", "Total VRAM available in MB"),
    ("gpu_umc_activity", "Memory engine usage percentage (0 - 100)"),
    ("gpu_used_vram", "Total VRAM memory used in MB"),
)
_PRIMARY_ONLY = frozenset({"gpu_energy_consumed", "gpu_gfx_activity", "gpu_package_power", "gpu_umc_activity"})


class AmdPage:
    """One node's page. The beginnings of its lines are kept until a tenant changes."""

    content_type = CONTENT_TYPE

    def __init__(self, node: Node) -> None:
        self._node = node
        self._entities = node.entities()
        self._version = -1
        self._heads: dict[str, str] = {}
        self._starts: dict[str, list[str]] = {}

    def render(self, reading: NodeReading) -> bytes:
        """The page as of this reading."""
        if reading.version != self._version:
            self._version = reading.version
            self._compose(reading)
        out: list[str] = []
        for name, values in self._values(reading).items():
            lines = [
                f"{start} {go_float(value)}\n"
                for start, value in zip(self._starts[name], values, strict=True)
                if value is not None and value not in _SENTINELS
            ]
            if lines:
                out.append(self._heads[name])
                out.extend(lines)
        return "".join(out).encode()

    def _values(self, reading: NodeReading) -> dict[str, list[float | None]]:
        rows = [device.index for device, _ in self._entities]
        secondary = [bool(part.partition) for _, part in self._entities]
        power = reading.power_w.round().tolist()
        energy = (reading.counter_j * 1e6).round().tolist()
        heat = reading.heat_c.round().tolist()
        busy = (reading.device_busy * 100).round().tolist()
        load = reading.device_intensity.tolist()
        clock = [float(round(self._node.pool.gpu.sm_clock_mhz * (0.9 if work > 0.01 else 0.06))) for work in load]
        total, used = self._memory(reading)
        one = [1.0] * len(rows)
        values: dict[str, list[float | None]] = {
            "gpu_clock": [value for row in rows for value in (float(self._node.pool.gpu.memory_clock_mhz), clock[row])],
            "gpu_ecc_correct_total": [0.0] * len(rows),
            "gpu_ecc_uncorrect_total": [0.0] * len(rows),
            "gpu_energy_consumed": [energy[row] for row in rows],
            "gpu_free_vram": [whole - held for whole, held in zip(total, used, strict=True)],
            "gpu_gfx_activity": [busy[row] for row in rows],
            "gpu_health": list(one),
            "gpu_junction_temperature": [heat[row] + 4 for row in rows],
            "gpu_memory_temperature": [heat[row] + 2 for row in rows],
            "gpu_nodes_total": [float(len(rows))],
            "gpu_package_power": [power[row] for row in rows],
            "gpu_power_usage": [0.0 if after else power[row] for row, after in zip(rows, secondary, strict=True)],
            "gpu_total_vram": list(total),
            "gpu_umc_activity": [round(busy[row] * 0.4) for row in rows],
            "gpu_used_vram": list(used),
        }
        for name in _PRIMARY_ONLY:
            values[name] = [None if after else value for value, after in zip(values[name], secondary, strict=True)]
        return values

    def _memory(self, reading: NodeReading) -> tuple[list[float], list[float]]:
        total, used = [], []
        for (device, part), tenant in zip(self._entities, reading.tenants, strict=True):
            memory = device.gpu.memory_mib // (CPX_PARTITIONS if part.partition is not None else 1)
            total.append(float(memory))
            used.append(float(memory_used(tenant, memory)))
        return total, used

    def _compose(self, reading: NodeReading) -> None:
        prefix = self._node.site.amd_prefix
        sets = [self._labels(number, device, part, reading) for number, (device, part) in enumerate(self._entities)]
        for family, text in _FAMILIES:
            name = prefix + family
            self._heads[family] = f"# HELP {name} {text}\n# TYPE {name} gauge\n"
            if family == "gpu_nodes_total":
                shown = [sorted_label_set({"hostname": self._node.name})]
            elif family == "gpu_clock":
                shown = [
                    sorted_label_set(labels | {"clock_index": index, "clock_type": kind})
                    for labels in sets
                    for index, kind in ((8, "memory"), (0, "system"))
                ]
            else:
                shown = [sorted_label_set(labels) for labels in sets]
            self._starts[family] = [name + labels for labels in shown]

    def _labels(self, number: int, device: Device, part: Slice, reading: NodeReading) -> dict[str, object]:
        tenant = reading.tenants[number]
        slurm = self._node.site.scheduler == "slurm"
        return {
            "card_model": device.gpu.card_model,
            "card_series": device.gpu.model,
            "card_vendor": "AMD",
            "cluster_name": self._node.cluster if slurm else "",
            "container": tenant.container if tenant else "",
            "deployment_mode": "debian" if slurm else "kubernetes",
            "driver_version": device.gpu.driver,
            "gpu_compute_partition_type": "spx" if part.partition is None else "cpx",
            "gpu_id": number,
            "gpu_memory_partition_type": "nps1" if part.partition is None else "nps4",
            "gpu_partition_id": part.partition or 0,
            "gpu_uuid": device.uuid,
            "hostname": self._node.name,
            "job_id": tenant.job if tenant else "",
            "job_partition": "gpu" if tenant and tenant.job else "",
            "job_user": tenant.user if tenant else "",
            "kfd_process_id": "",
            "namespace": tenant.namespace if tenant else "",
            "pod": tenant.pod if tenant else "",
            "serial_number": device.identity,
            "vbios_version": "022.040.003.043.000001",
        }
