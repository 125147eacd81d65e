"""The ledger of GPU time is the oracle's, row for row, whatever happens to devices, messages and workers."""

from fractions import Fraction
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.streams.metering import oracle
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
from tests.streams.metering.ledger import GpuWorker, gpu_ledger, gpu_store, run_with_faults
from tests.streams.metering.oracle import Row
from tests.streams.metering.samples import Observation
from tests.streams.metering.settings import repeatable

wild_lives = st.lists(steps(WILD, SCRAPES_AND_SILENCE), min_size=1, max_size=4)
calm_lives = st.lists(steps(CALM, SCRAPES), min_size=1, max_size=4)
chances = st.integers(0, 2**32).map(Random)


def born(lives: list[list[Step]]) -> list[list[Observation]]:
    """Devices of two clusters; a name may stand in both."""
    places = (("fir", "GPU-1"), ("nibi", "GPU-1"), ("fir", "GPU-2"), ("fir", "GPU-3"))
    return [live(cluster, device, life) for (cluster, device), life in zip(places, lives, strict=False)]


def undisturbed(log: list[list[Observation]]) -> list[Row]:
    """The ledger of one worker that stores once, at the end."""
    worker = GpuWorker(gpu_store(), MAX_GAP_MS)
    for message in log:
        worker.fold(message)
    worker.commit()
    return gpu_ledger(worker.store)


def disturbed(log: list[list[Observation]], chance: Random) -> list[Row]:
    """The ledger of workers that die at any time."""
    store = gpu_store()
    run_with_faults(lambda: GpuWorker(store, MAX_GAP_MS), log, chance)
    return gpu_ledger(store)


def judged(observations: list[list[Observation]]) -> list[Row]:
    """The ledger as the oracle has it."""
    found = oracle.run([one for life in observations for one in life], MAX_GAP_MS)
    return [row for device in found.values() for row in device.rows]


@repeatable(80)
@given(wild_lives, chances)
def test_ledger_is_the_oracles(lives: list[list[Step]], chance: Random) -> None:
    """Splitting, mixing and repeating messages does not change a row."""
    observations = born(lives)
    assert sorted(undisturbed(deliver(observations, chance))) == sorted(judged(observations))


@repeatable(80)
@given(wild_lives, chances)
def test_ledger_survives_any_death(lives: list[list[Step]], chance: Random) -> None:
    """Workers that die at any point and repeat what was not acknowledged leave the same ledger."""
    observations = born(lives)
    assert sorted(disturbed(deliver(observations, chance), chance)) == sorted(judged(observations))


@repeatable(60)
@given(calm_lives, chances)
def test_nothing_is_lost_or_invented(lives: list[list[Step]], chance: Random) -> None:
    """Of a device that never falls silent, every nanosecond and every millijoule is in the ledger once."""
    observations = born(lives)
    rows = disturbed(deliver(observations, chance), chance)
    for life in observations:
        first, last = life[0], life[-1]
        own = [row for row in rows if (row.cluster, row.device) == (first.cluster, first.device)]
        assert sum(row.gpu_ns for row in own) == (last.ts_ms - first.ts_ms) * 1_000_000
        assert sum(row.energy_mj for row in own) == max(one.energy_mj or 0 for one in life) - (first.energy_mj or 0)


@repeatable(60)
@given(wild_lives, chances)
def test_rows_tile(lives: list[list[Step]], chance: Random) -> None:
    """Rows of a slice never overlap, stay within a minute, and the slices of a device fill what was metered of it."""
    observations = born(lives)
    rows = disturbed(deliver(observations, chance), chance)
    for (cluster, device), metered in oracle.run([one for life in observations for one in life], MAX_GAP_MS).items():
        own = sorted(row for row in rows if (row.cluster, row.device) == (cluster, device))
        for row, following in pairwise(own):
            assert row.slice != following.slice or row.ts_end <= following.ts_start
        assert all(row.ts_start // 60_000 == (row.ts_end - 1) // 60_000 for row in own)
        assert all(0 <= row.busy_ns <= row.busy_known_ns <= row.gpu_ns for row in own)
        assert sum(row.gpu_ns for row in own) == sum(t1 - t0 for t0, t1 in metered.metered) * 1_000_000
        by_counter = [row.energy_mj for row in own if row.method in ("counter", "bridged")]
        assert sum(by_counter) == metered.counted_mj
        spans = [*metered.metered, *((row.ts_start, row.ts_end) for row in own)]
        edges = sorted({edge for span in spans for edge in span})
        for start, end in pairwise(edges):
            during = [row for row in own if row.ts_start <= start and end <= row.ts_end]
            whole = any(t0 <= start and end <= t1 for t0, t1 in metered.metered)
            assert whole == bool(during)
            assert not whole or sum(Fraction(*row.share) for row in during) >= 1
