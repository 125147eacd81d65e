"""A book for tests of reports: two programmes, three countries, charges written by hand."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.reference import tables
from schemas.config import Config
from schemas.money import nano_to_decimal

JULY = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RECORDED = datetime(2026, 7, 31, tzinfo=UTC)
"""When entries are recorded unless a test says otherwise."""


def config(**sections: Any) -> Config:
    """The reference data, with some sections replaced."""
    return Config.model_validate({**_tables(), **sections})


def record(client: Client, described: Config) -> None:
    """Into history and tables, as if it had been there from the beginning."""
    tables.store(client, described, source="test")
    history = client.query(
        "SELECT * REPLACE (toDateTime64('2025-01-01', 3, 'UTC') AS recorded_at) FROM reference_history"
    )
    client.command("TRUNCATE TABLE reference_history")
    client.insert("reference_history", history.result_rows, column_names=history.column_names)


def charge(agreement: str, at: datetime, subsidy_nano: int, *, cluster: str = "fir", **more: Any) -> dict[str, Any]:
    """One entry of an hour; the cost is half as much again as the subsidy unless it is given."""
    cost_nano = more.pop("cost_nano", subsidy_nano * 3 // 2)
    programme = "fund" if agreement in ("acme", "lab") else "grid" if agreement else ""
    return {
        "period_start": at,
        "period_end": at + HOUR,
        "booked_month": at.date().replace(day=1),
        "revision": 1,
        "recorded_at": RECORDED,
        "kind": "charge",
        "category": "charged" if agreement else "idle",
        "programme": programme,
        "agreement": agreement,
        "cluster": cluster,
        "currency": "GBP" if programme == "grid" else "CAD",
        "cost": nano_to_decimal(cost_nano),
        "subsidy": nano_to_decimal(subsidy_nano),
        "charge": nano_to_decimal(cost_nano - subsidy_nano),
        **more,
    }


def settle(client: Client, entries: Iterable[dict[str, Any]], *hours: datetime, recorded: datetime = RECORDED) -> None:
    """Write entries and the settlement of these hours."""
    _insert(client, "charges", list(entries))
    _insert(
        client,
        "settlements",
        [
            {"period_start": hour, "revision": 1, "recorded_at": max(recorded, hour + HOUR), "status": "final"}
            for hour in hours
        ],
    )


def minute(agreement: str, at: datetime, subsidy_nano: int) -> dict[str, Any]:
    """A line of unit costs."""
    return {
        "minute": at, "cluster": "fir", "model": "big", "agreement": agreement, "programme": "fund", "version": 1,
        "gpu_seconds": Decimal(60), "cost": nano_to_decimal(2 * subsidy_nano),
        "subsidy": nano_to_decimal(subsidy_nano), "charge": nano_to_decimal(subsidy_nano), "currency": "CAD",
    }  # fmt: skip


def meter(client: Client, minutes: Iterable[dict[str, Any]]) -> None:
    """Write unit costs."""
    _insert(client, "unit_costs_store", list(minutes))


def _insert(client: Client, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0]) if rows else []
    if any(list(row) != names for row in rows):  # rows of a test may have columns that others leave out
        for row in rows:
            _insert(client, table, [row])
    elif rows:
        client.insert(table, [list(row.values()) for row in rows], column_names=names)


def _tables() -> dict[str, Any]:
    def agreement(name: str, programme: str, country: str, **more: Any) -> dict[str, Any]:
        rule = {"kind": "cost_share", "share": "2/3"}
        return {
            "id": name, "programme": programme, "recipient": name, "country": country, "rule": rule,
            "starts": date(2026, 1, 1), "ends": date(2026, 12, 31), **more,
        }  # fmt: skip

    return {
        "cluster": [
            {"id": "fir", "country": "CA", "region": "CA-BC", "pue": "1.08"},
            {"id": "elm", "country": "CA", "region": "CA-QC", "operator_country": "US", "pue": "1.3"},
            {"id": "oak", "country": "GB", "region": "GB-ENG", "pue": "1.25"},
            {"id": "ash", "country": "FR", "region": "FR-IDF"},
        ],
        "fx_rate": [
            {"base": "GBP", "quote": "CAD", "rate": "1.7312", "effective_from": "2026-01-01"},
            {"base": "GBP", "quote": "CAD", "rate": "1.75", "effective_from": "2026-07-15"},
        ],
        "programme": [
            {"id": "fund", "budget": "5000", "starts": "2026-01-01", "ends": "2027-12-31"},
            {"id": "grid", "budget": "900", "currency": "GBP", "starts": "2026-01-01", "ends": "2027-12-31"},
        ],
        "agreement": [
            agreement("acme", "fund", "CA", cap="1000", spent_before="100"),
            agreement("lab", "fund", "CA"),
            agreement("brit", "grid", "GB", cap="500"),
        ],
        "carbon": [
            {"region": "CA-BC", "g_per_kwh": "11.3", "vintage": "2023", "effective_from": "2026-01-01"},
            {"region": "CA-BC", "g_per_kwh": "15.5", "vintage": "2024", "effective_from": "2026-07-20"},
            {"region": "GB-ENG", "g_per_kwh": "207.05", "vintage": "2024", "effective_from": "2026-01-01"},
        ],
        "pool": [{"id": "ca-gb", "currencies": {"CA": "CAD", "GB": "GBP"}, "allies": ["FR"]}],
    }
