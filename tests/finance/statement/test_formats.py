"""Statements as Markdown, CSV, JSON and PDF, in both languages: the same figures, nothing lost, the same bytes."""

import csv
import io
import json
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compose.finance.statement.blocks import Column, Section, Table
from compose.finance.statement.commands import group
from compose.finance.statement.csv_ import as_csv
from compose.finance.statement.document import document
from compose.finance.statement.json_ import as_json
from compose.finance.statement.markdown import markdown
from compose.finance.statement.model import Statement
from compose.finance.statement.pdf import pdf
from compose.finance.statement.reading import open_month, statement
from compose.finance.statement.typography import Language
from compose.options import Mistake
from tests.conftest import ClickHouse
from tests.finance.statement.book import (
    ACCESS_FUND,
    ACME,
    Fields,
    close,
    described,
    entry,
    hour,
    observed,
    settle,
    terms,
    write,
)
from tests.finance.statement.pdftext import pages, placed

OCTOBER = date(2026, 10, 1)
GOLDEN = Path(__file__).parent / "golden"
LANGUAGES: tuple[Language, ...] = ("en", "fr")


@pytest.fixture
def small(clickhouse: ClickHouse) -> ClickHouse:
    """A closed month with two lines, a correction, late data and a second agreement that supports the rest."""
    client = clickhouse.client
    second = {
        **ACME,
        "id": "province",
        "recipient": "Société d’œuvres Acmé inc.",
        "after": "acme-ai",
        "match": [],
        "cap": "20000",
        "spent_before": "0",
        "rule": {"kind": "cost_share", "share": "1/2", "of": "remainder"},
    }
    described(client, terms(ACME, second), hour("2026-01-01T00"))
    seconds: Fields = {
        "energy_j": Decimal("123456789.123"),
        "gpu_seconds": Decimal(28_800),
        "counter_seconds": Decimal(28_000),
        "bridged_seconds": Decimal(500),
    }
    tokens: Fields = {"prompt_tokens": 1_234_567_890, "cached_tokens": 234_567, "generation_tokens": 98_765_432}
    job: Fields = {
        "deployment": "",
        "model": "",
        "workload": "acme-train/llama-finetune-0",
        "cluster": "rorqual",
    }
    late: Fields = {"kind": "revision", "reason": "late data"}
    adjusted: Fields = {
        "kind": "adjustment",
        "reason": "Tariff of September, corrected",
        "booked_month": OCTOBER,
    }
    write(
        client,
        "charges",
        entry("2026-09-05T05", 300, 200),
        entry("2026-10-01T13", "1234.567890123", "823.045260082", **seconds, **tokens),
        entry("2026-10-02T13", "98.765", "65.843333333", **seconds, **job),
        entry("2026-10-02T13", "0.005", "0.003333333", "2026-10-02T20", **late, **job),
        entry("2026-09-05T05", "-3.005", "-2.003333333", "2026-10-08T15", **adjusted),
        entry("2026-10-01T13", 0, "205.761315020", agreement="province", rule="cost_share 1/2"),
    )
    settle(client, "2026-10-01T13", "2026-10-02T13")
    observed(client, "2026-10-01T13", "fir", 71_000, 72_000)
    observed(client, "2026-10-02T13", "rorqual", 28_800, 28_800)
    close(client, "2026-10", "2026-11-06T00")
    return clickhouse


def read(clickhouse: ClickHouse, name: str = "acme-ai") -> Statement:
    return statement(open_month(clickhouse.client, OCTOBER), name)


def as_number(text: str) -> Decimal:
    """A figure of either language, without its currency."""
    plain = re.sub(r"[^\d,.−]", "", text).replace("−", "-")
    if re.search(r",\d{2}$", plain):
        return Decimal(plain.replace(",", "."))
    return Decimal(plain.replace(",", ""))


