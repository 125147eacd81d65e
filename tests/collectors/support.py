"""What the collectors' tests share: captured pages, origins, small pages of our own making."""

from pathlib import Path

import pytest

from collectors.readings import GAUGES, TOKEN_COUNTERS, WHOLES, GpuReading, Origin, Reading, TokenReading
from collectors.registry import KINDS
from schemas.config import TargetKind

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"


def capture(name: str) -> bytes:
    """A captured page; skips the test where the captures are not at hand."""
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"no captured pages beside the repository ({name})")
    return path.read_bytes()


def origin(kind: str = "dcgm-exporter") -> Origin:
    return Origin(kind, "http://host-1:9400/metrics", "host-1", "host-1:9400", "deployment-1")


def read(kind: TargetKind, page: bytes | str) -> Reading:
    """The page as a fresh reader of that kind reads it."""
    return KINDS[kind].reader(origin(kind)).read(page.encode() if isinstance(page, str) else page)


def gpu(kind: TargetKind, page: bytes | str) -> GpuReading:
    reading = read(kind, page)
    assert isinstance(reading, GpuReading)
    return reading


def tokens(kind: TargetKind, page: bytes | str) -> TokenReading:
    reading = read(kind, page)
    assert isinstance(reading, TokenReading)
    return reading


def gpu_rows(reading: GpuReading) -> list[dict[str, object]]:
    """The rows as dictionaries, with only what was measured or is not empty, busy source by name."""
    sources = ("", "gr_engine_active", "gfx_activity", "gpu_util")
    rows = []
    for at in range(len(reading)):
        labels = {
            "node": reading.rows.node[at],
            "device": reading.rows.device[at],
            "slice": reading.rows.slice[at],
            "share": f"{reading.rows.share_num[at]}/{reading.rows.share_den[at]}",
            "gpu_model": reading.rows.gpu_model[at],
            "namespace": reading.rows.namespace[at],
            "pod": reading.rows.pod[at],
            "job": reading.rows.job[at],
            "busy_source": sources[reading.busy_source[at]],
        }
        row: dict[str, object] = {name: value for name, value in labels.items() if value and value != "1/1"}
        row |= {
            name: value for name, value in zip(GAUGES, reading.gauges[:, at].tolist(), strict=True) if value == value
        }
        row |= {name: value for name, value in zip(WHOLES, reading.wholes[:, at].tolist(), strict=True) if value >= 0}
        rows.append(row)
    return rows


def token_rows(reading: TokenReading) -> list[dict[str, object]]:
    """The rows as dictionaries, with only what was printed or is not empty."""
    rows = []
    for at in range(len(reading)):
        labels = {"replica": reading.rows.replica[at], "model": reading.rows.model[at], "team": reading.rows.team[at]}
        counters = zip(TOKEN_COUNTERS, reading.counters[:, at].tolist(), strict=True)
        row: dict[str, object] = {name: value for name, value in labels.items() if value}
        rows.append(row | {name: value for name, value in counters if value >= 0})
    return rows


def kinds(reading: Reading) -> list[str]:
    """The kinds of the faults that a page showed."""
    return [fault.kind for fault in reading.faults]
