"""Protects whoever relies on being called: what an audit finds again and again is told, once, until it is mended."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from aiokafka import AIOKafkaConsumer
from clickhouse_connect.driver.client import Client
from prometheus_client.parser import text_string_to_metric_families

from compose.broker import servers
from compose.check_role import Auditor, Reporter
from compose.reference import tables
from schemas.audits import AuditState
from schemas.topics import AUDITS
from tests.compose.ledger import MINUTES, START, Ledger, config, sound
from tests.faults.traffic import CONFIG
from tests.faults.work import until
from tests.roles import spawn

SLICES = "slices add up to the device"
END = START + timedelta(minutes=MINUTES)


def broken() -> Ledger:
    """A book in which GPU-1 has lost a nanosecond, in the first minute."""
    ledger = sound()
    ledger.gpu_usage_store[2]["gpu_seconds"] -= Decimal("0.000000001")
    return ledger


def mend(client: Client) -> None:
    """Give the nanosecond back."""
    given = "gpu_seconds + toDecimal64('0.000000001', 9)"
    row = f"device = 'GPU-1' AND slice = 'unallocated' AND ts_start = toDateTime({START.timestamp():.0f})"
    update = f"ALTER TABLE gpu_usage_store UPDATE gpu_seconds = {given} WHERE {row}"
    client.command(update, settings={"mutations_sync": 1})


class Meanwhile(logging.Handler):
    """Does something while an auditor waits before it looks again."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self.waits = 0
        self._action = action

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("looking again"):
            self.waits += 1
            self._action()


@pytest.fixture
def auditor(clickhouse: Any) -> Auditor:
    """Over a broken book, with a window that the fault has left; its clock stands still."""
    tables.store(clickhouse.client, config())
    broken().insert(clickhouse.client)
    window = timedelta(minutes=3)
    return Auditor(clickhouse.client, config(), window.seconds, again_s=0, clock=lambda: END)


def faults(auditor: Auditor) -> dict[str, int]:
    """Audits that failed in one more pass."""
    return {result.name: result.faults for result in auditor.look() if not result.passed}


def test_a_fault_is_told_until_it_is_mended(auditor: Auditor, clickhouse: Any) -> None:
    """Also when it has become older than the window; passes over the window leave out what adds up all of history."""
    found = faults(auditor)
    assert found[SLICES] == 1
    assert faults(auditor) == faults(auditor) == found
    mend(clickhouse.client)
    assert faults(auditor) == {}
    names = {result.name: result.examined for result in auditor.look()}
    assert names[SLICES] == 3 * 3
    assert "burn equals the unit costs" not in names


def test_what_was_half_written_is_not_told(auditor: Auditor, clickhouse: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What is right when an audit looks again at the same minutes is no fault."""
    caplog.set_level(logging.INFO, "compose.check_role")
    meanwhile = Meanwhile(lambda: mend(clickhouse.client))
    logger = logging.getLogger("compose.check_role")
    logger.addHandler(meanwhile)
    try:
        assert faults(auditor) == {}
    finally:
        logger.removeHandler(meanwhile)
    assert meanwhile.waits == 1


def test_everything_is_looked_at_once_an_hour(clickhouse: Any) -> None:
    """What is smuggled into the past while the auditor runs is found within the hour."""
    tables.store(clickhouse.client, config())
    sound().insert(clickhouse.client)
    times = [END, END + timedelta(minutes=59), END + timedelta(minutes=60)]
    auditor = Auditor(clickhouse.client, config(), 60, again_s=0, clock=lambda: times.pop(0))
    assert faults(auditor) == {}
    clickhouse.client.command("TRUNCATE TABLE gpu_usage_store")
    broken().insert(clickhouse.client)
    assert SLICES not in faults(auditor)
    assert faults(auditor)[SLICES] == 1


async def test_a_state_is_published_when_it_changes(auditor: Auditor, clickhouse: Any, broker: str) -> None:
    """Every audit at first, then what changed; what did not, now and then."""
    reporter = Reporter(broker)
    first = auditor.look()
    assert await reporter.report(first) == len(first)
    assert await reporter.report(first) == 0
    mend(clickhouse.client)
    mended = auditor.look()
    assert await reporter.report(mended) == sum(not result.passed for result in first)
    reporter = Reporter(broker, repeated_s=0)
    await reporter.report(mended)
    assert await reporter.report(mended) == len(mended)
    states = [state for state in await published(broker, len(first) + 1) if state.name == SLICES]
    assert [state.faults for state in states[:2]] == [1, 0]
    assert re.search(r"cluster=fir  device=GPU-1  ts_start=.*  difference_ns=-1$", states[0].rows[0])
    assert states[1].rows == []


async def published(kafka: str, least: int) -> list[AuditState]:
    """The first states on the topic, at least so many."""
    consumer = AIOKafkaConsumer(AUDITS, bootstrap_servers=servers(kafka), auto_offset_reset="earliest")
    await consumer.start()
    found: list[AuditState] = []
    try:
        async with asyncio.timeout(20):
            while len(found) < least:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        found.append(AuditState.model_validate_json(record.value))
                        assert record.key == found[-1].name.encode()
    finally:
        await consumer.stop()
    return found


async def test_a_failed_audit_is_an_alert(clickhouse: Any, broker: str, tmp_path: Path) -> None:
    """From a row in the book over the role, its metrics and the topic to the worker's rule."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    broken().insert(clickhouse.client)
    common = ("--config", str(file), "--kafka", broker, "--clickhouse", clickhouse.url)
    every = ("--every", "1s", "--window", "4h", "--metrics", "0")
    roles = [
        spawn("compose", "worker", *common, log=tmp_path / "worker.log"),
        spawn("compose", "check", *common, *every, log=tmp_path / "check.log"),
    ]
    try:
        await until(lambda: SLICES in fired(clickhouse.client))
        summary = fired(clickhouse.client)[SLICES]
        assert summary.startswith(f"the audit “{SLICES}” finds 1 at fault. In every minute the slices of a device")
        assert "device=GPU-1" in summary
        told = await asyncio.to_thread(metrics, tmp_path / "check.log")
        assert told["commonwatt_check_faults", SLICES] == 1
        assert told["commonwatt_check_examined", SLICES] == 3 * MINUTES
        assert 0 < told["commonwatt_check_seconds", SLICES] < 60
        assert told["commonwatt_tally_difference", "fir", "prompt_tokens"] == 0
        assert abs(told["commonwatt_check_last_success_timestamp_seconds",] - time.time()) < 60
        roles[1].process.terminate()
        assert roles[1].process.wait(20) == 0
    finally:
        for role in roles:
            role.process.kill()
            role.process.wait()


def metrics(log: Path) -> dict[tuple[str, ...], float]:
    """What a role shows: name and labels -> value."""
    address = re.search(r"metrics on (\S+)", log.read_text())
    assert address is not None
    with urlopen(address[1]) as page:
        families = text_string_to_metric_families(page.read().decode())
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def fired(client: Client) -> dict[str, str]:
    """Subject and summary of the alerts of failed audits."""
    query = "SELECT subject, summary FROM alerts WHERE rule = 'check_failed' AND severity = 'critical'"
    return {str(subject): str(summary) for subject, summary in client.query(query).result_rows}
