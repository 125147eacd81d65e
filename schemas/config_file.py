"""Reads the configuration file, and says in one go everything that is wrong with it.

Every mistake is one sentence, ``FILE:LINE: what is wrong; what to write instead``. All of them are collected, so that
a file is repaired in one pass; nothing starts on a bad file.
"""

import re
import tomllib
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path as FilePath
from typing import Any

from schemas.config import Config
from schemas.config_errors import Mistake, shown, tables_in, unknown_key, validate
from schemas.config_rules import Declared, broken_rules
from schemas.config_section import Section
from schemas.entries import SECTIONS, Key, entries_of, name_of
from schemas.toml_lines import Path, line_of, lines_of


class ConfigError(Exception):
    """The file cannot be used. The text is for its author: one line per mistake, with place and remedy."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file that is valid TOML: its data, and where each key stands."""

    name: str
    data: dict[str, object]
    lines: dict[Path, int]

    def error(self, mistakes: list[Mistake]) -> ConfigError:
        return ConfigError("\n".join(self.complaints(mistakes)))

    def complaints(self, mistakes: Iterable[Mistake]) -> list[str]:
        """A line for each, in the order of the file."""
        placed = sorted((line_of(self.lines, mistake.path), mistake.text) for mistake in mistakes)
        return [f"{self.name}:{line}: {text}" for line, text in placed]


def load(path: str | FilePath) -> Config:
    """The configuration in a TOML file. Raises ConfigError with every mistake found in it."""
    file = _read(path)
    declared = Declared()
    mistakes = []
    for name, value in file.data.items():
        if name in Config.model_fields:
            mistakes += _check_section(name, value, declared)
        else:
            mistakes.append(Mistake((name,), unknown_key(name, Config.model_fields, "at the top of the file")))
    if not file.data.get("cluster"):
        mistakes.append(Mistake((), 'no cluster is described; add [[cluster]] with id = "fir" and country = "CA"'))
    mistakes += broken_rules(declared)
    if mistakes:
        raise file.error(mistakes)
    return Config.model_validate(file.data)


def load_parts(paths: Sequence[str | FilePath], known: Config, withdrawn: Collection[Key] = ()) -> Config:
    """Reference data in one or several TOML files that complete or correct what is known already.

    Returns what the files say. It must hold together with what is known: an entry of the files replaces the known one
    of the same name, and those that are `withdrawn` are gone. Raises ConfigError with every mistake of the files, and
    with what would no longer hold of the rest.
    """
    declared, places = Declared(), dict[tuple[str | int, ...], tuple[_File, int]]()
    mistakes: list[tuple[_File, Mistake]] = []
    merged: dict[str, Any] = {}
    files = [_read(path) for path in paths]
    for file in files:
        for name, value in file.data.items():
            first = len(merged.get(name, ())) + _OF_FILES
            mistakes += [(file, mistake) for mistake in _part(name, value, declared, first)]
            if isinstance(value, list):
                places |= {(name, first + index): (file, index) for index in range(len(value))}
                merged.setdefault(name, []).extend(value)
            elif name in merged:
                mistakes.append((file, Mistake((name,), f"[{name}] is given in another file too; take one out")))
            else:
                merged[name] = value
    replaced = {(entry.path[0], name_of(entry.table)) for entry in declared.entries}
    rest = {key: table for key, table in entries_of(known).items() if key not in withdrawn and key not in replaced}
    before = {text for _, text in _broken(entries_of(known), Declared())}
    complaints = []
    for path, text in _broken(rest, declared):
        if path[:2] in places:
            file, index = places[path[:2]]
            mistakes.append((file, Mistake((path[0], index, *path[2:]), text)))
        elif text not in before:
            complaints.append(f"{path[0]}/{list(rest)[int(path[1])][1]} of the book: {text}")
    complaints += [
        line for file in files for line in file.complaints(mistake for owner, mistake in mistakes if owner is file)
    ]
    if complaints:
        raise ConfigError("\n".join(complaints))
    return Config.model_validate(merged)


_OF_FILES = 1 << 32  # entries of files are numbered from here, those of what is known from 0


