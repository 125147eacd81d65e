"""Writing a month as FOCUS files, CSV or Parquet, in pieces that fit in memory.

A piece is a range of hours. Its lines (texts, a few thousand) and their figures (numbers, hundreds of thousands) come
from ClickHouse apart and are put together as Arrow arrays. For CSV, the texts of a line that stand side by side are
joined once and then repeated. While one piece is written, the next one is under way. A file gets its name when it is
complete.
"""

import contextlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from clickhouse_connect.driver.client import Client

from compose.finance.focus import rows
from compose.finance.focus.columns import BILLING_PERIOD, COST_AND_USAGE, Column, Kind
from compose.finance.focus.metadata import metadata, name_of
from compose.finance.focus.rows import REPEATED, Booked
from compose.finance.moments import next_month, start_of
from compose.options import Mistake
from compose.written import Written, complete

Format = Literal["csv", "parquet"]
Indices = npt.NDArray[np.integer[Any]]

_PIECE_ENTRIES = 210_000
_AHEAD = 2
"""Pieces under way beside the one that is written: ClickHouse and this process are each busy about half of the time."""
_SLICE_ROWS = 16384
_HOUR = timedelta(hours=1)
_NAMES = frozenset(column.name for column in (*COST_AND_USAGE, *BILLING_PERIOD))
# One thread, because two pieces are under way anyway, and small blocks, which stay in the processor's cache.
_SETTINGS = {
    "max_threads": 1,
    "max_block_size": 16_384,
    "output_format_arrow_compression_method": "none",
    "enable_http_compression": 0,
}

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "String": pa.string(),
    "JSON": pa.string(),
    "Decimal": pa.decimal128(38, 9),
    "DateTime": pa.timestamp("ms", tz="UTC"),
}


def export(client: Client, booked: Booked, format_: Format, folder: Path) -> list[Written]:
    """Write CostAndUsage and BillingPeriod of a month into a folder. Raises Mistake when it cannot be written."""
    with _written_to(folder):
        issuers: set[str] = set()
        path = _path(folder, "cost-and-usage", booked, format_)
        with complete(path) as partial:
            count = 0
            with _writer(partial, COST_AND_USAGE, format_) as writer:
                for piece in _pieces(client, booked, as_text=format_ == "csv"):
                    issuers.update(piece.said["InvoiceIssuerName"].unique().to_pylist())
                    writer.write(piece)
                    count += len(piece.index)
            written = [Written(path, count)]
        path = _path(folder, "billing-period", booked, format_)
        with complete(path) as partial:
            periods = _billing_periods(client, booked, sorted(issuers), as_text=format_ == "csv")
            with _writer(partial, BILLING_PERIOD, format_) as writer:
                writer.write(periods)
        return [*written, Written(path, len(periods.index))]


def describe(month: date, folder: Path) -> Path:
    """Write the metadata of a month's files beside them. Raises Mistake when it cannot be written."""
    path = folder / f"{name_of('metadata', month)}.json"
    with _written_to(folder), complete(path) as partial:
        partial.write_text(json.dumps(metadata(month), indent=2) + "\n")
    return path


@contextlib.contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    """The folder is there; what goes wrong in the block is told."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise Mistake(f"{folder} cannot be written ({error.strerror}): name another --output.") from error


def _path(folder: Path, dataset: str, booked: Booked, format_: Format) -> Path:
    return folder / f"{name_of(dataset, booked.month)}.{format_}"


# ---- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a dataset: a row's texts are row `index` of `said`, its figures are its row of `counted`."""

    said: pa.Table
    index: Indices
    counted: pa.Table


def _pieces(client: Client, booked: Booked, *, as_text: bool) -> Iterator[Piece]:
    """All rows, by hour and then by line. The next ones are under way while the caller works on one."""
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="focus") as pool:
        coming: deque[Future[Piece | None]] = deque()
        for first, end in _ranges(client, booked):
            coming.append(pool.submit(_piece, client, booked, first, end, as_text))
            if len(coming) > _AHEAD and (piece := coming.popleft().result()) is not None:
                yield piece
        while coming:
            if (piece := coming.popleft().result()) is not None:
                yield piece


