"""Exact amounts shown to the cent so that what is shown adds up: lines, both parts, and months. Pure.

Totals come first. What the programme pays in a month is what its balance grew by, both balances to the cent: so the
balance at the end of a month is that before the next one. The cost is rounded half-even, or to the other cent beside it
where the recipient would otherwise pay a whole cent more or less than exactly. What the recipient pays is the
difference. So each total is less than a cent from its exact amount, and nobody pays a cent of nothing.

The lines of a column are rounded down, and those with the largest remainders get one cent more, until they add up to
the total; so each line is less than a cent from its exact amount. What the recipient pays in a line is again the
difference, less than two cents from its exact amount.
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


def balance(amount_nano: int) -> int:
    """Nearest cent of what has been spent, or may be.

    Half a cent goes up, always: half-even, two balances that are whole cents apart could be shown another cent apart.
    """
    return (2 * amount_nano + NANO_PER_CENT) // (2 * NANO_PER_CENT)


def total(amounts: Amounts, before_nano: int = 0) -> Cents:
    """A total, of a programme that had spent so much before."""
    subsidy = balance(before_nano + amounts.subsidy_nano) - balance(before_nano)
    cost = round_half_even(Fraction(amounts.cost_nano, NANO_PER_CENT))
    least, most = amounts.charge_nano // NANO_PER_CENT, -(-amounts.charge_nano // NANO_PER_CENT)
    return Cents(min(max(cost, subsidy + least), subsidy + most), subsidy)


def in_cents(amounts: Sequence[Amounts], whole: Cents) -> list[Cents]:
    """Amounts in cents that add up to `whole`, the total of their sum."""
    costs = _divided([one.cost_nano for one in amounts], whole.cost)
    subsidies = _divided([one.subsidy_nano for one in amounts], whole.subsidy)
    return [Cents(cost, subsidy) for cost, subsidy in zip(costs, subsidies, strict=True)]


def _divided(amounts_nano: Sequence[int], whole: int) -> list[int]:
    """Each amount rounded up or down, together `whole`: their exact sum, rounded up or down. Ties go to the earlier."""
    floors = [amount // NANO_PER_CENT for amount in amounts_nano]
    largest = sorted(range(len(floors)), key=lambda i: (-(amounts_nano[i] % NANO_PER_CENT), i))
    for index in largest[: whole - sum(floors)]:
        floors[index] += 1
    return floors
