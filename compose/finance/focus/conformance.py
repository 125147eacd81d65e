"""Whether FOCUS files keep the rules of the specification: columns, types, nulls, values, rows, and the whole file.

Files are read in batches, as text where they are CSV, so that the form of a number or a moment is checked too. Rules on
single rows are data (:mod:`.rules`); what has to be looked at over all rows is in :class:`_Whole`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from compose.finance.focus import metadata, rules
from compose.finance.focus.columns import BILLING_PERIOD, COST_AND_USAGE, Column, Kind
from compose.options import Mistake

_SHOWN_ROWS = 5
_TYPES: dict[Kind, pa.DataType] = {
    "String": pa.string(),
    "JSON": pa.string(),
    "Decimal": pa.decimal128(38, 9),
    "DateTime": pa.timestamp("ms", tz="UTC"),
}
_FORMS: dict[Kind, str] = {
    "Decimal": r"^-?[0-9]{1,29}(\.[0-9]{1,9})?$",
    "DateTime": r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
}
_KEY_VALUE = frozenset({"AllocatedTags", "SkuPriceDetails", "Tags"})  # JSON objects that hold no objects and arrays
_SKU_PROPERTIES = frozenset(
    {
        *("CoreCount", "DiskMaxIops", "DiskSpace", "DiskType", "GpuCount", "InstanceType", "InstanceSeries"),
        *("MemorySize", "NetworkMaxIops", "NetworkMaxThroughput", "OperatingSystem", "Redundancy", "StorageClass"),
    }
)


@dataclass(slots=True)
class Broken:
    """A rule that a file breaks."""

    rule: str
    text: str
    count: int = 0
    """Of rows; 0 = the file as a whole."""
    rows: list[int] = field(default_factory=list)
    """The first of them; 1 = the first after the header."""

    def __str__(self) -> str:
        where = f" ({self.count:,} rows: {', '.join(map(str, self.rows))}{', …' * (self.count > len(self.rows))})"
        return f"{self.rule}: {self.text}{where * bool(self.count)}"


def check(path: Path) -> list[Broken]:
    """The rules that a file breaks, none when it conforms. Raises Mistake when it cannot be read."""
    try:
        if path.suffix == ".json":
            return [Broken(rule, text) for rule, text in metadata.broken(json.loads(path.read_bytes()))]
        return _Check(path).run()
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, pa.ArrowException) as error:
        raise Mistake(f"{path} cannot be read ({str(error).splitlines()[0]}): name a FOCUS file.") from error


class _Check:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._names, self._batches = _opened(path)
        self._is_period = "BillingPeriodStatus" in self._names
        columns = BILLING_PERIOD if self._is_period else COST_AND_USAGE
        self._columns = {column.name: column for column in columns}
        self._rules = rules.BILLING_PERIOD if self._is_period else rules.COST_AND_USAGE
        self._found: dict[str, Broken] = {}
        self._whole = _Whole()

    def run(self) -> list[Broken]:
        self._header()
        row = 1
        for batch in self._batches:
            self._batch(batch, row)
            row += len(batch)
        for rule, text in self._whole.broken():
            self._found[rule] = Broken(rule, text)
        return list(self._found.values())

    def _header(self) -> None:
        def broken(rule: str, text: str) -> None:
            self._found[rule] = Broken(rule, text)

        for column in self._columns.values():
            if column.level == "Mandatory" and column.name not in self._names:
                broken(f"{column.name}-present", f"the column {column.name} is there")
        custom = [name.startswith("x_") for name in self._names]
        if unknown := [name for name in self._names if name not in self._columns and not name.startswith("x_")]:
            broken("columns-custom", f"a column that the specification does not have begins with x_: {unknown}")
        if custom != sorted(custom):
            broken("columns-order", "the specification's columns come before those that begin with x_")
        if twice := [name for name, times in Counter(self._names).items() if times > 1]:
            broken("columns-once", f"no column is there twice: {twice}")

    def _batch(self, batch: pa.RecordBatch, row: int) -> None:
        values = {name: batch.column(name) for name in self._names if name in self._columns}
        for name, column in self._columns.items():
            if name in values:
                values[name] = self._typed(column, values[name], row)
        for rule in self._rules:
            if all(name in values for name in rule.columns):
                self._rows(rule.id, rule.text, rule.broken(*(values[name] for name in rule.columns)), row)
        self._whole.add(values, is_period=self._is_period)

    def _typed(self, column: Column, values: Any, row: int) -> Any:
        """The values of a column in its type, after its own rules; what is none is null from here on."""
        name = column.name
        if not column.nullable:
            self._rows(f"{name}-null", f"{name} is not null", pc.is_null(values), row)
        wanted = _TYPES[column.kind]
        if column.kind in _FORMS and pa.types.is_string(values.type):
            wrong = pc.invert(pc.match_substring_regex(values, _FORMS[column.kind]))
            self._rows(f"{name}-type", f"{name} is a {column.kind} in the form of the specification", wrong, row)
            values = pc.if_else(pc.fill_null(wrong, True), None, values)
        elif not _fits(values.type, column.kind):
            self._found[f"{name}-type"] = Broken(f"{name}-type", f"{name} is of type {column.kind}")
            return pa.nulls(len(values), wanted)
        values = values.cast(wanted)
        if column.kind in ("String", "JSON"):
            self._rows(f"{name}-empty", f"{name} is null rather than empty", pc.equal(values, ""), row)
        if column.allowed:
            wrong = pc.invert(pc.is_in(values, value_set=pa.array(column.allowed)))
            wrong = pc.and_(wrong, pc.is_valid(values))
            self._rows(f"{name}-value", f"{name} is one of {', '.join(column.allowed)}", wrong, row)
        if column.kind == "JSON":
            distinct = values.unique()
            wrong = pa.array([text is not None and not _json(name, text) for text in distinct.to_pylist()], pa.bool_())
            text = f"{name} is a JSON object with the keys and values that the specification allows"
            self._rows(f"{name}-json", text, pc.is_in(values, value_set=distinct.filter(wrong)), row)
        return values

    def _rows(self, rule: str, text: str, broken: Any, row: int) -> None:
        where = pc.indices_nonzero(pc.fill_null(broken, False)).to_numpy()
        if len(where):
            found = self._found.setdefault(rule, Broken(rule, text))
            found.count += len(where)
            found.rows += [int(place) + row for place in where[: max(0, _SHOWN_ROWS - len(found.rows))]]


class _Whole:
    """What has to be known of all rows together."""

    def __init__(self) -> None:
        self._parents: dict[str, dict[Any, set[Any]]] = {
            rule: defaultdict(set) for rule in ("SkuPriceId-one-SkuId", "InvoiceId-one-account")
        }
        self._ratios: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
        self._periods: Counter[tuple[Any, ...]] = Counter()

    def add(self, values: dict[str, Any], *, is_period: bool) -> None:
        if is_period:
            self._periods.update(_tuples(values, "BillingPeriodStart", "InvoiceIssuerName"))
            return
        for rule, child, *parent in (
            ("SkuPriceId-one-SkuId", "SkuPriceId", "SkuId"),
            ("InvoiceId-one-account", "InvoiceId", "BillingAccountId", "InvoiceIssuerName", "BillingCurrency"),
        ):
            for key, *rest in _distinct(values, child, *parent):
                if key is not None:
                    self._parents[rule][key].add(tuple(rest))
        # The origin charge of a shared resource: its hour, at one price.
        origin = ("AllocatedMethodDetails", "ResourceId", "SkuPriceId", "x_PriceVersion", "ChargePeriodStart")
        if "AllocatedMethodDetails" in values:
            divided = pc.is_valid(values["AllocatedMethodDetails"])
            kept = {name: values[name].filter(divided) for name in origin if name in values}
            for text, *key in _tuples(kept, *kept):
                self._ratios[tuple(key)] += _ratio(text)

    def broken(self) -> Iterator[tuple[str, str]]:
        texts = {
            "SkuPriceId-one-SkuId": "a SkuPriceId has one SkuId",
            "InvoiceId-one-account": "an InvoiceId has one billing account, issuer and currency",
        }
        for rule, text in texts.items():
            if several := [key for key, parents in self._parents[rule].items() if len(parents) > 1]:
                yield rule, f"{text}: {several[0]}"
        if wrong := [key for key, ratio in self._ratios.items() if ratio != 1]:
            yield "AllocatedRatio-sum", f"the ratios of an origin charge add up to 1: {' '.join(map(str, wrong[0]))}"
        if twice := [key for key, times in self._periods.items() if times > 1]:
            yield "BillingPeriod-once", f"a billing period is there once for each issuer: {twice[0][1]}"


def _opened(path: Path) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """Names of the columns, and the rows."""
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        return file.schema_arrow.names, file.iter_batches(batch_size=65_536)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    names = pyarrow.csv.open_csv(path, parse_options=parse).schema.names
    options = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=False,
    )
    return names, iter(pyarrow.csv.open_csv(path, parse_options=parse, convert_options=options))


def _fits(kind: pa.DataType, wanted: Kind) -> bool:
    if wanted == "Decimal":
        return bool(pa.types.is_decimal(kind))
    if wanted == "DateTime":
        return bool(pa.types.is_timestamp(kind)) and kind.tz == "UTC"
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _tuples(values: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    """The rows of some columns; none where one is missing."""
    if any(name not in values for name in names):
        return []
    return list(zip(*(values[name].to_pylist() for name in names), strict=True))


def _distinct(values: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    """The same, each row once."""
    if any(name not in values for name in names):
        return []
    once = pa.table({name: values[name] for name in names}).group_by(list(names)).aggregate([])
    return _tuples({name: once[name] for name in names}, *names)


def _json(name: str, text: str) -> bool:
    """Whether a JSON value is an object as its column wants it."""
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_float=Decimal)
    except ValueError:
        return False
    if not isinstance(document, dict):
        return False
    if name in _KEY_VALUE and any(isinstance(value, dict | list) for value in document.values()):
        return False
    if name == "SkuPriceDetails":
        return all(key in _SKU_PROPERTIES or key.startswith("x_") for key in document)
    if name == "AllocatedMethodDetails":
        elements = document.get("Elements")
        return isinstance(elements, list) and all(
            isinstance(each, dict)
            and isinstance(each.get("AllocatedRatio"), int | Decimal)
            and ("UsageQuantity" not in each or "UsageUnit" in each)
            for each in elements
        )
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _ratio(text: str) -> Decimal:
    """Sum of the ratios of one row; 0 where there are none."""
    if not _json("AllocatedMethodDetails", text):
        return Decimal(0)
    elements = json.loads(text, parse_float=Decimal)["Elements"]
    return sum((Decimal(each["AllocatedRatio"]) for each in elements), Decimal(0))
