"""Protects what hours cost and who pays: nothing is lost, limits hold to the nano-unit, and the tally says the same."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compose.finance.limits import Balance
from compose.finance.rating import MEASURES, Key, Lines, rate
from schemas.config import Config
from schemas.money import to_nano
from schemas.usage import GpuGroup, GpuTotals, TokenGroup, TokenTotals
from streams.reference import Reference
from streams.unit_costing import UnitCosting
from tests.finance.usages import PRICES, START_S, Device, Tokens, devices, rules, tokens, usage

RULES = Reference(rules())
CAPS = {agreement.id: agreement for agreement in rules().agreement}


def without_limits() -> Config:
    """The same rules where nothing is ever used up, and where everything counts in RGU-hours."""
    known = rules().model_dump()
    known["rgu"].append({"gpu_model": "*", "weight": "1", "effective_from": date(2026, 1, 1)})
    for agreement in known["agreement"]:
        agreement["cap"] = "1000000"
        if "quantity" in agreement["rule"]:
            agreement["rule"] |= {"quantity": "1000000"} if agreement["rule"]["quantity"] else {}
    return Config.model_validate(known)


UNLIMITED = Reference(without_limits())


def figure(lines: Lines, name: str, **only: object) -> int:
    """Sum of a measure over lines."""
    position = MEASURES.index(name)
    return sum(
        figures[position]
        for key, figures in lines.items()
        if all(getattr(key, field) == value for field, value in only.items())
    )


@settings(max_examples=40)
@given(devices(3), tokens(3))
def test_everything_is_in_exactly_one_line(used: list[Device], served: list[Tokens]) -> None:
    """Time, energy, tokens and the cost in each price's currency are those of the usage; and who pays adds up."""
    lines = rate(usage(used, served), RULES, {})
    for name in ("gpu_ns", "busy_ns", "energy_mj"):
        assert figure(lines, name) == sum(getattr(row, name) for row in used)
    for name, field in (("prompt_tokens", "prompt"), ("cached_tokens", "cached"), ("generation_tokens", "generation")):
        assert figure(lines, name) == sum(getattr(row, field) for row in served)
    for number, (_, currency) in enumerate(PRICES):
        spent = sum(row.cost_nano for row in used if row.price == number)
        assert figure(lines, "price_cost_nano", price_currency=currency) == spent
    paid = figure(lines, "charge_nano") + figure(lines, "subsidy_nano")
    rest = figure(lines, "cost_nano", category="idle") + figure(lines, "cost_nano", category="unattributed")
    assert paid + rest == figure(lines, "cost_nano")
    for key, figures in lines.items():
        line = dict(zip(MEASURES, figures, strict=True))
        assert line["subsidy_nano"] + line["charge_nano"] == (line["cost_nano"] if key.agreement else 0)
        assert line["subsidy_nano"] <= line["accrued_nano"]


@settings(max_examples=40)
@given(devices(3), tokens(3))
def test_no_limit_is_ever_exceeded(used: list[Device], served: list[Tokens]) -> None:
    """No agreement is paid more than its cap leaves, none before it begins or after it ends, none without hours left;
    and the recipient is never paid more than the cost."""
    lines = rate(usage(used, served), RULES, {})
    for name, agreement in CAPS.items():
        paid = figure(lines, "subsidy_nano", agreement=name)
        if agreement.cap is not None:
            assert 0 <= paid <= to_nano(agreement.cap) - to_nano(agreement.spent_before)
    assert figure(lines, "subsidy_nano", agreement="over") == 0
    assert figure(lines, "charge_nano", agreement="share") + figure(lines, "charge_nano", agreement="top") >= 0


@settings(max_examples=40)
@given(devices(3), tokens(3), st.randoms(use_true_random=False))
def test_the_order_of_the_ledger_does_not_matter(used: list[Device], served: list[Tokens], random: Random) -> None:
    """The same lines, whatever order the rows are read in."""
    before = rate(usage(used, served), RULES, {})
    random.shuffle(used)
    random.shuffle(served)
    assert rate(usage(used, served), RULES, {}) == before


