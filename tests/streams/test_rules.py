"""What programmes pay, against arithmetic written a second time: one agreement alone, then several of one usage."""

from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Config
from streams.reference import Reference

DAY = date(2026, 11, 20)
STARTS, ENDS = date(2026, 1, 1), date(2028, 3, 31)
SHARE = {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2", "elsewhere_until": date(2027, 3, 31)}
DAYS = st.dates(date(2025, 12, 1), date(2028, 5, 1))
COSTS = st.integers(0, 10**16)
TOKENS = st.integers(0, 10**10)


def agreement(name: str, rule: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"id": name, "programme": "fund", "recipient": name, "rule": rule, "starts": STARTS, "ends": ENDS}
    return {**base, **more}


def reference(*agreements: dict[str, Any], limits: dict[str, str] | None = None) -> Reference:
    """Agreements of the programmes `fund` (without a limit) and those of `limits`."""
    programmes: list[dict[str, Any]] = [{"id": "fund"}]
    programmes += [{"id": name, "stacking_limit": limit} for name, limit in (limits or {}).items()]
    term = {"budget": "300", "starts": STARTS, "ends": ENDS}
    return Reference(
        Config.model_validate(
            {
                "cluster": [{"id": "fir", "country": "CA"}],
                "programme": [{**programme, **term} for programme in programmes],
                "agreement": agreements,
            }
        )
    )


# --- one agreement --------------------------------------------------------------------------------------------------

RULES = reference(
    agreement("share", SHARE),
    agreement("always", {**SHARE, "elsewhere_until": None}),
    agreement("home", {"kind": "cost_share", "share": "2/3"}),
    agreement("tokens", {"kind": "token_price", "per_mtok": "0.08"}),
    agreement("input", {"kind": "token_price", "prompt_per_mtok": "0.06", "output_per_mtok": "0.24"}),
    agreement(
        "cache",
        {"kind": "token_price", "prompt_per_mtok": "0.06", "cached_per_mtok": "0.0075", "output_per_mtok": "0.2401"},
    ),
    agreement("credits", {"kind": "credits"}, cap="100"),
    agreement("hours", {"kind": "credits", "unit": "rgu_hours", "quantity": "5"}),
)


def pays(name: str, country: str, day: date, cost: int, tokens: tuple[int, int, int] = (0, 0, 0)) -> int:
    """The subsidy of an agreement that nobody comes after."""
    ((party, subsidy),) = RULES.subsidies(name, country, day, cost, *tokens)
    assert party == name
    return subsidy


@pytest.mark.parametrize(
    ("name", "country", "day", "cost", "paid"),
    [
        ("share", "CA", DAY, 300, 200),
        ("share", "CA", DAY, 100, 67),  # 66.67
        ("share", "US", DAY, 301, 150),  # 150.5 goes to even
        ("share", "US", DAY, 303, 152),  # so does 151.5
        ("share", "US", date(2027, 3, 31), 300, 150),
        ("share", "US", date(2027, 4, 1), 300, 0),
        ("share", "CA", date(2027, 4, 1), 300, 200),
        ("always", "US", date(2028, 1, 1), 300, 150),
        ("home", "US", DAY, 300, 0),
        ("share", "CA", STARTS - timedelta(1), 300, 0),
        ("share", "CA", STARTS, 300, 200),
        ("share", "CA", ENDS, 300, 200),
        ("share", "CA", ENDS + timedelta(1), 300, 0),
        ("credits", "US", DAY, 123, 123),
        ("hours", "US", DAY, 123, 123),
        ("credits", "US", ENDS + timedelta(1), 123, 0),
        ("", "CA", DAY, 300, 0),
        ("gone", "CA", DAY, 300, 0),
    ],
)
def test_each_rule_by_hand(name: str, country: str, day: date, cost: int, paid: int) -> None:
    """Share at home and abroad, its last day, credits; nothing outside the agreement's days."""
    assert pays(name, country, day, cost) == paid


@pytest.mark.parametrize(
    ("name", "cost", "tokens", "paid"),
    [
        ("tokens", 10**9, (400_000, 100_000, 600_000), 10**9 - 80_000_000),
        ("tokens", 50, (0, 0, 10**6), 0),  # cheaper than the price: the recipient pays what it costs
        ("tokens", 100, (0, 0, 0), 100),
        ("tokens", 1000, (1, 0, 0), 920),
        ("input", 10**9, (10**6, 700_000, 10**6), 10**9 - 300_000_000),  # cached as other prompt tokens
        ("cache", 10**9, (10**6, 600_000, 10**6), 10**9 - 24_000_000 - 4_500_000 - 240_100_000),
        ("cache", 10**9, (3, 3, 5), 10**9 - 1223),  # 22.5 + 1200.5 nano-units: rounded once, not each
        ("cache", 10**9, (2, 1, 0), 10**9 - 68),  # 67.5 goes to even
        ("cache", 10**9, (2, 5, 0), 10**9 - 15),  # no more is charged as cached than was counted as prompt
    ],
)
def test_token_prices_by_hand(name: str, cost: int, tokens: tuple[int, int, int], paid: int) -> None:
    """The recipient pays by kind of token and rounded once, never more than the cost."""
    assert pays(name, "CA", DAY, cost, tokens) == paid


@pytest.mark.parametrize(
    ("name", "country", "day", "label"),
    [
        ("share", "CA", DAY, "cost_share 2/3"),
        ("share", "US", DAY, "cost_share 1/2"),
        ("share", "US", ENDS, "cost_share 0"),
        ("cache", "CA", DAY, "token_price"),
        ("credits", "CA", DAY, "credits amount"),
        ("hours", "CA", DAY, "credits rgu_hours"),
        ("share", "CA", ENDS + timedelta(1), "not in force"),
        ("gone", "CA", DAY, "not in force"),
    ],
)
def test_what_an_agreement_says_in_words(name: str, country: str, day: date, label: str) -> None:
    """Statements and charges name the rule that was applied."""
    assert RULES.terms(name, country, day).label == label


# --- several agreements of one usage --------------------------------------------------------------------------------

HALF = {"kind": "cost_share", "share": "1/2", "elsewhere": "1/2"}
REST = {"kind": "cost_share", "share": "1/3", "elsewhere": "1/3", "of": "remainder"}


def test_those_after_it_in_order() -> None:
    """Each follows the one it names; of several after the same one, file order."""
    table = reference(
        agreement("d", HALF, after="a"), agreement("a", HALF), agreement("b", HALF, after="a"),
        agreement("c", HALF, after="d"), agreement("alone", HALF),
    )  # fmt: skip
    assert table.chain("a") == ("a", "d", "c", "b")
    assert table.chain("d") == ("d", "c")
    assert table.chain("alone") == ("alone",)
    assert table.chain("gone") == ("gone",)


def test_a_circle_ends() -> None:
    """The file is refused for it; a book that has one must not hang whoever reads it."""
    table = reference(agreement("a", HALF, after="b"), agreement("b", HALF, after="a"))
    assert table.chain("a") == ("a", "b")


@pytest.mark.parametrize(
    ("rules", "cost", "paid"),
    [
        ((HALF, HALF, HALF), 100, [50, 50, 0]),  # of the whole cost, at most what is left
        ((HALF, REST, REST), 100, [50, 17, 11]),  # a third of 50, then of 33
        ((HALF, REST, {"kind": "credits"}), 100, [50, 17, 33]),
        ((HALF, {"kind": "token_price", "per_mtok": "0.08"}), 1000, [500, 420]),  # the firm pays 80 of its 500
        (({"kind": "token_price", "per_mtok": "0.08"}, HALF), 1000, [920, 80]),
        (({"kind": "token_price", "per_mtok": "0.08"}, REST), 1000, [920, 27]),
    ],
)
def test_a_chain_by_hand(rules: tuple[dict[str, Any], ...], cost: int, paid: list[int]) -> None:
    """Who comes later supports what is left, or a share of the whole that fits into it."""
    names = [f"a{number}" for number in range(len(rules))]
    chained = [
        agreement(name, rule, after=before, cap="9")
        for name, rule, before in zip(names, rules, ["", *names], strict=False)
    ]
    assert reference(*chained).subsidies("a0", "CA", DAY, cost, 1, 0, 0) == list(zip(names, paid, strict=True))


def test_a_stacking_limit_by_hand() -> None:
    """At most 75 % of the cost from everybody where a programme says so; rounded down, so that it is never passed."""
    table = reference(
        agreement("a", HALF), agreement("b", HALF, after="a", programme="strict"), agreement("c", HALF, after="b"),
        limits={"strict": "3/4"},
    )  # fmt: skip
    assert table.subsidies("a", "CA", DAY, 101, 0, 0, 0) == [("a", 50), ("b", 25), ("c", 0)]  # 75.75
    assert table.stacking_limit(["a", "c"]) == 1
    assert table.stacking_limit(["a", "b", "c"]) == Fraction(3, 4)


def test_a_limit_does_not_bind_those_who_pay_before_it() -> None:
    """The first programme has no limit of its own; what the second one allows is used up already."""
    table = reference(
        agreement("a", SHARE), agreement("b", HALF, after="a", programme="strict"), limits={"strict": "1/2"}
    )
    assert table.subsidies("a", "CA", DAY, 300, 0, 0, 0) == [("a", 200), ("b", 0)]


CHAIN_RULES: list[dict[str, Any]] = [
    SHARE, HALF, REST, {"kind": "credits"},
    {"kind": "token_price", "per_mtok": "0.05"},
    {"kind": "token_price", "prompt_per_mtok": "0.0301", "cached_per_mtok": "0.0033", "output_per_mtok": "0.11"},
]  # fmt: skip


def independent(rule: dict[str, Any], home: bool, day: date, cost: int, left: int, tokens: tuple[int, int, int]) -> int:
    """The rule once more, in fractions of a dollar, from the tables of the file."""
    if not STARTS <= day <= ENDS:
        return 0
    if rule["kind"] == "credits":
        return left
    if rule["kind"] == "cost_share":
        share = Fraction(rule["share"] if home else rule["elsewhere"])
        if not home and day > rule.get("elsewhere_until", day):
            share = Fraction(0)
        return min(left, round(share * (left if rule.get("of") == "remainder" else cost)))
    prompt, cached, output = (Fraction(count, 10**6) for count in tokens)
    if "per_mtok" in rule:
        price = (prompt + output) * Fraction(rule["per_mtok"])
    else:
        price = prompt * Fraction(rule["prompt_per_mtok"]) + output * Fraction(rule["output_per_mtok"])
        price -= cached * (Fraction(rule["prompt_per_mtok"]) - Fraction(rule["cached_per_mtok"]))
    return max(0, left - round(price * 10**9))


@given(
    st.lists(st.tuples(st.sampled_from(CHAIN_RULES), st.sampled_from(["fund", "p", "q"])), min_size=1, max_size=4),
    st.fixed_dictionaries(
        {name: st.fractions(0, 1, max_denominator=97).map(str) for name in ("p", "q")},
    ),
    st.sampled_from(("CA", "US")), DAYS, COSTS, st.tuples(TOKENS, TOKENS, TOKENS),
)  # fmt: skip
def test_programmes_never_pay_more_than_the_cost_and_the_limit(
    parts: list[tuple[dict[str, Any], str]], limits: dict[str, str], country: str, day: date, cost: int,
    tokens: tuple[int, int, int],
) -> None:  # fmt: skip
    """Each subsidy equals an independent calculation; the sum stays within the cost and within the limits of those
    who still pay."""
    names = [f"a{number}" for number in range(len(parts))]
    chained = [
        agreement(name, rule, after=before, programme=programme, cap="9")
        for name, (rule, programme), before in zip(names, parts, ["", *names], strict=False)
    ]
    tokens = (tokens[0], min(tokens[:2]), tokens[2])
    found = reference(*chained, limits=limits).subsidies("a0", country, day, cost, *tokens)
    assert [name for name, _ in found] == names
    left, limit = cost, Fraction(1)
    for (rule, programme), (_, subsidy) in zip(parts, found, strict=True):
        limit = min(limit, Fraction(limits.get(programme, 1)))
        room = max(0, int(limit * cost) - (cost - left))
        assert subsidy == min(room, independent(rule, country == "CA", day, cost, left, tokens))
        assert 0 <= subsidy <= left
        left -= subsidy
        assert subsidy == 0 or cost - left <= limit * cost
