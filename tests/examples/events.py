"""What happens in the example, and when: a month of the demonstration, settled and closed by a clock that walks through
it, then late data and a corrected price, which the next month has to bear.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from clickhouse_connect.driver.client import Client

from compose.finance import rerate
from compose.finance.settle import settle
from compose.reference import history
from compose.reference.apply import overlay
from schemas.config import Config
from schemas.config_file import load
from schemas.topics import TELEMETRY_GPU
from streams.book import Book
from tests.examples.sessions import MINUTES, Demonstration, Message, Tally, metered
from tests.roles import ROOT

GPUS = 48
DEMO = ROOT / "compose" / "demo.toml"
CORRECTION = Path(__file__).with_name("correction.toml")
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)

RECORDED = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
"""Prices and agreements."""
SESSIONS = [datetime(2026, 10, 5, 14, 0, tzinfo=UTC) + number * timedelta(days=10) for number in range(4)]
"""Starts of the demonstration, the last one in November."""
LATE_SESSION, LATE_CLUSTER, LATE_MINUTES = SESSIONS[1], "us-broker", 3
"""The last messages of one collector in one session stay in its spool…"""
LATE_ARRIVES = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)
"""… until then, when October is closed."""
CLOSES = datetime(2026, 11, 6, 1, 5, tzinfo=UTC)
CORRECTED = datetime(2026, 11, 12, 9, 30, tzinfo=UTC)
REASON = "contract of us-broker: 4.10 USD per GPU-hour, not 4.25"
UNTIL = datetime(2026, 11, 12, 12, 0, tzinfo=UTC)
"""The example is what was believed then."""

_PASSES = (timedelta(hours=1, minutes=5), timedelta(hours=8, minutes=5))
"""After the start of a session: its hour is priced, its hour is final."""


def live(client: Client) -> Demonstration:
    """Fill a book that is empty. Takes half a minute."""
    book = Book(client)
    config = load(DEMO)
    demonstration = Demonstration(config, GPUS)
    history.record(client, config, source=DEMO.name, at=RECORDED)
    tally = Tally(demonstration.config)
    late: list[Message] = []
    for begin in SESSIONS:
        messages = demonstration.session(begin)
        if begin == LATE_SESSION:
            late = messages
            messages = [message for message in messages if not _is_late(message)]
        _store(book, demonstration.config, tally, messages)
        for after in _PASSES:
            _settle(client, begin + after)
    _settle(client, CLOSES)
    _store(book, demonstration.config, tally, late)
    _settle(client, LATE_ARRIVES)
    history.record(client, overlay(config, [CORRECTION]), source=CORRECTION.name, origin="applied", at=CORRECTED)
    rerate.rerate(
        client, datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), REASON, lambda: CORRECTED
    )
    return demonstration


def _settle(client: Client, now: datetime) -> None:
    settle(client, lambda: now, look_back=None)


def _store(book: Book, config: Config, tally: Tally, messages: list[Message]) -> None:
    ledgers = metered(config, messages)
    book.insert("gpu_usage_store", ledgers.gpu)
    book.insert("token_usage_store", ledgers.tokens)
    for table, rows in tally.conclude(ledgers.totals).items():
        book.insert(table, rows)


def _is_late(message: Message) -> bool:
    late = message.cluster == LATE_CLUSTER and message.topic == TELEMETRY_GPU
    return late and message.minute > MINUTES - LATE_MINUTES
