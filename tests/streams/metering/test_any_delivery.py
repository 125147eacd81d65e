"""Whatever becomes of messages, shards and workers: the ledger is that of the samples that were new, and conserves.

Messages are repeated, split, mixed, truncated and delayed; drivers are reloaded, servers restarted, tenants changed,
counters misread; devices move between the shards of two workers; workers die and repeat. The oracle sees none of that,
only the samples.
"""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.streams.metering import oracle, token_oracle
from tests.streams.metering import test_token_ledger as tokens
from tests.streams.metering.histories import (
    MAX_GAP_MS,
    PACE,
    SCRAPES_AND_SILENCE,
    WILD,
    Step,
    accepted,
    deliver,
    roam,
    spoil,
    steps,
)
from tests.streams.metering.ledger import GpuWorker, gpu_ledger, gpu_store, run_apart, run_with_faults
from tests.streams.metering.oracle import Row
from tests.streams.metering.samples import Observation
from tests.streams.metering.settings import repeatable
from tests.streams.metering.test_gpu_ledger import born
from tests.streams.metering.token_ledger import TokenWorker, token_ledger, token_store
from tests.streams.metering.token_oracle import TokenObservation, TokenRow

GpuLog = list[list[Observation]]
TokenLog = list[list[TokenObservation]]

chances = st.integers(0, 2**32).map(Random)
wild_lives = st.lists(steps(WILD, SCRAPES_AND_SILENCE), min_size=1, max_size=4)
sound_lives = st.lists(steps(("", "tenant", "partition", "shard"), SCRAPES_AND_SILENCE), min_size=1, max_size=4)
roaming_lives = st.lists(steps([event for event in WILD if event != "shard"], PACE), min_size=1, max_size=4)


def gpu_judged(log: GpuLog) -> list[Row]:
    """The ledger of the samples that were new, as the oracle has it."""
    found = oracle.run(accepted(log), MAX_GAP_MS)
    return sorted(row for device in found.values() for row in device.rows)


def token_judged(log: TokenLog) -> list[TokenRow]:
    """The same for tokens."""
    return tokens.ordered(token_oracle.run(accepted(log)))


@repeatable(80)
@given(wild_lives, chances)
def test_gpu_ledger_of_a_bad_network(lives: list[list[Step]], chance: Random) -> None:
    """What came late or not at all is not in the ledger; everything else is, as if nothing had happened."""
    log, store = spoil(deliver(born(lives), chance), chance), gpu_store()
    run_with_faults(lambda: GpuWorker(store, MAX_GAP_MS), log, chance)
    assert sorted(gpu_ledger(store)) == gpu_judged(log)


@repeatable(80)
@given(st.lists(tokens.steps(tokens.WILD), min_size=1, max_size=4), chances)
def test_token_ledger_of_a_bad_network(lives: list[list[tokens.Step]], chance: Random) -> None:
    """The same for tokens."""
    log, store = spoil(deliver(tokens.born(lives), chance), chance), token_store()
    run_with_faults(lambda: TokenWorker(store), log, chance)
    assert tokens.ordered(token_ledger(store)) == token_judged(log)


@repeatable(80)
@given(roaming_lives, chances)
def test_gpu_ledger_of_devices_that_move_between_workers(lives: list[list[Step]], chance: Random) -> None:
    """Whoever gets a device back goes on from where the other one was, not from where it was itself."""
    log, store = deliver([roam(life, chance) for life in born(lives)], chance), gpu_store()
    run_apart(lambda: GpuWorker(store, MAX_GAP_MS), log, chance)
    assert sorted(gpu_ledger(store)) == gpu_judged(log)


@repeatable(80)
@given(
    st.lists(tokens.steps([event for event in tokens.WILD if event != "shard"], PACE), min_size=1, max_size=4), chances
)
def test_token_ledger_of_servers_that_move_between_workers(lives: list[list[tokens.Step]], chance: Random) -> None:
    """The same for tokens."""
    log, store = deliver([roam(life, chance) for life in tokens.born(lives)], chance), token_store()
    run_apart(lambda: TokenWorker(store), log, chance)
    assert tokens.ordered(token_ledger(store)) == token_judged(log)


@repeatable(60)
@given(sound_lives, chances)
def test_time_and_energy_are_conserved(lives: list[list[Step]], chance: Random) -> None:
    """Between two samples that were new, a device is metered whole, slices together, or not at all; and not at all only
    when it was silent for longer than max_gap. Said without the oracle."""
    log, store = spoil(deliver(born(lives), chance), chance), gpu_store()
    run_with_faults(lambda: GpuWorker(store, MAX_GAP_MS), log, chance)
    rows = gpu_ledger(store)
    seen = accepted(log)
    for chain in {one.chain for one in seen}:
        own = [row for row in rows if (row.cluster, row.device) == chain]
        moments = [one for one in seen if one.chain == chain]
        metered_ms = metered_mj = 0
        for before, after in pairwise(moments):
            within = [row for row in own if row.ts_start < after.ts_ms and row.ts_end > before.ts_ms]
            if within:
                metered_ms += after.ts_ms - before.ts_ms
                metered_mj += (after.energy_mj or 0) - (before.energy_mj or 0)
            else:
                assert after.ts_ms - before.ts_ms > MAX_GAP_MS[chain[0]]
        assert sum(row.gpu_ns for row in own) == metered_ms * 1_000_000
        assert sum(row.energy_mj for row in own) == metered_mj


@repeatable(60)
@given(st.lists(tokens.steps(("", "shard", "deployment", "stale")), min_size=1, max_size=4), chances)
def test_tokens_are_conserved(lives: list[list[tokens.Step]], chance: Random) -> None:
    """Of a process that never restarts, rows follow each other without a gap and hold its largest count less its first,
    whatever was lost on the way. Said without the oracle."""
    log, store = spoil(deliver(tokens.born(lives), chance), chance), token_store()
    run_with_faults(lambda: TokenWorker(store), log, chance)
    rows = tokens.ordered(token_ledger(store))
    seen = accepted(log)
    for chain in {one.chain for one in seen}:
        own = [row for row in rows if row.counter == chain]
        moments = [one for one in seen if one.chain == chain]
        assert all(a.ts_end == b.ts_start for a, b in pairwise(own))
        assert sum(row.ts_end - row.ts_start for row in own) == moments[-1].ts_ms - moments[0].ts_ms
        for i in range(4):
            counts = [count for one in moments if (count := one.counts[i]) is not None]
            assert sum(row.tokens[i] for row in own) == max(counts, default=0) - (counts or [0])[0]
