"""SQL knows what the workers know: what holds now is in the tables, exactly, and only what changed is written."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from compose.reference.history import NoReference, config_at
from compose.reference.tables import TABLES, refresh, store
from schemas.config import Config
from streams.reference import Reference
from tests.compose.ledger import H100, config
from tests.compose.reference import example

DAY = date(2026, 11, 20)
NOON_MS = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)


def rows(clickhouse: Any, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in clickhouse.client.query(query).result_rows]


def test_everything_is_written_once(clickhouse: Any) -> None:
    """The first time every table is filled; the second time nothing is written, not even a copy."""
    given = example.config()
    stored = store(clickhouse.client, given, source="a.toml")
    lists = [getattr(given, table.section) for table in TABLES.values()]
    assert stored.written == sum(len(section) for section in lists) + 1  # and the periods of finance
    assert [len(rows(clickhouse, f"SELECT * FROM {table}")) for table in TABLES] == [len(each) for each in lists]
    before = {table: rows(clickhouse, f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}
    assert store(clickhouse.client, given, source="a.toml").written == 0
    assert refresh(clickhouse.client) == 0
    assert {table: rows(clickhouse, f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES} == before


def test_a_changed_row_replaces_its_predecessor(clickhouse: Any) -> None:
    """Only the row that changed is written; what was taken out stays, because the ledger still names it."""
    store(clickhouse.client, config())
    changed = config().model_dump()
    changed["cluster"][0]["pue"] = "1.2"
    del changed["deployment"][1]
    assert store(clickhouse.client, Config.model_validate(changed)).written == 1
    assert rows(clickhouse, "SELECT id, pue FROM clusters FINAL ORDER BY id") == [
        ("fir", Decimal("1.2")),
        ("oak", None),
    ]
    assert rows(clickhouse, "SELECT id FROM deployments FINAL ORDER BY id") == [("chat",), ("pool",)]


def test_what_is_written(clickhouse: Any) -> None:
    """Fractions stay fractions, an open price ends where the next begins, names have both languages."""
    tables = config().model_dump()
    tables["price"][0] |= {"effective_from": date(2025, 1, 1)}
    tables["price"].append({**tables["price"][0], "id": "next", "effective_from": date(2026, 1, 1)})
    tables["programme"][0]["name"] = {"en": "Fund", "fr": "Fonds"}
    store(clickhouse.client, Config.model_validate(tables))
    assert rows(clickhouse, "SELECT rule, terms FROM agreements FINAL WHERE id = 'acme'") == [
        ("cost_share", '{"elsewhere": "0", "of": "cost", "share": "2/3"}')
    ]
    assert rows(clickhouse, "SELECT id, effective_to FROM prices FINAL WHERE cluster = 'fir' ORDER BY id") == [
        ("fir-h100", date(2026, 1, 1)),
        ("next", None),
    ]
    assert rows(clickhouse, "SELECT name_en, name_fr, budget FROM programmes FINAL") == [
        ("Fund", "Fonds", Decimal(1000))
    ]


def test_the_book_prices_as_the_file_does(clickhouse: Any) -> None:
    """Read back, the reference data give the same rates, the same exchange, the same subsidy."""
    with pytest.raises(NoReference):
        config_at(clickhouse.client)
    store(clickhouse.client, config())
    back = config_at(clickhouse.client)
    file, book = Reference(config()), Reference(back)
    for cluster in ("fir", "oak"):
        assert file.price(cluster, H100, NOON_MS) == book.price(cluster, H100, NOON_MS) is not None
    for agreement in ("acme", "lab", "firm-a"):
        (paid,) = file.subsidies(agreement, "CA", DAY, 10**9, 600, 0, 400)
        assert book.subsidies(agreement, "CA", DAY, 10**9, 600, 0, 400) == [paid]
        assert paid[1] > 0
    assert file.convert(100, "USD", "CAD", DAY) == book.convert(100, "USD", "CAD", DAY) == 140
    assert (book.model("pool"), book.is_shared("pool"), book.currency("acme")) == ("small", True, "CAD")
    assert book.resolve_gpu("fir", "chat", "p", "", "") == ("chat/p", "chat", "acme")


def test_a_price_that_moved_or_went_leaves_its_table(clickhouse: Any) -> None:
    """SQL sees one price where there is one: not the row of its former first day, and none that was taken out."""
    data = example.tables()
    store(clickhouse.client, Config.model_validate(data))
    data["price"][0]["effective_from"] = "2026-02-01"
    del data["price"][1], data["carbon"][0], data["rgu"][1], data["fx_rate"][1], data["pool"][0]
    store(clickhouse.client, Config.model_validate(data))
    assert rows(clickhouse, "SELECT id, effective_from FROM prices FINAL") == [("fir-h100", date(2026, 2, 1))]
    assert rows(clickhouse, "SELECT count() FROM carbon_intensity FINAL") == [(0,)]
    assert rows(clickhouse, "SELECT count() FROM pools FINAL") == [(0,)]
    assert rows(clickhouse, "SELECT slice FROM rgu_weights FINAL") == [("",)]
    assert rows(clickhouse, "SELECT rate FROM fx_rates FINAL") == [(Decimal("1.7312"),)]


def test_what_sql_reads_of_tariffs_weights_and_places(clickhouse: Any) -> None:
    """Each figure of the newer sections stands in its column as it is meant."""
    store(clickhouse.client, example.config())
    assert rows(clickhouse, "SELECT residual_value, pue, JSONExtractString(tariffs, 1, 'energy_per_kwh') FROM prices "
                            "FINAL WHERE id = 'fir-h100'") == [(Decimal(2000), Decimal("1.1"), "0.041")]  # fmt: skip
    assert rows(clickhouse, "SELECT operator_country, timezone FROM clusters FINAL ORDER BY id") == [
        ("CA", "America/Vancouver"),
        ("CA", "UTC"),
    ]
    assert rows(clickhouse, "SELECT share_num, share_den, weight FROM rgu_weights FINAL WHERE slice = '3g.40gb'") == [
        (3, 7, Decimal("6.1"))
    ]
    assert rows(clickhouse, "SELECT currencies['GB'], allies FROM pools FINAL") == [("GBP", ["US"])]
    assert rows(clickhouse, "SELECT g_per_kwh FROM carbon_intensity FINAL") == [(Decimal("11.3"),)]
    assert rows(clickhouse, "SELECT stacking_limit FROM programmes FINAL") == [("0.75",)]
    assert rows(clickhouse, "SELECT after FROM agreements FINAL WHERE id = 'acme-more'") == [("acme",)]
