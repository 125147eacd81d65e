"""Audits of the tally's money: what devices cost, by the ledger, against the unit costs that the workers made of it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from clickhouse_connect.driver.client import Client

from compose.audit import CheckResult, Difference, Scope
from compose.audit_money import Row, result, select
from schemas.money import decimal_to_nano, nano_to_decimal, round_half_even, split
from streams.reference import Reference

# Names of the audits.
COSTS_OF_MINUTES = "costs of the tally equal the book"
MONEY_OF_HOURS = "conservation of money"

_GROUP_COSTS = """
SELECT minute, cluster, deployment, agreement, currency, sum(reinterpretAsInt64(cost)) AS cost_nano,
    sumIf(reinterpretAsInt64(cost), workload = '') AS idle_nano
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
    AND toUnixTimestamp(minute)
        < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, {settled_else:Int64})
GROUP BY ALL
ORDER BY minute DESC, cluster, deployment, agreement, currency
LIMIT {rows:UInt64}
"""

_TENANT_TOKENS = """
SELECT minute, cluster, deployment, agreement, sum(prompt_tokens + generation_tokens) AS tokens
FROM token_usage
WHERE minute >= {since:DateTime('UTC')} AND counted AND deployment IN {shared:Array(String)}
GROUP BY ALL
ORDER BY ALL
"""

_LINE_COSTS = """
SELECT minute, cluster, currency, sum(lines.cost) AS cost,
    sumIf(charge + subsidy, agreement != '') AS charged, sumIf(lines.cost, agreement = '') AS uncharged
FROM unit_costs AS lines
WHERE minute >= {since:DateTime('UTC')}
    AND toUnixTimestamp(minute)
        < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, {settled_else:Int64})