def test_every_format_and_language_shows_the_same_totals(small: ClickHouse) -> None:
    """Read back from each of them: cost, programme's and recipient's part, to the cent; exact where it is exact."""
    costs = [Fraction("1234.567890123"), Fraction("98.765"), Fraction("0.005"), Fraction("-3.005")]
    subsidies = [Fraction("823.045260082"), Fraction("65.843333333"), Fraction("0.003333333"), Fraction("-2.003333333")]
    cost, subsidy = sum(costs), sum(subsidies)
    assert subsidy == Fraction("886.888593415")  # on 1,200.005 that were spent before, shown as 1,200.01: 2,086.89
    assert cost == Fraction("1330.332890123")
    expected = [Decimal("1330.33"), Decimal("886.88"), Decimal("443.45")]

    found = read(small)
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    names = ("cost", "subsidy", "charge")
    assert [Decimal(rows[-1][f"{name}_shown"]) for name in names] == expected
    for name, total in zip(names, (cost, subsidy, cost - subsidy), strict=True):
        assert Fraction(rows[-1][name]) == sum(Fraction(row[name]) for row in rows[:-1]) == total
        assert Decimal(rows[-1][f"{name}_shown"]) == sum(Decimal(row[f"{name}_shown"]) for row in rows[:-1])
    assert [row["section"] for row in rows] == ["usage", "usage", "correction", "total"]

    for language in LANGUAGES:
        content = json.loads(as_json(found, language))
        assert [Decimal(content["total"][name]["shown"]) for name in names] == expected
        assert [Fraction(content["total"][name]["exact"]) for name in names] == [cost, subsidy, cost - subsidy]
        words = document(found, language)
        last = next(line for line in markdown(words).splitlines() if line.startswith("| **Total**"))
        assert [as_number(cell) for cell in last.split("|")[2:5]] == expected
        drawn = [text for page in pages(pdf(words)) for text in page]
        at = drawn.index("Total", drawn.index("Total") + 1)  # the heading, then the row
        assert [as_number(text) for text in drawn[at + 1 : at + 4]] == expected
        figures = [value for _, value in words.figures]
        assert [as_number(value) for value in figures[:3]] == expected
        assert all(value in drawn for value in figures)


def test_a_line_without_a_device_says_so_and_a_job_is_called_one(clickhouse: ClickHouse) -> None:
    """Tokens that no device served leave no hole where the device stands; a number alone would tell nobody what it is.

    What is for machines keeps what the book says.
    """
    described(clickhouse.client, terms(), hour("2026-01-01T00"))
    write(
        clickhouse.client,
        "charges",
        entry("2026-10-01T00", 0, 0, sku="", gpu_model="", price_version="", prompt_tokens=7),
        entry("2026-10-01T00", 3, 2, deployment="", model="", workload="41235080"),
        entry("2026-10-01T00", 3, 2, deployment="", model="", workload="41235081_7"),
        entry("2026-10-01T00", 3, 2, deployment="", model="", workload="acme-1/8-pod"),
    )
    found = read(clickhouse)
    english, french = (markdown(document(found, language)) for language in LANGUAGES)
    for text, device, job in ((english, "no device metered", "job"), (french, "aucun appareil mesuré", "tâche")):
        assert f"| command-r-plus | fir | cohere/command-r-plus | {device} |" in text
        assert f"| {job} 41235080 | fir |" in text
        assert f"| {job} 41235081\\_7 | fir |" in text
        assert "| acme-1/8-pod | fir |" in text
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [(row["workload"], row["sku"]) for row in rows[:3]] == [
        ("41235080", "NVIDIA H100 80GB HBM3"),
        ("41235081_7", "NVIDIA H100 80GB HBM3"),
        ("acme-1/8-pod", "NVIDIA H100 80GB HBM3"),
    ]
    assert (rows[3]["deployment"], rows[3]["sku"]) == ("command-r-plus", "")


