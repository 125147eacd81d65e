"""Inference engines with continuous batching, all of the fabric at once, advanced in fixed steps.

Per step an engine shares its time between prefill (first come, first served, at most MAX_PREFILL of the step) and
decode (every running request at one pace: its stream rate, or its share of the engine's token rate if that is less).
Prompt tokens are counted when a request's first token appears, generated ones as they appear, as vLLM v1 does.
Requests beyond the batch limit wait in order of arrival.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from collectors.simulator.histograms import BOUNDS, Histogram

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MAX_PREFILL = 0.8
MAX_TOKENS = 1000
"""The answer length at which a client cuts off: such requests finish by `length`, the others by `stop`."""
COUNTERS = ("prompt_tokens", "cached_tokens", "generation_tokens", "stopped", "cut_off")


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Rates of one engine in tokens/s; `kv_tokens` is what its cache holds."""

    prefill_rate: float
    decode_rate: float
    stream_rate: float
    max_batch: int
    kv_tokens: float


@dataclass
class _Table:
    """Requests in flight, sorted by engine and then by arrival. Times in s; NaN = not yet."""

    engine: Ints
    team: Ints
    prompt: Ints
    cached: Ints
    target: Ints
    to_prefill: Floats
    progress: Floats
    arrived: Floats
    admitted: Floats
    first_token: Floats

    def take(self, rows: Ints | Flags) -> "_Table":
        return _Table(*(getattr(self, column.name)[rows] for column in fields(self)))

    def append(self, other: "_Table") -> "_Table":
        return _Table(
            *(np.concatenate((getattr(self, column.name), getattr(other, column.name))) for column in fields(self))
        )


@dataclass(frozen=True)
class Finished:
    """Requests that ended in a step."""

    team: Ints
    prompt: Ints
    generated: Ints


def _no_requests() -> _Table:
    whole, real = np.zeros(0, dtype=np.int64), np.zeros(0)
    return _Table(whole, whole, whole, whole, whole, real, real, real, real, real)


