"""What the exporters of one node find at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collectors.simulator.catalogue import XID_NONE, XID_UNCONTAINED, Xid
from collectors.simulator.tenants import Tenant

Floats = npt.NDArray[np.float64]

XIDS: dict[int, Xid] = {xid.code: xid for xid in (XID_NONE, XID_UNCONTAINED)}


@dataclass(frozen=True, slots=True)
class NodeReading:
    """Arrays by device of the node, then by slice of the node; tenants and fault codes as of the same moment."""

    power_w: Floats
    counter_j: Floats
    """Energy since the driver was loaded."""
    life_j: Floats
    """Energy since the simulation began: never restarts."""
    heat_c: Floats
    device_busy: Floats
    device_intensity: Floats
    slice_busy: Floats
    slice_intensity: Floats
    tenants: Sequence[Tenant | None]
    xid: Sequence[int]
    version: int
    """Labels with the same version are the same."""


def memory_used(tenant: Tenant | None, total: int) -> int:
    """Framebuffer in use, MiB: engines fill the GPU with cache, training most of it, an idle job holds its context."""
    if tenant is None:
        return total // 10_000
    return int(total * 0.9) if tenant.deployment else int(total * 0.7)
