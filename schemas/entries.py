"""Entries of a configuration that are reference data, and the name that each has in its section."""

from collections.abc import Iterable
from typing import Any

from schemas.config import Agreement, Carbon, Cluster, Config, Deployment, Finance, FxRate, Pool, Price, Programme, Rgu
from schemas.config_section import Section

SECTIONS: dict[str, type[Section]] = {
    "cluster": Cluster, "deployment": Deployment, "price": Price, "fx_rate": FxRate, "programme": Programme,
    "agreement": Agreement, "rgu": Rgu, "carbon": Carbon, "pool": Pool, "finance": Finance,
}  # fmt: skip
"""Sections of the configuration that are reference data, and what an entry of each is."""

Key = tuple[str, str]
"""Section, and name of the entry in it."""


def name_of(table: Section) -> str:
    """Name of an entry in its section: its id, or what tells it from the others, such as ``USD/CAD@2026-01-01``."""
    match table:
        case FxRate():
            return f"{table.base}/{table.quote}@{table.effective_from}"
        case Rgu():
            return f"{table.gpu_model}{'/' * bool(table.slice)}{table.slice}@{table.effective_from}"
        case Carbon():
            return f"{table.region}@{table.effective_from}"
        case Finance():
            return "finance"
        case _:
            return str(table.model_dump(include={"id"})["id"])


def entries_of(config: Config) -> dict[Key, Section]:
    """The reference data of a configuration, in its order."""
    found: dict[Key, Section] = {}
    for section in SECTIONS:
        value = getattr(config, section)
        for table in value if isinstance(value, list) else [value]:
            found[section, name_of(table)] = table
    return found


def config_of(entries: Iterable[tuple[Key, Section]]) -> Config:
    """The configuration with these entries, in their order."""
    sections: dict[str, Any] = {}
    for (section, _), table in entries:
        if isinstance(table, Finance):
            sections[section] = table
        else:
            sections.setdefault(section, []).append(table)
    return Config.model_validate(sections)
