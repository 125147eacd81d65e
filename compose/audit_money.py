"""Audits of money: every amount in the book recomputed with exact fractions, by other code than the workers'."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client

from compose.audit import SHOWN, CheckResult, Scope
from schemas.money import decimal_to_nano, nano_to_decimal, split
from streams.reference import PriceRate, Reference

ROWS = 200_000
"""Rows recomputed unless told otherwise: a few seconds of work."""

Row = Mapping[str, Any]

_ROW_COSTS = """
SELECT cluster, device, slice, ts_start, ts_end, gpu_model, reinterpretAsInt64(gpu_seconds) AS gpu_ns,
    reinterpretAsInt64(energy_j) AS energy_mj, reinterpretAsInt64(cost) AS cost_nano, currency, price_version
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
ORDER BY ts_start DESC, cluster, device, slice
LIMIT {rows:UInt64}
"""

_GROUP_COSTS = """
SELECT minute, cluster, deployment, agreement, currency, sum(reinterpretAsInt64(cost)) AS cost_nano
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
    AND toUnixTimestamp(minute) < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, toInt64(0))
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
SELECT minute, cluster, currency, sum(cost) AS cost
FROM unit_costs
WHERE minute >= {since:DateTime('UTC')}
    AND toUnixTimestamp(minute) < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, toInt64(0))
