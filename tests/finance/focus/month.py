"""A month of charges by hand: every kind of line that an export can meet, and some that look alike."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.finance.focus.rows import Booked
from schemas.config import Config

H100 = "NVIDIA H100 80GB HBM3"
MONTH = date(2026, 10, 1)
START = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTLED = datetime(2026, 10, 20, 6, tzinfo=UTC)
LATER = datetime(2026, 11, 3, tzinfo=UTC)

Entry = dict[str, Any]


def config() -> Config:
    """Two programmes in two currencies, a shared deployment, and a recipient whose name needs care in a CSV."""
    term = {"starts": date(2020, 1, 1), "ends": date(2099, 12, 31)}
    rule = {"kind": "cost_share", "share": "2/3"}
    return Config.model_validate(
        {
            "cluster": [
                {"id": "fir", "operator": "Simon Fraser University", "country": "CA", "region": "CA-BC"},
                {"id": "reims", "country": "FR"},
            ],
            "programme": [
                {"id": "fund", "name": {"en": "AI Compute Fund", "fr": "Fonds"}, "budget": "1000000", **term},
                {"id": "pool", "budget": "1000000", "currency": "USD", **term},
            ],
            "agreement": [
                {"id": "acme", "programme": "fund", "recipient": 'Acme "AI", Inc.', "rule": rule, **term},
                {"id": "lab", "programme": "fund", "recipient": "Laboratoire d'été", "rule": rule, **term},
                {"id": "beta", "programme": "pool", "recipient": "Beta", "rule": rule, **term},
                {
                    "id": "acme-top", "programme": "pool", "recipient": 'Acme "AI", Inc.', "after": "acme",
                    "rule": rule, **term,
                },
            ],
            "deployment": [
                {"id": "chat", "cluster": "fir", "model": "org/chat", "match": {"pod": "chat-*"}, "shared": True},
                {"id": "own", "cluster": "fir", "model": "org/own", "match": {"pod": "own-*"}, "agreement": "lab"},
            ],
        }
    )  # fmt: skip


def booked(until: datetime = LATER, month: date = MONTH) -> Booked:
    """The export of the month as it was known at a moment."""
    return Booked(month, until, config())


def entry(agreement: str = "acme", **changes: Any) -> Entry:
    """An hour of one H100, held by a workload of an agreement that is paid 2/3."""
    found: Entry = {
        "period_start": START, "booked_month": MONTH, "revision": 1, "recorded_at": SETTLED, "kind": "charge",
        "reason": "settled", "category": "charged", "programme": "fund", "agreement": agreement, "cluster": "fir",
        "deployment": "", "workload": f"{agreement}/train", "model": "", "sku": H100, "gpu_model": H100, "slice": "",
        "rule": "cost_share 2/3", "price_version": "fir-h100@2026-04-01", "gpu_seconds": Decimal(3600),
        "busy_seconds": Decimal("1234.5"), "rgu_seconds": Decimal(3600), "energy_j": Decimal("1234567.891"),
        "counter_seconds": Decimal(3600), "integrated_seconds": Decimal(0), "bridged_seconds": Decimal(0),
        "prompt_tokens": 0, "cached_tokens": 0, "generation_tokens": 0, "price_cost": Decimal("3.000000003"),
        "price_currency": "CAD", "cost": Decimal("3.000000003"), "subsidy": Decimal("2.000000002"), "currency": "CAD",
    }  # fmt: skip
    found |= changes
    found.setdefault("period_end", found["period_start"] + HOUR)
    found["accrued"] = found["subsidy"]
    found["charge"] = found["cost"] - found["subsidy"]
    return found


NOTHING: Entry = dict.fromkeys(
    (
        "gpu_seconds", "busy_seconds", "rgu_seconds", "energy_j", "counter_seconds", "integrated_seconds",
        "bridged_seconds", "price_cost", "cost", "subsidy",
    ),
    Decimal(0),
)  # fmt: skip


def _chat(agreement: str, tokens: int, cost: str, **changes: Any) -> Entry:
    """A part of the shared deployment's hour."""
    part: Entry = {
        "deployment": "chat", "workload": "", "model": "org/chat", "prompt_tokens": tokens,
        "cached_tokens": tokens // 2, "generation_tokens": 1, "price_cost": Decimal(cost), "cost": Decimal(cost),
        "subsidy": Decimal(0), "gpu_seconds": Decimal(1200),
    }  # fmt: skip
    return entry(agreement, **(part | changes))


