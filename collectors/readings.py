"""What a reader makes of one page: rows whose labels stay, numbers that change, and the faults that it met.

Between two scrapes of a target the labels of its rows hardly ever change. They are therefore an object of their own,
the *same* object for as long as they stay equal, so that whoever encodes them can do it once.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

GAUGES = ("power_w", "busy", "sm_active", "memory_used_mib", "temperature_c")
WHOLES = ("energy_mj", "xid")
BUSY_SOURCES = ("", "gr_engine_active", "gfx_activity", "gpu_util")
TOKEN_COUNTERS = ("prompt_tokens", "cached_tokens", "generation_tokens", "requests", "started_ms")

LABEL_LENGTH = 512  # longest label that the wire contract allows


class Fault(NamedTuple):
    """Something wrong that a page shows: becomes a defect once time and source are added."""

    kind: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GpuRows:
    """Labels of the rows of one target; the rows of a device stand together. Equal length, one entry per row."""

    node: list[str] = field(default_factory=list)
    device: list[str] = field(default_factory=list)
    slice: list[str] = field(default_factory=list)
    share_num: list[int] = field(default_factory=list)
    share_den: list[int] = field(default_factory=list)
    gpu_model: list[str] = field(default_factory=list)
    namespace: list[str] = field(default_factory=list)
    pod: list[str] = field(default_factory=list)
    job: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One page of a GPU exporter. n rows."""

    vendor: str
    rows: GpuRows
    gauges: NDArray[np.float64]
    """(len(GAUGES), n); NaN = not measured."""
    wholes: NDArray[np.int64]
    """(len(WHOLES), n); -1 = not measured."""
    busy_source: NDArray[np.int32]
    """(n,), index into BUSY_SOURCES."""
    lines: int
    faults: list[Fault]

    def __len__(self) -> int:
        return len(self.rows.device)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Labels of the counters of one target, one entry per row."""

    replica: list[str] = field(default_factory=list)
    model: list[str] = field(default_factory=list)
    team: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TokenReading:
    """One page of an inference server or gateway. n rows."""

    endpoint: str
    deployment: str
    layer: str
    rows: TokenRows
    counters: NDArray[np.int64]
    """(len(TOKEN_COUNTERS), n); -1 = not measured."""
    lines: int
    faults: list[Fault]

    def __len__(self) -> int:
        return len(self.rows.model)


@dataclass(frozen=True, slots=True)
class JobReading:
    """One page of a batch system's exporter: who pays for which job."""

    accounts: dict[str, str]
    lines: int
    faults: list[Fault]

    def __len__(self) -> int:
        return 0


Reading = GpuReading | TokenReading | JobReading


@dataclass(frozen=True, slots=True)
class Origin:
    """Where pages come from: what a reader needs to know of its target."""

    kind: str
    url: str
    """Without credentials and query: safe to log and to send."""
    host: str
    endpoint: str
    """host:port, and the path where it is more than /metrics"""
    deployment: str = ""


class Reader(Protocol):
    """Reads the pages of one target, one after another."""

    def read(self, page: bytes) -> Reading:
        """Raises collectors.exposition.PageError when nothing of the page can be used."""
        ...


def label(text: str) -> str:
    """A label as the wire contract allows it."""
    return text[:LABEL_LENGTH]


def unreadable_faults(names: tuple[str, ...], count: int) -> list[Fault]:
    """One fault for each name among the unreadable lines."""
    return [
        Fault("unreadable_line", name, f"{count} lines of the page could not be read") for name in dict.fromkeys(names)
    ]
