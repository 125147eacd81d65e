"""A cluster of one or three Kafka nodes on loopback, whose nodes can be killed, frozen and started again."""

import asyncio
import base64
import random
import signal
import socket
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from tests.kafka import artifacts
from tests.kafka.node import Node, Ports

START_S = 60.0
_ASK_MS = 2000
_POLL_S = 0.05
_FIRST_PORT = 10_000


class View(NamedTuple):
    """The cluster as one of its nodes sees it."""

    nodes: set[int]
    leaders: dict[tuple[str, int], int]
    """Node that leads a (topic, partition); -1: none."""
    in_sync: bool
    """Whether every replica of every partition has everything."""


class Cluster:
    """Use as `with Cluster(folder, nodes=3) as cluster`: nothing of it is left afterwards but files in `folder`.

    Nodes are numbered from 0. Three nodes keep every partition three times and take a message when two have it. Start
    nodes from the main thread; only waiting may be done in another one.
    """

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        ports = _free_ports(2 * nodes)
        pairs = [Ports(ports[2 * number], ports[2 * number + 1]) for number in range(nodes)]
        self.nodes = [Node(number, pairs, folder / f"node-{number}") for number in range(nodes)]
        self._formatted = False

    @property
    def url(self) -> str:
        """`kafka://…` of all nodes."""
        return "kafka://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every node that does not run, all at once, and wait until they are a cluster."""
        jvm = shared_classes()
        if not self._formatted:
            _format(self.nodes, *jvm)
            self._formatted = True
        for node in self.nodes:
            if not node.running:
                node.launch(*jvm)
        self.wait_ready()

    def launch(self, number: int) -> None:
        """Start one node; returns at once (see `wait_ready`)."""
        self.nodes[number].launch(*shared_classes())

    def restart(self, number: int) -> None:
        """Start one node again, on the same ports and data, and wait until it is in the cluster."""
        self.launch(number)
        self.wait_ready()

    def kill(self, number: int) -> None:
        """kill -9 of one node."""
        self.nodes[number].end()

    def stop_node(self, number: int) -> None:
        """SIGTERM: the node hands over what it leads, and ends."""
        self.nodes[number].end(signal.SIGTERM)

    def pause(self, number: int) -> None:
        """SIGSTOP: the node keeps its connections and answers nothing."""
        self.nodes[number].pause()

    def resume(self, number: int) -> None:
        """SIGCONT."""
        self.nodes[number].resume()

    def stop(self) -> None:
        """End every node at once; there is nothing to keep."""
        for node in self.nodes:
            node.end()

    def wait_ready(self) -> None:
        """Wait until every node that runs knows of all that run."""
        running = {node.number for node in self.nodes if node.running and not node.paused}
        deadline = time.monotonic() + START_S
        for number in running:
            while (view := self.view(number)) is None or not running <= view.nodes:
                self._check(number, deadline, f"sees {view and view.nodes} of {running}")

    def wait_in_sync(self) -> None:
        """Wait until every replica of every partition has everything: then a node can be spared."""
        deadline = time.monotonic() + START_S
        number = next(node.number for node in self.nodes if node.running and not node.paused)
        while (view := self.view(number)) is None or not view.in_sync:
            self._check(number, deadline, "sees replicas that are behind")

    def leader(self, topic: str, partition: int) -> int:
        """The node that leads a partition; waits until there is one."""
        deadline = time.monotonic() + START_S
        number = next(node.number for node in self.nodes if node.running and not node.paused)
        while (view := self.view(number)) is None or (leader := view.leaders.get((topic, partition), -1)) < 0:
            self._check(number, deadline, f"sees no leader of {topic} {partition}")
        return leader

    def view(self, number: int) -> View | None:
        """The cluster as a node sees it; None when it does not answer."""
        with ThreadPoolExecutor(1) as thread:  # the caller may be on an event loop already
            return thread.submit(asyncio.run, _ask(self.nodes[number].port)).result()

    def _check(self, number: int, deadline: float, why: str) -> None:
        node = self.nodes[number]
        assert node.running, f"node {number} ended: {node.log.read_text()[-4000:]}"
        assert time.monotonic() < deadline, f"node {number} {why}: {node.log.read_text()[-4000:]}"
        time.sleep(_POLL_S)


def _format(nodes: list[Node], *jvm: str) -> None:
    cluster_id = base64.b64encode(uuid.uuid4().bytes, altchars=b"00").decode().rstrip("=")
    for node in nodes:
        node.format(cluster_id, *jvm)
    for node in nodes:
        node.wait_formatted()


def shared_classes() -> tuple[str, ...]:
    """What lets a JVM take Kafka's classes as an earlier one has prepared them: it starts in a third of the time.

    Made once for each release and Java, by starting and stopping a node. A JVM that cannot use them goes on without.
    """
    _, build = artifacts.java()
    archive = artifacts.home() / f"classes-{build}.jsa"
    with artifacts.alone("classes"):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=artifacts.home(), prefix="preparing-") as draft:
                prepared = Path(draft) / "classes.jsa"
                _prepare(Path(draft) / "cluster", f"-XX:ArchiveClassesAtExit={prepared}")
                prepared.touch()  # a JVM that makes none is not asked again
                prepared.rename(archive)
    return (f"-XX:SharedArchiveFile={archive}", "-Xlog:disable", "-Xlog:all=error:stderr")


def _prepare(folder: Path, *jvm: str) -> None:
    artifacts.tell(f"preparing Apache Kafka {artifacts.VERSION} in {artifacts.home()}, once …")
    cluster = Cluster(folder)
    (node,) = cluster.nodes
    try:
        _format(cluster.nodes)
        node.launch(*jvm)
        cluster.wait_ready()
        node.end(signal.SIGTERM)
    finally:
        cluster.stop()


async def _ask(port: int) -> View | None:
    try:
        connection = await create_conn("127.0.0.1", port, request_timeout_ms=_ASK_MS)
    except (OSError, KafkaError, TimeoutError):
        return None
    try:
        answer = await connection.send(MetadataRequest(None))
    except (OSError, KafkaError, TimeoutError):
        return None
    finally:
        connection.close()
    found = answer.to_object()
    partitions = [(topic["topic"], partition) for topic in found["topics"] for partition in topic["partitions"]]
    return View(
        {broker["node_id"] for broker in found["brokers"]},
        {(topic, partition["partition"]): partition["leader"] for topic, partition in partitions},
        all(set(partition["isr"]) == set(partition["replicas"]) for _, partition in partitions),
    )


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel gives to connections: a node that is away for a while
    finds its own free when it comes back, and nobody who looks for it connects to himself."""
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    free: list[int] = []
    while len(free) < count:
        port = random.randrange(_FIRST_PORT, end)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if port not in free:
            free.append(port)
    return free
