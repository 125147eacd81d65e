"""A ledger in memory that keeps rows exactly as the ReplacingMergeTree does, and workers that can die at any time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import pyarrow as pa

from streams.metering.gpu import GpuMeter
from streams.metering.intervals import METHODS
from streams.metering.rows import Rows
from tests.streams.metering.histories import Sample
from tests.streams.metering.oracle import Row
from tests.streams.metering.samples import Observation, Tenant, gpu_batch

Key = tuple[Any, ...]


@dataclass
class Store:
    """One row per key: of rows under the same key the one with the latest ts_end, of equal ones the newest."""

    chain: tuple[str, ...]
    """Columns that name a chain; with ts_start_ms they are the key."""
    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def insert(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows."""
        for row in rows:
            key = (*(row[name] for name in self.chain), row["ts_start_ms"])
            held = self.rows.get(key)
            if held is None or row["ts_end_ms"] >= held["ts_end_ms"]:
                self.rows[key] = row

    def heads(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The last row of each chain, by (ts_end, ts_start)."""
        heads: dict[Key, dict[str, Any]] = {}
        for row in filter(wanted, self.rows.values()):
            chain = tuple(row[name] for name in self.chain)
            held = heads.get(chain)
            if held is None or (row["ts_end_ms"], row["ts_start_ms"]) > (held["ts_end_ms"], held["ts_start_ms"]):
                heads[chain] = row
        return list(heads.values())


def gpu_rows(meter: GpuMeter, rows: Rows) -> list[dict[str, Any]]:
    """The meter's rows as gpu_usage_store has them, under the names that `GpuMeter.load` reads."""
    columns = {name: column.tolist() for name, column in rows.items()}
    result = []
    for i in range(len(columns["label"])):
        row = {name: column[i] for name, column in columns.items()}
        label = meter.registry.labels[row["label"]]
        names = ("cluster", "device", "slice", "node", "share_num", "share_den", "vendor", "gpu_model", "namespace",
                 "pod", "job", "account")  # fmt: skip
        result.append(
            {name: getattr(label, name) for name in names}
            | {name: row[name] for name in ("gpu_ns", "busy_ns", "busy_known_ns", "samples", "ended")}
            | {
                "shard": meter.shard_names[row["shard"]],
                "ts_start_ms": row["start_ms"],
                "ts_end_ms": row["end_ms"],
                "row_energy_mj": row["energy_mj"],
                "energy_mj_end": None if row["energy_mj_end"] < 0 else row["energy_mj_end"],
                "power_w_end": None if row["power_w_end"] != row["power_w_end"] else row["power_w_end"],
                "method": METHODS[row["method"]],
            }
        )
    return result


def gpu_ledger(store: Store) -> list[Row]:
    """The rows that view gpu_usage shows."""
    return [
        Row(
            row["cluster"], row["device"], row["slice"], row["ts_start_ms"], row["ts_end_ms"], row["shard"],
            row["node"], row["vendor"], row["gpu_model"], (row["share_num"], row["share_den"]),
            Tenant(row["namespace"], row["pod"], row["job"], row["account"]), row["gpu_ns"], row["row_energy_mj"],
            row["busy_ns"], row["busy_known_ns"], row["energy_mj_end"], row["samples"], row["method"],
        )
        for row in store.rows.values()
        if row["ts_end_ms"] > row["ts_start_ms"]
    ]  # fmt: skip


class Worker(Protocol):
    """One life of a worker: it knows what is stored, and what it was handed since."""

    def fold(self, message: Any) -> None:
        """Take in a message."""

    def commit(self) -> None:
        """Store everything taken in so far."""


@dataclass
class GpuWorker:
    """Meters messages, each a list of observations of one shard, into a store."""

    store: Store
    max_gap_ms: Mapping[str, int]

    def __post_init__(self) -> None:
        self.meter = GpuMeter(self.max_gap_ms)

    def fold(self, message: Sequence[Observation]) -> None:
        """Take in a message as the agent does: chain heads first."""
        cluster, shard = message[0].cluster, message[0].shard
        self.fold_batch(cluster, shard, gpu_batch(message))

    def fold_batch(self, cluster: str, shard: str, batch: pa.RecordBatch) -> None:
        """Take in a message that may hold nothing."""
        unknown = self.meter.unknown_devices(shard, cluster, batch)
        if unknown:
            heads = self.store.heads(lambda row: row["cluster"] == cluster and row["device"] in unknown)
            self.meter.load(shard, heads)
        self.meter.fold(shard, batch)

    def commit(self) -> None:
        """Store everything taken in so far, as one block."""
        final, growing = self.meter.take_rows()
        self.store.insert([*gpu_rows(self.meter, final), *gpu_rows(self.meter, growing)])


def gpu_store() -> Store:
    """An empty GPU ledger."""
    return Store(("cluster", "device", "slice"))


def run_with_faults(worker: Callable[[], Worker], log: Sequence[Any], chance: Random) -> None:
    """Feed a log of messages to workers that store, die and repeat at random, until all of it is stored.

    A successor begins at some message at or before the first one that was not stored.
    """
    position = stored = 0
    alive = worker()
    while stored < len(log):
        if position < len(log):
            alive.fold(log[position])
            position += 1
        fate = chance.random()
        if fate < 0.3 or position == len(log):
            alive.commit()
            stored = max(stored, position)
        elif fate < 0.45:
            alive = worker()
            position = stored - min(stored, chance.choice((0, 0, 1, 2, 5, 1000)))


class _Hand:
    """One of several workers: the messages of its partitions, and how many of them are stored."""

    def __init__(self, worker: Callable[[], Worker]) -> None:
        self._worker = worker
        self._alive = worker()
        self._log: list[Sequence[Sample]] = []
        self._stored = 0

    def fold(self, message: Sequence[Sample]) -> None:
        self._log.append(message)
        self._alive.fold(message)

    def commit(self) -> None:
        self._alive.commit()
        self._stored = len(self._log)

    def die(self, chance: Random) -> None:
        """A successor repeats what was not stored, and perhaps more."""
        self._alive = self._worker()
        for message in self._log[max(0, self._stored - chance.choice((0, 0, 1, 2, 5, 1000))) :]:
            self._alive.fold(message)


def run_apart(worker: Callable[[], Worker], log: Sequence[Sequence[Sample]], chance: Random) -> None:
    """Feed a log of messages to two workers that share the shards and store, die and repeat at random.

    Whoever a device leaves has stored what it had of it before the other sees the device: a collector that is started
    anew takes longer than a worker that keeps up gathers.
    """
    crew = {"a": _Hand(worker), "b": _Hand(worker)}
    holder: dict[tuple[str, ...], _Hand] = {}
    for message in log:
        hand = crew[message[0].shard.split("/")[1]]
        for sample in message:
            if holder.get(sample.chain, hand) is not hand:
                holder[sample.chain].commit()
            holder[sample.chain] = hand
        hand.fold(message)
        fate = chance.random()
        if fate < 0.3:
            chance.choice([*crew.values()]).commit()
        elif fate < 0.45:
            chance.choice([*crew.values()]).die(chance)
    for hand in crew.values():
        hand.commit()
