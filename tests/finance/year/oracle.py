"""What a ledger comes to: an independent calculation, slow and plain, with fractions and none of the product's code.

Only the values of the configuration are read. Every division is rounded once, half-even, where it becomes a nano-unit.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from schemas.config import Agreement, Config, CostShare, Credits, Price, TokenPrice
from tests.finance.year.ledger import Ledger, Row

NANO = 10**9


class Facts:
    """Answers from the tables, by looking through all of them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clusters = {cluster.id: cluster for cluster in config.cluster}
        self.agreements = {agreement.id: agreement for agreement in config.agreement}
        self.programmes = {programme.id: programme for programme in config.programme}
        self.deployments = {deployment.id: deployment for deployment in config.deployment}

    def currency(self, agreement: str) -> str:
        """In which an agreement is settled."""
        return self.programmes[self.agreements[agreement].programme].currency if agreement else "CAD"

    def price(self, cluster: str, product: str, day: date) -> Price | None:
        """The price of a product on a day: of those that hold, the one with the longest text before its star."""
        held = []
        for price in self.config.price:
            if price.cluster != cluster or not fnmatchcase(product, price.gpu_model) or day < price.effective_from:
                continue
            if price.effective_to is not None and day >= price.effective_to:
                continue
            held.append(price)
        # Of one pattern the latest start holds.
        return max(held, key=lambda p: (len(p.gpu_model.rstrip("*")), p.effective_from), default=None)

    def rate(self, base: str, quote: str, day: date) -> Fraction:
        """Units of `quote` for one of `base`."""
        if base == quote:
            return Fraction(1)
        known = {}
        for fx in self.config.fx_rate:
            if (fx.base, fx.quote) == (base, quote) and fx.effective_from <= day:
                known[fx.effective_from] = fx.rate
            if (fx.quote, fx.base) == (base, quote) and fx.effective_from <= day:
                known[fx.effective_from] = 1 / fx.rate
        return known[max(known)]

    def rgu_per_device(self, product: str, profile: str, day: date) -> Fraction:
        """Reference units of a device whose slices are like that one."""
        fitting = [
            rgu
            for rgu in self.config.rgu
            if fnmatchcase(product, rgu.gpu_model) and rgu.slice in ("", profile) and rgu.effective_from <= day
        ]
        best = max(fitting, key=lambda rgu: (rgu.slice == profile, rgu.effective_from), default=None)
        return Fraction(0) if best is None else best.weight / best.share

    def chain(self, agreement: str) -> list[Agreement]:
        """An agreement and those after it; in this economy at most one comes after each."""
        found = [self.agreements[agreement]]
        while after := [other for other in self.config.agreement if other.after == found[-1].id]:
            found.append(after[0])
        return found


@dataclass
class Line:
    """What one party has to do with one (minute, cluster, model): integers of 1e-9, mJ and tokens."""

    minute: datetime
    cluster: str
    model: str
    agreement: str
    category: str = "charged"
    currency: str = ""
    rule: str = ""
    gpu_ns: int = 0
    busy_ns: int = 0
    energy_mj: int = 0
    rgu_ns: int = 0
    prompt: int = 0
    cached: int = 0
    generation: int = 0
    cost: int = 0
    accrued: int = 0
    subsidy: int = 0
    charge: int = 0


@dataclass
class _Used:
    """Sums of a part of the ledger."""

    gpu_ns: int = 0
    busy_ns: int = 0
    energy_mj: int = 0
    rgu_ns: int = 0
    cost: int = 0


@dataclass
class _Paid:
    """How far the limits of one agreement are used up."""

    subsidy: int = 0
    units_ns: int = 0


@dataclass
class Year:
    """All lines of a ledger, in the order in which limits are used up."""

    lines: list[Line] = field(default_factory=list)

    def sums(self, key: Callable[[Line], Any], *names: str) -> dict[Any, tuple[int, ...]]:
        """Sums of attributes of lines by any key."""
        found: dict[Any, list[int]] = defaultdict(lambda: [0] * len(names))
        for line in self.lines:
            total = found[key(line)]
            for i, name in enumerate(names):
                total[i] += getattr(line, name)
        return {name: tuple(total) for name, total in found.items()}


def calculate(ledger: Ledger, agreed: Callable[[datetime], Facts]) -> Year:
    """Everything that a ledger comes to. `agreed`: what holds for an hour, by the book that it is priced from."""
    lines: list[Line] = []
    minutes = sorted({(row["minute"], row["cluster"]) for row in (*ledger.gpu, *ledger.tokens)})
    gpu, tokens = _by_minute(ledger.gpu), _by_minute(ledger.tokens)
    paid: dict[str, _Paid] = {}
    for minute, cluster in minutes:
        facts = agreed(minute.replace(minute=0))
        found = _lines(facts, minute, cluster, gpu[minute, cluster], tokens[minute, cluster])
        for line in sorted(found, key=lambda line: (line.model, line.agreement)):
            lines.extend(_supported(facts, line, paid) if line.agreement else [line])
    return Year(lines)


