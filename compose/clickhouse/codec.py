"""Compressed bodies, both ways. One codec library for all of them: pyarrow's streams."""

from collections.abc import Iterator

import pyarrow as pa

from compose.clickhouse import errors
from compose.clickhouse.errors import ClickHouseError

# Content-Encoding -> pyarrow's name. `lz4` is the frame format, as in ClickHouse.
_CODECS = {"lz4": "lz4", "zstd": "zstd", "gzip": "gzip", "x-gzip": "gzip", "br": "brotli"}

_BLOCK_BYTES = 4 << 20


def unpacked(body: bytes, encoding: str, limit_bytes: int) -> Iterator[bytes]:
    """The body of a request in blocks of at most 4 MiB (one block when it is not compressed).

    Raises ClickHouseError for an unknown encoding, damaged data, or more than `limit_bytes` unpacked.
    """
    if encoding in ("", "identity"):
        yield body
        return
    codec = _CODECS.get(encoding)
    if codec is None:
        known = ", ".join(_CODECS)
        raise ClickHouseError.of(
            errors.UNKNOWN_COMPRESSION_METHOD, f"Unknown Content-Encoding {encoding!r}; known are {known}."
        )
    total = 0
    with pa.input_stream(pa.py_buffer(body), compression=codec) as stream:
        while block := _read(stream, encoding):
            total += len(block)
            if total > limit_bytes:
                raise too_large(limit_bytes)
            yield block


def _read(stream: pa.NativeFile, encoding: str) -> bytes:
    try:
        return bytes(stream.read(_BLOCK_BYTES))
    except OSError as error:
        raise ClickHouseError.of(errors.INCORRECT_DATA, f"The body is not {encoding}: {error}.") from None


def too_large(limit_bytes: int) -> ClickHouseError:
    """The error for a body beyond the limit."""
    text = f"The body of the request is larger than {limit_bytes >> 20} MiB; send it in several requests."
    return ClickHouseError.of(errors.QUERY_IS_TOO_LARGE, text)


def choose(accept_encoding: str) -> str:
    """The first encoding in the client's list that is known here; empty for none."""
    offered = (item.partition(";")[0].strip().lower() for item in accept_encoding.split(","))
    return next((name for name in offered if name in _CODECS), "")


class _Sink:
    """A file for the compressor to write to; what came since the last `take` can be taken, also after the end."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to release."""

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Packer:
    """Compresses an answer piece by piece as one stream; passes it through when `encoding` is empty."""

    def __init__(self, encoding: str) -> None:
        self._sink = _Sink()
        self._stream = (
            pa.CompressedOutputStream(pa.PythonFile(self._sink, "w"), _CODECS[encoding]) if encoding else None
        )

    def pack(self, chunks: list[bytes], *, last: bool) -> bytes:
        """What to send for these chunks: complete up to here, so that the reader need not wait for the next."""
        if self._stream is None:
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        for chunk in chunks:
            self._stream.write(chunk)
        if last:
            self._stream.close()
        else:
            self._stream.flush()
        return self._sink.take()
