"""SQL knows what the workers knew: the configuration is in the book, exactly, and only what changed is written."""

from datetime import date
from decimal import Decimal
from typing import Any

from compose.reference_tables import COLUMNS, read, store
from schemas.config import Config
from streams.reference import Reference
from tests.compose.ledger import H100, config

DAY = date(2026, 11, 20)


def rows(clickhouse: Any, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in clickhouse.client.query(query).result_rows]


def test_everything_is_written_once(clickhouse: Any) -> None:
    """The first time every table is filled; the second time nothing is written, not even a copy."""
    tables = config()
    sections = (tables.cluster, tables.deployment, tables.price, tables.fx_rate, tables.programme, tables.agreement)
    assert store(clickhouse.client, tables) == sum(len(section) for section in sections)
    before = {table: rows(clickhouse, f"SELECT * FROM {table} ORDER BY ALL") for table in COLUMNS}
    assert store(clickhouse.client, tables) == 0
    assert {table: rows(clickhouse, f"SELECT * FROM {table} ORDER BY ALL") for table in COLUMNS} == before


def test_a_changed_row_replaces_its_predecessor(clickhouse: Any) -> None:
    """Only the row that changed is written; what was taken out stays, because the ledger still names it."""
    store(clickhouse.client, config())
    changed = config().model_dump()
    changed["cluster"][0]["pue"] = "1.2"
    del changed["deployment"][1]
    assert store(clickhouse.client, Config.model_validate(changed)) == 1
    assert rows(clickhouse, "SELECT id, pue FROM clusters FINAL ORDER BY id") == [
        ("fir", Decimal("1.2")),
        ("oak", Decimal("1.0")),
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
        ("cost_share", '{"elsewhere": "0", "share": "2/3"}')
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
    assert read(clickhouse.client) is None
    store(clickhouse.client, config())
    back = read(clickhouse.client)
    assert back is not None
    file, book = Reference(config()), Reference(back)
    for cluster in ("fir", "oak"):
        assert file.price(cluster, H100, DAY) == book.price(cluster, H100, DAY) is not None
    for agreement in ("acme", "lab", "firm-a"):
        assert file.subsidy(agreement, "CA", DAY, 10**9, 1000) == book.subsidy(agreement, "CA", DAY, 10**9, 1000) > 0
    assert file.convert(100, "USD", "CAD", DAY) == book.convert(100, "USD", "CAD", DAY) == 140
    assert (book.model("pool"), book.is_shared("pool"), book.currency("acme")) == ("small", True, "CAD")
    # Patterns of labels are not in the book, so that nothing may be found by them.
    assert book.resolve_gpu("fir", "chat", "p", "", "") == ("chat/p", "", "")
