"""The embedded broker: a real Kafka protocol endpoint with the contract's topics, and clear words when it cannot be."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from compose import broker as embedded
from compose.broker import BrokerError
from schemas import topics
from tests.roles import ROOT, children, start, wait_gone


async def test_topics_are_those_of_the_contract(broker: str) -> None:
    """Names and partitions; asking again creates nothing and is no error."""
    admin = AIOKafkaAdminClient(bootstrap_servers=embedded.servers(broker))
    await admin.start()
    described = await admin.describe_topics(list(topics.PARTITIONS))
    await admin.close()
    assert {topic["topic"]: len(topic["partitions"]) for topic in described} == topics.PARTITIONS
    assert await embedded.create_topics(broker) == []


async def test_messages_come_back(broker: str) -> None:
    """Key, value and headers of a message, unchanged, from the partition it went to."""
    servers = embedded.servers(broker)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    sent = await producer.send_and_wait(topics.TELEMETRY_GPU, b"\x00\xff", key=b"a/b/0", headers=[("seq", b"1")])
    await producer.stop()
    consumer = AIOKafkaConsumer(topics.TELEMETRY_GPU, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    message = await asyncio.wait_for(consumer.getone(), 10)
    await consumer.stop()
    got = (message.partition, message.key, message.value, message.headers)
    assert got == (sent.partition, b"a/b/0", b"\x00\xff", (("seq", b"1"),))


@pytest.mark.parametrize("kill", [False, True])
def test_nothing_is_left(tmp_path: Path, kill: bool) -> None:
    """SIGTERM ends role and broker with exit 0; kill -9 of the role takes the broker with it."""
    role = start("compose.broker", "--port", "0", log=tmp_path / "broker.log")
    processes = children(role.process.pid)
    assert len(processes) == 1
    if kill:
        role.kill()
    else:
        assert role.stop() == 0
    wait_gone(processes)


def test_port_in_use(tmp_path: Path) -> None:
    """One sentence with the port; exit 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "compose.broker", "--port", str(port)],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    expected = f"broker: Port {port} on 127.0.0.1 cannot be used (Address already in use): choose another port.\n"
    assert (ended.stdout, ended.stderr) == ("", expected)


def test_broker_that_dies_is_an_error(tmp_path: Path) -> None:
    """The broker's own exit status says 0 even when it failed, so its end alone counts."""
    role = start("compose.broker", "--port", "0", log=tmp_path / "broker.log")
    os.kill(children(role.process.pid)[0], signal.SIGTERM)
    assert role.process.wait(10) == 1
    assert role.log.read_text().endswith("broker: The broker ended by itself, exit code 0.\n")


def test_program_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do instead."""
    monkeypatch.setenv("CALF_TANSU_BIN", "./no-such-program")
    with pytest.raises(BrokerError, match=r"no program for this machine .*name a Kafka in the configuration"):
        embedded.binary()


async def test_unreachable_kafka() -> None:
    """Topics of a Kafka that is not there."""
    url = f"kafka://127.0.0.1:{embedded.free_port()}"
    assert not await embedded.is_ready(url)
    with pytest.raises(BrokerError, match=f"The Kafka at {url} cannot be used"):
        await embedded.create_topics(url)
    with pytest.raises(BrokerError, match="is not the URL of a Kafka: write for example kafka://"):
        embedded.servers("127.0.0.1:9092")
