"""Says in a sentence what pydantic found wrong with a table of the configuration file, and what to write instead."""

import difflib
import re
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.config_section import MistakeAt, Section
from schemas.toml_lines import Path

# What to write for each key that has no default.
EXAMPLES = {
    "base": '"USD"',
    "basis": '"owned"',
    "budget": '"300000000"',
    "cluster": '"fir"',
    "country": '"CA"',
    "currencies": '{ CA = "CAD", GB = "GBP" }',
    "effective_from": "2026-04-01",
    "ends": "2028-03-31",
    "energy_per_kwh": '"0.0776"',
    "g_per_kwh": "11.3",
    "gpu_model": '"NVIDIA H100*"',
    "id": '"a-short-name"',
    "kind": '"dcgm-exporter"',
    "match": '{ namespace = "llm", pod = "command-r-*" }',
    "model": '"cohere/command-r-plus"',
    "on": "2026-12-31",
    "password_env": '"COMMONWATT_FINANCE_PASSWORD"',
    "programme": '"access-fund"',
    "quote": '"CAD"',
    "rate": '"1.3642"',
    "recipient": '"Acme AI Inc."',
    "region": '"CA-BC"',
    "role": '"finance"',
    "rule": '{ kind = "cost_share", share = "2/3" }',
    "secret_env": '"COMMONWATT_OPS_SECRET"',
    "share": '"2/3"',
    "spent": '"250000"',
    "starts": "2026-01-01",
    "url": '"http://127.0.0.1:8123"',
    "urls": '["http://fir-g001:9400/metrics"]',
    "vintage": '"2025"',
    "weight": "12.2",
}

_WRONG_TYPES = {
    "string_type": "is not a text; write it in double quotes",
    "bool_type": "is neither true nor false; write one of the two, without quotes",
    "date_type": "is not a date; write year-month-day without quotes, such as 2026-04-01",
    "list_type": "is not a list; write it in brackets: [ ... ]",
    "dict_type": 'is not a name; write a text, or one for each language: { en = "...", fr = "..." }',
    "model_type": "is not a table; write its keys in braces: { key = ... }",
    "model_attributes_type": 'is not a table; write its keys in braces, the kind among them: { kind = "...", ... }',
    "too_short": "is empty; write at least one",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in the file: the key path where it stands, and a sentence for the author."""

    path: Path
    text: str


def validate(model: type[Section], value: object, path: Path) -> tuple[Section | None, list[Mistake]]:
    """The model of a table, or what is wrong with it."""
    try:
        return model.model_validate(value, strict=True), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, [_translate(detail, model, value, path) for detail in details]


def unknown_key(key: str, known: Iterable[str], where: str) -> str:
    """The sentence for a key that nobody reads."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(key.lower().replace("-", "_"), names, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"write one of {', '.join(names)}"
    return f'unknown key "{key}" {where}; {remedy}'


def shown(value: object) -> str:
    """A value as it would stand in the file, cut to a readable length."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | Decimal | date | datetime):
        return str(value)
    if isinstance(value, list | dict):
        return "[...]" if isinstance(value, list) else "{...}"
    text = str(value)
    return f'"{text if len(text) <= 60 else text[:57] + "..."}"'


def tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The tables that a field may hold, inside lists and unions too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from tables_in(argument)


def _translate(detail: ErrorDetails, model: type[Section], value: object, start: Path) -> Mistake:
    inner = _path_in_file(detail, value)
    path = (*start, *inner)
    key = next(part for part in reversed(path) if isinstance(part, str))
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    error = context.get("error")
    match kind:
        case "value_error" if isinstance(error, MistakeAt):
            return Mistake((*path, *error.path), str(error))
        case "value_error":
            glue = " " if str(error).startswith(("has ", "is ")) else ": "
            return Mistake(path, f"{key}{glue}{error}")
        case "extra_forbidden":
            return Mistake(path, unknown_key(key, _keys_at(model, value, inner[:-1]), f"in {_table(path)}"))
        case "missing":
            return Mistake(path, f"{_table(path)} has no {key}; add {key} = {EXAMPLES[key]}")
        case "literal_error" if detail["loc"][-1] == "[key]":
            return Mistake(path, unknown_key(key, _quoted(context["expected"]), f"in {_table(path)}"))
        case "literal_error":
            return Mistake(path, _not_one_of(key, given, context["expected"]))
        case "union_tag_invalid":
            return Mistake((*path, "kind"), _not_one_of("kind", context["tag"], context["expected_tags"]))
        case "union_tag_not_found":
            return Mistake(path, f"{key} has no kind; write for example {key} = {EXAMPLES[key]}")
        case _:
            what = "date_type" if kind.startswith("date") else kind
            wrong = _WRONG_TYPES.get(what, f"is refused ({detail['msg']}); see the example in the README")
            return Mistake(path, f"{key} = {shown(given)} {wrong}")


def _path_in_file(detail: ErrorDetails, value: object) -> Path:
    """Pydantic's location without the names of union members, which stand in no file."""
    *loc, missing = (*detail["loc"], "") if detail["type"] != "missing" else detail["loc"]
    path: list[int | str] = []
    for part in loc:
        inside = _member(value, part)
        if inside is not None:
            path.append(part)
            value = inside
    return (*path, missing) if missing else tuple(path)


def _member(value: object, part: int | str) -> object:
    """What a list or table holds at a place; None = nothing (TOML itself has no null)."""
    if isinstance(value, list) and isinstance(part, int):
        return typing.cast(object, value[part])
    return value.get(part) if isinstance(value, dict) else None


def _keys_at(model: type[Section], value: object, path: Path) -> list[str]:
    """The keys that the table at a path may have. A table of several kinds has those of the kind that it names."""
    tables: list[type[BaseModel]] = [model]
    for part in path:
        value = _member(value, part)
        if isinstance(part, str):
            fields = [table.model_fields[part] for table in tables]
            tables = [model for field in fields for model in tables_in(field.annotation)]
    kind = value.get("kind") if isinstance(value, dict) else None
    named = [table for table in tables if "kind" in table.model_fields and kind in _choices(table)]
    return [name for table in named or tables for name in table.model_fields]


def _choices(table: type[BaseModel]) -> tuple[object, ...]:
    return typing.get_args(table.model_fields["kind"].annotation)


def _table(path: Path) -> str:
    """How the table around a key is headed: ``[[price]]``, ``[kafka]``, ``agreement.rule``."""
    around = path[:-1]
    names = ".".join(part for part in around if isinstance(part, str))
    if around and isinstance(around[-1], int):
        return f"[[{names}]]"
    return f"[{names}]" if len(around) == 1 else names


def _not_one_of(key: str, given: object, expected: str) -> str:
    choices = _quoted(expected)
    close = difflib.get_close_matches(str(given), choices, n=1)
    listed = ", ".join(f'"{choice}"' for choice in choices)
    remedy = f'did you mean "{close[0]}"? Known: {listed}' if close else f"write one of {listed}"
    return f"{key} = {shown(given)} is not known; {remedy}"


def _quoted(expected: str) -> list[str]:
    """The choices in pydantic's list of them: ``'owned' or 'rented'``."""
    return re.findall(r"'([^']*)'", expected)
