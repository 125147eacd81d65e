"""Protects every total of finance over a year: settled month by month, late, corrected, and as believed at any time.

Twelve agreements under all rules; see tests/finance/year. Each figure must equal the second calculation exactly.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.finance.rerate import rerate
from compose.finance.settle import LOOKED_BACK, settle
from compose.reference import history
from tests.conftest import ClickHouse
from tests.finance.year import economy, ledger, oracle
from tests.finance.year.oracle import Facts, Line

WRONG, RIGHT = Facts(economy.config()), Facts(economy.config(economy.RIGHT_OPEX))
LATE_AT = datetime(2027, 1, 20, 9, tzinfo=UTC)
"""When the late data come: everything before 2027 is closed."""
RERATED = datetime(2026, 10, 20, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)
RERATED_AT = datetime(2027, 7, 20, 9, tzinfo=UTC)
SOON = timedelta(minutes=1)
"""What one pass records has moments of its own, each a little later than the one before."""
MONTHS = [date(2026, month, 1) for month in range(7, 13)] + [date(2027, month, 1) for month in range(1, 7)]

FIGURES = {
    "gpu_ns": "gpu_seconds", "busy_ns": "busy_seconds", "rgu_ns": "rgu_seconds", "energy_mj": "energy_j",
    "prompt": "prompt_tokens", "cached": "cached_tokens", "generation": "generation_tokens", "cost": "cost",
    "accrued": "accrued", "subsidy": "subsidy", "charge": "charge",
}  # fmt: skip
"""Figures of the second calculation, and their columns."""
Totals = dict[tuple[Any, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Believed:
    """What must be answered for a moment, whenever it is asked."""

    moment: datetime
    lines: list[Line]


def test_a_worked_year(clickhouse: ClickHouse) -> None:
    """Settled month by month; late data in closed months; a price corrected at the end; and nothing is forgotten."""
    client, in_time, late = clickhouse.client, ledger.year(), ledger.late()
    history.record(client, economy.config(), source="the worked year")
    first, second, third = calculated()
    believed: list[Believed] = []
    closed: Totals = {}

    for month in MONTHS:
        start, end = moment(month), moment(next_month(month))
        in_time.since(start).until(end).insert(client)
        if end > LATE_AT > start:
            at(client, LATE_AT)  # a part of the month is settled when the late data come
            believed.append(Believed(LATE_AT + SOON, until(first, LATE_AT)))
            late.insert(client)
            at(client, LATE_AT + timedelta(hours=1), everything=True)
            believed.append(Believed(LATE_AT + timedelta(hours=1) + SOON, until(second, LATE_AT)))
            check(client, believed[-1])
        after = end + timedelta(days=7)
        at(client, after)
        believed.append(Believed(after + SOON, until(second if after > LATE_AT else first, end)))
        check(client, believed[-1])
        closed |= {key: value for key, value in booked_totals(client).items() if key[0] == month}

    correct(client, economy.config(economy.RIGHT_OPEX))
    at(client, RERATED_AT, everything=True)
    check(client, Believed(RERATED_AT + SOON, second))  # what is final keeps its prices
    rerate(client, *RERATED, "operation of fir was 0.395", lambda: RERATED_AT + timedelta(hours=1))
    believed.append(Believed(RERATED_AT + timedelta(hours=1) + SOON, third))

    assert {key: value for key, value in booked_totals(client).items() if key[0] in MONTHS} == closed
    for then in believed:
        check(client, then)
    check_corrections(client, first, second, third)


def test_the_year_holds_what_it_is_meant_to_show() -> None:
    """Each limit is crossed in the middle of an hour and of a minute; rules, rates and prices change on their days."""
    first, lines, third = calculated()
    for name in ("borealis", "borealis-more", "fjord", "glacier", "harbour", "inlet"):
        own = [line for line in lines if line.agreement == name and line.accrued]
        crossing = next(line for line in own if line.subsidy < line.accrued)
        same_hour = [line for line in own if line.minute.replace(minute=0) == crossing.minute.replace(minute=0)]
        assert 0 < crossing.subsidy < crossing.accrued, name
        assert same_hour[0].subsidy == same_hour[0].accrued > 0, name
        assert same_hour[-1].subsidy == 0 < same_hour[-1].accrued, name
        assert all(line.subsidy == 0 for line in own if line.minute > crossing.minute), name
    rules = {(line.agreement, line.rule) for line in lines}
    assert {
        ("acme", "cost_share 2/3"), ("acme", "cost_share 1/2"), ("acme", "cost_share 0"), ("delta", "token_price"),
        ("delta", "not in force"), ("inlet", "not in force"), ("fjord", "credits amount"),
        ("glacier", "credits gpu_hours"), ("harbour", "credits rgu_hours"),
        ("borealis-more", "after borealis, cost_share 1/2"), ("acme-alliance", "after acme, cost_share 1/4"),
    } <= rules  # fmt: skip
    assert {line.currency for line in lines} == {"CAD", "EUR"}
    # What changes in some hours moves limits that are reached in others.
    late = {hour for hour in hours_that_differ(first, lines) if hour < LATE_AT and hour not in ledger.LATE_HOURS}
    assert late == {datetime(2026, 11, 9, 5, tzinfo=UTC)}  # the cap of fjord
    after = {hour for hour in hours_that_differ(lines, third) if not RERATED[0] <= hour < RERATED[1]}
    assert after == {datetime(2027, 5, 8, 6, tzinfo=UTC)}  # the cap of borealis-more


@cache
def calculated() -> tuple[list[Line], list[Line], list[Line]]:
    """The year as it was in time; with what came late; and with the corrected price."""
    in_time, everything = ledger.year(), ledger.year() + ledger.late()
    return (
        oracle.calculate(in_time, lambda _: WRONG).lines,
        oracle.calculate(everything, lambda _: WRONG).lines,
        oracle.calculate(everything, lambda hour: RIGHT if RERATED[0] <= hour < RERATED[1] else WRONG).lines,
    )


def hours_that_differ(before: list[Line], after: list[Line]) -> set[datetime]:
    """Hours in which any figure is not the same."""
    sums = (_sums(lines, _named) for lines in (before, after))
    return {key[0] for key in _different(*sums)}


# ---- doing -----------------------------------------------------------------------------------------------------------


def at(client: Client, now: datetime, *, everything: bool = False) -> None:
    """Settle at a moment. After everything was looked at, a second pass finds nothing left to do."""
    settle(client, lambda: now, look_back=None if everything else LOOKED_BACK)
    assert not everything or settle(client, lambda: now, look_back=None).did_nothing


def correct(client: Client, config: Any) -> None:
    """Record a correction of the reference data, as a person does it."""
    history.record(client, config, source="correction", origin="applied")


def moment(day: date) -> datetime:
    """The first of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def next_month(month: date) -> date:
    """First day of the month after."""
    return (month + timedelta(days=31)).replace(day=1)


