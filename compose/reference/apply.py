"""Corrections of reference data by a person: what would change, whether it holds together, and writing it."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.options import Mistake
from compose.reference import history, tables
from compose.reference.history import Change, Entry
from schemas.config import Config
from schemas.config_file import load_parts
from schemas.config_section import Section
from schemas.entries import Key, config_of, entries_of


@dataclass(frozen=True, slots=True)
class Difference:
    """What a correction changes of one entry."""

    key: Key
    before: Section | None
    """None: it is new."""
    after: Section | None
    """None: it is withdrawn."""

    @property
    def kind(self) -> str:
        """In a word."""
        return "new" if self.before is None else "withdrawn" if self.after is None else "changed"

    def fields(self) -> list[tuple[str, str, str]]:
        """(field, what it was, what it will be), of those that differ; a nested field is ``rule.share``."""
        if self.before is None or self.after is None:
            before, after = written_fields(self.before), written_fields(self.after)
        else:  # what was, or becomes, the default is said too
            before, after = (dict(_flat("", table.model_dump(mode="json"))) for table in (self.before, self.after))
        return [
            (name, before.get(name, ""), after.get(name, ""))
            for name in dict.fromkeys((*before, *after))
            if before.get(name, "") != after.get(name, "")
        ]


def written_fields(table: Section | None) -> dict[str, str]:
    """The fields of an entry that are not at their defaults, as texts."""
    return {} if table is None else dict(_flat("", table.model_dump(mode="json", exclude_defaults=True)))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else key, inner)
    elif value is not None:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def differences(client: Client, files: Sequence[Path], withdrawn: Sequence[str] = ()) -> list[Difference]:
    """What these files, and the withdrawal of these entries (``price/fir-h100``), change of what the book has now.

    Raises ConfigError when a file has mistakes or does not hold together with the book, Mistake when an entry to
    withdraw is not there, is in the files too, or is still needed.
    """
    held = {entry.key: entry.table for entry in history.in_force(history.newest(client))}
    gone = [_held(name, held) for name in withdrawn]
    given = _given(held, files, gone)
    both = ["/".join(key) for key in gone if key in given]
    if both:
        raise Mistake(f"{', '.join(both)} is to be withdrawn and stands in a file: leave one of the two out.")
    changed = [Difference(key, held.get(key), table) for key, table in given.items() if table != held.get(key)]
    return changed + [Difference(key, held[key], None) for key in gone]


def overlay(known: Config, files: Sequence[Path]) -> Config:
    """What is known, with what these files say instead. Nothing is recorded. Raises ConfigError."""
    held = entries_of(known)
    return config_of((held | _given(held, files, ())).items())


def _given(held: Mapping[Key, Section], files: Sequence[Path], gone: Sequence[Key]) -> dict[Key, Section]:
    """What the files say, to be recorded: a cluster is measured as before."""
    part = load_parts(files, config_of(held.items()), gone)
    given = entries_of(part)
    if "finance" not in part.model_fields_set:
        del given["finance", "finance"]
    return {
        key: history.measured_as(table, held[key]) if key in held else history.as_recorded(table)
        for key, table in given.items()
    }


def write(client: Client, found: Sequence[Difference], files: Sequence[Path]) -> None:
    """Record the differences, all under one moment, and bring the tables for SQL up to date."""
    known = history.newest(client)
    changes: list[Change] = []
    for difference in found:
        table = difference.before if difference.after is None else difference.after
        assert table is not None
        position = _position(known, difference.key, changes)
        changes.append(Change(difference.key, table, position, "applied", withdrawn=difference.after is None))
    history.append(client, changes, source=", ".join(file.name for file in files))
    tables.refresh(client)


def _position(known: dict[Key, Entry], key: Key, changes: Sequence[Change]) -> int:
    """An entry stays where it is; a new one comes last."""
    if key in known:
        return known[key].position
    taken = [entry.position for entry in known.values() if entry.section == key[0]]
    taken += [change.position for change in changes if change.key[0] == key[0]]
    return max(taken, default=-1) + 1


def _held(name: str, held: dict[Key, Section]) -> Key:
    section, _, entry = name.partition("/")
    if (section, entry) in held:
        return section, entry
    names = ["/".join(key) for key in held]
    close = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {close[0]}?" if close else "`commonwatt reference show` lists what there is."
    raise Mistake(f'"{name}" is not in the book: {remedy}')
