"""Requests that reach a deployment: when they arrive, how long their prompts and answers are.

The shape comes from a recorded trace when one is at hand, else from a built-in process fitted to it. Either is one
long recording that every deployment plays in a loop, from its own place and at the speed that gives its own rate.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRACE_VARIABLE = "COMMONWATT_TRACE"
"""Environment: path of a trace to play instead of the one beside the repository."""
_BESIDE = Path(__file__).parents[3] / "shared" / "traces" / "azure_llm_inference_2023_conv.csv"

# Log-normal lengths fitted to one hour of chat requests of a production service (Azure public data set, 2023-11:
# 19,366 requests, mean prompt 1,155, mean answer 211 tokens), and its rate per second with its hourly swing.
_PROMPT_LOG = (6.63, 0.95)
_ANSWER_LOG = (5.02, 0.82)
_RATE, _SWING = 5.4, 0.3


class Requests(NamedTuple):
    """Requests in order of arrival; equal lengths."""

    arrival_s: Floats
    prompt_tokens: Ints
    generated_tokens: Ints


@dataclass(frozen=True)
class Trace:
    """One recording: `requests.arrival_s` counts from its start and lies within ``[0, span_s)``."""

    requests: Requests
    span_s: float

    @property
    def rate(self) -> float:
        """Mean requests per second."""
        return len(self.requests.arrival_s) / self.span_s


def read_trace(path: Path) -> Trace:
    """A CSV with TIMESTAMP, ContextTokens, GeneratedTokens. Raises ValueError naming the file when it is not that."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["TIMESTAMP"], row["ContextTokens"], row["GeneratedTokens"]) for row in csv.DictReader(file)]
        stamps = np.array([row[0] for row in rows], dtype="datetime64[ns]").astype(np.int64) / 1e9
        prompt = np.array([row[1] for row in rows], dtype=np.int64)
        generated = np.array([row[2] for row in rows], dtype=np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a request trace (TIMESTAMP,ContextTokens,GeneratedTokens): {error}") from error
    if len(rows) < 2 or np.any(np.diff(stamps) < 0):
        raise ValueError(f"{path}: a request trace needs at least two rows in order of time")
    arrival = stamps - stamps[0]
    span = float(arrival[-1]) * len(rows) / (len(rows) - 1)
    return Trace(Requests(arrival, np.maximum(prompt, 1), np.maximum(generated, 1)), span)


def synthetic_trace(seed: int, span_s: float = 3600.0) -> Trace:
    """An inhomogeneous Poisson process (one slow swing per span) with log-normal lengths."""
    random = np.random.default_rng([seed, 1])
    count = int(random.poisson(_RATE * (1 + _SWING) * span_s))
    arrival = np.sort(random.uniform(0, span_s, count))
    wanted = (1 + _SWING * np.sin(2 * np.pi * arrival / span_s)) / (1 + _SWING)
    arrival = arrival[random.uniform(size=count) < wanted]
    prompt = np.clip(random.lognormal(*_PROMPT_LOG, len(arrival)), 2, 14_000).astype(np.int64)
    generated = np.clip(random.lognormal(*_ANSWER_LOG, len(arrival)), 7, 1000).astype(np.int64)
    return Trace(Requests(arrival, prompt, generated), span_s)


def default_trace(seed: int) -> Trace:
    """The trace that the environment names, else the one beside the repository, else the built-in process."""
    named = os.environ.get(TRACE_VARIABLE)
    if named:
        return read_trace(Path(named))
    return read_trace(_BESIDE) if _BESIDE.is_file() else synthetic_trace(seed)


class Arrivals:
    """A trace played in a loop at `rate` requests per second, from `offset` (0..1) of its length."""

    def __init__(self, trace: Trace, rate: float, offset: float) -> None:
        self._trace = trace
        self._speed = rate / trace.rate
        self._start_s = offset * trace.span_s
        self._cycle = 0
        self._next = int(np.searchsorted(trace.requests.arrival_s, self._start_s))

    def until(self, now_s: float) -> Requests:
        """Those that arrived since the last call, up to and including `now_s`."""
        trace = self._trace
        played = self._start_s + now_s * self._speed
        parts: list[Requests] = []
        while True:
            start_s = self._cycle * trace.span_s
            end = int(np.searchsorted(trace.requests.arrival_s, played - start_s, side="right"))
            new = slice(self._next, end)
            arrival, prompt, generated = trace.requests
            at_s: Floats = (arrival[new] + start_s - self._start_s) / self._speed
            parts.append(Requests(at_s, prompt[new], generated[new]))
            if played < start_s + trace.span_s:
                self._next = end
                break
            self._cycle, self._next = self._cycle + 1, 0
        return Requests(
            np.concatenate([part.arrival_s for part in parts]),
            np.concatenate([part.prompt_tokens for part in parts]),
            np.concatenate([part.generated_tokens for part in parts]),
        )
