"""Hours of the ledger priced in the order of time, and what changes by it.

The charges of an hour follow from the ledger, from the reference data that the hour is priced with, and from what its
agreements had used up before. So when an hour changes, later hours change with it where that moves the moment at which
a cap or a grant is used up: those hours, and no others, are priced again too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from compose.finance import usage
from compose.finance.journal import Journal, Settlement, differences
from compose.finance.limits import Balance
from compose.finance.rating import MEASURES, Key, Lines, rate
from schemas.config import Agreement, Credits
from schemas.money import to_nano
from streams.reference import Reference

HOUR = timedelta(hours=1)
AT_ONCE = 6
"""Hours that are priced together, at most: bounds the memory, and what one insert writes."""
_HOUR_NS = 3600 * 10**9
_NEVER = 1 << 200
_MOVES = ": moves the limit of "

References = Callable[[datetime], Reference]
"""The reference data as recorded until a moment."""


@dataclass(frozen=True, slots=True)
class Due:
    """An hour that is to be priced."""

    reference_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Priced:
    """Some hours in a row, priced alike."""

    hours: dict[datetime, Due]
    before: Lines
    """As they stood."""
    after: Lines
    differences: Lines


def priced(
    client: Client,
    due: Mapping[datetime, Due],
    references: References,
    *,
    written: bool,
    beyond: bool = True,
) -> Iterator[Priced]:
    """Price the hours, and those that change with them.

    written: whether the caller records each part before it asks for the next; else what was found so far is carried
    along. beyond: whether hours that were not asked for are priced too where they change. Raises UnknownReference when
    an exchange rate is missing.
    """
    journal = Journal(client)
    waiting = dict(due)
    span = journal.span()
    last = span[1] if span else datetime(1970, 1, 1, tzinfo=UTC)
    moved: dict[str, Balance] = {}
    while waiting:
        start = min(waiting)
        part = {hour: waiting.pop(hour) for hour in _alike(waiting, start)}
        end = max(part) + HOUR
        reference = references(part[start].reference_at)
        opening = journal.balances(start)
        if not written:
            opening = {name: _plus(balance, moved.get(name)) for name, balance in (_zeros(moved) | opening).items()}
        after = rate(usage.read(client, start, end, reference), reference, opening)
        before = journal.lines(start, end)
        found = differences(before, after)
        yield Priced(part, before, after, found)
        for name, change in _used(found).items():
            moved[name] = _plus(change, moved.get(name))
        if beyond and last >= end:
            for hour, settled, name in _affected(journal, end - HOUR, moved, references, written=written):
                if hour not in waiting:
                    reason = part[start].reason.partition(_MOVES)[0]
                    waiting[hour] = Due(settled.reference_at, f"{reason}{_MOVES}{name}")


def _alike(waiting: Mapping[datetime, Due], start: datetime) -> list[datetime]:
    """The hours from `start` on, without a gap, that one call can price: on one day, alike, and not too many."""
    hours = [start]
    while len(hours) < AT_ONCE:
        following = hours[-1] + HOUR
        if waiting.get(following) != waiting[start] or following.date() != start.date():
            break
        hours.append(following)
    return hours


def _used(found: Lines) -> dict[str, Balance]:
    """What each agreement uses more, by these differences."""
    used: dict[str, Balance] = {}
    for key, figures in found.items():
        if key.agreement:
            used[key.agreement] = _plus(_balance(key, figures), used.get(key.agreement))
    return used


def _balance(key: Key, figures: tuple[int, ...]) -> Balance:
    named = dict(zip(MEASURES, figures, strict=True))
    counts = key.rule != "not in force"
    return Balance(named["subsidy_nano"], counts * named["gpu_ns"], counts * named["rgu_ns"])


def _plus(one: Balance, other: Balance | None) -> Balance:
    return one if other is None else Balance(*(a + b for a, b in zip(one, other, strict=True)))


def _zeros(names: Mapping[str, Balance]) -> dict[str, Balance]:
    return dict.fromkeys(names, Balance())


# ---- what changes with it --------------------------------------------------------------------------------------------


def _affected(
    journal: Journal, after: datetime, moved: Mapping[str, Balance], references: References, *, written: bool
) -> list[tuple[datetime, Settlement, str]]:
    """The next hour of each agreement in which its limit now falls elsewhere, or fell before.

    The limits of an hour are those of the reference data that it is priced with, which may not be those that moved it.
    """
    settled = journal.settlements(after + HOUR)
    limits = {
        (moment, name): _limits(agreement)
        for moment in {settlement.reference_at for settlement in settled.values()}
        for name, change in moved.items()
        if any(change) and (agreement := references(moment).agreement(name)) is not None
    }
    shifted = sorted({name for (_, name), limit in limits.items() if min(limit) < _NEVER})
    if not shifted:
        return []
    recorded = journal.balances(after + HOUR)
    reached = {name: recorded.get(name, Balance()) for name in shifted}
    found: dict[str, datetime] = {}
    for name, hour, used in journal.usage_after(after, shifted):
        begin, end = reached[name], _plus(reached[name], used)
        reached[name] = end
        limit = limits.get((settled[hour].reference_at, name)) if hour in settled else None
        if name not in found and limit and _is_moved(begin, end, moved[name], limit, written=written):
            found[name] = hour
    return [(hour, settled[hour], name) for name, hour in found.items()]


def _is_moved(begin: Balance, end: Balance, moved: Balance, limits: tuple[int, ...], *, written: bool) -> bool:
    """Whether an hour touches a limit, before or now, and is not beyond it both before and now."""
    for at_begin, at_end, shift, limit in zip(begin, end, moved, limits, strict=True):
        # What is recorded holds the shift already when it was written; the other world is without it, or with it.
        other = -shift if written else shift
        touches = max(at_end, at_end + other) >= limit
        beyond = min(at_begin, at_begin + other) >= limit
        if shift and touches and not beyond:
            return True
    return False


def _limits(agreement: Agreement) -> tuple[int, ...]:
    """Subsidy, device time and RGU time that an agreement can use up while it is metered."""
    money = _NEVER if agreement.cap is None else max(0, to_nano(agreement.cap) - to_nano(agreement.spent_before))
    hours = {"gpu_hours": _NEVER, "rgu_hours": _NEVER}
    rule = agreement.rule
    if isinstance(rule, Credits) and rule.quantity is not None:
        hours[rule.unit] = max(0, int((rule.quantity - rule.used_before) * _HOUR_NS))
    return money, hours["gpu_hours"], hours["rgu_hours"]
