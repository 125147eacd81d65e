"""What ties the tables of the configuration together: references, unique ids, prices, exchange rates."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Generic, TypeVar

from schemas.config import (
    UNATTRIBUTED_CURRENCY,
    Agreement,
    Carbon,
    Cluster,
    Credits,
    Deployment,
    FxRate,
    Pool,
    Price,
    Programme,
    Reader,
    Rgu,
    Target,
    TokenPrice,
)
from schemas.config_errors import Mistake
from schemas.config_section import Section
from schemas.prices import conflicts
from schemas.toml_lines import Path

Model = TypeVar("Model", bound=Section)

# Kinds of target that count tokens; every other one measures devices.
TOKEN_KINDS = frozenset({"vllm", "litellm"})


@dataclass(frozen=True, slots=True)
class Entry(Generic[Model]):
    """A table of the file that is sound on its own, and where it stands."""

    path: Path
    table: Model


@dataclass(slots=True)
class Declared:
    """What the file declares: ids even of tables that are broken (so that nothing else is blamed), and sound tables."""

    ids: dict[str, dict[str, Path]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    entries: list[Entry[Section]] = field(default_factory=list)
    sections: set[str] = field(default_factory=set)

    def add(self, section: str, index: int, data: Mapping[str, object], table: Section | None) -> None:
        """Take note of one table of a section; `table` is None when it is broken."""
        self.sections.add(section)
        name = data.get("id")
        if isinstance(name, str):
            first = self.ids.setdefault(section, {}).setdefault(name, (section, index))
            if first != (section, index):
                text = f'a {section} with id "{name}" is already described above; give this one another id'
                self.mistakes.append(Mistake((section, index, "id"), text))
        if table is not None:
            self.entries.append(Entry((section, index), table))

    def join(self, other: "Declared") -> None:
        """Take in what another one declares."""
        for section, ids in other.ids.items():
            self.ids.setdefault(section, {}).update(ids)
        self.mistakes += other.mistakes
        self.entries += other.entries
        self.sections |= other.sections

    def of(self, model: type[Model]) -> list[Entry[Model]]:
        """The sound tables of one model, in file order."""
        return [Entry(entry.path, entry.table) for entry in self.entries if isinstance(entry.table, model)]

    def has(self, section: str) -> bool:
        """Whether a section has any table, sound or broken."""
        return section in self.sections

    def unknown(self, section: str, name: str, path: Path) -> Iterator[Mistake]:
        """A mistake when no table of a section has that id."""
        known = self.ids.get(section, {})
        if name in known:
            return
        close = difflib.get_close_matches(name, known, n=1)
        listed = ", ".join(f'"{known_id}"' for known_id in known)
        remedy = (
            f'did you mean "{close[0]}"?' if close else f"write one of {listed}" if listed else f"add a [[{section}]]"
        )
        yield Mistake(path, f'no {section} has the id "{name}"; {remedy}')


def broken_rules(declared: Declared) -> list[Mistake]:
    """Everything that the tables of a file contradict each other in."""
    return [
        *declared.mistakes,
        *_clusters(declared),
        *_deployments(declared),
        *_agreements(declared),
        *_successions(declared),
        *_prices(declared),
        *_rates(declared),
        *_weights(declared),
        *_carbon(declared),
        *_readers(declared),
    ]


def _clusters(declared: Declared) -> Iterator[Mistake]:
    homes = {entry.table.id: entry.table.cluster for entry in declared.of(Deployment)}
    for cluster in declared.of(Cluster):
        urls: set[str] = set()
        for index, target in enumerate(cluster.table.target):
            path = (*cluster.path, "target", index)
            yield from _target(declared, cluster.table, target, path, homes)
            for number, url in enumerate(target.urls):
                if url in urls:
                    yield Mistake((*path, "urls", number), f'"{url}" is listed twice in this cluster; take one out')
                urls.add(url)


def _target(
    declared: Declared, cluster: Cluster, target: Target, path: Path, homes: Mapping[str, str]
) -> Iterator[Mistake]:
    path = (*path, "deployment")
    if not target.deployment:
        return
    if target.kind not in TOKEN_KINDS:
        text = f"a {target.kind} measures devices, which a deployment finds by its match; take deployment out"
        yield Mistake(path, text)
        return
    yield from declared.unknown("deployment", target.deployment, path)
    if homes.get(target.deployment, cluster.id) != cluster.id:
        text = (
            f'deployment "{target.deployment}" runs on cluster "{homes[target.deployment]}", not on "{cluster.id}"; '
            "move the target there, or name a deployment of this cluster"
        )
        yield Mistake(path, text)


def _deployments(declared: Declared) -> Iterator[Mistake]:
    agreements = {entry.table.id: entry.table for entry in declared.of(Agreement)}
    for entry in declared.of(Deployment):
        yield from declared.unknown("cluster", entry.table.cluster, (*entry.path, "cluster"))
        if not entry.table.agreement:
            continue
        yield from declared.unknown("agreement", entry.table.agreement, (*entry.path, "agreement"))
        named = agreements.get(entry.table.agreement)
        first = named and _paid_first(named, agreements)
        if named and first and first.id != named.id:
            text = (
                f'agreement "{named.id}" comes after "{first.id}", which pays first for the same usage; '
                f'write agreement = "{first.id}"'
            )
            yield Mistake((*entry.path, "agreement"), text)


def _agreements(declared: Declared) -> Iterator[Mistake]:
    programmes = {entry.table.id: entry.table for entry in declared.of(Programme)}
    agreements = {entry.table.id: entry.table for entry in declared.of(Agreement)}
    for entry in declared.of(Agreement):
        agreement = entry.table
        yield from declared.unknown("programme", agreement.programme, (*entry.path, "programme"))
        programme = programmes.get(agreement.programme)
        if programme is not None and agreement.starts < programme.starts:
            text = (
                f'starts {agreement.starts}, before programme "{programme.id}" does; write {programme.starts} or later'
            )
            yield Mistake((*entry.path, "starts"), f"the agreement {text}")
        if programme is not None and agreement.ends > programme.ends:
            text = f'ends {agreement.ends}, after programme "{programme.id}" does; write {programme.ends} or earlier'
            yield Mistake((*entry.path, "ends"), f"the agreement {text}")
        first = _paid_first(agreement, agreements)
        if isinstance(agreement.rule, TokenPrice) and first is not None and not _has_tokens(declared, first):
            whom = "it" if first is agreement else f'"{first.id}", which pays first'
            yield Mistake(
                (*entry.path, "rule"),
                f'agreement "{agreement.id}" is charged by tokens but no deployment counts any for {whom}; write '
                f'agreement = "{first.id}" in a [[deployment]], or match = [{{ team = "..." }}] with a shared one',
            )
        hours_of_rgu = isinstance(agreement.rule, Credits) and agreement.rule.unit == "rgu_hours"
        if hours_of_rgu and not declared.has("rgu"):
            yield Mistake(
                (*entry.path, "rule"),
                f'agreement "{agreement.id}" counts RGU-hours, but no device has a weight; add [[rgu]] with '
                'gpu_model = "NVIDIA H100*", weight = "12.2" and effective_from',
            )


def _has_tokens(declared: Declared, agreement: Agreement) -> bool:
    """Whether a deployment counts tokens for an agreement."""
    by_team = any(match.team is not None for match in agreement.match)
    deployments = (entry.table for entry in declared.of(Deployment))
    return any(deployment.agreement == agreement.id or (deployment.shared and by_team) for deployment in deployments)


def _successions(declared: Declared) -> Iterator[Mistake]:
    """Agreements that support what another one left."""
    agreements = {entry.table.id: entry.table for entry in declared.of(Agreement)}
    currencies = {entry.table.id: entry.table.currency for entry in declared.of(Programme)}
    followers: dict[str, str] = {}
    for entry in declared.of(Agreement):
        agreement, path = entry.table, (*entry.path, "after")
        if not agreement.after:
            continue
        yield from declared.unknown("agreement", agreement.after, path)
        first = followers.setdefault(agreement.after, agreement.id)
        if first != agreement.id:
            text = f'agreement "{first}" comes after "{agreement.after}" already; write after = "{first}"'
            yield Mistake(path, text)
        if _comes_after_itself(agreement, agreements):
            text = f'agreement "{agreement.id}" comes after itself; take after out of the one that pays first'
            yield Mistake(path, text)
            continue
        before = agreements.get(agreement.after)
        if before is None:
            continue
        if before.recipient != agreement.recipient:
            text = (
                f'agreement "{before.id}" is that of "{before.recipient}", not of "{agreement.recipient}"; name one of '
                "the same recipient"
            )
            yield Mistake(path, text)
        theirs, own = currencies.get(before.programme), currencies.get(agreement.programme)
        if theirs is not None and own is not None and theirs != own:
            text = (
                f'agreement "{before.id}" is settled in {theirs} and "{agreement.id}" in {own}; what one leaves the '
                "other can support only in the same currency, name another one or take after out"
            )
            yield Mistake(path, text)


def _comes_after_itself(agreement: Agreement, agreements: Mapping[str, Agreement]) -> bool:
    before, seen = agreements.get(agreement.after), set[str]()
    while before is not None and before.id != agreement.id and before.id not in seen:
        seen.add(before.id)
        before = agreements.get(before.after)
    return before is not None and before.id == agreement.id


def _paid_first(agreement: Agreement, agreements: Mapping[str, Agreement]) -> Agreement | None:
    """The one that has the usage: itself, unless it comes after others. None: these are in a circle, or not known."""
    first: Agreement | None = agreement
    seen = set[str]()
    while first is not None and first.after:
        if first.id in seen:
            return None
        seen.add(first.id)
        first = agreements.get(first.after)
    return first


def _prices(declared: Declared) -> Iterator[Mistake]:
    entries = declared.of(Price)
    for entry in entries:
        yield from declared.unknown("cluster", entry.table.cluster, (*entry.path, "cluster"))
        yield from _tariffs(entry)
    paths = {id(entry.table): entry.path for entry in entries}
    for one, other, day in conflicts([entry.table for entry in entries]):
        if one.id == other.id:
            continue  # reported as a duplicate id
        yield Mistake(
            (*paths[id(other)], "effective_from"),
            f'price "{other.id}" and price "{one.id}" both hold for "{one.gpu_model}" on cluster '
            f'"{one.cluster}" on {day}; end one before the other begins (effective_to), or take one out',
        )


def _tariffs(price: Entry[Price]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for index, tariff in enumerate(price.table.tariff):
        if tariff.id in seen:
            text = f'tariff "{tariff.id}" is given above; give this one another id'
            yield Mistake((*price.path, "tariff", index, "id"), text)
        seen.add(tariff.id)


def _weights(declared: Declared) -> Iterator[Mistake]:
    seen: set[tuple[str, str, date]] = set()
    for entry in declared.of(Rgu):
        rgu = entry.table
        key = (rgu.gpu_model, rgu.slice, rgu.effective_from)
        if key in seen:
            what = f'slices {rgu.slice} of "{rgu.gpu_model}"' if rgu.slice else f'"{rgu.gpu_model}"'
            text = f"a weight of {what} on {rgu.effective_from} is given above; take one out"
            yield Mistake((*entry.path, "effective_from"), text)
        seen.add(key)


def _carbon(declared: Declared) -> Iterator[Mistake]:
    seen: set[tuple[str, date]] = set()
    for entry in declared.of(Carbon):
        key = (entry.table.region, entry.table.effective_from)
        if key in seen:
            text = f"emissions of {entry.table.region} on {entry.table.effective_from} are given above; take one out"
            yield Mistake((*entry.path, "effective_from"), text)
        seen.add(key)


def _readers(declared: Declared) -> Iterator[Mistake]:
    for entry in declared.of(Reader):
        for section, names in (("cluster", entry.table.clusters), ("programme", entry.table.programmes)):
            for index, name in enumerate(names):
                yield from declared.unknown(section, name, (*entry.path, f"{section}s", index))


def _rates(declared: Declared) -> Iterator[Mistake]:
    rates = declared.of(FxRate)
    seen: dict[tuple[str, str], set[date]] = {}
    for entry in rates:
        rate = entry.table
        if (rate.quote, rate.base) in seen:
            text = f"{rate.quote} to {rate.base} is given above and serves both ways; write all of them as one pair"
            yield Mistake((*entry.path, "base"), text)
            continue
        days = seen.setdefault((rate.base, rate.quote), set())
        if rate.effective_from in days:
            text = f"a rate from {rate.base} to {rate.quote} on {rate.effective_from} is given above; take one out"
            yield Mistake((*entry.path, "effective_from"), text)
        days.add(rate.effective_from)
    yield from _missing_rates(declared, {frozenset(pair): min(days) for pair, days in seen.items()})


def _missing_rates(declared: Declared, since: Mapping[frozenset[str], date]) -> Iterator[Mistake]:
    """Every price must be convertible into the currencies of programmes from its first day on.

    And what is settled in the currency of a programme into those of pools, from the first day on which anything costs.
    """
    programmes = {entry.table.currency: f'programme "{entry.table.id}"' for entry in reversed(declared.of(Programme))}
    wanted = {UNATTRIBUTED_CURRENCY: "what no agreement pays for", **programmes}
    prices = sorted(declared.of(Price), key=lambda entry: entry.table.effective_from)
    asked: set[tuple[str, str]] = set()
    for entry in prices:
        price = entry.table
        for currency, what in wanted.items():
            lacking = _lacking(price.currency, currency, price.effective_from, since)
            if not lacking or (price.currency, currency) in asked:
                continue
            asked.add((price.currency, currency))
            text = f'price "{price.id}" is in {price.currency} and {what} in {currency}, but {lacking}'
            yield Mistake((*entry.path, "currency"), text)
    for pool in declared.of(Pool):
        for currency in dict.fromkeys(pool.table.currencies.values()):
            for settled, what in programmes.items():
                lacking = _lacking(settled, currency, prices[0].table.effective_from, since) if prices else ""
                if lacking:
                    text = f'pool "{pool.table.id}" counts in {currency} and {what} in {settled}, but {lacking}'
                    yield Mistake((*pool.path, "currencies"), text)


def _lacking(base: str, quote: str, day: date, since: Mapping[frozenset[str], date]) -> str:
    """What is wrong with the exchange rates from one currency to another on a day, and the remedy; empty = nothing."""
    first = since.get(frozenset((base, quote)))
    if base == quote or (first is not None and first <= day):
        return ""
    rate = f"the exchange rate begins only on {first}" if first else "no exchange rate is given"
    return f'{rate}; add [[fx_rate]] with base = "{base}", quote = "{quote}", effective_from = {day} or earlier'
