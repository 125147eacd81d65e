"""Just enough of ClickHouse's lexer to cut a text into statements and to find the data in an INSERT.

Works on bytes, because an HTTP body is a statement followed by binary data: reading stops where the data starts.
Source of the rules: ClickHouse `src/Parsers/Lexer.cpp` (tokens) and `ParserInsertQuery.cpp` (where data begins).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a token is. Spaces and comments are no tokens."""

    WORD = auto()
    """Bare identifier or keyword."""
    QUOTED = auto()
    """Identifier in backticks or double quotes."""
    STRING = auto()
    NUMBER = auto()
    OTHER = auto()
    """One byte of punctuation."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: bytes
    start: int
    end: int

    def is_word(self, *words: bytes) -> bool:
        """Whether this is one of the keywords, given in capitals."""
        return self.kind is Kind.WORD and self.text.upper() in words


_TOKEN = re.compile(
    rb"""
    (?P<SKIP>   \s+ | --[^\n]* | \#[ !][^\n]* | /\*.*?\*/ )
  | (?P<STRING> '(?:[^'\\]|\\.|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<QUOTED> `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" )
  | (?P<WORD>   [A-Za-z_][A-Za-z0-9_$]* )
  | (?P<NUMBER> [0-9][A-Za-z0-9_.]* )
  | (?P<OTHER>  . )
    """,
    re.VERBOSE | re.DOTALL,
)


def tokens(text: bytes) -> Iterator[Token]:
    """The tokens of a text, lazily: nothing after the last token asked for is looked at."""
    for match in _TOKEN.finditer(text):
        name = match.lastgroup if match.lastgroup != "tag" else "STRING"
        if name and name != "SKIP":
            yield Token(Kind[name], match.group(), match.start(), match.end())


def split(text: bytes) -> list[bytes]:
    """The statements of a script, without the semicolons between them; empty ones are left out."""
    statements: list[bytes] = []
    start: int | None = None
    end = 0
    for token in tokens(text):
        if token.text == b";" and token.kind is Kind.OTHER:
            if start is not None:
                statements.append(text[start:end])
            start = None
            continue
        start = token.start if start is None else start
        end = token.end
    if start is not None:
        statements.append(text[start:end])
    return statements


@dataclass(frozen=True, slots=True)
class Statement:
    """What the server must know about a statement before the engine sees it."""

    verb: str
    """First keyword in capitals; empty when there is none."""
    second: str = ""
    """Second keyword in capitals."""
    format: str = ""
    """Name in the FORMAT clause; empty when there is none."""
    data_start: int | None = None
    """INSERT with data in a format: where the data begins. Then `head_end` is where FORMAT begins."""
    head_end: int = 0
    source_at: int = 0
    """Where in such an INSERT the source of the data could be named: before SETTINGS, else where FORMAT begins."""
    touches_files: bool = False
    """INTO OUTFILE or FROM INFILE: files of the client, which over HTTP is somewhere else."""
    reads_input: bool = False
    """INSERT of a SELECT from `input`: the data in the body go through the SELECT."""
    sub_totals: bool = False
    """WITH TOTALS or extremes: a result of more than one part."""


def read(text: bytes) -> Statement:
    """Look at a statement as far as necessary: an INSERT is read up to its data, anything else to its end."""
    stream = tokens(text)
    words: list[Token] = []
    while len(words) < 2 and (token := next(stream, None)) is not None:
        if not (token.kind is Kind.OTHER and token.text == b"(" and not words):
            words.append(token)
    first, second = (*(_keyword(token) for token in words), "", "")[:2]
    if first == "INSERT":
        return _read_insert(text, second)
    return _read_other(text, first, second)


def _keyword(token: Token) -> str:
    return token.text.decode().upper() if token.kind is Kind.WORD else ""


def _read_insert(text: bytes, second: str) -> Statement:
    depth = 0
    settings: Token | None = None
    previous: Token | None = None
    for token in tokens(text):
        if previous is not None and previous.is_word(b"FORMAT") and token.kind is Kind.WORD and depth == 0:
            name, source = token.text.decode(), settings or previous
            return Statement("INSERT", second, name, _data_start(text, token.end), previous.start, source.start)
        if depth == 0 and token.is_word(b"SELECT", b"WITH"):
            return Statement("INSERT", second, reads_input=_calls_input(text[token.end :]))
        if depth == 0 and token.is_word(b"SETTINGS"):
            settings = token
        if token.kind is Kind.OTHER:
            depth += {b"(": 1, b")": -1}.get(token.text, 0)
        if depth == 0 and token.is_word(b"VALUES"):
            return Statement("INSERT", second, "Values")
        if depth == 0 and token.is_word(b"INFILE") and previous is not None and previous.is_word(b"FROM"):
            return Statement("INSERT", second, touches_files=True)
        previous = token
    return Statement("INSERT", second)


def _calls_input(text: bytes) -> bool:
    following = tokens(text)
    return any(
        token.is_word(b"INPUT") and (bracket := next(following, None)) and bracket.text == b"(" for token in following
    )


def _data_start(text: bytes, position: int) -> int:
    """After the format's name: spaces, then at most one line end, then the data."""
    while text[position : position + 1] in (b" ", b"\t", b"\f"):
        position += 1
    if text[position : position + 1] == b"\r":
        position += 1
    return position + 1 if text[position : position + 1] == b"\n" else position


def _read_other(text: bytes, first: str, second: str) -> Statement:
    found = ""
    files = totals = False
    before: Token | None = None
    name: Token | None = None
    for token in tokens(text):
        found = _format_name(before, name, token) or found
        files = files or (name is not None and name.is_word(b"INTO") and token.is_word(b"OUTFILE"))
        totals = totals or token.is_word(b"TOTALS", b"EXTREMES")
        before, name = name, token
    found = _format_name(before, name, None) or found
    return Statement(first, second, found, touches_files=files, sub_totals=totals)


def _format_name(before: Token | None, name: Token | None, after: Token | None) -> str:
    """`FORMAT name` is a clause only where nothing, SETTINGS, INTO or a bracket follows it."""
    if before is None or name is None or not before.is_word(b"FORMAT") or name.kind is not Kind.WORD:
        return ""
    closed = after is None or after.text in (b";", b")") or after.is_word(b"SETTINGS", b"INTO")
    return name.text.decode() if closed else ""
