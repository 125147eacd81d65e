"""A small deterministic ledger for dashboards: four clusters, three models, eight agreements, thirty days.

All but the last hours are settled and rolled up, with other amounts than their minutes where settling changes them: a
cap that is reached, and a price that was corrected. Rows are kept as Python objects too, so that tests can work out a
panel's value without SQL.
"""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from math import sin
from typing import Any

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NANO = Decimal("0.000000001")
MILLI = Decimal("0.001")

CLUSTERS = [
    ("fir", "Fir", "Simon Fraser University", "CA", "CA-BC", "1.08"),
    ("narval", "Narval", "École de technologie supérieure", "CA", "CA-QC", "1.2"),
    ("fabric", "AI Fabric", "Telecom", "CA", "CA-BC", "1.1"),
    ("isambard", "Isambard-AI", "University of Bristol", "GB", "GB-ENG", "1.1"),
]
PROGRAMMES = [
    ("access-fund", "AI Compute Access Fund", "Fonds d’accès à une puissance de calcul pour l’IA", "300000000", "CAD"),
    ("research", "Research credits", "Crédits de recherche", "40000000", "CAD"),
    ("uk-pool", "Compute pool", "", "5000000", "GBP"),
]
CURRENCY = {row[0]: row[4] for row in PROGRAMMES}


@dataclass(frozen=True)
class Agreement:
    id: str
    programme: str
    recipient: str
    rule: str
    cap: Decimal | None
    spent_before: Decimal
    share: Decimal
    """Part of the cost that the programme pays in this ledger."""
    ends_in: int = 400
    """Last day, days from today."""
    plan: tuple[tuple[int, int], ...] = ()
    """By the end of the day so many days from today, so much is meant to be spent."""

    def starts(self, now: datetime) -> date:
        return now.date() - timedelta(days=60)

    def ends(self, now: datetime) -> date:
        return now.date() + timedelta(days=self.ends_in)

    def over(self, now: datetime) -> datetime:
        """End of the last day, exclusive."""
        return datetime.combine(self.ends(now) + DAY, time(), UTC)


def _agreement(
    name: str, programme: str, recipient: str, rule: str, cap: str | None, before: str, share: str, **more: Any
) -> Agreement:
    limit = None if cap is None else Decimal(cap)
    return Agreement(name, programme, recipient, rule, limit, Decimal(before), Decimal(share), **more)


AGREEMENTS = [
    _agreement("acme-ai", "access-fund", "Acme AI Inc.", "cost_share", "1500000", "1362000", "0.66"),
    _agreement(
        "boreal-nlp", "access-fund", "Boréal Langage inc.", "token_price", "250000", "112000", "0.5",
        plan=((-30, 60000), (10, 140000), (200, 230000)),
    ),
    _agreement("northern-bio", "access-fund", "Northern Bio Ltd.", "cost_share", "90000", "89990", "0.66"),
    _agreement("rrg-vision", "research", "O'Brien Vision \\ Lab", "credits", "400000", "96000", "1"),
    _agreement("def-climate", "research", "Climate Group", "credits", None, "5000", "1"),
    _agreement("waiting", "research", "Not Yet Begun", "credits", "10000", "12.5", "1"),
    _agreement("past-lab", "research", "Past Lab", "credits", "7000", "6500.25", "1", ends_in=-10),
    _agreement("bristol", "uk-pool", "Bristol Robotics", "credits", "80000", "1000", "1"),
]  # fmt: skip
TERMS = {
    "cost_share": {"share": "2/3", "elsewhere": "1/2", "elsewhere_until": "2027-03-31", "of": "cost"},
    "token_price": {"per_mtok": "0.05"},
    "credits": {"unit": "amount", "used_before": "0"},
}


@dataclass(frozen=True)
class UnitCost:
    minute: datetime
    cluster: str
    model: str
    agreement: str
    programme: str
    version: int
    gpu_seconds: Decimal
    busy_seconds: Decimal
    energy_j: Decimal
    cost: Decimal
    usage_cost: Decimal
    prompt_tokens: int
    cached_tokens: int
    generation_tokens: int
    subsidy: Decimal
    charge: Decimal
    currency: str


