"""What agreements have spent: of settled hours, from `charges`; of minutes, from `unit_costs`, before any cap.

`as_of`: only what was recorded until then counts; None: everything. All amounts are nano-units of the programme's
currency, and no entry means 0.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.money import decimal_to_nano

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

_FOREVER_MS = 4_102_444_800_000  # the year 2100
_SETTLED_UNTIL = """
SELECT count(), toUnixTimestamp(max(period_start)) FROM settlements
WHERE recorded_at <= fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC') AND period_start + INTERVAL 1 HOUR <= recorded_at
"""
_CHARGED = """
FROM charges
WHERE category = 'charged' AND period_start >= toDateTime({since:Int64}, 'UTC')
  AND period_start < toDateTime({until:Int64}, 'UTC')
  AND recorded_at <= fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')
"""


def recorded(as_of: datetime | None) -> dict[str, int]:
    """Parameter of a query about what was recorded until a moment."""
    return {"as_of_ms": _FOREVER_MS if as_of is None else (as_of - EPOCH) // timedelta(milliseconds=1)}


def between(since: datetime, until: datetime) -> dict[str, int]:
    """Parameters of a query about [since, until), whole seconds."""
    return {"since": int(since.timestamp()), "until": int(until.timestamp())}


def settled_until(client: Client, as_of: datetime | None = None) -> datetime | None:
    """End of the newest hour that was settled after it had ended; None when none was."""
    ((hours, newest),) = client.query(_SETTLED_UNTIL, parameters=recorded(as_of)).result_rows
    return datetime.fromtimestamp(newest, UTC) + HOUR if hours else None


def settled(client: Client, since: datetime, until: datetime, as_of: datetime | None = None) -> dict[str, int]:
    """Subsidy of hours that begin in [since, until), by agreement."""
    query = f"SELECT agreement, sum(subsidy) {_CHARGED} GROUP BY agreement"
    return _by_agreement(client.query(query, parameters=between(since, until) | recorded(as_of)).result_rows)


def settled_by_day(
    client: Client, since: datetime, until: datetime, as_of: datetime | None = None
) -> dict[str, dict[date, int]]:
    """The same by agreement and UTC day."""
    query = f"SELECT agreement, toDate(period_start), sum(subsidy) {_CHARGED} GROUP BY 1, 2"
    days: dict[str, dict[date, int]] = {}
    for agreement, day, subsidy in client.query(query, parameters=between(since, until) | recorded(as_of)).result_rows:
        days.setdefault(agreement, {})[day] = decimal_to_nano(subsidy)
    return days


def first_charged(client: Client, until: datetime, as_of: datetime | None = None) -> dict[str, datetime]:
    """First hour before `until` of which something is charged, by agreement."""
    query = f"SELECT agreement, toUnixTimestamp(min(period_start)) {_CHARGED} GROUP BY agreement"
    rows = client.query(query, parameters=between(EPOCH, until) | recorded(as_of)).result_rows
    return {agreement: datetime.fromtimestamp(first, UTC) for agreement, first in rows}


_LIVE = """
FROM unit_costs
WHERE agreement != '' AND minute >= toDateTime({since:Int64}, 'UTC') AND minute < toDateTime({until:Int64}, 'UTC')
GROUP BY agreement
"""


def newest_minute(client: Client) -> datetime | None:
    """The minute that usage was last metered in; it can still be growing. None: there is none."""
    query = "SELECT count(), toUnixTimestamp(max(minute)) FROM unit_costs_store"
    ((minutes, newest),) = client.query(query).result_rows
    return datetime.fromtimestamp(newest, UTC) if minutes else None


def live(client: Client, since: datetime, until: datetime) -> dict[str, int]:
    """Subsidy of minutes in [since, until), by agreement."""
    query = f"SELECT agreement, sum(subsidy) {_LIVE}"
    return _by_agreement(client.query(query, parameters=between(since, until)).result_rows)


def first_metered(client: Client, since: datetime, until: datetime) -> dict[str, datetime]:
    """First minute in [since, until) in which something was used, by agreement."""
    query = f"SELECT agreement, toUnixTimestamp(min(minute)) {_LIVE}"
    rows = client.query(query, parameters=between(since, until)).result_rows
    return {agreement: datetime.fromtimestamp(first, UTC) for agreement, first in rows}


def _by_agreement(rows: Iterable[Any]) -> dict[str, int]:
    amounts: Iterable[tuple[str, Decimal]] = rows
    return {agreement: decimal_to_nano(amount) for agreement, amount in amounts}
