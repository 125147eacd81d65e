"""Protects the roll-ups: whatever was settled when, long ranges say what charges and minutes say, to the nano-unit."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compose.finance import rerate
from compose.finance.lease import Busy, held
from compose.finance.settle import settle
from compose.finance.settle_role import Settler, in_words
from compose.reference.history import record
from compose.rollup import roll_up
from schemas.config import Config
from tests.conftest import ClickHouse, empty
from tests.finance.books import HOUR, MONTH, config, use

Row = tuple[Any, ...]
START = MONTH + timedelta(hours=21)
"""So that the hours lie on two days."""
HOURS = 6
SUMS = "sum(gpu_seconds), sum(busy_seconds), sum(energy_j), sum(cost), sum(subsidy), sum(charge)"
STORES = ("costs_hourly_store", "costs_daily_store", "gpu_usage_hourly_store", "fleet_hourly_store")


def at(moment: datetime) -> Callable[[], datetime]:
    """A clock that stands."""
    return lambda: moment


def rows(client: Client, query: str) -> list[Row]:
    return [tuple(row) for row in client.query(query).result_rows]


def conclude(client: Client) -> None:
    """The running tally: what a worker makes of every minute of the ledger; agreements are paid two thirds."""
    client.command(
        """
        INSERT INTO unit_costs_store
        SELECT minute, cluster, '' AS model, agreement, if(agreement = '', '', 'fund'), count(), sum(u.gpu_seconds),
            sum(u.busy_seconds), sum(u.energy_j), sum(u.cost), sum(u.cost) / 2, 0, 0, 0,
            if(agreement = '', 0, sum(u.cost) * 2 / 3) AS subsidy, if(agreement = '', 0, sum(u.cost) - subsidy), 'CAD'
        FROM gpu_usage AS u GROUP BY minute, cluster, agreement
        """
    )


def wanted(client: Client) -> Row:
    """Charges of the settled hours, and the minutes after them."""
    ((until,),) = rows(
        client,
        "SELECT max(toUnixTimestamp(period_start)) + 3600 FROM settlements "
        "WHERE period_start + INTERVAL 1 HOUR <= recorded_at",
    )
    (settled,) = rows(client, f"SELECT {SUMS} FROM charges WHERE period_start < toDateTime({until})")
    (later,) = rows(client, f"SELECT {SUMS} FROM unit_costs WHERE minute >= toDateTime({until})")
    return tuple(a + b for a, b in zip(settled, later, strict=True))


def sums(client: Client, relation: str) -> Row:
    (found,) = rows(client, f"SELECT {SUMS} FROM {relation}")
    return found


def stored(client: Client) -> list[list[Row]]:
    """Every row of every roll-up that is read."""
    return [rows(client, f"SELECT * FROM {store} FINAL ORDER BY ALL") for store in STORES]


@pytest.fixture
def book(clickhouse: ClickHouse) -> Client:
    """Reference data, and some hours over midnight: one device of `acme`, and one that is idle for a while."""
    record(clickhouse.client, config(), source="test")
    for number in range(HOURS):
        use(clickhouse.client, START + number * HOUR, "acme")
        use(clickhouse.client, START + number * HOUR, "", device="GPU-1", minutes=range(5))
    conclude(clickhouse.client)
    return clickhouse.client


# ---- any history -----------------------------------------------------------------------------------------------------

_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("use"), st.integers(0, HOURS - 1), st.sampled_from(["acme", "lab", ""]), st.integers(1, 20),
        ),
        st.tuples(st.just("settle"), st.sampled_from([1, 3, 30]), st.booleans()),
        st.tuples(st.just("price"), st.sampled_from(["1.80", "3.60", "9.99"])),
        st.tuples(st.just("rerate"), st.integers(0, HOURS - 1)),
    ),
    min_size=3, max_size=10,
)  # fmt: skip


@dataclass
class History:
    """A book and its clock."""

    client: Client
    now: datetime = START + HOUR + timedelta(minutes=30)
    devices: int = 0

    def do(self, operation: tuple[object, ...]) -> None:
        match operation:
            case ("use", int(hour), str(agreement), int(minutes)):
                use(self.client, START + hour * HOUR, agreement, minutes=range(minutes), device=f"GPU-{self.devices}")
                self.devices += 1
                conclude(self.client)
            case ("settle", int(hours), bool(running)):
                self.now += hours * HOUR
                settle(self.client, at(self.now), look_back=None, running=running)
            case ("price", str(per_gpu_hour)):
                tables = config().model_dump()
                tables["price"][0]["per_gpu_hour"] = per_gpu_hour
                record(self.client, Config.model_validate(tables), source="test")
            case ("rerate", int(hour)):
                rerate.rerate(self.client, START + hour * HOUR, START + HOURS * HOUR, "corrected", at(self.now))
        self.now += timedelta(seconds=10)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_OPERATIONS)
def test_any_history(clickhouse: ClickHouse, operations: list[tuple[object, ...]]) -> None:
    """At any time hours and days add up to the charges of the settled hours and the minutes after them; each line of
    an hour is that of its charges; and rolling up once more finds nothing to do."""
    client = clickhouse.client
    empty(client)
    record(client, config(), source="test")
    history = History(client)
    for operation in (("use", 0, "acme", 10), ("settle", 1, False), *operations, ("settle", 30, False)):
        history.do(operation)
        roll_up(client)
        want = wanted(client)
        assert sums(client, "costs_hourly") == want, operation
        assert sums(client, "costs_daily") == want, operation
        assert roll_up(client) == 0
    key = "period_start, cluster, model, agreement, programme, category, currency"
    assert rows(client, f"SELECT {key}, {SUMS} FROM costs_hourly WHERE settled GROUP BY {key} ORDER BY ALL") == rows(
        client, f"SELECT {key}, {SUMS} FROM charges GROUP BY {key} HAVING sum(gpu_seconds) != 0 ORDER BY ALL"
    )
    parts = "energy_cost + operation_cost + capital_cost + contract_cost"
    assert rows(client, f"SELECT countIf({parts} != cost) FROM costs_hourly WHERE settled") == [(0,)]
    devices = "cluster, device, slice, workload, agreement, currency"
    measured = "sum(gpu_seconds), sum(energy_j), sum(busy_seconds), sum(cost)"
    by = "GROUP BY ALL ORDER BY ALL"
    ledger = rows(client, f"SELECT toStartOfHour(minute) AS h, {devices}, {measured} FROM gpu_usage {by}")
    assert rows(client, f"SELECT period_start, {devices}, {measured} FROM gpu_usage_hourly {by}") == ledger
    ((held, cost),) = rows(client, "SELECT sum(held_seconds), sum(cost) FROM fleet_hourly")
    assert (held, cost) == (sum(row[7] for row in ledger if row[4]), sum(row[10] for row in ledger))


# ---- what becomes of one hour ----------------------------------------------------------------------------------------


def test_a_line_that_moves_leaves_nothing_behind(book: Client) -> None:
    """Priced again under another programme an hour has other lines; the old ones are gone, from the day as well."""
    settle(book, at(START + 12 * HOUR))
    roll_up(book)
    tables = config().model_dump()
    tables["programme"].append({**tables["programme"][0], "id": "other", "currency": "USD"})
    tables["agreement"][0]["programme"] = "other"
    tables["fx_rate"] = [{"base": "CAD", "quote": "USD", "rate": "0.75", "effective_from": "2020-01-01"}]
    record(book, Config.model_validate(tables), source="test")
    rerate.rerate(book, START, START + HOURS * HOUR, "moved", at(START + 13 * HOUR))
    roll_up(book)
    for relation in ("costs_hourly", "costs_daily"):
        found = rows(book, f"SELECT DISTINCT programme, currency FROM {relation} WHERE agreement = 'acme'")
        assert found == [("other", "USD")]


def test_a_device_that_leaves_the_ledger_leaves_the_roll_up(book: Client) -> None:
    """Rows of the ledger can be written anew under another workload; the hour then has no trace of the old one."""
    settle(book, at(START + 12 * HOUR))
    roll_up(book)
    book.command("ALTER TABLE gpu_usage_store DELETE WHERE device = 'GPU-1' SETTINGS mutations_sync = 2")
    settle(book, at(START + 13 * HOUR), look_back=None)
    roll_up(book)
    assert rows(book, "SELECT DISTINCT device FROM gpu_usage_hourly") == [("GPU-0",)]
    assert rows(book, "SELECT DISTINCT devices FROM fleet_hourly") == [(1,)]


def test_the_running_hour_stays_with_its_minutes(book: Client) -> None:
    """Priced before it has ended, an hour is not rolled up: what it uses later is not in its charges yet."""
    now = START + 2 * HOUR + timedelta(minutes=5)
    settle(book, at(now), running=True)
    assert roll_up(book) == 2
    assert rows(book, "SELECT toHour(max(period_start)) FROM costs_hourly WHERE settled") == [(22,)]
    assert sums(book, "costs_hourly") == sums(book, "costs_daily") == wanted(book)


def test_an_hour_that_was_priced_while_it_ran_and_then_stood_still(book: Client) -> None:
    """Nothing was used in it after that, so it is not priced again; once a later hour is settled it counts."""
    settle(book, at(START + timedelta(minutes=20)), running=True)
    assert roll_up(book) == 0
    settle(book, at(START + 3 * HOUR))
    assert rows(book, "SELECT revision FROM settlements ORDER BY period_start LIMIT 1") == [(1,)]
    assert roll_up(book) == 2
    assert sums(book, "costs_hourly") == sums(book, "costs_daily") == wanted(book)


def test_what_a_cost_is_made_of(clickhouse: ClickHouse) -> None:
    """Electricity by the tariff of its hour and the PUE of its cluster, operation by device time, the purchase as the
    rest, each in the currency of the agreement; another cluster is rented."""
    client = clickhouse.client
    owned = {
        "id": "owned", "cluster": "fir", "basis": "owned", "currency": "USD", "capex": "52596", "lifetime_years": 5,
        "opex_per_gpu_hour": "0.60", "energy_per_kwh": "0.10", "effective_from": date(2020, 1, 1),
        "tariff": [{"id": "night", "starts": "22:00", "ends": "23:00", "energy_per_kwh": "0.05"}],
    }  # fmt: skip
    changes = {
        "cluster": [{"id": "fir", "country": "CA", "pue": "1.2"}], "price": [owned],
        "fx_rate": [{"base": "USD", "quote": "CAD", "rate": "1.5", "effective_from": "2020-01-01"}],
    }  # fmt: skip
    record(client, config(**changes), source="test")
    for number in (0, 1):
        use(client, START + number * HOUR, "lab", minutes=range(60))
    settle(client, at(START + 12 * HOUR))
    roll_up(client)
    found = rows(
        client,
        "SELECT toHour(period_start), energy_cost, operation_cost, capital_cost, contract_cost, cost, usage_cost "
        "FROM costs_hourly ORDER BY 1",
    )
    # 0.3 kWh x PUE 1.2 at 0.10 or 0.05, 0.60 and 1.20 an hour, in USD; CAD 1.50 each; busy half of the time
    assert found == [
        (21, *map(Decimal, ("0.054", "0.9", "1.8", "0", "2.754", "1.377"))),
        (22, *map(Decimal, ("0.027", "0.9", "1.8", "0", "2.727", "1.3635"))),
    ]


def test_idle_devices_that_are_held(clickhouse: ClickHouse) -> None:
    """Held for the hour and less than 2 % busy: by whom it is known; what nobody holds is not among them."""
    client = clickhouse.client
    record(client, config(), source="test")
    use(client, START, "acme", minutes=range(60))
    use(client, START, "lab", minutes=range(60), device="GPU-1")
    use(client, START, "", minutes=range(30), device="GPU-2")
    client.command(
        "INSERT INTO gpu_usage_store SELECT * REPLACE (0 AS busy_seconds) FROM gpu_usage_store "
        "WHERE device IN ('GPU-1', 'GPU-2')"
    )
    query = "SELECT devices, gpu_seconds, held_seconds, idle_held_seconds, idle_held_cost, cost FROM fleet_hourly"
    want = [(3, 9000, 7200, 3600, Decimal("3.6"), Decimal("9"))]
    assert rows(client, query) == [], "while the hour runs"
    settle(client, at(START + 2 * HOUR))
    roll_up(client)
    assert rows(client, query) == want


# ---- interruption ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends at a statement."""