GROUP BY ALL
"""


def costs_of_minutes(client: Client, scope: Scope, reference: Reference) -> list[CheckResult]:
    """What the devices of a cluster cost, exchanged and divided, against its unit costs: by minute, and by hour with
    what of it is charged, idle and unattributed."""
    groups = select(client, _GROUP_COSTS, scope)
    if len(groups) == scope.rows:  # the oldest minute may be cut
        groups = [row for row in groups if row["minute"] > groups[-1]["minute"]]
    oldest = groups[-1]["minute"] if groups else scope.since
    shared = sorted({row["deployment"] for row in groups if reference.is_shared(row["deployment"])})
    tenants: dict[tuple[datetime, str, str], dict[str, int]] = defaultdict(dict)
    for row in select(client, _TENANT_TOKENS, scope, since=oldest, shared=shared):
        tenants[row["minute"], row["cluster"], row["deployment"]][row["agreement"]] = max(0, row["tokens"])

    minutes: dict[tuple[datetime, str, str], _Compared] = defaultdict(_Compared)
    hours: dict[tuple[datetime, str, str], _Hour] = defaultdict(_Hour)
    for row in groups:
        served = tenants.get((row["minute"], row["cluster"], row["deployment"]), {})
        for agreement, currency, cost_nano in _shares(row, served, reference):
            minutes[row["minute"], row["cluster"], currency].book_nano += cost_nano
            hours[_hour(row["minute"]), row["cluster"], currency].bear(agreement, cost_nano, row)
    for row in select(client, _LINE_COSTS, scope, since=oldest):
        cost_nano = decimal_to_nano(row["cost"])
        minutes[row["minute"], row["cluster"], row["currency"]].tally_nano += cost_nano
        hour = hours[_hour(row["minute"]), row["cluster"], row["currency"]]
        hour.charged_nano += decimal_to_nano(row["charged"])
        hour.uncharged_nano += decimal_to_nano(row["uncharged"])
    return [
        result(
            COSTS_OF_MINUTES,
            "What the devices of a cluster cost in a minute is in its unit costs, all of it, once. A minute is "
            "compared once its cluster's usage is two minutes further.",
            len(minutes), "cluster minutes",
            [_at(key, compared.named()) for key, compared in sorted(minutes.items()) if compared.differs], scope,
            _differences(minutes),
        ),
        result(
            MONEY_OF_HOURS,
            "For each cluster and hour, what is charged to agreements, idle and unattributed is what its devices cost; "
            "nothing that is idle or unattributed is charged.",
            len(hours), "cluster hours",
            [_at(key, hour.named()) for key, hour in sorted(hours.items()) if hour.differs], scope,
        ),
    ]  # fmt: skip


@dataclass(slots=True)
class _Compared:
    """A cluster minute in one currency."""

    book_nano: int = 0
    tally_nano: int = 0

    @property
    def differs(self) -> bool:
        return self.book_nano != self.tally_nano

    def named(self) -> dict[str, object]:
        return {"book_cost": nano_to_decimal(self.book_nano), "tally_cost": nano_to_decimal(self.tally_nano)}


@dataclass(slots=True)
class _Hour:
    """A cluster hour in one currency."""

    fleet_nano: int = 0
    """What the devices cost, by the book."""
    idle_nano: int = 0
    """The part of it while nobody held them."""
    unattributed_nano: int = 0
    """The part of it for work of no agreement."""
    charged_nano: int = 0
    """What agreements pay with their programmes, by the tally."""
    uncharged_nano: int = 0
    """The rest of the tally."""

    def bear(self, agreement: str, cost_nano: int, row: Row) -> None:
        """Add the part of a group's cost that an agreement bears; empty: nobody does."""
        self.fleet_nano += cost_nano
        if agreement:
            return
        idle_nano = round_half_even(Fraction(cost_nano * row["idle_nano"], row["cost_nano"])) if cost_nano else 0
        self.idle_nano += idle_nano
        self.unattributed_nano += cost_nano - idle_nano

    @property
    def differs(self) -> bool:
        return (self.fleet_nano, self.idle_nano + self.unattributed_nano) != (
            self.charged_nano + self.uncharged_nano,
            self.uncharged_nano,
        )

    def named(self) -> dict[str, object]:
        names = ("fleet", "charged", "idle", "unattributed", "uncharged")
        return {name: nano_to_decimal(getattr(self, f"{name}_nano")) for name in names}


def _hour(minute: datetime) -> datetime:
    return minute.replace(minute=0)


def _at(key: tuple[datetime, str, str], amounts: dict[str, object]) -> Row:
    return {"cluster": key[1], "ts_start": key[0], "currency": key[2], **amounts}


def _differences(minutes: Mapping[tuple[datetime, str, str], _Compared]) -> list[Difference]:
    """Sums over the minutes and currencies of each cluster."""
    amounts: dict[str, int] = defaultdict(int)
    for (_, cluster, _), compared in minutes.items():
        amounts[cluster] += abs(compared.tally_nano - compared.book_nano)
    return [Difference(cluster, "cost", nano_to_decimal(amount)) for cluster, amount in sorted(amounts.items())]


def _shares(row: Row, served: Mapping[str, int], reference: Reference) -> list[tuple[str, str, int]]:
    """(agreement, currency, nano-units) of those who bear a group's cost.

    The cost becomes the currency of its agreement (CAD where there is none) at the rate of the day, once; that of a
    shared deployment is then divided by the tokens of the minute, and each part becomes its agreement's currency.
    """
    day = row["minute"].date()
    own = reference.currency(row["agreement"])
    cost = reference.convert(row["cost_nano"], row["currency"], own, day) if row["cost_nano"] else 0
    if not reference.is_shared(row["deployment"]) or not any(served.values()):
        return [(row["agreement"], own, cost)]
    parties = sorted(served)
    currencies = [reference.currency(party) for party in parties]
    parts = split(cost, [served[party] for party in parties])
    return [
        (party, currency, reference.convert(part, own, currency, day))
        for party, currency, part in zip(parties, currencies, parts, strict=True)
    ]
