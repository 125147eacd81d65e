"""Where in a TOML text each key stands: tomllib gives values without lines, and an error needs its line.

The text must already have been accepted by tomllib; this scanner only follows the structure (headers, keys, inline
tables, arrays, strings) and judges nothing. Grammar: https://toml.io/en/v1.0.0.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable

Path = tuple[str | int, ...]

_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # multi-line basic; up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"  # multi-line literal
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")


def lines_of(text: str) -> dict[Path, int]:
    """Line (from 1) of every key path; elements of arrays count from 0: ``("cluster", 0, "target", 1, "kind")``."""
    return _Scanner(text).scan()


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Line of a path, or of the nearest table around it that stands in the text."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}
        self._tables: dict[Path, int] = {}  # arrays of tables: how many elements so far

    def scan(self) -> dict[Path, int]:
        current: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._at] == "[":
                current = self._header()
            else:
                self._assignment(current)
        return self._lines

    def _header(self) -> Path:
        of_array = self._text.startswith("[[", self._at)
        line = self._line()
        self._at += 2 if of_array else 1
        keys = self._keys()
        self._at += 2 if of_array else 1
        path: Path = ()
        for depth, key in enumerate(keys):
            path = (*path, key)
            self._lines.setdefault(path, line)
            if of_array and depth == len(keys) - 1:
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        self._lines[path] = line
        return path

    def _assignment(self, path: Path) -> None:
        line = self._line()
        for key in self._keys():
            path = (*path, key)
            self._lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._text[start] in "\"'":
                self._skip(_STRING)
                keys.append(tomllib.loads(f"key = {self._text[start : self._at]}")["key"])
            else:
                self._skip(_BARE_KEY)
                keys.append(self._text[start : self._at])
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        first = self._text[self._at]
        if first == "{":
            self._members("}", lambda _: self._assignment(path))
        elif first == "[":
            self._members("]", lambda index: self._element((*path, index)))
        elif first in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_BARE_VALUE)

    def _element(self, path: Path) -> None:
        self._lines[path] = self._line()
        self._value(path)

    def _members(self, closing: str, read: Callable[[int], None]) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == closing:
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            read(index)
            index += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"line {self._line()}: not TOML; check the text with tomllib first")
        self._at = match.end()
        return self._at

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)
