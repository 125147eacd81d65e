"""How far everything is: what the ledger has reached, and how long it takes to catch up after each fault.

Caught up means: every sample that was due when the fault ended is in the ledger, and everything that followed from it
(minute totals, unit costs, burn) has been acknowledged.
"""

import asyncio
import bisect
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from compose.broker import servers
from compose.lag import STAGES
from schemas.topics import PARTITIONS, TELEMETRY_GPU, TELEMETRY_TOKENS
from streams.app import GROUP
from tests.soak.tape import Tape

POLL_S = 0.4
ANSWER_S = 10.0
_FOLLOWING = tuple(topic for topic in STAGES if topic not in (TELEMETRY_GPU, TELEMETRY_TOKENS))
_REACH = """
SELECT shard, toUnixTimestamp64Milli(max(ts_end)) FROM
(SELECT shard, ts_end FROM gpu_usage_store UNION ALL SELECT shard, ts_end FROM token_usage_store)
GROUP BY shard
"""

Offsets = dict[TopicPartition, int]


@dataclass
class CatchUp:
    """The way back from one fault."""

    kind: str
    at_s: float
    """When the fault was over, seconds after the first tick."""
    due_ms: dict[str, int]
    """Latest sample that was due, by shard."""
    behind: Offsets | None = None
    """Ends of the topics behind the ledger when the ledger had it all."""
    took_s: float | None = None


@dataclass
class Watch:
    """Follows the run. `start_s` is the unix time of the first tick."""

    tape: Tape
    kafka: str
    client: Client
    start_s: float
    tick_s: float
    reach_ms: dict[str, int] = field(default_factory=dict)
    lag: dict[str, int] = field(default_factory=dict)
    """Messages not acknowledged, by topic, as last seen."""
    catch_ups: list[CatchUp] = field(default_factory=list)

    def ended(self, kind: str) -> None:
        """A fault is over: from now on its way back counts."""
        self.catch_ups.append(CatchUp(kind, time.time() - self.start_s, self._due()))

    @property
    def behind_ticks(self) -> int:
        """How many ticks of the tape the slowest shard's ledger is behind."""
        return max((self._tick(shard, due_ms) - self._tick(shard, self.reach_ms.get(shard, 0))
                    for shard, due_ms in self._due().items()), default=0)  # fmt: skip

    @property
    def settled(self) -> bool:
        """Whether the ledger has the whole tape, everything is acknowledged, and no fault is waited for."""
        ends = all(self.reach_ms.get(shard, 0) >= entries[-1].last_ms for shard, entries in self.tape.items())
        back = all(catch_up.took_s is not None for catch_up in self.catch_ups)
        return ends and back and not any(self.lag.values()) and len(self.lag) == len(STAGES)

    async def run(self) -> None:
        """Look again and again; what is away is looked for the next time."""
        while True:
            offsets = Groups(self.kafka)
            try:
                await offsets.start()
                while True:
                    await self._look(offsets)
                    await asyncio.sleep(POLL_S)
            except (KafkaError, OSError, TimeoutError):
                self.lag = {}
            finally:
                await offsets.close()
            await asyncio.sleep(POLL_S)

    async def _look(self, offsets: "Groups") -> None:
        with contextlib.suppress(ClickHouseError, OSError):
            rows = (await asyncio.to_thread(self.client.query, _REACH)).result_rows
            self.reach_ms = {str(shard): int(reach_ms) for shard, reach_ms in rows}
        async with asyncio.timeout(ANSWER_S):
            committed, ends = await offsets.read()
        self.lag = {topic: _behind(committed, ends, [topic]) for topic in STAGES}
        for catch_up in self.catch_ups:
            if catch_up.took_s is None:
                self._follow(catch_up, committed, ends)

    def _follow(self, catch_up: CatchUp, committed: Offsets, ends: Offsets) -> None:
        reached = all(self.reach_ms.get(shard, 0) >= due_ms for shard, due_ms in catch_up.due_ms.items())
        if catch_up.behind is None and reached:
            catch_up.behind = {partition: end for partition, end in ends.items() if partition.topic in _FOLLOWING}
        if catch_up.behind is not None and all(committed[at] >= end for at, end in catch_up.behind.items()):
            catch_up.took_s = time.time() - self.start_s - catch_up.at_s

    def _tick(self, shard: str, ts_ms: int) -> int:
        """How many ticks of a shard are not later than a moment."""
        return bisect.bisect_right(self.tape[shard], ts_ms, key=lambda entry: entry.last_ms)

    def _due(self) -> dict[str, int]:
        """Time of the latest sample of each shard that is due by now."""
        tick = int((time.time() - self.start_s) / self.tick_s)
        if tick < 0:
            return {}
        return {shard: entries[min(tick, len(entries) - 1)].last_ms for shard, entries in self.tape.items()}


class Groups:
    """Committed and end offsets of every stage, over connections that stay open."""

    def __init__(self, kafka: str) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=servers(kafka))
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers(kafka))
        self._partitions = [TopicPartition(topic, number) for topic in STAGES for number in range(PARTITIONS[topic])]

    async def start(self) -> None:
        await self._consumer.start()
        await self._admin.start()

    async def close(self) -> None:
        with contextlib.suppress(KafkaError, OSError):
            await self._consumer.stop()
            await self._admin.close()

    async def read(self) -> tuple[Offsets, Offsets]:
        """Committed offsets (0 where there is none) and ends."""
        known = await self._admin.list_consumer_group_offsets(GROUP, partitions=self._partitions)
        committed = {at: max(0, known[at].offset) if at in known else 0 for at in self._partitions}
        return committed, await self._consumer.end_offsets(self._partitions)


def _behind(committed: Offsets, ends: Offsets, topics: Sequence[str]) -> int:
    return sum(max(0, end - committed[at]) for at, end in ends.items() if at.topic in topics)