@dataclass(frozen=True)
class Burn:
    minute: datetime
    programme: str
    agreement: str
    ts: datetime
    spent: Decimal
    accrued: Decimal
    cap: Decimal | None
    rate_per_hour: Decimal
    runway_hours: float | None
    currency: str


# cluster, model, agreement, GPUs, CAD per GPU-hour, W per GPU, tokens per second at full load, currency
LINES = [
    ("fabric", "cohere/command-r-plus", "acme-ai", 32, "2.10", 520, 260_000, "CAD"),
    ("fabric", "meta/llama-3.3-70b", "boreal-nlp", 16, "2.10", 480, 95_000, "CAD"),
    ("fir", "meta/llama-3.3-70b", "acme-ai", 8, "1.32", 430, 30_000, "CAD"),
    ("fir", "", "rrg-vision", 24, "1.32", 610, 0, "CAD"),
    ("narval", "mila/petit-7b", "boreal-nlp", 4, "0.74", 270, 24_000, "CAD"),
    ("fir", "", "def-climate", 12, "1.32", 350, 0, "CAD"),
    ("fabric", "", "northern-bio", 8, "2.10", 500, 0, "CAD"),
    ("narval", "", "", 20, "0.74", 60, 0, "CAD"),
    ("isambard", "mila/petit-7b", "bristol", 4, "4.67", 410, 40_000, "GBP"),
]
PROGRAMME_OF = {agreement.id: agreement.programme for agreement in AGREEMENTS} | {"": ""}
AGREEMENT = {agreement.id: agreement for agreement in AGREEMENTS}


STOPPED, STOPPED_FOR = "def-climate", timedelta(minutes=30)  # an agreement whose work has ended


@dataclass(frozen=True)
class Settled:
    """One line of an hour as it was settled."""

    period_start: datetime
    cluster: str
    model: str
    agreement: str
    programme: str
    category: str
    currency: str
    gpu_seconds: Decimal
    busy_seconds: Decimal
    energy_j: Decimal
    prompt_tokens: int
    cached_tokens: int
    generation_tokens: int
    cost: Decimal
    usage_cost: Decimal
    energy_cost: Decimal
    operation_cost: Decimal
    capital_cost: Decimal
    contract_cost: Decimal
    subsidy: Decimal
    charge: Decimal


@dataclass(frozen=True)
class Forecast:
    recorded_at: datetime
    programme: str
    agreement: str
    until: datetime
    spent: Decimal
    remaining: Decimal | None
    days: int
    mean_per_day: Decimal
    projected_end_early: datetime | None
    projected_end: datetime | None
    projected_end_late: datetime | None
    spent_at_end: Decimal | None
    currency: str


@dataclass
class Ledger:
    """Everything that was seeded, as Python objects."""

    now: datetime
    unit_costs: list[UnitCost]
    burn: list[Burn]
    settled: list[Settled] = field(default_factory=list)
    """Every line of the hours before `settled_until`."""
    forecasts: list[Forecast] = field(default_factory=list)

    @cached_property
    def by_agreement(self) -> dict[str, tuple[list[Settled], list[UnitCost]]]:
        """Settled lines and minutes of each agreement."""
        found: dict[str, tuple[list[Settled], list[UnitCost]]] = {row.id: ([], []) for row in AGREEMENTS}
        for hour in self.settled:
            found.setdefault(hour.agreement, ([], []))[0].append(hour)
        for minute in self.unit_costs:
            found.setdefault(minute.agreement, ([], []))[1].append(minute)
        return found

    @property
    def settled_until(self) -> datetime:
        """Hours before it are settled and rolled up; the minutes since count as metered."""
        return hour_of(self.now) - 2 * HOUR


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _minutes(now: datetime) -> Iterator[datetime]:
    """Every minute of the last four hours, before that two minutes of each hour for thirty days."""
    last = now.replace(second=0, microsecond=0)
    moment = last - timedelta(days=30)
    while moment < last - timedelta(hours=4):
        yield moment
        yield moment + MINUTE
        moment += timedelta(hours=1)
    moment = last - timedelta(hours=4)
    while moment <= last:
        yield moment
        moment += MINUTE


