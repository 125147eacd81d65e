"""Arrow schemas derived from the pydantic models, and the two encodings of a telemetry message.

A message value is an Arrow IPC stream with zstd-compressed buffers (``application/vnd.apache.arrow.stream``), or a
JSON array of rows with the same field names (``application/json``). Either decodes to the same record batch.
Labels are dictionary-encoded: a shard repeats the same few strings for every tick.
"""

import types
import typing
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge, Le, Lt
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from schemas.samples import UNALLOCATED, GpuSample, TokenSample

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"

LABEL = pa.dictionary(pa.int32(), pa.string())
TS = pa.timestamp("ms", tz="UTC")
_TYPES: dict[type, pa.DataType] = {datetime: TS, str: LABEL, int: pa.int64(), float: pa.float64()}


class Unreadable(ValueError):
    """A message that cannot be read. The text is the reason that goes to quarantine with it."""


def schema_of(model: type[BaseModel]) -> pa.Schema:
    """The Arrow schema of a model: one column per field, nullable exactly where the field may be None."""
    fields = []
    for name, field in model.model_fields.items():
        options = typing.get_args(field.annotation) if _is_union(field.annotation) else (field.annotation,)
        base, *_ = [option for option in options if option is not types.NoneType]
        while typing.get_origin(base) is typing.Annotated:
            base = typing.get_args(base)[0]
        fields.append(pa.field(name, _TYPES[base], nullable=types.NoneType in options))
    return pa.schema(fields)


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (types.UnionType, typing.Union)


GPU_SAMPLES = schema_of(GpuSample)
TOKEN_SAMPLES = schema_of(TokenSample)

# Schema id (header `schema`) -> model and Arrow schema. A change of meaning gets a new id, never a silent edit.
SCHEMAS: dict[str, tuple[type[BaseModel], pa.Schema]] = {
    "gpu-samples/1": (GpuSample, GPU_SAMPLES),
    "token-samples/1": (TokenSample, TOKEN_SAMPLES),
}


def _limits(model: type[BaseModel]) -> dict[str, tuple[int, int]]:
    """Least and most value of each integer and time of a model, from its own constraints; times in ms."""
    limits = {}
    for name, field in model.model_fields.items():
        bounds = [bound for bound in _metadata(field.annotation, field.metadata) if isinstance(bound, Ge | Le | Lt)]
        least = [_number(bound.ge) for bound in bounds if isinstance(bound, Ge)]
        most = [_number(bound.le) for bound in bounds if isinstance(bound, Le)]
        most += [_number(bound.lt) - 1 for bound in bounds if isinstance(bound, Lt)]
        if pa.types.is_integer(schema_of(model).field(name).type) or name == "ts":
            limits[name] = (max(least, default=-(2**63)), min(most, default=2**63 - 1))
    return limits


def _metadata(annotation: object, metadata: list[object]) -> list[object]:
    """Constraints of a field, also those inside of an optional type."""
    found = list(metadata)
    for part in typing.get_args(annotation):
        for item in getattr(part, "__metadata__", ()):
            found += item.metadata if isinstance(item, FieldInfo) else [item]
    return found


def _number(bound: object) -> int:
    return int(bound.timestamp() * 1000) if isinstance(bound, datetime) else int(typing.cast(int, bound))


_LIMITS = {model: _limits(model) for model, _ in SCHEMAS.values()}
_REQUIRED = frozenset({"device", "endpoint"})

# Threads cost more than they save on buffers of a few kilobytes.
_READ = pa.ipc.IpcReadOptions(use_threads=False)
_WRITE = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))


def encode(batch: pa.RecordBatch) -> bytes:
    """A record batch as an Arrow IPC stream, zstd."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_WRITE) as writer:
        writer.write_batch(batch)
    return typing.cast(bytes, sink.getvalue().to_pybytes())


def decode(value: bytes | None, schema_id: str, content_type: str) -> pa.RecordBatch:
    """The record batch in a message value. Raises Unreadable with the reason."""
    known = SCHEMAS.get(schema_id)
    if known is None:
        raise Unreadable(f"unknown schema {schema_id!r}; known: {', '.join(SCHEMAS)}")
    if value is None:
        raise Unreadable("empty message")
    model, schema = known
    if content_type == ARROW:
        return _decode_arrow(value, model, schema)
    if content_type == JSON:
        return _decode_json(value, model, schema)
    raise Unreadable(f"unknown content-type {content_type!r}; send {ARROW} or {JSON}")


def _decode_arrow(value: bytes, model: type[BaseModel], schema: pa.Schema) -> pa.RecordBatch:
    try:
        with pa.ipc.open_stream(value, options=_READ) as reader:
            batches = list(reader)
        for batch in batches:  # damaged offsets and codes would be followed out of the message's memory
            batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unreadable(f"not an Arrow IPC stream: {error}") from error
    if len(batches) != 1:
        raise Unreadable(f"a message holds one record batch, this one holds {len(batches)}")
    batch = batches[0]
    if not batch.schema.equals(schema):
        raise Unreadable(f"columns differ from the schema: {_difference(batch.schema, schema)}")
    _check_limits(batch, model)
    return batch


def _check_limits(batch: pa.RecordBatch, model: type[BaseModel]) -> None:
    """Refuse what the model refuses row by row: nulls, labels that are none, integers and times outside their limits.

    Measured ratios and powers outside their range are left to the meter, which drops the value and keeps the row.
    """
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_dictionary(field.type):
            _check_dictionary(field.name, column)
        if not field.nullable and column.null_count:
            raise Unreadable(f"column {field.name} has {column.null_count} nulls and must have none")
        if field.name in _LIMITS[model]:
            _check_range(field.name, column, *_LIMITS[model][field.name])
    if "share_num" in model.model_fields and pc.any(pc.greater(batch["share_num"], batch["share_den"])).as_py():
        raise Unreadable("a slice is more than its device: share_num exceeds share_den")


def _check_range(name: str, column: pa.Array, least: int, most: int) -> None:
    found = pc.min_max(column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column)
    if found["min"].is_valid and not least <= found["min"].as_py() <= found["max"].as_py() <= most:
        raise Unreadable(f"column {name} is outside {least} to {most}")


def _check_dictionary(name: str, column: pa.DictionaryArray) -> None:
    values = column.dictionary
    if values.null_count:
        raise Unreadable(f"column {name} has a null among its labels")
    if name in _REQUIRED and pc.any(pc.equal(values, "")).as_py():
        raise Unreadable(f"column {name} has an empty label")
    if name == "slice" and pc.any(pc.equal(values, UNALLOCATED)).as_py():
        raise Unreadable(f"the slice name {UNALLOCATED!r} is reserved for what no slice holds")


def _difference(got: pa.Schema, want: pa.Schema) -> str:
    for index, field in enumerate(want):
        if index >= len(got):
            return f"column {field.name} is missing"
        if not got.field(index).equals(field):
            return f"column {index} is `{got.field(index)}`, expected `{field}`"
    return f"unexpected column {got.field(len(want)).name}"


def _decode_json(value: bytes, model: type[BaseModel], schema: pa.Schema) -> pa.RecordBatch:
    try:
        rows = TypeAdapter(list[model]).validate_json(value)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise Unreadable(f"{where}: {first['msg']}") from error
    return to_batch(rows, schema)


def to_batch(rows: typing.Sequence[BaseModel], schema: pa.Schema) -> pa.RecordBatch:
    """Validated models as one record batch (the slow path: JSON producers and tests)."""
    return pa.RecordBatch.from_pylist([row.model_dump() for row in rows], schema=schema)
