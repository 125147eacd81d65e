"""Late samples fill what is missing in the ledger, exactly, and add nothing to what is there."""

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streams.late import late
from tests.streams.late_book import LateBook
from tests.streams.metering.histories import (
    CALM,
    MAX_GAP_MS,
    SCRAPES,
    SCRAPES_AND_SILENCE,
    WILD,
    Step,
    deliver,
    live,
    steps,
)
from tests.streams.metering.ledger import GpuWorker, gpu_ledger, gpu_store
from tests.streams.metering.oracle import DeviceOracle, Row, is_stale
from tests.streams.metering.samples import Observation
from tests.streams.metering.settings import repeatable

Log = list[list[Observation]]
CLEAR = tuple(event for event in CALM if event != "stale")  # every reading of a counter is as old as its time

clear_lives = st.lists(steps(CLEAR, SCRAPES), min_size=1, max_size=3)
wild_lives = st.lists(steps(WILD, SCRAPES_AND_SILENCE), min_size=1, max_size=3)
chances = st.integers(0, 2**32).map(Random)


def born(lives: list[list[Step]]) -> Log:
    """Devices of two clusters."""
    places = (("fir", "GPU-1"), ("nibi", "GPU-1"), ("fir", "GPU-2"))
    return [live(cluster, device, life) for (cluster, device), life in zip(places, lives, strict=False)]


def split(log: Log, chance: Random) -> tuple[Log, Log]:
    """Messages that are read at once, and messages that are put aside: some in a row, as it happens."""
    read: Log = []
    aside: Log = []
    unreadable = False
    for message in log:
        if chance.random() < 0.25:
            unreadable = not unreadable
        (aside if unreadable else read).append(message)
    return read, aside


def metered(read: Log, *, keeps_raw: bool = True) -> LateBook:
    """The book after these messages."""
    book = LateBook(GpuWorker(gpu_store(), MAX_GAP_MS), keeps_raw=keeps_raw)
    for message in read:
        book.live(message)
    book.worker.commit()
    return book


def expected(read: Log, aside: Log, life: list[Observation]) -> list[Row]:
    """The rows of one device by the oracle: those of the samples that were read, and in each hole that these leave the
    rows of a chain that begins with the last sample before the hole and ends with the first one after it."""
    first = life[0]
    max_gap_ms = MAX_GAP_MS[first.cluster]

    def own(log: Log) -> list[Observation]:
        return [one for message in log for one in message if (one.cluster, one.device) == (first.cluster, first.device)]

    at_once: list[Observation] = []
    for one in own(read):
        if not at_once or one.ts_ms > at_once[-1].ts_ms:
            at_once.append(one)
    later = sorted({one.ts_ms: one for one in own(aside)}.values(), key=lambda one: one.ts_ms)
    newest = at_once[-1].ts_ms if at_once else -1
    chain = DeviceOracle(max_gap_ms)
    heads: list[Observation] = []
    for one in [*at_once, *(one for one in later if one.ts_ms > newest)]:
        chain.see(one)
        assert chain._head is not None
        heads.append(chain._head)
    rows = chain.finish()
    spans = {*chain.metered}
    holes = [(None, heads[0]), *((a, b) for a, b in pairwise(heads) if (a.ts_ms, b.ts_ms) not in spans)]
    for before, after in holes:
        start_ms = before.ts_ms if before is not None else -1
        within = [one for one in later if start_ms < one.ts_ms < after.ts_ms and not is_stale(one, after)]
        if not within:
            continue
        shards = [late(one.shard) for one in within]
        filling = DeviceOracle(max_gap_ms)
        for one, shard in zip([*within, after], [*shards, shards[-1]], strict=True):
            if before is not None:
                filling.see(before)
            filling.see(replace(one, shard=shard))
        # The sample before the hole is one of the row before it.
        rows += [row._replace(samples=row.samples - (row.ts_start == start_ms)) for row in filling.finish()]
    return rows


def fill(book: LateBook, aside: Log) -> None:
    """Fill the holes; no row that was there changes, but that something may follow a head that nothing had followed."""
    before = dict(book.worker.store.rows)
    book.fill(aside)
    for key, row in before.items():
        now = book.worker.store.rows[key]
        assert now == row or row["ts_start_ms"] == row["ts_end_ms"] < now["ts_end_ms"]


@repeatable(60)
@given(clear_lives, chances)
def test_nothing_is_lost_or_invented(lives: list[list[Step]], chance: Random) -> None:
    """Of a device that never falls silent, every nanosecond and every millijoule is in the ledger once, whichever of
    its messages were late; also without raw samples, which tell how a device was divided. No row that was there
    changes, none overlaps, and a second replay changes nothing."""
    observations = born(lives)
    read, aside = split(deliver(observations, chance), chance)
    divided = any(step.event == "partition" for life in lives for step in life)
    book = metered(read, keeps_raw=divided or chance.random() < 0.5)
    fill(book, aside)
    book.publish(aside)
    rows = gpu_ledger(book.worker.store)
    for life in observations:
        first, last = life[0], life[-1]
        own = sorted(row for row in rows if (row.cluster, row.device) == (first.cluster, first.device))
        assert sum(row.gpu_ns for row in own) == (last.ts_ms - first.ts_ms) * 1_000_000
        assert sum(row.energy_mj for row in own) == (last.energy_mj or 0) - (first.energy_mj or 0)
        for row, following in pairwise(own):
            assert row.slice != following.slice or row.ts_end <= following.ts_start
    book.fill(aside)
    book.publish(aside)
    assert sorted(gpu_ledger(book.worker.store)) == sorted(rows)


@repeatable(100)
@given(wild_lives, chances)
def test_holes_are_filled_as_the_oracle_does(lives: list[list[Step]], chance: Random) -> None:
    """Over tenant changes, partitions, resets, silences and missing values, the rows in a hole are those of a chain
    from the sample before it to the sample after it; all other rows are as they were."""
    observations = born(lives)
    read, aside = split(deliver(observations, chance), chance)
    book = metered(read)
    fill(book, aside)
    book.publish(aside)
    rows = [row for life in observations for row in expected(read, aside, life)]
    assert sorted(gpu_ledger(book.worker.store)) == sorted(rows)
