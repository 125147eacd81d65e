"""Settling: hours of the ledger become charges, final hours stay, months close.

- An hour that has ended is priced with the reference data of that moment, and is provisional. Until it is final it is
  priced again whenever the ledger or the reference data have changed.
- A final hour changes by itself only when the ledger does (late data), and keeps its prices and rules; `rerate` is the
  other way.
- A month closes some days after its end, when all of its hours are final. What changes after that is booked in the
  open month, as an adjustment.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from clickhouse_connect.driver.client import Client

from compose.finance.journal import Coverage, Journal, Quantities, Settlement
from compose.finance.lease import Lease
from compose.finance.moments import next_month, start_of
from compose.finance.pricing import HOUR, Due, References, priced
from compose.finance.rating import MEASURES, Lines
from compose.reference.history import config_at, latest_change_at
from schemas.config import Finance
from streams.reference import Reference

SETTLED = "settled"
LATE = "late data"
DELAY = timedelta(minutes=2)
"""After its end, before an hour is priced for the first time: collectors and workers are still at it."""
LOOKED_BACK = timedelta(days=3)
"""Final hours of this time are looked at for late data, unless told otherwise."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock that everyone has."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Outcome:
    """What a pass did."""

    hours: int = 0
    """Priced, again or for the first time."""
    entries: int = 0
    late: list[datetime] = field(default_factory=list)
    """Final hours that changed."""
    finalised: int = 0
    closed: list[date] = field(default_factory=list)
    """Months."""
    rolled_up: int = 0
    """Hours of which the roll-ups were written."""

    @property
    def did_nothing(self) -> bool:
        return not (self.hours or self.finalised or self.closed or self.rolled_up)


def settle(
    client: Client,
    clock: Clock = utc_now,
    *,
    look_back: timedelta | None = LOOKED_BACK,
    running: bool = False,
    lease: Lease | None = None,
) -> Outcome:
    """Settle what is due, and close months that are over.

    look_back: how far back final hours are looked at for late data; None: all of history. running: price the hour that
    has not ended as well, as far as it has come. lease: is held before each write. Raises NoReference before any
    reference data are recorded, UnknownReference when an exchange rate is missing, Busy when the lease was lost.
    """
    journal, terms, reference_at = Journal(client), config_at(client).finance, latest_change_at(client)
    settlement = _Settlement(client, journal, clock, terms, lease)
    span = journal.span()
    now = clock()
    since = BEGINNING if look_back is None or span is None else min(span[1], span[2], _hour(now - look_back))
    ledger = quantities(client, since, _hour(now) + HOUR if running else _hour(now - DELAY))
    settlement.run(settlement.due(ledger, journal.settlements(since), reference_at))
    for month in settlement.months_over():
        begin, end = start_of(month), start_of(next_month(month))
        settlement.run(settlement.due(quantities(client, begin, end), journal.settlements(begin, end), reference_at))
        settlement.close(month)
    return settlement.outcome


class _Settlement:
    def __init__(self, client: Client, journal: Journal, clock: Clock, terms: Finance, lease: Lease | None) -> None:
        self.outcome = Outcome()
        self._lease = lease
        self._client = client
        self._journal = journal
        self._clock = clock
        self._final_after = timedelta(seconds=terms.hour_final_after)
        self._closes_after = timedelta(seconds=terms.month_closes_after)

    def due(
        self, ledger: Mapping[datetime, Quantities], settled: Mapping[datetime, Settlement], reference_at: datetime
    ) -> dict[datetime, Due]:
        """Hours that are not priced yet, or not as they should be. Provisional ones that stay become final."""
        due, finished = {}, []
        for hour in sorted(ledger.keys() | settled.keys()):
            used, known = ledger.get(hour, Quantities()), settled.get(hour)
            as_priced = known is not None and (used, reference_at) == (known.quantities, known.reference_at)
            if known is None or (known.status == "provisional" and not as_priced):
                due[hour] = Due(reference_at, SETTLED)
            elif used != known.quantities and hour in ledger:
                due[hour] = Due(known.reference_at, LATE)
                self.outcome.late.append(hour)
            elif known.status == "provisional" and self._is_final(hour):
                finished.append(known)
        self._finish(finished)
        return due

    def run(self, due: Mapping[datetime, Due]) -> None:
        """Price these hours and record what differs."""
        record(self._client, self._journal, due, self._clock, self._is_final, self.outcome, self._lease)

    def months_over(self) -> list[date]:
        """Months that could be closed: over for long enough, not closed yet, oldest first."""
        span = self._journal.span()
        if span is None:
            return []
        closed, now = self._journal.closed_months(), self._clock()
        months, month = [], span[0].date().replace(day=1)
        while start_of(next_month(month)) + self._closes_after <= now:
            if month not in closed:
                months.append(month)
            month = next_month(month)
        return months

    def close(self, month: date) -> None:
        """Close a month, provided that all of its hours are final."""
        settled = self._journal.settlements(start_of(month), start_of(next_month(month)))
        if all(hour.status == "final" for hour in settled.values()):
            _hold(self._lease)
            self._journal.close(month, _later(self._journal, self._clock), "all hours final")
            self.outcome.closed.append(month)

    def _is_final(self, hour: datetime) -> bool:
        return self._clock() >= hour + HOUR + self._final_after

    def _finish(self, settled: Iterable[Settlement]) -> None:
        final = [_next(hour, hour.reference_at, SETTLED, hour.quantities, final=True) for hour in settled]
        if final:
            _hold(self._lease)
            self._journal.write({}, final, [], _later(self._journal, self._clock), set())
            self.outcome.finalised += len(final)


