"""One node of a Kafka cluster as a process: broker and controller in one (KRaft combined mode), on loopback."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from compose.process import dies_with_parent
from tests.kafka import artifacts

STOP_S = 30.0

# Starts fast and stays small: no optimising compiler, one thread for garbage, little memory, warnings only.
_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)

# What every node has. Times are short, so that the loss of a node is noticed within seconds.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "300",
    "controller.quorum.fetch.timeout.ms": "1500",
    "replica.lag.time.max.ms": "3000",
    "replica.fetch.backoff.ms": "200",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "2",
}
_REPLICATED = (
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
)
_IN_SYNC = ("min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr")


class Ports(NamedTuple):
    """Where a node listens."""

    broker: int
    controller: int


@dataclass
class Node:
    """One node. Its data, its properties and its log lie in `folder`."""

    number: int
    """Its place in `ports`, and its node.id."""
    ports: Sequence[Ports]
    """Of every node of the cluster."""
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    paused: bool = field(default=False, init=False)

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.ports[self.number].broker

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def format(self, cluster_id: str, *jvm: str) -> None:
        """Begin to prepare the storage of a new node: a process that ends by itself (see `wait_formatted`)."""
        self.folder.mkdir(parents=True)
        self._properties_file.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        self._run("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", jvm=jvm)

    def wait_formatted(self) -> None:
        """Wait for the end of `format`; fails when it failed."""
        assert self.process is not None
        assert self.process.wait(STOP_S) == 0, self.log.read_text()
        self.process = None

    def launch(self, *jvm: str) -> None:
        """Start the process; it does not serve yet when this returns."""
        assert not self.running, f"node {self.number} runs already"
        self._run("kafka.Kafka", jvm=jvm)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the process, and wait until it is gone."""
        if self.process is None:
            return
        self.process.send_signal(how)
        if self.paused:
            self.resume()
        try:
            self.process.wait(STOP_S)
        finally:
            self.process.kill()
            self.process.wait()
        self.process = None

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"node {self.number} does not run"
        self.process.send_signal(number)

    def _run(self, program: str, *arguments: str, jvm: Sequence[str]) -> None:
        # The kernel ends the process with the thread that started it.
        assert threading.current_thread() is threading.main_thread(), "start nodes from the main thread"
        java, _ = artifacts.java()
        classpath = os.pathsep.join(map(str, sorted(artifacts.libraries().glob("*.jar"))))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [java, *_JVM, *jvm, "-cp", classpath, program, *arguments, str(self._properties_file)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(),
            )

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    def _properties(self) -> Mapping[str, str]:
        host, replicas = "127.0.0.1", len(self.ports)
        listener = f"PLAINTEXT://{host}:{self.port}"
        voters = (f"{number}@{host}:{ports.controller}" for number, ports in enumerate(self.ports))
        return {
            **_PROPERTIES,
            **dict.fromkeys(_REPLICATED, str(replicas)),
            **dict.fromkeys(_IN_SYNC, str(replicas // 2 + 1)),
            "node.id": str(self.number),
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"{listener},CONTROLLER://{host}:{self.ports[self.number].controller}",
            "advertised.listeners": listener,
            "log.dirs": str(self.folder / "data"),
        }
