"""Protects the arithmetic of a minute: costs add up, shared costs are divided by tokens, states replace each other."""

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from schemas.economics import UnitCost, UnitCosts
from schemas.money import NANO
from schemas.usage import GpuTotals, TokenTotals
from streams.reference import Reference
from streams.unit_costing import UnitCosting
from tests.streams.economy import MINUTE, agreement, config, devices, served


def cost_of(messages: Sequence[GpuTotals | TokenTotals], reference: Reference | None = None) -> UnitCosts:
    """Unit costs of one minute after these messages."""
    costing = UnitCosting(reference or Reference(config()))
    minute = (messages[0].cluster, MINUTE)
    costing.begin(minute, [], [], [])
    for message in messages:
        costing.apply(message)
    return costing.cost(minute)


def line(costs: UnitCosts, model: str, agreement: str) -> UnitCost:
    """The line of a model and agreement."""
    (found,) = [item for item in costs.lines if (item.model, item.agreement) == (model, agreement)]
    return found


def test_cost_share_pays_two_thirds_and_the_parts_make_the_cost() -> None:
    """A figure finance signs: 2/3 of CAD 1.000000001 is .666666667 after one rounding, and the rest is the charge."""
    unit = line(cost_of([devices(NANO + 1, deployment="own", agreement="share")]), "big", "share")
    assert (unit.subsidy_nano, unit.charge_nano) == (666_666_667, 333_333_334)
    assert unit.usage_cost_nano == 500_000_000  # half busy; half of 1.000000001 rounds to even
    assert unit.programme == "fund"
    assert unit.currency == "CAD"


def test_elsewhere_pays_its_own_share_in_the_programmes_currency() -> None:
    """A US cluster priced in USD: converted at the day's rate first, then the share for elsewhere (1/2)."""
    unit = line(
        cost_of([devices(NANO, agreement="share", currency="USD", cluster="oak", shard="oak/a/0")]), "", "share"
    )
    assert (unit.cost_nano, unit.subsidy_nano) == (1_400_000_000, 700_000_000)


def test_a_shared_deployment_is_divided_by_tokens_and_loses_nothing() -> None:
    """Three tenants, 1:1:1 tokens, CAD 1: the odd nano-dollar is not lost."""
    costs = cost_of([devices(NANO, deployment="pool"), served({"firm-a": (5, 5), "firm-b": (10, 0), "": (0, 10)})])
    parts = {item.agreement: item.cost_nano for item in costs.lines}
    assert parts == {"": 333_333_334, "firm-a": 333_333_333, "firm-b": 333_333_333}
    assert line(costs, "small", "").subsidy_nano == 0


def chained() -> Reference:
    """`top` pays half of what `share` leaves, and `firm-a` is followed by `help`."""
    added = [
        agreement("top", {"kind": "cost_share", "share": "1/2", "of": "remainder"}, after="share", programme="other"),
        agreement("help", {"kind": "credits"}, after="firm-a", cap="1"),
    ]
    given = config().model_dump()
    programme = {"id": "other", "budget": "9", "starts": date(2026, 1, 1), "ends": date(2028, 3, 31)}
    return Reference(
        config(
            agreement=[*given["agreement"], *added],
            programme=[*given["programme"], {**programme, "stacking_limit": "4/5"}],
        )
    )


def test_an_agreement_that_comes_after_has_a_line_that_is_pure_credit() -> None:
    """2/3 of CAD 9, then half of the rest, but no more than 80 % together: two lines say what the recipient pays."""
    costs = cost_of([devices(9 * NANO, deployment="own", agreement="share")], chained())
    share, top = line(costs, "big", "share"), line(costs, "big", "top")
    assert (share.subsidy_nano, share.charge_nano) == (6 * NANO, 3 * NANO)
    assert (top.subsidy_nano, top.charge_nano, top.programme) == (1_200_000_000, -1_200_000_000, "other")
    assert (top.cost_nano, top.usage_cost_nano, top.gpu_ns, top.busy_ns, top.energy_mj) == (0, 0, 0, 0, 0)


