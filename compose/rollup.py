"""Rolling up: hours that are settled, in the fewer rows that long ranges are read from.

A roll-up says again what `charges` and `gpu_usage` say: what an hour cost by cluster, model and agreement, what every
device did in it, what the fleet did, and each day. The row in `rollups` comes last, so that what was cut off is done
again, and comes out the same: rows replace by the revision of the settlement, and one whose key the hour no longer has
is marked as gone by it.

An hour is due once a settled hour at or behind it has ended, and whenever it is settled anew. Until then the views take
its minutes from what the workers conclude.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from itertools import groupby
from string import Template

from clickhouse_connect.driver.binding import format_query_value
from clickhouse_connect.driver.client import Client

from compose.finance.lease import Lease
from compose.reference.history import config_at
from schemas.config import Config, Price
from schemas.money import NANO

DAYS_AT_ONCE = 7
"""Whose charges are read together: bounds the memory, and reads a month of charges few times."""
_BOUNDED = {"max_bytes_before_external_group_by": 1 << 29, "max_bytes_before_external_sort": 1 << 29}

Split = tuple[str, int, str, str]
"""(version of a price, rented, electricity per kWh at the device, operation per hour of it), these in nano-units of the
currency of the price; they may be of any size, so they travel as text."""


@dataclass(frozen=True, slots=True)
class Due:
    """An hour that is to be rolled up."""

    hour_s: int
    """Unix time."""
    revision: int
    """Its newest settlement."""
    reference_ms: int
    """It was priced with the reference data as recorded until then."""

    @property
    def day(self) -> date:
        return datetime.fromtimestamp(self.hour_s, UTC).date()


def roll_up(client: Client, lease: Lease | None = None) -> int:
    """Roll up every hour that is due, oldest first. Returns how many.

    lease: is held before each write. Raises Busy when it was lost, NoReference when the reference data that an hour was
    priced with are not recorded.
    """
    hours = [Due(*row) for row in client.query(_DUE).result_rows]
    for part in _parts(hours):
        _write(client, part, lease)
    return len(hours)


def _parts(hours: Sequence[Due]) -> Iterator[list[Due]]:
    """Whole days, some at a time."""
    days = [list(due) for _, due in groupby(hours, key=lambda due: due.day)]
    for first in range(0, len(days), DAYS_AT_ONCE):
        yield [due for day in days[first : first + DAYS_AT_ONCE] for due in day]


def _write(client: Client, hours: Sequence[Due], lease: Lease | None) -> None:
    moments = sorted({due.reference_ms for due in hours})
    known = {number: config_at(client, _utc_ms(ms)) for number, ms in enumerate(moments)}
    splits = [(number, *split) for number, config in known.items() for split in _splits(config)]
    numbered = [(due.hour_s, due.revision, moments.index(due.reference_ms)) for due in hours]

    def insert(statement: str, rows: Sequence[tuple[int, int, int]]) -> None:
        # Lists go into the text: a parameter is part of the address, which is short.
        lists = {"hours": format_query_value(list(rows)), "splits": format_query_value(splits)}
        span = {"start_s": rows[0][0], "end_s": rows[-1][0] + 3600, "days": sorted({due.day for due in hours})}
        if lease is not None:
            lease.hold()
        named = {name: value for name, value in span.items() if f"{{{name}:" in statement}
        client.command(Template(statement).substitute(lists), parameters=named, settings=_BOUNDED)

    insert(_COSTS, numbered)
    for _, of_day in groupby(numbered, key=lambda row: row[0] // 86_400):
        rows = list(of_day)
        insert(_DEVICES, rows)
        insert(_FLEET, rows)
    insert(_DAYS, numbered)
    insert(_DONE, numbered)


def _splits(config: Config) -> Iterator[Split]:
    """What part of a cost is electricity, and what operation, under each price and each of its tariffs."""
    pues = {cluster.id: cluster.pue_or_1 for cluster in config.cluster}
    for price in config.price:
        yield from _splits_of(price, pues[price.cluster] if price.pue is None else price.pue)


def _splits_of(price: Price, pue: Fraction) -> Iterator[Split]:
    rented = price.basis == "rented"
    per_hour = 0 if rented else round(price.opex_per_gpu_hour * NANO)
    for suffix, per_kwh in (("", price.energy_per_kwh), *((f"/{one.id}", one.energy_per_kwh) for one in price.tariff)):
        nano = 0 if rented else round(per_kwh * pue * NANO)
        yield f"{price.id}@{price.effective_from}{suffix}", int(rented), str(nano), str(per_hour)


def _utc_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)


# ---- statements ------------------------------------------------------------------------------------------------------

# The newest settlement of each hour, where the roll-ups do not have it yet.
_SETTLED = """
    SELECT period_start, max(settlements.revision) AS revision,
        argMax(reference_at, (settlements.revision, recorded_at)) AS reference_at
    FROM settlements
    WHERE period_start < (SELECT max(period_start) + INTERVAL 1 HOUR FROM settlements
        WHERE period_start + INTERVAL 1 HOUR <= recorded_at)
    GROUP BY period_start"""
_DUE = f"""
SELECT toInt64(toUnixTimestamp(s.period_start)) AS hour, s.revision, toUnixTimestamp64Milli(s.reference_at)
FROM ({_SETTLED}
) AS s
LEFT JOIN (SELECT period_start, max(rollups.revision) AS revision FROM rollups GROUP BY period_start) AS r
    ON r.period_start = s.period_start
