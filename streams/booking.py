"""From the meters' rows to what is stored and published: labels resolved, cost computed, minutes added up. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.usage import GpuGroup, GpuTotals, TokenGroup, TokenTotals
from streams.metering.columns import decimal, nullable
from streams.metering.costing import cost_nano
from streams.metering.gpu import GpuMeter, Rows
from streams.metering.intervals import METHODS, MINUTE_MS, Int
from streams.metering.labels import Interner
from streams.metering.tokens import COUNTERS, TokenMeter
from streams.reference import PriceRate, Reference

DAY_MS = 86_400_000
TS = pa.timestamp("ms", tz="UTC")
SECONDS = pa.timestamp("s", tz="UTC")
RATES = 4096  # more prices than any one worker meets; a group is numbered owner * RATES + rate
KEPT_MINUTES = 15  # minutes of finished totals in memory; older ones are added up by the book when they change


class TextColumn:
    """A dictionary-encoded string per label set."""

    def __init__(self) -> None:
        self._interner = Interner()
        self._values: list[str] = []
        self._codes: list[int] = []
        self._array: NDArray[np.int32] = np.empty(0, np.int32)

    def append(self, value: str) -> None:
        code = self._interner.code(value)
        if code == len(self._values):
            self._values.append(value)
        self._codes.append(code)

    def take(self, labels: Int) -> pa.DictionaryArray:
        """The strings of these label sets."""
        if len(self._array) != len(self._codes):
            self._array = np.array(self._codes, np.int32)
        codes: NDArray[np.int32] = self._array[labels]
        if len(self._values) <= max(len(codes), 1024):
            return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(self._values, pa.string()))
        used, positions = np.unique(codes, return_inverse=True)
        values = pa.array([self._values[code] for code in used.tolist()], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(positions.astype(np.int32)), values)


def minute_number(ms: Int) -> Int:
    """Whole minutes since 1970."""
    return ms // MINUTE_MS


def _timestamps(ms: Int) -> pa.Array:
    return pa.array(ms).cast(TS)


def _minutes(ms: Int) -> pa.Array:
    return pa.array(minute_number(ms) * 60).cast(SECONDS)


def _join(parts: Iterable[Rows]) -> Rows:
    chosen = list(parts)
    return {name: np.concatenate([part[name] for part in chosen]) for name in chosen[0]}


class Tally:
    """Totals per (shard, minute, group) of the rows that are final, to which the open rows are added each time.

    It remembers the last minutes of each shard, counted back from that shard's newest: shards lag behind each other by
    hours while they catch up.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._final: dict[tuple[int, int], dict[int, Int]] = {}
        self._spans: dict[tuple[int, int], tuple[int, int]] = {}
        self._newest: dict[int, int] = {}

    def add(self, sums: Mapping[tuple[int, int], Mapping[int, Int]]) -> None:
        """Fold in rows that have become final."""
        for key, groups in sums.items():
            mine = self._final.setdefault(key, {})
            for group, values in groups.items():
                mine[group] = mine.get(group, np.zeros(self._width, np.int64)) + values

    def with_open(self, key: tuple[int, int], open_sums: Mapping[tuple[int, int], Mapping[int, Int]]) -> dict[int, Int]:
        """Final plus open rows of one (shard, minute)."""
        total = dict(self._final.get(key, {}))
        for group, values in open_sums.get(key, {}).items():
            total[group] = total.get(group, np.zeros(self._width, np.int64)) + values
        return total

    def span(self, key: tuple[int, int], start_ms: int, end_ms: int) -> tuple[int, int]:
        """First and latest moment of the rows of one (shard, minute) so far, given those of the rows at hand."""
        start, end = self._spans.get(key, (start_ms, end_ms))
        self._spans[key] = min(start, start_ms), max(end, end_ms)
        return self._spans[key]

    def move_on(self, touched: Iterable[tuple[int, ...]]) -> None:
        """Forget the minutes that lie too far behind, now that these (shard, minute) were touched."""
        for shard, minute in touched:
            self._newest[shard] = max(minute, self._newest.get(shard, minute))
        for memory in (self._final, self._spans):
            for key in [key for key in memory if not self.keeps(*key)]:
                del memory[key]

    def keeps(self, shard: int, minute: int) -> bool:
        """Whether everything of a (shard, minute) that became final is still here."""
        return minute >= self._newest.get(shard, minute) - KEPT_MINUTES


