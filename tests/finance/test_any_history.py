"""Protects the journal over any history: what was believed stays what was believed, and what stands follows from the
ledger, whatever came late, was corrected, or closed in between."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compose.finance import rerate
from compose.finance.settle import settle
from compose.reference.history import record
from schemas.config import Config
from tests.conftest import ClickHouse, empty
from tests.finance.books import HOUR, MONTH, config, paid, use

HOURS = 5
Sums = dict[str, tuple[Decimal, Decimal, Decimal]]

_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("use"), st.integers(0, HOURS - 1), st.sampled_from(["acme", "lab", ""]), st.integers(1, 20),
        ),
        st.tuples(st.just("settle"), st.sampled_from([1, 30, 24 * 40])),
        st.tuples(st.just("price"), st.sampled_from(["1.80", "3.60", "9.99"])),
        st.tuples(st.just("rerate"), st.integers(0, HOURS - 1)),
    ),
    min_size=4, max_size=12,
)  # fmt: skip


@dataclass
class History:
    """A book, its clock, and what it answered."""

    client: Client
    now: datetime = MONTH + timedelta(hours=HOURS)
    devices: int = 0
    believed: dict[datetime, Sums] = field(default_factory=dict)

    def do(self, operation: tuple[object, ...]) -> None:
        match operation:
            case ("use", int(hour), str(agreement), int(minutes)):
                use(self.client, MONTH + hour * HOUR, agreement, minutes=range(minutes), device=f"GPU-{self.devices}")
                self.devices += 1
            case ("settle", int(hours)):
                self.now += timedelta(hours=hours)
                settle(self.client, lambda: self.now, look_back=None)
            case ("price", str(per_gpu_hour)):
                tables = config().model_dump()
                tables["price"][0]["per_gpu_hour"] = per_gpu_hour
                record(self.client, Config.model_validate(tables), source="test")
            case ("rerate", int(hour)):
                rerate.rerate(self.client, MONTH + hour * HOUR, MONTH + HOURS * HOUR, "corrected", lambda: self.now)
        self.now += timedelta(seconds=10)
        self.believed[self.now] = paid(self.client)
        self.now += timedelta(seconds=10)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_OPERATIONS)
def test_any_history(clickhouse: ClickHouse, operations: list[tuple[object, ...]]) -> None:
    """Every answer of every moment can be given again; charged + subsidised + idle + unattributed = cost; the cap
    holds; and pricing everything again with what each hour was priced with changes nothing."""
    client = clickhouse.client
    empty(client)
    record(client, config(), source="test")
    history = History(client)
    for operation in (("use", 0, "acme", 10), *operations, ("settle", 24 * 50)):
        history.do(operation)
    for moment, sums in history.believed.items():
        assert paid(client, f"recorded_at <= toDateTime64('{moment:%Y-%m-%d %H:%M:%S}', 3, 'UTC')") == sums
    ((cost, subsidised, charged, rest),) = client.query(
        "SELECT sum(cost), sum(subsidy), sum(charge), sumIf(cost, category != 'charged') FROM charges"
    ).result_rows
    assert cost == subsidised + charged + rest
    assert paid(client).get("acme", (0, 0, 0))[1] <= 1
    ((used, priced),) = client.query(
        "SELECT (SELECT sum(gpu_seconds) FROM gpu_usage), sum(gpu_seconds) FROM charges"
    ).result_rows
    assert used == priced
    again = rerate.what_if(client, MONTH, MONTH + HOURS * HOUR, lambda known: known)
    assert [part.differences for part in again if part.differences] == []
