"""The Prometheus text format, read with a memory.

An exporter repeats the same ``name{labels}`` text on every scrape; only the numbers change. A :class:`PageReader`
therefore learns the *layout* of a page once: which line belongs to which wanted series, and with which bytes that
line begins. On the next scrape it splits the page, compares every line with the beginning that it must have, and
converts what follows, all in C loops over whole lists. A line of a family that nobody wants is only checked to be
still of that family.

A page that fits no remembered layout (a pod came or went, the exporter printed its groups in another order) is walked
line by line: a series seen before is found by its text, one seen for the first time is parsed by prometheus-client.

Rules for broken pages:

- A line that cannot be read (dcgm-exporter does not escape label values; ``ERROR - FAILED TO CONVERT TO STRING``) is
  skipped and counted, the page is kept.
- A page that does not end in a newline was cut. None of it is used: the last number may be cut in the middle, and
  lines further down, whole devices, may be missing, which would look as if those had gone. The counters of the next
  complete page make up for it, so nothing is lost.
- An empty page and a page of something else are errors, never "no series".

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from operator import getitem, itemgetter
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

Floats = NDArray[np.float64]
Counters = NDArray[np.uint64]

MISSING = 2**64 - 1
"""In an array of counters: the line holds no number. A printed number of 2^64-1 or more is held as 2^64-2."""

MAX_LAYOUTS = 32  # an exporter with four groups in random order prints 24
MAX_UNREADABLE_NAMED = 8  # names of unreadable lines given with a page; all are counted

_SAMPLE = re.compile(
    rb'[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(?:\{(?:[^"}]++|"(?:[^"\\]++|\\.)*+")*+\}[ \t]*|(?<=[ \t]))(?=[^\s{])'
)
_OTHER = re.compile(rb"[ \t]*[a-zA-Z_:][a-zA-Z0-9_:]*[ \t]*(?:\{.*\}[ \t]*|(?<=[ \t]))([^ \t\r]+)")
_NAME = re.compile(rb"[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[{ \t]|$)")
_BARE = re.compile(rb"[ \t]*[a-zA-Z_:][a-zA-Z0-9_:]*[ \t]*")
_starts_with = bytes.startswith
_cut = cast(Callable[[bytes, slice], bytes], getitem)


class PageError(ValueError):
    """A page of which nothing can be used. `kind` names the defect: empty_page, truncated_page, garbage_page, …"""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Family:
    """A wanted metric: the column that it feeds, and whether it is a counter of whole units."""

    column: str
    counter: bool = False


class Series(NamedTuple):
    """One wanted line of a page: the column it feeds and what its labels identify."""

    column: str
    key: Hashable


Identify = Callable[[str, Mapping[str, str]], Hashable | None]
"""(column, labels) -> what the series measures, or None when this series of the family is not wanted."""


@dataclass(frozen=True, eq=False, slots=True)
class SeriesSet:
    """The wanted series of a page in the order of its lines. The same object for as long as they stay the same."""

    gauges: tuple[Series, ...]
    counters: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The numbers of one page. A gauge that is not a number is NaN, such a counter is MISSING."""

    series: SeriesSet
    gauges: Floats
    counters: Counters
    lines: int
    unreadable_count: int
    unreadable: tuple[str, ...]
    """Names of (some of) the lines that could not be read; never their labels, which may name a person."""


class _Lines:
    """Some lines of a page, each with the bytes that it begins with."""

    __slots__ = ("_bare", "_pick", "_prefixes", "_slices")

    def __init__(self, prefixes: Sequence[tuple[int, bytes]], wanted: bool) -> None:
        positions = [position for position, _ in prefixes]
        self._prefixes = [prefix for _, prefix in prefixes]
        self._slices = [_from(len(prefix)) for prefix in self._prefixes]
        self._bare = [index for index, prefix in enumerate(self._prefixes) if wanted and b"{" not in prefix]
        self._pick = _picker(positions)

    def pick(self, lines: list[bytes]) -> Sequence[bytes]:
        return self._pick(lines)

    def fit(self, lines: Sequence[bytes]) -> bool:
        if not all(map(_starts_with, lines, self._prefixes)):
            return False
        # "name " must not be followed by labels: they would make it another series.
        return not any(lines[index][self._slices[index]].lstrip()[:1] == b"{" for index in self._bare)

    def rests(self, lines: Sequence[bytes]) -> list[bytes]:
        """What follows the known beginnings: the numbers as text."""
        return list(map(_cut, lines, self._slices))


@lru_cache(4096)
def _from(start: int) -> slice:
    return slice(start, None)


