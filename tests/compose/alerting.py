"""Alerts for tests of their delivery, a topic to put them on, and a notifier that can be killed."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer

from compose.broker import servers
from schemas.economics import Alert
from schemas.topics import ALERTS
from tests.compose.receiver import SECRET
from tests.roles import Starting, spawn

Publish = Callable[[Sequence[Alert]], Coroutine[object, object, None]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def firing(number: int = 1, *, starts_at_ms: int | None = None, **more: object) -> Alert:
    """An alert that begins; the number is what it is about."""
    at_ms = now_ms() if starts_at_ms is None else starts_at_ms
    fields = {
        "fingerprint": f"{number:016x}",
        "rule": "budget_90",
        "severity": "critical",
        "subject": f"agreement-{number}",
        "state": "firing",
        "value": 0.93,
        "threshold": 0.9,
        "summary": f"agreement-{number} has used 93.0% of its cap",
        "summary_fr": f"agreement-{number} a utilisé 93,0 % de son plafond",
        "agreement": f"agreement-{number}",
        "at_stake_nano_per_hour": 1_234_500_000_000,
        "currency": "CAD",
        "evidence": ["spent 930,000.00 CAD"],
        "ts_ms": at_ms,
        "starts_at_ms": at_ms,
    }
    return Alert.model_validate(fields | more)


def resolved(alert: Alert) -> Alert:
    """The end of an alert."""
    at_ms = max(now_ms(), alert.starts_at_ms + 1)
    return alert.model_copy(update={"state": "resolved", "ts_ms": at_ms, "ends_at_ms": at_ms})


@contextlib.asynccontextmanager
async def topic(kafka: str) -> AsyncIterator[Publish]:
    """Publishes changes, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=servers(kafka), acks="all")
    await producer.start()

    async def publish(alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            await producer.send_and_wait(ALERTS, alert.model_dump_json().encode(), key=alert.fingerprint.encode())

    try:
        yield publish
    finally:
        await producer.stop()


@contextlib.contextmanager
def notifier(config: Path, kafka: str, folder: Path) -> Iterator[Starting]:
    """`commonwatt notify` as a process; what is left of it at the end of the block is killed."""
    arguments = ("--config", str(config), "--kafka", kafka, "--state", str(folder / "state"))
    role = spawn("compose", "notify", *arguments, log=folder / "notify.log", environment={"HOOK_SECRET": SECRET})
    try:
        yield role
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(role.process.pid, signal.SIGKILL)
        role.process.wait()
