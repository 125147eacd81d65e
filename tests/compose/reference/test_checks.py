"""A correction of the past does not make the ledger wrong: it is right by what was recorded when it was written."""

from decimal import Decimal
from typing import Any

from compose.audit_money import costs_of_device_hours, costs_of_rows, subsidies
from compose.audit_scope import BEGINNING, scope_of
from compose.reference import history, tables
from schemas.config import Config
from streams.reference import Reference
from tests.compose.ledger import Ledger, config, sound


def faults(clickhouse: Any) -> list[int]:
    """Of each audit of money, by what the book has now."""
    client = clickhouse.client
    known = history.config_at(client)
    scope = scope_of(client, known, at_rest=True, since=BEGINNING, rows=1000)
    audits = (costs_of_rows, costs_of_device_hours, subsidies)
    return [result.faults for audit in audits for result in audit(client, scope, Reference(known))]


def corrected() -> Config:
    """Twice the price on fir, and a smaller share for acme, both from the first day on."""
    data = config().model_dump()
    data["price"][0]["per_gpu_hour"] = "7.20"
    data["agreement"][0]["rule"]["share"] = "1/3"
    return Config.model_validate(data)


def store(clickhouse: Any, ledger: Ledger) -> None:
    tables.store(clickhouse.client, config())
    ledger.insert(clickhouse.client)


def test_a_correction_leaves_the_ledger_right(clickhouse: Any) -> None:
    """Rows keep the price that was recorded for them; nothing is at fault before, and nothing after."""
    store(clickhouse, sound())
    assert faults(clickhouse) == [0, 0, 0]
    history.record(clickhouse.client, corrected(), source="fix.toml", origin="applied")
    assert faults(clickhouse) == [0, 0, 0]


def test_an_hour_may_have_both_prices(clickhouse: Any) -> None:
    """A worker that was restarted in the middle of an hour prices the rest of it by the correction."""
    ledger = sound()
    row = next(row for row in reversed(ledger.gpu_usage_store) if row["device"] == "GPU-0" and row["gpu_seconds"] == 60)
    row["cost"] = row["gpu_seconds"] / 500
    store(clickhouse, ledger)
    assert faults(clickhouse) == [1, 1, 0]
    history.record(clickhouse.client, corrected(), source="fix.toml", origin="applied")
    assert faults(clickhouse) == [0, 0, 0]


def test_what_no_price_ever_said_is_found(clickhouse: Any) -> None:
    """Neither the old price nor the new one, neither the old share nor the new one."""
    ledger = sound()
    row = next(row for row in ledger.gpu_usage_store if row["cluster"] == "fir" and row["gpu_seconds"] > 9)
    row["cost"] += Decimal(1)
    line = next(line for line in ledger.unit_costs_store if line["agreement"] == "acme")
    line["subsidy"] += Decimal("0.000000001")
    store(clickhouse, ledger)
    history.record(clickhouse.client, corrected(), source="fix.toml", origin="applied")
    assert faults(clickhouse) == [1, 1, 1]
