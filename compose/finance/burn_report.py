"""How fast the money of each agreement burns: spent against cap and plan, rates, runway, and when it is gone.

With the newest records (`as_of` None) the report reaches to the newest metered minute: what is settled comes from
`charges`, the minutes since from `unit_costs`. Those are before the cap, so spent stops at it. Rates over up to 6 hours
come from minutes, and end before the newest one, which can still be growing; over 3 days, from settled hours and the
minutes since. As of a moment in the past only charges are known to be what they were then: the report ends with the
hour that was settled last, and there is no rate over 5 minutes.

A rate is the subsidy of a window per hour, from the first usage of the agreement on where that lies within the window;
it is not known where that leaves less than half of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from clickhouse_connect.driver.client import Client

from compose.finance import spending
from compose.finance.forecast import forecasts
from compose.finance.forecasting import Forecast
from compose.finance.spending import EPOCH, HOUR, MINUTE
from compose.options import Mistake
from compose.reference.history import config_at
from schemas.config import Agreement, Config, Programme
from schemas.money import round_half_even, to_nano
from streams.planning import ends_ms, planned_nano, starts_ms

WINDOWS = {"5m": 5 * MINUTE, "1h": HOUR, "6h": 6 * HOUR, "3d": 72 * HOUR}
TOLERANCE = Fraction(1, 20)
"""Spending within this share of all that is planned is on plan."""

Rates = dict[str, int | None]
"""Nano-units per hour, by window; None: not known."""


@dataclass(frozen=True, slots=True)
class Burn:
    """One agreement. Amounts in nano-units of `currency`."""

    agreement: Agreement
    currency: str
    at: datetime
    spent_nano: int
    """At most the cap."""
    cap_nano: int | None
    planned_nano: int | None
    """By `at`; None: neither plan nor cap."""
    rates: Rates
    forecast: Forecast | None
    """None: nothing is settled."""

    @property
    def runway_hours(self) -> Fraction | None:
        """What is left of the cap at the rate of the shortest window that is known; None: no cap, or nothing burns."""
        rate = next((rate for rate in self.rates.values() if rate is not None), 0)
        return None if self.cap_nano is None or rate <= 0 else Fraction(self.cap_nano - self.spent_nano, rate)

    @property
    def beyond_plan_nano(self) -> int | None:
        """Spent less planned: negative is behind the plan."""
        return None if self.planned_nano is None else self.spent_nano - self.planned_nano

    @property
    def status(self) -> str:
        """In words."""
        at_ms = int(self.at.timestamp()) * 1000
        if self.cap_nano is not None and self.spent_nano >= self.cap_nano:
            return "used up"
        if at_ms >= ends_ms(self.agreement):
            return "ended"
        if at_ms < starts_ms(self.agreement):
            return "not begun"
        gone = self.forecast.projected_end if self.forecast else None
        return self._side if gone is None else f"{self._side}: will run out on {gone:%Y-%m-%d}"

    @property
    def _side(self) -> str:
        in_all = planned_nano(self.agreement, ends_ms(self.agreement))
        if in_all is None or self.beyond_plan_nano is None:
            return "no plan"
        if abs(self.beyond_plan_nano) <= in_all * TOLERANCE:
            return "on plan"
        return "ahead of plan" if self.beyond_plan_nano > 0 else "behind plan"


@dataclass(frozen=True, slots=True)
class Total:
    """All agreements of one programme. Amounts in nano-units of its currency."""

    programme: Programme
    spent_nano: int
    cap_nano: int | None
    """Of all agreements together; None: one of them has no cap."""
    planned_nano: int | None
    """None: one of them has no plan."""
    rates: Rates


@dataclass(frozen=True, slots=True)
class Report:
    at: datetime
    """Usage up to here is in it."""
    as_of: datetime | None
    burns: list[Burn]
    """By programme, in the order of the reference data."""
    totals: list[Total]


@dataclass(frozen=True, slots=True)
class _Spending:
    """Nano-units by agreement."""

    at: datetime
    subsidy: Mapping[str, int]
    """All that was metered."""
    windows: Mapping[str, Mapping[str, int]]
    """Of each window that is known."""
    starts: Mapping[str, datetime]
    """First moment that each of these windows covers."""
    first: Mapping[str, datetime]
    """First usage."""


def report(
    client: Client, as_of: datetime | None = None, *, agreement: str | None = None, programme: str | None = None
) -> Report:
    """The burn of one agreement, of one programme, or of all. Raises Mistake for an unknown name, and NoReference."""
    config = config_at(client, as_of)
    chosen = _chosen(config, agreement, programme)
    spent = _until_now(client) if as_of is None else _until(client, as_of)
    found = {forecast.agreement: forecast for forecast in forecasts(client, as_of, config)}
    burns = [
        _burn(described, known, spent, found.get(described.id))
        for known in config.programme
        for described in chosen
        if described.programme == known.id
    ]
    totals = [] if agreement else [_total(known, burns) for known in config.programme if programme in (None, known.id)]
    return Report(spent.at, as_of, burns, totals)


def _chosen(config: Config, agreement: str | None, programme: str | None) -> list[Agreement]:
    """Raises Mistake."""
    for kind, name, known in (("agreement", agreement, config.agreement), ("programme", programme, config.programme)):
        names = [described.id for described in known]
        if name is not None and name not in names:
            raise Mistake(f'no {kind} "{name}" is described: choose one of {", ".join(sorted(names)) or "none"}.')
    chosen = [
        described
        for described in config.agreement
        if agreement in (None, described.id) and programme in (None, described.programme)
    ]
    if agreement and not chosen:
        raise Mistake(f"agreement {agreement} does not belong to programme {programme}: leave out one of them.")
    return chosen


def _until_now(client: Client) -> _Spending:
    """Settled hours and the minutes since."""
    until = spending.settled_until(client)
    newest = spending.newest_minute(client)
    at = max(filter(None, (until, newest)), default=datetime.now(UTC).replace(second=0, microsecond=0))
    until = until or EPOCH
    starts = {name: at - length for name, length in WINDOWS.items()}
    starts["3d"] = _next_hour(starts["3d"])
    metered = {name: spending.live(client, starts[name], at) for name in ("5m", "1h", "6h")}
    since = max(until, starts["3d"])
    metered["3d"] = _sum(spending.settled(client, starts["3d"], until), spending.live(client, since, at))
    begun = spending.first_metered(client, min(until, starts["6h"]), at)
    earlier = spending.first_charged(client, _next_hour(starts["6h"]))
    return _Spending(
        at=at,
        subsidy=_sum(spending.settled(client, EPOCH, until), spending.live(client, until, at + MINUTE)),
        windows=metered,
        starts=starts,
        first={**begun, **earlier},
    )


def _until(client: Client, as_of: datetime) -> _Spending:
    """Settled hours as they were recorded until a moment."""
    at = spending.settled_until(client, as_of) or as_of
    starts = {name: at - length for name, length in WINDOWS.items() if length >= HOUR}
    return _Spending(
        at=at,
        subsidy=spending.settled(client, EPOCH, at, as_of),
        windows={name: spending.settled(client, start, at, as_of) for name, start in starts.items()},
        starts=starts,
        first=spending.first_charged(client, at, as_of),
    )


def _burn(agreement: Agreement, programme: Programme, spent: _Spending, forecast: Forecast | None) -> Burn:
    cap_nano = None if agreement.cap is None else to_nano(agreement.cap)
    spent_nano = to_nano(agreement.spent_before) + spent.subsidy.get(agreement.id, 0)
    return Burn(
        agreement=agreement,
        currency=programme.currency,
        at=spent.at,
        spent_nano=spent_nano if cap_nano is None else min(spent_nano, cap_nano),
        cap_nano=cap_nano,
        planned_nano=planned_nano(agreement, int(spent.at.timestamp()) * 1000),
        rates={name: _per_hour(agreement.id, name, spent) for name in WINDOWS},
        forecast=forecast,
    )


def _per_hour(agreement: str, window: str, spent: _Spending) -> int | None:
    first = spent.first.get(agreement)
    if window not in spent.windows or first is None:
        return None
    covered = spent.at - max(first, spent.starts[window])
    if covered <= timedelta() or 2 * covered < WINDOWS[window]:
        return None
    return round_half_even(Fraction(60 * spent.windows[window].get(agreement, 0), covered // MINUTE))


def _total(programme: Programme, burns: Sequence[Burn]) -> Total:
    ours = [burn for burn in burns if burn.agreement.programme == programme.id]
    return Total(
        programme=programme,
        spent_nano=sum(burn.spent_nano for burn in ours),
        cap_nano=_all([burn.cap_nano for burn in ours]),
        planned_nano=_all([burn.planned_nano for burn in ours]),
        rates={name: _known([burn.rates[name] for burn in ours]) for name in WINDOWS},
    )


def _all(amounts: Sequence[int | None]) -> int | None:
    """The sum; None as soon as one is not known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _known(amounts: Sequence[int | None]) -> int | None:
    """The sum of those that are known; None when none is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {*one, *other}}


def _next_hour(moment: datetime) -> datetime:
    """The whole hour at or after a moment."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour if hour == moment else hour + HOUR
