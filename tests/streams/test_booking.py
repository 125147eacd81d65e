"""What the meters publish is what the book holds: at any moment, for every shard and minute, whoever died before."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Config
from schemas.usage import GpuTotals, TokenTotals
from streams.booking.gpu import GpuBooking
from streams.booking.tokens import TokenBooking
from streams.metering.gpu import GpuMeter
from streams.metering.tokens import COUNTERS, TokenMeter
from streams.reference import Reference
from tests.streams.metering import test_token_ledger as tokens
from tests.streams.metering.histories import (
    MAX_GAP_MS,
    PACE,
    SCRAPES_AND_SILENCE,
    WILD,
    Step,
    deliver,
    live,
    roam,
    steps,
)
from tests.streams.metering.ledger import Store, gpu_store, run_apart, run_with_faults
from tests.streams.metering.samples import Observation, gpu_batch
from tests.streams.metering.settings import repeatable
from tests.streams.metering.token_ledger import token_batch, token_store
from tests.streams.metering.token_oracle import TokenObservation

MINUTE_MS = 60_000
CONFIG = Config.model_validate(
    {
        "cluster": [
            {"id": "fir", "country": "CA", "pue": "1.08", "timezone": "America/St_Johns"},
            {"id": "nibi", "country": "CA"},
        ],
        "deployment": [
            {"id": "chat", "cluster": "fir", "model": "cohere/command-r-plus", "agreement": "acme",
             "match": {"namespace": "llm", "pod": "*-0"}},
        ],
        "price": [
            {"id": "h100", "cluster": "fir", "gpu_model": "NVIDIA H100*", "basis": "owned", "capex": "42000",
             "lifetime_years": 5, "opex_per_gpu_hour": "0.35", "energy_per_kwh": "0.0776", "effective_from": day,
             # The histories begin at 21:20 local time.
             "tariff": [{"id": "evening", "starts": "21:22", "ends": "21:27", "energy_per_kwh": "0.151"},
                        {"id": "late", "starts": "21:31", "ends": "21:40", "energy_per_kwh": "0.03"}]}
            for day in (date(2025, 4, 1), date(2025, 10, 10))
        ] + [
            {"id": "cloud", "cluster": "nibi", "basis": "rented", "currency": "USD", "per_gpu_hour": "3.90",
             "effective_from": date(2025, 4, 1)},
        ],
        "programme": [{"id": "fund", "budget": "1000000", "starts": date(2025, 1, 1), "ends": date(2028, 1, 1)}],
        "agreement": [
            {"id": name, "programme": "fund", "recipient": name, "rule": {"kind": "cost_share", "share": "2/3"},
             "starts": date(2025, 1, 1), "ends": date(2027, 1, 1), "match": match}
            for name, match in (("acme", []), ("rrg", [{"account": "rrg-acme"}]), ("nord", [{"team": "nord"}]))
        ],
    }
)  # fmt: skip
Minute = tuple[str, int]
Group = tuple[Hashable, ...]
Sums = dict[Group, tuple[int, ...]]


class Desk:
    """Everything that was published: the newest total of each shard and minute, and the promise that versions grow."""

    def __init__(self) -> None:
        self.groups: dict[Minute, Sums] = {}
        self.versions: dict[Minute, int] = {}

    def publish(self, key: Minute, version: int, groups: Sums) -> None:
        """Take in a total."""
        held = self.versions.get(key, -1)
        assert version >= held
        assert version > held or groups == self.groups[key]
        self.versions[key], self.groups[key] = version, groups


class Clerk:
    """One life of a worker: meters, books, stores and publishes like the agents. Subclasses know the kind of ledger."""

    group: tuple[str, ...]
    values: tuple[str, ...]

    def __init__(self, store: Store, desk: Desk) -> None:
        self.store = store
        self.desk = desk
        self.unknown: set[Minute] = set()
        self._shards: set[str] = set()

    def _begin(self, shard: str, know_from: Callable[[int], object]) -> None:
        """A shard is met: say up to when the book has rows of it."""
        if shard not in self._shards:
            self._shards.add(shard)
            ends = [row["ts_end_ms"] for row in self.store.rows.values() if row["shard"] == shard]
            if ends:
                know_from(max(ends))

    def _settle(
        self,
        stored: Sequence[dict[str, Any]],
        totals: Iterable[GpuTotals | TokenTotals],
        unknown: set[Minute],
        groups_of: Callable[[Any], Sums],
        version_of: Callable[[dict[str, Any]], int],
    ) -> None:
        """Store, publish what is known, add up from the book what is not, and compare everything with the book."""
        self.store.insert(stored)
        self.unknown |= unknown
        told = {(message.shard, message.minute_ms) for message in totals}
        assert not told & unknown
        by_minute: dict[Minute, list[dict[str, Any]]] = {}
        for row in self.store.rows.values():
            if row["ts_end_ms"] > row["ts_start_ms"]:
                by_minute.setdefault((row["shard"], row["minute_ms"]), []).append(row)
        for message in totals:
            key = message.shard, message.minute_ms
            rows = by_minute.get(key, [])
            assert message.cluster == message.shard.split("/")[0]
            assert message.version == sum(map(version_of, rows))
            if rows:
                assert message.ts_end_ms == max(row["ts_end_ms"] for row in rows)
                if isinstance(message, GpuTotals):
                    assert message.ts_start_ms == min(row["ts_start_ms"] for row in rows)
            self.desk.publish(key, message.version, groups_of(message))
        for key in unknown:
            rows = by_minute.get(key, [])
            self.desk.publish(key, sum(map(version_of, rows)), self._sums(rows))
        for key, rows in by_minute.items():
            assert self.desk.groups[key] == self._sums(rows), key

    def _sums(self, rows: Iterable[Mapping[str, Any]]) -> Sums:
        sums: Sums = {}
        for row in rows:
            group = tuple(row[name] for name in self.group)
            held = sums.get(group, (0,) * len(self.values))
            sums[group] = tuple(a + row[name] for a, name in zip(held, self.values, strict=True))
        return sums


def scaled(value: Decimal, scale: int) -> int:
    """An exact decimal as an integer of its smallest units."""
    shown = value.quantize(Decimal(1).scaleb(-scale))
    assert value == shown
    return int(shown.scaleb(scale))


def ms(moment: datetime) -> int:
    """Unix time in ms."""
    return round(moment.timestamp() * 1000)


class GpuClerk(Clerk):
    """Books GPU time."""

    group = ("deployment", "agreement", "gpu_model", "currency", "price_version")
    values = ("gpu_ns", "busy_ns", "row_energy_mj", "cost_nano")

    def __init__(self, store: Store, desk: Desk, reference: Reference) -> None:
        super().__init__(store, desk)
        self._reference = reference
        self.meter = GpuMeter(MAX_GAP_MS)
        self.booking = GpuBooking(self.meter, reference)

    def fold(self, message: Sequence[Observation]) -> None:
        """Take in a message."""
        cluster, shard, batch = message[0].cluster, message[0].shard, gpu_batch(message)
        self._begin(shard, lambda latest_ms: self.meter.know_from(shard, cluster, latest_ms))
        unknown = self.meter.unknown_devices(shard, cluster, batch)
        if unknown:
            heads = self.store.heads(lambda row: row["cluster"] == cluster and row["device"] in unknown)
            self.meter.load(shard, heads)
        self.meter.fold(shard, batch)

    def commit(self) -> None:
        """Store and publish."""
        table, totals, unknown = self.booking.totals(*self.meter.take_rows())
        rows = [self._stored(row) for row in table.to_pylist()]
        self._settle(rows, totals, unknown, self._published, lambda row: int(row["gpu_ns"]))

    @staticmethod
    def _published(message: GpuTotals) -> Sums:
        return {
            (group.deployment, group.agreement, group.gpu_model, group.currency, group.price_version): (
                group.gpu_ns, group.busy_ns, group.energy_mj, group.cost_nano,
            )
            for group in message.groups
        }  # fmt: skip

    def _stored(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of the table under the names that `load` reads. Checks what was resolved and priced."""
        stored = row | {
            "ts_start_ms": ms(row["ts_start"]),
            "ts_end_ms": ms(row["ts_end"]),
            "minute_ms": ms(row["minute"]),
            "gpu_ns": scaled(row["gpu_seconds"], 9),
            "busy_ns": scaled(row["busy_seconds"], 9),
            "busy_known_ns": scaled(row["busy_known_seconds"], 9),
            "row_energy_mj": scaled(row["energy_j"], 3),
            "cost_nano": scaled(row["cost"], 9),
        }
        assert stored["minute_ms"] == stored["ts_start_ms"] // MINUTE_MS * MINUTE_MS
        owner = self._reference.resolve_gpu(row["cluster"], row["namespace"], row["pod"], row["job"], row["account"])
        assert owner == (row["workload"], row["deployment"], row["agreement"])
        rate = self._reference.price(row["cluster"], row["gpu_model"], stored["ts_start_ms"])
        if rate is None:
            assert (stored["cost_nano"], row["currency"], row["price_version"]) == (0, "", "")
        else:
            assert (row["currency"], row["price_version"]) == (rate.currency, rate.version)
            assert stored["cost_nano"] == rate.cost(stored["gpu_ns"], stored["row_energy_mj"])
        return stored


