"""The metadata describe the files as they are, and say so under another id when the columns change."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compose.finance.focus.conformance import check
from compose.finance.focus.export import Format, describe, export
from compose.finance.focus.metadata import SCHEMA_CREATED, metadata
from tests.conftest import ClickHouse
from tests.finance.focus import month

FORMATS: tuple[Format, ...] = ("csv", "parquet")
TYPES = {
    "STRING": pa.string(), "JSON": pa.string(), "DECIMAL": pa.decimal128(38, 9),
    "DATETIME": pa.timestamp("ms", tz="UTC"),
}  # fmt: skip


def test_every_file_is_described(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """Each file follows the one schema that names it: the same columns in the same order, and of the same types."""
    path = describe(month.MONTH, tmp_path)
    assert path.name == "focus-1.4-metadata-2026-10.json"
    assert check(path) == []
    document = json.loads(path.read_text())
    schemas = {schema["x_Artifact"]: schema for schema in document["Schema"]}
    dataset = {each["DatasetInstanceId"]: each["FocusDatasetId"] for each in document["DatasetInstance"]}
    for format_ in FORMATS:
        first, second = export(clickhouse.client, month.booked(), format_, tmp_path)
        for written, name in ((first, "CostAndUsage"), (second, "BillingPeriod")):
            schema = schemas[written.path.stem]
            assert (dataset[schema["DatasetInstanceId"]], schema["FocusVersion"]) == (name, "1.4")
            columns = {column["ColumnName"]: column for column in schema["ColumnDefinition"]}
            if format_ == "csv":
                assert next(csv.reader(written.path.open())) == list(columns)
                continue
            stored = pq.read_schema(written.path)
            assert {field.name: field.type for field in stored} == {
                name: TYPES[column["DataType"]] for name, column in columns.items()
            }
    columns = {column["ColumnName"]: column for schema in schemas.values() for column in schema["ColumnDefinition"]}
    assert columns["BilledCost"] == {
        "ColumnName": "BilledCost", "DataType": "DECIMAL", "NumericPrecision": 38, "NumberScale": 9,
    }  # fmt: skip
    assert columns["Tags"]["ProviderTagPrefixes"] == ["commonwatt/"]


def test_a_schema_that_changed_has_a_new_id_and_day() -> None:
    """These ids follow from the columns: when they differ, set SCHEMA_CREATED to today and both here anew."""
    found = {schema["SchemaId"] for schema in metadata(month.MONTH)["Schema"]}
    assert (SCHEMA_CREATED, found) == (
        "2026-11-28T00:00:00Z",
        {"f16e2814-7ebf-533b-995a-bc0e2132c987", "742a7dfa-e6b9-5af1-ae13-68d31da8da14"},
    )


def _without(*names: str) -> Callable[[dict[str, Any]], None]:
    def spoil(document: dict[str, Any]) -> None:
        found: Any = document
        for name in names[:-1]:
            found = found[name]
            found = found[0] if isinstance(found, list) else found
        del found[names[-1]]

    return spoil


def _twice(*names: str) -> Callable[[dict[str, Any]], None]:
    def spoil(document: dict[str, Any]) -> None:
        found: Any = document
        for name in names:
            found = found[0][name] if isinstance(found, list) else found[name]
        found.append(found[0])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (_without("DataGenerator"), "DataGenerator-present"),
        (_without("DatasetInstance", "FocusDatasetId"), "DatasetInstance-complete"),
        (_without("Schema"), "Schema-complete"),
        (_without("Schema", "CreationDate"), "Schema-complete"),
        (_without("Schema", "ColumnDefinition"), "ColumnDefinition-complete"),
        (_without("Schema", "ColumnDefinition", "DataType"), "ColumnDefinition-complete"),
        (_twice("Schema", "ColumnDefinition"), "ColumnDefinition-once"),
        (_twice("DatasetInstance"), "DatasetInstanceId-unique"),
        (lambda document: document["Schema"].pop(), "Schema-of-instance"),
    ],
)
def test_a_broken_rule_is_told(spoil: Callable[[dict[str, Any]], None], rule: str, tmp_path: Path) -> None:
    """Each rule is seen to be broken where it is broken, and nothing else."""
    document = metadata(month.MONTH)
    spoil(document)
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert [broken.rule for broken in check(tmp_path / "x.json")] == [rule]


def test_metadata_are_an_object(tmp_path: Path) -> None:
    """Anything else in the file is told as well."""
    (tmp_path / "x.json").write_text("[]")
    assert [broken.rule for broken in check(tmp_path / "x.json")] == ["Metadata-object"]
