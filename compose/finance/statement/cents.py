"""Exact amounts shown to the cent so that what is shown adds up. Pure.

The total of a column is the exact sum, rounded half-even once. The lines are rounded down, and those with the largest
remainders get one cent more, until they add up to it; so each line is less than a cent from its exact amount.
Cost and subsidy are rounded like that. What the recipient pays is their difference, in every line and in every total:
it takes the remainder, and is less than two cents from its exact amount in a line, at most one in the total.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from schemas.money import NANO, round_half_even

NANO_PER_CENT = NANO // 100


@dataclass(frozen=True, slots=True)
class Amounts:
    """Exact money, nano-units."""

    cost_nano: int = 0
    subsidy_nano: int = 0
    charge_nano: int = 0

    @property
    def each(self) -> tuple[int, int, int]:
        """Cost, the programme's part, the recipient's part."""
        return self.cost_nano, self.subsidy_nano, self.charge_nano

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(*(mine + theirs for mine, theirs in zip(self.each, other.each, strict=True)))


@dataclass(frozen=True, slots=True)
class Cents:
    """The same as it is shown, hundredths."""

    cost: int
    subsidy: int

    @property
    def charge(self) -> int:
        """What is left for the recipient."""
        return self.cost - self.subsidy


def rounded(amount_nano: int) -> int:
    """Nearest cent, ties to even."""
    return round_half_even(Fraction(amount_nano, NANO_PER_CENT))


def to_cents(amounts_nano: Sequence[int], total: int | None = None) -> list[int]:
    """Cents that add up to `total`; default: the exact sum, rounded half-even. Ties go to the earlier amount.

    `total` must be the exact sum rounded up or down. Each result is its amount rounded up or down.
    """
    if total is None:
        total = rounded(sum(amounts_nano))
    floors = [amount // NANO_PER_CENT for amount in amounts_nano]
    largest = sorted(range(len(floors)), key=lambda i: (-(amounts_nano[i] % NANO_PER_CENT), i))
    for index in largest[: total - sum(floors)]:
        floors[index] += 1
    return floors


def alone(amounts: Amounts) -> Cents:
    """Amounts that need not add up to any others."""
    return Cents(rounded(amounts.cost_nano), rounded(amounts.subsidy_nano))


def in_cents(amounts: Sequence[Amounts], total: Cents | None = None) -> list[Cents]:
    """Lines in cents that add up to `total`; default: their exact sums, rounded half-even."""
    costs = to_cents([line.cost_nano for line in amounts], None if total is None else total.cost)
    subsidies = to_cents([line.subsidy_nano for line in amounts], None if total is None else total.subsidy)
    return [Cents(cost, subsidy) for cost, subsidy in zip(costs, subsidies, strict=True)]