def build(now: datetime) -> Ledger:
    """The ledger as it stands at `now`."""
    unit_costs, burn = [], []
    accrued = {agreement.id: agreement.spent_before for agreement in AGREEMENTS}
    open_minute = now.replace(second=0, microsecond=0)
    for number, minute in enumerate(_minutes(now)):
        part = Decimal(now.second) / 60 if minute == open_minute else Decimal(1)
        paid: dict[str, Decimal] = {}
        for index, (cluster, model, agreement, gpus, price, watts, rate, currency) in enumerate(LINES):
            if agreement == STOPPED and minute > now - STOPPED_FOR:
                agreement = ""  # its devices are still there, held by nobody
            seconds = (Decimal(gpus * 60) * part).quantize(NANO)
            load = Decimal(repr(round(0.62 + 0.3 * sin(number / 37 + index), 6))) if rate else Decimal("0.9")
            if agreement == "":
                load = Decimal(0)
            cost = (seconds * Decimal(price) / 3600).quantize(NANO)
            tokens = int(rate * 60 * load * part)
            share = AGREEMENT[agreement].share if agreement else Decimal(0)
            subsidy = (cost * share).quantize(NANO)
            unit_costs.append(
                UnitCost(
                    minute, cluster, model, agreement, PROGRAMME_OF[agreement], number + 1, seconds,
                    (seconds * load).quantize(NANO), (seconds * watts).quantize(MILLI), cost,
                    (cost * load).quantize(NANO), tokens - tokens // 5, tokens // 9, tokens // 5, subsidy,
                    cost - subsidy if agreement else Decimal(0).quantize(NANO), currency,
                )
            )  # fmt: skip
            if agreement:
                paid[agreement] = paid.get(agreement, Decimal(0)) + subsidy
        for agreement, subsidy in paid.items():
            terms = AGREEMENT[agreement]
            accrued[agreement] += subsidy
            spent = min(accrued[agreement], terms.cap) if terms.cap is not None else accrued[agreement]
            hourly = (subsidy / part * 60).quantize(NANO) if part else Decimal(0)
            runway = float((terms.cap - spent) / hourly) if terms.cap is not None and hourly else None
            currency = next(line[7] for line in LINES if line[2] == agreement)
            burn.append(
                Burn(
                    minute, terms.programme, agreement, min(minute + MINUTE, now), spent, accrued[agreement],
                    terms.cap, hourly, runway, currency,
                )
            )  # fmt: skip
    ledger = Ledger(now, unit_costs, burn)
    ledger.settled = list(_settle(unit_costs, ledger.settled_until, now))
    ledger.forecasts = list(_forecasts(ledger))
    return ledger


CORRECTED_AFTER = timedelta(days=10)
"""Hours of one cluster that are older were settled with a price that is 2 % higher."""
_SUMS = (
    "gpu_seconds", "busy_seconds", "energy_j", "prompt_tokens", "cached_tokens", "generation_tokens", "cost",
    "usage_cost",
)  # fmt: skip


def _settle(minutes: list[UnitCost], until: datetime, now: datetime) -> Iterator[Settled]:
    """Lines of whole hours: the programme pays until the cap is reached, and nothing of what comes later."""
    hours: dict[tuple[datetime, str, str, str], list[UnitCost]] = {}
    for row in minutes:
        if row.minute < until:
            hours.setdefault((hour_of(row.minute), row.cluster, row.model, row.agreement), []).append(row)
    spent = {agreement.id: agreement.spent_before for agreement in AGREEMENTS}
    for (hour, cluster, model, agreement), rows in sorted(hours.items()):
        total = {name: sum(getattr(row, name) for row in rows) for name in _SUMS}
        factor = Decimal("1.02") if cluster == "fabric" and hour < now - CORRECTED_AFTER else Decimal(1)
        cost = (total["cost"] * factor).quantize(NANO)
        subsidy = Decimal(0).quantize(NANO)
        if agreement:
            terms = AGREEMENT[agreement]
            subsidy = (cost * terms.share).quantize(NANO)
            if terms.cap is not None:
                subsidy = min(subsidy, terms.cap - spent[agreement])
            spent[agreement] += subsidy
        rented = cost if rows[0].currency == "GBP" else Decimal(0)
        energy, operation = (((cost - rented) * Decimal(part)).quantize(NANO) for part in ("0.3", "0.2"))
        yield Settled(
            hour, cluster, model, agreement, PROGRAMME_OF[agreement], "charged" if agreement else "idle",
            rows[0].currency, total["gpu_seconds"], total["busy_seconds"], total["energy_j"], total["prompt_tokens"],
            total["cached_tokens"], total["generation_tokens"], cost, total["usage_cost"], energy, operation,
            cost - rented - energy - operation, rented, subsidy, cost - subsidy if agreement else subsidy,
        )  # fmt: skip