def test_names_have_typographic_apostrophes(clickhouse: ClickHouse) -> None:
    """Who types a name or a reason on a keyboard gets what the texts around it have; machines get what was typed."""
    programme = {**ACCESS_FUND, "name": {"en": "Women's Fund", "fr": "Fonds d'accès"}}
    config = terms({**ACME, "recipient": "Atelier d'Oka"}, programmes=(programme,))
    described(clickhouse.client, config, hour("2026-01-01T00"))
    late: Fields = {"kind": "adjustment", "reason": "prix d'août", "booked_month": OCTOBER}
    write(clickhouse.client, "charges", entry("2026-09-01T00", 3, 2, "2026-10-02T00", **late))
    words = document(read(clickhouse), "fr")
    for text in (markdown(words), " ".join(" ".join(page) for page in pages(pdf(words)))):
        assert all(name in text for name in ("Atelier d’Oka", "Fonds d’accès", "prix d’août"))
        assert not re.search(r"\w'\w", text)
    assert "Women’s Fund" in markdown(document(read(clickhouse), "en"))
    assert json.loads(as_json(read(clickhouse), "fr"))["recipient"] == "Atelier d'Oka"


def test_changes_are_shown_exactly(small: ClickHouse) -> None:
    """Half a cent of late data is not shown as nothing, nor an adjustment as another amount; points stand in a row."""
    text = markdown(document(read(small), "fr"))
    assert "| 0,005000000 | 0,003333333 | 0,001666667 |" in text
    assert "| −3,005000000 | −2,003333333 | −1,001666667 |" in text


def test_lines_shown_add_up_and_cost_is_both_parts(small: ClickHouse) -> None:
    """What a reader of the Markdown can add up with a pocket calculator is right, in each table with a total."""
    for name in ("acme-ai", "province"):
        for language in LANGUAGES:
            tables = re.findall(r"(?:^\|.*\n)+", markdown(document(read(small, name), language)), re.MULTILINE)
            with_total = [table.splitlines() for table in tables if "**" in table]
            assert with_total
            for _, _, *rows, total in with_total:
                shown = [[as_number(cell) for cell in row.split("|")[-4:-1]] for row in [*rows, total]]
                assert [sum(column) for column in zip(*shown[:-1], strict=True)] == shown[-1]
                assert all(cost == programme + recipient for cost, programme, recipient in shown)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_whole_document_is_as_it_was(small: ClickHouse, language: Language) -> None:
    """A change of any word, figure or sign of a statement is seen: compare with golden/, and mean it."""
    assert markdown(document(read(small), language)) == (GOLDEN / f"acme-ai.{language}.md").read_text()


def test_a_pdf_is_the_same_bytes_and_loses_no_text(small: ClickHouse) -> None:
    """No clock and no chance in it; every fact, cell and proof of the document is drawn, in its order."""
    for language in LANGUAGES:
        words = document(read(small), language)
        content = pdf(words)
        assert content == pdf(document(read(small), language))
        drawn = _joined(" ".join(text for page in pages(content) for text in page))
        for label, value in [*words.facts, *words.figures]:
            assert _joined(label) in drawn
            assert _joined(value) in drawn
        for section in words.sections:
            assert _joined(section.title) in drawn
        for code in ("commonwatt check", read(small).digest, read(small).totals_query):
            assert _joined(code) in drawn
        assert "U+" not in drawn


def _joined(text: str) -> str:
    """Without the spaces, where lines may break."""
    return re.sub(r"\s", "", text)


def test_long_tables_repeat_their_head_and_number_the_pages(clickhouse: ClickHouse) -> None:
    """Sixty lines with names that are too long for their column: nothing is cut, each page has head and number."""
    described(clickhouse.client, terms(), hour("2026-01-01T00"))
    names = [f"deployment-{n:02d}-{'x' * 90}" for n in range(60)]
    rows = [entry("2026-10-01T00", n + 1, n, deployment=name, prompt_tokens=n) for n, name in enumerate(names)]
    write(clickhouse.client, "charges", *rows)
    drawn = pages(pdf(document(read(clickhouse), "en")))
    assert len(drawn) > 4
    text = _joined("".join("".join(page) for page in drawn))
    assert all(name in text for name in names)
    for number, page in enumerate(drawn, 1):
        assert _joined("".join(page)).endswith(f"page{number}of{len(drawn)}")
        if "deployment-" in "".join(page):
            assert "Programme pays" in page


