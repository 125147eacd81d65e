"""`commonwatt alerts`: what is open, and what changes."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from clickhouse_connect.driver.client import Client
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from compose import datadir
from compose.access import NoAnswer
from compose.broker import servers
from compose.quiet import quiet
from schemas.config import Config
from schemas.economics import Alert
from schemas.topics import ALERTS
from streams.book import Book

_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


def show_open(client: Client, console: Console) -> None:
    """Print the alerts that are firing."""
    found = Book(client).open_alerts()
    if not found:
        console.print("no open alerts")
    for alert in sorted(found, key=lambda alert: alert.starts_at_ms):
        console.print(line(alert), soft_wrap=True)


def line(alert: Alert) -> Text:
    """One alert in one line: when, how bad, firing or resolved, what."""
    moment = datetime.fromtimestamp((alert.ends_at_ms or alert.starts_at_ms) / 1000, UTC)
    text = Text(f"{moment:%Y-%m-%d %H:%M:%S}Z  ")
    text.append(f"{alert.severity:<8}  ", style=_STYLE.get(alert.severity, ""))
    text.append(f"{alert.state:<8}  ", style="green" if alert.state == "resolved" else "")
    return text.append(f"{alert.rule}: {alert.summary}")


def kafka_of(data: Path | None, config: Config | None) -> str:
    """Where the stream of alerts is. Raises NoAnswer when nothing runs."""
    if config is not None and config.kafka is not None:
        return config.kafka.url
    running = datadir.addresses(data) or {}
    if "kafka" not in running:
        raise NoAnswer("nothing runs that could be followed: start `commonwatt up` or `demo`, or name --kafka URL.")
    return running["kafka"]


async def follow(kafka: str, console: Console, stop: asyncio.Event) -> None:
    """Print every change of an alert from now on, until `stop`."""
    consumer = AIOKafkaConsumer(ALERTS, bootstrap_servers=servers(kafka), auto_offset_reset="latest")
    try:
        with quiet("aiokafka"):
            await consumer.start()
    except KafkaConnectionError:
        await consumer.stop()
        raise NoAnswer(f"The Kafka at {kafka} cannot be reached: start it, or correct the URL.") from None
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            receiving = asyncio.ensure_future(consumer.getone())
            await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                receiving.cancel()
                break
            try:
                console.print(line(Alert.model_validate_json(receiving.result().value)), soft_wrap=True)
            except ValidationError:
                console.print("an alert that this version cannot read", style="dim")
    finally:
        stopping.cancel()
        await consumer.stop()
