"""Addresses of simulated exporters: ``<base>/<cluster>/<node, replica or gateway>/<exporter>/metrics``.

In ``demo.toml`` the base is ``http://simulator`` and one address may stand for many: ``a100-[001-010]``. A node that is
smaller than its pool's nodes says so: ``...metrics?gpus=2``.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

HOST = "simulator"
"""Host of an address that waits to be expanded."""
_RANGE = re.compile(r"^(?P<stem>.+-)\[(?P<low>\d+)-(?P<high>\d+)\]$")
_NUMBERED = re.compile(r"^(?P<stem>.+)-(?P<number>\d+)$")


@dataclass(frozen=True, slots=True)
class Address:
    """One target of the fabric. `name` is a node, a replica (`<deployment>-<n>`) or a gateway."""

    cluster: str
    name: str
    exporter: str
    gpus: int | None = None

    @property
    def path(self) -> str:
        """As it stands in a URL, with the query."""
        query = "" if self.gpus is None else f"?gpus={self.gpus}"
        return f"/{self.cluster}/{self.name}/{self.exporter}/metrics{query}"


@dataclass(frozen=True, slots=True)
class Range:
    """A numbered family of names: ``a100-[001-010]`` is stem ``a100-``, 10 members, width 3, first 1."""

    stem: str
    first: int
    count: int
    width: int

    def name(self, index: int) -> str:
        """The index-th member's name."""
        return f"{self.stem}{self.first + index:0{self.width}d}"


def parse(url: str) -> Address:
    """Read one address. Raises ValueError when it is not one of the simulator's."""
    parts = urlsplit(url)
    steps = parts.path.strip("/").split("/")
    gpus = parse_qs(parts.query).get("gpus")
    if len(steps) != 4 or steps[3] != "metrics" or (gpus and not gpus[0].isdigit()):
        raise ValueError(f"{url}: a simulated target is <base>/<cluster>/<name>/<exporter>/metrics")
    return Address(steps[0], steps[1], steps[2], int(gpus[0]) if gpus else None)


def parse_range(name: str) -> Range | None:
    """The family that a bracketed name stands for; None for a single name."""
    match = _RANGE.match(name)
    if not match:
        return None
    low, high = int(match["low"]), int(match["high"])
    if high < low:
        raise ValueError(f"{name}: the range is empty")
    return Range(match["stem"], low, high - low + 1, len(match["low"]))


def stem_of(name: str) -> str:
    """Pool of a node (``h100-003`` -> ``h100``), deployment of a replica; bracketed names too."""
    family = parse_range(name)
    if family:
        return family.stem.removesuffix("-")
    match = _NUMBERED.match(name)
    return match["stem"] if match else name


def waits(url: str) -> bool:
    """Whether the address still has to be expanded."""
    return urlsplit(url).hostname == HOST
