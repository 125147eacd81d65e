"""From usage to priced lines: who pays what for each hour. Pure, exact, and the same whatever the order of its input.

1. The cost of each (minute, cluster, deployment, agreement, price currency) becomes the agreement's currency, once.
2. The cost of a shared deployment, and its device time and energy, are divided among its tenants by their tokens of the
   minute (largest remainder); without any they belong to nobody.
3. For each (minute, cluster, model, agreement) the rule of the agreement says what the programme pays: the same
   arithmetic as of `unit_costs`, so that charges and the running tally agree to the nano-unit.
4. Caps, grants of credits and stacking limits are applied in the order of time, within a minute by cluster and model;
   what crosses a limit is split exactly there. Agreements that come `after` another support what is left of it.
5. What was decided for a minute is divided among the workloads and products that it is made of (largest remainder),
   and minutes are added up to hours.

Charged + subsidised + idle + unattributed = cost, for every minute and so for everything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from compose.finance.columns import DAY_S, Columns, date_of, day_of, in_order, joined, take, zeros
from compose.finance.integers import Int, apportion, grouped, multiply_divide, ranges, sums
from compose.finance.limits import Balance, supports
from compose.finance.usage import COUNTS, NUMBERS, TEXTS, Texts, Usage
from streams.reference import Reference

HOUR_S = 3600

MEASURES = (
    "gpu_ns", "busy_ns", "rgu_ns", "energy_mj", "counter_ns", "integrated_ns", "bridged_ns", *COUNTS,
    "price_cost_nano", "cost_nano", "accrued_nano", "subsidy_nano", "charge_nano",
)  # fmt: skip
"""Figures of a line, all of them whole numbers: ns of a whole device (RGU ns), mJ, tokens, nano-units of a currency."""


class Key(NamedTuple):
    """What tells one line from another."""

    hour_s: int
    """Unix time of the hour."""
    agreement: str
    cluster: str
    deployment: str
    workload: str
    model: str
    gpu_model: str
    slice: str
    rule: str
    price_version: str
    price_currency: str
    currency: str
    category: str
    programme: str


Lines = dict[Key, tuple[int, ...]]
"""Each line with its MEASURES."""


def rate(usage: Usage, reference: Reference, opening: Mapping[str, Balance]) -> Lines:
    """The lines of some hours. `opening`: what each agreement has used up before the first of them.

    Raises UnknownReference when an exchange rate is missing.
    """
    names = _Names.of(usage, reference)
    rows = _device_rows(usage, names, reference)
    tokens = _token_rows(usage, names)
    rows = _shared_out(rows, tokens, names, reference)
    rows = _with_tokens(rows, tokens, names)
    rows, rules = _supported(rows, names, reference, opening)
    return _by_hour(rows, rules, names, reference)


@dataclass(frozen=True, slots=True)
class _Names:
    """The texts behind numbers: each list ascending, so that numbers sort as texts do."""

    cluster: list[str]
    deployment: list[str]
    workload: list[str]
    agreement: list[str]
    gpu_model: list[str]
    slice: list[str]
    model: list[str]
    price: list[tuple[str, str]]
    """(version, currency), in the order of the usage."""
    currency: list[str]
    model_of: Int
    """Model of each deployment; -1: as its tokens say."""

    @classmethod
    def of(cls, usage: Usage, reference: Reference) -> "_Names":
        seen = {name: {"", *usage.texts[name].names} for name in TEXTS}
        for name in ("cluster", "deployment", "agreement"):
            seen[name] |= set(usage.token_texts[name].names)
        seen["agreement"] |= {party for agreement in seen["agreement"] for party in reference.chain(agreement)}
        deployments = sorted(seen["deployment"])
        served = [reference.model(deployment) for deployment in deployments]
        models = sorted({"", *usage.token_texts["model"].names, *served})
        number = {model: code for code, model in enumerate(models)}
        currencies = {currency for _, currency in usage.prices}
        currencies |= {reference.currency(agreement) for agreement in seen["agreement"]}
        return cls(
            **{name: sorted(texts) for name, texts in seen.items()},
            model=models,
            price=list(usage.prices),
            currency=sorted(currencies),
            model_of=np.array([number[model] if model else -1 for model in served], np.int64),
        )

    def codes(self, name: str, texts: Iterable[str]) -> Int:
        """The numbers of texts."""
        number = {text: code for code, text in enumerate(getattr(self, name))}
        return np.array([number[text] for text in texts], np.int64)

    def column(self, name: str, texts: Texts) -> Int:
        """The numbers of a column of texts."""
        return self.codes(name, texts.names)[texts.codes]

    def own_currency(self, reference: Reference) -> Int:
        """Currency in which each agreement is settled."""
        return self.codes("currency", [reference.currency(agreement) for agreement in self.agreement])


def _device_rows(usage: Usage, names: _Names, reference: Reference) -> Columns:
    """Device time with its cost in the agreement's currency (step 1), sorted by everything that names a row."""
    rows: Columns = {"minute": usage.minute, "price": usage.price, **usage.numbers}
    rows |= {name: names.column(name, usage.texts[name]) for name in TEXTS}
    currency_of_price = names.codes("currency", [currency for _, currency in names.price])
    rows["price_currency"] = currency_of_price[rows["price"]]
    key = ("minute", "cluster", "deployment", "agreement", "price_currency", "workload", "gpu_model", "slice", "price")
    rows = in_order(rows, key)
    rows["rgu_ns"] = _rgu_ns(rows, names, reference)
    group, first = grouped(*(rows[name] for name in key[:5]))
    total = sums(rows["price_cost_nano"], group, len(first))
    of = take(rows, first)
    own = names.own_currency(reference)[of["agreement"]]
    converted = _converted(total, of["price_currency"], own, day_of(of["minute"]), names, reference)
    rows["cost_nano"] = apportion(converted, rows["price_cost_nano"], group)
    rows["group"] = group
    rows["model"] = np.maximum(names.model_of[rows["deployment"]], 0)  # 0 is the empty text
    return rows


