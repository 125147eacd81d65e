"""The committed example holds together, and comes out of the generator again."""

import csv
import json
import re
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from compose.finance.focus.conformance import check
from tests.examples.events import NOVEMBER, OCTOBER
from tests.examples.files import CHECKED, LANGUAGES, STATEMENTS, VALIDATED, Shown, cost_and_usage, statement_file
from tests.examples.index import NAME
from tests.examples.make import make
from tests.examples.questions import PAGE
from tests.finance.focus.validator import WRONG_RULES
from tests.finance.statement import pdftext
from tests.roles import ROOT

FOLDER = ROOT / "docs" / "examples"
MAX_BYTES = 300_000
_EXACT = {"en": r"Exact: cost CAD (.+), programme CAD (.+), recipient CAD (.+)\.",
          "fr": r"Exacts : coût (.+) \$, programme (.+) \$, bénéficiaire (.+) \$\."}  # fmt: skip
_CENT = Decimal("0.01")

Row = dict[str, Any]


class Sums(NamedTuple):
    """Exact amounts of an invoice."""

    cost: Decimal
    subsidy: Decimal
    charge: Decimal


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _machine(shown: Shown) -> Any:
    """The JSON statement."""
    return json.loads(_read(statement_file(shown, "json")))


def _said(amounts: dict[str, dict[str, str]], form: str = "exact") -> Sums:
    return Sums(*(Decimal(amounts[name][form]) for name in Sums._fields))


def _csv_rows(name: str) -> list[Row]:
    return list(csv.DictReader(_read(name).splitlines()))


def _by_invoice(rows: list[Row]) -> dict[str, Sums]:
    """What the rows of each invoice add up to: usage, credit, and all together."""
    found: defaultdict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in rows:
        for name in (row["ChargeCategory"], "all"):
            found[row["InvoiceId"] or ""][name] += Decimal(row["BilledCost"])
    return {invoice: Sums(sums["Usage"], -sums["Credit"], sums["all"]) for invoice, sums in found.items()}


def _figure(text: str) -> Decimal:
    """A number with decimals, as either language writes it."""
    parts = re.fullmatch(r"(.*)[.,](\d+)", re.sub(r"\s", "", text).replace("−", "-"))
    assert parts is not None, text
    whole, fraction = parts.groups()
    return Decimal(f"{whole.replace(',', '')}.{fraction}")


@pytest.mark.parametrize("shown", STATEMENTS, ids=lambda shown: f"{shown.agreement}-{shown.month:%Y-%m}")
def test_the_rows_of_an_invoice_add_up_to_its_statement(shown: Shown) -> None:
    """FOCUS and statement are two views of one book: cost, subsidy and charge agree to the nano-unit."""
    made = _machine(shown)
    total = _said(made["total"])
    assert total.cost != 0
    assert total.charge == total.cost - total.subsidy
    assert _by_invoice(_csv_rows(cost_and_usage(shown.month)))[made["number"]] == total


@pytest.mark.parametrize("shown", STATEMENTS, ids=lambda shown: f"{shown.agreement}-{shown.month:%Y-%m}")
def test_both_languages_and_all_formats_carry_the_same_totals(shown: Shown) -> None:
    """What a person reads, exact and to the cent, is what a machine reads."""
    made = _machine(shown)
    total, to_the_cent = _said(made["total"]), _said(made["total"], "shown")
    before, after = (Decimal(made["spent"][key]["exact"]).quantize(_CENT, ROUND_HALF_UP) for key in ("before", "total"))
    assert to_the_cent.subsidy == after - before
    assert to_the_cent.charge == to_the_cent.cost - to_the_cent.subsidy
    assert all(abs(shown - exact) < _CENT for shown, exact in zip(to_the_cent, total, strict=True))
    for language in LANGUAGES:
        text = _read(statement_file(shown, "markdown", language)).replace("\u00a0", " ").replace("\u202f", " ")
        exact = re.search(_EXACT[language], text)
        assert exact is not None
        assert Sums(*(_figure(amount) for amount in exact.groups())) == total
        _, _, figures = text.partition("| ---: | ---: | ---: | ---: |\n| ")
        amounts = [_figure(re.sub(r"CAD|\$", "", cell)) for cell in figures.partition("\n")[0].split("|")[:3]]
        assert amounts == list(to_the_cent)
        if "pdf" in shown.formats:
            content = (FOLDER / statement_file(shown, "pdf", language)).read_bytes()
            drawn = " ".join(string for page in pdftext.pages(content) for string in page)
            for cell in figures.partition("\n")[0].split("|")[:3]:
                assert cell.strip() in drawn.replace("\u00a0", " ").replace("\u202f", " ")
    if "csv" in shown.formats:
        *lines, last = _csv_rows(statement_file(shown, "csv"))
        assert last["section"] == "total"
        assert [Decimal(last[name]) for name in Sums._fields] == list(total)
        assert [sum(Decimal(line[name]) for line in lines) for name in Sums._fields] == list(total)