def _part(name: str, value: object, declared: Declared, first: int) -> list[Mistake]:
    """Validate a section of a file that holds nothing but reference data."""
    if name not in SECTIONS:
        remedy = (
            f"[{name}] is no reference data; it belongs into the file of `commonwatt up`, take it out here"
            if name in Config.model_fields
            else unknown_key(name, SECTIONS, "at the top of the file")
        )
        return [Mistake((name,), remedy)]
    mistakes = _check_section(name, value, declared, first)
    for index, cluster in enumerate(value if name == "cluster" and isinstance(value, list) else ()):
        for key in ("target", "max_gap"):
            if isinstance(cluster, dict) and key in cluster:
                text = f"{key} says how the cluster is measured and belongs into the file of `commonwatt up`"
                mistakes.append(Mistake((name, index, key), f"{text}; take it out here"))
    return mistakes


def _broken(known: Mapping[Key, Section], declared: Declared) -> list[tuple[Path, str]]:
    """What contradicts each other in what is known and what files declare; known entries are numbered from 0."""
    everything = Declared()
    for number, ((section, _), table) in enumerate(known.items()):
        everything.add(section, number, table.model_dump(include={"id"}), table)
    everything.join(declared)
    return [(mistake.path, mistake.text) for mistake in broken_rules(everything)]


def _read(path: str | FilePath) -> _File:
    try:
        text = FilePath(path).read_bytes().decode().replace("\r\n", "\n")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{path}: cannot be read ({reason}); give the path of a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8 text") from error
    try:
        return _File(str(path), tomllib.loads(text, parse_float=_exact), lines_of(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}:{_broken_toml(error, text)}") from error
    except RecursionError as error:
        raise ConfigError(
            f"{path}: nested too deeply; the tables of this file need no more than three levels"
        ) from error


def _exact(text: str) -> Decimal:
    """A TOML float as the decimal that is written; amounts never pass through binary floating point."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


# --- broken TOML ----------------------------------------------------------------------------------------------------

_TOML_REMEDIES = (
    ("Invalid value", 'write texts in double quotes ("fir"), true or false in small letters, dates as 2026-04-01'),
    ("Invalid date or datetime", "write dates as 2026-04-01, with a day that exists"),
    ("Cannot overwrite", "this key or table was already given above; remove one of the two"),
    (
        "Cannot declare",
        "this table was already given above; use double brackets [[...]] to list several, or remove one",
    ),
    ("Cannot mutate", "this inline table { ... } is complete; add the key inside its braces"),
    ("Expected '='", "write key = value; a heading stands in brackets, a comment after #"),
    ("Expected ']'", "close the heading with the same brackets that open it"),
    ("Expected newline", "write one key = value on each line, and texts in one pair of quotes"),
    ("Unclosed array", "close the list with ]"),
    ("Unclosed inline table", "close the braces with } on the same line, and separate keys by commas"),
    ("Unterminated string", "close the text with the same quote that opens it"),
    ("Illegal character", "close the text with the same quote on the same line"),
    ("Unescaped '\\'", "write a backslash twice, or put the text in single quotes"),
    ("Invalid initial character", "start the line with a key, a heading in brackets, or # for a comment"),
)


def _broken_toml(error: tomllib.TOMLDecodeError, text: str) -> str:
    """``LINE: what; remedy`` of a text that is not TOML."""
    message, _, place = str(error).rpartition(" (at ")
    position = re.match(r"line (\d+), column (\d+)", place)
    lines = text.count("\n") + (not text.endswith("\n"))
    line = int(position[1]) if position else max(lines, 1)
    where = f" in column {position[2]}" if position else " at the end of the file"
    remedy = next(
        (remedy for start, remedy in _TOML_REMEDIES if message.startswith(start)), "see toml.io for the format"
    )
    return f"{line}: not TOML{where} ({message[:1].lower()}{message[1:]}); {remedy}"


# --- what a table says on its own -----------------------------------------------------------------------------------


def _check_section(name: str, value: object, declared: Declared, first: int = 0) -> list[Mistake]:
    """Validate one section, entry by entry, so that one bad entry hides nothing about the others.

    Entries are declared under numbers from `first` on.
    """
    annotation = Config.model_fields[name].annotation
    model = next(table for table in tables_in(annotation) if issubclass(table, Section))
    if typing.get_origin(annotation) is not list:
        return validate(model, value, (name,))[1]
    if not isinstance(value, list):
        heading = f"[[{name}]], in double brackets" if isinstance(value, dict) else f"a table headed by [[{name}]]"
        return [Mistake((name,), f"{name} is not a list of tables; write {heading}")]
    mistakes = []
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            mistakes.append(Mistake((name, index), f"{name} holds {shown(entry)}; write tables, headed by [[{name}]]"))
            continue
        section, found = validate(model, entry, (name, index))
        mistakes += found
        declared.add(name, first + index, entry, section)
    return mistakes
