"""A small deterministic ledger for dashboards: four clusters, three models, six agreements, thirty days.

Rows are kept as Python objects too, so that tests can work out a panel's value without SQL.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import sin
from typing import Any

MINUTE = timedelta(minutes=1)
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


def _agreement(
    name: str, programme: str, recipient: str, rule: str, cap: str | None, before: str, share: str
) -> Agreement:
    limit = None if cap is None else Decimal(cap)
    return Agreement(name, programme, recipient, rule, limit, Decimal(before), Decimal(share))


AGREEMENTS = [
    Agreement(
        "acme-ai", "access-fund", "Acme AI Inc.", "cost_share", Decimal(1500000), Decimal(1362000), Decimal("0.66")
    ),
    Agreement(
        "boreal-nlp",
        "access-fund",
        "Boréal Langage inc.",
        "token_price",
        Decimal(250000),
        Decimal(112000),
        Decimal("0.5"),
    ),
    Agreement(
        "northern-bio",
        "access-fund",
        "Northern Bio Ltd.",
        "cost_share",
        Decimal(90000),
        Decimal(89990),
        Decimal("0.66"),
    ),
    Agreement(
        "rrg-vision", "research", "O'Brien Vision \\ Lab", "credits", Decimal(400000), Decimal(96000), Decimal(1)
    ),
    Agreement("def-climate", "research", "Climate Group", "credits", None, Decimal(5000), Decimal(1)),
    Agreement("waiting", "research", "Not Yet Begun", "credits", Decimal(10000), Decimal("12.5"), Decimal(1)),
    Agreement("bristol", "uk-pool", "Bristol Robotics", "credits", Decimal(80000), Decimal(1000), Decimal(1)),
]


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


@dataclass
class Ledger:
    """Everything that was seeded, as Python objects."""

    now: datetime
    unit_costs: list[UnitCost]
    burn: list[Burn]


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
    return Ledger(now, unit_costs, burn)


def insert(client: Any, ledger: Ledger) -> None:
    """Put the ledger and its reference data into empty tables."""
    now, long_ago = ledger.now, ledger.now - timedelta(days=60)
    ends = (now + timedelta(days=400)).date()
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
            (a.id, a.programme, a.recipient, "CA", a.rule, "{}", a.cap, a.spent_before, long_ago.date(),
             ends, long_ago)
            for a in AGREEMENTS
        ],
        column_names=[
            "id", "programme", "recipient", "country", "rule", "terms", "cap", "spent_before", "starts", "ends",
            "recorded_at",
        ],
    )  # fmt: skip
    for table, rows, kind in (
        ("unit_costs_store", ledger.unit_costs, UnitCost),
        ("subsidy_burn_store", ledger.burn, Burn),
    ):
        client.insert(table, [astuple(row) for row in rows], column_names=[field.name for field in fields(kind)])
    client.insert("gpu_usage_store", list(_usage(now)), column_names=_USAGE_COLUMNS)
    client.insert("alerts", list(_alerts(now)))


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


def _alerts(now: datetime) -> Iterator[tuple[object, ...]]:
    hour = timedelta(hours=1)
    firing: list[tuple[str, str, str, str, float, float, str]] = [
        ("a1", "cap_used", "critical", "northern-bio", 0.99, 0.9, "northern-bio has used 99 % of its cap"),
        ("a2", "idle_device", "warning", "GPU-9f3c", 0.001, 0.02, "GPU-9f3c is held by <notebook-7> and idle"),
        ("a3", "cost_band", "info", "meta/llama-3.3-70b", 0.15, 0.1, "a million tokens cost 0.15 CAD"),
    ]  # fmt: skip
    for fingerprint, rule, severity, subject, value, threshold, summary in firing:
        yield (now - hour, fingerprint, rule, severity, subject, "firing", value, threshold, summary, now - hour, None)
    row = ("b1", "cluster_silent", "critical", "narval")
    yield (now - 3 * hour, *row, "firing", 120.0, 90.0, "narval is silent", now - 3 * hour, None)
    yield (now - 2 * hour, *row, "resolved", 0.0, 90.0, "narval answers again", now - 3 * hour, now - 2 * hour)


def demo_now() -> datetime:
    """A moment in the present, on a whole second, as tests use it."""
    return datetime.now(UTC).replace(microsecond=0)
