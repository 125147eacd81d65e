"""Columns of whole numbers under their names: how rating handles many rows at once."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from compose.finance.integers import Int

Columns = dict[str, Int]
DAY_S = 86_400


def take(columns: Columns, rows: Any, names: Sequence[str] | None = None) -> Columns:
    """Some rows (numbers, or a mask) of the columns, or of these."""
    return {name: columns[name][rows] for name in names or columns}


def joined(*parts: Columns) -> Columns:
    """Rows one after the other; the columns are those of the first part."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_order(columns: Columns, key: Sequence[str]) -> Columns:
    """Rows sorted by these columns, the first before the others."""
    return take(columns, np.lexsort([columns[name] for name in reversed(key)]))


def zeros(count: int) -> Int:
    """A column of nothing."""
    return np.zeros(count, np.int64)


def day_of(minute: Int) -> Int:
    """UTC days since 1970 of moments in unix seconds."""
    return minute // DAY_S


def date_of(day: int) -> date:
    """The date of a UTC day since 1970."""
    return datetime.fromtimestamp(day * DAY_S, UTC).date()
