"""What the tiles must show, worked out from the seeded rows in plain Python, without SQL."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from dashboards.macros import Window
from tests.dashboards.seed import (
    AGREEMENT,
    AGREEMENTS,
    CURRENCY,
    DAY,
    HOUR,
    MINUTE,
    Agreement,
    Burn,
    Forecast,
    Ledger,
    Settled,
    UnitCost,
    hour_of,
)

Line = Settled | UnitCost
Tile = Fraction | Decimal | int | None


def chosen(programmes: set[str], agreements: set[str], currency: str) -> list[Agreement]:
    """The agreements that a choice of variables means; an empty set is All."""
    return [
        terms
        for terms in AGREEMENTS
        if CURRENCY[terms.programme] == currency
        and (not programmes or terms.programme in programmes)
        and (not agreements or terms.id in agreements)
    ]


def moment(line: Line) -> datetime:
    """Start of the hour or minute of a line."""
    return line.period_start if isinstance(line, Settled) else line.minute


def lines(
    ledger: Ledger, since: datetime, until: datetime, minutes_from: datetime, agreement: str | None = None
) -> Iterable[Line]:
    """The book in [since, until): settled hours, and minutes where no hour is settled or finer is asked for."""
    settled, minutes = (ledger.settled, ledger.unit_costs) if agreement is None else ledger.by_agreement[agreement]
    for hour in settled:
        if since <= hour.period_start < min(until, minutes_from):
            yield hour
    for minute in minutes:
        if since <= minute.minute < until and minute.minute >= min(ledger.settled_until, minutes_from):
            yield minute


_EVER = datetime(2000, 1, 1, tzinfo=UTC)


def spent(ledger: Ledger, terms: Agreement, until: datetime, minutes_from: datetime) -> Decimal:
    """Subsidy of an agreement before `until`, at most its cap."""
    accrued = terms.spent_before + sum(
        (line.subsidy for line in lines(ledger, _EVER, until, minutes_from, terms.id)), Decimal(0)
    )
    return accrued if terms.cap is None else min(accrued, terms.cap)


def end_of(window: Window) -> datetime:
    """The moment whose state a range shows: its end, or now."""
    return min(datetime.fromtimestamp(window.to_s, UTC), datetime.now(UTC))


def spent_at(ledger: Ledger, terms: Agreement, at: datetime) -> Decimal:
    """Subsidy of an agreement as of a moment: the minutes of the running hour, settled hours before."""
    return spent(ledger, terms, at.replace(second=0, microsecond=0) + MINUTE, hour_of(at))


def _newest(ledger: Ledger, terms: Agreement, at: datetime) -> Burn | None:
    """The newest burn, of an agreement that is used: within ten minutes of the newest of all."""
    rows = [row for row in ledger.burn if row.minute <= at]
    own = [row for row in rows if row.agreement == terms.id]
    if not own or own[-1].minute < max(row.minute for row in rows) - 10 * MINUTE:
        return None
    return own[-1]


def _forecast(ledger: Ledger, terms: Agreement, at: datetime) -> Forecast | None:
    rows = [row for row in ledger.forecasts if row.agreement == terms.id and at - 3 * DAY <= row.recorded_at <= at]
    return max(rows, key=lambda row: row.recorded_at) if rows else None


def _gone(ledger: Ledger, terms: Agreement, at: datetime) -> datetime | None:
    """When the money is gone: by the forecast, else at the current rate."""
    if terms.over(ledger.now) <= at or (terms.cap is not None and spent_at(ledger, terms, at) >= terms.cap):
        return None
    forecast, burn = _forecast(ledger, terms, at), _newest(ledger, terms, at)
    if terms.cap is not None and forecast and forecast.spent_at_end is not None:
        return forecast.projected_end
    if not burn or not burn.runway_hours:
        return None
    ends = burn.ts.replace(microsecond=0) + timedelta(seconds=int(burn.runway_hours * 3600))
    return ends if ends < terms.over(ledger.now) else None


def budget_tiles(ledger: Ledger, window: Window, agreements: list[Agreement]) -> dict[str, Tile]:
    """The figures of finance by panel name."""
    at = end_of(window)
    spending = {terms.id: spent_at(ledger, terms, at) for terms in agreements}
    capped = {terms.id: terms.cap for terms in agreements if terms.cap is not None}
    left = {name: cap - spending[name] for name, cap in capped.items()}
    still = {name: amount for name, amount in left.items() if AGREEMENT[name].over(ledger.now) > at}
    rates = [
        burn.rate_per_hour
        for terms in agreements
        if (burn := _newest(ledger, terms, at)) and (terms.cap is None or spending[terms.id] < terms.cap)
    ]
    ends = [gone for terms in agreements if (gone := _gone(ledger, terms, at))]
    ahead = [
        spending[terms.id] if terms.over(ledger.now) <= at else row.spent_at_end if row else None
        for terms in agreements
        for row in [_forecast(ledger, terms, at)]
    ]
    known = [amount for amount in ahead if amount is not None]
    first = int(min(ends).timestamp()) * 1000 if ends else None
    return {
        "spent": sum(spending.values(), Decimal(0)) if agreements else None,
        "remaining": sum(still.values(), Decimal(0)) if capped else None,
        "used": Fraction(sum(spending[name] for name in capped)) / Fraction(sum(capped.values())) if capped else None,
        "burn-rate": sum(rates, Decimal(0)) if agreements else None,
        "projected": sum(known, Decimal(0)) if known else None,
        "next-end": first,
        "runs-out": first,
        "cost-per-mtok": _cost_per_mtok(ledger, window, {terms.id for terms in agreements}),
    }


def spans(window: Window) -> timedelta:
    """Width of the rows that panels read: minutes, hours or days."""
    return MINUTE if window.interval_s < 900 else HOUR if window.interval_s < 43_200 else DAY


def in_range(ledger: Ledger, window: Window) -> list[Line]:
    """Rows of cost in a range, as fine as panels read them."""
    since, to = (datetime.fromtimestamp(second, UTC) for second in (window.from_s, window.to_s))
    span = spans(window)
    found = lines(ledger, _EVER, _EVER + 36500 * DAY, _EVER if span == MINUTE else ledger.settled_until)
    if span == DAY:
        return [line for line in found if since.date() <= moment(line).date() <= to.date()]
    return [line for line in found if since <= (hour_of(moment(line)) if span == HOUR else moment(line)) <= to]


def _cost_per_mtok(ledger: Ledger, window: Window, agreements: set[str]) -> Fraction | None:
    serving = [line for line in in_range(ledger, window) if line.model and line.agreement in agreements]
    tokens = sum(line.prompt_tokens + line.generation_tokens for line in serving)
    return Fraction(sum(line.cost for line in serving)) * 1_000_000 / tokens if tokens else None


def money_left(ledger: Ledger, window: Window, agreements: list[Agreement], at: datetime) -> Decimal:
    """What the burn-down shows at a moment: caps minus spent, of agreements that have not ended."""
    since, span = datetime.fromtimestamp(window.from_s, UTC), spans(window)
    first = since.replace(hour=0, minute=0, second=0) if span == DAY else _EVER
    if span != DAY:
        first += -((_EVER - since) // span) * span  # rounded up to a whole span
    minutes_from = hour_of(first) if span == MINUTE else ledger.settled_until
    return sum(
        (
            terms.cap - spent(ledger, terms, at, minutes_from)
            for terms in agreements
            if terms.cap is not None and terms.over(ledger.now) > max(at, first)
        ),
        Decimal(0),
    )


def planned_left(ledger: Ledger, agreements: list[Agreement], at: datetime) -> Fraction:
    """What is left of the caps if money goes by plan: straight lines between the ends of its days."""
    total = Fraction(0)
    for terms in agreements:
        if terms.cap is None or terms.over(ledger.now) <= at:
            continue
        points = [(datetime.combine(terms.starts(ledger.now), datetime.min.time(), UTC), Fraction(0))]
        midnight = ledger.now.replace(hour=0, minute=0, second=0, microsecond=0)
        points += [(midnight + (day + 1) * DAY, Fraction(amount)) for day, amount in terms.plan] or [
            (terms.over(ledger.now), Fraction(terms.cap))
        ]
        planned = points[0][1] if at <= points[0][0] else points[-1][1]
        for (begin, low), (end, high) in itertools.pairwise(points):
            if begin < at <= end:
                planned = low + (high - low) * Fraction((at - begin) / MINUTE) / Fraction((end - begin) / MINUTE)
        total += Fraction(terms.cap) - planned
    return total


def forecast_left(
    ledger: Ledger, window: Window, agreements: list[Agreement], at: datetime
) -> tuple[float, float, float]:
    """What will be left at a later moment: likely, sooner, later."""
    upto = end_of(window)
    days = (at - upto) / DAY
    likely = early = late = 0.0
    for terms in agreements:
        row = _forecast(ledger, terms, upto)
        if terms.cap is None or terms.over(ledger.now) <= at:
            continue
        left, mean, spread = float(money_left(ledger, window, [terms], upto + MINUTE)), 0.0, 0.0
        if row is None or row.spent_at_end is None:  # it stays as it is
            likely, early, late = likely + left, early + left, late + left
            continue
        mean = float(row.mean_per_day)
        if row.projected_end_early and row.remaining is not None and row.projected_end_early > row.until:
            until_early = (row.projected_end_early - row.until) / DAY
            spread = (float(row.remaining) - mean * until_early) / (until_early + until_early**2 / row.days) ** 0.5
        width = spread * (days + days**2 / row.days) ** 0.5
        likely += max(left - mean * days, 0)
        early += max(left - mean * days - width, 0)
        late += max(left - max(mean * days - width, 0), 0)
    return likely, early, late
