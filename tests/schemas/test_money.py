"""Money is exact: what is divided adds up, what is written is read back, rounding is half-even and happens once."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import decimal_to_nano, nano_to_decimal, parse_fraction, round_half_even, split, to_nano

AMOUNTS = st.integers(0, 10**18)
WEIGHTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=30)


@given(AMOUNTS, WEIGHTS)
def test_split_conserves_and_is_fair(amount: int, weights: list[int]) -> None:
    """A divided amount adds up to itself, and nobody is off by a whole nano-unit."""
    parts = split(amount, weights)
    assert sum(parts) == amount
    total: int = sum(weights)
    if total:
        assert all(
            abs(part - Fraction(amount * weight, total)) < 1 for part, weight in zip(parts, weights, strict=True)
        )


@given(AMOUNTS, st.lists(st.integers(1, 10**12), min_size=1, max_size=30, unique=True))
def test_split_does_not_depend_on_order(amount: int, weights: list[int]) -> None:
    """Whoever is named first gains nothing: where no remainders tie, a weight gets the same part in any order."""
    total = sum(weights)
    if len({amount * weight % total for weight in weights}) < len(weights):
        return
    parts = dict(zip(weights, split(amount, weights), strict=True))
    assert split(amount, sorted(weights)) == [parts[weight] for weight in sorted(weights)]


@given(AMOUNTS, st.integers(1, 20))
def test_ties_go_to_the_earlier(amount: int, count: int) -> None:
    """Equal weights differ by at most one nano-unit, the earlier ones having more: the same result every time."""
    parts = split(amount, [5] * count)
    assert parts == sorted(parts, reverse=True)
    assert parts[0] - parts[-1] <= 1


def test_split_without_weights() -> None:
    """All weights zero: the first bears it. Nobody, or a negative weight, is an error."""
    assert split(7, [0, 0]) == [7, 0]
    with pytest.raises(ValueError, match="nobody"):
        split(7, [])
    with pytest.raises(ValueError, match="negative: -1"):
        split(7, [2, -1])


@given(st.fractions(max_denominator=10**6))
def test_fractions_are_read_exactly(value: Fraction) -> None:
    """2/3 is 2 and 3."""
    assert parse_fraction(str(value)) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**12), max_value=10**12))
def test_decimals_are_read_exactly(value: Decimal) -> None:
    """Nine places survive text, nano-units and back."""
    assert parse_fraction(str(value)) == Fraction(value)
    assert nano_to_decimal(decimal_to_nano(value)) == value
    assert to_nano(parse_fraction(str(value))) == decimal_to_nano(value)


@pytest.mark.parametrize("text", ["", "x", "1/0", "NaN", "inf", "1,5", "2/3/4", "0x10", "1/2.5"])
def test_what_is_no_amount(text: str) -> None:
    """Anything else is refused with what to write."""
    with pytest.raises(ValueError, match=r'is not an amount; write a decimal such as "0.0776" or a fraction "2/3"'):
        parse_fraction(text)


def test_ten_places_are_refused() -> None:
    """An amount is never cut silently."""
    with pytest.raises(ValueError, match="more than nine decimal places"):
        decimal_to_nano(Decimal("0.0000000001"))


@pytest.mark.parametrize(
    ("value", "nearest"), [("1/2", 0), ("3/2", 2), ("5/2", 2), ("-1/2", 0), ("-3/2", -2), ("7/4", 2)]
)
def test_ties_go_to_even(value: str, nearest: int) -> None:
    """Half-even, so that rounding favours nobody."""
    assert round_half_even(Fraction(value)) == nearest
