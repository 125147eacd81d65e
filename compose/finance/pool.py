"""The pool report of a month, from `charges`: whose recipients computed where, and what electricity it took.

The month is that of the usage, not of the booking: a correction counts where the work was done. As of a moment, only
entries and reference data that were recorded until then count.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.finance.carbon import Emissions, Energy, emissions
from compose.finance.moments import next_month, start_of
from compose.finance.pooling import Account, Use, account
from compose.finance.spending import between, recorded
from compose.options import Mistake
from compose.reference.history import config_at
from schemas.money import decimal_to_nano
from streams.reference import Reference, UnknownReference

_USES = """
SELECT toDate(period_start), agreement, cluster, currency, sum(gpu_seconds), sum(rgu_seconds), sum(energy_j), sum(cost)
FROM charges
WHERE category = 'charged' AND period_start >= toDateTime({since:Int64}, 'UTC')
  AND period_start < toDateTime({until:Int64}, 'UTC')
  AND recorded_at <= fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')
GROUP BY 1, 2, 3, 4
"""
_ENERGY = """
SELECT toDate(period_start), cluster, sum(energy_j) FROM charges
WHERE period_start >= toDateTime({since:Int64}, 'UTC') AND period_start < toDateTime({until:Int64}, 'UTC')
  AND recorded_at <= fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')
GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class PoolReport:
    month: date
    as_of: datetime | None
    accounts: list[Account]
    """One for each pool that is described."""
    emissions: list[Emissions]
    """Of all that was metered, idle and unattributed included."""


def report(client: Client, month: date, as_of: datetime | None = None) -> PoolReport:
    """The report of the month that begins on this day. Raises NoReference, and Mistake for what is not described."""
    config = config_at(client, as_of)
    clusters = {cluster.id: cluster for cluster in config.cluster}
    parameters = between(start_of(month), start_of(next_month(month))) | recorded(as_of)
    charged = client.query(_USES, parameters=parameters).result_rows
    country = {agreement.id: agreement.country for agreement in config.agreement}
    _refuse("agreement", {agreement for _, agreement, *_ in charged} - country.keys(), month)
    uses = _uses(charged, country)
    energies = [
        Energy(day, cluster, _millis(energy))
        for day, cluster, energy in client.query(_ENERGY, parameters=parameters).result_rows
    ]
    _refuse("cluster", {energy.cluster for energy in energies} - clusters.keys(), month)
    convert = Reference(config).convert
    try:
        accounts = [account(pool, uses, clusters, convert) for pool in config.pool]
    except UnknownReference as error:
        raise Mistake(f"The costs of the pool cannot be converted: {error}.") from None
    return PoolReport(month, as_of, accounts, emissions(energies, clusters, config.carbon))


def _uses(rows: Iterable[Any], country: Mapping[str, str]) -> list[Use]:
    """By country of the recipient; `country`: of each agreement."""
    sums: dict[tuple[date, str, str, str], tuple[int, int, int, int]] = {}
    for day, agreement, cluster, currency, gpu_s, rgu_s, energy_j, cost in rows:
        key = (day, country[agreement], cluster, currency)
        gpu_ns, rgu_ns, energy_mj, cost_nano = sums.get(key, (0, 0, 0, 0))
        sums[key] = (
            gpu_ns + decimal_to_nano(gpu_s),
            rgu_ns + decimal_to_nano(rgu_s),
            energy_mj + _millis(energy_j),
            cost_nano + decimal_to_nano(cost),
        )
    return [Use(*key, *figures) for key, figures in sorted(sums.items())]


def _refuse(kind: str, names: set[str], month: date) -> None:
    """Raises Mistake when there are any."""
    if names:
        raise Mistake(
            f"Charges of {month:%Y-%m} name the {kind} {', '.join(sorted(names))}, which the reference data do not "
            f"describe: add [[{kind}]] with `commonwatt reference apply`."
        )


def _millis(energy_j: Decimal) -> int:
    return int(energy_j.scaleb(3))
