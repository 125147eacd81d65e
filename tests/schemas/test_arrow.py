"""The two encodings of a telemetry message say the same, and what cannot be read says why."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import ARROW, JSON, SCHEMAS, Unreadable, decode, encode, to_batch

LABELS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
TIMES = st.integers(946_684_800_000, 4_102_444_799_999).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
COUNTERS = st.none() | st.integers(0, 2**63 - 1)
TOKENS = st.none() | st.integers(0, 2**58 - 1)
RATIOS = st.none() | st.floats(0, 1)

GPU_ROWS = st.fixed_dictionaries(
    {"ts": TIMES, "node": LABELS, "device": NAMES},
    optional={
        **dict.fromkeys(("slice", "vendor", "gpu_model", "busy_source", "namespace", "pod", "job", "account"), LABELS),
        "share_den": st.just(64),
        "share_num": st.just(1),
        **dict.fromkeys(("busy", "sm_active"), RATIOS),
        "power_w": st.none() | st.floats(0, 3000),
        "energy_mj": COUNTERS,
        "memory_used_mib": st.none() | st.floats(0, 1e6),
        "temperature_c": st.none() | st.floats(-50, 250),
        "xid": st.none() | st.integers(0, 65535),
    },
)
TOKEN_ROWS = st.fixed_dictionaries(
    {"ts": TIMES, "endpoint": NAMES},
    optional={
        **dict.fromkeys(("replica", "model", "deployment", "team"), LABELS),
        "layer": st.sampled_from(("engine", "gateway")),
        **dict.fromkeys(("prompt_tokens", "cached_tokens", "generation_tokens", "requests", "started_ms"), TOKENS),
    },
)
MESSAGES = st.tuples(st.just("gpu-samples/1"), st.lists(GPU_ROWS, max_size=4)) | st.tuples(
    st.just("token-samples/1"), st.lists(TOKEN_ROWS, max_size=4)
)


def batch_of(schema_id: str, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    model, schema = SCHEMAS[schema_id]
    return to_batch([model(**row) for row in rows], schema)


@given(MESSAGES)
def test_arrow_and_json_give_the_same_batch(message: tuple[str, list[dict[str, Any]]]) -> None:
    """A producer in any language may send JSON: the same rows, field for field, come out."""
    schema_id, rows = message
    batch = batch_of(schema_id, rows)
    assert decode(encode(batch), schema_id, ARROW).equals(batch)
    text = json.dumps(rows, default=lambda ts: ts.isoformat()).encode()
    assert decode(text, schema_id, JSON).equals(batch)


@given(st.binary(max_size=300), st.sampled_from((*SCHEMAS, "x")), st.sampled_from((ARROW, JSON, "text/plain")))
def test_garbage_is_unreadable(value: bytes, schema_id: str, content_type: str) -> None:
    """Bytes that nobody meant as a message are refused with a reason and nothing else: `[]` alone is a message."""
    if content_type == JSON and schema_id in SCHEMAS and value.strip() == b"[]":
        return
    with pytest.raises(Unreadable, match=r"\w"):
        decode(value, schema_id, content_type)


@given(st.data())
def test_damaged_messages_are_unreadable_or_whole(data: st.DataObject) -> None:
    """A message with flipped or lost bytes either fails with a reason or is still a batch of its schema."""
    rows = data.draw(st.lists(GPU_ROWS, min_size=1, max_size=4))
    value = bytearray(encode(batch_of("gpu-samples/1", rows)))
    del value[data.draw(st.integers(0, len(value))) :]
    for _ in range(data.draw(st.integers(0, 3)) if value else 0):
        value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        whole = decode(bytes(value), "gpu-samples/1", ARROW).schema.equals(SCHEMAS["gpu-samples/1"][1])
    except Unreadable as reason:
        whole = bool(str(reason))
    assert whole


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "0.ts: Field required"),
        ({"ts": "2026-01-01T00:00:00Z", "node": "n"}, "0.device: Field required"),
        (
            {"ts": "2026-01-01T00:00:00Z", "node": "n", "device": ""},
            "0.device: String should have at least 1 character",
        ),
        (
            {"ts": "2026-01-01T00:00:00Z", "node": "n", "device": "d", "power": 1},
            "0.power: Extra inputs are not permitted",
        ),
        (
            {"ts": "2026-01-01T00:00:00Z", "node": "n", "device": "d", "busy": 1.2},
            "0.busy: Input should be less than or equal to 1",
        ),
        (
            {"ts": "2026-01-01T00:00:00Z", "node": "n", "device": "d", "energy_mj": -1},
            "0.energy_mj: Input should be greater than or equal to 0",
        ),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, object], reason: str) -> None:
    """The reason that goes to quarantine names the row and the field."""
    with pytest.raises(Unreadable) as error:
        decode(json.dumps([row]).encode(), "gpu-samples/1", JSON)
    assert str(error.value) == reason


def test_reasons_of_whole_messages() -> None:
    """What is not a message of the schema says what it is instead."""
    batch = batch_of("gpu-samples/1", [])
    other = encode(batch_of("token-samples/1", []))
    nulls = batch.schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=batch.schema)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(nulls[0])
        writer.write_batch(nulls[0])
    for value, reason in (
        (None, "empty message"),
        (other, "columns differ from the schema: column 1 is"),
        (sink.getvalue().to_pybytes(), "a message holds one record batch, this one holds 2"),
        (b"", "not an Arrow IPC stream"),
    ):
        with pytest.raises(Unreadable, match=reason):
            decode(value, "gpu-samples/1", ARROW)


def test_nulls_where_none_may_be() -> None:
    """A label is empty, never null."""
    _, schema = SCHEMAS["gpu-samples/1"]
    columns = [pa.nulls(1, field.type) for field in schema]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    with pytest.raises(Unreadable, match="column ts has 1 nulls and must have none"):
        decode(encode(batch), "gpu-samples/1", ARROW)


def poisoned(**columns: pa.Array) -> bytes:
    """A message of one sound row with some columns replaced."""
    batch = batch_of("gpu-samples/1", [{"ts": "2026-01-01T00:00:00Z", "node": "n", "device": "d"}])
    for name, column in columns.items():
        batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), column)
    return encode(batch)


def labels(values: list[str | None], code: int = 0) -> pa.DictionaryArray:
    """A label column of one row."""
    return pa.DictionaryArray.from_arrays(pa.array([code], pa.int32()), pa.array(values, pa.string()), safe=False)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"node": labels([None])}, "column node has a null among its labels"),
        ({"node": labels(["n"], code=7)}, "In column 1: Invalid: Dictionary indices invalid"),
        ({"device": labels([""])}, "column device has an empty label"),
        ({"slice": labels(["unallocated"])}, "the slice name 'unallocated' is reserved"),
        ({"share_den": pa.array([0])}, "column share_den is outside 1 to 64"),
        ({"share_num": pa.array([2])}, "share_num exceeds share_den"),
        ({"energy_mj": pa.array([-5])}, "column energy_mj is outside 0 to"),
        ({"ts": pa.array([-1]).cast(pa.timestamp("ms", tz="UTC"))}, "column ts is outside"),
        ({"ts": pa.array([2**60]).cast(pa.timestamp("ms", tz="UTC"))}, "column ts is outside"),
    ],
)
def test_a_poisonous_batch_is_refused_with_a_reason(columns: dict[str, pa.Array], reason: str) -> None:
    """Well-formed Arrow whose content no model would accept must not reach the meter, which would end on it."""
    with pytest.raises(Unreadable, match=re.escape(reason)):
        decode(poisoned(**columns), "gpu-samples/1", ARROW)


@pytest.mark.parametrize(
    "change",
    [{"ts": "2026-01-01T00:00:00"}, {"ts": "1999-12-31T23:59:59Z"}, {"slice": "unallocated"}, {"share_num": 2}],
)
def test_the_same_limits_hold_for_json(change: dict[str, Any]) -> None:
    """Whatever the encoding, the same rows are refused."""
    row = {"ts": "2026-01-01T00:00:00Z", "node": "n", "device": "d", **change}
    with pytest.raises(Unreadable):
        decode(json.dumps([row]).encode(), "gpu-samples/1", JSON)