@lru_cache(8192)
def _shared(text: bytes) -> bytes:
    """One object for equal bytes: thousands of targets print the same family names."""
    return text


def _picker(positions: list[int]) -> Callable[[list[bytes]], Sequence[bytes]]:
    if not positions:
        return lambda _: ()
    if len(positions) == 1 or all(b == a + 1 for a, b in pairwise(positions)):
        return itemgetter(slice(positions[0], positions[-1] + 1))
    return itemgetter(*positions)


@dataclass(slots=True)
class _Layout:
    """What every line of a page is."""

    count: int
    series: SeriesSet
    gauges: _Lines
    counters: _Lines
    others: _Lines
    odd: Callable[[list[bytes]], Sequence[bytes]]
    odd_lines: Sequence[bytes]
    unreadable_count: int
    unreadable: tuple[str, ...]

    def read(self, lines: list[bytes]) -> Page | None:
        """The page's numbers, or None when a line is not what it was."""
        if len(lines) != self.count:
            return None
        gauges, counters = self.gauges.pick(lines), self.counters.pick(lines)
        if not (
            self.gauges.fit(gauges)
            and self.counters.fit(counters)
            and self.others.fit(self.others.pick(lines))
            and self.odd(lines) == self.odd_lines
        ):
            return None
        bad: list[str] = []
        floats = _floats(self.gauges.rests(gauges), self.series.gauges, bad)
        wholes = _wholes(self.counters.rests(counters), self.series.counters, bad)
        return Page(
            series=self.series,
            gauges=floats,
            counters=wholes,
            lines=len(lines),
            unreadable_count=self.unreadable_count + len(bad),
            unreadable=(*self.unreadable, *bad)[:MAX_UNREADABLE_NAMED],
        )


def _floats(texts: list[bytes], series: Sequence[Series], bad: list[str]) -> Floats:
    try:
        return np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:  # a timestamp after a value, or no number
        return np.fromiter(map(_number, texts, series, _repeat(bad)), np.float64, len(texts))


def _wholes(texts: list[bytes], series: Sequence[Series], bad: list[str]) -> Counters:
    try:
        counters = np.fromiter(map(int, texts), np.uint64, len(texts))
    except (ValueError, OverflowError):  # 2.776148269e+09, a timestamp, or no number
        return np.fromiter(map(_whole, texts, series, _repeat(bad)), np.uint64, len(texts))
    if counters.size and counters.max() == MISSING:
        counters[counters == MISSING] = MISSING - 1
    return counters


def _repeat(bad: list[str]) -> Iterable[list[str]]:
    while True:
        yield bad


def _number(text: bytes, series: Series, bad: list[str]) -> float:
    """The value before an optional timestamp; NaN, and a note in `bad`, when it is none."""
    try:
        return float(text.split(None, 1)[0])
    except (ValueError, IndexError):
        bad.append(series.column)
        return np.nan


def _whole(text: bytes, series: Series, bad: list[str]) -> int:
    """The value of a counter as an exact integer, fractions cut off; MISSING when it is no number or negative."""
    try:
        token = text.split(None, 1)[0]
        try:
            value = int(token)
        except ValueError:
            number = float(token)
            if number != number:
                return MISSING
            value = int(min(number, 2.0**64)) if number >= 0 else -1
        if value >= 0:
            return min(value, MISSING - 1)
    except (ValueError, IndexError):
        pass
    bad.append(series.column)
    return MISSING


@dataclass(slots=True)
class _Walk:
    """A page being walked line by line."""

    gauges: list[tuple[int, bytes, Series]] = field(default_factory=list)
    counters: list[tuple[int, bytes, Series]] = field(default_factory=list)
    others: list[tuple[int, bytes]] = field(default_factory=list)
    odd: list[int] = field(default_factory=list)
    """Lines of one word or none: they must stay exactly as they are."""
    samples: int = 0
    unreadable: list[str] = field(default_factory=list)