def _rgu_ns(rows: Columns, names: _Names, reference: Reference) -> Int:
    """Device time in reference GPU units: 0 for products without a weight."""
    rgu = zeros(len(rows["minute"]))
    kind, first = grouped(day_of(rows["minute"]), rows["gpu_model"], rows["slice"])
    for number, row in enumerate(first.tolist()):
        product = names.gpu_model[rows["gpu_model"][row]], names.slice[rows["slice"][row]]
        weight = reference.rgu(*product, date_of(int(rows["minute"][row]) // DAY_S))
        if weight is not None:
            chosen = kind == number
            rgu[chosen] = multiply_divide(rows["gpu_ns"][chosen], weight.numerator, weight.denominator)
    return rgu


def _converted(amounts: Int, base: Int, quote: Int, day: Int, names: _Names, reference: Reference) -> Int:
    """Amounts in another currency, each rounded once. What has no price has no currency, and no cost."""
    result = amounts.copy()
    kind, first = grouped(base, quote, day)
    for number, row in enumerate(first.tolist()):
        pair = names.currency[base[row]], names.currency[quote[row]]
        if pair[0] and pair[0] != pair[1]:
            chosen = kind == number
            fx = reference.fx(*pair, date_of(int(day[row])))
            result[chosen] = multiply_divide(amounts[chosen], fx.numerator, fx.denominator)
    return result


def _token_rows(usage: Usage, names: _Names) -> Columns:
    """Counted tokens, one row per (minute, cluster, deployment, agreement, model), sorted by that."""
    rows: Columns = {"minute": usage.token_minute, **usage.tokens}
    texts = usage.token_texts
    rows |= {name: names.column(name, texts[name]) for name in ("cluster", "deployment", "agreement")}
    served = names.model_of[rows["deployment"]]
    rows["model"] = np.where(served < 0, names.column("model", texts["model"]), served)
    key = ("minute", "cluster", "deployment", "agreement", "model")
    group, first = grouped(*(rows[name] for name in key))
    return take(rows, first, key) | {name: sums(rows[name], group, len(first)) for name in COUNTS}


_DIVIDED = (*NUMBERS, "rgu_ns")
"""What a shared deployment divides, beside its cost."""


def _shared_out(rows: Columns, tokens: Columns, names: _Names, reference: Reference) -> Columns:
    """Rows of shared deployments as rows of their tenants (step 2)."""
    shared = np.array([reference.is_shared(deployment) for deployment in names.deployment], bool)
    inside = shared[rows["deployment"]]
    tenants = _tenants(take(tokens, shared[tokens["deployment"]]))
    ours = take(rows, inside)
    group, first = grouped(ours["group"])
    served, at = _matching(take(ours, first), tenants, ("minute", "cluster", "deployment"))
    if not len(served):
        return rows
    # One row per (group, tenant), and below it one per (group, tenant, row of the group).
    start = np.flatnonzero(np.r_[True, served[1:] != served[:-1]])
    party = np.repeat(np.arange(len(start)), np.diff(np.r_[start, len(served)]))
    members = np.bincount(group, minlength=len(first))[served]
    row = np.repeat(first[served], members) + ranges(members)
    pair = np.repeat(np.arange(len(served)), members)
    divided = take(ours, row)
    for name in (*_DIVIDED, "cost_nano"):
        whole = sums(ours[name], group, len(first))[served[start]]
        part = apportion(whole, tenants["tokens"][at], party)
        if name == "cost_nano":
            own = names.own_currency(reference)
            before, after = own[ours["agreement"][first[served]]], own[tenants["agreement"][at]]
            part = _converted(part, before, after, day_of(tenants["minute"][at]), names, reference)
        divided[name] = apportion(part, ours[name][row], pair)
    divided["agreement"] = tenants["agreement"][at][pair]
    split = np.zeros(len(first), bool)
    split[served] = True
    rest = np.ones(len(inside), bool)
    rest[np.flatnonzero(inside)[split[group]]] = False
    return joined(take(rows, rest), divided)


def _tenants(tokens: Columns) -> Columns:
    """Tokens of each (minute, cluster, deployment, agreement), in that order, where any were served in the minute."""
    key = ("minute", "cluster", "deployment", "agreement")
    group, first = grouped(*(tokens[name] for name in key))
    tenants = take(tokens, first, key)
    tenants["tokens"] = sums(tokens["prompt_tokens"] + tokens["generation_tokens"], group, len(first))
    minute, begin = grouped(*(tenants[name] for name in key[:3]))
    return take(tenants, sums(tenants["tokens"], minute, len(begin))[minute] > 0)


def _matching(left: Columns, right: Columns, key: tuple[str, ...]) -> tuple[Int, Int]:
    """Pairs of rows with the same key, as two lists of row numbers, in the order of `left`. `right` is sorted by it."""
    count = len(left[key[0]])
    group, _ = grouped(*(np.concatenate([left[name], right[name]]) for name in key))
    ours, theirs = group[:count], group[count:]
    begin = np.searchsorted(theirs, ours, "left")
    many = np.searchsorted(theirs, ours, "right") - begin
    return np.repeat(np.arange(count), many), np.repeat(begin, many) + ranges(many)


def _with_tokens(rows: Columns, tokens: Columns, names: _Names) -> Columns:
    """Rows with the tokens that were served by them, by device time; tokens that no device served become rows."""
    key = ("minute", "cluster", "deployment", "agreement", "model")
    fine = ("workload", "gpu_model", "slice", "price")
    rows = in_order({name: column for name, column in rows.items() if name != "group"}, key + fine)
    count = len(rows["minute"])
    group, first = grouped(*(np.concatenate([rows[name], tokens[name]]) for name in key))
    # Groups of both, numbered by key: where a group has rows, its tokens are divided among them.
    of_rows, of_tokens = group[:count], group[count:]
    has_rows = np.zeros(len(first), bool)
    has_rows[of_rows] = True
    dense = np.cumsum(has_rows) - 1
    for name in COUNTS:
        total = sums(tokens[name], of_tokens, len(first))
        rows[name] = apportion(total[has_rows], rows["gpu_ns"], dense[of_rows])
    alone = take(tokens, ~has_rows[of_tokens])
    # Without a device they have no product, no price (number 0, as the empty text) and no cost.
    alone |= {name: zeros(len(alone["minute"])) for name in rows if name not in alone}
    return joined(rows, alone)


def _supported(
    rows: Columns, names: _Names, reference: Reference, opening: Mapping[str, Balance]
) -> tuple[Columns, list[str]]:
    """Rows with what the programmes pay (steps 3 and 4), divided among the rows of each line (step 5); the rules."""
    key = ("minute", "cluster", "model", "agreement")
    rows = in_order(rows, (*key, "deployment", "workload", "gpu_model", "slice", "price"))
    count = len(rows["minute"])
    group, first = grouped(*(rows[name] for name in key))
    lines = take(rows, first, key)
    lines |= {name: sums(rows[name], group, len(first)) for name in ("cost_nano", "gpu_ns", "rgu_ns", *COUNTS)}
    found, rules = supports(lines, names.agreement, names.cluster, reference, opening)
    rows |= dict.fromkeys(("accrued_nano", "subsidy_nano", "charge_nano", "rule"), zeros(count))
    parts = [take(rows, rows["agreement"] == 0)]
    for place, support in enumerate(found):
        position = np.full(len(first), -1, np.int64)
        position[support.line] = np.arange(len(support.line))
        chosen = position[group] >= 0
        of = position[group[chosen]]  # lines ascend as rows do
        part = take(rows, chosen)
        for name in ("accrued_nano", "subsidy_nano"):
            part[name] = apportion(getattr(support, name), part["cost_nano"], of)
        part["agreement"], part["rule"] = support.agreement[of], support.rule[of] + 1
        if place:  # it supports what another agreement has on its own lines
            part |= dict.fromkeys((*_DIVIDED, "cost_nano", *COUNTS), zeros(len(of)))
            part = take(part, (part["accrued_nano"] != 0) | (part["subsidy_nano"] != 0))
        part["charge_nano"] = part["cost_nano"] - part["subsidy_nano"]
        parts.append(part)
    return joined(*parts), ["", *rules]


def _by_hour(rows: Columns, rules: list[str], names: _Names, reference: Reference) -> Lines:
    """Rows of the same name added up over each hour; nothing where everything is nothing."""
    hour = rows["minute"] // HOUR_S
    key = ("agreement", "cluster", "deployment", "workload", "model", "gpu_model", "slice", "rule", "price")
    group, first = grouped(hour, *(rows[name] for name in key))
    measures = np.stack([sums(rows[name], group, len(first)) for name in MEASURES], axis=1)
    lines: Lines = {}
    for row, figures in zip(first.tolist(), measures.tolist(), strict=True):
        if not any(figures):
            continue
        agreement = names.agreement[rows["agreement"][row]]
        texts = {name: getattr(names, name)[rows[name][row]] for name in key[1:7]}
        version, price_currency = names.price[rows["price"][row]]
        named = Key(
            hour_s=int(hour[row]) * HOUR_S,
            agreement=agreement,
            **texts,
            rule=rules[rows["rule"][row]],
            price_version=version,
            price_currency=price_currency,
            currency=reference.currency(agreement),
            category=_category(agreement, texts, figures[0]),
            programme=reference.programme(agreement),
        )
        lines[named] = tuple(figures)
    return lines


def _category(agreement: str, texts: Mapping[str, str], gpu_ns: int) -> str:
    """Tokens of nobody that no device served have no device time; they are not idle."""
    if agreement:
        return "charged"
    return "idle" if gpu_ns and not texts["workload"] and not texts["deployment"] else "unattributed"
