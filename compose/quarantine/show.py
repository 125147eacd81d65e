"""How messages in quarantine are shown: a list with a summary, and one message in full."""

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compose.quarantine.entries import Entry
from compose.quarantine.reading import Reading
from compose.quarantine.reasons import kind_of
from compose.quarantine.replay import contents
from schemas.quarantine import Put

ROWS = 5
"""Rows of a readable message that are shown."""
HEAD_BYTES = 256
"""Bytes of an unreadable one."""


def summary(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """How many messages of which kind of reason, the most frequent first."""
    by_kind: dict[str, list[Entry]] = {}
    for entry in entries:
        by_kind.setdefault(entry.kind, []).append(entry)
    found = [
        {
            "reason": kind,
            "messages": len(of_kind),
            "open": sum(entry.replayed_at is None for entry in of_kind),
            "first": of_kind[0].ts,
            "last": of_kind[-1].ts,
        }
        for kind, of_kind in by_kind.items()
    ]
    return sorted(found, key=lambda group: (-group["messages"], group["reason"]))


def show_list(entries: Sequence[Entry], console: Console, most: int) -> None:
    """For the terminal: the summary, then the newest messages."""
    if not entries:
        console.print("no messages in quarantine")
        return
    console.print(_table(summary(entries)))
    shown = entries[-most:] if most else []
    rows = [
        {
            "message": entry.id,
            "put aside": entry.ts,
            "from": entry.shard or entry.cluster,
            "bytes": entry.bytes,
            "state": entry.outcome or "open",
            "reason": " ".join(entry.reason.split()),
        }
        for entry in shown
    ]
    if rows:
        console.print(_table(rows))
    if len(shown) < len(entries):
        console.print(f"{len(entries) - len(shown):,} older ones are not shown (--limit)")


def as_json(entries: Sequence[Entry]) -> str:
    """Summary and messages as one JSON object."""
    document = {"reasons": summary(entries), "messages": [_fields(entry) for entry in entries]}
    return json.dumps(document, default=_iso, indent=2)


def as_csv(entries: Sequence[Entry]) -> str:
    """The messages as CSV."""
    text = StringIO()
    writer = csv.DictWriter(text, [*Entry._fields, "kind"], lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        fields = _fields(entry)
        writer.writerow({name: _iso(value) if isinstance(value, datetime) else value for name, value in fields.items()})
    return text.getvalue()


def show_one(entry: Entry, put: Put | None, reading: Reading | None, console: Console) -> None:
    """One message: origin, headers, reason, remedy, and what this version makes of it."""
    kind = kind_of(entry.reason)
    sender = [("cluster", entry.cluster), ("shard", entry.shard), ("collector", entry.collector), ("run", entry.boot)]
    if entry.seq is not None:
        sender.append(("number", str(entry.seq)))
    lines = [
        ("message", entry.id),
        ("put aside", f"{_iso(entry.ts)}, {entry.bytes:,} bytes"),
        ("sent by", ", ".join(f"{name} {value}" for name, value in sender if value) or "it does not say"),
        ("reason", entry.reason),
        ("meaning", kind.meaning),
        ("remedy", kind.remedy),
        ("state", f"replayed {_iso(entry.replayed_at)}: {entry.outcome}" if entry.replayed_at else "not replayed"),
    ]
    if put is not None:
        lines.insert(3, ("key", repr(put.key or b"")[1:]))
        lines.insert(4, ("headers", "\n".join(f"{name}: {_shown(value)}" for name, value in put.headers) or "none"))
    grid = Table.grid(padding=(0, 2))
    for name, text in lines:
        grid.add_row(Text(name, style="bold"), Text(text))
    console.print(grid)
    if put is None or reading is None:
        console.print("The message is no longer in Kafka, which keeps messages for seven days.")
    elif reading.reason:
        console.print(Text(f"This version cannot read it: {reading.reason}\n"))
        console.print("\n".join(hexdump((put.value or b"")[:HEAD_BYTES])), markup=False, highlight=False)
    else:
        console.print(Text(f"This version reads it: {contents(reading)}. Replay it with"))
        console.print(Text(f"  commonwatt quarantine replay {entry.id} --config FILE\n"))
        if reading.message is not None and reading.message.batch.num_rows:
            console.print(_table(_first_rows(reading)))


def hexdump(content: bytes) -> Iterator[str]:
    """Lines of sixteen bytes: offset, hexadecimal, text."""
    for begin in range(0, len(content), 16):
        part = content[begin : begin + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{begin:06x}  {part.hex(' '):<47}  {text}"


def _first_rows(reading: Reading) -> list[dict[str, Any]]:
    assert reading.message is not None
    rows: list[dict[str, Any]] = reading.message.batch.slice(0, ROWS).to_pylist()
    said = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    return [{name: value if isinstance(value := row[name], datetime) else str(value) for name in said} for row in rows]


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_words(value)) for value in row.values()))
    return table


def _words(value: Any) -> str:
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)


def _fields(entry: Entry) -> dict[str, Any]:
    return {**entry._asdict(), "kind": entry.kind}


def _iso(moment: Any) -> str:
    """Moments of the book are UTC without saying so."""
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"


def _shown(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return repr(value)
