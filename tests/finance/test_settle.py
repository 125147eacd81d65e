"""Protects how hours become charges: once, provisional and then final, revised with a reason, never edited."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from compose.finance import rerate
from compose.finance.effects import effects
from compose.finance.journal import Journal
from compose.finance.lease import Busy, held
from compose.finance.settle import LATE, settle
from compose.reference.history import NoReference, record
from tests.conftest import ClickHouse
from tests.finance.books import HOUR, MONTH, config, entries, paid, use

Row = tuple[Any, ...]
SUBSIDY_BY_HOUR = """
SELECT toHour(period_start), sum(subsidy) FROM charges GROUP BY ALL HAVING sum(subsidy) != 0 ORDER BY ALL
"""


def at(moment: datetime) -> Any:
    """A clock that stands."""
    return lambda: moment


def rows(clickhouse: ClickHouse, query: str) -> list[Row]:
    return [tuple(row) for row in clickhouse.client.query(query).result_rows]


def states(clickhouse: ClickHouse) -> list[Row]:
    return rows(
        clickhouse, "SELECT toHour(period_start), revision, status, reason, entries FROM settlements ORDER BY ALL"
    )


@pytest.fixture
def book(clickhouse: ClickHouse) -> ClickHouse:
    """Reference data, and an hour in which `acme` used ten minutes."""
    record(clickhouse.client, config(), source="test")
    use(clickhouse.client, MONTH, "acme")
    return clickhouse


def test_without_reference_data_nothing_is_priced(clickhouse: ClickHouse) -> None:
    """A mistake of the user's, told as one: there is nothing to price with."""
    with pytest.raises(NoReference, match="commonwatt reference apply"):
        settle(clickhouse.client, at(MONTH + 2 * HOUR))


def test_any_number_of_products_is_priced(clickhouse: ClickHouse) -> None:
    """A federation has hundreds of (cluster, product): their rates do not fit into the address of a request."""
    record(clickhouse.client, config(), source="test")
    for number in range(150):
        model = f"NVIDIA H100 80GB HBM3, edition number {number} of many, with a name"
        use(clickhouse.client, MONTH, "lab", minutes=range(1), device=f"GPU-{number}", gpu_model=model)
    settle(clickhouse.client, at(MONTH + HOUR + timedelta(minutes=3)))
    assert paid(clickhouse.client)["lab"][0] == 150 * Decimal("0.06")


def test_an_hour_is_priced_once_and_becomes_final(book: ClickHouse) -> None:
    """Not before it has ended; then provisional; after six hours final, without another entry."""
    client = book.client
    assert settle(client, at(MONTH + HOUR)).did_nothing
    assert settle(client, at(MONTH + HOUR + timedelta(minutes=3))).entries == 1
    assert paid(client) == {"acme": (Decimal("0.6"), Decimal("0.4"), Decimal("0.2"))}
    assert settle(client, at(MONTH + 2 * HOUR)).did_nothing
    assert settle(client, at(MONTH + 7 * HOUR)).finalised == 1
    assert settle(client, at(MONTH + 8 * HOUR)).did_nothing
    assert states(book) == [(0, 1, "provisional", "settled", 1), (0, 2, "final", "settled", 0)]
    assert entries(client) == 1


def test_the_running_hour_on_demand(book: ClickHouse) -> None:
    """As far as it has come, and later the rest."""
    client, now = book.client, MONTH + timedelta(minutes=10)
    assert settle(client, at(now), running=True).entries == 1
    use(client, MONTH, "acme", minutes=range(10, 15))
    settle(client, at(MONTH + 2 * HOUR))
    assert paid(client)["acme"][0] == Decimal("0.9")


def test_late_data_revise_a_final_hour_and_say_so(book: ClickHouse) -> None:
    """With the prices that the hour had, although others hold by now; what was believed before can still be read."""
    client = book.client
    settle(client, at(MONTH + 7 * HOUR))
    dearer = config().model_dump()
    dearer["price"][0]["per_gpu_hour"] = "7.20"
    record(client, type(config()).model_validate(dearer), source="test")
    use(client, MONTH, "lab", device="GPU-1")
    assert settle(client, at(MONTH + 9 * HOUR)).late == [MONTH]
    assert states(book)[-1] == (0, 2, "final", LATE, 1)
    assert paid(client)["lab"] == (Decimal("0.6"), Decimal("0.6"), Decimal(0))
    before = f"recorded_at <= toDateTime64('{MONTH + 8 * HOUR:%Y-%m-%d %H:%M:%S}', 3, 'UTC')"
    assert paid(client, before) == {"acme": (Decimal("0.6"), Decimal("0.4"), Decimal("0.2"))}


