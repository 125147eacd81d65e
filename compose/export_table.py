"""`commonwatt export table`: a relation of the book as a file, day by day, in memory that does not grow with it."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from clickhouse_connect.driver.client import Client

from compose.options import Mistake
from compose.written import Written, complete
from dashboards.macros import quote

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("parquet", "csv")

TIMES = ("ts_start", "period_start", "minute", "ts", "day", "month", "recorded_at")
"""Columns that say when a row is of; the first that a relation has is its time."""

_SETTINGS = {"max_block_size": 65_536, "output_format_arrow_compression_method": "none", "enable_http_compression": 0}
# Not offered: tables behind views, which hold superseded rows, and views that want a moment.
_RELATIONS = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND NOT endsWith(name, '_store') AND empty(parameterized_view_parameters)
ORDER BY name
"""
_COLUMNS = (
    "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
    "ORDER BY position"
)


class Progress(Protocol):
    def __call__(self, day: date, rows: int) -> None:
        """A day is written; so many rows are by now."""


def export(
    client: Client,
    relation: str,
    format_: Format,
    path: Path,
    *,
    begin: datetime | None = None,
    end: datetime | None = None,
    progress: Progress = lambda day, rows: None,
) -> Written:
    """Write the rows of a relation with a time in [begin, end); None: from the first, to the last.

    Amounts stay decimals, times UTC. A relation that has a time is written day after day, in row groups of its own;
    within a day rows come in the order of the book. The file gets its name when it is complete. Raises Mistake when
    there is no such relation, it has no time to choose by, or the file cannot be written.
    """
    columns = _columns(client, relation)
    time = next((name for name in TIMES if name in columns), None)
    if time is None and (begin or end):
        raise Mistake(f"{relation} has no time to choose by: leave out --from and --to.")
    chosen = ", ".join(f"{_typed(name, type_)} AS `{name}`" for name, type_ in columns.items())
    spans = [(None, "1")] if time is None else _days(client, relation, time, columns[time], begin, end)
    rows = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with complete(path) as partial, _writer(partial, _schema(client, columns), format_) as writer:
            for day, condition in spans:
                query = f"SELECT {chosen} FROM `{relation}` WHERE {condition}"
                for batch in _batches(client, query):
                    writer.write_batch(batch)
                    rows += batch.num_rows
                if day is not None:
                    progress(day, rows)
    except OSError as error:
        raise Mistake(f"{path} cannot be written ({error.strerror or error}): name another --output.") from error
    return Written(path, rows)


def _columns(client: Client, relation: str) -> dict[str, str]:
    """Name and type of each column. Raises Mistake for a relation that is not offered."""
    relations = [name for (name,) in client.query(_RELATIONS).result_rows]
    if relation not in relations:
        raise Mistake(f'there is no table "{relation}" to export: choose one of {", ".join(relations)}.')
    found: Any = client.query(_COLUMNS, parameters={"table": relation}).result_rows
    return dict(found)


def _typed(name: str, type_: str) -> str:
    """The column as Arrow knows it: of ClickHouse's times, it takes only these for times."""
    if "DateTime64" not in type_ and "DateTime" in type_:
        return f"toDateTime64(`{name}`, 0, 'UTC')"
    if "Date32" not in type_ and "DateTime" not in type_ and "Date" in type_:
        return f"toDate32(`{name}`)"
    return f"toString(`{name}`)" if "UUID" in type_ else f"`{name}`"


def _schema(client: Client, columns: dict[str, str]) -> pa.Schema:
    """The Arrow schema of these columns, from a row of defaults: an empty answer would have none."""
    typed = ", ".join(f"{_typed(name, type_)} AS `{name}`" for name, type_ in columns.items())
    defaults = ", ".join(f"CAST(defaultValueOfTypeName({quote(t)}) AS {t}) AS `{n}`" for n, t in columns.items())
    answer = client.raw_query(f"SELECT {typed} FROM (SELECT {defaults})", fmt="ArrowStream", settings=_SETTINGS)
    return pa.ipc.open_stream(answer).schema


def _days(
    client: Client, relation: str, time: str, type_: str, begin: datetime | None, end: datetime | None
) -> Iterator[tuple[date, str]]:
    """The days in which there are rows, and the condition that selects each one's."""
    column, cast = f"`{relation}`.`{time}`", "toDate" if type_ == "Date" else "toDateTime"
    bounds = ["1"]
    for moment, sign in ((begin, ">="), (end, "<")):
        if moment is not None:
            bounds.append(f"{column} {sign} {cast}({_literal(moment, cast)})")
    within = " AND ".join(bounds)
    found = client.query(f"SELECT DISTINCT toDate({column}) AS d FROM `{relation}` WHERE {within} ORDER BY d")
    for (day,) in found.result_rows:
        first = datetime(day.year, day.month, day.day, tzinfo=UTC)
        after = first + timedelta(days=1)
        one = f"{column} >= {cast}({_literal(first, cast)}) AND {column} < {cast}({_literal(after, cast)})"
        yield day, f"{one} AND {within}"


def _literal(moment: datetime, cast: str) -> str:
    return f"'{moment:%Y-%m-%d}'" if cast == "toDate" else f"'{moment:%Y-%m-%d %H:%M:%S}', 'UTC'"


def _batches(client: Client, query: str) -> Iterator[pa.RecordBatch]:
    stream: Any = client.raw_stream(query, fmt="ArrowStream", settings=_SETTINGS)
    with contextlib.closing(stream):
        try:
            reader = pa.ipc.open_stream(stream)
        except pa.ArrowInvalid:  # where there are no rows, there is no schema either
            return
        yield from reader


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...


@contextlib.contextmanager
def _writer(path: Path, schema: pa.Schema, format_: Format) -> Iterator[_Writer]:
    if format_ == "csv":
        flat = pa.schema([pa.field(field.name, pa.string()) if _is_nested(field) else field for field in schema])
        with pa_csv.CSVWriter(path, flat) as file:
            yield _Csv(file, flat)
    else:
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=_texts(schema)) as file:
            yield file


class _Csv:
    """Lists are written as their members, separated by semicolons: a cell of CSV has no structure."""

    def __init__(self, file: pa_csv.CSVWriter, schema: pa.Schema) -> None:
        self._file, self._schema = file, schema

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [
            pa.array([_joined(value) for value in column.to_pylist()], pa.string()) if _is_nested(field) else column
            for field, column in zip(batch.schema, batch.columns, strict=True)
        ]
        self._file.write_batch(pa.record_batch(columns, schema=self._schema))


def _joined(value: Any) -> str | None:
    if value is None:
        return None
    return ";".join(f"{one[0]}={one[1]}" if isinstance(one, tuple) else str(one) for one in value)


def _is_nested(field: pa.Field) -> bool:
    return bool(pa.types.is_nested(field.type))


def _texts(schema: pa.Schema) -> Sequence[str]:
    return [field.name for field in schema if pa.types.is_string(field.type)]
