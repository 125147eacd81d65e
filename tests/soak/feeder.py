"""A collector of the soak: publishes its shards of the tape on schedule, through the real publisher and its spool.

    python -m tests.soak.feeder --kafka URL --tape FILE --folder DIR --start UNIX_S --tick-ms N SHARD…

It can be killed at any moment: the next entry of a shard is remembered only when `publish` has taken the one before.
What is between the two is published again, which adds nothing. While the file `away` is in its folder the network to
Kafka is cut; while `hold-N` is there, shard N waits.
"""

import argparse
import asyncio
import logging
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from collectors.publisher import Publisher
from collectors.spool import opened
from collectors.statistics import Statistics
from tests.soak.tape import Entry, collector_of, load

POLL_S = 0.02
REFUSED_S = 0.2
DRAIN_S = 60.0
AWAY = "away"


class Network(asyncio.SelectorEventLoop):
    """An event loop whose connections are cut, and refused, while a file exists."""

    def __init__(self, cut: Path) -> None:
        super().__init__()
        self._cut = cut
        self._open: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    async def create_connection(self, protocol_factory: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        if is_ordered(self._cut):
            raise ConnectionRefusedError("the network is cut")
        transport, protocol = await super().create_connection(protocol_factory, *args, **kwargs)
        self._open.add(transport)
        return transport, protocol

    async def watch(self) -> None:
        """Cut what is connected when the file appears."""
        while True:
            if is_ordered(self._cut):
                for transport in list(self._open):
                    transport.abort()
            await asyncio.sleep(POLL_S)


class Place:
    """The next entry of one shard, in a file."""

    def __init__(self, folder: Path, number: int) -> None:
        self._file = os.open(folder / f"next-{number}", os.O_RDWR | os.O_CREAT)
        self.next = int(os.pread(self._file, 20, 0) or b"0")

    def move_on(self) -> None:
        self.next += 1
        os.pwrite(self._file, b"%020d" % self.next, 0)  # in the page cache: there, also when this process is killed


def is_ordered(order: Path) -> bool:
    """Whether a file with an order is there."""
    return order.exists()


async def feed(
    publisher: Publisher, entries: list[Entry], place: Place, hold: Path, start_s: float, tick_s: float
) -> None:
    """Publish the entries of one shard, each when it is due."""
    while place.next < len(entries):
        entry = entries[place.next]
        await asyncio.sleep(start_s + place.next * tick_s - time.time())
        while is_ordered(hold):  # noqa: ASYNC110  (another process makes and removes the file)
            await asyncio.sleep(POLL_S)
        with pa.ipc.open_stream(entry.value) as reader:
            batch = reader.read_next_batch()
        taken = publisher.publish(
            topic=entry.topic, shard=entry.shard, cluster=entry.cluster, schema=entry.schema, batch=batch,
            defects=list(entry.defects),
        )  # fmt: skip
        if taken:
            place.move_on()
        else:
            await asyncio.sleep(REFUSED_S)


async def run(options: argparse.Namespace) -> None:
    """Feed every shard to its end, then wait until Kafka has everything."""
    folder: Path = options.folder
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Network)
    watching = asyncio.create_task(loop.watch())
    tape = load(options.tape)
    with opened(folder / "spool") as spool:
        collector = collector_of(options.shards[0])
        publisher = Publisher(options.kafka, collector, Statistics(), spool=spool, clock=time.time)
        publisher.start()
        async with asyncio.TaskGroup() as feeding:
            for number, shard in enumerate(options.shards):
                place, hold = Place(folder, number), folder / f"hold-{number}"
                feeding.create_task(feed(publisher, tape[shard], place, hold, options.start, options.tick_ms / 1000))
        await publisher.stop(DRAIN_S)
        assert not spool.messages, "not everything is with Kafka"
    watching.cancel()


def main() -> None:
    """Returns when everything is with Kafka."""
    arguments = argparse.ArgumentParser(prog="python -m tests.soak.feeder", description=__doc__)
    arguments.add_argument("--kafka", required=True)
    arguments.add_argument("--tape", type=Path, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--start", type=float, required=True)
    arguments.add_argument("--tick-ms", type=int, required=True)
    arguments.add_argument("shards", nargs="+")
    options = arguments.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=lambda: Network(options.folder / AWAY)) as runner:
        runner.run(run(options))


if __name__ == "__main__":
    main()
