"""Ledger rows of tokens as they are stored, and the totals that are published."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.usage import TokenGroup, TokenTotals
from streams.booking.columns import TextColumn, join, minute_number, minutes, timestamps
from streams.booking.tally import Tally, distinct, shards_and_minutes, sums_by_minute
from streams.metering.columns import nullable
from streams.metering.intervals import MINUTE_MS, Int
from streams.metering.rows import Rows
from streams.metering.tokens import COUNTERS, TokenMeter
from streams.reference import Reference


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
        rows = join((final, growing))
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
        open_sums = self._sums(self._meter.open_rows(*shards_and_minutes(touched)))
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
            "ts_start": timestamps(rows["start_ms"]),
            "ts_end": timestamps(rows["end_ms"]),
            "minute": minutes(rows["end_ms"]),
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
