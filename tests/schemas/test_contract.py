"""Models, Arrow schemas and SQL tables say the same: every measured field has its place, its type, its unit."""

import re
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from schemas.arrow import SCHEMAS
from schemas.economics import Burn, UnitCost
from schemas.samples import GpuSample, TokenSample
from schemas.usage import GpuGroup, TokenGroup

# Where a field stands under another name, or in another table than the rest.
GPU_ELSEWHERE = {
    "share_num": ("gpu_usage_store", "share_num"),
    "share_den": ("gpu_usage_store", "share_den"),
}
TOKEN_COLUMNS = {
    "ts": "ts_end",
    "model": "served_model",
    "prompt_tokens": "prompt_tokens_end",
    "cached_tokens": "cached_tokens_end",
    "generation_tokens": "generation_tokens_end",
    "requests": "requests_end",
}
TYPES = {
    pa.timestamp("ms", tz="UTC"): r"DateTime64\(3, 'UTC'\)",
    pa.dictionary(pa.int32(), pa.string()): r"(LowCardinality\()?String\)?",
    pa.int64(): r"U?Int\d+",
    pa.float64(): r"Float\d+",
}
# Endings that say the unit of a number.
UNIT = re.compile(
    r"_(seconds|s|ms|ns|w|w_end|j|mj|mj_end|kwh|kg|mib|c|hours|years|tokens|tokens_end|per_hour|per_gpu_hour|per_kwh"
    r"|per_mtok|per_mtok_output|per_token|num|den|samples)$"
)
COUNTS = {
    "samples", "resets", "requests", "requests_end", "version", "bytes", "rows", "statements", "done", "revision",
    "entries", "tokens", "devices", "days", "seconds", "gone",
}  # fmt: skip
MONEY = {
    "cost", "usage_cost", "subsidy", "charge", "spent", "accrued", "cap", "budget", "capex", "spent_before",
    "planned", "price_cost", "residual_value", "settled_subsidy", "live_subsidy", "remaining", "mean_per_day",
    "spent_at_end", "energy_cost", "operation_cost", "capital_cost", "contract_cost", "idle_held_cost",
}  # fmt: skip
RATIOS = {"busy", "sm_active", "pue", "rate", "used_share", "weight"}
OTHERS = {
    "series", "seq", "kafka_partition", "kafka_offset", "value", "threshold", "per_gpu_hour", "opex_per_gpu_hour",
    "position",
}  # fmt: skip
NUMBER = re.compile(r"^(Nullable\()?(U?Int|Float|Decimal)")


@pytest.fixture
def columns(clickhouse: Any) -> dict[tuple[str, str], tuple[str, str]]:
    """(table, column) -> (type, comment), as ClickHouse itself tells."""
    query = "SELECT table, name, type, comment FROM system.columns WHERE database = 'commonwatt'"
    rows = clickhouse.client.query(query).result_rows
    return {(table, name): (kind, comment) for table, name, kind, comment in rows}


def test_every_table_and_column_is_documented(clickhouse: Any, columns: dict[tuple[str, str], tuple[str, str]]) -> None:
    """Analysts read the meaning and unit of everything where they query it."""
    tables = clickhouse.client.query(
        "SELECT name, comment FROM system.tables WHERE database = 'commonwatt'"
    ).result_rows
    assert {name for name, _ in tables} >= {"gpu_samples", "gpu_usage", "token_usage", "unit_costs", "subsidy_burn"}
    assert [name for name, comment in tables if not comment] == []
    assert [place for place, (_, comment) in columns.items() if not comment] == []


def test_every_number_says_its_unit(columns: dict[tuple[str, str], tuple[str, str]]) -> None:
    """A number is a quantity whose name ends in its unit, or a count, a ratio or money whose comment says what."""
    known = COUNTS | MONEY | RATIOS | OTHERS
    numbers = [place for place, (kind, _) in columns.items() if NUMBER.match(kind)]
    assert [place for place in numbers if not UNIT.search(place[1]) and place[1] not in known] == []


@pytest.mark.parametrize("schema_id", SCHEMAS)
def test_arrow_follows_the_model(schema_id: str) -> None:
    """One column per field, in order; null exactly where the model allows it."""
    model, schema = SCHEMAS[schema_id]
    assert schema.names == list(model.model_fields)
    for field in schema:
        nullable = type(None) in getattr(model.model_fields[field.name].annotation, "__args__", ())
        assert field.nullable == nullable
        assert field.type in TYPES


def test_every_gpu_field_is_stored(columns: dict[tuple[str, str], tuple[str, str]]) -> None:
    """What a collector measures of a device is in the book, null where it was null."""
    for field in SCHEMAS["gpu-samples/1"][1]:
        if field.name == "xid":
            continue  # an event, not a quantity: it goes to `alerts`
        kind, _ = columns[GPU_ELSEWHERE.get(field.name, ("gpu_samples", field.name))]
        assert re.fullmatch(rf"Nullable\({TYPES[field.type]}\)" if field.nullable else TYPES[field.type], kind), field


def test_every_token_field_is_stored(columns: dict[tuple[str, str], tuple[str, str]]) -> None:
    """What a collector counts of tokens is in the book: the counters as they stood, null where they were null."""
    for field in SCHEMAS["token-samples/1"][1]:
        kind, _ = columns["token_usage_store", TOKEN_COLUMNS.get(field.name, field.name)]
        assert re.fullmatch(rf"Nullable\({TYPES[field.type]}\)" if field.nullable else TYPES[field.type], kind), field


@pytest.mark.parametrize(
    ("model", "table"),
    [(GpuGroup, "gpu_usage"), (TokenGroup, "token_usage"), (UnitCost, "unit_costs"), (Burn, "subsidy_burn")],
)
def test_every_message_field_has_its_column(
    model: type[BaseModel], table: str, columns: dict[tuple[str, str], tuple[str, str]]
) -> None:
    """What is published is what is stored, in integers of a smaller unit: `cost_nano` is `cost`."""
    stored = {column for owner, column in columns if owner == table}
    smaller = (
        ("_nano", ""),
        ("_nano_per_hour", "_per_hour"),
        ("_ns", "_seconds"),
        ("energy_mj", "energy_j"),
        ("_ms", ""),
    )
    for name in model.model_fields:
        forms = {name, *(name.removesuffix(old) + new for old, new in smaller if name.endswith(old))}
        assert forms & stored, f"{model.__name__}.{name} has no column in {table}"


@pytest.mark.parametrize("model", [GpuSample, TokenSample])
def test_fields_are_described(model: type[BaseModel]) -> None:
    """Producers in any language read the contract from the models."""
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("store", "view"),
    [("gpu_usage_store", "gpu_usage"), ("token_usage_store", "token_usage"), ("unit_costs_store", "unit_costs")],
)
def test_views_keep_types_and_meaning(store: str, view: str, columns: dict[tuple[str, str], tuple[str, str]]) -> None:
    """A column has the same type behind and before its view."""
    both = {column for table, column in columns if table == store} & {
        column for table, column in columns if table == view
    }
    assert both
    assert [column for column in both if columns[store, column][0] != columns[view, column][0]] == []
