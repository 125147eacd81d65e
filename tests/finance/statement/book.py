"""A book written by hand: terms and entries of charges, with amounts that the test chooses."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

from clickhouse_connect.driver.client import Client

from schemas.config import Config
from schemas.entries import entries_of

Fields: TypeAlias = dict[str, Any]
"""Columns of a row."""

DEFAULTS: Mapping[str, object] = {
    "revision": 1, "kind": "charge", "reason": "settled", "category": "charged", "programme": "access-fund",
    "agreement": "acme-ai", "cluster": "fir", "deployment": "command-r-plus", "workload": "",
    "model": "cohere/command-r-plus", "sku": "NVIDIA H100 80GB HBM3", "gpu_model": "NVIDIA H100 80GB HBM3", "slice": "",
    "rule": "cost_share 2/3", "price_version": "fir-h100-2026@2026-04-01", "gpu_seconds": Decimal(0),
    "busy_seconds": Decimal(0), "rgu_seconds": Decimal(0), "energy_j": Decimal(0), "counter_seconds": Decimal(0),
    "integrated_seconds": Decimal(0), "bridged_seconds": Decimal(0), "prompt_tokens": 0, "cached_tokens": 0,
    "generation_tokens": 0, "price_currency": "CAD", "currency": "CAD",
}  # fmt: skip

ACME: Mapping[str, object] = {
    "id": "acme-ai",
    "programme": "access-fund",
    "recipient": "Société d’œuvres Acmé inc.",
    "rule": {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2", "elsewhere_until": "2027-03-31"},
    "cap": "1500000",
    "spent_before": "1000.005",
    "starts": "2026-01-01",
    "ends": "2028-03-31",
    "match": [{"namespace": "acme-*"}],
}
ACCESS_FUND: Mapping[str, object] = {
    "id": "access-fund",
    "name": {"en": "AI Compute Access Fund", "fr": "Fonds d’accès à une puissance de calcul pour l’IA"},
    "budget": "300000000",
    "starts": "2025-08-01",
    "ends": "2028-03-31",
}


def terms(*agreements: Mapping[str, object], programmes: tuple[Mapping[str, object], ...] = (ACCESS_FUND,)) -> Config:
    """Reference data with these agreements; default: that of Acme."""
    return Config.model_validate(
        {
            "cluster": [{"id": "fir", "country": "CA"}, {"id": "rorqual", "country": "CA"}],
            "programme": [dict(programme) for programme in programmes],
            "agreement": [dict(agreement) for agreement in agreements or (ACME,)],
        }
    )


def described(client: Client, config: Config, at: datetime) -> None:
    """Reference data as if they had been recorded at `at`."""
    rows = [
        (at, section, name, position, table.model_dump_json(), False, "configuration", "test")
        for position, ((section, name), table) in enumerate(entries_of(config).items())
    ]
    columns = ("recorded_at", "section", "id", "position", "body", "withdrawn", "origin", "source")
    client.insert("reference_history", rows, column_names=columns)


def hour(text: str) -> datetime:
    """A moment such as ``2026-10-01T13`` or ``2026-10-01T13:05``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def entry(
    period: str, cost: Fraction | str | int, subsidy: Fraction | str | int, recorded: str = "", **values: object
) -> dict[str, object]:
    """One entry of an hour; recorded five minutes after it unless said otherwise."""
    start = hour(period)
    exact_cost, exact_subsidy = nine(cost), nine(subsidy)
    return {
        **DEFAULTS,
        "period_start": start,
        "period_end": start + timedelta(hours=1),
        "booked_month": start.date().replace(day=1),
        "recorded_at": hour(recorded) if recorded else start + timedelta(hours=1, minutes=5),
        "price_cost": exact_cost,
        "cost": exact_cost,
        "accrued": exact_subsidy,
        "subsidy": exact_subsidy,
        "charge": exact_cost - exact_subsidy,
        **values,
    }


def write(client: Client, table: str, *rows: Mapping[str, object]) -> None:
    """Add rows that share their columns."""
    columns = list(rows[0])
    client.insert(table, [[row[column] for column in columns] for row in rows], column_names=columns)


def settle(client: Client, *hours: str, status: str = "final", recorded: str = "") -> None:
    """Settlements of hours, ten minutes after them unless said otherwise."""
    write(
        client,
        "settlements",
        *(
            {
                "period_start": hour(one), "revision": 1, "status": status, "reason": "settled", "entries": 1,
                "recorded_at": hour(recorded) if recorded else hour(one) + timedelta(hours=1, minutes=10),
                "reference_at": hour(one), "gpu_seconds": Decimal(0), "energy_j": Decimal(0), "tokens": 0,
            }
            for one in hours
        ),
    )  # fmt: skip


def observed(client: Client, period: str, cluster: str, observed_s: int, expected_s: int, recorded: str = "") -> None:
    """Coverage of an hour."""
    write(
        client,
        "coverage_hourly",
        {
            "period_start": hour(period), "cluster": cluster, "devices": expected_s // 3600,
            "recorded_at": hour(recorded) if recorded else hour(period) + timedelta(hours=1, minutes=10),
            "observed_seconds": Decimal(observed_s), "expected_seconds": Decimal(expected_s),
        },
    )  # fmt: skip


def close(client: Client, month: str, recorded: str) -> None:
    """Close a month such as ``2026-09``."""
    write(
        client,
        "billing_periods",
        {"month": hour(f"{month}-01").date(), "status": "closed", "recorded_at": hour(recorded), "reason": "test"},
    )


def nine(value: Fraction | str | int) -> Decimal:
    """An amount with nine places; it must not have more."""
    nano = Fraction(value) * 10**9
    assert nano.denominator == 1
    return Decimal(int(nano)).scaleb(-9)
