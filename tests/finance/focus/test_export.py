"""The FOCUS files of a month say what the charges say, to the nano-unit, in both formats, and stay what they were."""

import csv
import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from compose.finance.focus import export as exporting
from compose.finance.focus.columns import COST_AND_USAGE
from compose.finance.focus.commands import group
from compose.finance.focus.conformance import check
from compose.finance.focus.export import Format, export
from compose.finance.focus.rows import Booked
from compose.options import Mistake
from compose.reference.history import record
from schemas.config import Config
from schemas.money import split
from tests.conftest import ClickHouse
from tests.finance.focus import month

Row = dict[str, Any]


@pytest.fixture
def book(clickhouse: ClickHouse) -> ClickHouse:
    """The month is recorded."""
    month.insert(clickhouse.client, month.entries())
    month.observe(clickhouse.client)
    return clickhouse


def _files(book: ClickHouse, folder: Path, format_: Format = "csv", until: datetime = month.LATER) -> list[Path]:
    return [written.path for written in export(book.client, month.booked(until), format_, folder)]


def _rows(path: Path) -> list[Row]:
    """The rows, in the types of the columns, nothing as None."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    with path.open(encoding="utf-8", newline="") as file:
        return [_typed(row) for row in csv.DictReader(file)]


def _typed(row: dict[str, str]) -> Row:
    kinds = {column.name: column.kind for column in COST_AND_USAGE}
    typed: Row = {}
    for name, text in row.items():
        typed[name] = text or None
        if text and kinds.get(name) == "Decimal":
            typed[name] = Decimal(text)
        if text and kinds.get(name) == "DateTime":
            typed[name] = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return typed


def _sum(rows: list[Row], column: str) -> Fraction:
    return sum((Fraction(row[column]) for row in rows if row[column] is not None), Fraction())


def _only(rows: list[Row], **wanted: Any) -> Row:
    (found,) = (row for row in rows if all(row[name] == value for name, value in wanted.items()))
    return found


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_the_files_add_up_to_the_charges(book: ClickHouse, tmp_path: Path, format_: Format) -> None:
    """Per account, category and quantity the sums are those of the journal, to the nano-unit."""
    rows = _rows(_files(book, tmp_path, format_)[0])
    entries = month.entries()
    of_account: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_account[row["BillingAccountId"]].append(row)
    for agreement in {entry["agreement"] for entry in entries} - {""}:
        charged = sum(Fraction(entry["charge"]) for entry in entries if entry["agreement"] == agreement)
        assert _sum(of_account[agreement], "BilledCost") == charged, agreement
    usage = [row for row in rows if row["ChargeCategory"] == "Usage"]
    credit = [row for row in rows if row["ChargeCategory"] == "Credit"]
    assert _sum(usage, "EffectiveCost") == sum(Fraction(entry["cost"]) for entry in entries)
    assert _sum(credit, "EffectiveCost") == -sum(Fraction(entry["subsidy"]) for entry in entries)
    assert len(usage) + len(credit) == len(rows)
    for column, source in {
        "x_EnergyJoules": "energy_j", "x_GpuSeconds": "gpu_seconds", "x_RguSeconds": "rgu_seconds",
        "x_BusySeconds": "busy_seconds", "x_TokensIn": "prompt_tokens", "x_TokensInCached": "cached_tokens",
        "x_TokensOut": "generation_tokens",
    }.items():  # fmt: skip
        assert _sum(rows, column) == sum(Fraction(entry[source]) for entry in entries), column
    invoice = [row for row in rows if row["InvoiceId"] == "fund/lab/2026-10"]
    assert _sum(invoice, "BilledCost") == sum(Fraction(e["charge"]) for e in entries if e["agreement"] == "lab")


def test_both_formats_have_the_same_rows(book: ClickHouse, tmp_path: Path) -> None:
    """Row for row and column for column, in the order of the columns; a name with quotes and commas included."""
    as_csv, as_parquet = (_rows(_files(book, tmp_path, format_)[0]) for format_ in ("csv", "parquet"))
    assert as_csv == as_parquet
    assert list(as_csv[0]) == [column.name for column in COST_AND_USAGE]
    assert {row["BillingAccountName"] for row in as_csv} >= {'Acme "AI", Inc.', "Laboratoire d'été"}


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_the_files_conform(book: ClickHouse, tmp_path: Path, format_: Format) -> None:
    """No rule of the specification is broken in any of the files."""
    for path in _files(book, tmp_path, format_):
        assert [str(broken) for broken in check(path)] == []


def test_every_line_is_its_own_rows(book: ClickHouse, tmp_path: Path) -> None:
    """Usage with its cost, Credit with the subsidy; revisions of an open month are part of the row they revise."""
    rows = _rows(_files(book, tmp_path)[0])
    line = {
        "BillingAccountId": "acme",
        "ResourceName": "acme/train",
        "ChargePeriodStart": month.START,
        "ChargeClass": None,
    }
    usage, credit = (_only(rows, **line, ChargeCategory=category) for category in ("Usage", "Credit"))
    assert usage["BilledCost"] == usage["ListCost"] == Decimal("3.000000010")
    assert usage["ConsumedQuantity"] == usage["PricingQuantity"] == 1
    assert usage["x_GpuSeconds"] == Decimal("3600.000000001")
    assert usage["x_CoveragePct"] == Decimal("66.666666667")
    assert usage["x_SubsidyRate"] == Decimal("0.666666667")
    assert usage["SubAccountId"] == "acme"
    assert (usage["SkuPriceId"], usage["x_PriceVersion"]) == (f"{month.H100}/fir-h100", "fir-h100@2026-04-01")
    assert credit["BilledCost"] == Decimal("-2.000000007")
    assert credit["InvoiceIssuerName"] == "AI Compute Fund"
    assert all(credit[name] is None for name in ("ConsumedQuantity", "PricingQuantity", "x_EnergyJoules", "x_TokensIn"))
    # Nothing came of the price that was replaced; a slice has a third of a minute as nine places of an hour.
    sliced = [row for row in rows if row["ResourceName"] == "lab/x" and row["ChargeCategory"] == "Usage"]
    assert [(row["ConsumedQuantity"], row["x_MeasureMethod"]) for row in sliced] == [(Decimal("0.008333333"), "mixed")]
    assert sliced[0]["SkuPriceId"].endswith("/3g.40gb/fir-h100/night")


def test_support_of_what_another_left_is_credit_alone(book: ClickHouse, tmp_path: Path) -> None:
    """An agreement that comes after another has no usage of its own."""
    (row,) = (row for row in _rows(_files(book, tmp_path)[0]) if row["BillingAccountId"] == "acme-top")
    assert (row["ChargeCategory"], row["BilledCost"], row["x_SubsidyRate"]) == ("Credit", Decimal("-0.4"), None)


def test_currencies_of_price_and_programme(book: ClickHouse, tmp_path: Path) -> None:
    """What is priced in CAD and paid in USD shows both; a cluster without a region or an operator shows what it has."""
    row = _only(_rows(_files(book, tmp_path)[0]), ResourceName="job-7", ChargeCategory="Usage")
    assert (row["BillingCurrency"], row["BilledCost"]) == ("USD", Decimal("0.96"))
    assert (row["PricingCurrency"], row["PricingCurrencyEffectiveCost"]) == ("CAD", Decimal("1.3"))
    assert (row["RegionId"], row["HostProviderName"], row["SubAccountId"]) == ("FR", "reims", None)


def test_tokens_without_a_device_are_counted_in_tokens(book: ClickHouse, tmp_path: Path) -> None:
    """Their row has a quantity and no cost."""
    row = _only(_rows(_files(book, tmp_path)[0]), SkuId="tokens")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"], row["BilledCost"]) == (42, "Tokens", 0)
    assert (row["SkuPriceId"], row["SkuMeter"], row["ServiceName"]) == ("tokens/unpriced", "Tokens", "org/own")


def test_what_nobody_pays_is_on_no_invoice(book: ClickHouse, tmp_path: Path) -> None:
    """Idle and unattributed cost is the operator's."""
    free = [row for row in _rows(_files(book, tmp_path)[0]) if row["x_CostCategory"] != "charged"]
    assert {row["InvoiceId"] for row in free} == {None}
    assert {row["BillingAccountId"] for row in free} == {"operator/fir"}
    assert _sum(free, "BilledCost") == Fraction(Decimal("3.500000003"))
    assert {row["x_CostCategory"] for row in free} == {"idle", "unattributed"}


