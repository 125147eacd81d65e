"""The forecasts of all agreements from the charges in the book, written to `subsidy_forecasts` once an hour."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from clickhouse_connect.driver.client import Client

from compose.finance import spending
from compose.finance.forecasting import DAYS_MOST, Forecast, forecast
from compose.finance.moments import start_of
from compose.reference.history import config_at
from schemas.config import Config
from schemas.money import nano_to_decimal, to_nano

_DAY = timedelta(days=1)
_AMOUNTS = {
    "spent": "spent_nano",
    "planned": "planned_nano",
    "remaining": "remaining_nano",
    "mean_per_day": "mean_nano_per_day",
    "spent_at_end": "spent_at_end_nano",
}
_OTHERS = (
    "programme", "agreement", "until", "days", "projected_end_early", "projected_end", "projected_end_late", "currency",
)  # fmt: skip


def forecasts(client: Client, as_of: datetime | None = None, config: Config | None = None) -> list[Forecast]:
    """One for each agreement, as of a moment; none before the first hour is settled.

    They rest on the last whole UTC days until the newest settled hour, at most DAYS_MOST and only days of which the
    agreement's usage had begun before; a day without usage counts as 0. Raises NoReference.
    """
    until = spending.settled_until(client, as_of)
    if until is None:
        return []
    config = config or config_at(client, as_of)
    currency = {programme.id: programme.currency for programme in config.programme}
    midnight = start_of(until.date())
    spent = spending.settled(client, spending.EPOCH, until, as_of)
    first = spending.first_charged(client, until, as_of)
    by_day = spending.settled_by_day(client, midnight - DAYS_MOST * _DAY, midnight, as_of)
    return [
        forecast(
            agreement,
            currency[agreement.programme],
            until,
            to_nano(agreement.spent_before) + spent.get(agreement.id, 0),
            _whole_days(by_day.get(agreement.id, {}), first.get(agreement.id, until), midnight),
        )
        for agreement in config.agreement
    ]


def _whole_days(by_day: Mapping[date, int], first: datetime, midnight: datetime) -> list[int]:
    """Subsidy of each whole day before `midnight`, oldest first, from the first one that usage had begun before."""
    start = start_of(first.date())
    if start < first:
        start += _DAY
    start = max(start, midnight - DAYS_MOST * _DAY)
    return [by_day.get((start + number * _DAY).date(), 0) for number in range(max((midnight - start) // _DAY, 0))]


def write(client: Client, as_of: datetime | None = None, config: Config | None = None) -> list[Forecast]:
    """Append the forecasts to `subsidy_forecasts` and return them. Raises NoReference."""
    found = forecasts(client, as_of, config)
    if found:
        now = datetime.now(UTC)
        rows = [(now, *(getattr(line, name) for name in _OTHERS), *_amounts(line)) for line in found]
        client.insert("subsidy_forecasts", rows, column_names=["recorded_at", *_OTHERS, *_AMOUNTS])
    return found


def _amounts(line: Forecast) -> list[object]:
    amounts = [getattr(line, name) for name in _AMOUNTS.values()]
    return [None if amount is None else nano_to_decimal(amount) for amount in amounts]
