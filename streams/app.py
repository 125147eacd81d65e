"""The Faust application: its settings, each for a reason that was checked, and its topics."""

import logging
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
import mode
import tenacity
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from schemas import topics
from streams import consumer

log = logging.getLogger(__name__)

GROUP = "commonwatt"


def create_app(kafka: str, *, group: str = GROUP) -> faust.App:
    """An app that consumes at least once, commits only what was acknowledged, and crashes visibly."""
    consumer.install()
    return faust.App(
        group,
        broker=kafka,
        # Faust makes a folder for tables, which there are none of; by default it is where `demo` keeps its data.
        datadir=Path(tempfile.gettempdir()) / f"commonwatt-faust-{os.getuid()}",
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        table_standby_replicas=0,  # there are no tables; with standbys Faust would take an assignor of its own
        topic_disable_leader=True,  # no extra topic: nothing here elects
        topic_allow_declare=False,  # topics are made by `commonwatt migrate` with their real settings
        web_enabled=False,
        broker_commit_interval=0.5,  # messages are large batches, so commits can be frequent
        broker_commit_every=256,
        broker_max_poll_records=256,
        broker_session_timeout=6.0,  # the embedded broker holds each join for half of it
        broker_heartbeat_interval=1.5,
        # A node that is frozen, or behind a dead network, says nothing: after this long its connection is given up and
        # the others are asked who leads. A join may wait for as long as a rebalance takes, so that one is shorter.
        broker_request_timeout=30.0,
        broker_rebalance_timeout=20.0,
        consumer_max_fetch_size=1024 * 1024,  # per partition; a larger message still comes, alone
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=64,  # counts messages, and ours are large
        stream_wait_empty=False,  # held messages must not stall a rebalance; the sink is idempotent
        producer_max_request_size=topics.MAX_MESSAGE_BYTES,
        producer_linger=0.0,
        producer_request_timeout=30.0,  # as above; what was not taken by then is sent anew (see streams.context)
        worker_redirect_stdouts=False,
    )


async def until_reached(kafka: str, within_s: float) -> None:
    """Wait until a node answers. Raises KafkaConnectionError when none does in time."""
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(KafkaConnectionError),
        wait=tenacity.wait_fixed(0.5),
        stop=tenacity.stop_after_delay(within_s),
        before_sleep=lambda state: (
            log.info("waiting for the Kafka at %s", kafka) if state.attempt_number == 1 else None
        ),
        reraise=True,
    ):
        with attempt:
            client = AIOKafkaClient(bootstrap_servers=kafka.removeprefix("kafka://"))
            try:
                await client.bootstrap()
            finally:
                await client.close()


def hold(app: faust.App, name: str, subscribed: tuple[str, ...], offer: Callable[[Any], Awaitable[None]]) -> None:
    """Declare an agent that hands every event to `offer` without acknowledging it.

    Acknowledging is the business of whoever stored what the event led to (see streams.intake). A failure of the loop
    crashes the app instead of leaving it running without an agent.
    """

    @app.agent(
        app.topic(*subscribed, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"),
        name=name,
        concurrency=1,
        supervisor_strategy=mode.CrashingSupervisor,
    )
    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            await offer(event)
