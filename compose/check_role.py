"""`commonwatt check --every`: the audits again and again. Their state goes to the topic `audits` and to Prometheus.

Each pass looks at the last hours, the first one and one an hour at everything, both bounded by what they read. An
audit counts as failed when it finds something twice in a row over the same minutes, so that nobody is called for what
was only half written at that moment. From then on it is repeated over the same period until it passes, also when that
has become long ago.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from prometheus_client import Gauge

from compose.audit import CheckResult, Scope
from compose.audit_money import ROWS
from compose.audit_scope import BEGINNING, reaching_back, scope_of
from compose.broker import servers
from compose.check import Check, checks, failed, in_words, run
from compose.quiet import quiet
from compose.reference import history
from schemas.audits import AuditState
from schemas.config import Config
from schemas.topics import AUDITS
from streams.context import now_ms

log = logging.getLogger(__name__)

EVERYTHING_S = 3600.0
AGAIN_S = 30.0
"""After which an audit that found something looks again; sooner where passes are more frequent."""
REPEATED_S = 180.0
"""A state that does not change is published this often."""
LEDGER_ROWS = 2_000_000
"""Rows of the ledger that a pass looks at, at most; a pass over everything: EVERYTHING_ROWS."""
EVERYTHING_ROWS = 10_000_000
EXACT_ROWS = 20_000
"""Rows that a pass over the last hours recomputes with exact fractions."""
TOLD_ROWS = 5
"""Rows at fault that a message tells of."""

FAULTS = Gauge("commonwatt_check_faults", "What an audit found at fault, twice in a row; 0: it passes.", ["check"])
EXAMINED = Gauge("commonwatt_check_examined", "How much an audit last examined, in its own unit.", ["check"])
SECONDS = Gauge("commonwatt_check_seconds", "How long an audit last took.", ["check"])
LAST_SUCCESS = Gauge(
    "commonwatt_check_last_success_timestamp_seconds", "When a pass over the audits last came to its end, unix time."
)
TALLY_DIFFERENCE = Gauge(
    "commonwatt_tally_difference",
    "Difference between the running tally and the book of a cluster over the settled minutes of the last pass.",
    ["cluster", "quantity"],
)


class Auditor:
    """Runs the audits, pass after pass."""

    def __init__(
        self, client: Client, config: Config | None, window_s: float, *,
        again_s: float = AGAIN_S, clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._client = client
        self._config = config
        self._window = timedelta(seconds=window_s)
        self._again_s = again_s
        self._clock = clock
        self._everything_at: datetime | None = None
        self._failing: dict[tuple[str, ...], Scope] = {}
        """Audits that failed, and what they looked at when they began to."""
        self._passes = 0

    def look(self, ended: threading.Event | None = None) -> list[CheckResult]:
        """One pass. Gives up between two audits, without a result, once `ended` is set."""
        ended = ended or threading.Event()
        now = self._clock()
        whole = self._everything_at is None or now - self._everything_at >= timedelta(seconds=EVERYTHING_S)
        wanted, rows = (BEGINNING, EVERYTHING_ROWS) if whole else (now - self._window, LEDGER_ROWS)
        since = reaching_back(self._client, wanted, rows)
        known = history.current(self._client, self._config)
        usual = self._scope(known, since, ROWS if whole else EXACT_ROWS, self._passes)
        first: list[tuple[Check, Scope, list[CheckResult]]] = []
        for check in checks(known):
            if ended.is_set():
                return []
            before = self._failing.get(check.names)
            if check.whole and not whole and before is None:
                continue
            scope = usual if before is None else self._scope(known, min(since, before.since), ROWS, before.turn)
            first.append((check, scope, run(check, self._client, scope)))
        results = self._look_again(first, ended)
        if not ended.is_set():
            self._passes += 1
            self._everything_at = now if whole else self._everything_at
        return results

    def _scope(self, config: Config | None, since: datetime, rows: int, turn: int) -> Scope:
        return scope_of(self._client, config, at_rest=False, since=since, rows=rows, turn=turn)

    def _look_again(
        self, first: Sequence[tuple[Check, Scope, list[CheckResult]]], ended: threading.Event
    ) -> list[CheckResult]:
        """What counts of a pass: of audits that found something, what they find after a while."""
        suspects = [check.names for check, _, results in first if failed(results)]
        if any(names not in self._failing for names in suspects):
            log.info(
                "looking again in %g s: %s", self._again_s, ", ".join(name for names in suspects for name in names)
            )
            ended.wait(self._again_s)
        counting = []
        for check, scope, results in first:
            if ended.is_set():
                return []
            if failed(results) and check.names not in self._failing:
                results = run(check, self._client, scope)
            if failed(results):
                self._failing.setdefault(check.names, scope)
            else:
                self._failing.pop(check.names, None)
            counting += results
        return counting


@dataclass(slots=True)
class _Told:
    faults: int
    rows: list[str]
    at_s: float
    """Monotonic."""


class Reporter:
    """Tells the topic `audits` what changed, and what was not told for a while."""

    def __init__(self, kafka: str, repeated_s: float = REPEATED_S) -> None:
        self._servers = servers(kafka)
        self._repeated_s = repeated_s
        self._told: dict[str, _Told] = {}

    async def report(self, results: Sequence[CheckResult]) -> int:
        """Publish; returns how many states. Raises KafkaError or OSError; then they are due again."""
        ts_ms, now_s = now_ms(), time.monotonic()
        due = []
        for result in results:
            rows = [in_words(row) for row in result.rows[:TOLD_ROWS]]
            told = self._told.get(result.name)
            news = told is None or (told.faults, told.rows) != (result.faults, rows)
            if news or told is None or now_s - told.at_s >= self._repeated_s:
                due.append(
                    AuditState(
                        name=result.name, protects=result.protects, severity=result.severity,
                        examined=result.examined, faults=result.faults, rows=rows, ts_ms=ts_ms,
                    )
                )  # fmt: skip
        if due:
            await self._send(due)
        for state in due:
            self._told[state.name] = _Told(state.faults, state.rows, now_s)
        return len(due)

    async def _send(self, states: Sequence[AuditState]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._servers, acks="all")
        try:
            with quiet("aiokafka"):
                await producer.start()
            sent = [await producer.send(AUDITS, s.model_dump_json().encode(), key=s.name.encode()) for s in states]
            await asyncio.gather(*sent)
        finally:
            with contextlib.suppress(KafkaError):
                await producer.stop()


async def watch(
    client: Client, config: Config | None, kafka: str, *, every_s: float, window_s: float, stop: asyncio.Event
) -> None:
    """Repeat the audits until `stop` is set. Without ClickHouse or Kafka the log says so, and the next pass tries."""
    client.set_client_setting("max_threads", 1)  # the others belong to those who write
    auditor, reporter = Auditor(client, config, window_s, again_s=min(AGAIN_S, every_s)), Reporter(kafka)
    ended = threading.Event()  # for the thread that looks
    stopping = asyncio.create_task(stop.wait())
    stopping.add_done_callback(lambda _: ended.set())
    while not stop.is_set():
        began = time.monotonic()
        try:
            results = await asyncio.to_thread(auditor.look, ended)
            if results:
                show(results)
                await reporter.report(results)
        except (ClickHouseError, KafkaError, OSError) as error:
            log.warning("this pass did not come to its end: %s", str(error).split("\n")[0])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(0.0, every_s - (time.monotonic() - began)))


def show(results: Sequence[CheckResult]) -> None:
    """A pass in the log and as metrics."""
    for result in results:
        FAULTS.labels(result.name).set(result.faults)
        EXAMINED.labels(result.name).set(result.examined)
        SECONDS.labels(result.name).set(result.seconds)
        for difference in result.differences:
            TALLY_DIFFERENCE.labels(difference.cluster, difference.quantity).set(float(difference.amount))
        if not result.passed:
            first = in_words(result.rows[0]) if result.rows else ""
            log.error("%s: %d at fault, the first: %s", result.name, result.faults, first)
    LAST_SUCCESS.set(time.time())
    seconds = sum(result.seconds for result in results)
    log.info("%d audits in %.1f s, %d failed", len(results), seconds, sum(not result.passed for result in results))
