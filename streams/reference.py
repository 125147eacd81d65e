"""What labels mean: who works on a device, who pays, what an hour costs, what a programme pays. Pure, no I/O.

All arithmetic is exact (integers and fractions) and rounds once, half-even, where an amount becomes nano-units.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase, translate
from fractions import Fraction
from functools import lru_cache

from schemas.config import UNATTRIBUTED_CURRENCY, Cluster, Config, CostShare, Deployment, Match, Price, TokenPrice
from schemas.money import NANO, round_half_even
from schemas.prices import by_precedence, effective_end

HOURS_PER_YEAR = 8766
"""365.25 days: a purchase is written off evenly over this many hours for each year of its life."""

_NS_PER_HOUR = 3600 * 10**9
_MJ_PER_KWH = 3_600_000_000
_MTOK = 1_000_000
_REMEMBERED = 1 << 17  # answers kept: enough for the live labels of a country, bounded as jobs come and go


# Label name and test of each pattern that is given.
_Patterns = tuple[tuple[str, Callable[[str], object]], ...]


class UnknownReference(LookupError):
    """A label that the configuration does not explain. The text names what to add to it."""


@dataclass(frozen=True, slots=True)
class PriceRate:
    """What one device costs, exactly."""

    currency: str
    version: str
    """``id@YYYY-MM-DD``: price and first day."""
    per_gpu_ns: Fraction
    """Nano-units of the currency per nanosecond of a whole device."""
    per_mj: Fraction
    """Nano-units of the currency per millijoule at the device; the facility's share (PUE) is in it."""

    def cost(self, gpu_ns: int, energy_mj: int) -> int:
        """Nano-units for device time (ns of a whole device) and its energy (mJ)."""
        return round_half_even(gpu_ns * self.per_gpu_ns + energy_mj * self.per_mj)


@dataclass(frozen=True, slots=True)
class _PricePeriod:
    pattern: str
    starts: date
    ends: date | None
    rate: PriceRate


@dataclass(frozen=True, slots=True)
class _FxSeries:
    """Rates of one pair, by their first day."""

    days: tuple[date, ...]
    rates: tuple[Fraction, ...]


class Reference:
    """Answers from one configuration. Answers about labels are remembered: the same ones come again every tick."""

    def __init__(self, config: Config) -> None:
        self._clusters = {cluster.id: cluster for cluster in config.cluster}
        self._deployments = {deployment.id: deployment for deployment in config.deployment}
        self._agreements = {agreement.id: agreement for agreement in config.agreement}
        self._programmes = {programme.id: programme for programme in config.programme}
        self._served_by: dict[str, list[tuple[Deployment, _Patterns]]] = {}
        for deployment in config.deployment:
            self._served_by.setdefault(deployment.cluster, []).append((deployment, _patterns(deployment.match)))
        self._paid_by = [
            (agreement.id, _patterns(match)) for agreement in config.agreement for match in agreement.match
        ]
        self._periods = {cluster.id: _periods(config, cluster) for cluster in config.cluster}
        self._fx = _fx_series(config)
        self._gpu = lru_cache(_REMEMBERED)(self._resolve_gpu)
        self._tokens = lru_cache(_REMEMBERED)(self._resolve_tokens)
        self._prices = lru_cache(_REMEMBERED)(self._find_price)

    # ---- labels ----------------------------------------------------------------------------------------------------

    def resolve_gpu(self, cluster: str, namespace: str, pod: str, job: str, account: str) -> tuple[str, str, str]:
        """(workload, deployment, agreement) of a device slice; each empty where there is none.

        The workload is ``namespace/pod``, else the job. A deployment is found by its patterns, the first in file order
        where several fit, and decides who pays; outside of deployments the first agreement whose patterns fit does.
        """
        return self._gpu(cluster, namespace, pod, job, account)

    def resolve_tokens(
        self, cluster: str, deployment: str, served_model: str, team: str, layer: str
    ) -> tuple[str, str, bool]:
        """(model, agreement, counted) of a token counter.

        The model is the deployment's, else the name that the server prints. Tokens of a shared deployment, or of none,
        belong to the first agreement whose patterns fit the team. One layer of a deployment counts, engines where no
        deployment says so.
        """
        return self._tokens(cluster, deployment, served_model, team, layer)

    def _resolve_gpu(self, cluster: str, namespace: str, pod: str, job: str, account: str) -> tuple[str, str, str]:
        workload = "/".join(filter(None, (namespace, pod))) if pod else job
        if not workload:
            return "", "", ""
        labels = {"namespace": namespace, "pod": pod, "job": job, "account": account}
        for deployment, patterns in self._served_by.get(cluster, ()):
            if _fits(patterns, labels):
                return workload, deployment.id, deployment.agreement
        return workload, "", self._first_agreement(labels)

    def _resolve_tokens(
        self, cluster: str, deployment: str, served_model: str, team: str, layer: str
    ) -> tuple[str, str, bool]:
        known = self._deployments.get(deployment)
        if known is None or known.cluster != cluster:
            return served_model, self._first_agreement({"team": team}), layer == "engine"
        agreement = self._first_agreement({"team": team}) if known.shared else known.agreement
        return known.model, agreement, layer == known.counted_layer

    def _first_agreement(self, labels: Mapping[str, str]) -> str:
        return next((agreement for agreement, patterns in self._paid_by if _fits(patterns, labels)), "")

    # ---- what is declared ------------------------------------------------------------------------------------------

    def country(self, cluster: str) -> str:
        """ISO 3166 country of a cluster; empty when it is not described."""
        known = self._clusters.get(cluster)
        return known.country if known else ""

    def model(self, deployment: str) -> str:
        """Model that a deployment serves; empty when it is not described."""
        known = self._deployments.get(deployment)
        return known.model if known else ""

    def is_shared(self, deployment: str) -> bool:
        """Whether the cost of a deployment is divided by the tokens of its tenants."""
        known = self._deployments.get(deployment)
        return known is not None and known.shared

    def programme(self, agreement: str) -> str:
        """Programme that an agreement belongs to; empty when it is not described."""
        known = self._agreements.get(agreement)
        return known.programme if known else ""

    def currency(self, agreement: str) -> str:
        """Currency in which an agreement is settled: its programme's. What nobody pays for is counted in CAD."""
        programme = self._programmes.get(self.programme(agreement))
        return programme.currency if programme else UNATTRIBUTED_CURRENCY

    # ---- money -----------------------------------------------------------------------------------------------------

    def price(self, cluster: str, gpu_model: str, day: date) -> PriceRate | None:
        """The rate at which a product is charged on a UTC day; None when no price holds."""
        return self._prices(cluster, gpu_model, day)

    def _find_price(self, cluster: str, gpu_model: str, day: date) -> PriceRate | None:
        for period in self._periods.get(cluster, ()):
            holds = period.starts <= day and (period.ends is None or day < period.ends)
            if holds and fnmatchcase(gpu_model, period.pattern):
                return period.rate
        return None

    def subsidy(self, agreement: str, country: str, day: date, cost_nano: int, tokens: int) -> int:
        """The part of a cost that the programme pays, before any cap. All amounts in the agreement's currency.

        country: of the cluster that did the work. day: UTC. tokens: prompt and generation, for rules that charge by
        them. Credits counted in GPU-hours are limited by the burn tally, not here. An agreement that is not described,
        or not in force that day, pays nothing.
        """
        known = self._agreements.get(agreement)
        if known is None or not known.starts <= day <= known.ends:
            return 0
        match known.rule:
            case CostShare() as rule:
                if country == known.country:
                    share = rule.share
                else:
                    paid = rule.elsewhere_until is None or day <= rule.elsewhere_until
                    share = rule.elsewhere if paid else Fraction(0)
                return round_half_even(cost_nano * share)
            case TokenPrice() as rule:
                return cost_nano - min(cost_nano, round_half_even(tokens * rule.per_mtok * NANO / _MTOK))
            case _:
                return cost_nano

    def convert(self, amount_nano: int, base: str, quote: str, day: date) -> int:
        """An amount of `base` in `quote`, at the rate of that UTC day, rounded once.

        Raises UnknownReference when no rate holds; a configuration read from a file always has one.
        """
        if base == quote:
            return amount_nano
        series = self._fx.get((base, quote))
        position = bisect_right(series.days, day) if series else 0
        if series is None or position == 0:
            raise UnknownReference(
                f"no exchange rate from {base} to {quote} on {day}; add [[fx_rate]] with "
                f'base = "{base}", quote = "{quote}" and effective_from = {day} or earlier'
            )
        return round_half_even(amount_nano * series.rates[position - 1])


