"""What each relation of the book is about, and who may read it.

Two questions are kept apart. A role says which relations and columns somebody may read: GRANTS. A reader who is bound
to clusters or programmes sees, of each table, only the rows about those: TABLES says how a row shows what it is about.
Views run with the rights of who asks (SQL SECURITY INVOKER), so both hold through them.

A table that is not listed here can be read by nobody but analysts who are not bound; a test compares with the engine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["finance", "operations", "analysts"]
ROLES: tuple[Role, ...] = ("finance", "operations", "analysts")

DATABASE = "commonwatt"

OPEN = "1"
"""Condition of rows that everybody who may read the table may see."""
HIDDEN = "0"

_BY_AGREEMENT = "agreement IN (SELECT id FROM commonwatt.agreements FINAL WHERE programme IN ({ids}))"


@dataclass(frozen=True, slots=True)
class Table:
    """SQL conditions under which a row belongs to the clusters, and to the programmes, `{ids}`.

    None: that is no question here, and the other one decides alone; who is bound by nothing else sees no row.
    """

    cluster: str | None = HIDDEN
    programme: str | None = HIDDEN


_CLUSTER = "cluster IN ({ids})"
_PROGRAMME = "programme IN ({ids})"
_COMMON = Table(OPEN, OPEN)

TABLES: Mapping[str, Table] = {
    # What was measured. Devices that nobody holds, and samples before they are attributed, are no programme's.
    "gpu_series": Table(_CLUSTER),
    "gpu_samples_store": Table("series IN (SELECT series FROM commonwatt.gpu_series WHERE cluster IN ({ids}))"),
    "gpu_usage_store": Table(_CLUSTER, _BY_AGREEMENT),
    "gpu_usage_late": Table(_CLUSTER, _BY_AGREEMENT),
    "gpu_usage_hourly_store": Table(_CLUSTER, _BY_AGREEMENT),
    "token_usage_store": Table(_CLUSTER, _BY_AGREEMENT),
    "fleet_hourly_store": Table(_CLUSTER),
    # What it costs.
    "unit_costs_store": Table(_CLUSTER, _PROGRAMME),
    "costs_hourly_store": Table(_CLUSTER, _PROGRAMME),
    "costs_daily_store": Table(_CLUSTER, _PROGRAMME),
    "charges": Table(_CLUSTER, _PROGRAMME),
    # Of agreements as a whole: their money is spent on clusters of others too.
    "subsidy_burn_store": Table(programme=_PROGRAMME),
    "subsidy_forecasts": Table(programme=_PROGRAMME),
    "agreements": Table(None, _PROGRAMME),
    "programmes": Table(None, "id IN ({ids})"),
    "reference_history": Table(),  # whole entries of every section
    # How well it is measured.
    "alerts": Table(_CLUSTER, _BY_AGREEMENT),
    "coverage_hourly": Table(_CLUSTER, OPEN),
    "data_quality": Table(_CLUSTER),
    "quarantine_store": Table(_CLUSTER),
    "telemetry_messages_store": Table("splitByChar('/', toString(shard))[1] IN ({ids})"),
    # Places and prices: who pays for usage may know what it is priced at.
    "clusters": Table("id IN ({ids})", OPEN),
    "deployments": Table(_CLUSTER, f"({_BY_AGREEMENT} OR shared)"),
    "prices": Table(_CLUSTER, OPEN),
    # What holds for all, and what says nothing about anybody.
    "billing_periods": _COMMON,
    "carbon_intensity": _COMMON,
    "fx_rates": _COMMON,
    "pools": _COMMON,
    "quarantine_replays": _COMMON,
    "rgu_weights": _COMMON,
    "rollups": _COMMON,
    "schema_migrations": _COMMON,
    "settlement_leases": _COMMON,
    "settlements": _COMMON,  # which hours are settled; the columns with totals of the fleet are not granted
}

VIEWS: Mapping[str, tuple[str, ...]] = {
    "agreement_spend": ("agreements", "charges", "programmes", "settlements", "unit_costs"),
    "agreement_state": (
        "agreements", "costs_daily_store", "costs_hourly_store", "programmes", "rollups", "subsidy_burn",
        "subsidy_burn_store", "subsidy_forecasts", "unit_costs_store",
    ),
    "charges_hourly": ("charges",),
    "costs_daily": ("costs_daily_store", "costs_hourly_store", "rollups", "unit_costs"),
    "costs_hourly": ("costs_hourly_store", "rollups", "unit_costs"),
    "energy_by_region": ("carbon_intensity", "charges", "clusters"),
    "fleet_hourly": ("fleet_hourly_store", "rollups"),
    "gpu_samples": ("gpu_samples_store", "gpu_series"),
    "gpu_usage": ("gpu_usage_store",),
    "gpu_usage_hourly": ("gpu_usage", "gpu_usage_hourly_store", "rollups"),
    "pool_usage": ("agreements", "charges", "clusters"),
    "quarantine": ("quarantine_replays", "quarantine_store"),
    "subsidy_burn": ("subsidy_burn_store",),
    "telemetry_messages": ("telemetry_messages_store",),
    "token_usage": ("token_usage_store",),
    "unit_costs": ("unit_costs_store",),
}  # fmt: skip
"""What each view reads. Who may read a view must be allowed to read that too."""

Columns = tuple[str, ...]
Grants = Mapping[str, Columns]
"""Relation -> the columns that may be read; none named = all of them."""

_WHEN_SETTLED = ("period_start", "revision", "recorded_at", "status", "reason", "reference_at")
"""Columns of `settlements` without totals of the whole fleet."""

_HELD = (
    "cluster", "device", "slice", "vendor", "gpu_model", "workload", "deployment", "agreement", "gpu_seconds",
    "energy_j", "busy_seconds", "busy_known_seconds", "cost", "currency",
)  # fmt: skip
"""What was held, by what is priced as one line, and what it cost; neither where it ran nor under which names there."""
_USAGE = (*_HELD, "minute", "ts_start", "ts_end", "samples", "method", "price_version")
_USAGE_BY_HOUR = (*_HELD, "period_start")

_FINANCE: Grants = {
    **dict.fromkeys(
        (
            "agreement_spend", "agreement_state", "agreements", "alerts", "billing_periods", "carbon_intensity",
            "charges", "charges_hourly", "clusters", "costs_daily", "costs_hourly", "coverage_hourly", "deployments",
            "energy_by_region", "fx_rates", "pool_usage", "pools", "prices", "programmes", "reference_history",
            "rgu_weights", "settlements", "subsidy_burn", "subsidy_forecasts", "unit_costs",
        ),
        (),
    ),
    "gpu_usage": _USAGE,
    "gpu_usage_store": _USAGE,
    "gpu_usage_hourly": _USAGE_BY_HOUR,
    "gpu_usage_hourly_store": _USAGE_BY_HOUR,
}  # fmt: skip

_OPERATIONS: Grants = {
    **dict.fromkeys(
        (
            "alerts", "carbon_intensity", "clusters", "costs_daily", "costs_hourly", "coverage_hourly", "data_quality",
            "deployments", "fleet_hourly", "fx_rates", "gpu_samples", "gpu_series", "gpu_usage", "gpu_usage_hourly",
            "gpu_usage_late", "quarantine", "quarantine_replays", "rgu_weights", "settlements", "telemetry_messages",
            "token_usage", "unit_costs",
        ),
        (),
    ),
    # Whom an agreement is with, but not its terms, and what a programme is called, but not its budget.
    "agreements": ("id", "programme", "recipient", "starts", "ends"),
    "programmes": ("id", "name_en", "name_fr", "currency"),
}  # fmt: skip

_GRANTS: Mapping[Role, Grants] = {
    "finance": _FINANCE,
    "operations": _OPERATIONS,
    "analysts": dict.fromkeys((*TABLES, *VIEWS), ()),
}


def grants(role: Role, *, bound: bool) -> dict[str, Columns]:
    """What a role may read, in alphabetical order, with what whole views need: of a view with some of its columns the
    engine reads those alone, so what is below is listed with as many.

    Who is bound to clusters or programmes may not read totals of the whole fleet either.
    """
    granted = dict(_GRANTS[role])
    for name in [name for name, columns in granted.items() if name in VIEWS and not columns]:
        granted |= dict.fromkeys(_needed(name), ())
    if bound and "settlements" in granted:
        granted["settlements"] = _WHEN_SETTLED
    return dict(sorted(granted.items()))


def _needed(view: str) -> Iterator[str]:
    """What a view reads, and what that reads."""
    for name in VIEWS[view]:
        yield name
        if name in VIEWS:
            yield from _needed(name)


def sql(granted: Grants) -> str:
    """`SELECT … ON …, SELECT … ON …`, as it stands in GRANT."""
    return ", ".join(
        f"SELECT{'(' * bool(columns)}{', '.join(columns)}{')' * bool(columns)} ON {DATABASE}.{name}"
        for name, columns in granted.items()
    )