def test_what_is_spent_goes_on_from_month_to_month() -> None:
    """November begins with the balance that October ended with, exact and to the cent."""
    october, november = (_machine(shown)["spent"] for shown in STATEMENTS if shown.agreement == "northern-lights")
    assert october["total"] == november["before"]


def test_corrections_of_a_closed_month_are_booked_in_the_next() -> None:
    """October does not change any more: late data and the corrected price are Correction rows of November."""
    october, november = (_csv_rows(cost_and_usage(month)) for month in (OCTOBER, NOVEMBER))
    assert not [row for row in october if row["ChargeClass"]]
    corrections = [row for row in november if row["ChargeClass"] == "Correction"]
    assert {row["ChargePeriodStart"][:7] for row in corrections} == {"2026-10"}
    (shown,) = (shown for shown in STATEMENTS if shown.month == NOVEMBER)
    made = _machine(shown)
    assert {line["reason"] for line in made["corrections"]["lines"]} > {"late data"}
    assert _by_invoice(corrections)[made["number"]] == _said(made["corrections"])


@pytest.mark.parametrize("month", [OCTOBER, NOVEMBER])
def test_csv_and_parquet_hold_the_same(month: Any) -> None:
    """One export in two formats."""
    rows = pq.read_table(FOLDER / cost_and_usage(month, "parquet")).to_pylist()
    assert _by_invoice(rows) == _by_invoice(_csv_rows(cost_and_usage(month)))


def test_the_files_are_as_good_as_the_reports_on_them_say() -> None:
    """The conformance check finds nothing today either; the validator, nothing but its own wrong rules."""
    files = sorted(FOLDER.glob("focus-1.4-*"))
    assert len(files) == 10
    assert sorted(_read(CHECKED).splitlines()) == [f"{path.name}: conforms" for path in files]
    assert [check(path) for path in files] == [[]] * 10
    assert set(re.findall(r"^(\w+) failed:$", _read(VALIDATED), re.MULTILINE)) == set(WRONG_RULES)


def test_the_index_lists_every_file_and_quotes_the_totals() -> None:
    """Nothing is left over from an earlier run; all of it is small enough for a repository."""
    index = _read(NAME)
    files = list(FOLDER.iterdir())
    assert sorted(re.findall(r"^\| \[(\S+)\]\(\1\) ", index, re.MULTILINE)) == sorted(
        path.name for path in files if path.name != NAME
    )
    assert max(path.stat().st_size for path in files) < MAX_BYTES
    for shown in STATEMENTS:
        made = _machine(shown)
        amounts = [f"CAD {made['total'][name]['exact']}" for name in Sums._fields]
        assert f"| {made['number']} | {' | '.join(amounts)} |" in index


@pytest.mark.timeout(600)
def test_the_generator_writes_the_same_files_again(tmp_path: Path) -> None:
    """The example is what this version says; after a change that it should show, run `make examples`."""
    (tmp_path / "book").mkdir()
    names, page = make(tmp_path / "book", tmp_path / "files", validated=False)
    assert page == PAGE.read_text(encoding="utf-8"), PAGE
    assert {*names, VALIDATED} == {path.name for path in FOLDER.iterdir()}
    for name in names:
        if name == NAME:  # it lists the validator's file
            continue
        made, kept = tmp_path / "files" / name, FOLDER / name
        if name.endswith(".parquet"):  # how it is packed is the library's
            assert pq.read_table(made).equals(pq.read_table(kept)), name
        else:
            assert made.read_bytes() == kept.read_bytes(), name
