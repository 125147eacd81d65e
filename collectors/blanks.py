"""Numbers that are no measurement: blanks and sentinels that exporters print in place of one, and physical limits.

NVIDIA: blank values of DCGM fields (dcgm_structs.h: DCGM_INT32_BLANK 0x7ffffff0, DCGM_INT64_BLANK 0x7ffffffffffffff0,
DCGM_FP64_BLANK 140737488355328.0), each followed by "not found", "not supported" and "no permission". dcgm-exporter
skips them since 2020 for GPU fields; older exporters and pipelines leak them. AMD: the largest value of an integer
type means "not applicable" (device-metrics-exporter).
"""

import numpy as np
from numpy.typing import NDArray

from collectors.exposition import Counters, Floats

INT32_BLANK = 2**31 - 16
INT64_BLANK = 2**63 - 16
FP64_BLANK = 2.0**47
BLANK_FORMS = 4  # blank, not found, not supported, no permission

UINT8_MAX, UINT16_MAX, INT32_MAX, UINT32_MAX = 2**8 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1

RANGES: dict[str, tuple[float, float]] = {
    "power_w": (0, 3000),
    "energy_mj": (0, INT64_BLANK - 1),
    "ratio": (0, 1),
    "percent": (0, 100),
    "memory_used_mib": (0, INT32_BLANK - 1),
    "temperature_c": (-50, 250),
    "xid": (0, UINT16_MAX),
    "any": (-np.inf, np.inf),
}
"""What a column can hold, inclusive."""


def blank_counters(counters: Counters, amd: bool) -> NDArray[np.bool_]:
    """Which counters are blanks. No true counter reaches 2^63 - 16; the 32-bit forms are compared exactly."""
    blank: NDArray[np.bool_] = (counters >= INT64_BLANK) | (counters - np.uint64(INT32_BLANK) < BLANK_FORMS)
    if amd:
        blank |= (counters == UINT32_MAX) | (counters == INT32_MAX)
    return blank


def amd_blanks(gauges: Floats) -> NDArray[np.bool_]:
    """Which AMD gauges hold the largest 8-bit or 16-bit number (the larger ones are out of every range)."""
    return np.asarray((gauges == UINT8_MAX) | (gauges == UINT16_MAX))


def name(value: float, column: str, amd: bool) -> str:
    """The name of the upstream defect behind a value that was dropped."""
    exact = {
        float(UINT8_MAX): "sentinel_uint8",
        float(UINT16_MAX): "sentinel_uint16",
        float(UINT32_MAX): "sentinel_uint32",
    }
    if amd and value in exact:
        return exact[value]
    if INT32_BLANK <= value < INT32_BLANK + BLANK_FORMS or (amd and value == INT32_MAX):
        return "sentinel_int32"
    if FP64_BLANK <= value < FP64_BLANK + BLANK_FORMS:
        return "sentinel_fp64"
    if value > 2.0**63:
        return "sentinel_uint64"
    if value >= INT64_BLANK:
        return "sentinel_int64"
    return "ratio_out_of_range" if column in ("ratio", "percent") else f"{column}_out_of_range"