def test_a_shared_deployment_is_split(book: ClickHouse, tmp_path: Path) -> None:
    """Each part names its agreement, the rest nobody; the ratios are the split of 1 by cost, or by device time."""
    rows = [row for row in _rows(_files(book, tmp_path)[0]) if row["AllocatedMethodId"]]
    now = [row for row in rows if not row["ChargeClass"]]
    details = [json.loads(row["AllocatedMethodDetails"], parse_float=Decimal)["Elements"] for row in now]
    ratios = [(row["ChargePeriodStart"], row["AllocatedResourceId"], Decimal(d[0]["AllocatedRatio"]))
              for row, d in zip(now, details, strict=True)]  # fmt: skip
    first = [ratio for start, _, ratio in ratios if start == month.START]
    expected = split(10**9, [1_000_000_001] * 3 + [500_000_000])
    assert sorted(first) == sorted(Decimal(part).scaleb(-9) for part in expected)
    assert sum(first) == 1
    assert [each for each in ratios if each[0] != month.START] == [
        (month.START + month.HOUR, "acme", Decimal("0.5")), (month.START + month.HOUR, "lab", Decimal("0.5"))
    ]  # fmt: skip
    assert {(d[0]["UsageUnit"], d[0]["UsageQuantity"]) for d in details} == {
        ("Tokens", 101), ("Tokens", 8), ("Tokens", 4), ("Tokens", 0)
    }  # fmt: skip
    rest = _only(now, AllocatedResourceId=None)
    assert (rest["x_CostCategory"], rest["AllocatedTags"]) == ("idle", None)
    assert {row["ResourceId"] for row in rows} == {"fir/chat"}
    beta = _only(now, AllocatedResourceId="beta")
    assert json.loads(beta["AllocatedTags"]) == {"commonwatt/agreement": "beta", "commonwatt/programme": "pool"}