WHERE s.revision > r.revision
ORDER BY hour
"""

_HOURS = """
    SELECT toDateTime(one.1, 'UTC') AS period_start, one.2 AS revision, one.3 AS reference
    FROM (SELECT arrayJoin(CAST($hours AS Array(Tuple(UInt32, UInt32, UInt32)))) AS one)"""
_WITHIN = "period_start >= toDateTime({start_s:Int64}, 'UTC') AND period_start < toDateTime({end_s:Int64}, 'UTC')"

_COUNTS = ("prompt_tokens", "cached_tokens", "generation_tokens")
_LINE_SUMS = ("gpu_seconds", "busy_seconds", "energy_j", *_COUNTS, "cost", "subsidy", "charge")
_PARTS = ("usage_cost", "energy_cost", "operation_cost", "capital_cost", "contract_cost")
_COST_SUMS = (*_LINE_SUMS[:7], *_PARTS, *_LINE_SUMS[7:])
_COST_KEY = "cluster, model, agreement, category, currency"
_TEXTS = (*_COST_KEY.split(", "), "programme")


def _sums(of: str, names: Sequence[str]) -> str:
    return ", ".join(f"sum({of}.{name}) AS {name}" for name in names)


def _money(over: str, below: str) -> str:
    """SQL: a quotient of whole numbers that are not negative, in nano-units, as money; 0 where nothing divides."""
    return f"reinterpret(toInt128(if({below} = 0, 0, intDiv(2 * {over} + {below}, 2 * {below}))), 'Decimal(38, 9)')"


def _zeros(names: Sequence[str]) -> str:
    return ", ".join(
        f"0 AS {name}" if name in _COUNTS else f"toDecimal128(0, {3 if name == 'energy_j' else 9}) AS {name}"
        for name in names
    )


# Charges are differences: a line that fell to zero is still there, all zero. A rented device costs its contract; of an
# owned one the purchase is what electricity and operation leave, so that the parts add up to the cost.
_COSTS = f"""
INSERT INTO costs_hourly_store (period_start, {_COST_KEY}, programme, {", ".join(_COST_SUMS)}, revision, gone)
WITH hours AS ({_HOURS}
), splits AS
(
    SELECT one.1 AS reference, one.2 AS price_version, one.3 AS rented, one.4 AS per_kwh, one.5 AS per_hour
    FROM (SELECT arrayJoin(CAST($splits AS Array(Tuple(UInt32, String, UInt8, String, String)))) AS one)
), lines AS
(
    SELECT
        period_start, {", ".join(f"toString(c.{name}) AS {name}" for name in (*_TEXTS, "price_version"))},
        sum(c.price_cost) AS price_cost, {_sums("c", _LINE_SUMS)}
    FROM charges AS c
    WHERE {_WITHIN}
    GROUP BY period_start, {", ".join((*_TEXTS, "price_version"))}
), parted AS
(
    SELECT
        l.period_start AS period_start, {", ".join(f"l.{name} AS {name}" for name in (*_TEXTS, *_LINE_SUMS))},
        h.revision AS revision,
        toInt256(reinterpretAsInt128(cost)) AS nano, toInt256(reinterpretAsInt128(l.price_cost)) AS price_nano,
        toInt256(reinterpretAsInt128(gpu_seconds)) AS gpu_ns, toInt256(reinterpretAsInt128(energy_j)) AS energy_mj,
        {_money("nano * reinterpretAsInt128(busy_seconds)", "gpu_ns")} AS usage_cost,
        if(s.rented = 1, cost, toDecimal128(0, 9)) AS contract_cost,
        {_money("energy_mj * toInt256OrZero(s.per_kwh) * nano", "price_nano * 3600000000")} AS energy_cost,
        {_money("gpu_ns * toInt256OrZero(s.per_hour) * nano", "price_nano * 3600000000000")} AS operation_cost,
        cost - contract_cost - energy_cost - operation_cost AS capital_cost,
        {" OR ".join(f"{name} != 0" for name in _LINE_SUMS)} AS used
    FROM lines AS l
    INNER JOIN hours AS h ON h.period_start = l.period_start
    LEFT JOIN splits AS s ON s.reference = h.reference AND s.price_version = l.price_version
)
SELECT period_start, {_COST_KEY}, argMax(rows.programme, rows.used), {_sums("rows", _COST_SUMS)},
    max(rows.revision), NOT max(rows.used)
