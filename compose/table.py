"""An answer of ClickHouse as a table for the terminal."""

import json

from rich import box
from rich.table import Table

_NUMBERS = ("Int", "UInt", "Float", "Decimal")


def as_table(answer: bytes) -> Table:
    """From FORMAT JSONCompactStrings: every value as ClickHouse writes it, numbers to the right."""
    document = json.loads(answer)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=f"{len(document['data'])} rows", caption_justify="left")
    for column in document["meta"]:
        number = column["type"].removeprefix("Nullable(").startswith(_NUMBERS)
        table.add_column(column["name"], justify="right" if number else "left", overflow="fold")
    for row in document["data"]:
        table.add_row(*("" if value is None else str(value) for value in row))
    return table
