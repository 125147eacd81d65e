"""The shared deployments' gateway: it alone knows which team a request belongs to, and counts it when it ends."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Teams:
    """Token counters of every (gateway, team) pair, numbered through; requests carry that number, others -1."""

    def __init__(self, count: int) -> None:
        self.prompt_tokens: Ints = np.zeros(count, dtype=np.int64)
        self.generation_tokens: Ints = np.zeros(count, dtype=np.int64)
        self.requests: Ints = np.zeros(count, dtype=np.int64)

    def finish(self, team: Ints, prompt: Ints, generated: Ints) -> None:
        """Count requests that ended."""
        known = team >= 0
        np.add.at(self.prompt_tokens, team[known], prompt[known])
        np.add.at(self.generation_tokens, team[known], generated[known])
        np.add.at(self.requests, team[known], 1)


def team_weights(count: int) -> Sequence[float]:
    """How unevenly many small customers share one model: the k-th asks 1/k as often as the first (Zipf)."""
    weights = 1.0 / np.arange(1, count + 1)
    shares: list[float] = (weights / weights.sum()).tolist()
    return shares
