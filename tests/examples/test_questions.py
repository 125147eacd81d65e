"""docs/sql.md: its questions run as the read-only user, its answers agree with the statements, its Python works."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from compose.export_table import export
from tests.dashboards import servers
from tests.examples.questions import PAGE, Question, questions
from tests.roles import ROOT

TEXT = PAGE.read_text(encoding="utf-8")
QUESTIONS = list(questions(TEXT))
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouse]:
    with servers.clickhouse(tmp_path_factory.mktemp("seeded"), seeded=True) as clickhouse:
        yield clickhouse


def _answer(number: int) -> list[list[str]]:
    """The rows of an answer, as the page has them."""
    _, _, after = TEXT.partition(f"### {number}. ")
    lines = re.search(r"```\n\n((?:\|[^\n]*\n)+)", after)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines[1].splitlines()[2:]]


def test_there_are_twenty_and_each_has_an_answer() -> None:
    """Numbered without a gap; none is empty."""
    assert [question.number for question in QUESTIONS] == list(range(1, 21))
    assert all(_answer(question.number) for question in QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question.number))
def test_a_question_runs_as_the_analyst_on_any_book(seeded: servers.ClickHouse, question: Question) -> None:
    """Whoever pastes it into a book of their own gets an answer, or no rows; never an error."""
    seeded.analyst.query(question.sql)


def test_answers_agree_with_the_statements() -> None:
    """Money in SQL is the money of the statements of the same example, to the last place."""
    folder = ROOT / "docs" / "examples"
    october = json.loads((folder / "statement-northern-lights-2026-10.en.json").read_text())["total"]
    november = json.loads((folder / "statement-northern-lights-2026-11.en.json").read_text())["corrections"]
    (then,) = (row for row in _answer(3) if row[0] == "northern-lights")
    assert Decimal(then[1]) == Decimal(october["subsidy"]["exact"])
    assert Decimal(then[3]) == Decimal(november["subsidy"]["exact"])
    assert sum(Decimal(row[3]) for row in _answer(4)) == Decimal(november["cost"]["exact"])
    (now,) = (row for row in _answer(2) if row[0] == "northern-lights")
    assert Decimal(now[1]) == Decimal(october["cost"]["exact"]) + Decimal(november["cost"]["exact"])
    assert all(Decimal(row[1]) == Decimal(row[2]) + Decimal(row[3]) for row in _answer(2))


def test_the_python_examples_work(seeded: servers.ClickHouse, tmp_path: Path) -> None:
    """They are run as they stand, but for the port; pandas and Polars find the sums of the seeded rows, exactly."""
    assert seeded.ledger is not None
    export(seeded.client, "unit_costs", "parquet", tmp_path / "unit_costs.parquet")
    port = seeded.url.rpartition(":")[2]
    said = [
        subprocess.run(
            [sys.executable, "-c", example.replace("port=8123", f"port={port}")],
            cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for example in EXAMPLES
    ]  # fmt: skip
    costs: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in seeded.ledger.unit_costs:
        if line.currency == "CAD":
            costs[line.cluster] += line.cost
    for cluster, cost in costs.items():
        assert re.search(rf"^{cluster} +{cost}\b", said[1], re.MULTILINE), said[1]
    assert all(one.strip() for one in said[1:])
    models = {line.model for line in seeded.ledger.unit_costs if line.currency == "CAD" and line.model}
    assert all(model[:20] in said[2] for model in models), said[2]