def _forecasts(ledger: Ledger) -> Iterator[Forecast]:
    """Three agreements can be forecast; of one too few days are known. An older forecast said something else."""
    now, until = ledger.now, ledger.settled_until
    known: list[tuple[str, int, str, tuple[int, int, int] | None, str | None]] = [
        ("acme-ai", 28, "3100.5", (20, 41, 90), "1500000"),
        ("boreal-nlp", 21, "140.25", None, "168600.125"),
        ("northern-bio", 28, "260", (0, 0, 0), "90000"),
        ("rrg-vision", 2, "700", None, None),
    ]
    for agreement, days, mean, ends, at_end in known:
        terms = AGREEMENT[agreement]
        spent = terms.spent_before + sum(
            (row.subsidy for row in ledger.settled if row.agreement == agreement), Decimal(0)
        )
        for back in (timedelta(minutes=50), timedelta(hours=30), timedelta(days=12)):
            off = Decimal(1) if back < HOUR else Decimal("0.9")
            early, likely, late = (until - back + timedelta(days=day) for day in ends) if ends else (None, None, None)
            yield Forecast(
                now - back, terms.programme, agreement, until - back, spent,
                None if terms.cap is None else terms.cap - spent, days, Decimal(mean) * off, early, likely, late,
                None if at_end is None else Decimal(at_end) * off, CURRENCY[terms.programme],
            )  # fmt: skip


def insert(client: Any, ledger: Ledger) -> None:
    """Put the ledger and its reference data into empty tables."""
    now, long_ago = ledger.now, ledger.now - timedelta(days=60)
    clusters = [(*row[:5], Decimal(row[5]), long_ago) for row in CLUSTERS]
    names = ["id", "name", "operator", "country", "region", "pue", "recorded_at"]
    client.insert("clusters", clusters, column_names=names)
    client.insert(
        "programmes",
        [
            (*row[:3], Decimal(row[3]), row[4], long_ago.date(), (now + timedelta(days=400)).date(), long_ago)
            for row in PROGRAMMES
        ],
        column_names=["id", "name_en", "name_fr", "budget", "currency", "starts", "ends", "recorded_at"],
    )
    client.insert(
        "agreements",
        [
            (a.id, a.programme, a.recipient, "CA", a.rule, json.dumps(TERMS[a.rule]), a.cap, a.spent_before,
             _plan(a, now), a.starts(now), a.ends(now), long_ago)
            for a in AGREEMENTS
        ],
        column_names=[
            "id", "programme", "recipient", "country", "rule", "terms", "cap", "spent_before", "plan", "starts", "ends",
            "recorded_at",
        ],
    )  # fmt: skip
    for table, rows, kind in (
        ("unit_costs_store", ledger.unit_costs, UnitCost),
        ("subsidy_burn_store", ledger.burn, Burn),
        ("subsidy_forecasts", ledger.forecasts, Forecast),
    ):
        client.insert(table, [astuple(row) for row in rows], column_names=[field.name for field in fields(kind)])
    _insert_settled(client, ledger)
    _insert_history(client, now)
    client.insert("gpu_usage_store", list(_usage(now)), column_names=_USAGE_COLUMNS)
    client.insert("alerts", list(_alerts(now)), column_names=_ALERT_COLUMNS)
    if importlib.util.find_spec("tests.dashboards.seed_fleet"):
        importlib.import_module("tests.dashboards.seed_fleet").insert(client, ledger)


def _plan(agreement: Agreement, now: datetime) -> str:
    return json.dumps(
        [{"on": str(now.date() + timedelta(days=day)), "spent": str(amount)} for day, amount in agreement.plan]
    )


