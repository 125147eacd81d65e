"""Messages of token counters, and workers that meter them into a ledger in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.arrow import TOKEN_SAMPLES
from streams.metering.rows import Rows
from streams.metering.tokens import COUNTERS, TokenMeter
from tests.streams.metering.ledger import Store
from tests.streams.metering.samples import batch_of
from tests.streams.metering.token_oracle import TokenObservation, TokenRow

CHAIN = ("cluster", "endpoint", "replica", "served_model", "team")


def token_store() -> Store:
    """An empty token ledger."""
    return Store(CHAIN)


def token_batch(observations: Sequence[TokenObservation]) -> pa.RecordBatch:
    """The message that holds these observations of one shard."""
    rows = [
        {
            "ts": one.ts_ms, "endpoint": one.endpoint, "replica": one.replica, "model": one.model, "team": one.team,
            "deployment": one.deployment, "layer": one.layer, "started_ms": one.started_ms,
            **dict(zip(COUNTERS, one.counts, strict=True)),
        }
        for one in observations
    ]  # fmt: skip
    return batch_of(rows, TOKEN_SAMPLES)


def token_rows(meter: TokenMeter, rows: Rows) -> list[dict[str, Any]]:
    """The meter's rows as token_usage_store has them, under the names that `TokenMeter.load` reads."""
    columns = {name: column.tolist() for name, column in rows.items()}
    result = []
    for i in range(len(columns["label"])):
        row = {name: column[i] for name, column in columns.items()}
        ends = ("started_ms", *(f"{name}_end" for name in COUNTERS))
        result.append(
            meter.labels[row["label"]]._asdict()
            | {name: row[name] for name in ("resets", "samples", *COUNTERS)}
            | {name: None if row[name] < 0 else row[name] for name in ends}
            | {"shard": meter.shards[row["shard"]], "ts_start_ms": row["start_ms"], "ts_end_ms": row["end_ms"]}
        )
    return result


def token_ledger(store: Store) -> list[TokenRow]:
    """The rows that view token_usage shows."""
    return [
        TokenRow(
            (row["cluster"], row["endpoint"], row["replica"], row["served_model"], row["team"]),
            row["ts_start_ms"], row["ts_end_ms"], row["shard"], row["deployment"], row["layer"],
            tuple(row[name] for name in COUNTERS), tuple(row[f"{name}_end"] for name in COUNTERS),
            row["started_ms"], row["resets"], row["samples"],
        )
        for row in store.rows.values()
        if row["ts_end_ms"] > row["ts_start_ms"]
    ]  # fmt: skip


@dataclass
class TokenWorker:
    """Meters messages, each a list of observations of one shard, into a store."""

    store: Store

    def __post_init__(self) -> None:
        self.meter = TokenMeter()

    def fold(self, message: Sequence[TokenObservation]) -> None:
        """Take in a message as the agent does: chain heads first.

        All counters of an endpoint are read back, as one query does, also those that this meter already follows.
        """
        cluster, shard = message[0].cluster, message[0].shard
        batch = token_batch(message)
        unknown = self.meter.unknown_counters(shard, cluster, batch)
        if unknown:
            endpoints = {label.endpoint for label in unknown}
            heads = self.store.heads(lambda row: row["cluster"] == cluster and row["endpoint"] in endpoints)
            self.meter.load(shard, unknown, heads)
        self.meter.fold(shard, cluster, batch)

    def commit(self) -> None:
        """Store everything taken in so far, as one block."""
        final, growing = self.meter.take_rows()
        self.store.insert([*token_rows(self.meter, final), *token_rows(self.meter, growing)])
