"""Exact money: nano-units of a currency as integers, rates as fractions, never a float.

An amount is a whole number of nano-units (1e-9) of its currency: int in memory, Decimal(…, 9) in ClickHouse.
Rounding is half-even and happens once, where an amount first becomes nano-units. Divisions keep their sum.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction

NANO = 1_000_000_000


def parse_fraction(text: str) -> Fraction:
    """Read ``"2/3"`` or ``"0.5"`` or ``"42000"`` exactly. Raises ValueError naming what is accepted."""
    try:
        numerator, slash, denominator = text.partition("/")
        if slash:
            return Fraction(int(numerator), int(denominator))
        amount = Decimal(text)
        if not amount.is_finite():
            raise ValueError
        return Fraction(amount)
    except (ValueError, InvalidOperation, ZeroDivisionError) as error:
        raise ValueError(f'"{text}" is not an amount; write a decimal such as "0.0776" or a fraction "2/3"') from error


def round_half_even(value: Fraction) -> int:
    """Nearest integer, ties to even. (``round`` on a Fraction is exactly this; the name says it.)"""
    return round(value)


def to_nano(value: Fraction) -> int:
    """An exact amount as nano-units, half-even."""
    return round_half_even(value * NANO)


def nano_to_decimal(nano: int) -> Decimal:
    """Nano-units as a Decimal with nine places, e.g. 1_500_000_000 -> Decimal('1.500000000')."""
    return Decimal(nano).scaleb(-9)


def decimal_to_nano(amount: Decimal) -> int:
    """The inverse of :func:`nano_to_decimal`. Raises ValueError when the amount has more than nine places."""
    nano = amount.scaleb(9)
    if nano != nano.to_integral_value():
        raise ValueError(f"{amount} has more than nine decimal places")
    return int(nano)


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Divide an integer amount by weights so that the parts add up to it (largest remainder).

    Ties go to the earlier weight, so the result depends only on the arguments. All weights zero: everything goes
    to the first part. Raises ValueError on a negative weight or when there is nothing to divide among.
    """
    if not weights:
        raise ValueError("an amount cannot be divided among nobody")
    if min(weights) < 0:
        raise ValueError(f"a weight is negative: {min(weights)}")
    total = sum(weights)
    if total == 0:
        return [amount, *([0] * (len(weights) - 1))]
    parts, remainders = zip(*(divmod(amount * weight, total) for weight in weights), strict=True)
    result = list(parts)
    left = amount - sum(parts)
    for index in sorted(range(len(weights)), key=lambda i: (-remainders[i], i))[:left]:
        result[index] += 1
    return result
