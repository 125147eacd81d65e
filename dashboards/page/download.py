"""What a panel shows, to take along: its data as CSV with every digit, and its SQL as it is run."""

import csv
import io
from datetime import UTC, datetime

from dashboards.page.feed import Table
from dashboards.page.markup import exact

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(table: Table) -> str:
    """Columns as the SQL names them; amounts with every digit, moments in UTC as ISO 8601, nothing for null.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.names)
    writer.writerows([_cell(value) for value in row] for row in table.rows)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        when = value if value.tzinfo else value.replace(tzinfo=UTC)
        return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return exact(value)
