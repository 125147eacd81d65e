"""Lives of devices for property tests: what happens to a GPU, and how its samples reach the meter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Protocol, TypeVar

from hypothesis import strategies as st

from tests.streams.metering.samples import Observation, Slice, Tenant

MAX_GAP_MS = {"fir": 90_000, "nibi": 45_000}
T0 = 1_760_053_837_250
"""37.25 s into a minute, nine minutes before midnight UTC of 2025-10-10, when prices change."""

TENANTS = (
    Tenant(),
    Tenant(namespace="llm", pod="command-r-0"),
    Tenant(namespace="llm", pod="command-r-1"),
    Tenant(job="4711", account="rrg-acme_gpu"),
)
# How a device may be divided: names and shares. Some leave a rest, one claims more than there is.
PARTITIONS: tuple[tuple[tuple[str, int, int], ...], ...] = (
    (("", 1, 1),),
    (("3g.40gb-1", 3, 7),),
    (("3g.40gb-1", 3, 7), ("4g.40gb-2", 4, 7)),
    (("1g.10gb-7", 1, 7), ("1g.10gb-9", 1, 7), ("3g.40gb-1", 3, 7)),
    (("1g.10gb-7", 2, 7), ("3g.40gb-1", 3, 7)),
    (("a", 1, 2), ("b", 1, 3)),
    (("3g.40gb-1", 3, 7), ("4g.40gb-2", 4, 7), ("z", 3, 7)),
    (("xcp0", 1, 8), ("xcp1", 1, 8), ("xcp2", 6, 8)),
)


class Sample(Protocol):
    """An observation of either meter."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def shard(self) -> str: ...
    @property
    def ts_ms(self) -> int: ...
    @property
    def chain(self) -> tuple[str, ...]: ...


Sampled = TypeVar("Sampled", bound=Sample)


@dataclass(frozen=True)
class Step:
    """What happens to a device between two of its samples."""

    elapsed_ms: int
    event: str
    rise_mj: int
    power_w: float
    busy: float | None
    pick: int


CALM = ("", "", "", "", "tenant", "partition", "shard", "stale")
WILD = (*CALM, "reset", "jump", "far behind", "no counter", "no power", "nothing measured", "node", "model")

_BUSY = st.one_of(st.none(), st.integers(0, 64).map(lambda n: n / 64), st.sampled_from((0.1, 0.333, 0.9999)))


def steps(events: Sequence[str], elapsed_ms: st.SearchStrategy[int]) -> st.SearchStrategy[list[Step]]:
    """A life of a device."""
    step = st.builds(
        Step,
        elapsed_ms=elapsed_ms,
        event=st.sampled_from(events),
        rise_mj=st.one_of(st.integers(0, 7), st.integers(0, 21_000_000)),
        power_w=st.integers(0, 3_000_000).map(lambda mw: mw / 1000),
        busy=_BUSY,
        pick=st.integers(0, 10_000),
    )
    return st.lists(step, min_size=1, max_size=14)


SCRAPES = st.sampled_from((1, 999, 1000, 10_000, 22_750, 30_000, 45_000))
SCRAPES_AND_SILENCE = st.one_of(SCRAPES, st.sampled_from((45_001, 60_000, 90_000, 90_001, 179_999, 400_000)))


