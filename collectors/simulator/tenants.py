"""Who holds each slice of the fabric's GPUs, how hard it works, and when that changes."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collectors.simulator.catalogue import Pool, Rhythm, Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_ENGINE = -1


@dataclass(frozen=True, slots=True)
class Tenant:
    """The workload that holds a slice, in the words of its scheduler. `user` is opaque: no person is named."""

    namespace: str = ""
    pod: str = ""
    container: str = ""
    job: str = ""
    account: str = ""
    user: str = ""
    deployment: str = ""


class Occupancy:
    """Per slice: its tenant, the engine that runs on it, or the rhythm of the training job that does."""

    def __init__(self, slices: int) -> None:
        self.tenants: list[Tenant | None] = [None] * slices
        self._engine: Ints = np.full(slices, NO_ENGINE, dtype=np.int64)
        self._level = np.zeros(slices)
        self._period_s = np.ones(slices)
        self._dip_s = np.zeros(slices)
        self._phase_s = np.zeros(slices)

    def serve(self, slices: Sequence[int], tenant: Tenant, engine: int) -> None:
        """An engine runs on these slices."""
        for index in slices:
            self.tenants[index] = tenant
            self._engine[index] = engine

    def train(self, slices: Sequence[int], tenant: Tenant, random: np.random.Generator) -> None:
        """A training job: near the limit, with a dip at every checkpoint. Its GPUs dip together."""
        rows = list(slices)
        self._level[rows] = random.uniform(0.72, 0.96)
        self._period_s[rows] = random.uniform(25.0, 70.0)
        self._dip_s[rows] = random.uniform(2.0, 6.0)
        self._phase_s[rows] = random.uniform(0.0, 70.0)
        for index in rows:
            self.tenants[index] = tenant

    def hold(self, slices: Sequence[int], tenant: Tenant) -> None:
        """A job that keeps its GPUs and does nothing."""
        for index in slices:
            self.tenants[index] = tenant

    def release(self, slices: Sequence[int]) -> None:
        """Nobody holds them any more."""
        self._level[list(slices)] = 0.0
        for index in slices:
            self.tenants[index] = None

    def work(self, now_s: float, engine_busy: Floats, engine_intensity: Floats) -> tuple[Floats, Floats]:
        """Per slice: share of time that its engine is active, and its load between idle power and the limit."""
        dips = (now_s + self._phase_s) % self._period_s < self._dip_s
        level = np.where(dips, 0.15 * self._level, self._level)
        serving = self._engine != NO_ENGINE
        at = self._engine[serving]
        busy, intensity = np.minimum(1.05 * level, 1.0), level
        busy[serving], intensity[serving] = engine_busy[at], engine_intensity[at]
        return busy, intensity


@dataclass
class Slot:
    """Slices of one node that are given out together."""

    node: int
    site: Site
    pool: Pool
    slices: tuple[int, ...]
    closed: bool = False
    """The node is in maintenance: nothing new starts."""
    taken: bool = False


class Jobs:
    """Starts and ends the jobs and pods that serve no model. One heap of moments; all randomness from one stream."""

    def __init__(self, occupancy: Occupancy, random: np.random.Generator, rhythm: Rhythm) -> None:
        self._occupancy = occupancy
        self._random = random
        self._rhythm = rhythm
        self._moments: list[tuple[float, int, int]] = []
        self._slots: list[Slot] = []
        self._sequence = 0
        self._job = 41_230_000 + int(random.integers(0, 9000))

    def open_slots(self, slots: Sequence[Slot], from_s: float) -> None:
        """Fill one pool's slots: some free for good, some held idle, the others coming and going after `from_s`."""
        if not slots:
            return
        pool = slots[0].pool
        free = int(len(slots) * pool.free_share)
        smallest_first = sorted(range(len(slots)), key=lambda index: len(slots[index].slices))
        idle = set(smallest_first[: min(pool.idle_jobs, len(slots) - 1)])
        for index, slot in enumerate(slots):
            number = len(self._slots)
            self._slots.append(slot)
            if index in idle:
                self._occupancy.hold(slot.slices, self._tenant(slot, "idle"))
                slot.taken = True
            elif index < len(slots) - free:
                if self._random.uniform() < 0.85:
                    self._start(slot)
                longest = self._rhythm.job_s[1] if slot.taken else self._rhythm.gap_s[1]
                self._later(from_s + float(self._random.uniform(4.0, longest)), number)

    def due(self, now_s: float) -> Iterator[Slot]:
        """Slots that change now. The caller looks at a slot's present tenant, then calls :meth:`turn`."""
        while self._moments and self._moments[0][0] <= now_s:
            _, _, number = heapq.heappop(self._moments)
            slot = self._slots[number]
            span = self._rhythm.gap_s if slot.taken or slot.closed else self._rhythm.job_s
            self._later(now_s + float(self._random.uniform(*span)), number)
            if slot.taken or not slot.closed:
                yield slot

    def turn(self, slot: Slot) -> None:
        """End the slot's job, or start one."""
        if slot.taken:
            self._occupancy.release(slot.slices)
            slot.taken = False
        else:
            self._start(slot)

    def of_node(self, node: int) -> list[Slot]:
        """All slots of a node."""
        return [slot for slot in self._slots if slot.node == node]

    def _start(self, slot: Slot) -> None:
        self._occupancy.train(slot.slices, self._tenant(slot, "train"), self._random)
        slot.taken = True

    def _later(self, at_s: float, number: int) -> None:
        heapq.heappush(self._moments, (at_s, self._sequence, number))
        self._sequence += 1

    def _tenant(self, slot: Slot, purpose: str) -> Tenant:
        weights = np.array([tenant.weight for tenant in slot.pool.tenants], dtype=float)
        owner = slot.pool.tenants[int(self._random.choice(len(weights), p=weights / weights.sum()))].owner
        self._job += int(self._random.integers(1, 40))
        if slot.site.scheduler == "slurm":
            return Tenant(job=str(self._job), account=owner, user=f"u{self._job % 97 + 1}")
        return Tenant(namespace=owner, pod=f"{purpose}-{self._job % 100_000:05x}-0", container="main")