@settings(max_examples=40)
@given(devices(180), tokens(180))
def test_hours_can_be_priced_one_by_one(used: list[Device], served: list[Tokens]) -> None:
    """Three hours at once, or each with the balances that the hours before left: the same lines."""
    together = rate(usage(used, served), RULES, {})
    balances: dict[str, Balance] = {}
    apart: Lines = {}
    for hour in range(3):
        some = [row for row in used if row.minute // 60 == hour], [row for row in served if row.minute // 60 == hour]
        lines = rate(usage(*some), RULES, balances)
        apart |= lines
        balances = carried(balances, lines)
    assert apart == together


def carried(balances: Mapping[str, Balance], lines: Lines) -> dict[str, Balance]:
    """Balances after some lines, as the journal adds them up."""
    after = dict(balances)
    for key, figures in lines.items():
        line, known = dict(zip(MEASURES, figures, strict=True)), after.get(key.agreement, Balance())
        counts = key.rule != "not in force"
        after[key.agreement] = Balance(
            known.subsidy_nano + line["subsidy_nano"],
            known.gpu_ns + counts * line["gpu_ns"],
            known.rgu_ns + counts * line["rgu_ns"],
        )
    return after


@settings(max_examples=40)
@given(devices(3), tokens(3))
def test_the_running_tally_says_the_same(used: list[Device], served: list[Tokens]) -> None:
    """Where no limit is reached, the unit costs of the minutes add up to the charges of the hour, to the nano-unit."""
    lines = rate(usage(used, served), UNLIMITED, {})
    charged: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for key, figures in lines.items():
        line = dict(zip(MEASURES, figures, strict=True))
        _add(charged[key.cluster, key.model, key.agreement], line)
    tally: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    costing = UnitCosting(UNLIMITED)
    for minute in {row.minute for row in used} | {row.minute for row in served}:
        for cluster in ("fir", "oak"):
            at = (cluster, (START_S + 60 * minute) * 1000)
            costing.begin(at, [_gpu(at, used, minute)], [_tokens(at, served, minute)], [])
            for unit in costing.cost(at).lines:
                _add(tally[cluster, unit.model, unit.agreement], unit.model_dump())
    nothing = [0, 0, 0, 0]
    assert {key: sums for key, sums in charged.items() if sums != nothing} == {
        key: sums for key, sums in tally.items() if sums != nothing
    }


def _add(sums: list[int], line: Mapping[str, int]) -> None:
    for place, name in enumerate(("gpu_ns", "cost_nano", "subsidy_nano", "prompt_tokens")):
        sums[place] += line[name]


def _gpu(at: tuple[str, int], used: Sequence[Device], minute: int) -> GpuTotals:
    groups = [
        GpuGroup(
            deployment=row.deployment, agreement=row.agreement, gpu_model=row.gpu_model, currency=PRICES[row.price][1],
            price_version=PRICES[row.price][0], gpu_ns=row.gpu_ns, busy_ns=row.busy_ns, energy_mj=row.energy_mj,
            cost_nano=row.cost_nano,
        )
        for row in used
        if (row.cluster, row.minute) == (at[0], minute)
    ]  # fmt: skip
    return GpuTotals(
        cluster=at[0], shard="s", minute_ms=at[1], version=1, ts_start_ms=at[1], ts_end_ms=at[1] + 60_000, groups=groups
    )


def _tokens(at: tuple[str, int], served: Sequence[Tokens], minute: int) -> TokenTotals:
    groups = [
        TokenGroup(
            deployment=row.deployment, model=row.model, agreement=row.agreement, layer="engine", counted=True,
            prompt_tokens=row.prompt, cached_tokens=row.cached, generation_tokens=row.generation, requests=1,
        )
        for row in served
        if (row.cluster, row.minute) == (at[0], minute)
    ]  # fmt: skip
    return TokenTotals(cluster=at[0], shard="t", minute_ms=at[1], version=1, ts_end_ms=at[1] + 60_000, groups=groups)


def only(lines: Lines, agreement: str) -> tuple[Key, dict[str, int]]:
    """The one line of an agreement."""
    ((key, figures),) = [(key, figures) for key, figures in lines.items() if key.agreement == agreement]
    return key, dict(zip(MEASURES, figures, strict=True))


def held(minute: int, agreement: str, cost_nano: int, **more: Any) -> Device:
    """A whole H100 for a minute."""
    row = Device(minute, "fir", "", "w", agreement, "H100", "", 1, 60 * 10**9, 0, 0, cost_nano)
    return row._replace(**more)


def test_a_cap_is_split_to_the_nano_unit() -> None:
    """Cap 3, spent 1 before: of three minutes at 2/3 of 1.20 each, the third gets exactly what is left."""
    used = [held(minute, "share", 1_200_000_000) for minute in range(3)]
    key, line = only({k: v for k, v in rate(usage(used, []), RULES, {}).items() if k.agreement == "share"}, "share")
    assert (line["accrued_nano"], line["subsidy_nano"]) == (2_400_000_000, 2_000_000_000)
    assert (line["charge_nano"], key.rule) == (1_600_000_000, "cost_share 2/3")


def test_who_comes_after_sees_what_was_granted() -> None:
    """2/3 of 1.20 leaves 0.40; half of that is 0.20, but all together at most 3/4 of the cost: 0.10."""
    lines = rate(usage([held(0, "share", 1_200_000_000)], []), RULES, {})
    key, line = only(lines, "top")
    assert (line["accrued_nano"], line["subsidy_nano"], line["charge_nano"]) == (200_000_000, 100_000_000, -100_000_000)
    assert (line["cost_nano"], line["gpu_ns"]) == (0, 0)
    assert (key.rule, key.programme) == ("after share, cost_share 1/2", "province")
    # Once the first has nothing left, the second supports the whole.
    spent = {"share": Balance(subsidy_nano=2_000_000_000)}
    _, alone = only(rate(usage([held(0, "share", 600_000_000)], []), RULES, spent), "top")
    assert (alone["accrued_nano"], alone["subsidy_nano"]) == (300_000_000, 300_000_000)


def test_hours_of_a_grant_are_split_exactly() -> None:
    """0.05 GPU-hours are three minutes; of four at 1.00 each the fourth is the recipient's. In RGU-hours likewise:
    0.30 RGU-hours of an H100 (12.2 RGU) are 88.52… s."""
    used = [held(minute, "hours", 10**9) for minute in range(4)]
    _, line = only(rate(usage(used, []), RULES, {}), "hours")
    assert (line["subsidy_nano"], line["charge_nano"]) == (3 * 10**9, 10**9)
    used = [held(minute, "units", 10**9) for minute in range(4)]
    _, line = only(rate(usage(used, []), RULES, {}), "units")
    seconds_left = 0.30 * 3600 / 12.2 - 60
    assert line["subsidy_nano"] == 10**9 + round(10**9 * seconds_left / 60)
    assert line["rgu_ns"] == 4 * 60 * 122 * 10**8


def test_what_counts_as_no_rgu_is_not_paid_in_rgu_hours() -> None:
    """A product without a weight would never use up the grant."""
    _, line = only(rate(usage([held(0, "units", 10**9, gpu_model="A30")], []), RULES, {}), "units")
    assert (line["subsidy_nano"], line["charge_nano"]) == (0, 10**9)


def test_a_slice_counts_by_its_own_weight() -> None:
    """A 3g.40gb slice is 3/7 of a device and counts 6.1: 30 s of a device are 70 s of the slice, 427 RGU s."""
    row = held(0, "units", 10**9, slice="3g.40gb", gpu_ns=30 * 10**9)
    key, line = only(rate(usage([row], []), RULES, {}), "units")
    assert (line["rgu_ns"], key.slice) == (427 * 10**9, "3g.40gb")


def test_tokens_that_no_device_served_have_a_line() -> None:
    """Their device was not seen in that minute; they are counted all the same."""
    lines = rate(usage([], [Tokens(0, "fir", "own", "big", "share", 5, 2, 3)]), RULES, {})
    key, line = only(lines, "share")
    assert (key.gpu_model, line["prompt_tokens"], line["cost_nano"]) == ("", 5, 0)
