"""Audits of money: every amount in the book recomputed with exact fractions, by other code than the workers'."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from clickhouse_connect.driver.client import Client

from compose.audit import SHOWN, CheckResult, Difference, Scope
from compose.reference import history
from schemas.money import decimal_to_nano, nano_to_decimal, round_half_even
from streams.pricing import PriceRate
from streams.reference import Reference

ROWS = 200_000
"""Rows recomputed unless told otherwise: a few seconds of work."""

# Names of the audits.
COST_OF_ROWS = "cost of each row"
COST_OF_DEVICE_HOURS = "money of each device hour"
SUBSIDIES = "subsidy follows the agreement"

Row = Mapping[str, Any]
Item = TypeVar("Item")
Judge = Callable[[Sequence[Item], Reference], list[tuple[Item, Row]]]
"""The items that are not what some reference data say, each with a description of its fault."""

_ROW_COSTS = """
SELECT cluster, device, slice, ts_start, ts_end, toUnixTimestamp64Milli(ts_start) AS start_ms, gpu_model,
    reinterpretAsInt64(gpu_seconds) AS gpu_ns, reinterpretAsInt64(energy_j) AS energy_mj,
    reinterpretAsInt64(cost) AS cost_nano, currency, price_version
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
ORDER BY ts_start DESC, cluster, device, slice
LIMIT {rows:UInt64}
"""

_DEVICE_HOURS = """
SELECT cluster, device, toStartOfHour(minute) AS hour, gpu_model, currency, price_version, count() AS lines,
    min(toUnixTimestamp64Milli(ts_start)) AS start_ms,
    sum(reinterpretAsInt64(gpu_seconds)) AS gpu_ns, sum(reinterpretAsInt64(energy_j)) AS energy_mj,
    sum(reinterpretAsInt64(cost)) AS cost_nano, sumIf(reinterpretAsInt64(cost), agreement != '') AS charged_nano,
    sumIf(reinterpretAsInt64(cost), workload = '') AS idle_nano,
    sumIf(reinterpretAsInt64(cost), agreement = '' AND workload != '') AS other_nano
