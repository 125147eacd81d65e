"""`commonwatt export table`: every relation comes out whole, exact and typed, or with a sentence that says why not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from compose.export_table import export
from compose.options import Mistake
from tests.compose.command import commonwatt
from tests.dashboards import servers
from tests.dashboards.seed import AGREEMENTS


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouse]:
    with servers.clickhouse(tmp_path_factory.mktemp("seeded"), seeded=True) as clickhouse:
        yield clickhouse


def _relations(seeded: servers.ClickHouse) -> list[str]:
    with pytest.raises(Mistake) as refused:
        export(seeded.client, "nothing", "parquet", Path("nothing"))
    return str(refused.value).rstrip(".").partition("choose one of ")[2].split(", ")


def test_every_relation_comes_out_whole(seeded: servers.ClickHouse, tmp_path: Path) -> None:
    """As many rows as SQL counts, in both formats, empty ones too; what holds superseded rows is not offered."""
    relations = _relations(seeded)
    assert {"gpu_usage", "unit_costs", "charges", "agreements", "alerts", "costs_daily"} <= set(relations)
    assert "agreement_state" not in relations
    assert not [name for name in relations if name.endswith("_store")]
    for name in relations:
        count = seeded.client.query(f"SELECT count() FROM {name}").result_rows[0][0]
        for format_ in ("parquet", "csv"):
            written = export(seeded.client, name, format_, tmp_path / f"{name}.{format_}")
            assert written.rows == count, name
        assert pq.read_metadata(tmp_path / f"{name}.parquet").num_rows == count, name
        assert pa_csv.read_csv(tmp_path / f"{name}.csv").num_rows == count, name
    assert not list(tmp_path.glob(".*"))


def test_money_stays_exact_and_times_are_utc(seeded: servers.ClickHouse, tmp_path: Path) -> None:
    """What the file adds up to is what was booked, to the last place."""
    assert seeded.ledger is not None
    export(seeded.client, "unit_costs", "parquet", tmp_path / "costs.parquet")
    table = pq.read_table(tmp_path / "costs.parquet")
    assert table.schema.field("cost").type == pa.decimal128(38, 9)
    assert str(table.schema.field("minute").type).endswith("tz=UTC]")
    assert sum(table["cost"].to_pylist()) == sum((line.cost for line in seeded.ledger.unit_costs), Decimal(0))


def test_a_range_takes_what_lies_in_it(seeded: servers.ClickHouse, tmp_path: Path) -> None:
    """From the first moment, up to the last, exclusive; no row group holds two days."""
    assert seeded.ledger is not None
    begin = datetime(*seeded.ledger.unit_costs[40].minute.timetuple()[:4], tzinfo=UTC)
    end = datetime(*seeded.ledger.unit_costs[-400].minute.timetuple()[:4], tzinfo=UTC)
    written = export(seeded.client, "unit_costs", "parquet", tmp_path / "some.parquet", begin=begin, end=end)
    expected = [line for line in seeded.ledger.unit_costs if begin <= line.minute < end]
    assert written.rows == len(expected)
    file = pq.ParquetFile(written.path)
    groups = [file.read_row_group(number, ["minute"])["minute"].to_pylist() for number in range(file.num_row_groups)]
    assert all(len({minute.date() for minute in group}) == 1 for group in groups)


def test_mistakes_are_said(seeded: servers.ClickHouse, tmp_path: Path) -> None:
    """A relation without a time, a place that cannot be written, a format that is not known; nothing is left behind."""
    with pytest.raises(Mistake, match="agreement_spend has no time to choose by"):
        export(seeded.client, "agreement_spend", "csv", tmp_path / "x.csv", begin=datetime(2026, 1, 1, tzinfo=UTC))
    (tmp_path / "taken").write_text("")
    with pytest.raises(Mistake, match="name another --output"):
        export(seeded.client, "agreements", "csv", tmp_path / "taken" / "x.csv")
    for arguments, said in (
        (("table", "agreements", "--format", "xml"), "use parquet or csv"),
        (("table", "agreements", "--from", "2026-02-01", "--to", "2026-01-01"), "exchange them"),
    ):
        done = commonwatt("export", *arguments, "--clickhouse", seeded.url)
        assert done.returncode == 1
        assert said in done.stderr
    done = commonwatt("export", "table", "agreements", "--clickhouse", seeded.url, "--output", tmp_path / "a.parquet")
    assert done.returncode == 0, done.stderr
    assert f"{len(AGREEMENTS)} rows written to" in done.stdout
