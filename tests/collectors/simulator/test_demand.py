"""Requests arrive at the rate that was asked for, each exactly once, whatever the trace and the size of the steps."""

from pathlib import Path

import numpy as np
import pytest

from collectors.simulator.demand import TRACE_VARIABLE, Arrivals, default_trace, read_trace, synthetic_trace
from tests.collectors.simulator.conftest import built_in_trace


def test_the_built_in_process_resembles_the_recorded_hour() -> None:
    """Without a trace the demonstration must still show plausible prompts (mean 1,155) and answers (mean 211)."""
    trace = built_in_trace()
    assert 4.8 < trace.rate < 6.0
    assert 1000 < trace.requests.prompt_tokens.mean() < 1300
    assert 180 < trace.requests.generated_tokens.mean() < 240


@pytest.mark.parametrize("step_s", [0.25, 7.0, 2000.0])
def test_every_request_arrives_once_and_in_order(step_s: float) -> None:
    """Looping over the end of the trace neither loses nor repeats requests, with small steps and large ones."""
    trace = synthetic_trace(5, span_s=300.0)
    arrivals = Arrivals(trace, rate=3 * trace.rate, offset=0.4)
    moments, prompts = [], []
    for step in range(1, int(4000 / step_s) + 1):
        new = arrivals.until(step * step_s)
        moments.append(new.arrival_s)
        prompts.append(new.prompt_tokens)
    arrived = np.concatenate(moments)
    assert np.all(np.diff(arrived) >= 0)
    assert arrived[0] >= 0
    cycle = len(trace.requests.arrival_s)
    assert len(arrived) == pytest.approx(4000 * 3 * trace.rate, rel=0.02)
    sizes = np.concatenate(prompts)
    assert np.array_equal(sizes[:cycle], sizes[cycle : 2 * cycle])


def test_a_trace_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment can name a trace; its times and lengths are taken as they stand."""
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5,374,44\n2023-11-16 18:15:50.0,10,0\n"
    )
    monkeypatch.setenv(TRACE_VARIABLE, str(path))
    trace = default_trace(0)
    assert trace.requests.arrival_s.tolist() == [0.0, 3.5]
    assert trace.requests.prompt_tokens.tolist() == [374, 10]
    assert trace.requests.generated_tokens.tolist() == [44, 1]
    assert trace.span_s == 7.0


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16,1,1\n"])
def test_a_file_that_is_no_trace_is_named(tmp_path: Path, text: str) -> None:
    """A wrong file gives one sentence with its name, not a traceback from deep inside."""
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.csv.*trace"):
        read_trace(path)