def test_late_data_move_the_moment_at_which_a_cap_is_reached(book: ClickHouse) -> None:
    """Cap 1: hours of 0.4 each fill it in the third. Late data in the first hour fill it earlier: the third hour is
    revised too, the fourth, beyond the cap before and after, is not, and never is more than the cap paid."""
    client = book.client
    for hour in range(1, 5):
        use(client, MONTH + hour * HOUR, "acme")
    settle(client, at(MONTH + 24 * HOUR))
    assert rows(book, SUBSIDY_BY_HOUR) == [(0, Decimal("0.4")), (1, Decimal("0.4")), (2, Decimal("0.2"))]
    use(client, MONTH, "acme", minutes=range(10, 18))
    settle(client, at(MONTH + 25 * HOUR))
    assert rows(book, SUBSIDY_BY_HOUR) == [(0, Decimal("0.72")), (1, Decimal("0.28"))]
    reasons = rows(
        book, "SELECT DISTINCT toHour(period_start), reason FROM charges WHERE kind = 'revision' ORDER BY ALL"
    )
    moved = "late data: moves the limit of acme"
    assert reasons == [(0, LATE), (1, moved), (2, moved)]


def test_a_cap_reached_later_pays_later_hours(book: ClickHouse) -> None:
    """The other way round: an hour becomes cheaper, the cap lasts longer, and hours that had gone without are paid."""
    client = book.client
    for hour in range(1, 4):
        use(client, MONTH + hour * HOUR, "acme")
    settle(client, at(MONTH + 24 * HOUR))
    cheaper = config().model_dump()
    cheaper["price"][0]["per_gpu_hour"] = "1.80"
    record(client, type(config()).model_validate(cheaper), source="test")
    parts = list(rerate.preview(client, MONTH, MONTH + HOUR, "half the price"))
    assert entries(client) == 4
    rerate.rerate(client, MONTH, MONTH + HOUR, "half the price", at(MONTH + 25 * HOUR))
    paid_by_hour = [(0, Decimal("0.2")), (1, Decimal("0.4")), (2, Decimal("0.4"))]
    assert rows(book, SUBSIDY_BY_HOUR) == paid_by_hour
    (effect,) = effects(parts)
    assert effect.hours == {round((MONTH + hour * HOUR).timestamp()) for hour in (0, 2)}
    assert effect.before == [1_200_000_000, 600_000_000, 600_000_000]
    assert effect.after == [900_000_000, 600_000_000, 300_000_000]


def test_later_hours_keep_their_own_cap(book: ClickHouse) -> None:
    """Two hours are priced again under a lower cap: the third, whose own is higher, is paid what is left of that."""
    client = book.client
    for hour in range(1, 3):
        use(client, MONTH + hour * HOUR, "acme")
    settle(client, at(MONTH + 24 * HOUR))
    assert rows(book, SUBSIDY_BY_HOUR) == [(0, Decimal("0.4")), (1, Decimal("0.4")), (2, Decimal("0.2"))]
    lower = config().model_dump()
    lower["agreement"][0]["cap"] = "0.5"
    record(client, type(config()).model_validate(lower), source="test")
    rerate.rerate(client, MONTH, MONTH + 2 * HOUR, "a lower cap", at(MONTH + 25 * HOUR))
    assert rows(book, SUBSIDY_BY_HOUR) == [(0, Decimal("0.4")), (1, Decimal("0.1")), (2, Decimal("0.4"))]
    assert [part.differences for part in rerate.what_if(client, MONTH, MONTH + 3 * HOUR, lambda known: known)] == [
        {},
        {},
    ]


