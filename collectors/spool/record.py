"""Records: how a message lies in a segment of the spool.

A segment holds records one after another, nothing else. A record, little-endian:

    state      4 bytes    WAITING or ACKNOWLEDGED; the only part that ever changes
    checksum   u32        CRC-32 of all that follows, begun with the record's place (segment, offset): what another file
                          left in the same blocks of the disk is never taken for a record
    number     u64        1, 2, 3 … in the order in which messages were taken, over all segments
    taken_ms   u64        when, unix ms UTC
    lengths    u16 x 2, u32 x 2   of topic, key, headers and value in bytes
    topic, key, headers (of each: its lengths u16 and u32, name, value), value

The two states differ in every byte, so that a damaged one is neither.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WAITING = b"\xc7Wt\x01"
ACKNOWLEDGED = b"\xd8Ak\x02"

_FRAME = struct.Struct("<4sI")
_HEAD = struct.Struct("<QQHHII")
_PLACE = struct.Struct("<QQ")
_HEADER = struct.Struct("<HI")
_FIXED = _FRAME.size + _HEAD.size
_STATES = re.compile(b"|".join(map(re.escape, (WAITING, ACKNOWLEDGED))))


class Message(NamedTuple):
    """A Kafka message. Its key names its shard."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


class Record(NamedTuple):
    """A sound record: where it is, and what stands before its headers."""

    offset: int
    size: int
    waiting: bool
    number: int
    taken_ms: int
    topic: bytes
    key: bytes


class Damage(NamedTuple):
    """Bytes of a segment that hold no sound record."""

    offset: int
    size: int


def record_size(message: Message) -> int:
    """Bytes that a message takes in a segment."""
    return _FIXED + len(message.topic.encode()) + len(message.key) + _headers_size(message) + len(message.value)


def scan(data: bytes, segment: int) -> Iterator[Record | Damage]:
    """All of a segment's content in order. After a damage it goes on with the next record that is sound."""
    offset = 0
    while offset < len(data):
        record = record_at(data, segment, offset)
        if record is None:
            sound = (record_at(data, segment, found.start()) for found in _STATES.finditer(data, offset + 1))
            record = next((record for record in sound if record is not None), None)
            end = len(data) if record is None else record.offset
            yield Damage(offset, end - offset)
        if record is None:
            return
        yield record
        offset = record.offset + record.size


def _headers_size(message: Message) -> int:
    return sum(_HEADER.size + len(name.encode()) + len(value) for name, value in message.headers)


def encoded(message: Message, number: int, taken_ms: int, segment: int, offset: int) -> tuple[bytes, bytes]:
    topic, value = message.topic.encode(), message.value
    sizes = (len(topic), len(message.key), _headers_size(message), len(value))
    parts = [_HEAD.pack(number, taken_ms, *sizes), topic, message.key]
    for name, content in message.headers:
        encoded = name.encode()
        parts += [_HEADER.pack(len(encoded), len(content)), encoded, content]
    head = b"".join(parts)
    checksum = zlib.crc32(value, zlib.crc32(head, _begun(segment, offset)))
    return _FRAME.pack(WAITING, checksum) + head, value


def _begun(segment: int, offset: int) -> int:
    return zlib.crc32(_PLACE.pack(segment, offset))


def record_at(data: bytes, segment: int, offset: int, base: int = 0) -> Record | None:
    """The record at an offset of a segment, `data` being the segment from `base` on; None when it is not sound."""
    at = offset - base
    if len(data) - at < _FIXED:
        return None
    state, checksum = _FRAME.unpack_from(data, at)
    number, taken_ms, topic, key, headers, value = _HEAD.unpack_from(data, at + _FRAME.size)
    end = at + _FIXED + topic + key + headers + value
    if state not in (WAITING, ACKNOWLEDGED) or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[at + _FRAME.size : end], _begun(segment, offset)) != checksum:
        return None
    names = at + _FIXED
    return Record(
        offset, end - at, state == WAITING, number, taken_ms,
        data[names : names + topic], data[names + topic : names + topic + key],
    )  # fmt: skip


def message_of(data: bytes, record: Record) -> Message:
    """The message of a record, `data` being the record alone."""
    _, _, topic, key, headers, _ = _HEAD.unpack_from(data, _FRAME.size)
    at = _FIXED + topic + key
    end = at + headers
    pairs = []
    while at < end:
        name, content = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        pairs.append((data[at : at + name].decode(), data[at + name : at + name + content]))
        at += name + content
    return Message(record.topic.decode(), record.key, data[end:], pairs)