def _insert_settled(client: Any, ledger: Ledger) -> None:
    """Settled hours as `settle` rolls them up, each with an older revision that no longer counts."""
    columns = [column.name for column in fields(Settled)]
    hourly = [(*astuple(row), 2) for row in ledger.settled]
    outdated = [(*astuple(row)[:-3], row.contract_cost, row.subsidy + 7, row.charge - 7, 1) for row in ledger.settled]
    client.insert("costs_hourly_store", outdated, column_names=[*columns, "revision"])
    client.insert("costs_hourly_store", hourly, column_names=[*columns, "revision"])
    days: dict[tuple[Any, ...], list[Settled]] = {}
    for row in ledger.settled:
        days.setdefault((row.period_start.date(), *astuple(row)[1:7]), []).append(row)
    amounts = columns[7:]
    client.insert(
        "costs_daily_store",
        [(*key, *(sum(getattr(row, name) for row in rows) for name in amounts), 1) for key, rows in days.items()],
        column_names=["day", *columns[1:], "version"],
    )
    hours = sorted({row.period_start for row in ledger.settled})
    client.insert(
        "rollups",
        [(hour, 2, hour + 2 * HOUR) for hour in hours],
        column_names=["period_start", "revision", "recorded_at"],
    )
    client.insert(
        "settlements",
        [
            (hour, revision, hour + revision * HOUR + 5 * MINUTE, "final" if final else "provisional", "settled",
             hour + HOUR, 9, Decimal(0), Decimal(0), 0)
            for hour in hours for revision, final in ((1, False), (2, hour < ledger.now - 2 * DAY))
        ],
        column_names=[
            "period_start", "revision", "recorded_at", "status", "reason", "reference_at", "entries", "gpu_seconds",
            "energy_j", "tokens",
        ],
    )  # fmt: skip
    client.insert(
        "coverage_hourly",
        [
            (hour, cluster, hour + HOUR * (1 + newer), devices(cluster), observed if newer else Decimal(1),
             Decimal(3600 * devices(cluster)))
            for (hour, cluster), observed in _observed(ledger).items() for newer in (0, 1)
        ],
        column_names=["period_start", "cluster", "recorded_at", "devices", "observed_seconds", "expected_seconds"],
    )  # fmt: skip


def devices(cluster: str) -> int:
    """Devices of a cluster."""
    return sum(line[3] for line in LINES if line[0] == cluster)


def _observed(ledger: Ledger) -> dict[tuple[datetime, str], Decimal]:
    observed: dict[tuple[datetime, str], Decimal] = {}
    for row in ledger.settled:
        key = (row.period_start, row.cluster)
        observed[key] = observed.get(key, Decimal(0)) + row.gpu_seconds
    return observed


def _insert_history(client: Any, now: datetime) -> None:
    """Two prices, one of them new within the range of a month; a cap that was raised."""
    client.insert(
        "prices",
        [
            ("fir-h100", "fir", "NVIDIA H100*", "owned", "CAD", Decimal(42000), Decimal(5), Decimal("0.35"),
             Decimal("0.0776"), None, now.date() - timedelta(days=200), now),
            ("isambard-gh200", "isambard", "NVIDIA GH200*", "rented", "GBP", None, None, Decimal(0), Decimal(0),
             Decimal("2.75"), now.date() - timedelta(days=9), now),
        ],
        column_names=[
            "id", "cluster", "gpu_model", "basis", "currency", "capex", "lifetime_years", "opex_per_gpu_hour",
            "energy_per_kwh", "per_gpu_hour", "effective_from", "recorded_at",
        ],
    )  # fmt: skip
    client.insert(
        "reference_history",
        [
            (now - timedelta(days=back), "agreement", "acme-ai", 0,
             json.dumps({"id": "acme-ai", "programme": "access-fund", "cap": cap}), False, "applied", "caps.toml")
            for back, cap in ((60, "1200000"), (40, "1200000"), (20, "1500000"))
        ],
        column_names=["recorded_at", "section", "id", "position", "body", "withdrawn", "origin", "source"],
    )  # fmt: skip


_USAGE_COLUMNS = [
    "cluster", "device", "slice", "ts_start", "ts_end", "minute", "shard", "node", "vendor", "gpu_model", "share_num",
    "share_den", "workload", "agreement", "gpu_seconds", "energy_j", "busy_seconds", "busy_known_seconds", "samples",
    "method", "cost", "currency", "price_version",
]  # fmt: skip


