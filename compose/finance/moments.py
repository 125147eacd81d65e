"""Months and moments as finance writes them: ``2026-10``, ``2026-03-31``, ``2026-03-31T12:00:00Z``."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer

from compose.options import Mistake

AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", help="what was believed then, such as 2026-03-31 (its end) or 2026-03-31T12:00:00Z"),
]
MonthOption = Annotated[str, typer.Option("--month", help="such as 2026-10", show_default=False)]


def month_of(text: str) -> date:
    """First day of a month such as ``2026-10``. Raises Mistake."""
    if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text) is None or text < "1970-01":
        raise Mistake(f'"{text}" is not a month: write for example 2026-10.')
    return date.fromisoformat(f"{text}-01")


def next_month(month: date) -> date:
    """First day of the month after."""
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def start_of(day: date) -> datetime:
    """First moment of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def as_of(text: str | None) -> datetime | None:
    """The moment up to which records count, inclusive; a day means its end. None: everything. Raises Mistake.

    A moment that is still to come is refused: what will be recorded until then would change the answer.
    """
    if text is None:
        return None
    moment = _moment(text, "--as-of", end_of_day=True)
    if moment > datetime.now(UTC):
        raise Mistake(f"--as-of {text} is still to come, so its answer would change: leave it out for the newest.")
    return moment


def hour(text: str, option: str, *, end_of_day: bool = False) -> datetime:
    """A whole hour such as ``2026-10-01`` or ``2026-10-01T13``; a day may mean its end. Raises Mistake."""
    moment = _moment(text, option, end_of_day=False)
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) and end_of_day:
        moment += timedelta(days=1)
    if moment != moment.replace(minute=0, second=0, microsecond=0):
        raise Mistake(f"{option} {text} is within an hour, and hours are priced whole: write 2026-10-01T13.")
    return moment


def _moment(text: str, option: str, *, end_of_day: bool) -> datetime:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            first = start_of(date.fromisoformat(text))
            return first + timedelta(days=1) - timedelta(milliseconds=1) if end_of_day else first
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Mistake(f'{option} "{text}" is not a moment: write 2026-03-31 or 2026-03-31T12:00:00Z.') from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