class TokenClerk(Clerk):
    """Books tokens."""

    group = ("deployment", "model", "agreement", "layer", "counted")
    values = COUNTERS

    def __init__(self, store: Store, desk: Desk, reference: Reference) -> None:
        super().__init__(store, desk)
        self._reference = reference
        self.meter = TokenMeter()
        self.booking = TokenBooking(self.meter, reference)

    def fold(self, message: Sequence[TokenObservation]) -> None:
        """Take in a message."""
        cluster, shard, batch = message[0].cluster, message[0].shard, token_batch(message)
        self._begin(shard, lambda latest_ms: self.meter.know_from(shard, latest_ms))
        unknown = self.meter.unknown_counters(shard, cluster, batch)
        if unknown:
            counters = {label.counter for label in unknown}
            own = self.store.heads(lambda row: tuple(row[name] for name in self.store.chain) in counters)
            self.meter.load(shard, unknown, own)
        self.meter.fold(shard, cluster, batch)

    def commit(self) -> None:
        """Store and publish."""
        table, totals, unknown = self.booking.totals(*self.meter.take_rows())
        rows = [self._stored(row) for row in table.to_pylist()]
        self._settle(rows, totals, unknown, self._published, lambda row: int(row["ts_end_ms"] - row["ts_start_ms"]))

    @staticmethod
    def _published(message: TokenTotals) -> Sums:
        return {
            (group.deployment, group.model, group.agreement, group.layer, group.counted): tuple(
                getattr(group, name) for name in COUNTERS
            )
            for group in message.groups
        }

    def _stored(self, row: dict[str, Any]) -> dict[str, Any]:
        stored = row | {
            "ts_start_ms": ms(row["ts_start"]), "ts_end_ms": ms(row["ts_end"]), "minute_ms": ms(row["minute"]),
        }  # fmt: skip
        assert stored["minute_ms"] == stored["ts_end_ms"] // MINUTE_MS * MINUTE_MS
        resolved = self._reference.resolve_tokens(
            row["cluster"], row["deployment"], row["served_model"], row["team"], row["layer"]
        )
        assert resolved == (row["model"], row["agreement"], row["counted"])
        return stored


