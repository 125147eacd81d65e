"""A message in quarantine: its name, what it carries beside the untouched original, what it says of itself."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes | None]]

_REASON, _ORIGIN, _KEY = "quarantine-reason", "quarantine-origin", "quarantine-key"


class Origin(NamedTuple):
    """Where a message came from. As text, `topic/partition/offset`, it is the message's name."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Raises ValueError for another form."""
        topic, partition, offset = text.split("/")
        return cls(topic, int(partition), int(offset))


class Claims(NamedTuple):
    """What a message says of itself, however unreadable the rest of it is. Empty or None where it does not."""

    cluster: str
    shard: str
    collector: str
    boot: str
    seq: int | None


class Put(NamedTuple):
    """What the topic `quarantine` holds of a message."""

    origin: Origin
    reason: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    """The original ones."""

    @property
    def digest(self) -> str:
        """See `digest`."""
        return digest(self.key, self.value, self.headers)


def added_headers(reason: str, origin: Origin, key: bytes | None) -> list[tuple[str, bytes]]:
    """What a message in quarantine has after its original headers: why it is here, from where, under which key."""
    return [(_REASON, reason.encode()), (_ORIGIN, str(origin).encode()), (_KEY, key or b"")]


def read(value: bytes | None, headers: Headers) -> Put | None:
    """A record of the topic `quarantine`; None when nobody of us put it there."""
    original, added = headers[:-3], headers[-3:]
    if [name for name, _ in added] != [_REASON, _ORIGIN, _KEY]:
        return None
    reason, origin, key = (content or b"" for _, content in added)
    try:
        return Put(Origin.parse(origin.decode()), reason.decode(), key or None, value, original)
    except ValueError:
        return None


def claims(key: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> Claims:
    """Each by itself: one that is missing or malformed hides no other."""
    said = {name: _text(value) for name, value in headers}
    number = said.get("seq", "")
    seq = int(number) if number.isdecimal() and len(number) <= 18 else None
    cluster = said.get("cluster", "")
    shard = _text(key)
    if shard.count("/") != 2:  # the key of another topic
        shard = ""
    return Claims(cluster, shard, said.get("collector", ""), said.get("boot", ""), seq)


def digest(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Identity of the content, hexadecimal: a broker that starts anew gives its offsets to other messages."""
    found = blake2b(digest_size=8)
    for part in (key, value, *(part for name, content in headers for part in (name.encode(), content))):
        found.update(f"{-1 if part is None else len(part)}:".encode())
        found.update(part or b"")
    return found.hexdigest()


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return ""
