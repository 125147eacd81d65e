"""Columns and cells of a table as a narrow page has them: neighbours of one stack share a column. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from compose.finance.statement.blocks import Column, Table
from compose.finance.statement.typography import NBSP

PAD_MM = 1.3
"""Beside, above and below what stands in a cell."""
_UNBROKEN = 30  # letters of a name that is not divided over lines


@dataclass(slots=True)
class PrintedColumn:
    """A column as it is printed: one of the table, or several of one stack."""

    title: str
    figure: bool
    members: list[int] = field(default_factory=list)
    width_mm: float = 0.0
    unit_mm: float = 0.0
    """Of it, for the units of figures."""

    @property
    def inner_mm(self) -> float:
        """Without what stays free beside it."""
        return self.width_mm - 2 * PAD_MM

    @property
    def text_mm(self) -> float:
        """Of that, for text or figures."""
        return self.inner_mm - self.unit_mm

    @property
    def stacked(self) -> bool:
        """Several figures, each with its unit; the title stands above both."""
        return self.figure and len(self.members) > 1


@dataclass(frozen=True, slots=True)
class CellLine:
    """One line in a cell."""

    text: str
    strong: bool = False
    quiet: bool = False
    unit: str = ""
    """Set to the right of a figure."""


def printed(columns: Sequence[Column]) -> list[PrintedColumn]:
    """Neighbours of one stack become one column."""
    found: list[PrintedColumn] = []
    stack = ""
    for number, column in enumerate(columns):
        if not (column.stack and column.stack == stack):
            found.append(PrintedColumn(column.stack or column.title, column.figure))
        found[-1].members.append(number)
        stack = column.stack
    return found


def cell(table: Table, column: PrintedColumn, row: Sequence[str]) -> Iterator[CellLine]:
    """Lines of a cell: of a stack of texts the first is strong, of a stack of figures each has its unit."""
    if len(column.members) == 1:
        yield CellLine(row[column.members[0]])
    elif column.figure:
        for member in column.members:
            if row[member]:
                yield CellLine(row[member], unit=table.columns[member].title)
    else:
        first, *others = (row[member] for member in column.members if row[member])
        yield CellLine(first, strong=True)
        unbroken = (other if len(other) > _UNBROKEN else other.replace(" ", NBSP) for other in others)
        yield CellLine(f"{NBSP}· ".join(unbroken), quiet=True)
