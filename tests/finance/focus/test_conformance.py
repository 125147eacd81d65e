"""Each rule of the specification is seen to be broken where it is broken, with the row."""

import csv
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compose.finance.focus.conformance import check
from compose.finance.focus.export import export
from compose.options import Mistake
from tests.conftest import ClickHouse
from tests.finance.focus import month

Rows = list[dict[str, str]]
Spoil = Callable[[Rows], None]


@pytest.fixture
def conforming(clickhouse: ClickHouse, tmp_path: Path) -> tuple[Path, Path]:
    """CostAndUsage and BillingPeriod of the month, as CSV."""
    month.insert(clickhouse.client, month.entries())
    first, second = export(clickhouse.client, month.booked(), "csv", tmp_path)
    return first.path, second.path


def _read(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_MINIMAL)
        writer.writeheader()
        writer.writerows(rows)


def _first(rows: Rows, column: str, value: str = "") -> dict[str, str]:
    return next(row for row in rows if (row[column] == value if value else row[column]))


def _set(column: str, value: str, where: str = "ChargeCategory", equals: str = "Usage") -> Spoil:
    """Spoil a column in the first row where another one has a value, and that corrects nothing."""

    def spoil(rows: Rows) -> None:
        _first([row for row in rows if not row["ChargeClass"]], where, equals)[column] = value

    return spoil


def _without(column: str) -> Spoil:
    def spoil(rows: Rows) -> None:
        for row in rows:
            del row[column]

    return spoil


def _with(column: str) -> Spoil:
    def spoil(rows: Rows) -> None:
        for row in rows:
            row[column] = "1"

    return spoil


SPOILT: dict[str, list[Spoil]] = {
    "BilledCost-present": [_without("BilledCost")],
    "columns-custom": [_with("EnergyJoules")],
    "columns-order": [_with("Zebra")],
    "BilledCost-null": [_set("BilledCost", "")],
    "BilledCost-type": [_set("BilledCost", "1E-9"), _set("BilledCost", "1,000.5"), _set("BilledCost", "+1")],
    "ChargePeriodStart-type": [_set("ChargePeriodStart", "2026-10-01 00:00:00")],
    "ChargeCategory-value": [_set("ChargeCategory", "Subsidy")],
    "ServiceSubcategory-of-category": [_set("ServiceSubcategory", "Containers", "ServiceName", "org/chat")],
    "BillingCurrency-format": [_set("BillingCurrency", "cad")],
    "BillingPeriodEnd-after-start": [_set("BillingPeriodEnd", "2026-10-01T00:00:00Z")],
    "ChargePeriodEnd-after-start": [_set("ChargePeriodEnd", "2026-10-01T00:00:00Z")],
    "ChargePeriod-in-billing-period": [_set("ChargePeriodStart", "2026-09-30T23:00:00Z")],
    "ChargeClass-of-earlier-period": [_set("ChargeClass", "Correction")],
    "ConsumedQuantity-of-usage": [_set("ConsumedQuantity", "")],
    "ConsumedQuantity-of-others": [_set("ConsumedQuantity", "1", equals="Credit")],
    "ConsumedUnit-with-ConsumedQuantity": [_set("ConsumedUnit", "")],
    "PricingQuantity-of-usage": [_set("PricingQuantity", "")],
    "PricingQuantity-of-tax": [_set("ChargeCategory", "Tax")],
    "PricingQuantity-needs-SkuPriceId": [_set("SkuPriceId", "")],
    "PricingUnit-with-PricingQuantity": [_set("PricingUnit", "")],
    "SkuId-of-usage": [_set("SkuId", "")],
    "SkuMeter-needs-SkuId": [_set("SkuId", "")],
    "SkuPriceId-of-usage": [_set("SkuPriceId", "")],
    "SkuPriceDetails-needs-SkuPriceId": [_set("SkuPriceId", "")],
    "PricingCategory-of-usage": [_set("PricingCategory", "")],
    "EffectiveCost-of-credit": [_set("EffectiveCost", "0", equals="Credit")],
    "EffectiveCost-of-usage": [_set("EffectiveCost", "0")],
    "ContractedCost-of-credit": [_set("ContractedCost", "0", equals="Credit")],
    "BilledCost-of-credit": [_set("BilledCost", "1", equals="Credit")],
    "ResourceType-with-ResourceId": [_set("ResourceType", "")],
    "RegionName-with-RegionId": [_set("RegionId", "")],
    "InvoiceDetailId-with-InvoiceId": [_set("InvoiceDetailId", "", "BillingAccountId", "acme")],
    "InvoiceId-one-account": [_set("InvoiceId", "fund/lab/2026-10", "BillingAccountId", "acme")],
    "SkuPriceId-one-SkuId": [_set("SkuId", "other")],
    "AllocatedResourceId-needs-AllocatedMethodId": [_set("AllocatedMethodId", "", "AllocatedResourceId", "lab")],
    "AllocatedResourceName-with-AllocatedResourceId": [_set("AllocatedResourceId", "", "AllocatedResourceId", "lab")],
    "AllocatedRatio-sum": [_set("AllocatedMethodDetails", "", "AllocatedResourceId", "lab")],
    "AllocatedMethodDetails-json": [
        _set("AllocatedMethodDetails", '{"Elements":[{"UsageUnit":"Tokens"}]}', "AllocatedResourceId", "lab")
    ],
    "Tags-json": [_set("Tags", "[1]"), _set("Tags", '{"a":{"b":1}}'), _set("Tags", '{"a":1,"a":2}')],
    "SkuPriceDetails-json": [_set("SkuPriceDetails", '{"GpuModel":"H100"}')],
}