class PageReader:
    """Reads the pages of one target, for the families that are wanted, and remembers how they are laid out."""

    def __init__(self, families: Mapping[str, Family], identify: Identify) -> None:
        self._families = {name.encode(): family for name, family in families.items()}
        self._identify = identify
        self._known: dict[bytes, Series | None] = {}
        self._keys: dict[Hashable, Hashable] = {}  # equal keys as one object: a device has many series
        self._layouts: list[_Layout] = []

    def read(self, page: bytes) -> Page:
        """The wanted numbers of a page. Raises PageError when the page is empty, cut or not in this format."""
        if not page or page.isspace():
            raise PageError("empty_page", "the page is empty")
        lines = page.split(b"\n")
        if lines.pop():
            raise PageError("truncated_page", f"the page of {len(page)} bytes ends in the middle of a line")
        for index, layout in enumerate(self._layouts):
            result = layout.read(lines)
            if result is not None:
                if index:
                    self._layouts.insert(0, self._layouts.pop(index))
                return result
        layout = self._learn(lines)
        result = layout.read(lines)
        assert result is not None, "a layout fits the page that it was learned from"
        self._layouts.insert(0, layout)
        del self._layouts[MAX_LAYOUTS:]
        return result

    def _learn(self, lines: list[bytes]) -> _Layout:
        walk = _Walk()
        for position, line in enumerate(lines):
            self._walk_line(walk, position, line)
        if len(walk.unreadable) > walk.samples and not (walk.gauges or walk.counters):
            raise PageError(
                "garbage_page", f"{len(walk.unreadable)} of {len(lines)} lines are not in the Prometheus text format"
            )
        gauges = tuple(series for _, _, series in walk.gauges)
        counters = tuple(series for _, _, series in walk.counters)
        same = (x.series for x in self._layouts if x.series.gauges == gauges and x.series.counters == counters)
        series = next(same, None) or SeriesSet(gauges, counters)
        wanted = [(position, prefix) for position, prefix, _ in walk.gauges]
        counted = [(position, prefix) for position, prefix, _ in walk.counters]
        odd = _picker(walk.odd)
        self._forget(walk)
        return _Layout(
            count=len(lines),
            series=series,
            gauges=_Lines(wanted, wanted=True),
            counters=_Lines(counted, wanted=True),
            others=_Lines(walk.others, wanted=False),
            odd=odd,
            odd_lines=odd(lines),
            unreadable_count=len(walk.unreadable),
            unreadable=tuple(walk.unreadable[:MAX_UNREADABLE_NAMED]),
        )

    def _forget(self, walk: _Walk) -> None:
        """Drop the series of pods long gone."""
        current = len(walk.gauges) + len(walk.counters)
        if len(self._known) > 4 * current + 256:
            present = {prefix for _, prefix, _ in (*walk.gauges, *walk.counters)}
            self._known = {prefix: series for prefix, series in self._known.items() if prefix in present}
            self._keys.clear()
            self._layouts.clear()

    def _walk_line(self, walk: _Walk, position: int, line: bytes) -> None:
        stripped = line.lstrip()
        if not stripped:
            walk.odd.append(position)
            return
        if stripped[:1] == b"#":
            walk.others.append((position, _shared(line[: len(line) - len(stripped) + 1])))
            return
        name = _NAME.match(line)
        if name is None:
            self._skip(walk, position, line, f"line {position + 1}")
        elif (family := self._families.get(name[1])) is not None:
            self._walk_wanted(walk, position, line, name[1].decode(), family)
        elif (other := _OTHER.match(line)) is None or not _is_number(other[1]):
            self._skip(walk, position, line, name[1].decode())
        else:
            walk.samples += 1
            walk.others.append((position, _shared(line[: name.end()])))

    def _walk_wanted(self, walk: _Walk, position: int, line: bytes, name: str, family: Family) -> None:
        sample = _SAMPLE.match(line)
        if sample is None:
            self._skip(walk, position, line, name)
            return
        prefix = sample[0]
        if prefix in self._known:
            series = self._known[prefix]
        else:
            labels = _labels(prefix)
            if labels is None:
                self._skip(walk, position, line, name)
                return
            key = self._identify(family.column, labels)
            series = None if key is None else Series(family.column, self._keys.setdefault(key, key))
            self._known[prefix] = series
        walk.samples += 1
        if series is None:
            walk.others.append((position, prefix))
        else:
            (walk.counters if family.counter else walk.gauges).append((position, prefix, series))

    @staticmethod
    def _skip(walk: _Walk, position: int, line: bytes, name: str) -> None:
        """Note an unreadable line, and remember it up to its last word: it is looked at again when it changes there."""
        walk.unreadable.append(name)
        start = line[: line.rstrip().rfind(b" ") + 1]
        if start and not _BARE.fullmatch(start):
            walk.others.append((position, start))
        else:
            walk.odd.append(position)


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(prefix: bytes) -> dict[str, str] | None:
    """The labels in ``name{labels}``, or None when they are malformed."""
    try:
        (family,) = text_string_to_metric_families(prefix.decode(errors="replace") + " 0\n")
        (sample,) = family.samples
    except ValueError:
        return None
    return sample.labels
