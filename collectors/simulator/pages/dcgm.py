"""The page of NVIDIA's dcgm-exporter with its default counters.

Forms (4.5.3 and 4.6.0, default counter file of 2026-05): families in blocks with HELP and TYPE; labels
``gpu,UUID,pci_bus_id,device,modelName[,GPU_I_PROFILE,GPU_I_ID],Hostname`` (``hostname`` from 4.6.0), the driver
version, then attributes in order; doubles ``%f``, integers ``%d``. A GPU in MIG mode appears only as its instances,
each repeating the parent's power and energy, without GPU_UTIL, MEM_COPY_UTIL, ENC, DEC, PCIe and NVLink. The link
group, where there is one, comes before or after the GPU group and repeats a family under other labels.
"""

from collections.abc import Sequence

import numpy as np

from collectors.simulator.formats import label_set
from collectors.simulator.pages.reading import XIDS, NodeReading, memory_used
from collectors.simulator.topology import Device, Node, Slice

_D, _F = "DCGM_FI_DEV_", "DCGM_FI_PROF_"
# Family, type, help, and either a constant or the key of a changing value with its format. `whole`: absent under MIG.
_FAMILIES: tuple[tuple[str, str, str, str, bool], ...] = (
    (_D + "SM_CLOCK", "gauge", "SM clock frequency (in MHz).", "sm_clock:%d", False),
    (_D + "MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", "=mem_clock", False),
    (_D + "MEMORY_TEMP", "gauge", "Memory temperature (in C).", "memory_temp:%d", False),
    (_D + "GPU_TEMP", "gauge", "GPU temperature (in C).", "gpu_temp:%d", False),
    (_D + "POWER_USAGE", "gauge", "Power draw (in W).", "power:%f", False),
    (_D + "TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ).", "energy:%d", False),
    (_D + "PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", "=0", False),
    (_D + "GPU_UTIL", "gauge", "GPU utilization (in %).", "gpu_util:%d", True),
    (_D + "MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", "copy_util:%d", True),
    (_D + "ENC_UTIL", "gauge", "Encoder utilization (in %).", "=0", True),
    (_D + "DEC_UTIL", "gauge", "Decoder utilization (in %).", "=0", True),
    (_D + "XID_ERRORS", "gauge", "Value of the last XID error encountered.", "=xid", False),
    (_D + "FB_FREE", "gauge", "Framebuffer memory free (in MiB).", "=fb_free", False),
    (_D + "FB_USED", "gauge", "Framebuffer memory used (in MiB).", "=fb_used", False),
    (_D + "FB_RESERVED", "gauge", "Framebuffer memory reserved (in MiB).", "=fb_reserved", False),
    (
        _D + "NVLINK_BANDWIDTH_TOTAL",
        "counter",
        "Total number of NVLink bandwidth counters for all lanes.",
        "nvlink:%d",
        True,
    ),
    (
        _D + "UNCORRECTABLE_REMAPPED_ROWS",
        "counter",
        "Number of remapped rows for uncorrectable errors",
        "=0",
        False,
    ),
    (_D + "CORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for correctable errors", "=0", False),
    (_D + "ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed", "=0", False),
    (_D + "VGPU_LICENSE_STATUS", "gauge", "vGPU License status", "=0", False),
    (_F + "GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active.", "busy:%f", False),
    (
        _F + "PIPE_TENSOR_ACTIVE",
        "gauge",
        "Ratio of cycles the tensor (HMMA) pipe is active.",
        "tensor:%f",
        False,
    ),
    (
        _F + "DRAM_ACTIVE",
        "gauge",
        "Ratio of cycles the device memory interface is active sending or receiving data.",
        "dram:%f",
        False,
    ),
    (
        _F + "PCIE_TX_BYTES",
        "gauge",
        "The rate of data transmitted over the PCIe bus - including both protocol headers and data payloads - "
        "in bytes per second.",
        "pcie_tx:%d",
        True,
    ),
    (
        _F + "PCIE_RX_BYTES",
        "gauge",
        "The rate of data received over the PCIe bus - including both protocol headers and data payloads - "
        "in bytes per second.",
        "pcie_rx:%d",
        True,
    ),
)
_RESERVED_MIB = 608
_LINK_FAMILY = next(family for family in _FAMILIES if family[0].endswith("NVLINK_BANDWIDTH_TOTAL"))
_NVLINK_BYTES_PER_J = 1_300_000
CONTENT_TYPE = "text/plain; charset=utf-8"