def _usage(now: datetime) -> Iterator[tuple[object, ...]]:
    """Thirty minutes of three devices: one at work, one idle though held, one held by nobody."""
    open_minute = now.replace(second=0, microsecond=0)
    devices = [("fir", "GPU-1a2b", "fir-g001", "llm/command-0", "acme-ai", "0.8"),
               ("fir", "GPU-9f3c", "fir-g002", "llm/notebook-7", "rrg-vision", "0.001"),
               ("narval", "GPU-77aa", "ng10104", "", "", "0")]  # fmt: skip
    for back in range(30, -1, -1):
        start = open_minute - back * MINUTE
        end = min(start + MINUTE, now)
        seconds = Decimal(str((end - start).total_seconds())).quantize(NANO)
        for cluster, device, node, workload, agreement, busy in devices:
            yield (
                cluster, device, "", start, end, start, f"{cluster}/c/0", node, "nvidia", "NVIDIA H100", 1, 1, workload,
                agreement, seconds, (seconds * 400).quantize(MILLI), (seconds * Decimal(busy)).quantize(NANO),
                seconds, 7, "counter", (seconds * Decimal("1.32") / 3600).quantize(NANO), "CAD", "h100@2026-04-01",
            )  # fmt: skip


_ALERT_COLUMNS = [
    "ts", "fingerprint", "rule", "severity", "subject", "state", "value", "threshold", "summary", "summary_fr",
    "cluster", "agreement", "model", "at_stake_per_hour", "currency", "evidence", "starts_at", "ends_at",
]  # fmt: skip


def _alerts(now: datetime) -> Iterator[tuple[object, ...]]:
    """Four that fire, two that have ended."""

    def row(
        fingerprint: str, rule: str, severity: str, subject: str, words: tuple[str, str], start: datetime,
        end: datetime | None = None, stake: tuple[str, str] | None = None, **about: str,
    ) -> tuple[object, ...]:  # fmt: skip
        return (
            end or start, fingerprint, rule, severity, subject, "resolved" if end else "firing", 0.99, 0.9, *words,
            about.get("cluster", ""), about.get("agreement", ""), about.get("model", ""),
            Decimal(stake[0]) if stake else None, stake[1] if stake else "", ["GPU-9f3c"], start, end,
        )  # fmt: skip

    yield row(
        "a1", "budget_90", "critical", "northern-bio",
        ("northern-bio has used 99 % of its cap", "northern-bio a utilisé 99 % de son plafond"), now - HOUR,
        stake=("11.088", "CAD"), agreement="northern-bio",
    )  # fmt: skip
    yield row(
        "a2", "allocated_idle", "warning", "GPU-9f3c", ("GPU-9f3c is held by <notebook-7> and idle", ""), now - HOUR,
        stake=("1.32", "CAD"), cluster="fir", agreement="rrg-vision",
    )  # fmt: skip
    yield row(
        "a3", "cost_per_mtok", "info", "meta/llama-3.3-70b",
        ("a million tokens cost 0.15 CAD", "un million de jetons coûte 0,15 CAD"), now - HOUR,
        model="meta/llama-3.3-70b", cluster="fir",
    )  # fmt: skip
    yield row("a4", "quarantine", "warning", "telemetry.gpu", ("7 messages are in quarantine", ""), now - 2 * HOUR)
    silent = ("narval is silent", "narval se tait")
    yield row("b1", "cluster_silent", "critical", "narval", silent, now - 3 * HOUR, cluster="narval")
    yield row("b1", "cluster_silent", "critical", "narval", ("narval answers again", ""), now - 3 * HOUR,
              now - 2 * HOUR, cluster="narval")  # fmt: skip
    slow = ("acme-ai burns 1.4 times too fast", "acme-ai dépense 1,4 fois trop vite")
    yield row("b2", "burn_slow", "warning", "acme-ai", slow, now - 5 * DAY, agreement="acme-ai")
    yield row("b2", "burn_slow", "warning", "acme-ai", ("acme-ai burns as it lasts again", ""), now - 5 * DAY,
              now - 3 * DAY, agreement="acme-ai")  # fmt: skip


def demo_now() -> datetime:
    """A moment in the present, on a whole second, as tests use it."""
    return datetime.now(UTC).replace(microsecond=0)
