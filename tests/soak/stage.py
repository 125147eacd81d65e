"""Everything that runs during a soak, and how each fault is done to it."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.gate import Gate, Inserts
from tests.kafka.cluster import Cluster
from tests.soak.database import Database
from tests.soak.feeder import AWAY
from tests.soak.inject import Injector
from tests.soak.keeper import Keeper
from tests.soak.parts import Parts
from tests.soak.plan import LANES, WORKERS, Fault
from tests.soak.watch import Watch

INJECTED = frozenset({"duplicate", "corrupt", "clock_back", "clock_ahead"})


@dataclass
class Stage:
    """The parts, and what has been done to them."""

    workers: Keeper
    collectors: Keeper
    parts: Parts
    database: Database
    gate: Gate
    cluster: Cluster | None
    injector: Injector
    watch: Watch
    caused: Counter[str] = field(default_factory=Counter)
    """Faults that happened, by kind."""
    current: dict[int, Fault] = field(default_factory=dict)
    """Faults that last at the moment, by lane."""
    _workers_started: int = 0

    def __post_init__(self) -> None:
        self._lanes = {kind.name: number for number, lane in enumerate(LANES) for kind in lane.kinds}
        self._locks = [asyncio.Lock() for _ in LANES]

    def begin(self) -> None:
        """Start workers and collectors."""
        for _ in range(WORKERS):
            self._add_worker()
        for name in self.parts.shards:
            self.collectors.start(name)

    def state(self) -> str:
        """In one line."""
        now = ", ".join(fault.kind for fault in self.current.values())
        lag = ", ".join(f"{topic} {count}" for topic, count in self.watch.lag.items() if count)
        behind = f"{self.watch.behind_ticks} ticks behind, not acknowledged: {lag or 0}"
        return f"{self.caused.total()} faults · {len(self.workers.names)} workers · {behind}{' · ' if now else ''}{now}"

    async def cause(self, fault: Fault, start_s: float) -> None:
        """Do a fault when it is time, and undo it when its time is over.

        start_s: unix time of the first tick. One that finds nothing to be done to is not counted.
        """
        await asyncio.sleep(start_s + fault.at_s - time.time())
        lane = self._lanes[fault.kind]
        async with self._locks[lane]:
            self.current[lane] = fault
            try:
                happened = await self._do(fault, fault.random)
            finally:
                del self.current[lane]
            if happened:
                self.caused[fault.kind] += 1
                self.watch.ended(fault.kind)

    async def _do(self, fault: Fault, chance: random.Random) -> bool:
        kind, for_s = fault.kind, fault.for_s
        if kind in INJECTED:
            return await self.injector.inject(kind, chance) > 0
        if kind.endswith("_worker"):
            return await self._disturb_worker(kind, for_s, chance)
        if kind in ("kill_broker", "freeze_broker", "restart_brokers"):
            return await self._disturb_broker(kind, for_s, chance)
        if kind in ("kill_clickhouse", "stop_clickhouse"):
            await (self.database.kill() if kind == "kill_clickhouse" else self.database.stop())
            await asyncio.sleep(for_s)
            await self.database.start()
            return True
        if kind in ("refuse_inserts", "lose_answers"):
            self.gate.inserts = Inserts.REFUSED if kind == "refuse_inserts" else Inserts.UNHEARD
            await asyncio.sleep(for_s)
            self.gate.inserts = Inserts.PASS
            return True
        return await self._disturb_collector(kind, for_s, chance)

    async def _disturb_worker(self, kind: str, for_s: float, chance: random.Random) -> bool:
        if kind == "add_worker":
            self._add_worker()
            return True
        name = self.workers.choose(chance)
        if name is None:
            return False
        match kind:
            case "kill_worker":
                await self.workers.kill(name, for_s)
            case "freeze_worker":
                await self.workers.freeze(name, for_s)
            case "remove_worker":
                await self.workers.stop(name)
        return True

    async def _disturb_broker(self, kind: str, for_s: float, chance: random.Random) -> bool:
        assert self.cluster is not None, "the embedded broker forgets everything: this plan is for another one"
        every = range(len(self.cluster.nodes))
        chosen = every if kind == "restart_brokers" else [chance.choice(every)]
        for number in chosen:
            (self.cluster.pause if kind == "freeze_broker" else self.cluster.kill)(number)
        await asyncio.sleep(for_s)
        for number in chosen:
            (self.cluster.resume if kind == "freeze_broker" else self.cluster.launch)(number)
        await asyncio.to_thread(self.cluster.wait_ready)
        await asyncio.to_thread(self.cluster.wait_in_sync)
        return True

    async def _disturb_collector(self, kind: str, for_s: float, chance: random.Random) -> bool:
        name = self.collectors.choose(chance)
        if name is None:
            return False
        home = self.parts.home(name)
        order = home / (f"hold-{chance.randrange(len(self.parts.shards[name]))}" if kind == "reorder" else AWAY)
        if kind == "kill_collector":
            await self.collectors.kill(name, for_s)
            return True
        order.touch()
        if kind == "kill_spooling_collector":
            await asyncio.sleep(for_s / 2)
            await self.collectors.kill(name, for_s / 4)
            await asyncio.sleep(for_s / 4)
        else:
            await asyncio.sleep(for_s)
        order.unlink()
        return True

    def _add_worker(self) -> None:
        self._workers_started += 1
        self.workers.start(f"worker-{self._workers_started}")
