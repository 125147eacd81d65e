"""What goes wrong now and then: pods restart, GPUs fault and their node's driver is reloaded.

Both are as gentle as in a well-run cluster, so that nothing that was consumed goes uncounted by any meter: an engine
drains and stays up until it has been read once more before it restarts at zero; a node is emptied, and its GPUs have
long settled at idle power when their energy counters restart.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from collectors.simulator.catalogue import XID_UNCONTAINED, Rhythm
from collectors.simulator.devices import Devices
from collectors.simulator.engines import Engines
from collectors.simulator.record import NodeLedger, Record
from collectors.simulator.tenants import Jobs, Slot
from collectors.simulator.topology import Node, Server


class PodRestarts:
    """One server at a time."""

    def __init__(
        self,
        servers: Sequence[Server],
        engines: Engines,
        record: Record,
        random: np.random.Generator,
        rhythm: Rhythm,
        from_s: float,
    ) -> None:
        sizes = Counter((one.cluster, one.deployment) for one in servers)
        crowd = [one for one in servers if sizes[one.cluster, one.deployment] > 1]
        self._servers = crowd or list(servers)  # a deployment with one server has nobody to serve in its place
        self._engines = engines
        self._record = record
        self._random = random
        self._rhythm = rhythm
        self._next_s = from_s + float(random.uniform(*rhythm.first_pod_restart_s))
        self._draining: Server | None = None

    def step(self, now_s: float) -> None:
        """Drain, or restart what has drained and been read."""
        server = self._draining
        if server is None:
            if self._servers and now_s >= self._next_s:
                server = self._servers[int(self._random.integers(len(self._servers)))]
                server.accepting, server.drained_s = False, None
                self._draining = server
            return
        if server.drained_s is None:
            if self._engines.in_flight(server.engines) == 0:
                server.drained_s = now_s
        elif server.scraped_s >= server.drained_s:
            self._engines.restart(server.engines)
            server.process += 1
            server.started_s = now_s
            server.loading_until_s = now_s + self._rhythm.load_s
            server.accepting = True
            self._record.event(now_s, "pod_restart", server.url)
            self._draining = None
            self._next_s = now_s + float(self._random.uniform(*self._rhythm.pod_restart_s))


class Maintenance:
    """One node at a time: a fault, a drain, a driver reload."""

    def __init__(
        self,
        nodes: Sequence[Node],
        ledgers: Sequence[NodeLedger],
        devices: Devices,
        jobs: Jobs,
        turn: Callable[[Slot, float], None],
        record: Record,
        random: np.random.Generator,
        rhythm: Rhythm,
        from_s: float,
    ) -> None:
        self._nodes = nodes
        self._ledgers = ledgers
        self._devices = devices
        self._jobs = jobs
        self._turn = turn
        self._record = record
        self._random = random
        self._rhythm = rhythm
        self._next_s = from_s + float(random.uniform(*rhythm.first_drain_s))
        self._down: Node | None = None
        self._chosen = 0

    def step(self, now_s: float) -> None:
        """Drain a node, or reload the driver of the one that is down."""
        if not self._nodes or now_s < self._next_s:
            return
        if self._down is None:
            self._drain(self._nodes[-1 - self._chosen % len(self._nodes)], now_s)
            self._chosen += 1
            self._next_s = now_s + float(self._random.uniform(*self._rhythm.reload_after_s))
        else:
            self._reload(self._down, now_s)
            self._next_s = now_s + float(self._random.uniform(*self._rhythm.drain_s))

    def _drain(self, node: Node, now_s: float) -> None:
        self._down = node
        node.xid[0] = XID_UNCONTAINED.code
        node.version += 1
        self._record.event(now_s, "xid", f"{node.device_list[0].identity} {XID_UNCONTAINED.code}")
        for slot in self._jobs.of_node(node.number):
            slot.closed = True
            if slot.taken:
                self._turn(slot, now_s)

    def _reload(self, node: Node, now_s: float) -> None:
        self._down = None
        self._devices.reload_driver(node.devices)
        node.xid[0] = 0
        node.version += 1
        self._ledgers[node.number].reloads += 1
        self._record.event(now_s, "driver_reload", f"{node.cluster}/{node.name}")
        for slot in self._jobs.of_node(node.number):
            slot.closed = False