def test_a_month_closes_and_what_it_still_owes_is_booked_in_the_open_one(book: ClickHouse) -> None:
    """Five days after its end. An adjustment names the hour that it corrects; the closed month stays as it was."""
    client = book.client
    settle(client, at(MONTH + 2 * HOUR))
    assert settle(client, at(datetime(2026, 9, 5, 23, tzinfo=UTC))).closed == []
    assert settle(client, at(datetime(2026, 9, 6, tzinfo=UTC))).closed == [date(2026, 8, 1)]
    use(client, MONTH, "lab", device="GPU-1")
    use(client, MONTH + 5 * HOUR, "lab", device="GPU-1")  # an hour of which nothing was known
    settle(client, at(datetime(2026, 9, 7, tzinfo=UTC)), look_back=None)
    booked = "SELECT booked_month, kind, toHour(period_start), cost FROM charges ORDER BY recorded_at, period_start"
    assert rows(book, booked) == [
        (date(2026, 8, 1), "charge", 0, Decimal("0.6")),
        (date(2026, 9, 1), "adjustment", 0, Decimal("0.6")),
        (date(2026, 9, 1), "adjustment", 5, Decimal("0.6")),
    ]


def test_provisional_hours_follow_the_reference_data(book: ClickHouse) -> None:
    """A price that is corrected within the hours of grace is simply right."""
    client = book.client
    settle(client, at(MONTH + 2 * HOUR))
    dearer = config().model_dump()
    dearer["price"][0]["per_gpu_hour"] = "7.20"
    record(client, type(config()).model_validate(dearer), source="test")
    settle(client, at(MONTH + 3 * HOUR))
    assert paid(client)["acme"] == (Decimal("1.2"), Decimal("0.8"), Decimal("0.4"))


def test_what_if_nothing_were_different(book: ClickHouse) -> None:
    """Unchanged data give the ledger, also after late data, corrections and a cap; changed ones write nothing."""
    client = book.client
    for hour in range(1, 5):
        use(client, MONTH + hour * HOUR, "acme")
        use(client, MONTH + hour * HOUR, "lab", device="GPU-1")
    settle(client, at(MONTH + 24 * HOUR))
    use(client, MONTH, "acme", minutes=range(10, 18))
    settle(client, at(MONTH + 25 * HOUR))
    same = list(rerate.what_if(client, MONTH, MONTH + 5 * HOUR, lambda known: known))
    assert [part.differences for part in same] == [{}] * len(same)
    assert sum(len(part.after) for part in same) == 9

    def double(known: Any) -> Any:
        tables = known.model_dump()
        tables["price"][0]["per_gpu_hour"] = "7.20"
        return type(known).model_validate(tables)

    before = entries(client)
    dearer = {effect.name: effect for effect in effects(rerate.what_if(client, MONTH, MONTH + 5 * HOUR, double))}
    assert dearer["lab"].after[0] == 2 * dearer["lab"].before[0]
    assert dearer["acme"].after[1] == dearer["acme"].before[1] == 10**9  # the cap
    assert entries(client) == before


def test_cut_off_between_entries_and_their_settlement(book: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entries are there, the record of the settlement is not: the next pass adds nothing twice."""
    client = book.client
    insert = Journal._insert

    def failing(self: Journal, table: str, block: Any) -> None:
        if table == "settlements":
            raise DatabaseError("cut off")
        insert(self, table, block)

    monkeypatch.setattr(Journal, "_insert", failing)
    with pytest.raises(DatabaseError):
        settle(client, at(MONTH + 2 * HOUR))
    monkeypatch.undo()
    assert entries(client) == 1
    settle(client, at(MONTH + 2 * HOUR))
    assert entries(client) == 1
    assert paid(client)["acme"][0] == Decimal("0.6")


def test_one_at_a_time(book: ClickHouse) -> None:
    """Whoever comes second is told so; a lease that was lost in the meantime is noticed before anything is written."""
    client = book.client
    with held(client) as lease:
        with pytest.raises(Busy, match="has been settling since"), held(client):
            pass
        settle(client, at(MONTH + 2 * HOUR), lease=lease)
    with held(client):
        pass
    with held(client) as lease:
        lease.give_back()
        with held(client), pytest.raises(Busy):
            settle(client, at(MONTH + 9 * HOUR), lease=lease)


def test_coverage_of_an_hour(book: ClickHouse) -> None:
    """Ten minutes of the device in the first hour; none in the second, in which it is expected all the same."""
    client = book.client
    use(client, MONTH + HOUR, "lab", device="GPU-1", minutes=range(60))
    settle(client, at(MONTH + 3 * HOUR))
    seen = "SELECT toHour(period_start), devices, observed_seconds, expected_seconds FROM coverage_hourly ORDER BY ALL"
    assert rows(book, seen) == [(0, 1, Decimal(600), Decimal(3600)), (1, 2, Decimal(3600), Decimal(7200))]