def test_figures_are_never_broken(clickhouse: ClickHouse) -> None:
    """Billions stand in one piece, in the boxes and in every table, in both languages."""
    described(clickhouse.client, terms({**ACME, "cap": "9876543210.12"}), hour("2026-01-01T00"))
    used: Fields = {"prompt_tokens": 9_223_372_036_854_775_807, "gpu_seconds": Decimal(123_456_789_012)}
    write(clickhouse.client, "charges", entry("2026-10-01T00", "1234567890.123456789", "1000000000", **used))
    for language in LANGUAGES:
        words = document(read(clickhouse), language)
        drawn = [text for page in pages(pdf(words)) for text in page]
        tables = [block for section in words.sections for block in section.blocks if isinstance(block, Table)]
        for table in tables:
            for row in (*table.rows, *table.totals):
                assert all(
                    cell in drawn for cell, column in zip(row, table.columns, strict=True) if column.figure and cell
                )


def test_a_title_stands_over_its_column(small: ClickHouse) -> None:
    """Over figures with units it begins where the widest figure does."""
    for language, usage, widest in (("en", "Usage", "1,234,567,890"), ("fr", "Utilisation", "1\xa0234\xa0567\xa0890")):
        strings = placed(pdf(document(read(small), "fr" if language == "fr" else "en")))[0]
        (title,) = (one.left for one in strings if one.text == usage and one.font == strings[2].font)
        (figure,) = (one.left for one in strings if one.text == widest)
        assert title == pytest.approx(figure, abs=1.5)


_PROOF = (
    "How to verify", "Exact", "The exact totals", "commonwatt sql", "commonwatt statement", "commonwatt check",
    "Two statements with the same number",
)  # fmt: skip


def test_the_proof_stands_on_one_page_in_a_font_for_commands(clickhouse: ClickHouse) -> None:
    """However long the tables before it are: from its title to its last sentence; commands look like commands."""
    described(clickhouse.client, terms(), hour("2026-01-01T00"))
    write(clickhouse.client, "charges", entry("2026-10-01T00", 1, 1))
    made = document(read(clickhouse), "en")
    proof = made.sections[-1]
    counts = set()
    for rows in range(0, 40, 3):
        filler = Section("Filler", [Table([Column("a")], [[str(number)] for number in range(rows)])])
        *others, page = placed(pdf(replace(made, sections=[filler, proof])))
        counts.add(len(others))
        begun = {begin: next(one.font for one in page if one.text.startswith(begin)) for begin in _PROOF}
        assert len({begun[text] for text in ("commonwatt sql", "commonwatt statement", "commonwatt check")}) == 1
        assert begun["commonwatt check"] != begun["Exact"] == begun["The exact totals"]
    assert counts == {0, 1}


def test_signs_that_the_font_lacks_are_shown_by_their_number(clickhouse: ClickHouse) -> None:
    """A name keeps every letter that can be shown, and what cannot be is visible; JSON and Markdown have it all."""
    recipient = "Łódź Ελλάδα Київ œuvre ’25’ 明"
    described(clickhouse.client, terms({**ACME, "recipient": recipient}), hour("2026-01-01T00"))
    words = document(read(clickhouse), "fr")
    assert "Łódź Ελλάδα Київ œuvre ’25’ [U+660E]" in pages(pdf(words))[0]
    assert recipient in markdown(words)
    assert json.loads(as_json(read(clickhouse), "fr"))["recipient"] == recipient