def test_corrections_are_of_their_hour_and_in_the_open_month(book: ClickHouse, tmp_path: Path) -> None:
    """ChargePeriod is the hour that was corrected; the reason is told; a moved share has no ratio."""
    corrections = [row for row in _rows(_files(book, tmp_path)[0]) if row["ChargeClass"] == "Correction"]
    assert len(corrections) == 6
    for row in corrections:
        assert row["ChargePeriodStart"] == datetime(2026, 9, 30, 23, tzinfo=UTC)
        assert row["BillingPeriodStart"] == month.START
        assert row["ChargeDescription"].endswith("; correction: late data")
        assert row["AllocatedMethodDetails"] is None
    assert _sum(corrections, "BilledCost") == Fraction(Decimal("0.1")) - Fraction(Decimal("1.000000001"))


def test_a_credit_says_in_words_what_the_programme_pays(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """Of each rule, and where another agreement pays first; the rule as it is called stays in its own column."""
    remainder = {"kind": "cost_share", "share": "1/2", "of": "remainder"}
    terms = month.config().model_dump()
    terms["agreement"].append(terms["agreement"][3] | {"id": "acme-rest", "after": "acme-top", "rule": remainder})
    said = {
        ("acme", "cost_share 1/2"): "1/2 of the cost",
        ("acme", "cost_share 1"): "all of the cost",
        ("acme", "token_price"): "what exceeds the recipient's price of tokens",
        ("acme", "credits gpu_hours"): "all of the cost, out of credits",
        ("acme", "a rule of later"): "a rule of later",
        ("acme-top", "after acme, cost_share 2/3"): "2/3 of the cost, after acme",
        ("acme-top", "after acme, credits amount"): "all of the remainder, out of credits, after acme",
        ("acme-rest", "after acme, cost_share 1/2"): "1/2 of the remainder, after acme",
        ("acme-rest", "after acme, cost_share 1"): "all of the remainder, after acme",
    }
    month.insert(clickhouse.client, [month.entry(agreement, rule=rule) for agreement, rule in said])
    booked = Booked(month.MONTH, month.LATER, Config.model_validate(terms))
    rows = _rows(export(clickhouse.client, booked, "csv", tmp_path)[0].path)
    found = {
        (row["x_SubsidyAgreementId"], row["x_SubsidyRule"]): row["ChargeDescription"]
        for row in rows
        if row["ChargeCategory"] == "Credit"
    }
    assert found == {key: f"Support by AI Compute Fund: {words}" for key, words in said.items()}


def test_numbers_are_plain(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """Neither exponents nor separators, however small or large an amount is."""
    amounts = {"a": Decimal("0.000000001"), "b": Decimal("12345678901234567.000000001")}
    month.insert(
        clickhouse.client,
        [month.entry(workload=f"{name}/x", cost=cost, price_cost=cost) for name, cost in amounts.items()],
    )
    text = _files(clickhouse, tmp_path)[0].read_text()
    assert ",0.000000001," in text
    assert ",12345678901234567.000000001," in text


def test_an_export_as_of_a_moment_never_changes(book: ClickHouse, tmp_path: Path) -> None:
    """What is recorded later changes the newest export, and not a byte of the earlier one; pieces do not matter."""
    before = [path.read_bytes() for path in _files(book, tmp_path / "before")]
    month.insert(book.client, [month.entry(kind="revision", recorded_at=month.LATER + month.HOUR, cost=Decimal(7))])
    book.client.insert(
        "billing_periods", [[month.MONTH, "closed", month.LATER + month.HOUR, "month ended"]],
        column_names=["month", "status", "recorded_at", "reason"],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "_PIECE_ENTRIES", 1)
        patch.setattr(exporting, "_SLICE_ROWS", 3)
        assert [path.read_bytes() for path in _files(book, tmp_path / "again")] == before
    newest = _files(book, tmp_path / "newest", until=month.LATER + month.HOUR)
    assert newest[0].read_bytes() != before[0]
    assert {row["BillingPeriodStatus"] for row in _rows(newest[1])} == {"Closed"}


def test_billing_periods_are_those_of_the_issuers(book: ClickHouse, tmp_path: Path) -> None:
    """One row for each, open until the month is closed."""
    rows = _rows(_files(book, tmp_path, "parquet")[1])
    issuers = {row["InvoiceIssuerName"] for row in _rows(_files(book, tmp_path)[0])}
    assert (
        {row["InvoiceIssuerName"] for row in rows} == issuers == {"AI Compute Fund", "pool", "Simon Fraser University"}
    )
    assert {(row["BillingPeriodStatus"], row["BillingPeriodCreated"]) for row in rows} == {("Open", month.SETTLED)}
    assert {(row["BillingPeriodStart"], row["BillingPeriodEnd"]) for row in rows} == {
        (month.START, datetime(2026, 11, 1, tzinfo=UTC))
    }


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_month_without_charges_is_files_without_rows(clickhouse: ClickHouse, tmp_path: Path, format_: Format) -> None:
    """They have their columns and conform."""
    for path in _files(clickhouse, tmp_path, format_):
        assert _rows(path) == []
        assert check(path) == []


def test_a_file_that_is_not_complete_has_no_name(
    book: ClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When an export breaks off, an earlier file stays and nothing is left beside it."""
    paths = _files(book, tmp_path)
    before = paths[0].read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting._Csv, "write", full)
    with pytest.raises(Mistake, match="No space left"):
        _files(book, tmp_path)
    assert paths[0].read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_the_commands_export_and_check(book: ClickHouse, tmp_path: Path) -> None:
    """`export focus` writes the files, `export focus-check` finds nothing, and finds what was spoilt."""
    record(book.client, month.config(), source="test")
    run = CliRunner()
    arguments = ["focus", "--month", "2026-10", "--output", str(tmp_path), "--clickhouse", book.url]
    answer = run.invoke(group, arguments, catch_exceptions=False)
    assert answer.exit_code == 0
    path = tmp_path / "focus-1.4-cost-and-usage-2026-10.csv"
    assert f"{len(_rows(path))} rows written to {path}" in answer.output
    assert f"metadata written to {tmp_path / 'focus-1.4-metadata-2026-10.json'}" in answer.output
    files = [str(each) for each in sorted(tmp_path.iterdir())]
    assert run.invoke(group, ["focus-check", *files]).exit_code == 0
    path.write_text(path.read_text().replace(",Usage,", ",").replace('"CAD"', '"Dollars"', 1))
    spoilt = run.invoke(group, ["focus-check", *files])
    assert spoilt.exit_code == 1
    assert "BillingCurrency-format: BillingCurrency is a code of ISO 4217 (1 rows: 1)" in spoilt.output
    assert isinstance(run.invoke(group, [*arguments, "--format", "xml"]).exception, Mistake)
