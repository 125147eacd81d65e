"""Exact amounts to the cent."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from compose.finance.statement.cents import NANO_PER_CENT, Amounts, Cents, alone, in_cents, to_cents

NANO = st.integers(-(10**18), 10**18) | st.integers(-3, 3).map(lambda half: half * NANO_PER_CENT // 2)


def test_small_parts_add_up_by_hand() -> None:
    """Three thirds of a cent are one cent, and it goes to the largest remainder, to the earlier one of equals."""
    assert to_cents([3_333_333, 3_333_334, 3_333_333]) == [0, 1, 0]
    assert to_cents([5_000_000, 5_000_000]) == [1, 0]
    assert to_cents([-5_000_000, -5_000_000]) == [0, -1]
    assert to_cents([15_000_000]) == [2]  # half a cent, to the even one
    assert to_cents([25_000_000]) == [2]
    assert to_cents([]) == []


@given(st.lists(NANO, max_size=30))
def test_lines_add_up_to_the_rounded_sum_and_stay_within_a_cent(amounts: list[int]) -> None:
    """Whatever the signs: the sum is the exact one, rounded half-even, and no line is a whole cent from its amount."""
    cents = to_cents(amounts)
    assert sum(cents) == round(Fraction(sum(amounts), NANO_PER_CENT))
    for amount, shown in zip(amounts, cents, strict=True):
        assert abs(shown - Fraction(amount, NANO_PER_CENT)) < 1


@given(st.lists(st.tuples(NANO, NANO).map(lambda pair: Amounts(pair[0], pair[1], pair[0] - pair[1])), max_size=30))
def test_cost_is_programme_and_recipient_in_every_line_and_in_the_total(lines: list[Amounts]) -> None:
    """The recipient's part takes the remainder: less than two cents from exact in a line, at most one in the total."""
    exact = sum(lines, Amounts())
    total, cents = alone(exact), in_cents(lines)
    assert sum(line.cost for line in cents) == total.cost
    assert sum(line.subsidy for line in cents) == total.subsidy
    assert sum(line.charge for line in cents) == total.charge == total.cost - total.subsidy
    assert abs(total.charge - Fraction(exact.charge_nano, NANO_PER_CENT)) <= 1
    for line, shown in zip(lines, cents, strict=True):
        assert shown.cost == shown.subsidy + shown.charge
        assert abs(shown.charge - Fraction(line.charge_nano, NANO_PER_CENT)) < 2


@given(st.lists(st.lists(NANO, max_size=8), min_size=1, max_size=4))
def test_lines_add_up_to_subtotals_and_these_to_the_total(groups: list[list[int]]) -> None:
    """Rounded from the total down, every sum that a reader can make is right."""
    amounts = [[Amounts(nano, nano // 3, nano - nano // 3) for nano in group] for group in groups]
    sums = [sum(group, Amounts()) for group in amounts]
    subtotals = in_cents(sums)
    for group, subtotal in zip(amounts, subtotals, strict=True):
        lines = in_cents(group, subtotal)
        assert sum(line.cost for line in lines) == subtotal.cost
        assert sum(line.subsidy for line in lines) == subtotal.subsidy
        for line, shown in zip(group, lines, strict=True):
            assert abs(shown.cost - Fraction(line.cost_nano, NANO_PER_CENT)) < 1


def test_what_nobody_or_one_pays_stays_so() -> None:
    """A column that is zero, or that is the whole cost, gets no cent from rounding."""
    odd = [Amounts(3_333_333, 0, 3_333_333), Amounts(6_666_667, 0, 6_666_667)]
    assert [line.subsidy for line in in_cents(odd)] == [0, 0]
    whole = [Amounts(3_333_333, 3_333_333, 0), Amounts(6_666_667, 6_666_667, 0)]
    assert in_cents(whole) == [Cents(0, 0), Cents(1, 1)]
