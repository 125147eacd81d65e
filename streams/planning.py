"""What an agreement was meant to have spent by a moment: its plan as a line. Pure and exact."""

from datetime import UTC, date, datetime
from fractions import Fraction

from schemas.config import Agreement
from schemas.money import to_nano

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)


def starts_ms(agreement: Agreement) -> int:
    """First moment of the agreement, unix ms."""
    return (agreement.starts - _EPOCH).days * DAY_MS


def ends_ms(agreement: Agreement) -> int:
    """End of the agreement's last day, unix ms; exclusive."""
    return (agreement.ends - _EPOCH).days * DAY_MS + DAY_MS


def ends_at(agreement: Agreement) -> datetime:
    """End of the agreement's last day; exclusive."""
    return datetime.fromtimestamp(ends_ms(agreement) // 1000, UTC)


def planned_nano(agreement: Agreement, ts_ms: int) -> int | None:
    """Subsidy that was planned to be spent by `ts_ms` (unix ms), nano-units, rounded half-even once.

    From nothing at the start of the first day in straight lines through the ends of the days of `plan`, and level
    after the last. Without a plan: one line, to the cap at the end of the last day. None: neither plan nor cap.
    """
    if agreement.plan:
        points = [((point.on - _EPOCH).days * DAY_MS + DAY_MS, point.spent) for point in agreement.plan]
    elif agreement.cap is not None:
        points = [(ends_ms(agreement), agreement.cap)]
    else:
        return None
    before_ms, before = starts_ms(agreement), Fraction(0)
    if ts_ms <= before_ms:
        return 0
    for at_ms, spent in points:
        if ts_ms < at_ms:
            return to_nano(before + (spent - before) * Fraction(ts_ms - before_ms, at_ms - before_ms))
        before_ms, before = at_ms, spent
    return to_nano(before)