def _ranges(client: Client, booked: Booked) -> Iterator[tuple[datetime, datetime]]:
    """Ranges of hours with about as many entries as make a piece."""
    held = 0
    first: datetime | None = None
    for stamp, entries in client.query(rows.hours(booked)).result_rows:
        hour = datetime.fromtimestamp(stamp, UTC)
        if first is not None and held + entries > _PIECE_ENTRIES:
            yield first, hour
            first, held = None, 0
        first, held = first or hour, held + entries
        last = hour
    if first is not None:
        yield first, last + _HOUR


def _piece(client: Client, booked: Booked, first: datetime, end: datetime, as_text: bool) -> Piece | None:
    """The rows with usage in [first, end); None = everything there came to nothing."""
    lines = _table(client, rows.figures(booked, first, end, as_text=as_text))
    if lines is None:
        return None
    said = _table(client, rows.identities(booked, first, end, as_text=as_text))
    assert said is not None  # a figure is of a line
    used, credited = (np.flatnonzero(lines[name].to_numpy()) for name in ("used", "credited"))
    line = np.concatenate([used, credited])
    is_credit = np.repeat([0, 1], [len(used), len(credited)])
    place = pc.index_in(lines["line"], said["line"].take(pa.array(np.arange(0, len(said), 2)))).to_numpy()
    index = 2 * place[line] + is_credit
    order = np.lexsort((index, lines["hour"].to_numpy()[line]))
    return Piece(said, index[order].astype(np.int32), _counted(lines, line[order], is_credit[order], as_text=as_text))


def _counted(lines: pa.Table, line: Indices, is_credit: Indices, *, as_text: bool) -> pa.Table:
    """The figures of rows: those of line `line`, of its Credit row or of its Usage row."""
    of_usage = pa.array(line, mask=is_credit == 1)
    of_line, of_either = pa.array(line), pa.array(line + is_credit * len(lines))
    columns = {}
    for name in rows.FIGURES:
        figures = lines[name].combine_chunks()
        if name in rows.CREDITED:
            columns[name] = pa.concat_arrays([figures, lines[rows.CREDIT].combine_chunks()]).take(of_either)
        else:
            columns[name] = figures.take(of_line if name == rows.RATE else of_usage)
    hours, place = np.unique(lines["hour"].to_numpy(), return_inverse=True)
    in_hour = pa.array(place[line])
    for name, stamps in (("ChargePeriodStart", hours), ("ChargePeriodEnd", hours + 3600)):
        moments = [datetime.fromtimestamp(int(stamp), UTC) for stamp in stamps]
        columns[name] = _moments(moments, as_text=as_text).take(in_hour)
    return pa.table(columns)


def _moments(moments: Sequence[datetime], *, as_text: bool) -> pa.Array:
    if as_text:
        return pa.array([f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in moments], pa.string())
    return pa.array(moments, ARROW_TYPES["DateTime"])


def _table(client: Client, query: str) -> pa.Table | None:
    answer = client.raw_query(query, fmt="ArrowStream", settings=_SETTINGS)
    return pa.ipc.open_stream(answer).read_all().combine_chunks() if answer else None


def _billing_periods(client: Client, booked: Booked, issuers: list[str], *, as_text: bool) -> Piece:
    """One row for each issuer of the month."""
    ((created, closed),) = client.query(rows.period(booked)).result_rows
    moments = {
        "BillingPeriodCreated": datetime.fromtimestamp(created, UTC),
        "BillingPeriodEnd": start_of(next_month(booked.month)),
        "BillingPeriodLastUpdated": datetime.fromtimestamp(max(created, closed), UTC),
        "BillingPeriodStart": start_of(booked.month),
    }
    columns = {name: _moments([moment] * len(issuers), as_text=as_text) for name, moment in moments.items()}
    columns["BillingPeriodStatus"] = pa.array(["Closed" if closed else "Open"] * len(issuers), pa.string())
    columns["InvoiceIssuerName"] = pa.array(issuers, pa.string())
    return Piece(pa.table(columns), np.arange(len(issuers), dtype=np.int32), pa.table({}))


