"""The journal of charges: what stands in it, and how differences are written.

Nothing in it is ever changed. An entry is a difference to what was recorded of its line before, so the state of a line
is the sum of its entries, and settling an hour again writes nothing where nothing changed: whatever was cut off is
simply done again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from compose.finance.limits import Balance
from compose.finance.moments import next_month
from compose.finance.rating import MEASURES, Key, Lines
from streams.metering.columns import decimals

COLUMNS = {
    "gpu_ns": ("gpu_seconds", 9), "busy_ns": ("busy_seconds", 9), "rgu_ns": ("rgu_seconds", 9),
    "energy_mj": ("energy_j", 3), "counter_ns": ("counter_seconds", 9), "integrated_ns": ("integrated_seconds", 9),
    "bridged_ns": ("bridged_seconds", 9), "prompt_tokens": ("prompt_tokens", 0), "cached_tokens": ("cached_tokens", 0),
    "generation_tokens": ("generation_tokens", 0), "price_cost_nano": ("price_cost", 9), "cost_nano": ("cost", 9),
    "accrued_nano": ("accrued", 9), "subsidy_nano": ("subsidy", 9), "charge_nano": ("charge", 9),
}  # fmt: skip
"""Column of the table behind each measure of a line, and its decimal places."""

_NAMES = tuple(name for name in Key._fields if name != "hour_s")
_SECONDS = pa.timestamp("s", tz="UTC")
_MILLISECONDS = pa.timestamp("ms", tz="UTC")


@dataclass(frozen=True, slots=True)
class Quantities:
    """What was used in an hour; when this changes, so do the charges."""

    gpu_ns: int = 0
    energy_mj: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an hour stands: its latest settlement."""

    hour: datetime
    revision: int
    status: str
    """provisional or final."""
    reason: str
    reference_at: datetime
    """Its prices and rules are those recorded until this moment."""
    quantities: Quantities


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of an hour was observed on a cluster."""

    hour: datetime
    cluster: str
    devices: int
    observed_ns: int


class Journal:
    """The tables of finance, through one client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # ---- reading ---------------------------------------------------------------------------------------------------

    def balances(self, before: datetime) -> dict[str, Balance]:
        """What each agreement has used up in the hours before."""
        rows = self._client.query(_BALANCES, parameters={"before": before}).result_rows
        return {agreement: Balance(*used) for agreement, *used in rows}

    def usage_after(self, after: datetime, agreements: Sequence[str]) -> list[tuple[str, datetime, Balance]]:
        """(agreement, hour, what it used) of the later hours of some agreements, in the order of time."""
        parameters = {"after": after, "agreements": list(agreements)}
        rows = self._client.query(_AFTER, parameters=parameters).result_rows
        return [(agreement, _utc(hour_s), Balance(*used)) for agreement, hour_s, *used in rows]

    def lines(self, start: datetime, end: datetime) -> Lines:
        """The lines of the hours from `start` to `end` as they stand now."""
        rows = self._client.query(_LINES, parameters={"start": start, "end": end}).result_rows
        size = len(Key._fields)
        return {Key(*row[:size]): tuple(row[size:]) for row in rows}

    def settlements(self, since: datetime, until: datetime | None = None) -> dict[datetime, Settlement]:
        """The latest settlement of every hour from `since` to `until` (exclusive)."""
        parameters = {"since": since, "until": until or datetime(2100, 1, 1, tzinfo=UTC)}
        return {
            _utc(hour_s): Settlement(
                _utc(hour_s), revision, status, reason, _utc_ms(reference_ms), Quantities(gpu_ns, energy_mj, tokens)
            )
            for hour_s, revision, status, reason, reference_ms, gpu_ns, energy_mj, tokens in self._client.query(
                _SETTLEMENTS, parameters=parameters
            ).result_rows
        }

    def span(self) -> tuple[datetime, datetime, datetime] | None:
        """First, last and oldest provisional hour that are settled (the last again where all are final)."""
        count, first, last, provisional = self._client.query(_SPAN).result_rows[0]
        return (_utc(first), _utc(last), _utc(provisional)) if count else None

    def newest_record(self) -> datetime:
        """When the last entry was written."""
        return _utc_ms(self._client.query(_NEWEST).result_rows[0][0])

    def closed_months(self) -> set[date]:
        """First days of the months that are closed."""
        return {month for (month,) in self._client.query("SELECT DISTINCT month FROM billing_periods").result_rows}

    # ---- writing ---------------------------------------------------------------------------------------------------

    def write(
        self, differences: Lines, settlements: Sequence[Settlement], coverage: Sequence[Coverage],
        recorded_at: datetime, closed: set[date],
    ) -> None:  # fmt: skip
        """Write the entries of some hours of one day, then that the hours are settled.

        Entries of the hours go in one block: all of them are stored or none. Cut off after it, the next settlement
        finds no difference and records the rest.
        """
        if differences:
            known = {settlement.hour: settlement for settlement in settlements}
            self._insert("charges", _entries(differences, known, recorded_at, closed))
        if coverage:
            self._insert("coverage_hourly", _coverage(coverage, recorded_at))
        entries = dict.fromkeys((settlement.hour for settlement in settlements), 0)
        for key in differences:
            entries[_utc(key.hour_s)] += 1
        if settlements:
            self._insert("settlements", _settled(settlements, entries, recorded_at))

    def close(self, month: date, recorded_at: datetime, reason: str) -> None:
        """Close a month: nothing more is booked in it."""
        self._insert(
            "billing_periods",
            pa.table(
                {
                    "month": pa.array([month], pa.date32()),
                    "status": ["closed"],
                    "recorded_at": pa.array([recorded_at], _MILLISECONDS),
                    "reason": [reason],
                }
            ),
        )

    def _insert(self, table: str, rows: pa.Table) -> None:
        """Write rows in one block. Not repeated when it fails: the next settlement finds what is missing."""
        self._client.insert_arrow(table, rows)


