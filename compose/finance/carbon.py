"""Electricity and emissions by region: exact, and unknown where no intensity is known. Pure.

Facility energy is GPU energy x PUE of the cluster; not known where one of the clusters has none. Emissions are facility
energy x the intensity that holds for the region of the cluster on that UTC day. Each edition (vintage) of an intensity
is a row of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from schemas.config import Carbon, Cluster

MJ_PER_KWH = 3_600_000_000
"""Millijoules."""


class Energy(NamedTuple):
    """GPU energy of one cluster on one UTC day, whoever used it."""

    day: date
    cluster: str
    energy_mj: int


@dataclass(frozen=True, slots=True)
class Emissions:
    """One region, under one edition of its intensity."""

    country: str
    region: str
    vintage: str | None
    """None: no intensity is known."""
    energy_mj: int
    facility_mj: Fraction | None
    """None: the PUE of a cluster is not known."""
    carbon_g: Fraction | None
    """g CO2e; None: no intensity is known, or no facility energy."""


def emissions(energies: Iterable[Energy], clusters: Mapping[str, Cluster], carbon: Sequence[Carbon]) -> list[Emissions]:
    """By country, region and edition."""
    found: dict[tuple[str, str, str | None], tuple[int, Fraction | None, Fraction | None]] = {}
    for energy in energies:
        cluster = clusters[energy.cluster]
        intensity = _intensity(carbon, cluster.region, energy.day)
        key = (cluster.country, cluster.region, intensity.vintage if intensity else None)
        gpu_mj, facility_mj, carbon_g = found.get(key, (0, Fraction(0), Fraction(0)))
        drawn_mj = None if cluster.pue is None else energy.energy_mj * cluster.pue
        emitted_g = None if drawn_mj is None or intensity is None else drawn_mj / MJ_PER_KWH * intensity.g_per_kwh
        found[key] = gpu_mj + energy.energy_mj, _sum(facility_mj, drawn_mj), _sum(carbon_g, emitted_g)
    return [
        Emissions(*key, *figures)
        for key, figures in sorted(found.items(), key=lambda entry: (entry[0][:2], entry[0][2] or ""))
    ]


def _sum(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    """Not known as soon as a part is not."""
    return None if one is None or other is None else one + other


def _intensity(carbon: Sequence[Carbon], region: str, day: date) -> Carbon | None:
    """The one that took effect last."""
    known = [entry for entry in carbon if entry.region == region and entry.effective_from <= day]
    return max(known, key=lambda entry: entry.effective_from, default=None)
