"""Which price holds: the most specific pattern, on the days from its first to the day before its end."""

from datetime import date
from fractions import Fraction

import pytest

from schemas.config import Price
from schemas.prices import by_precedence, conflicts, effective_end, specificity


def price(
    name: str, starts: date, ends: date | None = None, *, gpu_model: str = "NVIDIA H100*", cluster: str = "fir"
) -> Price:
    return Price(
        id=name,
        cluster=cluster,
        gpu_model=gpu_model,
        basis="rented",
        per_gpu_hour=Fraction(1),
        effective_from=starts,
        effective_to=ends,
    )


@pytest.mark.parametrize(
    ("pattern", "fixed"),
    [("*", 0), ("NVIDIA H100*", 11), ("NVIDIA H?00*", 10), ("NVIDIA H[12]00", 11), ("[!]]", 1), ("[x", 2), ("", 0)],
)
def test_specificity(pattern: str, fixed: int) -> None:
    """Every character that a product must have counts."""
    assert specificity(pattern) == fixed


def test_precedence() -> None:
    """More fixed characters first; among equals the lower id, whatever the order in the file."""
    start = date(2026, 1, 1)
    prices = [price("b", start, gpu_model="*H100*"), price("a", start, gpu_model="*H200*")]
    prices += [price("z", start, gpu_model="NVIDIA H100 80GB HBM3"), price("c", start, gpu_model="*")]
    assert [found.id for found in by_precedence(prices)] == ["z", "a", "b", "c"]
    assert by_precedence(reversed(prices)) == by_precedence(prices)


def test_an_open_price_ends_where_the_next_begins() -> None:
    """Only the next price of the same cluster and pattern ends it."""
    first = price("first", date(2026, 1, 1))
    others = [
        price("other-cluster", date(2026, 2, 1), cluster="narval"),
        price("other-pattern", date(2026, 2, 1), gpu_model="*"),
        price("third", date(2026, 9, 1)),
        price("second", date(2026, 6, 1)),
    ]
    assert effective_end(first, [first, *others]) == date(2026, 6, 1)
    assert effective_end(others[2], [first, *others]) is None
    assert not list(conflicts([first, *others]))


@pytest.mark.parametrize(
    ("one", "other", "day"),
    [
        (price("a", date(2026, 1, 1)), price("b", date(2026, 1, 1)), date(2026, 1, 1)),
        (price("a", date(2026, 1, 1), date(2026, 3, 1)), price("b", date(2026, 2, 1)), date(2026, 2, 1)),
        (price("a", date(2026, 1, 1)), price("b", date(2026, 1, 1), date(2026, 2, 1)), date(2026, 1, 1)),
        (price("a", date(2026, 1, 1), date(2026, 2, 1)), price("b", date(2026, 2, 1)), None),
        (price("a", date(2026, 1, 1)), price("b", date(2026, 2, 1)), None),
        (price("a", date(2026, 1, 1)), price("b", date(2026, 1, 1), gpu_model="*"), None),
        (price("a", date(2026, 1, 1)), price("b", date(2026, 1, 1), cluster="narval"), None),
    ],
)
def test_overlaps(one: Price, other: Price, day: date | None) -> None:
    """Ends are exclusive: a price may begin on the day on which another one ends."""
    assert list(conflicts([one, other])) == ([] if day is None else [(one, other, day)])
