"""Electricity and emissions by region: exact, and unknown where no intensity is known. Pure.

Facility energy is GPU energy x PUE of the cluster. Emissions are facility energy x the intensity that holds for the
region of the cluster on that UTC day. Each edition (vintage) of an intensity is a row of its own.
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
    facility_mj: Fraction
    carbon_g: Fraction | None
    """g CO2e; None: no intensity is known."""


def emissions(energies: Iterable[Energy], clusters: Mapping[str, Cluster], carbon: Sequence[Carbon]) -> list[Emissions]:
    """By country, region and edition."""
    found: dict[tuple[str, str, str | None], tuple[int, Fraction, Fraction]] = {}
    for energy in energies:
        cluster = clusters[energy.cluster]
        intensity = _intensity(carbon, cluster.region, energy.day)
        key = (cluster.country, cluster.region, intensity.vintage if intensity else None)
        gpu_mj, facility_mj, carbon_g = found.get(key, (0, Fraction(0), Fraction(0)))
        drawn_mj = energy.energy_mj * cluster.pue
        found[key] = (
            gpu_mj + energy.energy_mj,
            facility_mj + drawn_mj,
            carbon_g + (drawn_mj / MJ_PER_KWH * intensity.g_per_kwh if intensity else 0),
        )
    return [
        Emissions(country, region, vintage, gpu_mj, facility_mj, None if vintage is None else carbon_g)
        for (country, region, vintage), (gpu_mj, facility_mj, carbon_g) in sorted(
            found.items(), key=lambda entry: (entry[0][:2], entry[0][2] or "")
        )
    ]


def _intensity(carbon: Sequence[Carbon], region: str, day: date) -> Carbon | None:
    """The one that took effect last."""
    known = [entry for entry in carbon if entry.region == region and entry.effective_from <= day]
    return max(known, key=lambda entry: entry.effective_from, default=None)