def differences(before: Lines, after: Lines) -> Lines:
    """What must be added to the lines before so that they become those after."""
    nothing = (0,) * len(MEASURES)
    found: Lines = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, nothing), after.get(key, nothing)
        if old != new:
            found[key] = tuple(b - a for a, b in zip(old, new, strict=True))
    return found


def booked_month(hour: datetime, closed: set[date]) -> date:
    """The month in which an entry of an hour is booked: its own, or the next one that is open."""
    month = hour.date().replace(day=1)
    while month in closed:
        month = next_month(month)
    return month


def _entries(
    differences: Lines, settlements: Mapping[datetime, Settlement], recorded_at: datetime, closed: set[date]
) -> pa.Table:
    hours = [_utc(key.hour_s) for key in differences]
    booked = {hour: booked_month(hour, closed) for hour in set(hours)}
    kinds = {hour: _kind(hour, settlements[hour].revision, month) for hour, month in booked.items()}
    columns: dict[str, Any] = {
        "period_start": pa.array([key.hour_s for key in differences], pa.int64()).cast(_SECONDS),
        "period_end": pa.array([key.hour_s + 3600 for key in differences], pa.int64()).cast(_SECONDS),
        "booked_month": pa.array([booked[hour] for hour in hours], pa.date32()),
        "revision": pa.array([settlements[hour].revision for hour in hours], pa.uint32()),
        "recorded_at": pa.array([recorded_at] * len(hours), _MILLISECONDS),
        "kind": [kinds[hour] for hour in hours],
        "reason": [settlements[hour].reason for hour in hours],
        "sku": [sku(key.gpu_model, key.slice) for key in differences],
    }
    for name in _NAMES:
        columns[name] = [getattr(key, name) for key in differences]
    for position, measure in enumerate(MEASURES):
        column, places = COLUMNS[measure]
        values = [figures[position] for figures in differences.values()]
        columns[column] = decimals(values, places) if places else pa.array(values, pa.int64())
    return pa.table(columns)


def sku(gpu_model: str, profile: str) -> str:
    """What was used: a product, or a slice of one."""
    return f"{gpu_model}/{profile}" if profile else gpu_model


def _kind(hour: datetime, revision: int, month: date) -> str:
    if month != hour.date().replace(day=1):
        return "adjustment"
    return "charge" if revision == 1 else "revision"


def _settled(settlements: Sequence[Settlement], entries: Mapping[datetime, int], recorded_at: datetime) -> pa.Table:
    return pa.table(
        {
            "period_start": pa.array([settled.hour for settled in settlements], _SECONDS),
            "revision": pa.array([settled.revision for settled in settlements], pa.uint32()),
            "recorded_at": pa.array([recorded_at] * len(settlements), _MILLISECONDS),
            "status": [settled.status for settled in settlements],
            "reason": [settled.reason for settled in settlements],
            "reference_at": pa.array([settled.reference_at for settled in settlements], _MILLISECONDS),
            "entries": pa.array([entries[settled.hour] for settled in settlements], pa.uint32()),
            "gpu_seconds": decimals([settled.quantities.gpu_ns for settled in settlements], 9),
            "energy_j": decimals([settled.quantities.energy_mj for settled in settlements], 3),
            "tokens": pa.array([settled.quantities.tokens for settled in settlements], pa.int64()),
        }
    )


