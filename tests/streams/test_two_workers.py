"""Two workers on one book: what moves between them, and what they refuse to read."""

import time
from collections.abc import Callable, Iterable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client

from compose.check import run_checks
from schemas.arrow import encode
from schemas.topics import Envelope
from streams.app import create_app
from streams.book import Book
from streams.context import Context
from streams.ledger_agent import SILENT_MS, LedgerAgent
from streams.meter import Meter
from streams.reference import Reference
from streams.telemetry import AHEAD_MS, TelemetryReader
from streams.tokens import Tokens
from tests.conftest import ClickHouse
from tests.streams.economy import config
from tests.streams.metering.samples import Observation, gpu_batch
from tests.streams.metering.token_ledger import token_batch
from tests.streams.metering.token_oracle import TokenObservation

NOON = (int(time.time()) // 86_400 - 1) * 86_400_000 + 43_200_000  # of yesterday: raw samples are kept for a week
OFFSETS = count()


class Clock:
    """The time of a worker."""

    def __init__(self) -> None:
        self.now_ms = NOON

    def __call__(self) -> int:
        return self.now_ms


def event(agent: type[LedgerAgent], shard: str, batch: pa.RecordBatch) -> Any:
    """A batch as Faust hands it to an agent."""
    cluster, collector, _ = shard.split("/")
    offset = next(OFFSETS)
    envelope = Envelope(agent.schema, cluster, collector, f"boot-{offset}", 1, batch.num_rows)
    message = SimpleNamespace(
        topic=agent.source, partition=0, offset=offset, key=shard.encode(), value=encode(batch),
        headers=envelope.headers(),
    )  # fmt: skip
    return SimpleNamespace(message=message)


def devices(shard: str, second: float, joules: float | None = None) -> Any:
    """GPU-1 at 500 W, with so much on its counter."""
    energy_mj = 500_000 * second if joules is None else 1000 * joules
    one = Observation("fir", shard, "GPU-1", NOON + round(1000 * second), 500.0, round(energy_mj))
    return event(Meter, shard, gpu_batch([one]))


def served(shard: str, second: int, tokens: int | None = None) -> Any:
    """A server of 100 tokens per second that has counted so many."""
    counts = (100 * second if tokens is None else tokens, None, None, None)
    return event(Tokens, shard, token_batch([TokenObservation("fir", shard, "a:8000", NOON + 1000 * second, counts)]))


def crew(client: Client, kind: type[LedgerAgent], clock: Clock) -> tuple[LedgerAgent, LedgerAgent]:
    """The same agent of two workers."""
    settings = config()
    app = create_app("kafka://127.0.0.1:1")
    first, second = (kind(Context(app, Book(client), settings, Reference(settings), clock)) for _ in range(2))
    return first, second


def take_in(agent: LedgerAgent, events: Iterable[Any]) -> None:
    """Read messages one by one and store what they lead to."""
    for one in events:
        agent._insert(agent._compute([one]))


AMOUNTS = {Meter: "sum(gpu_seconds), sum(energy_j) / 500 FROM gpu_usage",
           Tokens: "sum(dateDiff('second', ts_start, ts_end)), sum(prompt_tokens) / 100 FROM token_usage"}  # fmt: skip
SAMPLES = [(Meter, devices), (Tokens, served)]


@pytest.mark.parametrize(("kind", "sample"), SAMPLES)
def test_what_moves_to_another_worker_and_back_is_metered_once(
    clickhouse: ClickHouse, kind: type[LedgerAgent], sample: Callable[[str, int], Any]
) -> None:
    """In shard a until 20 s, in b until 50 s, in a until 90 s: 90 s and what was used in them, whoever asked when."""
    clock = Clock()
    here, there = crew(clickhouse.client, kind, clock)
    take_in(here, (sample("fir/a/0", second) for second in (0, 10, 20)))
    take_in(there, (sample("fir/b/0", second) for second in (30, 40, 50)))
    take_in(here, (sample("fir/a/0", second) for second in (60, 70, 80, 90)))
    assert clickhouse.client.query(f"SELECT {AMOUNTS[kind]}").result_rows == [(90, 90)]


@pytest.mark.parametrize(("kind", "sample"), SAMPLES)
def test_what_a_collector_kept_on_disk_is_metered_once(
    clickhouse: ClickHouse, kind: type[LedgerAgent], sample: Callable[[str, int], Any]
) -> None:
    """Nothing comes of shard a for a while, and b meters. Then everything that a has read comes, without a gap."""
    clock = Clock()
    here, there = crew(clickhouse.client, kind, clock)
    take_in(here, (sample("fir/a/0", second) for second in (0, 10)))
    take_in(there, (sample("fir/b/0", second) for second in range(20, 100, 10)))
    clock.now_ms += SILENT_MS + 1
    take_in(here, (sample("fir/a/0", second) for second in range(20, 120, 10)))
    assert clickhouse.client.query(f"SELECT {AMOUNTS[kind]}").result_rows == [(110, 110)]


def test_the_audits_understand_what_the_meters_do(clickhouse: ClickHouse) -> None:
    """Over moves, readings out of order, a misread count, a reset and a silence the ledger still adds up for whoever
    only sees the rows."""
    clock = Clock()
    clock.now_ms += 600_000
    here, there = crew(clickhouse.client, Meter, clock)
    for agent, shard, life in (
        (here, "fir/a/0", ((0, 0), (10, 5000), (10.3, 4900), (20, 10_000))),
        (there, "fir/b/0", ((30, 15_000), (30.2, 14_950), (62, 31_000))),
        (here, "fir/a/0", ((72, 36_000), (82, 41_000), (130, 65_000), (140, 300), (150, 5300), (150.5, 5200))),
        (there, "fir/b/0", ((400, 900), (410, 5900), (480, 40_900))),
    ):
        take_in(agent, (devices(shard, second, joules) for second, joules in life))
    here, there = crew(clickhouse.client, Tokens, clock)
    for agent, shard, counts in (
        (here, "fir/a/0", ((0, 100), (10, 200), (11, 190), (30, 300))),
        (there, "fir/b/0", ((40, 400), (61, 610), (62, 600))),
        (here, "fir/a/0", ((72, 700), (82, 2**57), (92, 900), (130, 1300), (190, 30), (250, 60))),
    ):
        take_in(agent, (served(shard, second, tokens) for second, tokens in counts))
    results = {result.name: result for result in run_checks(clickhouse.client, config(), at_rest=True)}
    for name in (
        "conservation of energy", "conservation of time", "usage equals the samples", "gaps have reasons", "intervals",
        "no overlap of a slice", "slices add up to the device", "no negative quantity", "tokens equal the counters",
        "no overlap of a counter", "no gap of a counter",
    ):  # fmt: skip
        assert results[name].rows == [], name
        assert results[name].examined, name


def test_samples_from_the_future_are_put_aside() -> None:
    """A collector whose clock is an hour ahead would keep its devices from being metered for an hour. Up to five
    minutes are a clock's imprecision; the reason names the collector, and what to do."""
    clock = Clock()
    reader = TelemetryReader(Meter.schema, lambda _shard, _boot: None, clock)
    read = [list(reader.read([devices("fir/a/0", second)])) for second in (0, AHEAD_MS // 1000, 3600)]
    assert [len(messages) for messages in read] == [1, 1, 0]
    (rejected,) = reader.take().rejected
    assert rejected.reason == (
        "its samples are up to 3600 s ahead of the worker's clock: the clock of collector a is wrong, or this "
        "machine's is; set it, then replay"
    )
    clock.now_ms += 3600_000
    assert len(list(reader.read([devices("fir/a/0", 3600)]))) == 1
