"""Exact amounts to the cent."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from compose.finance.statement.cents import NANO_PER_CENT, Amounts, Cents, balance, in_cents, total

NANO = st.integers(-(10**18), 10**18) | st.integers(-3, 3).map(lambda half: half * NANO_PER_CENT // 2)
AMOUNTS = st.tuples(NANO, NANO).map(lambda parts: Amounts(sum(parts), *parts))


def exact(nano: int) -> Fraction:
    """Cents."""
    return Fraction(nano, NANO_PER_CENT)


def test_small_parts_add_up_by_hand() -> None:
    """Three thirds of a cent are one cent, and it goes to the largest remainder, to the earlier one of equals."""

    def shown(*subsidies_nano: int) -> list[int]:
        lines = [Amounts(nano, nano, 0) for nano in subsidies_nano]
        return [line.subsidy for line in in_cents(lines, total(sum(lines, Amounts())))]

    assert shown(3_333_333, 3_333_334, 3_333_333) == [0, 1, 0]
    assert shown(5_000_000, 5_000_000) == [1, 0]
    assert shown(-5_000_000, -5_000_000) == [0, -1]
    assert shown() == []


@given(st.lists(AMOUNTS, max_size=12), NANO)
def test_balances_join_over_months(months: list[Amounts], before_nano: int) -> None:
    """Month after month, the programme's parts as shown lead from the first balance shown to the last one."""
    shown, spent_nano = balance(before_nano), before_nano
    for month in months:
        shown += total(month, spent_nano).subsidy
        spent_nano += month.subsidy_nano
        assert shown == balance(spent_nano)
        assert abs(shown - exact(spent_nano)) <= Fraction(1, 2)


def test_whole_cents_stay_whole_beside_a_balance_of_half_a_cent() -> None:
    """A cent on top of half a cent is shown as one cent. Half-even would show 0.02 - or nothing."""
    cent = Amounts(NANO_PER_CENT, NANO_PER_CENT, 0)
    assert [total(cent, halves * NANO_PER_CENT // 2) for halves in (1, 3, -1)] == [Cents(1, 1)] * 3


@given(AMOUNTS, NANO)
def test_every_total_is_less_than_a_cent_from_exact(amounts: Amounts, before_nano: int) -> None:
    """Cost, programme's and recipient's part; so who pays nothing, or all, is shown to."""
    shown = total(amounts, before_nano)
    for cents, nano in zip((shown.cost, shown.subsidy, shown.charge), amounts.each, strict=True):
        assert abs(cents - exact(nano)) < 1


def test_the_cost_is_rounded_half_even_where_it_can_be() -> None:
    """Only to keep the recipient's part within a cent it is the other neighbour."""
    assert total(Amounts(14_000_000, 14_000_000, 0)) == Cents(1, 1)
    assert total(Amounts(14_000_000, 14_000_000, 0), 1_000_000) == Cents(2, 2)  # 0.1 and 1.5 cents: 0 and 2
    assert total(Amounts(14_000_000, 7_000_000, 7_000_000), 1_000_000) == Cents(1, 1)
    assert [total(Amounts(half * 5_000_000, 0, half * 5_000_000)).cost for half in (1, 3, 5)] == [0, 2, 2]


@given(st.lists(st.lists(AMOUNTS, max_size=8), min_size=1, max_size=4), NANO)
def test_lines_add_up_to_subtotals_and_these_to_the_total(groups: list[list[Amounts]], before_nano: int) -> None:
    """From the total down, every sum that a reader can make is right, and no line is a whole cent off."""
    sums = [sum(group, Amounts()) for group in groups]
    whole = total(sum(sums, Amounts()), before_nano)
    subtotals = in_cents(sums, whole)
    assert sum(one.cost for one in subtotals) == whole.cost
    assert sum(one.subsidy for one in subtotals) == whole.subsidy
    for group, subtotal in zip(groups, subtotals, strict=True):
        lines = in_cents(group, subtotal)
        assert sum(line.cost for line in lines) == subtotal.cost
        assert sum(line.subsidy for line in lines) == subtotal.subsidy
        assert sum(line.charge for line in lines) == subtotal.charge
        for line, shown in zip(group, lines, strict=True):
            assert abs(shown.cost - exact(line.cost_nano)) < 1
            assert abs(shown.subsidy - exact(line.subsidy_nano)) < 1
            assert abs(shown.charge - exact(line.charge_nano)) < 2


@given(st.lists(NANO, max_size=12), NANO)
def test_what_nobody_or_one_pays_stays_so(amounts: list[int], before_nano: int) -> None:
    """A column that is zero, or that is the whole cost, gets no cent from rounding, in no line."""
    unpaid = [Amounts(nano, 0, nano) for nano in amounts]
    assert all(line.subsidy == 0 for line in in_cents(unpaid, total(sum(unpaid, Amounts()), before_nano)))
    paid = [Amounts(nano, nano, 0) for nano in amounts]
    assert all(line.charge == 0 for line in in_cents(paid, total(sum(paid, Amounts()), before_nano)))
    behind = [Amounts(0, nano, -nano) for nano in amounts]  # supports what another agreement left
    assert all(line.cost == 0 for line in in_cents(behind, total(sum(behind, Amounts()), before_nano)))