def live(cluster: str, device: str, life: Iterable[Step]) -> list[Observation]:
    """The samples of a device, in order."""
    now = Observation(cluster, f"{cluster}/a/0", device, T0, power_w=100.0, energy_mj=5_000_000_000)
    energy_mj = 5_000_000_000
    observations = [now]
    for step in life:
        energy_mj += step.rise_mj
        parts, shard, node, model = now.slices, now.shard, now.node, now.gpu_model
        match step.event:
            case "tenant":
                chosen = step.pick % len(parts)
                tenant = TENANTS[step.pick // 7 % len(TENANTS)]
                parts = tuple(replace(part, tenant=tenant) if i == chosen else part for i, part in enumerate(parts))
            case "partition":
                kept = {part.name: part.tenant for part in parts}
                parts = tuple(
                    Slice(name, num, den, kept.get(name, TENANTS[(step.pick + i) % len(TENANTS)]))
                    for i, (name, num, den) in enumerate(PARTITIONS[step.pick % len(PARTITIONS)])
                )
            case "shard":
                shard = f"{cluster}/{'ab'[step.pick % 2]}/{step.pick // 2 % 2}"
            case "node":
                node = f"node-{step.pick % 3}"
            case "model":
                model = ("NVIDIA H100 80GB HBM3", "NVIDIA H200")[step.pick % 2]
            case "reset":
                energy_mj = step.rise_mj
            case "jump":
                energy_mj += 10**15
        behind_mj = min(step.pick * {"stale": 18_000, "far behind": 400_000}.get(step.event, 0), energy_mj)
        dark = step.event == "nothing measured"
        order = Random(step.pick)
        now = Observation(
            cluster,
            shard,
            device,
            now.ts_ms + step.elapsed_ms,
            power_w=None if dark or step.event == "no power" else step.power_w,
            energy_mj=None if dark or step.event == "no counter" else energy_mj - behind_mj,
            slices=tuple(order.sample([replace(part, busy=None if dark else step.busy) for part in parts], len(parts))),
            node=node,
            gpu_model=model,
        )
        observations.append(now)
    return observations


def deliver(lives: Sequence[Sequence[Sampled]], chance: Random) -> list[list[Sampled]]:
    """A log of messages: samples of a device stay in order, everything else may be split, mixed and repeated."""
    waiting = [list(reversed(life)) for life in lives]
    log: list[list[Sampled]] = []
    while any(waiting):
        first = chance.choice([life for life in waiting if life])
        shard = first[-1].shard
        message = [
            life.pop()
            for life in waiting
            if life and life[-1].shard == shard and (life is first or chance.random() < 0.7)
        ]
        chance.shuffle(message)
        log.append(message)
        if chance.random() < 0.2:
            log.append(chance.choice(log))
    return log


def spoil(log: Sequence[list[Sampled]], chance: Random) -> list[list[Sampled]]:
    """The log after a bad network: some messages lost their tail, some come after later ones."""
    slots: list[tuple[int, list[Sampled]]] = []
    for position, message in enumerate(log):
        kept = message[: chance.randrange(len(message) + 1)] if chance.random() < 0.2 else message
        delay = chance.choice((1, 2, 5, 20)) if chance.random() < 0.2 else 0
        if kept:
            slots.append((position + delay, kept))
    return [message for _, message in sorted(slots, key=lambda slot: slot[0])]


def accepted(log: Iterable[Iterable[Sampled]]) -> list[Sampled]:
    """The samples of a log that say something new: those later than any before them of the same chain."""
    heads: dict[tuple[str, ...], int] = {}
    found = []
    for message in log:
        for sample in message:
            if sample.ts_ms > heads.get(sample.chain, -1):
                heads[sample.chain] = sample.ts_ms
                found.append(sample)
    return found


PLACES = ("a/0", "a/1", "b/0", "b/1")
"""Shards of a cluster. Those of collector b belong to another worker than those of a."""
PACE = st.sampled_from((9_600, 10_000, 10_000, 10_000, 10_400))
"""Time from one tick to the next, ms. Every shard scrapes at the same pace: what leaves one misses a tick there."""


def roam(life: Sequence[Sampled], chance: Random) -> list[Sampled]:
    """The same samples, but what is observed moves from shard to shard and falls silent now and then."""
    cluster, place, late_ms, silent, roamed = life[0].shard.split("/")[0], PLACES[0], 0, False, []
    for sample in life:
        if chance.random() < 0.4:
            place = chance.choice(PLACES)
        silent = not silent and chance.random() < 0.15
        late_ms += chance.choice((10_000, 50_000, 200_000)) if silent else 0
        roamed.append(replace(sample, shard=f"{cluster}/{place}", ts_ms=sample.ts_ms + late_ms))
    return roamed
