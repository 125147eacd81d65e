"""kill -9 of whoever prices hours, at each insert it makes: nothing is missing from the charges, nothing twice."""

from datetime import UTC, datetime
from pathlib import Path

from compose.finance import rerate
from compose.reference.history import record
from tests.conftest import ClickHouse
from tests.faults import gate
from tests.finance.books import HOUR, config, use
from tests.roles import spawn

HOURS = 9

# Table whose insert is interrupted, and whether ClickHouse had stored it when the process died.
MOMENTS = (
    ("charges", True),  # entries stored, that the hours are settled is not
    ("charges", False),
    ("settlements", False),
)


def test_the_charges_are_those_of_an_undisturbed_run(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """Three die while they settle the hours of a night, a fourth finishes."""
    client = clickhouse.client
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - (HOURS + 1) * HOUR
    record(client, config(), source="test")
    for hour in range(HOURS):
        use(client, start + hour * HOUR, "acme" if hour % 3 else "lab")
    with gate.before(clickhouse.url) as passage:
        for table, stored in MOMENTS:
            settling = spawn("compose", "settle", "--clickhouse", passage.url, log=tmp_path / "settle.log")
            passage.trap(table, settling.process.kill, stored=stored)
            settling.process.wait()
            client.command("TRUNCATE TABLE settlement_leases")  # as if half a minute had passed
        settling = spawn("compose", "settle", "--clickhouse", passage.url, log=tmp_path / "settle.log")
        assert settling.process.wait() == 0, settling.log.read_text()
    ((settled, entries, lines),) = client.query(
        "SELECT (SELECT uniqExact(period_start) FROM settlements), count(), uniqExact(period_start, agreement) "
        "FROM charges"
    ).result_rows
    assert (settled, entries, lines) == (HOURS, HOURS, HOURS)
    again = rerate.what_if(client, start, start + HOURS * HOUR, lambda known: known)
    assert [part.differences for part in again if part.differences] == []