def _free(**changes: Any) -> Entry:
    """What no agreement pays."""
    nobody: Entry = {"programme": "", "rule": "", "subsidy": Decimal(0), "category": "idle", "workload": ""}
    return entry("", **(nobody | changes))


def entries() -> list[Entry]:
    """Everything that is recorded until LATER; all but the corrections of September lies in October."""
    september: Entry = {
        "period_start": datetime(2026, 9, 30, 23, tzinfo=UTC),
        "kind": "adjustment",
        "reason": "late data",
    }
    return [
        entry(),
        entry(period_start=START + HOUR),
        entry(  # in the same month: part of the same row
            kind="revision", revision=2, reason="late data", gpu_seconds=Decimal("0.000000001"),
            cost=Decimal("0.000000007"), price_cost=Decimal("0.000000007"), subsidy=Decimal("0.000000005"),
            energy_j=Decimal("-7.5"),
        ),
        # What came to nothing, for it was priced anew.
        entry("lab", workload="lab/x", price_version="fir-h100@2020-01-01"),
        entry("lab", workload="lab/x", price_version="fir-h100@2020-01-01",
              **{key: -value for key, value in entry().items() if key in NOTHING}),
        entry("lab", workload="lab/x", sku=f"{H100}/3g.40gb", slice="3g.40gb", gpu_seconds=Decimal(30),
              price_version="fir-h100@2026-04-01/night", integrated_seconds=Decimal(15), counter_seconds=Decimal(15)),
        # Supports what acme still has to pay.
        entry("acme-top", **(NOTHING | {"programme": "pool", "workload": "acme/train", "rule": "after",
                                        "currency": "USD", "subsidy": Decimal("0.4")})),
        # Priced in one currency, paid in another.
        entry("beta", programme="pool", currency="USD", price_currency="CAD", price_cost=Decimal("1.3"),
              cost=Decimal("0.96"), subsidy=Decimal("0.64"), cluster="reims", workload="job-7"),
        # A deployment of one agreement, and tokens that no device served.
        entry("lab", deployment="own", workload="", model="org/own", prompt_tokens=10, generation_tokens=5),
        entry("lab", **(NOTHING | {"deployment": "own", "workload": "", "model": "org/own", "sku": "", "gpu_model": "",
                                   "price_version": "", "price_currency": "", "prompt_tokens": 40,
                                   "generation_tokens": 2})),
        # A shared deployment: three agreements, and what nobody asked for.
        _chat("acme", 100, "1.000000001", subsidy=Decimal("0.666666667")),
        _chat("lab", 100, "1.000000001"),
        _chat("beta", 100, "1.000000001", programme="pool", currency="USD"),
        _chat("acme", 7, "0", period_start=START + HOUR),
        _chat("lab", 3, "0", period_start=START + HOUR),
        _free(deployment="chat", model="org/chat", cost=Decimal("0.5"), price_cost=Decimal("0.5")),
        _free(),
        _free(category="unattributed", workload="stray/pod", price_version="", price_currency="", cost=Decimal(0),
              price_cost=Decimal(0), energy_j=Decimal("0.001")),
        # Corrections of a month that was closed: one more, one less, one of the shared deployment.
        entry(**september, cost=Decimal("0.3"), price_cost=Decimal("0.3"), subsidy=Decimal("0.2")),
        entry("lab", **september, **{key: -value for key, value in entry().items() if key in NOTHING}),
        _chat("acme", 5, "-0.25", **september),
        _chat("lab", -5, "0.25", **september),
    ]  # fmt: skip


def insert(client: Client, rows: Iterable[Entry]) -> None:
    """Record entries."""
    table = list(rows)
    client.insert("charges", [list(row.values()) for row in table], column_names=list(table[0]))


def observe(client: Client) -> None:
    """Two thirds of the first hour were seen; of reims nothing is known."""
    client.insert(
        "coverage_hourly",
        [
            [START, "fir", SETTLED, 3, Decimal(7200), Decimal(10800)],
            [START, "fir", LATER + HOUR, 3, Decimal(1), Decimal(2)],
        ],
        column_names=["period_start", "cluster", "recorded_at", "devices", "observed_seconds", "expected_seconds"],
    )
