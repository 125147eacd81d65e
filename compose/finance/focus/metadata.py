"""The metadata that the specification wants beside the datasets: who made them, which they are, and their columns.

Both formats of a month have the same columns, hence the same metadata. `Recency`, which is optional, is left out:
BillingPeriod tells whether a month is open or closed. `x_Artifact` is ours: it says which files follow a schema.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from compose.finance.focus.columns import BILLING_PERIOD, COST_AND_USAGE, VERSION, Column

SCHEMA_CREATED = "2026-11-28T00:00:00Z"
"""When the columns last changed; a test fails when they do and this does not."""

_DATASETS = (
    ("CostAndUsage", "Cost and usage, hourly", "cost-and-usage", COST_AND_USAGE),
    ("BillingPeriod", "Billing periods", "billing-period", BILLING_PERIOD),
)
_TAG_PREFIX = "commonwatt/"
_INSTANCE_TEXTS = ("DatasetInstanceId", "DatasetInstanceName", "FocusDatasetId")
_SCHEMA_TEXTS = ("SchemaId", "CreationDate", "FocusVersion", "DatasetInstanceId")


def name_of(dataset: str, month: date) -> str:
    """Name of a file of the month, without its ending; `dataset` as in file names."""
    return f"focus-{VERSION}-{dataset}-{month:%Y-%m}"


def metadata(month: date) -> dict[str, Any]:
    """The document of a month; only the names of the files depend on the month."""
    return {
        "DataGenerator": {"DataGenerator": "Commonwatt"},
        "DatasetInstance": [
            {"DatasetInstanceId": _instance(dataset), "DatasetInstanceName": name, "FocusDatasetId": dataset}
            for dataset, name, *_ in _DATASETS
        ],
        "Schema": [
            {
                "SchemaId": _schema(dataset, columns),
                "CreationDate": SCHEMA_CREATED,
                "FocusVersion": VERSION,
                "DatasetInstanceId": _instance(dataset),
                "ColumnDefinition": [_definition(column) for column in columns],
                "x_Artifact": name_of(file, month),
            }
            for dataset, _, file, columns in _DATASETS
        ],
    }


def _instance(dataset: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"commonwatt/{dataset}"))


def _schema(dataset: str, columns: Sequence[Column]) -> str:
    """Another one as soon as anything changes in the columns or the version."""
    definitions = json.dumps([VERSION, dataset, *map(_definition, columns)], sort_keys=True)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"commonwatt/{definitions}"))


def _definition(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"ColumnName": column.name, "DataType": column.kind.upper()}
    match column.kind:
        case "Decimal":
            found |= {"NumericPrecision": 38, "NumberScale": 9}
        case "String" | "JSON":
            found["StringEncoding"] = "UTF-8"
        case "DateTime":
            pass
    if column.name == "Tags":
        found["ProviderTagPrefixes"] = [_TAG_PREFIX]
    return found


def broken(document: Any) -> Iterator[tuple[str, str]]:
    """The rules of the specification that a document of metadata breaks: their names, and what is asked."""
    if not isinstance(document, dict):
        yield "Metadata-object", "the metadata are an object"
        return
    if not _texts(document.get("DataGenerator"), ("DataGenerator",)):
        yield "DataGenerator-present", "DataGenerator names who made the data"
    instances: Any = document.get("DatasetInstance")
    schemas: Any = document.get("Schema")
    if not _all_texts(instances, _INSTANCE_TEXTS):
        yield "DatasetInstance-complete", f"each DatasetInstance has the texts {', '.join(_INSTANCE_TEXTS)}"
        return
    if not _all_texts(schemas, _SCHEMA_TEXTS):
        yield "Schema-complete", f"each Schema has the texts {', '.join(_SCHEMA_TEXTS)}"
        return
    ids = [instance["DatasetInstanceId"] for instance in instances]
    if len(set(ids)) < len(ids):
        yield "DatasetInstanceId-unique", "no two datasets have one DatasetInstanceId"
    if set(ids) != {schema["DatasetInstanceId"] for schema in schemas}:
        yield "Schema-of-instance", "each dataset has a Schema, and each Schema is of one of them"
    for schema in schemas:
        columns = schema.get("ColumnDefinition")
        if not _all_texts(columns, ("ColumnName", "DataType")):
            yield "ColumnDefinition-complete", "each column has a ColumnName and a DataType"
        elif len({column["ColumnName"] for column in columns}) < len(columns):
            yield "ColumnDefinition-once", "each column is described once"


def _all_texts(found: Any, names: Sequence[str]) -> bool:
    return isinstance(found, list) and bool(found) and all(_texts(each, names) for each in found)


def _texts(found: Any, names: Sequence[str]) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(name), str) and found[name] for name in names)
