"""What happens when: the fault plan of a soak, made from a seed, printed, and read again.

Faults are drawn in lanes. Within a lane they come one after the other, with time to recover between them, so that at
most one broker is down, ClickHouse comes back before it goes again, and a worker is always about to work; the lanes
know nothing of each other, so that a broker can be down while ClickHouse refuses inserts and a zombie wakes up.
"""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

EMBEDDED = "embedded"
WORKERS = 2  # at the start
MOST_WORKERS = 3
LEAD_S = 2.0  # until the first fault
TAIL_S = 2.0  # after the end of the last one
TICK_MS = 250  # between two scrapes, by the wall; twice as long in a long run
FLEET = 24
LONG_S = 300.0  # in runs of this length faults can last as long as they may; in shorter ones less
SETTLED_S = 60.0  # in runs of this length the parts have time to recover between faults; in shorter ones less


class Kind(NamedTuple):
    """A kind of fault."""

    name: str
    what: str
    least_s: float
    most_s: float
    """How long it lasts."""
    settle_s: float
    """Until the next fault of its lane."""


class Lane(NamedTuple):
    """Faults that come one after the other."""

    kinds: tuple[Kind, ...]
    every_s: float
    """Mean time between the starts of two of them in a long run."""
    real_kafka: bool = False
    """Only where the broker keeps its messages when it is killed."""


ADD_WORKER = Kind("add_worker", "another worker joins", 0, 0, 3)
REMOVE_WORKER = Kind("remove_worker", "a worker is told to stop, and leaves", 0, 0, 3)

LANES = (
    Lane(
        (
            Kind("kill_worker", "kill -9 of a worker; another takes its place a little later", 0.3, 3, 2),
            Kind("freeze_worker", "a worker stands still beyond its session, then goes on: a zombie", 7, 14, 3),
            ADD_WORKER,
            REMOVE_WORKER,
        ),
        16,
    ),
    Lane(
        (
            Kind("kill_broker", "kill -9 of a broker", 3, 10, 12),
            Kind("freeze_broker", "a broker stands still for a while", 3, 10, 10),
            Kind("restart_brokers", "kill -9 of every broker", 2, 5, 20),
        ),
        50,
        real_kafka=True,
    ),
    Lane(
        (
            Kind("kill_clickhouse", "kill -9 of ClickHouse", 0.5, 8, 3),
            Kind("stop_clickhouse", "ClickHouse is stopped in good order", 0.5, 8, 3),
            Kind("refuse_inserts", "ClickHouse refuses every insert", 2, 15, 2),
            Kind("lose_answers", "ClickHouse stores what is inserted, but nobody hears of it", 1, 5, 2),
        ),
        35,
    ),
    Lane(
        (
            Kind("kill_collector", "kill -9 of a collector; another takes its place a little later", 0.3, 3, 2),
            Kind("kafka_away", "a collector does not reach Kafka", 2, 20, 2),
            Kind("kill_spooling_collector", "kill -9 of a collector that does not reach Kafka", 3, 20, 2),
            Kind("reorder", "the messages of a shard come long after those of the others", 1.5, 12, 1),
        ),
        25,
    ),
    Lane(
        (
            Kind("duplicate", "a run of earlier messages comes again", 0, 0, 0.5),
            Kind("corrupt", "copies of messages come damaged", 0, 0, 0.5),
            Kind("clock_back", "a clock is set back: other readings of a time that is metered already", 0, 0, 0.5),
            Kind("clock_ahead", "a clock is set far ahead: readings of a time to come", 0, 0, 0.5),
        ),
        10,
    ),
)  # fmt: skip

KINDS = {kind.name: kind for lane in LANES for kind in lane.kinds}