def _patterns(match: Match) -> _Patterns:
    given = match.model_dump(exclude_none=True)
    return tuple((name, re.compile(translate(pattern)).match) for name, pattern in given.items())


def _fits(patterns: _Patterns, labels: Mapping[str, str]) -> bool:
    """Whether every pattern matches its label. A label that is not known matches nothing.

    Alliance clusters keep one Slurm account per kind of allocation, ``rrg-acme_cpu`` and ``rrg-acme_gpu``; a pattern
    may name either or leave the ending out.
    """
    for name, matches in patterns:
        value = labels.get(name, "")
        if not value or not (matches(value) or (name == "account" and matches(_without_suffix(value)))):
            return False
    return True


def _without_suffix(account: str) -> str:
    return account[:-4] if account.endswith(("_cpu", "_gpu")) else account


def _periods(config: Config, cluster: Cluster) -> list[_PricePeriod]:
    """The prices of one cluster in the order in which they are asked."""
    prices = [price for price in config.price if price.cluster == cluster.id]
    return [
        _PricePeriod(price.gpu_model, price.effective_from, effective_end(price, prices), _rate(price, cluster))
        for price in by_precedence(prices)
    ]


def _rate(price: Price, cluster: Cluster) -> PriceRate:
    """Owned: purchase / lifetime + operation, and energy x tariff x PUE. Rented: the contract price, energy in it."""
    if price.basis == "rented":
        per_hour, per_kwh = price.per_gpu_hour or Fraction(0), Fraction(0)
    else:
        purchase = (price.capex or Fraction(0)) / ((price.lifetime_years or Fraction(1)) * HOURS_PER_YEAR)
        per_hour, per_kwh = purchase + price.opex_per_gpu_hour, price.energy_per_kwh * cluster.pue
    return PriceRate(
        currency=price.currency,
        version=f"{price.id}@{price.effective_from}",
        per_gpu_ns=per_hour * NANO / _NS_PER_HOUR,
        per_mj=per_kwh * NANO / _MJ_PER_KWH,
    )


def _fx_series(config: Config) -> dict[tuple[str, str], _FxSeries]:
    """Every pair in both directions; a pair serves its inverse exactly."""
    dated: dict[tuple[str, str], dict[date, Fraction]] = {}
    for rate in config.fx_rate:
        dated.setdefault((rate.quote, rate.base), {}).setdefault(rate.effective_from, 1 / rate.rate)
        dated.setdefault((rate.base, rate.quote), {})[rate.effective_from] = rate.rate
    return {
        pair: _FxSeries(tuple(sorted(rates)), tuple(rates[day] for day in sorted(rates)))
        for pair, rates in dated.items()
    }
