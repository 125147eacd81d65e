"""The meter of tokens written once more, counter by counter: what the ledger must hold. It shares no code with it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

MINUTE_MS = 60_000
MOST_PER_SECOND = 10_000_000
CLOCK_SKEW_MS = 300_000


@dataclass(frozen=True)
class TokenObservation:
    """The counters of one replica and model at one moment: prompt, cached and generated tokens, requests."""

    cluster: str
    shard: str
    endpoint: str
    ts_ms: int
    counts: tuple[int | None, int | None, int | None, int | None]
    started_ms: int | None = None
    replica: str = "0"
    model: str = "command-r-plus"
    team: str = ""
    deployment: str = "chat"
    layer: str = "engine"

    @property
    def chain(self) -> tuple[str, str, str, str, str]:
        """What the counts belong to."""
        return self.cluster, self.endpoint, self.replica, self.model, self.team


class TokenRow(NamedTuple):
    """One row of the ledger."""

    counter: tuple[str, str, str, str, str]
    ts_start: int
    ts_end: int
    shard: str
    deployment: str
    layer: str
    tokens: tuple[int, ...]
    ends: tuple[int | None, ...]
    started_ms: int | None
    resets: int
    samples: int


@dataclass
class CounterOracle:
    """The chain of one counter."""

    rows: list[TokenRow] = field(default_factory=list)
    _head: TokenObservation | None = None
    _known: list[int | None] = field(default_factory=lambda: [None] * 4)
    """Last value of each count, None while there is none to go on from."""
    _started_ms: int | None = None

    def see(self, now: TokenObservation) -> None:
        """Take in an observation."""
        head = self._head
        if head is None:
            self._known, self._started_ms = list(now.counts), now.started_ms
        elif now.ts_ms <= head.ts_ms:
            return
        else:
            self._count(head, now)
        self._head = now

    def _count(self, head: TokenObservation, now: TokenObservation) -> None:
        seen_twice = [(a, b) for a, b in zip(self._known, now.counts, strict=True) if a is not None and b is not None]
        fell = any(after < before for before, after in seen_twice)
        starts = {self._started_ms, now.started_ms} - {None}
        both_tell = None not in (self._started_ms, now.started_ms)
        renewed = len(starts) == 2
        seconds = Fraction(now.ts_ms - head.ts_ms, 1000)
        half_left = 2 * sum(after for _, after in seen_twice) > sum(before for before, _ in seen_twice)
        # The same process cannot count backwards. Where nothing says that it is the same, time and size decide.
        stale = fell and not renewed and (both_tell or (seconds * 1000 <= CLOCK_SKEW_MS and half_left))
        restarted = renewed or (fell and not stale)
        other_process = (
            restarted
            and now.started_ms is not None
            and now.started_ms <= head.ts_ms
            and now.started_ms != self._started_ms
        )
        if other_process:  # it counted before, and nobody knows how far it was at the last observation
            self._known = [None] * 4
        elif restarted:
            self._known = [0] * 4
        tokens = [0] * 4
        misread = False
        for i, (before, after) in enumerate(zip(self._known, now.counts, strict=True)):
            if after is None:
                continue
            if before is None:
                self._known[i] = after
            elif after - before > MOST_PER_SECOND * (seconds + 60) or before - after > MOST_PER_SECOND * 300:
                self._known[i], misread = None, True  # one of the two is no count; begin anew
            elif after > before:
                self._known[i], tokens[i] = after, after - before
        if now.started_ms is not None or restarted:
            self._started_ms = now.started_ms
        self._book(head, now, tuple(tokens), (restarted and not other_process) or misread)

    def _book(self, head: TokenObservation, now: TokenObservation, tokens: tuple[int, ...], reset: bool) -> None:
        place = now.shard, now.deployment, now.layer
        start, resets, samples = head.ts_ms, 0, 0
        held: tuple[int, ...] = (0, 0, 0, 0)
        last = self.rows[-1] if self.rows else None
        if last is None:
            samples = 1  # the chain's first observation
        elif last.ts_end // MINUTE_MS == now.ts_ms // MINUTE_MS and (last.shard, last.deployment, last.layer) == place:
            self.rows.pop()
            start, held, resets, samples = last.ts_start, last.tokens, last.resets, last.samples
        self.rows.append(
            TokenRow(
                now.chain, start, now.ts_ms, *place,
                tuple(a + b for a, b in zip(held, tokens, strict=True)), tuple(self._known), self._started_ms,
                resets + reset, samples + 1,
            )
        )  # fmt: skip


def run(observations: Iterable[TokenObservation]) -> list[TokenRow]:
    """The ledger. Observations of one counter come in the order of delivery."""
    chains: dict[tuple[str, ...], CounterOracle] = {}
    for observation in observations:
        chains.setdefault(observation.chain, CounterOracle()).see(observation)
    return [row for chain in chains.values() for row in chain.rows]