class Fault(BaseModel):
    """One fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_s: float = Field(ge=0)
    """Seconds after the first scrape."""
    kind: str
    for_s: float = Field(default=0, ge=0)
    pick: int = Field(ge=0)
    """Which worker, collector, broker, messages: seed of the choice among those that there are at the moment."""

    @property
    def random(self) -> random.Random:
        return random.Random(self.pick)


class Plan(BaseModel):
    """A whole run. The same plan is the same input and the same faults at the same moments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    seconds: float = Field(gt=0)
    brokers: str = Field(pattern="^(embedded|1|3)$")
    tick_ms: int = Field(default=TICK_MS, gt=0)
    """Time between two scrapes; the samples are further apart."""
    fleet: int = Field(default=FLEET, ge=2)
    """Size of the fabric (see tests.faults.traffic.Shape)."""
    faults: tuple[Fault, ...]

    @property
    def ticks(self) -> int:
        return int(self.seconds * 1000 / self.tick_ms)

    def text(self) -> str:
        """As JSON, a line for each fault: what `parse` reads."""
        head = self.model_dump_json(exclude={"faults"})
        faults = ",\n  ".join(fault.model_dump_json() for fault in self.faults)
        return f'{head[:-1]},"faults":[\n  {faults}\n]}}'

    @classmethod
    def parse(cls, text: str) -> "Plan":
        """Raises ValueError with what is wrong."""
        try:
            plan = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ValueError(f"not a plan: {where}: {first['msg']}") from None
        unknown = sorted({fault.kind for fault in plan.faults} - KINDS.keys())
        if unknown:
            raise ValueError(f"no fault is called {unknown[0]!r}; known: {', '.join(KINDS)}")
        return plan


def make(seed: int, seconds: float, brokers: str) -> Plan:
    """Draw a plan in which every kind occurs that the broker allows. Raises ValueError when the time is too short."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    for lane in LANES:
        if brokers != EMBEDDED or not lane.real_kafka:
            faults += _draw(lane, seconds, chance)
    return Plan(seed=seed, seconds=seconds, brokers=brokers, faults=tuple(sorted(faults, key=lambda fault: fault.at_s)))


def _draw(lane: Lane, seconds: float, chance: random.Random) -> Iterator[Fault]:
    window_s = seconds - LEAD_S - TAIL_S
    haste = min(1.0, seconds / SETTLED_S)
    drawn: list[tuple[Kind, float]] = []
    used_s = 0.0
    wanted = max(len(lane.kinds), round(window_s / lane.every_s))
    for number in range(wanted):
        kind = lane.kinds[number] if number < len(lane.kinds) else chance.choice(lane.kinds)
        for_s = chance.uniform(kind.least_s, kind.least_s + (kind.most_s - kind.least_s) * min(1, seconds / LONG_S))
        if used_s + for_s + kind.settle_s * haste > window_s:
            if number < len(lane.kinds):
                raise ValueError(f"{seconds:g} s are too short for every kind of fault: take a minute or more")
            break
        drawn.append((kind, for_s))
        used_s += for_s + kind.settle_s * haste
    chance.shuffle(drawn)
    pauses = sorted(chance.uniform(0, window_s - used_s) for _ in drawn)
    passed_s = LEAD_S
    for (kind, for_s), pause_s in zip(_scaled(drawn), pauses, strict=True):
        at_s, pick = round(passed_s + pause_s, 2), chance.getrandbits(32)
        yield Fault(at_s=at_s, kind=kind.name, for_s=round(for_s, 2), pick=pick)
        passed_s += for_s + kind.settle_s * haste


def _scaled(drawn: Sequence[tuple[Kind, float]]) -> Iterator[tuple[Kind, float]]:
    """The same, with as many workers joining and leaving that one to three are left."""
    workers = WORKERS
    for kind, for_s in drawn:
        if kind == ADD_WORKER and workers == MOST_WORKERS:
            kind = REMOVE_WORKER
        elif kind == REMOVE_WORKER and workers == 1:
            kind = ADD_WORKER
        workers += (kind == ADD_WORKER) - (kind == REMOVE_WORKER)
        yield kind, for_s