def sums_by_minute(shard: Int, minute: Int, group: Int, values: list[Int]) -> dict[tuple[int, int], dict[int, Int]]:
    """Exact sums of the value arrays per (shard, minute) and group."""
    result: dict[tuple[int, int], dict[int, Int]] = {}
    keys, codes = distinct(shard, minute, group)
    sums = [exact_sums(codes, column, len(keys)) for column in values]
    for i, (shard_, minute_, group_) in enumerate(keys):
        result.setdefault((shard_, minute_), {})[group_] = np.array([total[i] for total in sums])
    return result


def distinct(*columns: Int) -> tuple[list[tuple[int, ...]], Int]:
    """The distinct combinations of integer columns, sorted, and for each row the position of its own.

    Columns hold few different values within one batch (shards, minutes, groups), so combinations are numbered densely
    and found by counting; sorting the rows would cost several times as much.
    """
    if not len(columns[0]):
        return [], np.empty(0, np.int64)
    dense = np.zeros(len(columns[0]), np.int64)
    levels = []
    for column in columns:
        low, high = int(column.min()), int(column.max())
        if high - low < 1 << 20:
            present = np.flatnonzero(np.bincount(column - low))
            number = np.zeros(high - low + 1, np.int64)
            number[present] = np.arange(len(present))
            values, codes = present + low, number[column - low]
        else:
            values, codes = np.unique(column, return_inverse=True)
        levels.append(values)
        dense = dense * len(values) + codes
    present = np.flatnonzero(np.bincount(dense))
    number = np.zeros(int(dense.max()) + 1, np.int64)
    number[present] = np.arange(len(present))
    keys = np.unravel_index(present, [len(values) for values in levels])
    named = [values[index].tolist() for values, index in zip(levels, keys, strict=True)]
    return list(zip(*named, strict=True)), number[dense]


def exact_sums(codes: Int, values: Int, count: int) -> Int:
    """Sums of non-negative integers per code. Exact: bincount adds in floating point, so the halves of each number are
    added apart, and no partial sum of 2**21 rows reaches 2**53."""
    low = np.bincount(codes, weights=values & 0xFFFFFFFF, minlength=count).astype(np.int64)
    high = np.bincount(codes, weights=values >> 32, minlength=count).astype(np.int64)
    return low + (high << 32)


