"""The comparison: an ordinary Faust agent, one JSON event per GPU, a running sum per device in a Faust table.

`python -m tests.bench.json_agent KAFKA TOPIC EVENTS` prints events, seconds, CPU seconds.
"""

import asyncio
import logging
import resource
import sys
import tempfile
import time
from typing import Any

import faust


async def main(kafka: str, topic: str, events: int) -> None:
    """Process the first `events` events of the topic."""
    app = faust.App(
        "bench-json", broker=kafka, datadir=tempfile.mkdtemp(prefix="bench-json-"), store="memory://",
        web_enabled=False, topic_disable_leader=True, broker_session_timeout=6, broker_heartbeat_interval=1.5,
        topic_partitions=4,
    )  # fmt: skip
    energy = app.Table("energy", default=int, partitions=4)
    source = app.topic(topic, key_type=bytes, value_serializer="json")
    seen: list[float] = []
    count = 0
    done = asyncio.Event()

    @app.agent(source)
    async def meter(stream: Any) -> None:
        async for event in stream:
            nonlocal count
            if not count:
                seen.append(time.monotonic())
            energy[event["device"]] = event["energy_mj"]
            count += 1
            if count >= events:
                done.set()

    logging.disable(logging.WARNING)
    app.finalize()
    await app.start()
    await done.wait()
    seconds = time.monotonic() - seen[0]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    sys.stdout.write(f"{events} {seconds} {usage.ru_utime + usage.ru_stime}\n")
    sys.stdout.flush()
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