class DcgmPage:
    """One node's page. The text is kept until a tenant changes; then only numbers are put in."""

    content_type = CONTENT_TYPE

    def __init__(self, node: Node) -> None:
        self._node = node
        self._entities = node.entities()
        self._rows = np.array([device.index for device, _ in self._entities])
        self._version = -1
        self._gpu_text = ""
        self._link_text = ""
        self._keys: list[str] = []
        self._scrapes = 0

    def render(self, reading: NodeReading) -> bytes:
        """The page as of this reading."""
        if reading.version != self._version:
            self._version = reading.version
            self._compose(reading)
        columns = self._columns(reading)
        text = self._gpu_text % tuple(value for key in self._keys for value in columns[key])
        if self._link_text:
            self._scrapes += 1
            links = self._link_text % tuple(columns["link"])
            text = links + text if self._scrapes * 2_654_435_761 & 0x1000 else text + links  # random, but repeatable
        return text.encode()

    def _columns(self, reading: NodeReading) -> dict[str, list[float]]:
        rows = self._rows
        product = self._node.pool.gpu
        busy, work = reading.slice_busy, reading.slice_intensity
        load = reading.device_intensity[rows]
        heat = reading.heat_c[rows]
        # Instances of one GPU are read one after another, so their powers differ a little; energies do not.
        apart = np.array([0.0 if part.instance is None else 0.002 * part.instance.gi_id for _, part in self._entities])
        columns = {
            "sm_clock": np.where(load > 0.01, product.sm_clock_mhz * (0.86 + 0.14 * (1 - load)), 345),
            "memory_temp": heat + 6,
            "gpu_temp": heat,
            "power": reading.power_w[rows] + apart,
            "energy": np.floor(reading.counter_j * 1000.0)[rows],
            "gpu_util": np.rint(100 * busy),
            "copy_util": np.rint(45 * busy),
            "busy": busy,
            "tensor": 0.55 * work,
            "dram": 0.48 * busy,
            "pcie_tx": 170_000 + 2.1e9 * work,
            "pcie_rx": 20_000 + 3.4e9 * work,
            "nvlink": reading.counter_j[rows] * _NVLINK_BYTES_PER_J,
        }
        lists: dict[str, list[float]] = {key: column.tolist() for key, column in columns.items()}
        if self._link_text:
            links = product.nvlinks
            lists["link"] = [value / links for value in lists["nvlink"] for _ in range(links)]
        return lists

    def _compose(self, reading: NodeReading) -> None:
        mig = bool(self._node.pool.mig)
        tails = [self._labels(device, part, reading) for device, part in self._entities]
        plain = [label_set(labels) for labels in tails]
        blocks, self._keys = [], []
        for name, kind, text, source, whole in _FAMILIES:
            if whole and mig:
                continue
            blocks.append(_head(name, kind, text))
            if source.startswith("="):
                values = [self._constant(source[1:], index, reading) for index in range(len(tails))]
                labels = self._xid_labels(tails, reading) if source == "=xid" else plain
                blocks.extend(f"{name}{shown} {value}\n" for shown, value in zip(labels, values, strict=True))
            else:
                key, _, form = source.partition(":")
                self._keys.append(key)
                blocks.extend(f"{name}{shown} {form}\n" for shown in plain)
        self._gpu_text = "".join(blocks)
        if self._node.pool.nvlink_group:
            self._link_text = self._compose_links()

    def _labels(self, device: Device, part: Slice, reading: NodeReading) -> dict[str, object]:
        node = self._node
        labels: dict[str, object] = {
            "gpu": device.index,
            "UUID": device.identity,
            "pci_bus_id": device.bus,
            "device": f"nvidia{device.index}",
            "modelName": device.gpu.model,
        }
        if part.instance:
            labels |= {"GPU_I_PROFILE": part.instance.profile, "GPU_I_ID": part.instance.gi_id}
        labels |= {node.site.hostname_label: node.name, "DCGM_FI_DRIVER_VERSION": device.gpu.driver}
        tenant = reading.tenants[node.slice_list.index(part)]
        if tenant and tenant.job:
            labels["hpc_job"] = tenant.job
        elif tenant:
            labels |= {"container": tenant.container, "namespace": tenant.namespace, "pod": tenant.pod, "pod_uid": ""}
        return labels

    def _xid_labels(self, tails: Sequence[dict[str, object]], reading: NodeReading) -> list[str]:
        """The attributes of this family hold the error too, sorted among the others."""
        shown = []
        for (device, _), labels in zip(self._entities, tails, strict=True):
            xid = XIDS[reading.xid[device.index]]
            before = {name: labels[name] for name in labels if name not in _ATTRIBUTES}
            attributes = {name: labels[name] for name in labels if name in _ATTRIBUTES}
            attributes |= {"err_code": xid.code, "err_msg": xid.text}
            shown.append(label_set(before | dict(sorted(attributes.items()))))
        return shown

    def _constant(self, source: str, index: int, reading: NodeReading) -> int:
        device, part = self._entities[index]
        if source == "mem_clock":
            return device.gpu.memory_clock_mhz
        if source == "xid":
            return reading.xid[device.index]
        if source.startswith("fb_"):
            total = part.instance.memory_mib if part.instance else device.gpu.memory_mib - _RESERVED_MIB
            used = memory_used(reading.tenants[index], total)
            return {"fb_used": used, "fb_free": total - used}.get(source, _RESERVED_MIB)
        return int(source)

    def _compose_links(self) -> str:
        name, kind, text, _, _ = _LINK_FAMILY
        lines = [_head(name, kind, text)]
        for device in self._node.device_list:
            for link in range(device.gpu.nvlinks):
                labels = label_set(
                    {
                        "nvlink": link,
                        "gpu": device.index,
                        "gpu_uuid": device.identity,
                        "pci_bus_id": device.bus,
                        "device": f"nvidia{device.index}",
                        "model_name": device.gpu.model,
                        self._node.site.hostname_label: self._node.name,
                    }
                )
                lines.append(f"{name}{labels} %d\n")
        return "".join(lines)


_ATTRIBUTES = frozenset({"container", "namespace", "pod", "pod_uid", "hpc_job"})


def _head(name: str, kind: str, text: str) -> str:
    """HELP and TYPE; a per cent sign in the text survives the later formatting."""
    return f"# HELP {name} {text.replace('%', '%%')}\n# TYPE {name} {kind}\n"
