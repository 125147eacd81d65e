"""The line of every key is found, however the author laid the file out."""

import textwrap
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.toml_lines import Path, line_of, lines_of

TEXTS = {
    "tables": """\
        # a comment with [brackets] and "quotes
        title = "x"
        [a]
        b = 1
          [a.c]
          d = [1, 2, 3]
        [[e]]
        f = 1
        [[e]]
        f = 2
          [[e.g]]
          h = true
          [[e.g]]
          h = false
            [e.g.i]
            j = 2026-04-01
        [[e]]
        """,
    "values": '''\
        a = """
        [not a table]
        b = 1
        """
        c = \'\'\'
        d = [
        \'\'\'
        e = "a # no comment, \\" no end"
        f = 'C:\\dir'  # comment
        g = """a""\\"""" # two quotes at the end: """
        h = 2026-04-01 07:00:00
        i = -inf
        "j.k" = 1
        'l m' . n . "o" = 2
        p = """"quoted""""
        ''',
    "inline": """\
        a = { b = 1, c = { d = "}" }, e.f = 2 }
        g = [
          { h = 1 },  # one
          # [i]
          [ 2, [ 3,
            4 ] ],
          "]",
        ]
        j = []
        k = {}
        """,
}


def paths_of(value: object, path: Path = ()) -> set[Path]:
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, member in value.items():
            found |= paths_of(member, (*path, key))
    if isinstance(value, list):
        for index, member in enumerate(value):
            found |= paths_of(member, (*path, index))
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_has_its_line(name: str) -> None:
    """Exactly the paths that tomllib reads are found, and each key stands in the line that is named."""
    text = textwrap.dedent(TEXTS[name])
    lines = lines_of(text)
    assert set(lines) == paths_of(tomllib.loads(text))
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert path[-1] in text.splitlines()[line - 1]


def test_lines_are_counted_from_one() -> None:
    """Lines are those of an editor; arrays of tables count their elements."""
    lines = lines_of(textwrap.dedent(TEXTS["tables"]))
    assert lines["title",] == 2
    assert lines["a", "c", "d", 2] == 6
    assert (lines["e", 0], lines["e", 1], lines["e", 2]) == (7, 9, 17)
    assert lines["e", 1, "g", 1, "i", "j"] == 16
    assert line_of(lines, ("e", 1, "g", 0, "missing")) == 11
    assert line_of(lines, ("nowhere",)) == 1


KEYS = st.text(st.characters(codec="utf-8"), max_size=4)
STRINGS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.integers(-9, 9) | st.booleans() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{escaped}"'


def written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ",\n ".join(map(written, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {written(member)}" for key, member in value.items()) + "}"
    return str(value)


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_any_document(tables: list[dict[str, object]]) -> None:
    """Whatever the keys and strings are, the scanner follows them as tomllib does."""
    text = "".join(
        "[[t]]\n" + "".join(f"{quoted(key)} = {written(value)}\n" for key, value in table.items()) for table in tables
    )
    assert set(lines_of(text)) == paths_of(tomllib.loads(text))