# ---- writing ---------------------------------------------------------------------------------------------------------


class _Writer(Protocol):
    def write(self, piece: Piece) -> None: ...


@contextlib.contextmanager
def _writer(path: Path, columns: Sequence[Column], format_: Format) -> Iterator[_Writer]:
    """A file with a header and no rows yet."""
    if format_ == "csv":
        with path.open("wb") as file:
            yield _Csv(file, columns)
    else:
        schema = pa.schema(
            pa.field(column.name, _PARQUET_TYPES[column.kind], nullable=column.nullable) for column in columns
        )
        repeating = [column.name for column in columns if column.kind != "Decimal"]
        with pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=1, use_dictionary=repeating, store_schema=False
        ) as file:
            yield _Parquet(file, schema)


_PARQUET_TYPES = {
    kind: pa.dictionary(pa.int32(), type_) if type_ == pa.string() else type_ for kind, type_ in ARROW_TYPES.items()
}
"""Texts are handed over as numbers of the few that there are; the file does not keep that, so readers see texts."""


class _Parquet:
    """Each piece becomes a row group."""

    def __init__(self, file: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema

    def write(self, piece: Piece) -> None:
        index = pa.array(piece.index)
        self._file.write_table(
            pa.table([self._column(piece, field, index) for field in self._schema], schema=self._schema)
        )

    @staticmethod
    def _column(piece: Piece, field: pa.Field, index: pa.Array) -> pa.Array:
        if field.name not in piece.said.column_names:
            return piece.counted[REPEATED.get(field.name, field.name)].combine_chunks().cast(field.type)
        values = piece.said[field.name].combine_chunks()
        return (values.dictionary_encode() if pa.types.is_dictionary(field.type) else values).take(index)


class _Csv:
    """Texts in quotes, numbers and moments without, nothing for null."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._file = file
        self._columns = columns
        file.write(",".join(column.name for column in columns).encode() + b"\n")

    def write(self, piece: Piece) -> None:
        said, counted = self._texts(piece.said), self._texts(piece.counted)
        # Neighbours that are said of the line, joined once.
        runs = [
            [column.name for column in run] for _, run in groupby(self._columns, lambda column: column.name in said)
        ]
        joined = {
            tuple(names): pc.binary_join_element_wise(*(said[name] for name in names), ",")
            for names in runs
            if names[0] in said
        }
        for start in range(0, len(piece.index), _SLICE_ROWS):
            index = pa.array(piece.index[start : start + _SLICE_ROWS])
            parts: list[Any] = []
            for names in runs:
                if (text := joined.get(tuple(names))) is not None:
                    parts += [text.take(index), ","]
                else:
                    for name in names:
                        parts += [counted[REPEATED.get(name, name)].slice(start, _SLICE_ROWS), ","]
            parts[-1] = "\n"
            lines = pc.binary_join_element_wise(*parts, "")
            self._file.write(lines.buffers()[2])

    def _texts(self, table: pa.Table) -> dict[str, pa.Array]:
        quoted = {column.name for column in self._columns if column.kind in ("String", "JSON")}
        return {
            name: _text(table[name].combine_chunks(), quoted=name in quoted)
            for name in table.column_names
            if name in _NAMES
        }


def _text(values: pa.Array, *, quoted: bool) -> pa.Array:
    """The fields of a column."""
    if quoted:
        values = pc.binary_join_element_wise('"', pc.replace_substring(values, '"', '""'), '"', "")
    return pc.fill_null(values, "")
