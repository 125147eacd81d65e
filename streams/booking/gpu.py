"""Ledger rows of GPU usage as they are stored, and the totals that are published."""

from typing import Any

import numpy as np
import pyarrow as pa

from schemas.usage import GpuGroup, GpuTotals
from streams.booking.columns import TextColumn, choose, join, minute_number, minutes, timestamps
from streams.booking.tally import Tally, distinct, shards_and_minutes, sums_by_minute
from streams.metering.columns import decimal, nullable
from streams.metering.costing import cost_nano
from streams.metering.gpu import GpuMeter
from streams.metering.intervals import METHODS, MINUTE_MS, Int
from streams.metering.labels import Interner
from streams.metering.rows import Rows
from streams.pricing import DAY_MS, PriceRate
from streams.reference import Reference

RATES = 4096  # more prices than any one worker meets; a group is numbered owner * RATES + rate


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
        self._by_time_of_day: list[bool] = []  # per product: whether its price can change within a day
        self._owner: list[int] = []  # per label set: index of its (deployment, agreement, gpu_model)
        self._owners = Interner()
        self._owner_names: list[tuple[str, str, str]] = []
        self._rates: list[PriceRate | None] = [None]
        self._rate_index: dict[PriceRate | None, int] = {None: 0}
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
            "ts_start": timestamps(rows["start_ms"]),
            "ts_end": timestamps(rows["end_ms"]),
            "minute": minutes(rows["start_ms"]),
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
            "currency": choose(rate, [currency for currency, _ in rates]),
            "price_version": choose(rate, [version for _, version in rates]),
        }
        return pa.table(columns), cost, self._group(labels, rate)

    def totals(self, final: Rows, growing: Rows) -> tuple[pa.Table, list[GpuTotals], set[tuple[str, int]]]:
        """What to store and publish for these rows (see GpuMeter.take_rows).

        Returns the rows as a table of gpu_usage_store, the new totals of every (shard, minute) that they touch, and
        those (shard, minute) whose totals only the book can tell, because part of them was metered before this
        meter began or is no longer in its memory.
        """
        rows = join((final, growing))
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
        still_open = self._meter.open_rows(*shards_and_minutes(touched))
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
                self._by_time_of_day.append(self._reference.by_time_of_day(*product))
            owner = (deployment, agreement, label.gpu_model)
            self._owner.append(self._owners.code(owner))
            if len(self._owners) > len(self._owner_names):
                self._owner_names.append(owner)

    def _price(self, rows: Rows) -> tuple[Int, Int]:
        """Index of the rate that holds for each row (0: none) and the row's cost in nano-units."""
        self._learn()
        product = np.array(self._priced, np.int64)[rows["label"]]
        rate = np.zeros(len(product), np.int64)
        cost = np.zeros(len(product), np.int64)
        if not len(product):
            return rate, cost
        kinds, kind = distinct(self._priced_at(rows["start_ms"], product), product)
        for position, (minute, product_) in enumerate(kinds):
            chosen = slice(None) if len(kinds) == 1 else kind == position
            index = self._rate_of(minute, product_)
            known = self._rates[index]
            rate[chosen] = index
            if known is not None:
                cost[chosen] = cost_nano(
                    rows["gpu_ns"][chosen], rows["energy_mj"][chosen], known.per_gpu_ns, known.per_mj
                )
        return rate, cost

    def _priced_at(self, start_ms: Int, product: Int) -> Int:
        """Number of the minute at whose price each row is charged: the first of its day, where prices hold all day.

        A row never crosses a minute, and prices change on whole ones.
        """
        first = start_ms // DAY_MS * (DAY_MS // MINUTE_MS)
        if not any(self._by_time_of_day):
            return first
        return np.where(np.array(self._by_time_of_day)[product], start_ms // MINUTE_MS, first)

    def _rate_of(self, minute: int, product: int) -> int:
        rate = self._reference.price(*self._product_names[product], minute * MINUTE_MS)
        index = self._rate_index.setdefault(rate, len(self._rates))
        if index == len(self._rates):
            self._rates.append(rate)
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