def record(
    client: Client, journal: Journal, due: Mapping[datetime, Due], clock: Clock, is_final: Callable[[datetime], bool],
    outcome: Outcome, lease: Lease | None = None,
) -> None:  # fmt: skip
    """Price hours, and those that change with them, and write the differences part by part."""
    closed = journal.closed_months()
    for part in priced(client, due, references(client), written=True):
        start, end = min(part.hours), max(part.hours) + HOUR
        used, known = used_in(part.after), journal.settlements(start, end)
        settled = [
            _next(known.get(hour), asked.reference_at, asked.reason, used.get(hour, Quantities()), hour=hour,
                  final=is_final(hour))
            for hour, asked in part.hours.items()
        ]  # fmt: skip
        observed = coverage(client, start, end)
        _hold(lease)
        journal.write(part.differences, settled, observed, _later(journal, clock), closed)
        outcome.hours += len(settled)
        outcome.entries += len(part.differences)


def used_in(lines: Lines) -> dict[datetime, Quantities]:
    """What the lines of each hour are made of: exactly what was read of the ledger when they were priced."""
    used: dict[datetime, Quantities] = {}
    for key, figures in lines.items():
        named = dict(zip(MEASURES, figures, strict=True))
        tokens = named["prompt_tokens"] + named["generation_tokens"]
        hour = datetime.fromtimestamp(key.hour_s, UTC)
        known = used.get(hour, Quantities())
        used[hour] = Quantities(
            known.gpu_ns + named["gpu_ns"], known.energy_mj + named["energy_mj"], known.tokens + tokens
        )
    return used


def always(answer: bool) -> Callable[[datetime], bool]:
    """Whether an hour is final now: the same for all. (What was final stays final.)"""
    return lambda _: answer


def references(client: Client) -> References:
    """Reference data as recorded until a moment; each moment is read once."""
    return lru_cache(32)(lambda moment: Reference(config_at(client, moment)))


def _next(
    known: Settlement | None, reference_at: datetime, reason: str, used: Quantities, *, final: bool,
    hour: datetime | None = None,
) -> Settlement:  # fmt: skip
    """The settlement that follows one, or the first of an hour. What was final stays final."""
    if known is None:
        assert hour is not None
        return Settlement(hour, 1, "final" if final else "provisional", reason, reference_at, used)
    status = "final" if final or known.status == "final" else "provisional"
    return Settlement(known.hour, known.revision + 1, status, reason, reference_at, used)


def _hold(lease: Lease | None) -> None:
    if lease is not None:
        lease.hold()


def _later(journal: Journal, clock: Clock) -> datetime:
    """Now, but later than everything that is recorded."""
    return max(clock(), journal.newest_record() + _MILLISECOND)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


# ---- the ledger ------------------------------------------------------------------------------------------------------


def quantities(client: Client, start: datetime, end: datetime) -> dict[datetime, Quantities]:
    """What the ledger holds of each hour in which anything was used."""
    rows = client.query(_QUANTITIES, parameters={"start": start, "end": end}).result_rows
    return {datetime.fromtimestamp(hour_s, UTC): Quantities(*used) for hour_s, *used in rows}


def coverage(client: Client, start: datetime, end: datetime) -> list[Coverage]:
    """How much of each hour was observed. A device that was seen in the hour before is expected in the hour."""
    rows = client.query(_COVERAGE, parameters={"before": start - HOUR, "start": start, "end": end}).result_rows
    return [Coverage(datetime.fromtimestamp(hour_s, UTC), *rest) for hour_s, *rest in rows]


_QUANTITIES = """
SELECT hour, sum(gpu_ns), sum(energy_mj), sum(tokens)
FROM
(
    SELECT toInt64(toUnixTimestamp(toStartOfHour(ts_start))) AS hour, sum(reinterpretAsInt64(gpu_seconds)) AS gpu_ns,
        sum(reinterpretAsInt64(energy_j)) AS energy_mj, toInt64(0) AS tokens
    FROM gpu_usage_store FINAL
    WHERE ts_start >= {start:DateTime('UTC')} AND ts_start < {end:DateTime('UTC')} AND ts_end > ts_start
    GROUP BY hour
    UNION ALL
    SELECT toInt64(toUnixTimestamp(toStartOfHour(minute))) AS hour, toInt64(0) AS gpu_ns, toInt64(0) AS energy_mj,
        sum(prompt_tokens + generation_tokens) AS tokens
    FROM token_usage_store FINAL
    WHERE minute >= {start:DateTime('UTC')} AND minute < {end:DateTime('UTC')} AND ts_end > ts_start AND counted
    GROUP BY hour
)
GROUP BY hour
ORDER BY hour
"""
_COVERAGE = """
SELECT hour, cluster, toUInt32(uniqExact(device)), toInt64(sum(observed_ns))
FROM
(
    SELECT toInt64(toUnixTimestamp(toStartOfHour(ts_start))) AS hour, toString(cluster) AS cluster, device,
        sum(reinterpretAsInt64(gpu_seconds)) AS observed_ns
    FROM gpu_usage_store FINAL
    WHERE ts_start >= {start:DateTime('UTC')} AND ts_start < {end:DateTime('UTC')} AND ts_end > ts_start
    GROUP BY hour, cluster, device
    UNION ALL
    SELECT DISTINCT toInt64(toUnixTimestamp(toStartOfHour(ts_start))) + 3600 AS hour, toString(cluster) AS cluster,
        device, toInt64(0) AS observed_ns
    FROM gpu_usage_store
    WHERE ts_start >= {before:DateTime('UTC')} AND ts_start < {end:DateTime('UTC')} - INTERVAL 1 HOUR
)
GROUP BY hour, cluster
ORDER BY hour, cluster
"""