class Engines:
    """State of all engines. Counters run for life; `process` is what they show, which starts anew with the process."""

    def __init__(self, specs: Sequence[EngineSpec]) -> None:
        count = len(specs)
        self.count = count
        self._prefill_rate = np.array([spec.prefill_rate for spec in specs])
        self._decode_rate = np.array([spec.decode_rate for spec in specs])
        self._stream_rate = np.array([spec.stream_rate for spec in specs])
        self._max_batch = np.array([spec.max_batch for spec in specs], dtype=np.int64)
        self._kv_tokens = np.array([spec.kv_tokens for spec in specs])
        self._table = _no_requests()
        self.life: dict[str, Ints] = {name: np.zeros(count, dtype=np.int64) for name in COUNTERS}
        self._process_start: dict[str, Ints] = {name: np.zeros(count, dtype=np.int64) for name in COUNTERS}
        self.histograms = {name: Histogram(bounds, count) for name, bounds in BOUNDS.items()}
        self.busy = np.zeros(count)
        self.intensity = np.zeros(count)
        self.running = np.zeros(count, dtype=np.int64)
        self.waiting = np.zeros(count, dtype=np.int64)
        self.kv_used = np.zeros(count)

    def process(self, name: str, engine: int) -> int:
        """What a counter of the running process shows."""
        return int(self.life[name][engine] - self._process_start[name][engine])

    def restart(self, engines: Sequence[int]) -> None:
        """A new process: its counters and histograms start at zero. The engines must have drained."""
        for name in COUNTERS:
            self._process_start[name][list(engines)] = self.life[name][list(engines)]
        for histogram in self.histograms.values():
            histogram.restart(engines)

    def in_flight(self, engines: Sequence[int]) -> int:
        """Requests that these engines have not finished."""
        return int(self.running[list(engines)].sum() + self.waiting[list(engines)].sum())

    def submit(self, engine: Ints, team: Ints, prompt: Ints, cached: Ints, generated: Ints, arrived: Floats) -> None:
        """Hand requests, in order of arrival, to their engines. At least one prompt token is never cached."""
        nothing = np.full(len(engine), np.nan)
        left = (prompt - cached).astype(np.float64)
        progress = np.zeros(len(engine))
        added = _Table(engine, team, prompt, cached, generated, left, progress, arrived, nothing, nothing.copy())
        table = self._table.append(added)
        self._table = table.take(np.argsort(table.engine, kind="stable"))
        np.add.at(self.waiting, engine, 1)

    def step(self, now_s: float, step_s: float) -> Finished:
        """Serve for one step that ends at `now_s`; returns what finished in it."""
        table = self._table
        starts = np.searchsorted(table.engine, np.arange(self.count + 1))
        rank = np.arange(len(table.engine)) - starts[table.engine]
        running = rank < self._max_batch[table.engine]
        table.admitted[running & np.isnan(table.admitted)] = now_s

        prefill_s = self._prefill(table, running, starts, step_s)
        decoding = running & (table.progress > 0)
        first = running & (table.progress == 0) & (table.to_prefill <= 1e-6)
        grown, pace = self._decode(table, decoding, step_s - prefill_s, step_s)
        table.progress[first] = 1.0
        table.first_token[first] = now_s
        self._count(table, first, grown)
        self._measure_iterations(table, first, grown, pace, step_s)

        done = table.progress >= table.target
        finished = table.take(done)
        self._finish(finished, now_s)
        self._table = table.take(~done)
        self._measure_load(starts, running, done, decoding, prefill_s / step_s)
        return Finished(finished.team, finished.prompt, finished.target)

    def _sum(self, table: _Table, weights: npt.NDArray[np.float64] | Ints) -> Floats:
        """Per engine; whole numbers stay exact (below 2**53)."""
        return np.bincount(table.engine, weights, self.count).astype(np.float64)

    def _prefill(self, table: _Table, running: Flags, starts: Ints, step_s: float) -> Floats:
        """Advance prefill; returns the seconds of the step that each engine spent on it."""
        left = np.where(running, table.to_prefill, 0.0)
        needed = self._sum(table, left)
        seconds: Floats = np.minimum(needed / self._prefill_rate, MAX_PREFILL * step_s)
        through = np.concatenate(([0.0], np.cumsum(left)))
        before = through[:-1] - through[starts[table.engine]]
        table.to_prefill -= np.clip((seconds * self._prefill_rate)[table.engine] - before, 0.0, left)
        return seconds

    def _decode(self, table: _Table, decoding: Flags, seconds: Floats, step_s: float) -> tuple[Ints, Floats]:
        """Advance decode; returns new tokens per request and tokens/s of one request per engine."""
        streams = np.maximum(self._sum(table, decoding.astype(np.float64)), 1.0)
        pace = np.minimum(self._stream_rate, self._decode_rate / streams) * (seconds / step_s)
        old = table.progress
        new = np.where(decoding, np.minimum(old + pace[table.engine] * step_s, table.target), old)
        table.progress = new
        return (np.floor(new) - np.floor(old)).astype(np.int64), pace

    def _count(self, table: _Table, first: Flags, grown: Ints) -> None:
        for name, amount in (
            ("prompt_tokens", np.where(first, table.prompt, 0)),
            ("cached_tokens", np.where(first, table.cached, 0)),
            ("generation_tokens", grown + first),
        ):
            self.life[name] += self._sum(table, amount).astype(np.int64)

    def _measure_iterations(self, table: _Table, first: Flags, grown: Ints, pace: Floats, step_s: float) -> None:
        made = self._sum(table, grown).astype(np.int64)
        tokens = made + self._sum(table, np.where(first, table.prompt - table.cached + 1, 0))
        engine = np.flatnonzero(tokens > 0)
        passes = np.maximum(np.rint(pace[engine] * step_s), 1).astype(np.int64)
        total = tokens[engine].astype(np.float64)
        self.histograms["iteration_tokens_total"].add(engine, total / passes, passes, total)
        engine = np.flatnonzero(made > 0)
        self.histograms["inter_token_latency_seconds"].observe(engine, 1.0 / pace[engine], made[engine])

    def _finish(self, ended: _Table, now_s: float) -> None:
        cut = ended.target >= MAX_TOKENS
        self.life["cut_off"] += self._sum(ended, cut.astype(np.float64)).astype(np.int64)
        self.life["stopped"] += self._sum(ended, (~cut).astype(np.float64)).astype(np.int64)
        decode_s = now_s - ended.first_token
        values: dict[str, Floats | Ints] = {
            "request_prompt_tokens": ended.prompt,
            "request_generation_tokens": ended.target,
            "request_max_num_generation_tokens": ended.target,
            "request_params_n": np.ones(len(cut)),
            "request_params_max_tokens": np.full(len(cut), float(MAX_TOKENS)),
            "time_to_first_token_seconds": ended.first_token - ended.arrived,
            "request_time_per_output_token_seconds": decode_s / np.maximum(ended.target - 1, 1),
            "e2e_request_latency_seconds": now_s - ended.arrived,
            "request_queue_time_seconds": np.maximum(ended.admitted - ended.arrived, 0.0),
            "request_inference_time_seconds": now_s - ended.admitted,
            "request_prefill_time_seconds": ended.first_token - ended.admitted,
            "request_decode_time_seconds": decode_s,
            "request_prefill_kv_computed_tokens": ended.prompt - ended.cached,
            "http_request_duration_highr_seconds": now_s - ended.arrived,
        }
        for name, value in values.items():
            self.histograms[name].observe(ended.engine, value.astype(np.float64))

    def _measure_load(self, starts: Ints, running: Flags, done: Flags, decoding: Flags, prefill: Floats) -> None:
        """Load from what ran in the step; queues from what is left after it."""
        bounds = starts[:-1]
        ran = np.concatenate(([0], np.cumsum(decoding)))
        streams = ran[starts[1:]] - ran[bounds]
        decode = np.where(streams > 0, 1.0 - prefill, 0.0)
        fill = np.minimum(streams * self._stream_rate / self._decode_rate, 1.0)
        self.busy = np.minimum(prefill + 0.97 * decode, 1.0)
        # Prefill is bound by arithmetic and draws nearly the limit; decode is bound by memory and draws about half.
        self.intensity = 0.95 * prefill + decode * (0.40 + 0.35 * fill)
        table = self._table
        left = self._sum(table, np.ones(len(table.engine))).astype(np.int64)
        kept = running[~done]
        self.running = self._sum(table, kept.astype(np.float64)).astype(np.int64)
        self.waiting = left - self.running
        held = np.where(kept, table.prompt - table.to_prefill + table.progress, 0.0)
        self.kv_used = np.minimum(self._sum(table, held) / self._kv_tokens, 1.0)