FROM
(
    SELECT period_start, {_COST_KEY}, programme, {", ".join(_COST_SUMS)}, revision, used FROM parted
    UNION ALL
    SELECT k.period_start AS period_start, {", ".join(f"toString(k.{name}) AS {name}" for name in _TEXTS)},
        {_zeros(_COST_SUMS)}, h.revision AS revision, false AS used
    FROM (SELECT * FROM costs_hourly_store FINAL WHERE {_WITHIN}) AS k
    INNER JOIN hours AS h ON h.period_start = k.period_start
) AS rows
GROUP BY period_start, {_COST_KEY}
"""

_DEVICE_KEY = "cluster, device, slice, workload, agreement, currency"
_DEVICE_TEXTS = ("node", "vendor", "gpu_model", "deployment")
_DEVICE_SUMS = ("gpu_seconds", "energy_j", "busy_seconds", "busy_known_seconds", "cost")

_DEVICES = f"""
INSERT INTO gpu_usage_hourly_store
(period_start, {_DEVICE_KEY}, {", ".join((*_DEVICE_TEXTS, *_DEVICE_SUMS))}, revision, gone)
WITH hours AS ({_HOURS}
)
SELECT rows.period_start AS period_start, {_DEVICE_KEY},
    {", ".join(f"argMax(rows.{name}, rows.used)" for name in _DEVICE_TEXTS)},
    {_sums("rows", _DEVICE_SUMS)}, any(h.revision), NOT max(rows.used)