def _killed_at(client: Client, monkeypatch: pytest.MonkeyPatch, statement: int, *, after: bool) -> bool:
    """Roll up, and end before or after that statement. False when there were not as many."""
    command, count = client.command, 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == statement and not after:
            raise Killed
        result = command(*arguments, **named)
        if count == statement:
            raise Killed
        return result

    with monkeypatch.context() as patched:
        patched.setattr(client, "command", counted)
        try:
            roll_up(client)
        except Killed:
            return True
    return False


def test_killed_at_any_statement(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done again it comes out the same, row for row, and until it is done nothing is counted twice."""
    client = clickhouse.client
    record(client, config(), source="test")
    for number in range(HOURS):
        use(client, START + number * HOUR, "acme")
    conclude(client)
    settle(client, at(START + 12 * HOUR))
    before = sums(client, "unit_costs")
    roll_up(client)
    undisturbed, rolled_up = stored(client), sums(client, "costs_hourly")
    assert before != rolled_up, "the cap makes the difference"
    statement = 0
    killed = True
    while killed:
        statement += 1
        for table in (*STORES, "rollups"):
            client.command(f"TRUNCATE TABLE {table}")
        killed = _killed_at(client, monkeypatch, statement, after=True)
        ((done,),) = rows(client, "SELECT count() FROM rollups")
        assert sums(client, "costs_hourly") == sums(client, "costs_daily") == (rolled_up if done else before)
        roll_up(client)
        assert stored(client) == undisturbed
    assert statement == 8, "one for the costs, two for each day, one for the days, one that says so: each was cut off"


def test_somebody_else_is_settling(book: Client) -> None:
    """Roll-ups are written by whoever holds the lease, and by nobody else."""
    settle(book, at(START + 12 * HOUR))
    with held(book) as lease:
        lease.give_back()
        with pytest.raises(Busy):
            roll_up(book, lease)
    assert rows(book, "SELECT count() FROM rollups") == [(0,)]


def test_every_pass_rolls_up(book: Client) -> None:
    """`settle --every` settles and rolls up in one pass, and says so."""
    outcome = Settler(book, at(START + 12 * HOUR)).look()
    assert outcome.rolled_up == HOURS
    assert f"hours rolled up: {HOURS}" in in_words(outcome)