def _coverage(coverage: Sequence[Coverage], recorded_at: datetime) -> pa.Table:
    return pa.table(
        {
            "period_start": pa.array([hour.hour for hour in coverage], _SECONDS),
            "cluster": [hour.cluster for hour in coverage],
            "recorded_at": pa.array([recorded_at] * len(coverage), _MILLISECONDS),
            "devices": pa.array([hour.devices for hour in coverage], pa.uint32()),
            "observed_seconds": decimals([hour.observed_ns for hour in coverage], 9),
            "expected_seconds": decimals([hour.devices * 3600 * 10**9 for hour in coverage], 9),
        }
    )


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _utc_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)


# The digits of a decimal are the whole number that stands behind it.
_MEASURES = ", ".join(
    f"sum({f'reinterpretAsInt128({column})' if places else column}) AS {measure}"
    for measure, (column, places) in COLUMNS.items()
)
_KEY = ", ".join(f"toString({name}) AS {name}" for name in _NAMES)
_USED = "sum(subsidy) AS subsidy, sum(gpu_seconds) AS gpu_seconds, sum(rgu_seconds) AS rgu_seconds"
_IN_FORCE = """sum(reinterpretAsInt128(subsidy)), sumIf(reinterpretAsInt128(gpu_seconds), rule != 'not in force'),
    sumIf(reinterpretAsInt128(rgu_seconds), rule != 'not in force')"""

# Whole days are answered by the projection `used`, which knows the same sums.
_BALANCES = f"""
SELECT toString(agreement), {_IN_FORCE}
FROM
(
    SELECT agreement, rule, {_USED} FROM charges
    WHERE agreement != '' AND toDate(period_start) < toDate({{before:DateTime('UTC')}})
    GROUP BY agreement, rule
    UNION ALL
    SELECT agreement, rule, {_USED} FROM charges
    WHERE agreement != '' AND period_start >= toStartOfDay({{before:DateTime('UTC')}})
        AND period_start < {{before:DateTime('UTC')}}
    GROUP BY agreement, rule
)
GROUP BY agreement
-- left as it is, the condition on days is that of the projection
SETTINGS optimize_time_filter_with_preimage = 0
"""
_AFTER = f"""
SELECT toString(agreement), toInt64(toUnixTimestamp(period_start)) AS hour, {_IN_FORCE}
FROM charges WHERE agreement IN {{agreements:Array(String)}} AND period_start > {{after:DateTime('UTC')}}
GROUP BY agreement, hour
ORDER BY hour, agreement
"""
_LINES = f"""
SELECT toInt64(toUnixTimestamp(period_start)) AS hour_s, {_KEY}, {_MEASURES}
FROM charges
WHERE period_start >= {{start:DateTime('UTC')}} AND period_start < {{end:DateTime('UTC')}}
GROUP BY ALL
HAVING {" OR ".join(f"{measure} != 0" for measure in MEASURES)}
"""
_SETTLEMENTS = """
SELECT toInt64(toUnixTimestamp(period_start)), revision, toString(status), reason, toUnixTimestamp64Milli(reference_at),
    reinterpretAsInt128(gpu_seconds), reinterpretAsInt128(energy_j), tokens
FROM settlements
WHERE period_start >= {since:DateTime('UTC')} AND period_start < {until:DateTime('UTC')}
ORDER BY period_start, revision DESC, recorded_at DESC
LIMIT 1 BY period_start
"""
_SPAN = """
SELECT count(), toInt64(toUnixTimestamp(min(hour))), toInt64(toUnixTimestamp(max(hour))),
    toInt64(toUnixTimestamp(if(countIf(status = 'provisional') = 0, max(hour), minIf(hour, status = 'provisional'))))
FROM
(
    SELECT period_start AS hour, argMax(status, (revision, recorded_at)) AS status FROM settlements GROUP BY hour
)
"""
_NEWEST = """
SELECT greatest(
    (SELECT toUnixTimestamp64Milli(max(recorded_at)) FROM settlements),
    (SELECT toUnixTimestamp64Milli(max(recorded_at)) FROM charges),
    (SELECT toUnixTimestamp64Milli(max(recorded_at)) FROM billing_periods)
)
"""