def test_a_credit_that_falls_away_is_reported_as_nothing() -> None:
    """The firm bore a pool's minute until it turned out that another was served: the book must not keep the help."""
    costing = UnitCosting(chained())
    costing.begin(("fir", MINUTE), [], [], [])
    costing.apply(devices(NANO, deployment="pool"))
    costing.apply(served({"firm-a": (1_000_000, 0)}))
    costs = costing.cost(("fir", MINUTE))
    assert (line(costs, "small", "firm-a").charge_nano, line(costs, "small", "help").subsidy_nano) == (
        50_000_000, 50_000_000,
    )  # fmt: skip
    costing.apply(served({"firm-b": (1_000_000, 0)}, version=70_000))
    assert line(costing.cost(("fir", MINUTE)), "small", "help").subsidy_nano == 0


def test_token_price_caps_what_the_recipient_pays() -> None:
    """1M tokens at 0.05 per million: the firm pays 0.05, the programme the rest."""
    costs = cost_of([devices(NANO, deployment="pool"), served({"firm-a": (600_000, 400_000)})])
    assert line(costs, "small", "firm-a").charge_nano == 50_000_000
    assert line(costs, "small", "firm-a").subsidy_nano == 950_000_000


def test_a_shared_deployment_without_tokens_stays_unattributed() -> None:
    """Idle minutes of a pool belong to nobody until somebody is served."""
    costs = cost_of([devices(NANO, deployment="pool")])
    assert [(item.model, item.agreement, item.cost_nano) for item in costs.lines] == [("small", "", NANO)]


def test_tokens_of_the_other_layer_do_not_count() -> None:
    """Engine and gateway both report the same tokens; one of them is for triangulation only."""
    costs = cost_of([served({"firm-a": (7, 3)}), served({"firm-a": (7, 3)}, counted=False, shard="fir/a/2")])
    assert line(costs, "small", "firm-a").prompt_tokens == 7


def test_a_line_that_falls_to_nothing_is_reported_as_nothing() -> None:
    """The pool's minute was all unattributed until tokens arrived; the old line must not stay in the book."""
    costing = UnitCosting(Reference(config()))
    costing.begin(("fir", MINUTE), [], [], [])
    costing.apply(devices(NANO, deployment="pool"))
    costing.cost(("fir", MINUTE))
    costing.apply(served({"firm-a": (5, 5)}))
    costs = costing.cost(("fir", MINUTE))
    assert {item.agreement: item.cost_nano for item in costs.lines} == {"": 0, "firm-a": NANO}


def test_an_older_state_changes_nothing() -> None:
    """State messages may arrive twice or late; only a newer one replaces."""
    costing = UnitCosting(Reference(config()))
    costing.begin(("fir", MINUTE), [], [], [])
    assert costing.apply(devices(2 * NANO, agreement="lab", version=20))
    assert not costing.apply(devices(NANO, agreement="lab", version=10))
    assert line(costing.cost(("fir", MINUTE)), "", "lab").cost_nano == 2 * NANO


@given(
    st.lists(
        st.tuples(
            st.sampled_from([("own", "share"), ("pool", ""), ("", "lab"), ("", "")]),
            st.integers(0, 10**13),
            st.integers(1, 10**13),
        ),
        min_size=1,
        max_size=6,
    ),
    st.dictionaries(
        st.sampled_from(["firm-a", "firm-b", ""]), st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=3
    ),
)
def test_cost_time_and_energy_are_conserved(
    parts: list[tuple[tuple[str, str], int, int]], tokens: dict[str, tuple[int, int]]
) -> None:
    """Whatever comes in from devices comes out on lines: cost, time, energy; and charge + subsidy = cost."""
    messages: list[GpuTotals | TokenTotals] = [
        devices(cost, deployment=deployment, agreement=name, gpu_ns=gpu_ns, busy_ns=gpu_ns // 3, shard=f"fir/a/{i}")
        for i, ((deployment, name), cost, gpu_ns) in enumerate(parts)
    ]
    costs = cost_of([*messages, served(tokens, shard="fir/t/0")])
    assert sum(item.cost_nano for item in costs.lines) == sum(cost for _, cost, _ in parts)
    assert sum(item.gpu_ns for item in costs.lines) == sum(gpu_ns for _, _, gpu_ns in parts)
    assert sum(item.energy_mj for item in costs.lines) == 30_000_000 * len(parts)
    for item in costs.lines:
        if item.agreement:
            assert item.charge_nano + item.subsidy_nano == item.cost_nano
        if item.agreement == "share":
            assert abs(Fraction(item.subsidy_nano) - Fraction(2, 3) * item.cost_nano) <= Fraction(1, 2)
