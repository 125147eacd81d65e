"""Pricing history again: under today's reference data for good, or under other data just to see what they would do.

Attribution is not touched: who held a device, and whose tokens they were, is what the ledger says.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache

from clickhouse_connect.driver.client import Client

from compose.finance.journal import Journal
from compose.finance.lease import Lease
from compose.finance.pricing import Due, Priced, priced
from compose.finance.settle import Clock, Outcome, always, record, references, utc_now
from compose.reference.history import config_at, latest_change_at
from schemas.config import Config
from streams.reference import Reference


def preview(client: Client, start: datetime, end: datetime, reason: str) -> Iterator[Priced]:
    """What `rerate` would change, part by part; nothing is written."""
    return priced(client, _due(client, start, end, reason), references(client), written=False)


def rerate(
    client: Client, start: datetime, end: datetime, reason: str, clock: Clock = utc_now, lease: Lease | None = None
) -> Outcome:
    """Price the settled hours from `start` to `end` again, under the reference data as they are recorded now.

    Later hours change with them where a cap or a grant is now used up at another moment; those keep their own prices.
    """
    due = _due(client, start, end, reason)
    outcome = Outcome()
    record(client, Journal(client), due, clock, always(False), outcome, lease)
    return outcome


def what_if(client: Client, start: datetime, end: datetime, changed: Callable[[Config], Config]) -> Iterator[Priced]:
    """The settled hours from `start` to `end` under other reference data; nothing is written.

    changed: makes the other data of those that an hour is priced with. Unchanged, everything comes out as it stands.
    """
    other = lru_cache(32)(lambda moment: Reference(changed(config_at(client, moment))))
    settled = Journal(client).settlements(start, end)
    due = {hour: Due(known.reference_at, "what if") for hour, known in settled.items()}
    return priced(client, due, other, written=False, beyond=False)


def _due(client: Client, start: datetime, end: datetime, reason: str) -> dict[datetime, Due]:
    reference_at = latest_change_at(client)
    return {hour: Due(reference_at, reason) for hour in Journal(client).settlements(start, end)}