def until(lines: Iterable[Line], end: datetime) -> list[Line]:
    """Lines of whole hours that are over."""
    return [line for line in lines if line.minute < end.replace(minute=0)]


# ---- comparing -------------------------------------------------------------------------------------------------------

_SELECT = ", ".join(f"sum({column})" for column in FIGURES.values())


def check(client: Client, believed: Believed) -> None:
    """Every total of every hour, party and rule, as recorded until a moment."""
    names = ("period_start", "cluster", "model", "agreement", "rule", "currency", "category")
    rows = client.query(
        f"SELECT {', '.join(names)}, {_SELECT} FROM charges WHERE recorded_at <= {{moment:DateTime64(3, 'UTC')}} "
        f"GROUP BY {', '.join(names)}",
        parameters={"moment": believed.moment},
    ).result_rows
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(FIGURES))
    for row in rows:
        hour, cluster, *key, category = row[: len(names)]
        total = found[hour.replace(tzinfo=UTC), cluster, *key, _category(cluster, category)]
        for i, (name, value) in enumerate(zip(FIGURES, row[len(names) :], strict=True)):
            total[i] += _whole(name, value)
    assert _different(found, _sums(believed.lines, _named)) == {}


def _named(line: Line) -> tuple[Any, ...]:
    hour = line.minute.replace(minute=0)
    key = (line.model, line.agreement, line.rule, line.currency)
    return (hour, line.cluster, *key, _category(line.cluster, line.category))


def _category(cluster: str, category: str) -> str:
    """Devices of oak are priced in another currency: what nobody pays for is converted together."""
    return "nobody" if cluster == "oak" and category != "charged" else category


def _sums(lines: Iterable[Line], key: Callable[[Line], tuple[Any, ...]]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(FIGURES))
    for line in lines:
        total = found[key(line)]
        for i, name in enumerate(FIGURES):
            total[i] += getattr(line, name)
    return found


def _different(
    found: dict[tuple[Any, ...], list[int]], expected: dict[tuple[Any, ...], list[int]]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """(found, expected) of everything that is not the same, by the names of figures. What is nothing may be absent."""
    nothing = [0] * len(FIGURES)
    different = {}
    for key in found.keys() | expected.keys():
        is_, should = found.get(key, nothing), expected.get(key, nothing)
        if is_ != should:
            different[key] = tuple((name, a, b) for name, a, b in zip(FIGURES, is_, should, strict=True) if a != b)
    return different


def _whole(name: str, value: Any) -> int:
    """A figure as the whole number that it is; exact."""
    scaled = value.scaleb(3 if name == "energy_mj" else 9) if hasattr(value, "scaleb") else value
    assert scaled == int(scaled)
    return int(scaled)


def booked_totals(client: Client) -> Totals:
    """What is booked in each month for each agreement."""
    rows = client.query(
        f"SELECT booked_month, agreement, currency, category, count(), {_SELECT} FROM charges "
        "GROUP BY booked_month, agreement, currency, category"
    ).result_rows
    return {tuple(row[:4]): tuple(row[4:]) for row in rows}


def check_corrections(client: Client, first: list[Line], second: list[Line], third: list[Line]) -> None:
    """What is booked in another month than that of its usage is exactly what late data and the correction changed."""
    rows = client.query(
        f"SELECT booked_month, agreement, currency, {_SELECT} FROM charges WHERE kind = 'adjustment' "
        "GROUP BY booked_month, agreement, currency"
    ).result_rows
    assert {month for month, *_ in rows} == {date(2027, 1, 1), date(2027, 7, 1)}
    open_since = datetime(2027, 1, 1, tzinfo=UTC)
    for booked, before, after, end in (
        (date(2027, 1, 1), first, second, open_since), (date(2027, 7, 1), second, third, RERATED_AT),
    ):  # fmt: skip
        changed: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(FIGURES))
        for sign, lines in ((-1, before), (1, after)):
            for key, values in _sums((line for line in lines if line.minute < end), _payer).items():
                changed[key] = [a + sign * b for a, b in zip(changed[key], values, strict=True)]
        found = {
            tuple(row[1:3]): [_whole(name, value) for name, value in zip(FIGURES, row[3:], strict=True)]
            for row in rows
            if row[0] == booked
        }
        assert any(any(values) for values in changed.values())
        assert _different(found, changed) == {}


def _payer(line: Line) -> tuple[Any, ...]:
    return line.agreement, line.currency