chances = st.integers(0, 2**32).map(Random)
wild_lives = st.lists(steps(WILD, SCRAPES_AND_SILENCE), min_size=1, max_size=4)
DEVICES = (("fir", "GPU-1"), ("nibi", "GPU-1"), ("fir", "GPU-2"), ("fir", "GPU-3"))


def gpu_log(lives: list[list[Step]], chance: Random) -> list[list[Observation]]:
    """Messages of devices of two clusters."""
    return deliver([live(*place, life) for place, life in zip(DEVICES, lives, strict=False)], chance)


@repeatable(40)
@given(wild_lives, chances)
def test_published_gpu_totals_are_the_books(lives: list[list[Step]], chance: Random) -> None:
    """After every batch, whatever died, lagged or moved: totals = sums over the stored rows, and versions only grow."""
    store, desk, reference = gpu_store(), Desk(), Reference(CONFIG)
    run_with_faults(lambda: GpuClerk(store, desk, reference), gpu_log(lives, chance), chance)


@repeatable(40)
@given(st.lists(tokens.steps(tokens.WILD), min_size=1, max_size=4), chances)
def test_published_token_totals_are_the_books(lives: list[list[tokens.Step]], chance: Random) -> None:
    """The same for tokens."""
    store, desk, reference = token_store(), Desk(), Reference(CONFIG)
    log = deliver(tokens.born(lives), chance)
    run_with_faults(lambda: TokenClerk(store, desk, reference), log, chance)


@repeatable(20)
@given(st.lists(steps(WILD, PACE), min_size=2, max_size=4), chances)
def test_published_gpu_totals_are_the_books_of_two_workers(lives: list[list[Step]], chance: Random) -> None:
    """Also where devices move between two workers and back."""
    store, desk, reference = gpu_store(), Desk(), Reference(CONFIG)
    lived = [roam(live(*place, life), chance) for place, life in zip(DEVICES, lives, strict=False)]
    run_apart(lambda: GpuClerk(store, desk, reference), deliver(lived, chance), chance)


@repeatable(20)
@given(st.lists(tokens.steps(tokens.WILD, PACE), min_size=2, max_size=4), chances)
def test_published_token_totals_are_the_books_of_two_workers(lives: list[list[tokens.Step]], chance: Random) -> None:
    """The same for tokens."""
    store, desk, reference = token_store(), Desk(), Reference(CONFIG)
    lived = [roam(life, chance) for life in tokens.born(lives)]
    run_apart(lambda: TokenClerk(store, desk, reference), deliver(lived, chance), chance)


