"""Engines serve exactly what they are given, no faster than they can."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulator.engines import COUNTERS, Engines, EngineSpec

SPEC = EngineSpec(prefill_rate=8000, decode_rate=1500, stream_rate=60, max_batch=16, kv_tokens=100_000)
STEP_S = 0.25


def submit(engines: Engines, engine: list[int], prompt: list[int], cached: list[int], generated: list[int]) -> None:
    where, length, reused, answer = (np.array(column, dtype=np.int64) for column in (engine, prompt, cached, generated))
    engines.submit(where, np.full(len(engine), -1), length, reused, answer, np.zeros(len(engine)))


def drain(engines: Engines) -> float:
    now_s = 0.0
    while now_s == 0 or engines.in_flight(range(engines.count)):
        now_s += STEP_S
        engines.step(now_s, STEP_S)
        assert now_s < 3600
    return now_s


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 4000), st.floats(0, 0.99), st.integers(1, 1000)),
        min_size=1,
        max_size=60,
    )
)
def test_every_token_is_served_once(requests: list[tuple[int, int, float, int]]) -> None:
    """When the queues are empty, counters equal the sums of what came in, per engine, and so do the histograms."""
    engines = Engines([SPEC] * 3)
    cached = [int(prompt * share) for _, prompt, share, _ in requests]
    columns = [list(column) for column in zip(*requests, strict=True)]
    submit(engines, columns[0], columns[1], cached, columns[3])
    drain(engines)
    for engine in range(3):
        mine = [index for index, request in enumerate(requests) if request[0] == engine]
        life = {name: int(engines.life[name][engine]) for name in COUNTERS}
        assert life["prompt_tokens"] == sum(requests[index][1] for index in mine)
        assert life["cached_tokens"] == sum(cached[index] for index in mine)
        assert life["generation_tokens"] == sum(requests[index][3] for index in mine)
        assert life["stopped"] + life["cut_off"] == len(mine)
        assert life["cut_off"] == sum(requests[index][3] >= 1000 for index in mine)
        counts, total = engines.histograms["request_generation_tokens"].totals([engine])
        assert (counts[-1], total) == (len(mine), life["generation_tokens"])
        computed = life["prompt_tokens"] - life["cached_tokens"]
        assert engines.histograms["iteration_tokens_total"].totals([engine])[1] == computed + life["generation_tokens"]


def test_no_faster_than_the_engine() -> None:
    """Throughput is bounded by the decode rate, latency by the stream rate, concurrency by the batch limit."""
    engines = Engines([SPEC])
    submit(engines, [0] * 100, [10] * 100, [0] * 100, [600] * 100)
    engines.step(STEP_S, STEP_S)
    assert (int(engines.running[0]), int(engines.waiting[0])) == (16, 84)
    assert drain(engines) >= 100 * 600 / min(1500, 16 * 60)
    alone = Engines([SPEC])
    submit(alone, [0], [10], [0], [600])
    assert drain(alone) == pytest.approx(600 / 60, abs=1.0)


def test_first_come_first_served() -> None:
    """Prefill goes in order of arrival: a long prompt in front delays the short one behind it."""
    engines = Engines([SPEC])
    submit(engines, [0, 0], [8000, 10], [0, 0], [5, 5])
    engines.step(0.25, STEP_S)
    assert int(engines.life["prompt_tokens"][0]) == 0
    drain(engines)
    assert int(engines.life["prompt_tokens"][0]) == 8010


def test_idle_engines_draw_nothing_and_are_not_busy() -> None:
    """Between requests a replica is idle; while it serves it is not."""
    engines = Engines([SPEC] * 2)
    submit(engines, [1], [4000], [0], [50])
    engines.step(0.25, STEP_S)
    engines.step(0.5, STEP_S)
    assert (engines.busy[0], engines.intensity[0]) == (0.0, 0.0)
    assert engines.busy[1] > 0.5
    assert 0.2 < engines.intensity[1] <= 1.0


def test_restart_shows_zero_and_keeps_the_truth() -> None:
    """A new process counts from zero; the record's lifetime counts go on."""
    engines = Engines([SPEC] * 2)
    submit(engines, [0, 1], [100, 70], [0, 0], [20, 30])
    drain(engines)
    engines.restart([0])
    assert [engines.process("prompt_tokens", engine) for engine in (0, 1)] == [0, 70]
    assert engines.life["prompt_tokens"].tolist() == [100, 70]
    assert engines.histograms["request_prompt_tokens"].totals([0]) == ([0] * 13, 0.0)
    submit(engines, [0], [5], [0], [3])
    drain(engines)
    assert engines.process("generation_tokens", 0) == 3