class GpuBooking:
    """Ledger rows of GPU usage, priced, and the running totals of each shard and minute."""

    _TEXT = (
        "cluster", "device", "slice", "node", "vendor", "gpu_model", "namespace", "pod", "job", "account",
    )  # fmt: skip

    def __init__(self, meter: GpuMeter, reference: Reference) -> None:
        self._meter = meter
        self._reference = reference
        self._text = {name: TextColumn() for name in (*self._TEXT, "workload", "deployment", "agreement")}
        self._share: list[tuple[int, int]] = []
        self._priced: list[int] = []  # per label set: index of its (cluster, gpu_model)
        self._products = Interner()
        self._product_names: list[tuple[str, str]] = []
        self._owner: list[int] = []  # per label set: index of its (deployment, agreement, gpu_model)
        self._owners = Interner()
        self._owner_names: list[tuple[str, str, str]] = []
        self._rates: list[PriceRate | None] = [None]
        self._rate_index: dict[tuple[int, int], int] = {}
        self._tally = Tally(width=4)

    def table(self, rows: Rows) -> tuple[pa.Table, Int, Int]:
        """Rows as columns of gpu_usage_store, with their cost (nano-units) and group code beside."""
        self._learn()
        labels = rows["label"]
        rate, cost = self._price(rows)
        shares = np.array(self._share, np.uint32).reshape(-1, 2)[labels]
        rates = [("", "") if known is None else (known.currency, known.version) for known in self._rates]
        method = pa.DictionaryArray.from_arrays(pa.array(rows["method"].astype(np.int32)), pa.array(METHODS))
        shard = pa.DictionaryArray.from_arrays(
            pa.array(rows["shard"].astype(np.int32)), pa.array(self._meter.shard_names, pa.string())
        )
        columns: dict[str, Any] = {name: column.take(labels) for name, column in self._text.items()}
        columns |= {
            "ts_start": _timestamps(rows["start_ms"]),
            "ts_end": _timestamps(rows["end_ms"]),
            "minute": _minutes(rows["start_ms"]),
            "shard": shard,
            "share_num": pa.array(shares[:, 0]),
            "share_den": pa.array(shares[:, 1]),
            "gpu_seconds": decimal(rows["gpu_ns"], 9),
            "energy_j": decimal(rows["energy_mj"], 3),
            "busy_seconds": decimal(rows["busy_ns"], 9),
            "busy_known_seconds": decimal(rows["busy_known_ns"], 9),
            "energy_mj_end": nullable(rows["energy_mj_end"], rows["energy_mj_end"] < 0),
            "power_w_end": nullable(rows["power_w_end"], np.isnan(rows["power_w_end"])),
            "samples": pa.array(rows["samples"].astype(np.uint32)),
            "method": method,
            "ended": pa.array(rows["ended"]),
            "cost": decimal(cost, 9),
            "currency": _choose(rate, [currency for currency, _ in rates]),
            "price_version": _choose(rate, [version for _, version in rates]),
        }
        return pa.table(columns), cost, self._group(labels, rate)

    def totals(self, final: Rows, growing: Rows) -> tuple[pa.Table, list[GpuTotals], set[tuple[str, int]]]:
        """What to store and publish for these rows (see GpuMeter.take_rows).

        Returns the rows as a table of gpu_usage_store, the new totals of every (shard, minute) that they touch, and
        those (shard, minute) whose totals only the book can tell, because part of them was metered before this
        meter began or is no longer in its memory.
        """
        rows = _join((final, growing))
        table, cost, group = self.table(rows)
        if not table.num_rows:
            return table, [], set()
        split = len(final["label"])
        minute = minute_number(rows["start_ms"])
        values = [rows["gpu_ns"], rows["busy_ns"], rows["energy_mj"], cost]
        self._tally.add(
            sums_by_minute(rows["shard"][:split], minute[:split], group[:split], [v[:split] for v in values])
        )
        metered = rows["end_ms"] > rows["start_ms"]
        touched, _ = distinct(rows["shard"][metered], minute[metered])
        if not touched:
            return table, [], set()
        self._tally.move_on(touched)
        still_open = self._meter.open_rows(*_shards_and_minutes(touched))
        rate, open_cost = self._price(still_open)
        open_minute = minute_number(still_open["start_ms"])
        open_values = [still_open["gpu_ns"], still_open["busy_ns"], still_open["energy_mj"], open_cost]
        open_sums = sums_by_minute(
            still_open["shard"], open_minute, self._group(still_open["label"], rate), open_values
        )
        messages, unknown = [], set()
        for shard, number in touched:
            state = self._meter.shards[self._meter.shard_names[shard]]
            minute_ms = number * MINUTE_MS
            if minute_ms < state.known_from_ms or not self._tally.keeps(shard, number):
                unknown.add((state.name, minute_ms))
                continue
            groups = self._tally.with_open((shard, number), open_sums)
            own = metered & (rows["shard"] == shard) & (minute == number)
            start, end = self._tally.span(
                (shard, number), int(rows["start_ms"][own].min()), int(rows["end_ms"][own].max())
            )
            messages.append(
                GpuTotals(
                    cluster=state.cluster,
                    shard=state.name,
                    minute_ms=minute_ms,
                    version=sum(int(sums[0]) for sums in groups.values()),
                    ts_start_ms=start,
                    ts_end_ms=end,
                    groups=[self._group_message(code, sums) for code, sums in groups.items() if sums[0]],
                )
            )
        return table, messages, unknown

    def _learn(self) -> None:
        """Resolve label sets that are new since the last call."""
        for label in self._meter.registry.labels[len(self._share) :]:
            workload, deployment, agreement = self._reference.resolve_gpu(
                label.cluster, label.namespace, label.pod, label.job, label.account
            )
            for name in self._TEXT:
                self._text[name].append(getattr(label, name))
            self._text["workload"].append(workload)
            self._text["deployment"].append(deployment)
            self._text["agreement"].append(agreement)
            self._share.append((label.share_num, label.share_den))
            product = (label.cluster, label.gpu_model)
            self._priced.append(self._products.code(product))
            if len(self._products) > len(self._product_names):
                self._product_names.append(product)
            owner = (deployment, agreement, label.gpu_model)
            self._owner.append(self._owners.code(owner))
            if len(self._owners) > len(self._owner_names):
                self._owner_names.append(owner)

    def _price(self, rows: Rows) -> tuple[Int, Int]:
        """Index of the rate that holds for each row (0: none) and the row's cost in nano-units."""
        self._learn()
        day = rows["start_ms"] // DAY_MS
        product = np.array(self._priced, np.int64)[rows["label"]]
        rate = np.zeros(len(day), np.int64)
        cost = np.zeros(len(day), np.int64)
        if not len(day):
            return rate, cost
        kinds, kind = distinct(day, product)
        for position, (number, product_) in enumerate(kinds):
            chosen = slice(None) if len(kinds) == 1 else kind == position
            index = self._rate_of(number, product_)
            known = self._rates[index]
            rate[chosen] = index
            if known is not None:
                cost[chosen] = cost_nano(
                    rows["gpu_ns"][chosen], rows["energy_mj"][chosen], known.per_gpu_ns, known.per_mj
                )
        return rate, cost

    def _rate_of(self, day: int, product: int) -> int:
        index = self._rate_index.get((day, product))
        if index is None:
            rate = self._reference.price(*self._product_names[product], _date(day))
            index = 0
            if rate is not None:
                index = self._rates.index(rate) if rate in self._rates else len(self._rates)
                if index == len(self._rates):
                    self._rates.append(rate)
            self._rate_index[day, product] = index
        return index

    def _group(self, labels: Int, rate: Int) -> Int:
        return np.array(self._owner, np.int64)[labels] * RATES + rate

    def _group_message(self, code: int, sums: Int) -> GpuGroup:
        deployment, agreement, gpu_model = self._owner_names[code // RATES]
        rate = self._rates[code % RATES]
        gpu_ns, busy_ns, energy_mj, cost = sums.tolist()
        return GpuGroup(
            deployment=deployment,
            agreement=agreement,
            gpu_model=gpu_model,
            currency=rate.currency if rate else "",
            price_version=rate.version if rate else "",
            gpu_ns=gpu_ns,
            busy_ns=busy_ns,
            energy_mj=energy_mj,
            cost_nano=cost,
        )


class TokenBooking:
    """Ledger rows of tokens, resolved, and the running totals of each shard and minute."""

    def __init__(self, meter: TokenMeter, reference: Reference) -> None:
        self._meter = meter
        self._reference = reference
        names = ("cluster", "endpoint", "replica", "served_model", "team", "deployment", "layer", "model", "agreement")
        self._text = {name: TextColumn() for name in names}
        self._counted: list[bool] = []
        self._tally = Tally(width=1 + len(COUNTERS))

    def totals(self, final: Rows, growing: Rows) -> tuple[pa.Table, list[TokenTotals], set[tuple[str, int]]]:
        """As GpuBooking.totals, for token_usage_store."""
        rows = _join((final, growing))
        table = self._table(rows)
        if not table.num_rows:
            return table, [], set()
        split = len(final["label"])
        final_sums = self._sums({name: column[:split] for name, column in rows.items()})
        self._tally.add(final_sums)
        minute = minute_number(rows["end_ms"])
        metered = rows["end_ms"] > rows["start_ms"]
        touched, _ = distinct(rows["shard"][metered], minute[metered])
        if not touched:
            return table, [], set()
        self._tally.move_on(touched)
        open_sums = self._sums(self._meter.open_rows(*_shards_and_minutes(touched)))
        messages, unknown = [], set()
        for shard, number in touched:
            name = self._meter.shards[shard]
            minute_ms = number * MINUTE_MS
            if minute_ms < self._meter.known_from_ms.get(name, 0) or not self._tally.keeps(shard, number):
                unknown.add((name, minute_ms))
                continue
            groups = {
                label: sums for label, sums in self._tally.with_open((shard, number), open_sums).items() if sums[0]
            }
            own = metered & (rows["shard"] == shard) & (minute == number)
            _, end = self._tally.span((shard, number), int(rows["start_ms"][own].min()), int(rows["end_ms"][own].max()))
            messages.append(
                TokenTotals(
                    cluster=self._meter.labels[int(rows["label"][rows["shard"] == shard][0])].cluster,
                    shard=name,
                    minute_ms=minute_ms,
                    version=sum(int(sums[0]) for sums in groups.values()),
                    ts_end_ms=end,
                    groups=self._group_messages(groups),
                )
            )
        return table, messages, unknown

    def _sums(self, rows: Rows) -> dict[tuple[int, int], dict[int, Int]]:
        return sums_by_minute(
            rows["shard"],
            minute_number(rows["end_ms"]),
            rows["label"],
            [rows["end_ms"] - rows["start_ms"], *(rows[name] for name in COUNTERS)],
        )

    def _table(self, rows: Rows) -> pa.Table:
        for label in self._meter.labels[len(self._counted) :]:
            model, agreement, counted = self._reference.resolve_tokens(
                label.cluster, label.deployment, label.served_model, label.team, label.layer
            )
            for name, value in label._asdict().items():
                self._text[name].append(value)
            self._text["model"].append(model)
            self._text["agreement"].append(agreement)
            self._counted.append(counted)
        labels = rows["label"]
        shard = pa.DictionaryArray.from_arrays(
            pa.array(rows["shard"].astype(np.int32)), pa.array(self._meter.shards, pa.string())
        )
        columns: dict[str, Any] = {name: column.take(labels) for name, column in self._text.items()}
        columns |= {
            "ts_start": _timestamps(rows["start_ms"]),
            "ts_end": _timestamps(rows["end_ms"]),
            "minute": _minutes(rows["end_ms"]),
            "shard": shard,
            "counted": pa.array(np.array(self._counted, np.bool_)[labels]),
            "resets": pa.array(rows["resets"].astype(np.uint32)),
            "samples": pa.array(rows["samples"].astype(np.uint32)),
            "started_ms": nullable(rows["started_ms"], rows["started_ms"] < 0),
        }
        for name in COUNTERS:
            columns[name] = pa.array(rows[name])
            columns[f"{name}_end"] = nullable(rows[f"{name}_end"], rows[f"{name}_end"] < 0)
        return pa.table(columns)

    def _group_messages(self, groups: Mapping[int, Int]) -> list[TokenGroup]:
        """Labels with the same identity downstream become one group."""
        merged: dict[tuple[str, str, str, str, bool], Int] = {}
        for label, sums in groups.items():
            names = self._meter.labels[label]
            model, agreement, counted = self._reference.resolve_tokens(
                names.cluster, names.deployment, names.served_model, names.team, names.layer
            )
            key = (names.deployment, model, agreement, names.layer, counted)
            merged[key] = merged[key] + sums if key in merged else sums
        return [
            TokenGroup(
                deployment=deployment,
                model=model,
                agreement=agreement,
                layer=layer,
                counted=counted,
                **dict(zip(COUNTERS, sums[1:].tolist(), strict=True)),
            )
            for (deployment, model, agreement, layer, counted), sums in merged.items()
        ]


def _shards_and_minutes(keys: list[tuple[int, ...]]) -> tuple[Int, Int]:
    """Shard numbers, and starts of minutes in ms, of (shard, minute number) pairs."""
    shards, minutes = np.array(keys, np.int64).T
    return shards, minutes * MINUTE_MS


def _choose(index: Int, values: list[str]) -> pa.DictionaryArray:
    """A string per row; ClickHouse wants the values of a dictionary to be distinct."""
    known = sorted(set(values))
    position = np.array([known.index(value) for value in values], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(position[index]), pa.array(known, pa.string()))


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * 86_400, UTC).date()
