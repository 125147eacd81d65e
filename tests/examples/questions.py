"""The worked questions of docs/sql.md: each with the answer that the example's book gives."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tests.roles import ROOT

PAGE = ROOT / "docs" / "sql.md"
_QUESTION = re.compile(r"(### (\d+)\. ([^\n]+)\n.*?```sql\n(.*?)```\n)((?:\n(?:\|[^\n]*\n)+)?)", re.DOTALL)


class Question(NamedTuple):
    """One of them."""

    number: int
    title: str
    sql: str


def questions(page: str) -> Iterator[Question]:
    """In the order of the page."""
    for match in _QUESTION.finditer(page):
        yield Question(int(match[2]), match[3], match[4])


def answered(page: str, client: Client) -> str:
    """The page with the answers of this book behind the questions."""
    return _QUESTION.sub(lambda match: f"{match[1]}\n{_table(client, match[4])}", page)


def _table(client: Client, sql: str) -> str:
    answer: Any = client.query(sql)
    numbers = [
        all(isinstance(row[place], int | float | Decimal | None) for row in answer.result_rows)
        for place in range(len(answer.column_names))
    ]
    lines = [
        _line(answer.column_names),
        _line(["---:" if number else "---" for number in numbers]),
        *(_line([_written(value) for value in row]) for row in answer.result_rows),
    ]
    return "".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _written(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return format(value, "f") if isinstance(value, Decimal) else str(value).replace("|", "\\|")
