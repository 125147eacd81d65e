"""docs/focus.md shows the columns as they are."""

import sys
from pathlib import Path

from compose.finance.focus.columns import BILLING_PERIOD, COST_AND_USAGE, LEFT_OUT, Column

PAGE = Path(__file__).parents[3] / "docs" / "focus.md"


def tables() -> str:
    """The end of the page, from its first table of columns on. `python -m tests.finance.focus.test_docs` prints it."""
    left_out = "\n".join(f"| {names} | {why} |" for names, why in LEFT_OUT.items())
    return (
        f"## Columns of CostAndUsage\n\n{_table(COST_AND_USAGE)}\n\n"
        f"## Columns of BillingPeriod\n\n{_table(BILLING_PERIOD)}\n\n"
        f"## Columns that are left out\n\n| columns | why |\n|---|---|\n{left_out}\n"
    )


def _table(columns: tuple[Column, ...]) -> str:
    rows = (
        f"| {column.name} | {column.kind} | {column.level}{', nullable' * column.nullable} | {column.source} |"
        for column in columns
    )
    return "\n".join(["| column | type | level | filled with |", "|---|---|---|---|", *rows])


def test_the_page_shows_the_columns() -> None:
    """Each with its type, level and source, in order; and what is left out, with the reason."""
    assert PAGE.read_text().endswith(tables())


def test_columns_are_in_the_order_of_the_specification() -> None:
    """Its own by name, then ours by name with their prefix; Id is the only abbreviation in a name."""
    for columns in (COST_AND_USAGE, BILLING_PERIOD):
        names = [column.name for column in columns]
        custom = [name for name in names if name.startswith("x_")]
        assert names == sorted(set(names) - set(custom)) + sorted(custom)
        assert {column.level == "Custom" for column in columns if column.name in custom} <= {True}


if __name__ == "__main__":
    sys.stdout.write(tables())
