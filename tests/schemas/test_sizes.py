"""Sizes as people write them on the command line."""

import pytest

from schemas.config_values import size_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 << 30),
        ("500MB", 500_000_000),
        ("1.5 TiB", 3 << 39),
        ("64Mi", 64 << 20),
        ("70000", 70_000),
        ("1K", 1000),
    ],
)
def test_a_size_is_read_exactly(text: str, size: int) -> None:
    """Powers of 1,024 with an i, of 1,000 without."""
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "4 gib", "-1GB", "GiB", "1e9", "4GiB/s", "1,5GB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    """Never guessed."""
    with pytest.raises(ValueError, match='is not a size; write for example "4GiB" or "500MB"'):
        size_bytes(text)
