"""The headers of a telemetry message say who sent it; headers that do not are refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import SCHEMAS, Unreadable
from schemas.topics import COMPACTED, PARTITIONS, Defect, Envelope, shard

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)
COUNTS = st.integers(0, 2**40)
DEFECTS = st.builds(Defect, ts_ms=COUNTS, source=TEXTS, kind=TEXTS, subject=TEXTS, detail=TEXTS)
ENVELOPES = st.builds(
    Envelope,
    schema=st.sampled_from(sorted(SCHEMAS)),
    cluster=TEXTS,
    collector=TEXTS,
    boot=TEXTS,
    seq=COUNTS,
    rows=COUNTS,
    content_type=TEXTS,
    defects=st.lists(DEFECTS, max_size=3).map(tuple),
)


@given(ENVELOPES)
def test_headers_round_trip(envelope: Envelope) -> None:
    """What a collector says of a message is what a worker reads."""
    assert Envelope.parse(envelope.headers()) == envelope


@given(
    st.lists(
        st.tuples(TEXTS | st.sampled_from(("schema", "seq", "rows", "defects")), st.binary(max_size=20)), max_size=9
    )
)
def test_garbage_is_unreadable(headers: list[tuple[str, bytes]]) -> None:
    """Headers that nobody meant are refused with a reason, never with another error."""
    with pytest.raises(Unreadable, match=r"\w"):
        Envelope.parse(headers)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("seq", None, "header 'seq' is missing"),
        ("cluster", b"", "header 'cluster' is missing"),
        ("schema", b"gpu-samples/9", "unknown schema 'gpu-samples/9'; known: gpu-samples/1, token-samples/1"),
        ("seq", b"one", "malformed header: invalid literal"),
        ("defects", b"[{}]", "malformed header: "),
        ("boot", b"\xff", "a header is not UTF-8"),
    ],
)
def test_each_bad_header_is_named(name: str, value: bytes | None, reason: str) -> None:
    """The reason that goes to quarantine says which header, and what is wrong with it."""
    sound = Envelope("gpu-samples/1", "fir", "c", "b", 1, 0).headers()
    headers = [(key, old) for key, old in sound if key != name]
    if value is not None:
        headers.append((name, value))
    with pytest.raises(Unreadable, match=reason):
        Envelope.parse(headers)


def test_keys_and_topics() -> None:
    """A shard names its cluster first; every compacted topic is one of the topics."""
    assert shard("fir", "c0", 3) == "fir/c0/3"
    assert set(PARTITIONS) >= COMPACTED
