"""What labels mean: who works on a device, who pays, what an hour costs, what a programme pays. Pure, no I/O.

All arithmetic is exact (integers and fractions) and rounds once, half-even, where an amount becomes nano-units.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import translate
from fractions import Fraction
from functools import lru_cache

from schemas.config import UNATTRIBUTED_CURRENCY, Agreement, Carbon, Cluster, Config, Deployment, Match
from schemas.money import round_half_even
from streams.pricing import ClusterPrices, PriceRate, RguWeights, Steps
from streams.rules import NOT_IN_FORCE, Terms, terms_of

_REMEMBERED = 1 << 17  # answers kept: enough for the live labels of a country, bounded as jobs come and go


# Label name and test of each pattern that is given.
_Patterns = tuple[tuple[str, Callable[[str], object]], ...]


class UnknownReference(LookupError):
    """A label that the configuration does not explain. The text names what to add to it."""


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
        self._prices = {cluster.id: ClusterPrices(config, cluster) for cluster in config.cluster}
        self._rgu = RguWeights(config)
        self._carbon = sorted(config.carbon, key=lambda carbon: carbon.effective_from)
        self._chains = _chains(config)
        self._fx = _fx_series(config)
        self._gpu = lru_cache(_REMEMBERED)(self._resolve_gpu)
        self._tokens = lru_cache(_REMEMBERED)(self._resolve_tokens)
        self._terms = lru_cache(_REMEMBERED)(self._find_terms)
        self._limits = lru_cache(_REMEMBERED)(self._find_limit)

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

    def cluster(self, name: str) -> Cluster | None:
        """A cluster; None when it is not described."""
        return self._clusters.get(name)

    def agreement(self, name: str) -> Agreement | None:
        """An agreement; None when it is not described."""
        return self._agreements.get(name)

    def agreements(self) -> list[Agreement]:
        """All agreements, in file order."""
        return list(self._agreements.values())

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

    def price(self, cluster: str, gpu_model: str, ts_ms: int) -> PriceRate | None:
        """The rate at which a product is charged at a moment (ms since 1970 UTC); None when no price holds.

        The UTC day chooses the price, the cluster's local time its tariff. Rates change on whole minutes only.
        """
        known = self._prices.get(cluster)
        return known.at(gpu_model, ts_ms) if known else None

    def price_periods(self, cluster: str, gpu_model: str, start_ms: int, end_ms: int) -> Steps:
        """(moment, rate from then on) of a product from `start_ms` until `end_ms`, ascending and each another rate.

        The first moment is `start_ms`; the rate is None while no price holds.
        """
        known = self._prices.get(cluster)
        return known.between(gpu_model, start_ms, end_ms) if known else [(start_ms, None)]

    def by_time_of_day(self, cluster: str, gpu_model: str) -> bool:
        """Whether what a product costs can change within a UTC day."""
        known = self._prices.get(cluster)
        return known is not None and known.by_time_of_day(gpu_model)

    def rgu(self, gpu_model: str, slice_profile: str, day: date) -> Fraction | None:
        """RGU that a whole device counts as when it is used in slices of a profile (empty: whole) on a UTC day.

        So RGU-seconds are its `gpu_seconds` times this. None when no weight matches.
        """
        return self._rgu.of(gpu_model, slice_profile, day)

    def carbon(self, region: str, day: date) -> Carbon | None:
        """Emissions of a region's electricity on a UTC day; None when none are described."""
        held = (one for one in reversed(self._carbon) if one.region == region and one.effective_from <= day)
        return next(held, None)

    # ---- what programmes pay ---------------------------------------------------------------------------------------

    def terms(self, agreement: str, country: str, day: date) -> Terms:
        """What an agreement says for a country (of the cluster that did the work) and a UTC day."""
        return self._terms(agreement, country, day)

    def _find_terms(self, agreement: str, country: str, day: date) -> Terms:
        known = self._agreements.get(agreement)
        return terms_of(known, country, day) if known else NOT_IN_FORCE

    def chain(self, agreement: str) -> tuple[str, ...]:
        """Who supports usage of an agreement, in order: itself, then those that come after it, each followed by those
        that come after that one. Of several after the same one, that which stands first in the file comes first."""
        return self._chains.get(agreement, (agreement,))

    def stacking_limit(self, agreements: Sequence[str]) -> Fraction:
        """Most that the programmes of these agreements may pay together, as a share of the cost: the lowest of their
        limits, 1 without any."""
        return self._limits(tuple(agreements))

    def _find_limit(self, agreements: tuple[str, ...]) -> Fraction:
        programmes = (self._programmes.get(self.programme(agreement)) for agreement in agreements)
        limits = [known.stacking_limit for known in programmes if known and known.stacking_limit is not None]
        return min(limits, default=Fraction(1))

    def subsidies(
        self, agreement: str, country: str, day: date, cost_nano: int, prompt: int, cached: int, generation: int
    ) -> list[tuple[str, int]]:
        """(agreement, nano-units that its programme pays) along the chain of an agreement, before any cap or grant.

        All amounts are in the currency of the agreement. country: of the cluster that did the work. day: UTC. prompt,
        cached, generation: tokens, for rules that charge by them. Together they never exceed the cost, and what one
        adds never lifts the sum above the limit that it and those before it are under.
        """
        paid: list[tuple[str, int]] = []
        left_nano = cost_nano
        chain = self.chain(agreement)
        for position, party in enumerate(chain, 1):
            subsidy = self.terms(party, country, day).subsidy(cost_nano, left_nano, prompt, cached, generation)
            limit = self._limits(chain[:position])
            if limit != 1:
                subsidy = min(subsidy, max(0, math.floor(cost_nano * limit) - (cost_nano - left_nano)))
            paid.append((party, subsidy))
            left_nano -= subsidy
        return paid

    # ---- exchange --------------------------------------------------------------------------------------------------

    def convert(self, amount_nano: int, base: str, quote: str, day: date) -> int:
        """An amount of `base` in `quote`, at the rate of that UTC day, rounded once.

        Raises UnknownReference when no rate holds; a configuration read from a file always has one.
        """
        return round_half_even(amount_nano * self.fx(base, quote, day)) if base != quote else amount_nano

    def fx(self, base: str, quote: str, day: date) -> Fraction:
        """Units of `quote` for one unit of `base` on a UTC day. Raises UnknownReference when no rate holds."""
        if base == quote:
            return Fraction(1)
        series = self._fx.get((base, quote))
        position = bisect_right(series.days, day) if series else 0
        if series is None or position == 0:
            raise UnknownReference(
                f"no exchange rate from {base} to {quote} on {day}; add [[fx_rate]] with "
                f'base = "{base}", quote = "{quote}" and effective_from = {day} or earlier'
            )
        return series.rates[position - 1]


def _chains(config: Config) -> dict[str, tuple[str, ...]]:
    """For each agreement: itself and those that come after it."""
    followers: dict[str, list[str]] = {}
    for agreement in config.agreement:
        followers.setdefault(agreement.after, []).append(agreement.id)

    def chain(first: str, before: tuple[str, ...]) -> tuple[str, ...]:
        found = (*before, first)
        for follower in followers.get(first, ()):
            if follower not in found:  # a circle is a mistake that the configuration file is refused for
                found = chain(follower, found)
        return found

    return {agreement.id: chain(agreement.id, ()) for agreement in config.agreement}


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