def at(second: int, *, shard: str = "fir/a/0", device: str = "GPU-1") -> Observation:
    """A device that draws 500 W, so many seconds after noon."""
    return Observation("fir", shard, device, 1_760_011_200_000 + 1000 * second, 500.0, 500_000 * second)


def test_a_worker_that_was_there_from_the_beginning_knows_every_minute() -> None:
    """Nothing has to be asked of the book while one worker meters in order."""
    clerk = GpuClerk(gpu_store(), Desk(), Reference(CONFIG))
    for second in range(0, 400, 10):
        clerk.fold([at(second)])
        clerk.commit()
    assert clerk.unknown == set()
    assert sum(clerk.desk.versions.values()) == 390 * 10**9


def test_a_successor_asks_the_book_for_the_minute_that_it_joined_in() -> None:
    """The predecessor's part of that minute is only in the book; from the next minute on the successor knows."""
    store, desk = gpu_store(), Desk()
    for seconds in (range(0, 100, 10), range(90, 400, 10)):
        clerk = GpuClerk(store, desk, Reference(CONFIG))
        for second in seconds:
            clerk.fold([at(second)])
            clerk.commit()
    assert clerk.unknown == {("fir/a/0", 1_760_011_200_000 + MINUTE_MS)}


def test_a_successor_asks_the_book_about_the_shard_that_a_device_came_from() -> None:
    """GPU-1 moves from shard a, which the successor does not read, to b; what a's minute holds is only in the book."""
    store, desk = gpu_store(), Desk()
    first = GpuClerk(store, desk, Reference(CONFIG))
    for second in (0, 10, 20):
        first.fold([at(second), at(second, device="GPU-2")])
    first.commit()
    second_clerk = GpuClerk(store, desk, Reference(CONFIG))
    second_clerk.fold([at(30, shard="fir/b/0")])
    second_clerk.commit()
    assert ("fir/a/0", 1_760_011_200_000) in second_clerk.unknown
    assert desk.versions["fir/a/0", 1_760_011_200_000] == 40 * 10**9


def test_nothing_metered_is_nothing_to_publish() -> None:
    """A batch of repeated samples leads to no row."""
    clerk = GpuClerk(gpu_store(), Desk(), Reference(CONFIG))
    clerk.fold([at(0)])
    clerk.commit()
    clerk.fold([at(0)])
    table, totals, unknown = clerk.booking.totals(*clerk.meter.take_rows())
    assert (table.num_rows, totals, unknown) == (0, [], set())


def test_a_shard_that_lags_behind_keeps_its_totals() -> None:
    """While partitions catch up, one shard is forty minutes ahead; the other's minute is still added up whole."""
    clerk = GpuClerk(gpu_store(), Desk(), Reference(CONFIG))
    clerk.fold([at(0, shard="fir/b/0", device="GPU-2")])
    clerk.fold([at(10, shard="fir/b/0", device="GPU-2")])
    clerk.fold([replace(at(20, shard="fir/b/0", device="GPU-2"), power_w=None, energy_mj=None)])
    for second in range(0, 2400, 60):
        clerk.fold([at(second)])
    clerk.commit()
    clerk.fold([at(30, shard="fir/b/0", device="GPU-2")])
    clerk.commit()
    assert clerk.desk.versions["fir/b/0", 1_760_011_200_000] == 30 * 10**9


def test_a_successor_asks_the_book_about_the_shard_that_a_counter_came_from() -> None:
    """The same for tokens: two counters on shard a, one of them moves to b, which is all that the successor reads."""

    def seen(second: int, prompt: int, shard: str, endpoint: str) -> TokenObservation:
        return TokenObservation("fir", shard, endpoint, 1_760_011_200_000 + 1000 * second, (prompt, 0, 0, 0))

    store, desk = token_store(), Desk()
    first = TokenClerk(store, desk, Reference(CONFIG))
    for second in (0, 10):
        first.fold([seen(second, second, "fir/a/0", endpoint) for endpoint in ("x:8000", "y:8000")])
    first.commit()
    successor = TokenClerk(store, desk, Reference(CONFIG))
    successor.fold([seen(70, 100, "fir/b/0", "x:8000")])
    successor.commit()
    assert ("fir/a/0", 1_760_011_200_000) in successor.unknown
    assert desk.groups["fir/a/0", 1_760_011_200_000] == {
        ("chat", "cohere/command-r-plus", "acme", "engine", True): (20, 0, 0, 0)
    }