FROM gpu_usage
WHERE minute >= {since:DateTime('UTC')}
GROUP BY ALL
ORDER BY hour DESC, cluster, device
LIMIT {rows:UInt64}
"""

_LINES = """
SELECT minute, cluster, model, agreement, cost, subsidy, prompt_tokens, cached_tokens, generation_tokens, currency
FROM unit_costs
WHERE minute >= {since:DateTime('UTC')} AND agreement != ''
ORDER BY minute DESC, cluster, model, agreement
LIMIT {rows:UInt64}
"""


def costs_of_rows(client: Client, scope: Scope, reference: Reference) -> list[CheckResult]:
    """Device time and energy of each row at the price of its moment."""
    rows = select(client, _ROW_COSTS, scope)
    faults = _unexplained(client, rows, reference, _wrong_rows)
    return [
        result(
            COST_OF_ROWS,
            "Every ledger row costs exactly its device time and energy at the price that holds at its moment, or that "
            "was recorded for it before a correction, rounded half-even to the nano-unit.",
            len(rows), "rows", faults, scope,
        )
    ]  # fmt: skip


def _unexplained(client: Client, items: Sequence[Item], reference: Reference, wrong_of: Judge[Item]) -> list[Row]:
    """Faults of items that are right neither by the reference data of now nor by any that were recorded before.

    A correction of the past does not change what is in the ledger; workers take it over when they are restarted.
    """
    wrong = wrong_of(items, reference)
    for before in history.believed(client) if wrong else ():
        still = {id(item) for item, _ in wrong_of([item for item, _ in wrong], Reference(before))}
        wrong = [(item, fault) for item, fault in wrong if id(item) in still]
        if not wrong:
            break
    return [fault for _, fault in wrong]


def _wrong_rows(rows: Sequence[Row], reference: Reference) -> list[tuple[Row, Row]]:
    rates: dict[str, PriceRate | None] = {}
    priced: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        rate = reference.price(row["cluster"], row["gpu_model"], row["start_ms"])
        version = rate.version if rate else ""
        rates[version] = rate
        priced[version].append(row)
    wrong: list[tuple[Row, Row]] = []
    for version, group in priced.items():
        rate = rates[version]
        currency = rate.currency if rate else ""
        costs = _costs(group, rate) if rate else [0] * len(group)
        wrong += [
            (
                row,
                {
                    **{name: row[name] for name in ("cluster", "device", "slice", "ts_start", "ts_end", "gpu_model")},
                    "cost": nano_to_decimal(row["cost_nano"]),
                    "expected_cost": nano_to_decimal(cost),
                    "currency": row["currency"],
                    "price_version": row["price_version"],
                    "expected_version": version,
                },
            )
            for row, cost in zip(group, costs, strict=True)
            if (row["cost_nano"], row["price_version"], row["currency"]) != (cost, version, currency)
        ]
    return wrong


def _costs(rows: Sequence[Row], rate: PriceRate) -> list[int]:
    """``gpu_ns * per_gpu_ns + energy_mj * per_mj`` of many rows in integers of any size, half-even."""
    denominator = math.lcm(rate.per_gpu_ns.denominator, rate.per_mj.denominator)
    gpu_ns = np.array([row["gpu_ns"] for row in rows], object)
    energy_mj = np.array([row["energy_mj"] for row in rows], object)
    exact = gpu_ns * int(rate.per_gpu_ns * denominator) + energy_mj * int(rate.per_mj * denominator)
    whole, rest = exact // denominator, exact % denominator
    up = (2 * rest > denominator) | ((2 * rest == denominator) & (whole % 2 == 1))
    return [int(cost) for cost in whole + up.astype(int)]


def costs_of_device_hours(client: Client, scope: Scope, reference: Reference) -> list[CheckResult]:
    """What all rows of a device in an hour cost, against what the whole device costs for their time and energy."""
    rows = select(client, _DEVICE_HOURS, scope)
    wrong = [(row, exact, exact) for row in rows if not _is_within(row, exact := _cost(row, reference), exact)]
    ranges = list(wrong)
    for before in history.believed(client) if wrong else ():
        # Part of the hour may have been priced before a correction, and part after it.
        earlier = Reference(before)
        costs = [_cost(row, earlier) for row, _, _ in ranges]
        ranges = [(row, min(low, cost), max(high, cost)) for (row, low, high), cost in zip(ranges, costs, strict=True)]
        ranges = [spread for spread in ranges if not _is_within(*spread)]
        if not ranges:
            break
    still = {id(row) for row, _, _ in ranges}
    faults = [
        {
            **{name: row[name] for name in ("cluster", "device")},
            "ts_start": row["hour"],
            **{name: nano_to_decimal(row[f"{name}_nano"]) for name in ("charged", "idle", "other", "cost")},
            "expected_cost": nano_to_decimal(round_half_even(exact)),
            "currency": row["currency"],
        }
        for row, exact, _ in wrong
        if id(row) in still
    ]
    return [
        result(
            COST_OF_DEVICE_HOURS,
            "For each device and hour, the cost of the slices that are charged, idle or neither is the cost of the "
            "whole device for its time and its energy; only each row's rounding is between them.",
            len(rows), "device hours", faults, scope,
        )
    ]  # fmt: skip


def _cost(row: Row, reference: Reference) -> Fraction:
    """Nano-units of all rows of a device hour, before rounding."""
    rate = reference.price(row["cluster"], row["gpu_model"], row["start_ms"])
    return row["gpu_ns"] * rate.per_gpu_ns + row["energy_mj"] * rate.per_mj if rate else Fraction(0)


def _is_within(row: Row, low: Fraction, high: Fraction) -> bool:
    """Whether the cost of a device hour lies there. Each of its rows was rounded to the nearest nano-unit."""
    rounding = Fraction(row["lines"], 2)
    return bool(low - rounding <= row["cost_nano"] <= high + rounding)


def subsidies(client: Client, scope: Scope, reference: Reference) -> list[CheckResult]:
    """What the rules of each agreement, and of those that come after it, yield for each line of unit costs."""
    lines = select(client, _LINES, scope)
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for line in lines:
        groups[line["minute"], line["cluster"], line["model"]].append(line)
    if len(lines) == scope.rows:  # the oldest group may be cut
        groups.popitem()
    faults = _unexplained(client, list(groups.values()), reference, _wrong_subsidies)
    return [
        result(
            SUBSIDIES,
            "The programme pays exactly what the agreement's rule says for the place and the day, and the programmes "
            "of agreements that come after it what theirs say.",
            len(lines), "lines", faults, scope,
        )
    ]  # fmt: skip


def _wrong_subsidies(groups: Sequence[list[Row]], reference: Reference) -> list[tuple[list[Row], Row]]:
    wrong: list[tuple[list[Row], Row]] = []
    for lines in groups:
        minute, cluster, model = (lines[0][name] for name in ("minute", "cluster", "model"))
        expected: dict[str, int] = defaultdict(int)
        for line in lines:
            tokens = (line["prompt_tokens"], line["cached_tokens"], line["generation_tokens"])
            cost_nano, country = decimal_to_nano(line["cost"]), reference.country(cluster)
            for party, paid in reference.subsidies(line["agreement"], country, minute.date(), cost_nano, *tokens):
                expected[party] += paid
        found = {line["agreement"]: line for line in lines}
        for agreement, subsidy in expected.items():
            line = found.get(agreement, _NO_LINE)
            currency = line["currency"]
            if decimal_to_nano(line["subsidy"]) == subsidy and currency in (reference.currency(agreement), None):
                continue
            fault = {
                "cluster": cluster,
                "ts_start": minute,
                "model": model,
                "agreement": agreement,
                "cost": line["cost"],
                "subsidy": line["subsidy"],
                "expected_subsidy": nano_to_decimal(subsidy),
                "currency": currency,
            }
            wrong.append((lines, fault))
    return wrong


_NO_LINE: Row = {"cost": Decimal(0), "subsidy": Decimal(0), "currency": None}


def select(client: Client, query: str, scope: Scope, **more: object) -> list[Row]:
    """Rows of a query with the parameters of the scope, and more."""
    parameters = {**scope.parameters(), "rows": scope.rows, **more}
    return list(client.query(query, parameters=parameters).named_results())


def result(
    name: str, protects: str, examined: int, unit: str, faults: Sequence[Row], scope: Scope,
    differences: Sequence[Difference] = (),
) -> CheckResult:  # fmt: skip
    """What an audit found; says so when the bound on its rows was reached."""
    shown = [dict(row) for row in sorted(faults, key=lambda row: (row["ts_start"], row["cluster"]))[:SHOWN]]
    note = f"the newest {scope.rows:,}" if examined >= scope.rows else ""
    return CheckResult(name, protects, examined, unit, len(faults), shown, note, differences=list(differences))
