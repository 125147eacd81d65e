"""What programmes pay of each line: rules, and the limits that depend on what was paid before. Pure, exact.

A line is what one agreement used in one minute on one cluster for one model. Lines come in the order of time; within a
minute by cluster and model. A limit takes them in that order and splits the one that crosses it exactly there:

- the cap of an agreement, in money;
- the grant of credits counted in GPU-hours or RGU-hours: of a line that crosses it, the part of the cost that belongs
  to the hours left, rounded half-even;
- the stacking limit: what all programmes of a chain pay of a line, at most the lowest limit among those so far.

An agreement that comes `after` another sees what the ones before it really granted, after their own limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import NamedTuple

import numpy as np

from compose.finance.columns import DAY_S, Columns, date_of, day_of, take
from compose.finance.integers import Int, grouped, multiply_divide, weighted
from schemas.config import Agreement, Credits
from schemas.money import to_nano
from streams.reference import Reference
from streams.rules import NOT_IN_FORCE, Terms

_HOUR_NS = 3600 * 10**9
_NANO_PER_MTOK = 1000  # a price of 1 per 1M tokens is 1000 nano-units per token
_ENOUGH = 1 << 60  # more than any few hours can use up, and safe to add to


class Balance(NamedTuple):
    """What an agreement has used up while it was metered."""

    subsidy_nano: int = 0
    gpu_ns: int = 0
    """Device time while it was in force."""
    rgu_ns: int = 0


@dataclass(frozen=True, slots=True)
class Support:
    """What the agreements in one place of their chains pay."""

    line: Int
    """Which lines, ascending."""
    agreement: Int
    """Who pays, of each."""
    rule: Int
    """What was applied to each; see `supports`."""
    accrued_nano: Int
    """What the rule yields, without limits."""
    subsidy_nano: Int


def supports(
    lines: Columns,
    agreements: Sequence[str],
    clusters: Sequence[str],
    reference: Reference,
    opening: Mapping[str, Balance],
) -> tuple[list[Support], list[str]]:
    """What is paid of the lines: first by their own agreements, then by those that come after them, place by place.

    lines: `minute` (unix s), `cluster`, `agreement` (numbers of the texts; the empty agreement is 0), `cost_nano`,
    `gpu_ns`, `rgu_ns` and the three counts of tokens, in the order of time. opening: of each agreement, before the
    first line. Returns also the texts of the rules.
    """
    chains = [reference.chain(agreement) if agreement else () for agreement in agreements]
    number = {agreement: code for code, agreement in enumerate(agreements)}
    left = lines["cost_nano"].copy()
    rules: dict[str, int] = {}
    balances = dict(opening)
    found = []
    for place in range(max((len(chain) for chain in chains), default=0)):
        party_of = np.array([number[chain[place]] if place < len(chain) else -1 for chain in chains], np.int64)
        line = np.flatnonzero(party_of[lines["agreement"]] >= 0)
        some = take(lines, line)
        party = party_of[some["agreement"]]
        kind, first = grouped(some["agreement"], some["cluster"], day_of(some["minute"]))
        terms, texts = [], []
        for row in first.tolist():
            payer = agreements[party[row]]
            country = reference.country(clusters[some["cluster"][row]])
            terms.append(reference.terms(payer, country, date_of(int(some["minute"][row]) // DAY_S)))
            before = agreements[some["agreement"][row]]
            texts.append(terms[-1].label if not place else f"after {before}, {terms[-1].label}")
        accrued = _accrued(terms, kind, some, left[line])
        room = _below_stacking_limit(chains, place, some, left[line], reference)
        in_force = np.array([term is not NOT_IN_FORCE for term in terms], np.int64)[kind]
        granted = _limited(np.minimum(accrued, room), party, some, in_force, agreements, reference, balances)
        left[line] -= granted
        rule = np.array([rules.setdefault(text, len(rules)) for text in texts], np.int64)
        found.append(Support(line, party, rule[kind], accrued, granted))
    return found, list(rules)


def _accrued(terms: Sequence[Terms], kind: Int, lines: Columns, left: Int) -> Int:
    """What the rules yield (streams.rules.Terms.subsidy, for all lines at once). `kind`: the terms of each line."""
    share = [term.share for term in terms]
    part = np.array([part.numerator for part in share], np.int64)[kind]
    whole = np.array([part.denominator for part in share], np.int64)[kind]
    remainder = np.array([term.of_remainder for term in terms], bool)[kind]
    accrued = np.minimum(left, multiply_divide(np.where(remainder, left, lines["cost_nano"]), part, whole))
    for number, term in enumerate(terms):
        if term.prices is not None:
            chosen = kind == number
            some = take(lines, chosen)
            cached = np.minimum(some["cached_tokens"], some["prompt_tokens"])
            prices = [price * _NANO_PER_MTOK for price in term.prices]
            of = lcm(*(price.denominator for price in prices))
            counts = (some["prompt_tokens"] - cached, cached, some["generation_tokens"])
            paid = multiply_divide(weighted(counts, [int(price * of) for price in prices]), 1, of)
            accrued[chosen] = left[chosen] - np.minimum(left[chosen], paid)
    return accrued


def _below_stacking_limit(
    chains: Sequence[tuple[str, ...]], place: int, lines: Columns, left: Int, reference: Reference
) -> Int:
    """What may still be paid of each line at this place of its chain, nano-units."""
    limits = [reference.stacking_limit(chain[: place + 1]) for chain in chains]
    room = left.copy()
    for code in np.unique(lines["agreement"]).tolist():
        if limits[code] != 1:
            chosen = lines["agreement"] == code
            cost = lines["cost_nano"][chosen]
            most = [nano * limits[code].numerator // limits[code].denominator for nano in cost.tolist()]
            room[chosen] = np.maximum(0, np.array(most, np.int64) - (cost - left[chosen]))
    return room


def _limited(
    amounts: Int, party: Int, lines: Columns, in_force: Int, agreements: Sequence[str], reference: Reference,
    balances: dict[str, Balance],
) -> Int:  # fmt: skip
    """Amounts within grant and cap of their agreements, in the order of time. Moves the balances on."""
    granted = amounts.copy()
    order = np.argsort(party, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(party[order])) + 1):
        if not len(rows):
            continue
        name = agreements[party[rows[0]]]
        known, balance = reference.agreement(name), balances.get(name, Balance())
        used = {unit: in_force[rows] * lines[unit][rows] for unit in ("gpu_ns", "rgu_ns")}
        if known is not None:
            granted[rows] = _within_grant(granted[rows], used, known, balance)
            if known.cap is not None:
                room = to_nano(known.cap) - to_nano(known.spent_before) - balance.subsidy_nano
                granted[rows] = _within(granted[rows], room)
        balances[name] = Balance(
            balance.subsidy_nano + int(granted[rows].sum()),
            balance.gpu_ns + int(used["gpu_ns"].sum()),
            balance.rgu_ns + int(used["rgu_ns"].sum()),
        )
    return granted


def _within_grant(amounts: Int, used: Mapping[str, Int], agreement: Agreement, balance: Balance) -> Int:
    """Amounts for the hours that are left of a grant. What counts as no RGU cannot be paid in RGU-hours."""
    rule = agreement.rule
    if not isinstance(rule, Credits) or rule.quantity is None:
        return amounts
    unit = "gpu_ns" if rule.unit == "gpu_hours" else "rgu_ns"
    room = int((rule.quantity - rule.used_before) * _HOUR_NS) - getattr(balance, unit)
    units = used[unit]
    paid = _within(units, room)
    return multiply_divide(amounts, paid, np.maximum(units, 1))


def _within(amounts: Int, room: int) -> Int:
    """The part of each amount that comes before their sum exceeds `room`."""
    reached = np.minimum(np.cumsum(amounts), min(max(room, 0), _ENOUGH))
    return np.diff(reached, prepend=0)