GROUP BY ALL
"""

_LINES = """
SELECT minute, cluster, model, agreement, cost, subsidy, prompt_tokens + generation_tokens AS tokens, currency
FROM unit_costs
WHERE minute >= {since:DateTime('UTC')} AND agreement != ''
ORDER BY minute DESC, cluster, model, agreement
LIMIT {rows:UInt64}
"""


def costs_of_rows(client: Client, scope: Scope, reference: Reference) -> CheckResult:
    """Device time and energy of each row at the price of its day."""
    rows = _select(client, _ROW_COSTS, scope)
    products: dict[tuple[str, str, date], list[Row]] = defaultdict(list)
    for row in rows:
        products[row["cluster"], row["gpu_model"], row["ts_start"].date()].append(row)
    faults = []
    for (cluster, gpu_model, day), group in products.items():
        rate = reference.price(cluster, gpu_model, day)
        version, currency = (rate.version, rate.currency) if rate else ("", "")
        costs = _costs(group, rate) if rate else [0] * len(group)
        faults += [
            {
                **{name: row[name] for name in ("cluster", "device", "slice", "ts_start", "ts_end", "gpu_model")},
                "cost": nano_to_decimal(row["cost_nano"]),
                "expected_cost": nano_to_decimal(cost),
                "currency": row["currency"],
                "price_version": row["price_version"],
                "expected_version": version,
            }
            for row, cost in zip(group, costs, strict=True)
            if (row["cost_nano"], row["price_version"], row["currency"]) != (cost, version, currency)
        ]
    return _result(
        "cost of each row",
        "Every ledger row costs exactly its device time and energy at the price that holds on its day, rounded "
        "half-even to the nano-unit.",
        len(rows), "rows", faults, scope,
    )  # fmt: skip


def _costs(rows: Sequence[Row], rate: PriceRate) -> list[int]:
    """``gpu_ns * per_gpu_ns + energy_mj * per_mj`` of many rows in integers of any size, half-even."""
    denominator = math.lcm(rate.per_gpu_ns.denominator, rate.per_mj.denominator)
    gpu_ns = np.array([row["gpu_ns"] for row in rows], object)
    energy_mj = np.array([row["energy_mj"] for row in rows], object)
    exact = gpu_ns * int(rate.per_gpu_ns * denominator) + energy_mj * int(rate.per_mj * denominator)
    whole, rest = exact // denominator, exact % denominator
    up = (2 * rest > denominator) | ((2 * rest == denominator) & (whole % 2 == 1))
    return [int(cost) for cost in whole + up.astype(int)]


def costs_of_minutes(client: Client, scope: Scope, reference: Reference) -> CheckResult:
    """What the devices of a cluster cost in a minute, exchanged and divided, against its unit costs."""
    groups = _select(client, _GROUP_COSTS, scope)
    if len(groups) == scope.rows:  # the oldest minute may be cut
        groups = [row for row in groups if row["minute"] > groups[-1]["minute"]]
    if not groups:
        return _result(_MINUTES, _MINUTES_PROTECT, 0, "cluster minutes", [], scope)
    oldest = groups[-1]["minute"]
    shared = sorted({row["deployment"] for row in groups if reference.is_shared(row["deployment"])})
    tenants: dict[tuple[datetime, str, str], dict[str, int]] = defaultdict(dict)
    for row in _select(client, _TENANT_TOKENS, scope, since=oldest, shared=shared):
        tenants[row["minute"], row["cluster"], row["deployment"]][row["agreement"]] = row["tokens"]

    book: dict[tuple[datetime, str, str], int] = defaultdict(int)
    for row in groups:
        served = tenants.get((row["minute"], row["cluster"], row["deployment"]), {})
        for currency, cost_nano in _shares(row, served, reference):
            book[row["minute"], row["cluster"], currency] += cost_nano
    tally = {
        (row["minute"], row["cluster"], row["currency"]): decimal_to_nano(row["cost"])
        for row in _select(client, _LINE_COSTS, scope, since=oldest)
    }
    faults = [
        {
            "cluster": key[1],
            "ts_start": key[0],
            "currency": key[2],
            "book_cost": nano_to_decimal(book.get(key, 0)),
            "tally_cost": nano_to_decimal(tally.get(key, 0)),
        }
        for key in sorted(book.keys() | tally.keys())
        if book.get(key, 0) != tally.get(key, 0)
    ]
    return _result(_MINUTES, _MINUTES_PROTECT, len(book.keys() | tally.keys()), "cluster minutes", faults, scope)


_MINUTES = "costs of the tally equal the book"
_MINUTES_PROTECT = (
    "What the devices of a cluster cost in a minute is in its unit costs, all of it, once. A minute is compared once "
    "its cluster's usage is two minutes further."
)


def _shares(row: Row, served: Mapping[str, int], reference: Reference) -> list[tuple[str, int]]:
    """(currency, nano-units) of those who bear a group's cost.

    The cost becomes the currency of its agreement (CAD where there is none) at the rate of the day, once; that of a
    shared deployment is then divided by the tokens of the minute, and each part becomes its agreement's currency.
    """
    day = row["minute"].date()
    own = reference.currency(row["agreement"])
    cost = reference.convert(row["cost_nano"], row["currency"], own, day) if row["cost_nano"] else 0
    if not reference.is_shared(row["deployment"]) or not any(served.values()):
        return [(own, cost)]
    parties = sorted(served)
    currencies = [reference.currency(party) for party in parties]
    parts = split(cost, [served[party] for party in parties])
    return [
        (currency, reference.convert(part, own, currency, day))
        for currency, part in zip(currencies, parts, strict=True)
    ]


def subsidies(client: Client, scope: Scope, reference: Reference) -> CheckResult:
    """What the rule of each agreement yields for each line of unit costs."""
    lines = _select(client, _LINES, scope)
    faults = []
    for line in lines:
        country, day = reference.country(line["cluster"]), line["minute"].date()
        cost_nano = decimal_to_nano(line["cost"])
        expected = reference.subsidy(line["agreement"], country, day, cost_nano, line["tokens"])
        if decimal_to_nano(line["subsidy"]) != expected or line["currency"] != reference.currency(line["agreement"]):
            faults.append(
                {
                    "cluster": line["cluster"],
                    "ts_start": line["minute"],
                    "model": line["model"],
                    "agreement": line["agreement"],
                    "cost": line["cost"],
                    "subsidy": line["subsidy"],
                    "expected_subsidy": nano_to_decimal(expected),
                    "currency": line["currency"],
                }
            )
    return _result(
        "subsidy follows the agreement",
        "The programme pays exactly what the agreement's rule says for the place and the day.",
        len(lines), "lines", faults, scope,
    )  # fmt: skip


def _select(client: Client, query: str, scope: Scope, **more: object) -> list[Row]:
    parameters = {**scope.parameters(), "rows": scope.rows, **more}
    return list(client.query(query, parameters=parameters).named_results())


def _result(name: str, protects: str, examined: int, unit: str, faults: Sequence[Row], scope: Scope) -> CheckResult:
    shown = sorted(faults, key=lambda row: (row["ts_start"], row["cluster"]))[:SHOWN]
    note = f"the newest {scope.rows:,}" if examined >= scope.rows else ""
    return CheckResult(name, protects, examined, unit, len(faults), [dict(row) for row in shown], note)
