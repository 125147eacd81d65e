"""Brings a deployment's requests to its engines."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from collectors.simulator.catalogue import Serving
from collectors.simulator.demand import Arrivals
from collectors.simulator.engines import Engines
from collectors.simulator.gateway import team_weights
from collectors.simulator.topology import Gateway, Server

Ints = npt.NDArray[np.int64]

_BLOCK = 16  # tokens of one cache block: prefixes hit in whole blocks
NO_TEAM = -1


class Flow:
    """The requests of one deployment, in turn to each of its engines that accepts; held back while none does."""

    def __init__(
        self,
        spec: Serving,
        servers: Sequence[Server],
        arrivals: Arrivals,
        gateway: Gateway | None,
        random: np.random.Generator,
    ) -> None:
        self._spec = spec
        self._servers = servers
        self._arrivals = arrivals
        self._random = random
        self._turn = 0
        self._held: list[tuple[Ints, Ints, Ints, Ints, npt.NDArray[np.float64]]] = []
        self._first_team = gateway.first_team if gateway else NO_TEAM
        self._weights = team_weights(len(gateway.teams)) if gateway else []

    def deliver(self, now_s: float, engines: Engines) -> None:
        """Submit what has arrived until now."""
        new = self._arrivals.until(now_s)
        count = len(new.arrival_s)
        if count:
            reuse = self._random.uniform(0.0, 2.0 * self._spec.cached_share, count)
            blocks = np.minimum(new.prompt_tokens * reuse, new.prompt_tokens - 1) // _BLOCK
            cached = (blocks * _BLOCK).astype(np.int64)
            self._held.append((self._teams(count), new.prompt_tokens, cached, new.generated_tokens, new.arrival_s))
        accepting = [
            engine
            for server in self._servers
            if server.accepting and now_s >= server.loading_until_s
            for engine in server.engines
        ]
        if not self._held or not accepting:
            return
        team, prompt, cached, generated, arrived = (np.concatenate(part) for part in zip(*self._held, strict=True))
        self._held = []
        engine = np.array(accepting)[(self._turn + np.arange(len(team))) % len(accepting)]
        self._turn += len(team)
        engines.submit(engine, team, prompt, cached, generated, arrived)

    def _teams(self, count: int) -> Ints:
        if not self._weights:
            return np.full(count, NO_TEAM, dtype=np.int64)
        return self._first_team + self._random.choice(len(self._weights), count, p=self._weights)
