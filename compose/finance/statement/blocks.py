"""What a document consists of, whatever sets it: Markdown or PDF."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from compose.finance.statement.typography import Language
from compose.finance.statement.words import Words


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """To be copied: never translated, never with typographic signs."""

    text: str


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    figure: bool = False
    """Set to the right."""
    stack: str = ""
    """Neighbours of the same stack share one printed column of this title where the page is narrow."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    totals: Sequence[Sequence[str]] = ()
    """Rows below the rule. Empty cells are left out."""


Block = Paragraph | Code | Table


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: Sequence[Block]
    whole: bool = False
    """Not to be torn over two pages, if it fits on one."""


@dataclass(frozen=True, slots=True)
class Document:
    language: Language
    title: str
    subtitle: str
    number: str
    made_at: datetime
    """Of the newest record in it, so that the same content is the same document."""
    facts: Sequence[tuple[str, str]]
    figures: Sequence[tuple[str, str]]
    """The few that matter most."""
    sections: Sequence[Section]
    words: Words
