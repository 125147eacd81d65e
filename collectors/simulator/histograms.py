"""Prometheus histograms of many engines at once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Histogram:
    """One histogram per engine: `counts[engine, bucket]` (last bucket = +Inf, not cumulative) and `sums[engine]`."""

    def __init__(self, bounds: Sequence[float], engines: int) -> None:
        self.bounds = tuple(float(bound) for bound in bounds)
        self._edges = np.array(self.bounds)
        self.counts: Ints = np.zeros((engines, len(self.bounds) + 1), dtype=np.int64)
        self.sums: Floats = np.zeros(engines)

    def observe(self, engine: Ints, values: Floats, weights: Ints | None = None) -> None:
        """Add one observation (or `weights` equal ones) per entry."""
        times = np.ones(len(engine), dtype=np.int64) if weights is None else weights
        np.add.at(self.counts, (engine, np.searchsorted(self._edges, values)), times)
        np.add.at(self.sums, engine, values * times)

    def add(self, engine: Ints, values: Floats, weights: Ints, sums: Floats) -> None:
        """Add `weights` observations near `values`, whose exact total is `sums`."""
        np.add.at(self.counts, (engine, np.searchsorted(self._edges, values)), weights)
        np.add.at(self.sums, engine, sums)

    def restart(self, engines: Sequence[int]) -> None:
        """Back to zero, as in a new process."""
        self.counts[list(engines)] = 0
        self.sums[list(engines)] = 0.0

    def totals(self, engines: Sequence[int]) -> tuple[list[int], float]:
        """Of some engines together: counts at or below each bound and of all, and the sum."""
        rows = list(engines)
        counts: list[int] = np.cumsum(self.counts[rows].sum(axis=0)).tolist()
        return counts, float(self.sums[rows].sum())


_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_PHASES = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560),
)

# Name without "vllm:" -> bucket bounds (vLLM v1, 2026-03). The last is the HTTP front's, one for all engines.
BOUNDS: dict[str, tuple[float, ...]] = {
    "request_prompt_tokens": _LENGTHS,
    "request_generation_tokens": _LENGTHS,
    "iteration_tokens_total": (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
    "request_max_num_generation_tokens": _LENGTHS,
    "request_params_n": (1, 2, 5, 10, 20),
    "request_params_max_tokens": _LENGTHS,
    "time_to_first_token_seconds": _FIRST_TOKEN,
    "inter_token_latency_seconds": _PER_TOKEN,
    "request_time_per_output_token_seconds": _PER_TOKEN,
    "e2e_request_latency_seconds": _PHASES,
    "request_queue_time_seconds": _PHASES,
    "request_inference_time_seconds": _PHASES,
    "request_prefill_time_seconds": _PHASES,
    "request_decode_time_seconds": _PHASES,
    "request_prefill_kv_computed_tokens": _LENGTHS,
    "http_request_duration_highr_seconds": (
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
        *(1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60),
    ),
}