FROM
(
    SELECT toStartOfHour(minute) AS period_start, {_DEVICE_KEY},
        {", ".join(f"any(u.{name}) AS {name}" for name in _DEVICE_TEXTS)}, {_sums("u", _DEVICE_SUMS)}, true AS used
    FROM gpu_usage AS u
    WHERE ts_start >= toDateTime({{start_s:Int64}}, 'UTC') AND ts_start < toDateTime({{end_s:Int64}}, 'UTC')
    GROUP BY period_start, {_DEVICE_KEY}
    UNION ALL
    SELECT period_start, {_DEVICE_KEY}, {", ".join(_DEVICE_TEXTS)}, {_zeros(_DEVICE_SUMS)}, false AS used
    FROM gpu_usage_hourly_store FINAL
    WHERE {_WITHIN}
) AS rows
INNER JOIN hours AS h ON h.period_start = rows.period_start
GROUP BY period_start, {_DEVICE_KEY}
"""

_FLEET_KEY = "period_start, cluster, gpu_model, currency"
_FLEET_SUMS = (
    "gpu_seconds", "held_seconds", "busy_seconds", "idle_held_seconds", "idle_held_cost", "energy_j", "cost",
)  # fmt: skip
IDLE = "h.workload != '' AND h.busy_known_seconds > 0 AND h.busy_seconds < h.busy_known_seconds * 2 / 100"
"""SQL over rows of gpu_usage_hourly: held for the hour by a workload that kept the engine less than 2 % busy."""

_FLEET = f"""
INSERT INTO fleet_hourly_store ({_FLEET_KEY}, devices, {", ".join(_FLEET_SUMS)}, revision, gone)
WITH hours AS ({_HOURS}
)
SELECT rows.period_start AS period_start, cluster, gpu_model, currency, toUInt32(max(rows.devices)),
    {_sums("rows", _FLEET_SUMS)}, any(hours.revision), NOT max(rows.used)
FROM
(
    SELECT {_FLEET_KEY}, uniqExact(h.device) AS devices, sum(h.gpu_seconds) AS gpu_seconds,
        sumIf(h.gpu_seconds, h.workload != '') AS held_seconds, sum(h.busy_seconds) AS busy_seconds,
        sumIf(h.gpu_seconds, {IDLE}) AS idle_held_seconds, sumIf(h.cost, {IDLE}) AS idle_held_cost,
        sum(h.energy_j) AS energy_j, sum(h.cost) AS cost, true AS used
    FROM gpu_usage_hourly_store AS h FINAL
    WHERE {_WITHIN}
    GROUP BY {_FLEET_KEY}
    UNION ALL
    SELECT {_FLEET_KEY}, 0 AS devices, {_zeros(_FLEET_SUMS)}, false AS used
    FROM fleet_hourly_store FINAL
    WHERE {_WITHIN}
) AS rows
INNER JOIN hours ON hours.period_start = rows.period_start
GROUP BY {_FLEET_KEY}
"""

# Whole days, from all of their hours that are rolled up.
_DAYS = f"""
INSERT INTO costs_daily_store (day, {_COST_KEY}, programme, {", ".join(_COST_SUMS)}, version, gone)
WITH settled AS ({_SETTLED}
), versions AS
(
    SELECT toDate(period_start) AS day, sum(settled.revision) AS version FROM settled
    WHERE toDate(period_start) IN {{days:Array(Date)}} GROUP BY day
)
SELECT rows.day AS day, {_COST_KEY}, argMax(rows.programme, rows.used), {_sums("rows", _COST_SUMS)},
    any(versions.version), NOT max(rows.used)
FROM
(
    SELECT toDate(period_start) AS day, {_COST_KEY}, any(h.programme) AS programme, {_sums("h", _COST_SUMS)},
        true AS used
    FROM costs_hourly_store AS h FINAL
    WHERE period_start >= toDateTime(arrayMin({{days:Array(Date)}}), 'UTC')
        AND period_start < toDateTime(arrayMax({{days:Array(Date)}}) + 1, 'UTC')
    GROUP BY day, {_COST_KEY}
    UNION ALL
    SELECT day, {_COST_KEY}, programme, {_zeros(_COST_SUMS)}, false AS used
    FROM costs_daily_store FINAL
    WHERE day >= arrayMin({{days:Array(Date)}}) AND day <= arrayMax({{days:Array(Date)}})
) AS rows
INNER JOIN versions ON versions.day = rows.day
GROUP BY day, {_COST_KEY}
"""

_DONE = f"""
INSERT INTO rollups (period_start, revision, recorded_at)
SELECT period_start, revision, now64(3, 'UTC') FROM ({_HOURS})
"""
