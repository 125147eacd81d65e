"""A configuration as TOML text that reads back as the same configuration."""

from collections.abc import Iterator, Mapping
from datetime import date, time
from fractions import Fraction
from typing import Any

from pydantic import BaseModel

from schemas.config import Config
from schemas.config_values import written


def dumps(config: Config) -> str:
    """Deterministic: tables in the order of the model, keys that are unset left out."""
    lines: list[str] = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            lines += [f"[{name}]", *_scalars(value), ""]
        for entry in value if isinstance(value, list) else ():
            lines += _entry(name, entry)
    return "\n".join(lines)


def _entry(name: str, entry: BaseModel) -> Iterator[str]:
    """One table of an array; lists of targets become tables of their own."""
    yield f"[[{name}]]"
    yield from _scalars(entry)
    yield ""
    for target in getattr(entry, "target", ()):
        yield f"[[{name}.target]]"
        yield from _scalars(target)
        yield ""


def _scalars(entry: BaseModel) -> Iterator[str]:
    for key, value in entry:
        if value is not None and value != [] and key != "target":
            yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _text(f"{value!r}s")  # every float of a configuration is a duration in seconds
    if isinstance(value, Fraction):
        return _text(written(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return _text(f"{value:%H:%M}")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, BaseModel | Mapping):
        pairs = value.items() if isinstance(value, Mapping) else value
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in pairs if item is not None) + " }"
    return _text(str(value))


def _text(value: str) -> str:
    escaped = "".join(
        f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char
        for char in value.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'
