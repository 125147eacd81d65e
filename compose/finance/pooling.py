"""Countries that lend each other compute: who used whose, the balance, and on whose capacity each computes. Pure.

Usage is that of charged lines, by the country of the recipient and that of the cluster. Cost is the whole cost, whoever
pays it. The sum of one UTC day, agreement's currency, recipient's country and cluster becomes another currency at that
day's rate, rounded half-even once.

Where a recipient's usage ran, for a recipient of country C, a cluster that stands in S and an operator from O:

- domestic: S and O are both C;
- allied: not domestic, and S and O each are a country of the pool or one of its allies;
- foreign: everything else, so also a cluster at home that is run from outside the pool and its allies.

Every line is in exactly one class, so the shares of a country add up to 1.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from schemas.config import Cluster, Pool

CLASSES = ("domestic", "allied", "foreign")

Convert = Callable[[int, str, str, date], int]
"""Nano-units, from this currency, to that, on a UTC day."""


class Use(NamedTuple):
    """Charged usage of one day by recipients of one country on one cluster, in one currency."""

    day: date
    recipient_country: str
    cluster: str
    currency: str
    gpu_ns: int
    rgu_ns: int
    energy_mj: int
    cost_nano: int


@dataclass(slots=True)
class Figures:
    """Sums; a balance has the sign of what was lent."""

    gpu_ns: int = 0
    rgu_ns: int = 0
    energy_mj: int = 0
    cost_nano: dict[str, int] = field(default_factory=dict)
    """In each currency."""

    def add(self, other: "Figures", sign: int = 1) -> None:
        self.gpu_ns += sign * other.gpu_ns
        self.rgu_ns += sign * other.rgu_ns
        self.energy_mj += sign * other.energy_mj
        for currency, cost in other.cost_nano.items():
            self.cost_nano[currency] = self.cost_nano.get(currency, 0) + sign * cost


Pair = tuple[str, str]
"""Country of the recipient, country of the cluster."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the compute of one country's recipients, by class; exact, their sum is 1. None: no such usage."""

    gpu: dict[str, Fraction] | None
    rgu: dict[str, Fraction] | None


@dataclass(frozen=True, slots=True)
class Account:
    """One pool over some time."""

    pool: Pool
    used: dict[Pair, Figures]
    """All usage by recipients of the pool or on clusters in it; cost in the currencies of those of the two in it."""
    balances: dict[Pair, Figures]
    """(one, other) of the pool: what recipients of the other used in the one, less what its own used in the other."""
    shares: dict[str, Shares]
    """By country of the recipient."""


def class_of(pool: Pool, recipient_country: str, cluster: Cluster) -> str:
    """One of CLASSES, as the head of this module defines them."""
    operator = cluster.operator_country or cluster.country
    if operator == cluster.country == recipient_country:
        return "domestic"
    friends = {*pool.currencies, *pool.allies}
    return "allied" if {operator, cluster.country} <= friends else "foreign"


def account(pool: Pool, uses: Iterable[Use], clusters: Mapping[str, Cluster], convert: Convert) -> Account:
    """The account of a pool. `uses`: at most one for each (day, country, cluster, currency)."""
    used: dict[Pair, Figures] = {}
    by_class = {country: {name: Figures() for name in CLASSES} for country in pool.currencies}
    for use in uses:
        cluster = clusters[use.cluster]
        pair = (use.recipient_country, cluster.country)
        if pool.currencies.keys().isdisjoint(pair):
            continue
        found = Figures(use.gpu_ns, use.rgu_ns, use.energy_mj)
        for currency in {pool.currencies[country] for country in pair if country in pool.currencies}:
            # Nothing is nothing in any currency, also on days before the first exchange rate.
            found.cost_nano[currency] = use.cost_nano and convert(use.cost_nano, use.currency, currency, use.day)
        used.setdefault(pair, Figures()).add(found)
        if use.recipient_country in by_class:
            by_class[use.recipient_country][class_of(pool, use.recipient_country, cluster)].add(found)
    return Account(
        pool=pool,
        used=dict(sorted(used.items())),
        balances={
            (one, other): _balance(used, one, other)
            for one in pool.currencies
            for other in pool.currencies
            if one != other
        },
        shares={
            country: Shares(
                gpu=_shares({name: figures.gpu_ns for name, figures in classes.items()}),
                rgu=_shares({name: figures.rgu_ns for name, figures in classes.items()}),
            )
            for country, classes in by_class.items()
        },
    )


def _balance(used: Mapping[Pair, Figures], one: str, other: str) -> Figures:
    balance = Figures()
    balance.add(used.get((other, one), Figures()))
    balance.add(used.get((one, other), Figures()), -1)
    return balance


def _shares(amounts: Mapping[str, int]) -> dict[str, Fraction] | None:
    whole = sum(amounts.values())
    return {name: Fraction(amount, whole) for name, amount in amounts.items()} if whole else None