def test_names_mean_nothing_to_markdown(clickhouse: ClickHouse) -> None:
    """A workload with a bar or a star in its name breaks no table and sets nothing in bold."""
    described(clickhouse.client, terms({**ACME, "recipient": "A|B *C* <b>"}), hour("2026-01-01T00"))
    write(clickhouse.client, "charges", entry("2026-10-01T00", 3, 2, deployment="", workload="a|b\n*c*"))
    text = markdown(document(read(clickhouse), "en"))
    assert r"a\|b \*c\*" in text
    assert r"**A\|B \*C\* \<b>**" in text


def test_nothing_booked_is_said(clickhouse: ClickHouse) -> None:
    """A month without entries is a statement that says so, in every format."""
    described(clickhouse.client, terms(), hour("2026-01-01T00"))
    found = read(clickhouse)
    assert "Nothing is booked for this agreement in this month." in markdown(document(found, "en"))
    assert "Rien n’est inscrit pour cette entente ce mois-ci." in " ".join(pages(pdf(document(found, "fr")))[0])
    assert json.loads(as_json(found, "en"))["total"]["cost"] == {"exact": "0.000000000", "shown": "0.00"}
    assert len(as_csv(found).splitlines()) == 2


# ---- the command -----------------------------------------------------------------------------------------------------

app = typer.Typer()
app.add_typer(group)
app.command("other")(lambda: None)  # so that the first is called by its name


def run(clickhouse: ClickHouse, *arguments: object) -> bytes:
    """What the command writes. Raises its Mistake."""
    command = ["statement", *(str(argument) for argument in arguments), "--clickhouse", clickhouse.url]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def test_the_command_writes_what_was_asked_for(small: ClickHouse, tmp_path: Path) -> None:
    """Markdown to the terminal; files named by agreement, month and language, of one agreement or of all."""
    found = read(small)
    assert run(small, "acme-ai", "--month", "2026-10").decode() == markdown(document(found, "en"))
    assert run(small, "acme-ai", "--month", "2026-10", "--format", "pdf", "--output", "-") == pdf(document(found, "en"))
    folder = tmp_path / "new" / "folder"
    run(small, "--all", "--month", "2026-10", "--format", "all", "--language", "fr", "--output", folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        f"statement-{name}-2026-10.fr.{ending}"
        for name in ("acme-ai", "province")
        for ending in ("csv", "json", "md", "pdf")
    ]
    assert (folder / "statement-acme-ai-2026-10.fr.json").read_text() == as_json(found, "fr")
    assert (folder / "statement-acme-ai-2026-10.fr.pdf").read_bytes() == pdf(document(found, "fr"))


def test_the_command_in_a_statement_makes_it_again(small: ClickHouse) -> None:
    """What stands under "How to verify" is a command, and its answer is the document."""
    text = markdown(document(read(small), "fr"))
    (again,) = re.findall(r"^commonwatt statement (.*)$", text, re.MULTILINE)
    write(small.client, "charges", entry("2026-11-01T00", 5, 4), entry("2026-12-01T00", 5, 4))
    assert run(small, *again.split()).decode() == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name one agreement, or --all"),
        (["acme-ai", "--all"], "name one agreement, or --all"),
        (["acme-ai", "--format", "xml"], "use markdown, csv, json, pdf or all"),
        (["acme-ai", "--language", "de"], "use en or fr"),
        (["acme-ai", "--format", "pdf"], "name a folder with --output DIR"),
        (["acme-ai", "--format", "all"], "name a folder with --output DIR"),
        (["--all", "--output", "-"], "name a folder with --output DIR"),
        (["acme-ai", "--as-of", "yesterday"], "is not a moment"),
        (["acme-ai", "--output", "/proc/none"], "name another --output"),
    ],
)
def test_what_cannot_be_done_is_said(small: ClickHouse, arguments: list[str], said: str) -> None:
    """One sentence that says what to write instead."""
    with pytest.raises(Mistake, match=said):
        run(small, *arguments, "--month", "2026-10")
