"""Small histories of token counters whose ledger a reader can work out on paper."""

from collections.abc import Sequence
from dataclasses import replace

from tests.streams.metering.token_ledger import TokenWorker, token_ledger, token_store
from tests.streams.metering.token_oracle import TokenObservation, TokenRow

NOON = 1_760_011_200_000  # 2025-10-09 12:00:00 UTC
BOOT = NOON - 3_600_000


def at(
    second: int, prompt: int | None, *, started_ms: int | None = BOOT, cached: int | None = None
) -> TokenObservation:
    """A server so many seconds after noon. It generated half as many tokens as it was prompted with."""
    generated = None if prompt is None else prompt // 2
    return TokenObservation(
        "fir", "fir/a/0", "llm-0:8000", NOON + second * 1000, (prompt, cached, generated, None), started_ms
    )


def meter(observations: Sequence[TokenObservation]) -> tuple[list[TokenRow], TokenWorker]:
    """The ledger of these observations, each a message, and the worker behind it."""
    worker = TokenWorker(token_store())
    for one in observations:
        worker.fold([one])
    worker.commit()
    return sorted(token_ledger(worker.store), key=lambda row: row.ts_start), worker


def brief(rows: Sequence[TokenRow]) -> list[tuple[int, int, int, int]]:
    """Start and end in seconds after noon, prompt tokens, generated tokens."""
    return [((row.ts_start - NOON) // 1000, (row.ts_end - NOON) // 1000, row.tokens[0], row.tokens[2]) for row in rows]


def kinds(worker: TokenWorker) -> list[str]:
    """Defects that were seen."""
    return [event.kind for event in worker.meter.take_events()]


def test_tokens_are_booked_to_the_minute_in_which_they_were_seen() -> None:
    """1,000 tokens between 50 s and 70 s belong to the second minute whole: a difference of counts is never divided."""
    rows, _ = meter([at(40, 5000), at(50, 5400), at(70, 6400), at(80, 6600)])
    assert brief(rows) == [(40, 50, 400, 200), (50, 80, 1200, 600)]
    assert [row.samples for row in rows] == [2, 2]
    assert rows[1].ends == (6600, None, 3300, None)


def test_restart_counts_from_zero() -> None:
    """The process that started at 12:00:15 has counted 300 by 12:00:20: all of them are new."""
    rows, worker = meter([at(0, 5000), at(10, 5400), at(20, 300, started_ms=NOON + 15_000)])
    assert brief(rows) == [(0, 20, 700, 350)]
    assert rows[0].resets == 1
    assert kinds(worker) == ["counter_reset"]


def test_restart_that_caught_up_is_seen_by_its_start_time() -> None:
    """A count may be higher after a restart than before it; the start of the process tells."""
    rows, _ = meter([at(0, 100), at(10, 400, started_ms=NOON + 5000)])
    assert brief(rows) == [(0, 10, 400, 200)]


def test_falling_count_is_a_restart_without_a_start_time() -> None:
    """Servers that do not print when they started are known to have restarted when a count fell."""
    rows, worker = meter([at(0, 5000, started_ms=None), at(10, 300, started_ms=None), at(20, 400, started_ms=None)])
    assert brief(rows) == [(0, 20, 400, 200)]
    assert kinds(worker) == ["counter_reset"]


def test_stale_reading_of_the_same_process_adds_nothing() -> None:
    """Behind by any amount, at any time: the process says that it is the same one, and it cannot count backwards."""
    for second, behind in ((11, 5399), (11, 100), (1000, 4000)):
        rows, worker = meter([at(0, 5000), at(10, 5400), at(second, behind), at(1010, 5600)])
        assert sum(row.tokens[0] for row in rows) == 600
        assert {row.resets for row in rows} == {0}
        assert kinds(worker) == ["stale_reading"]


def test_stale_reading_of_a_process_that_does_not_tell_its_start() -> None:
    """More than half of all counts together, within five minutes, is too much for a process that began anew."""
    early, late = at(0, 5000, started_ms=None), at(10, 5400, started_ms=None)
    for second, count, total, seen in (
        (11, 5300, 400, "stale_reading"),
        (310, 5300, 400, "stale_reading"),
        (311, 5300, 5700, "counter_reset"),
        (11, 2700, 3100, "counter_reset"),
    ):
        rows, worker = meter([early, late, at(second, count, started_ms=None)])
        assert sum(row.tokens[0] for row in rows) == total
        assert kinds(worker) == [seen]


def test_small_count_does_not_make_a_restart_of_a_stale_reading() -> None:
    """Cached tokens go from 2 back to 1, which is half, but 5,400 prompt tokens to 5,300: read out of order."""
    rows, worker = meter([at(0, 5400, started_ms=None, cached=2), at(1, 5300, started_ms=None, cached=1)])
    assert rows[0].tokens == (0, 0, 0, 0)
    assert kinds(worker) == ["stale_reading"]


def test_misread_count_is_neither_booked_nor_in_the_way() -> None:
    """Once 2**57, then the truth again: the two intervals beside it are lost, and nothing is invented."""
    for started_ms in (BOOT, None):
        counts = (5000, 2**57, 5600, 5700)
        rows, worker = meter([at(10 * i, count, started_ms=started_ms) for i, count in enumerate(counts)])
        assert sum(row.tokens[0] for row in rows) == 100
        assert kinds(worker) == ["counter_jump"]


def test_misread_first_count_is_forgotten() -> None:
    """A process that says that it is the same has not lost 2**57 tokens: the first value was none."""
    rows, worker = meter([at(0, 2**57), at(10, 5000), at(20, 5100), at(30, 5300)])
    assert brief(rows) == [(0, 30, 200, 100)]
    assert kinds(worker) == ["counter_jump"]


def test_replica_that_comes_back_goes_on_where_the_other_worker_left_it() -> None:
    """Read by shard a, then b, then a again, of different workers: its tokens are counted once."""
    store = token_store()
    here, there = TokenWorker(store), TokenWorker(store)
    for worker, shard, seconds in (
        (here, "fir/a/0", (0, 10)),
        (there, "fir/b/0", (20, 30)),
        (here, "fir/a/0", (40, 50)),
    ):
        for second in seconds:
            worker.fold([replace(at(second, 100 * second), shard=shard)])
        worker.commit()
    assert sorted(brief(token_ledger(store))) == [(0, 10, 1000, 500), (10, 30, 2000, 1000), (30, 50, 2000, 1000)]


def test_what_a_collector_kept_on_disk_is_not_counted_again() -> None:
    """After a silence the book is asked, also where the samples that come have no gap."""
    store = token_store()
    here, there = TokenWorker(store), TokenWorker(store)
    for second in (0, 10):
        here.fold([at(second, 100 * second)])
    here.commit()
    for second in range(20, 100, 10):
        there.fold([replace(at(second, 100 * second), shard="fir/b/0")])
    there.commit()
    here.meter.doubt("fir/a/0")
    for second in range(20, 110, 10):
        here.fold([at(second, 100 * second)])
    here.commit()
    assert sum(row.tokens[0] for row in token_ledger(store)) == 10_000


def test_other_process_at_the_same_address_brings_nothing_along() -> None:
    """A process older than the last observation takes over: what it counted before was for somebody else."""
    rows, worker = meter([at(0, 5000), at(10, 90_000, started_ms=BOOT - 1), at(20, 90_100, started_ms=BOOT - 1)])
    assert brief(rows) == [(0, 20, 100, 50)]
    assert rows[0].resets == 0
    assert kinds(worker) == ["counter_swapped"]


def test_missed_sample_loses_nothing() -> None:
    """A count that is missing once is caught up by the next one."""
    rows, _ = meter([at(0, 100), at(10, None), at(20, 300)])
    assert brief(rows) == [(0, 20, 200, 100)]


def test_count_that_is_missing_at_a_restart_goes_on_from_zero() -> None:
    """Restarted at 15 s, first seen again at 30 s: 150 tokens since the restart, not 150 - 100."""
    rows, _ = meter([at(0, 100), at(20, None, started_ms=NOON + 15_000), at(30, 150, started_ms=NOON + 15_000)])
    assert brief(rows) == [(0, 30, 150, 75)]
    assert rows[0].resets == 1


def test_start_time_that_is_late_to_appear_is_no_second_restart() -> None:
    """A count fell at 10 s; the start time, first printed at 20 s, is the new process's own."""
    rows, worker = meter(
        [
            at(0, 5000),
            at(10, 300, started_ms=None),
            at(20, 400, started_ms=NOON + 5000),
            at(30, 450, started_ms=NOON + 5000),
        ]
    )
    assert brief(rows) == [(0, 30, 450, 225)]
    assert kinds(worker) == ["counter_reset"]


def test_count_missing_at_a_swap_starts_anew() -> None:
    """After a swap nothing is known of the new process's count until it is seen twice."""
    rows, _ = meter([at(0, 100), at(10, None, started_ms=BOOT - 1), at(20, 900, started_ms=BOOT - 1),
                     at(30, 950, started_ms=BOOT - 1)])  # fmt: skip
    assert brief(rows) == [(0, 30, 50, 25)]


def test_cached_tokens_are_part_of_the_prompt() -> None:
    """Counts are kept side by side; cached ones are not taken off the prompt."""
    rows, _ = meter([at(0, 100, cached=10), at(10, 300, cached=90)])
    assert rows[0].tokens == (200, 80, 100, 0)


def test_repeated_and_older_samples_are_dropped() -> None:
    """The same sample twice, or one from before the last, adds nothing; not even a reset."""
    rows, worker = meter([at(0, 100), at(10, 300), at(10, 300), at(5, 200), at(20, 400)])
    assert brief(rows) == [(0, 20, 300, 150)]
    assert (worker.meter.samples, worker.meter.duplicates) == (3, 2)
    assert kinds(worker) == []


def test_teams_of_one_endpoint_are_counted_apart() -> None:
    """A gateway counts for each team; a team that appears later is read from the book without disturbing the others."""
    worker = TokenWorker(token_store())
    for second, prompt in ((0, 100), (10, 200)):
        worker.fold([replace(at(second, prompt), team="acme")])
    worker.commit()
    worker.fold([replace(at(20, 250), team="acme")])
    worker.fold([replace(at(30, 300), team="acme"), replace(at(30, 1000), team="nord")])
    worker.fold([replace(at(70, 400), team="acme"), replace(at(70, 1070), team="nord")])
    worker.commit()
    rows = sorted(token_ledger(worker.store), key=lambda row: (row.counter, row.ts_start))
    assert [(row.counter[-1], *brief([row])[0][:3]) for row in rows] == [
        ("acme", 0, 30, 200), ("acme", 30, 70, 100), ("nord", 30, 70, 70),
    ]  # fmt: skip


def test_counter_that_stands_twice_in_a_message_counts_once() -> None:
    """The first row counts."""
    worker = TokenWorker(token_store())
    worker.fold([at(0, 100), at(0, 700)])
    worker.fold([at(10, 150), at(10, 800)])
    worker.commit()
    assert brief(token_ledger(worker.store)) == [(0, 10, 50, 25)]