@pytest.mark.parametrize("rule", SPOILT)
def test_a_broken_rule_is_found(conforming: tuple[Path, Path], rule: str) -> None:
    """Each way to break it is; the file conforms before."""
    path = conforming[0]
    assert check(path) == []
    rows = _read(path)
    for spoil in SPOILT[rule]:
        spoilt = [dict(row) for row in rows]
        spoil(spoilt)
        _write(path, spoilt)
        assert rule in [broken.rule for broken in check(path)]


def test_broken_rows_are_counted_and_named(conforming: tuple[Path, Path]) -> None:
    """The first rows by number, and how many there are."""
    rows = _read(conforming[0])
    for row in rows[2:9]:
        row["BillingCurrency"] = "cad"
    _write(conforming[0], rows)
    (broken,) = (each for each in check(conforming[0]) if each.rule == "BillingCurrency-format")
    assert (broken.count, broken.rows) == (7, [3, 4, 5, 6, 7])
    assert str(broken).endswith("(7 rows: 3, 4, 5, 6, 7, …)")


def test_billing_periods_have_rules_of_their_own(conforming: tuple[Path, Path]) -> None:
    """Updated before it was created, and twice for one issuer."""
    rows = _read(conforming[1])
    assert check(conforming[1]) == []
    rows[0]["BillingPeriodLastUpdated"] = "2020-01-01T00:00:00Z"
    rows[1]["BillingPeriodStatus"] = "Frozen"
    _write(conforming[1], [*rows, rows[0]])
    assert {broken.rule for broken in check(conforming[1])} == {
        "BillingPeriodLastUpdated-order", "BillingPeriod-once", "BillingPeriodStatus-value"
    }  # fmt: skip


def test_types_of_parquet_are_checked(tmp_path: Path) -> None:
    """A cost as a float is no Decimal, a moment without UTC no moment, and an empty text is no null."""
    table = pa.table({"BilledCost": [1.5], "ChargePeriodStart": pa.array([0], pa.timestamp("ms")), "ServiceName": [""]})
    pq.write_table(table, tmp_path / "x.parquet")
    rules = {broken.rule for broken in check(tmp_path / "x.parquet")}
    assert {"BilledCost-type", "ChargePeriodStart-type", "ServiceName-empty", "EffectiveCost-present"} <= rules


def test_a_file_that_is_none_is_a_mistake(tmp_path: Path) -> None:
    """One sentence, not a traceback."""
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    (tmp_path / "x.json").write_bytes(b"nothing")
    for name in ("x.parquet", "missing.csv", "x.json"):
        with pytest.raises(Mistake, match="cannot be read"):
            check(tmp_path / name)