def _by_minute(rows: Iterable[Row]) -> Mapping[tuple[datetime, str], list[Row]]:
    found: dict[tuple[datetime, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["minute"], row["cluster"]].append(row)
    return found


def row_cost(facts: Facts, row: Row) -> tuple[int, str]:
    """Nano-units and currency of one row of the ledger; 0 and none where nobody has a price."""
    start: datetime = row["ts_start"]
    price = facts.price(row["cluster"], row["gpu_model"], start.date())
    if price is None:
        return 0, ""
    hours = Fraction(row["gpu_seconds"]) / 3600
    if price.basis == "rented":
        assert price.per_gpu_hour is not None
        return round(hours * price.per_gpu_hour * NANO), price.currency
    cluster = facts.clusters[row["cluster"]]
    assert price.capex is not None
    assert price.lifetime_years is not None
    written_off = (price.capex - (price.residual_value or 0)) / (price.lifetime_years * Fraction(36525, 100) * 24)
    kwh = Fraction(row["energy_j"]) / 3_600_000 * (price.pue or cluster.pue or 1)
    local = start.astimezone(ZoneInfo(cluster.timezone))
    amount = hours * (written_off + price.opex_per_gpu_hour) + kwh * _tariff(price, local)
    return round(amount * NANO), price.currency


def _tariff(price: Price, local: datetime) -> Fraction:
    """Of a kWh at a local moment: the first that fits."""
    clock, weekend = local.time(), local.isoweekday() > 5
    for tariff in price.tariff:
        if tariff.months and local.month not in tariff.months:
            continue
        if tariff.days == ("weekdays" if weekend else "weekends"):
            continue
        over_midnight = tariff.ends <= tariff.starts
        after, before = clock >= tariff.starts, clock < tariff.ends
        if (after or before) if over_midnight else (after and before):
            return tariff.energy_per_kwh
    return price.energy_per_kwh


# ---- a minute ------------------------------------------------------------------------------------------------------


def _lines(facts: Facts, minute: datetime, cluster: str, gpu: list[Row], tokens: list[Row]) -> list[Line]:
    """(model, agreement) of one minute, with costs in the currency of each agreement; and what has no agreement."""
    lines: dict[tuple[str, str, str], Line] = {}

    def line(model: str, agreement: str, category: str) -> Line:
        key = (model, agreement, category)
        return lines.setdefault(key, Line(minute, cluster, model, agreement, category, facts.currency(agreement)))

    for row in tokens:
        if row["counted"]:
            served = line(row["model"], row["agreement"], "charged" if row["agreement"] else "unattributed")
            served.prompt += row["prompt_tokens"]
            served.cached += row["cached_tokens"]
            served.generation += row["generation_tokens"]
    for (deployment, agreement, currency), rows in sorted(_grouped(facts, gpu).items()):
        own = facts.currency(agreement)
        rate = facts.rate(currency, own, minute.date()) if currency else Fraction(1)
        known = facts.deployments.get(deployment)
        model = known.model if known else ""
        if known and known.shared:
            counts: dict[str, int] = defaultdict(int)
            for row in tokens:
                if row["counted"] and row["deployment"] == deployment:
                    counts[row["agreement"]] += row["prompt_tokens"] + row["generation_tokens"]
            if sum(counts.values()) > 0:
                whole = _sum(facts, rows, minute)
                tenants = sorted(counts)
                weights = [counts[tenant] for tenant in tenants]
                for position, tenant in enumerate(tenants):
                    part = line(model, tenant, "charged" if tenant else "unattributed")
                    part.gpu_ns += _parts(whole.gpu_ns, weights)[position]
                    part.busy_ns += _parts(whole.busy_ns, weights)[position]
                    part.energy_mj += _parts(whole.energy_mj, weights)[position]
                    part.rgu_ns += _parts(whole.rgu_ns, weights)[position]
                    cost = _parts(round(whole.cost * rate), weights)[position]
                    part.cost += round(cost * facts.rate(own, facts.currency(tenant), minute.date()))
                continue
        if agreement:
            whole = _sum(facts, rows, minute)
            _add(line(model, agreement, "charged"), whole, round(whole.cost * rate))
            continue
        held = [row for row in rows if row["workload"]]
        free = [row for row in rows if not row["workload"]]
        # Converted once, together; what is held by somebody, and by nobody, are parts of that.
        both = _sum(facts, held, minute), _sum(facts, free, minute)
        converted = round((both[0].cost + both[1].cost) * rate)
        costs = _parts(converted, [both[0].cost, both[1].cost]) if converted else [0, 0]
        for category, rows_of, whole, cost in zip(("unattributed", "idle"), (held, free), both, costs, strict=True):
            if rows_of:
                _add(line(model, "", category), whole, cost)
    return list(lines.values())


def _grouped(facts: Facts, gpu: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by deployment, agreement and currency of their price, each with its cost as `nano`."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in gpu:
        nano, currency = row_cost(facts, row)
        found[row["deployment"], row["agreement"], currency].append(row | {"nano": nano})
    return found


def _sum(facts: Facts, rows: list[Row], minute: datetime) -> _Used:
    """Sums of rows. Reference units are rounded once for each workload and kind of slice."""
    used = _Used()
    by_kind: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in rows:
        gpu_ns = int(row["gpu_seconds"] * NANO)
        used.gpu_ns += gpu_ns
        used.busy_ns += int(row["busy_seconds"] * NANO)
        used.energy_mj += int(row["energy_j"] * 1000)
        used.cost += row["nano"]
        workload = "" if row["deployment"] else row["workload"]
        by_kind[workload, row["gpu_model"], row["slice"].partition("/")[0]] += gpu_ns
    for (_, product, profile), gpu_ns in by_kind.items():
        used.rgu_ns += round(gpu_ns * facts.rgu_per_device(product, profile, minute.date()))
    return used


def _add(line: Line, used: _Used, cost: int) -> None:
    line.gpu_ns += used.gpu_ns
    line.busy_ns += used.busy_ns
    line.energy_mj += used.energy_mj
    line.rgu_ns += used.rgu_ns
    line.cost += cost


def _parts(whole: int, weights: list[int]) -> list[int]:
    """Parts in proportion, that make the whole: rounded down, and what is left goes to the largest remainders."""
    exact = [Fraction(whole * weight, sum(weights)) for weight in weights]
    parts = [int(part) for part in exact]
    for _ in range(whole - sum(parts)):
        missing = [share - part for share, part in zip(exact, parts, strict=True)]
        parts[missing.index(max(missing))] += 1
    return parts


# ---- who pays ------------------------------------------------------------------------------------------------------


def _supported(facts: Facts, line: Line, paid: dict[str, _Paid]) -> list[Line]:
    """The line of an agreement, and one more for each that supports what it leaves."""
    found: list[Line] = []
    granted = 0
    limit = Fraction(1)
    for agreement in facts.chain(line.agreement):
        own = line if not found else Line(
            line.minute, line.cluster, line.model, agreement.id, currency=facts.currency(agreement.id)
        )  # fmt: skip
        before = paid.setdefault(agreement.id, _Paid())
        if own is not line:
            own.rule = f"after {line.agreement}, "
        stacking = facts.programmes[agreement.programme].stacking_limit
        limit = limit if stacking is None else min(limit, stacking)
        rule, own.accrued = _accrued(agreement, line, line.cost - granted, facts.clusters[line.cluster].country)
        own.rule += rule
        allowed = [own.accrued, max(0, int(limit * line.cost) - granted)]
        units_ns = {"gpu_hours": line.gpu_ns, "rgu_hours": line.rgu_ns}
        if isinstance(agreement.rule, Credits) and agreement.rule.unit != "amount":
            assert agreement.rule.quantity is not None
            units = units_ns[agreement.rule.unit]
            granted_ns = (agreement.rule.quantity - agreement.rule.used_before) * 3600 * NANO
            room = granted_ns - before.units_ns
            before.units_ns += units
            if units > room:
                allowed.append(round(line.cost * Fraction(room) / units) if room > 0 else 0)
        if agreement.cap is not None:
            allowed.append(max(0, int((agreement.cap - agreement.spent_before) * NANO) - before.subsidy))
        own.subsidy = min(allowed)
        own.charge = own.cost - own.subsidy
        before.subsidy += own.subsidy
        granted += own.subsidy
        found.append(own)
    return found


def _accrued(agreement: Agreement, line: Line, left: int, country: str) -> tuple[str, int]:
    """What an agreement says, and what it would pay of a line if there were no limits."""
    day = line.minute.date()
    rule = agreement.rule
    if day < agreement.starts or day > agreement.ends:
        return "not in force", 0
    if isinstance(rule, CostShare):
        share = rule.share
        if country != agreement.country:
            over = rule.elsewhere_until is not None and day > rule.elsewhere_until
            share = Fraction(0) if over else rule.elsewhere
        return f"cost_share {share}", min(left, round(share * (left if rule.of == "remainder" else line.cost)))
    if isinstance(rule, TokenPrice):
        if rule.per_mtok is not None:
            due = (line.prompt + line.generation) * rule.per_mtok
        else:
            assert rule.prompt_per_mtok is not None
            assert rule.output_per_mtok is not None
            cached_price = rule.prompt_per_mtok if rule.cached_per_mtok is None else rule.cached_per_mtok
            due = (line.prompt - line.cached) * rule.prompt_per_mtok
            due += line.cached * cached_price + line.generation * rule.output_per_mtok
        return "token_price", left - min(left, round(due / 1_000_000 * NANO))
    return f"credits {rule.unit}", left
