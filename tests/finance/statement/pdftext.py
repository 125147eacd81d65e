"""The texts that a PDF of ours shows, read back from its bytes: each string drawn, in the order of drawing."""

import re
import zlib
from typing import NamedTuple

_OBJECT = re.compile(rb"(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)
_STREAM = re.compile(rb"stream\n(.*)\nendstream", re.DOTALL)
_DRAWN = re.compile(rb"/F(\d+) [\d.]+ Tf|([\d.]+) [\d.]+ Td|\(((?:\\.|[^\\)])*)\) Tj", re.DOTALL)
_MAPPED = re.compile(rb"^<([0-9A-F]{4})> <([0-9A-F]+)>$", re.MULTILINE)


class Placed(NamedTuple):
    """A string, from where to the right of the left edge, in points, and in what font."""

    text: str
    left: float
    font: int


def pages(content: bytes) -> list[list[str]]:
    """Strings by page."""
    return [[one.text for one in page] for page in placed(content)]


def placed(content: bytes) -> list[list[Placed]]:
    """By page."""
    objects = {int(number): body for number, body in _OBJECT.findall(content)}
    fonts = {
        int(name): _signs(objects[int(_reference(objects[int(font)], b"ToUnicode"))])
        for resources in objects.values()
        for name, font in re.findall(rb"/F(\d+) (\d+) 0 R", resources)
    }
    contents = [int(_reference(body, b"Contents")) for body in objects.values() if b"/Type /Page\n" in body]
    return [_strings(_stream(objects[number]), fonts) for number in contents]


def _reference(body: bytes, name: bytes) -> bytes:
    found = re.search(rb"/" + name + rb" (\d+) 0 R", body)
    assert found is not None
    return found[1]


def _stream(body: bytes) -> bytes:
    found = _STREAM.search(body)
    assert found is not None
    return zlib.decompress(found[1]) if b"/FlateDecode" in body else found[1]


def _signs(body: bytes) -> dict[int, str]:
    pairs = _MAPPED.findall(_stream(body))
    return {int(code, 16): bytes.fromhex(sign.decode()).decode("utf-16-be") for code, sign in pairs}


def _strings(stream: bytes, fonts: dict[int, dict[int, str]]) -> list[Placed]:
    strings, font, left = [], 0, 0.0
    for name, moved, string in _DRAWN.findall(stream):
        if name:
            font = int(name)
            continue
        if moved:
            left = float(moved)
            continue
        codes = re.sub(rb"\\(.)", lambda escaped: b"\r" if escaped[1] == b"r" else escaped[1], string, flags=re.DOTALL)
        text = "".join(fonts[font][high << 8 | low] for high, low in zip(codes[::2], codes[1::2], strict=True))
        strings.append(Placed(text, left, font))
    return strings
