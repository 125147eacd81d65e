"""The ledger of tokens is the oracle's, row for row, whatever happens to servers, messages and workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.streams.metering import token_oracle
from tests.streams.metering.histories import T0, deliver
from tests.streams.metering.ledger import run_with_faults
from tests.streams.metering.settings import repeatable
from tests.streams.metering.token_ledger import TokenWorker, token_ledger, token_store
from tests.streams.metering.token_oracle import TokenObservation, TokenRow

Counts = tuple[int | None, int | None, int | None, int | None]


@dataclass(frozen=True)
class Step:
    """What happens to a server between two of its samples."""

    elapsed_ms: int
    event: str
    rise: tuple[int, int, int, int]
    missing: tuple[bool, bool, bool, bool]
    pick: int


CALM = ("", "", "", "started unknown", "shard", "deployment", "stale")
WILD = (
    *CALM,
    "restart",
    "restart",
    "restart unseen",
    "other process",
    "counts fall",
    "layer",
    "misread",
    "stale unseen",
)

_mask = st.one_of(st.just((False,) * 4), st.tuples(*(st.booleans() for _ in range(4))))
_rise = st.one_of(st.integers(0, 3), st.integers(0, 10**8))


SCRAPES = st.sampled_from((1, 1000, 10_000, 22_750, 60_000, 200_000))


def steps(events: Sequence[str], elapsed_ms: st.SearchStrategy[int] = SCRAPES) -> st.SearchStrategy[list[Step]]:
    """A life of a server."""
    step = st.builds(
        Step,
        elapsed_ms=elapsed_ms,
        event=st.sampled_from(events),
        rise=st.tuples(_rise, _rise, _rise, _rise),
        missing=_mask,
        pick=st.integers(0, 1000),
    )
    return st.lists(step, min_size=1, max_size=14)


def live(place: TokenObservation, life: Sequence[Step]) -> list[TokenObservation]:
    """The samples of a counter, in order."""
    totals, started_ms, now = [1000, 100, 500, 10], T0 - 500_000, place
    observations = [now]
    for step in life:
        ts_ms = now.ts_ms + step.elapsed_ms
        shard, deployment, layer = now.shard, now.deployment, now.layer
        match step.event:
            case "restart" | "restart unseen":
                totals, started_ms = [0] * 4, now.ts_ms + 1 + step.pick % step.elapsed_ms
            case "other process":
                totals, started_ms = [value // 3 + step.pick for value in totals], T0 - 1000 - step.pick
            case "counts fall":
                totals = [value // 2 for value in totals]
            case "shard":
                shard = f"{place.cluster}/{'ab'[step.pick % 2]}/0"
            case "deployment":
                deployment = ("chat", "embed")[step.pick % 2]
            case "layer":
                layer = ("engine", "gateway")[step.pick % 2]
        totals = [value + rise for value, rise in zip(totals, step.rise, strict=True)]
        shown = totals
        match step.event:
            case "stale" | "stale unseen":  # by up to a tenth of each count
                shown = [value - value * step.pick // 10_000 for value in totals]
            case "misread":
                shown = [2**57 if step.pick % 4 == i else value for i, value in enumerate(totals)]
        seen = [None if gone else value for value, gone in zip(shown, step.missing, strict=True)]
        now = TokenObservation(
            place.cluster, shard, place.endpoint, ts_ms, (seen[0], seen[1], seen[2], seen[3]),
            None if step.event in ("started unknown", "restart unseen", "stale unseen") else started_ms,
            team=place.team, deployment=deployment, layer=layer,
        )  # fmt: skip
        observations.append(now)
    return observations


def born(lives: list[list[Step]]) -> list[list[TokenObservation]]:
    """Counters of two clusters; two of them on one endpoint."""
    places = (("fir", "a:8000", ""), ("fir", "a:8000", "acme"), ("nibi", "a:8000", ""), ("fir", "b:8000", ""))
    return [
        live(
            TokenObservation(cluster, f"{cluster}/a/0", endpoint, T0, (1000, 100, 500, 10), T0 - 500_000, team=team),
            life,
        )
        for (cluster, endpoint, team), life in zip(places, lives, strict=False)
    ]


def disturbed(log: Sequence[Sequence[TokenObservation]], chance: Random) -> list[TokenRow]:
    """The ledger of workers that die at any time."""
    store = token_store()
    run_with_faults(lambda: TokenWorker(store), log, chance)
    return token_ledger(store)


chances = st.integers(0, 2**32).map(Random)


def ordered(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """Rows by counter and start."""
    return sorted(rows, key=lambda row: (row.counter, row.ts_start))


@repeatable(120)
@given(st.lists(steps(WILD), min_size=1, max_size=4), chances)
def test_ledger_is_the_oracles(lives: list[list[Step]], chance: Random) -> None:
    """Splitting, mixing, repeating, and workers that die at any point, do not change a row."""
    observations = born(lives)
    rows = disturbed(deliver(observations, chance), chance)
    assert ordered(rows) == ordered(token_oracle.run(one for life in observations for one in life))


@repeatable(60)
@given(st.lists(steps(CALM), min_size=1, max_size=4), chances)
def test_no_token_is_lost_or_invented(lives: list[list[Step]], chance: Random) -> None:
    """Of a process that never restarts, every token between its first and last sample of a count is counted once."""
    observations = born(lives)
    rows = disturbed(deliver(observations, chance), chance)
    for life in observations:
        own = [row for row in rows if row.counter == life[0].chain]
        for i in range(4):
            seen = [value for one in life if (value := one.counts[i]) is not None]
            assert sum(row.tokens[i] for row in own) == max(seen) - seen[0]
        assert sum(row.ts_end - row.ts_start for row in own) == life[-1].ts_ms - life[0].ts_ms
        assert all(a.ts_end == b.ts_start for a, b in pairwise(ordered(own)))
