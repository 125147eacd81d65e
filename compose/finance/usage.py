"""What was used in some hours: read from the ledger by minute, each row priced on the way.

A ledger row costs its device time and its energy at the price of its moment, in nano-units of the price's currency,
rounded half-even by itself, exactly as the worker does it; ClickHouse computes that in 256-bit integers. Prices change
on whole minutes and a row never crosses one, so the moment of a row is its start.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from compose.finance.integers import Int
from streams.pricing import PriceRate
from streams.reference import Reference

NUMBERS = ("gpu_ns", "busy_ns", "energy_mj", "counter_ns", "integrated_ns", "bridged_ns", "price_cost_nano")
"""What is summed of device time: times in ns of a whole device, energy in mJ, cost in nano-units of its price."""
TEXTS = ("cluster", "deployment", "workload", "agreement", "gpu_model", "slice")
COUNTS = ("prompt_tokens", "cached_tokens", "generation_tokens")


class Texts(NamedTuple):
    """A column of texts: each once, and which of them every row has."""

    names: Sequence[str]
    codes: Int

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array) -> "Texts":
        """From Arrow."""
        encoded = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode()
        return cls(encoded.dictionary.to_pylist(), _integers(encoded.indices))


@dataclass(frozen=True, slots=True)
class Usage:
    """Some hours of the ledger, grouped by minute and by everything that a charge tells apart."""

    minute: Int
    """Unix time in s, of each group of device time."""
    texts: dict[str, Texts]
    """TEXTS of each group. The workload is empty where there is a deployment; the slice is a profile."""
    price: Int
    """Which of `prices`; 0: none."""
    numbers: dict[str, Int]
    """NUMBERS of each group."""
    prices: Sequence[tuple[str, str]]
    """(version, currency); the first is ("", "")."""
    token_minute: Int
    """Unix time in s, of each group of counted tokens."""
    token_texts: dict[str, Texts]
    """cluster, deployment, model and agreement of each."""
    tokens: dict[str, Int]
    """COUNTS of each."""


def read(client: Client, start: datetime, end: datetime, reference: Reference) -> Usage:
    """The ledger from `start` to `end` (whole hours), priced by `reference`."""
    rates, prices = _rates(client, start, end, reference)
    span = {"start": start, "end": end}
    devices = client.query_arrow(_DEVICES, parameters={**span, "rates": rates})
    tokens = client.query_arrow(_TOKENS, parameters=span)
    return Usage(
        minute=_integers(devices["minute_s"]),
        texts={name: Texts.of(devices[name]) for name in TEXTS},
        price=_integers(devices["price"]),
        numbers={name: _integers(devices[name]) for name in NUMBERS},
        prices=prices,
        token_minute=_integers(tokens["minute_s"]),
        token_texts={name: Texts.of(tokens[name]) for name in ("cluster", "deployment", "model", "agreement")},
        tokens={name: _integers(tokens[name]) for name in COUNTS},
    )


def _rates(
    client: Client, start: datetime, end: datetime, reference: Reference
) -> tuple[list[tuple[str, str, int, int, str, str, str]], list[tuple[str, str]]]:
    """What each product costs from which moment: (cluster, gpu_model, from_ms, price, per ns, per mJ, of).

    The cost of a row in nano-units is (ns x per ns + mJ x per mJ) / of. The three integers may be of any size, so they
    travel as text.
    """
    rates, prices = [], [("", "")]
    numbers: dict[PriceRate, int] = {}
    start_ms, end_ms = (round(moment.timestamp() * 1000) for moment in (start, end))
    for cluster, gpu_model in client.query(_PRODUCTS, parameters={"start": start, "end": end}).result_rows:
        for from_ms, rate in reference.price_periods(cluster, gpu_model, start_ms, end_ms):
            if rate is None:
                rates.append((cluster, gpu_model, from_ms, 0, "0", "0", "1"))
                continue
            if rate not in numbers:
                numbers[rate] = len(prices)
                prices.append((rate.version, rate.currency))
            of = math.lcm(rate.per_gpu_ns.denominator, rate.per_mj.denominator)
            per_ns, per_mj = int(rate.per_gpu_ns * of), int(rate.per_mj * of)
            rates.append((cluster, gpu_model, from_ms, numbers[rate], str(per_ns), str(per_mj), str(of)))
    return rates, prices


def _integers(column: pa.ChunkedArray | pa.Array) -> Int:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values: Any = whole.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values, np.int64)


_PRODUCTS = """
SELECT DISTINCT toString(cluster), toString(gpu_model) FROM gpu_usage_store
WHERE ts_start >= {start:DateTime('UTC')} AND ts_start < {end:DateTime('UTC')} AND ts_end > ts_start
ORDER BY ALL
"""

_DEVICES = """
WITH rates AS
(
    SELECT rate.1 AS cluster, rate.2 AS gpu_model, rate.3 AS from_ms, rate.4 AS price, toInt256(rate.5) AS per_ns,
        toInt256(rate.6) AS per_mj, toInt256(rate.7) AS of
    FROM (SELECT arrayJoin({rates:Array(Tuple(String, String, Int64, Int64, String, String, String))}) AS rate)
)
SELECT minute_s, cluster, deployment, workload, agreement, gpu_model, slice, price,
    sum(rows.gpu_ns) AS gpu_ns, sum(rows.busy_ns) AS busy_ns, sum(rows.energy_mj) AS energy_mj,
    sumIf(rows.gpu_ns, method = 'counter') AS counter_ns, sumIf(rows.gpu_ns, method = 'integrated') AS integrated_ns,
    sumIf(rows.gpu_ns, method = 'bridged') AS bridged_ns,
    sum(toInt64(whole + (2 * rest > of OR (2 * rest = of AND whole % 2 = 1)))) AS price_cost_nano
FROM
(
    SELECT minute_s, used.cluster AS cluster, deployment, workload, agreement, used.gpu_model AS gpu_model, slice,
        method, price, gpu_ns, busy_ns, energy_mj, of,
        gpu_ns * per_ns + energy_mj * per_mj AS exact, intDiv(exact, of) AS whole, exact - whole * of AS rest
    FROM
    (
        SELECT toInt64(toUnixTimestamp(s.minute)) AS minute_s, toString(s.cluster) AS cluster,
            toString(s.deployment) AS deployment, if(s.deployment = '', s.workload, '') AS workload,
            toString(s.agreement) AS agreement, toString(s.gpu_model) AS gpu_model,
            -- as schemas.slices.slice_profile
            splitByChar('/', toString(s.slice))[1] AS part,
            if(part IN ('unallocated', 'shared') OR match(part, '^[0-9]+$'), '', part) AS slice,
            toString(s.method) AS method, toUnixTimestamp64Milli(s.ts_start) AS start_ms,
            reinterpretAsInt64(s.gpu_seconds) AS gpu_ns, reinterpretAsInt64(s.busy_seconds) AS busy_ns,
            reinterpretAsInt64(s.energy_j) AS energy_mj
        FROM gpu_usage_store AS s FINAL
        WHERE s.ts_start >= {start:DateTime('UTC')} AND s.ts_start < {end:DateTime('UTC')}
            AND s.ts_end > s.ts_start
    ) AS used
    ASOF INNER JOIN rates
    ON used.cluster = rates.cluster AND used.gpu_model = rates.gpu_model AND used.start_ms >= rates.from_ms
) AS rows
GROUP BY ALL
"""

_TOKENS = """
SELECT toInt64(toUnixTimestamp(s.minute)) AS minute_s, toString(s.cluster) AS cluster,
    toString(s.deployment) AS deployment, toString(s.model) AS model, toString(s.agreement) AS agreement,
    sum(s.prompt_tokens) AS prompt_tokens, sum(s.cached_tokens) AS cached_tokens,
    sum(s.generation_tokens) AS generation_tokens
FROM token_usage_store AS s FINAL
WHERE s.minute >= {start:DateTime('UTC')} AND s.minute < {end:DateTime('UTC')} AND s.counted AND s.ts_end > s.ts_start
GROUP BY ALL
"""
