"""A small book written by hand: two clusters, six minutes, every figure worked out on paper."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.config import Config

# A whole hour, not long ago: raw samples and messages expire.
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
MINUTES = 6
SERIES = {"GPU-0": ("fir", ""), "GPU-1": ("fir", "1"), "GPU-2": ("oak", "")}
"""Device -> its cluster and the slice that its exporter shows."""
H100 = "NVIDIA H100 80GB HBM3"

Row = dict[str, Any]


def config() -> Config:
    """An hour costs CAD 3.60 on fir and USD 3.60 on oak: a thousandth a second."""

    def agreement(name: str, rule: dict[str, str], **more: Any) -> dict[str, Any]:
        base = {"id": name, "programme": "fund", "recipient": name, "rule": rule}
        return {**base, "starts": date(2020, 1, 1), "ends": date(2099, 12, 31), **more}

    def price(cluster: str, currency: str) -> dict[str, Any]:
        rented = {"id": f"{cluster}-h100", "cluster": cluster, "basis": "rented", "per_gpu_hour": "3.60"}
        return {**rented, "currency": currency, "effective_from": date(2020, 1, 1)}

    def deployment(name: str, cluster: str, model: str, **more: Any) -> dict[str, Any]:
        return {"id": name, "cluster": cluster, "model": model, "match": {"namespace": name}, **more}

    return Config.model_validate(
        {
            "cluster": [{"id": "fir", "country": "CA"}, {"id": "oak", "country": "US"}],
            "deployment": [
                deployment("chat", "fir", "big", agreement="acme"),
                deployment("pool", "oak", "small", shared=True),
            ],
            "price": [price("fir", "CAD"), price("oak", "USD")],
            "fx_rate": [{"base": "USD", "quote": "CAD", "rate": "1.40", "effective_from": date(2020, 1, 1)}],
            "programme": [{"id": "fund", "budget": "1000", "starts": date(2020, 1, 1), "ends": date(2099, 12, 31)}],
            "agreement": [
                agreement("acme", {"kind": "cost_share", "share": "2/3"}, spent_before="10"),
                agreement("lab", {"kind": "credits"}, cap="50"),
                agreement("firm-a", {"kind": "token_price", "per_mtok": "50"}, match=[{"team": "a"}]),
                agreement("firm-b", {"kind": "token_price", "per_mtok": "50"}, match=[{"team": "b"}]),
            ],
        }
    )


def usage(minute: int, cluster: str, device: str, gpu_seconds: str, cost: str, **more: Any) -> Row:
    """A row over a whole minute, metered by the counter at 300 W."""
    start = START + timedelta(minutes=minute)
    row: Row = {
        "cluster": cluster, "device": device, "slice": "", "ts_start": start, "ts_end": start + timedelta(minutes=1),
        "minute": start, "shard": f"{cluster}/c/0", "node": "n", "vendor": "nvidia", "gpu_model": H100,
        "share_num": 1, "share_den": 1, "namespace": "", "pod": "", "job": "", "account": "", "workload": "",
        "deployment": "", "agreement": "", "gpu_seconds": Decimal(gpu_seconds), "energy_j": Decimal(18_000),
        "busy_seconds": Decimal(gpu_seconds) / 2, "busy_known_seconds": Decimal(gpu_seconds),
        "energy_mj_end": 1_000_000 + (minute + 1) * 18_000_000, "power_w_end": 300.0, "samples": 6,
        "method": "counter", "cost": Decimal(cost), "currency": "CAD" if cluster == "fir" else "USD",
        "price_version": f"{cluster}-h100@2020-01-01",
    }  # fmt: skip
    return {**row, **more}


def tokens(minute: int, cluster: str, prompt: int, **more: Any) -> Row:
    """A row that ends in the middle of a minute and starts in the middle of the one before."""
    end = START + timedelta(minutes=minute, seconds=30)
    row: Row = {
        "cluster": cluster, "endpoint": "e:8000", "replica": "0", "model": "", "team": "",
        "ts_start": end - timedelta(minutes=1), "ts_end": end, "minute": START + timedelta(minutes=minute),
        "shard": f"{cluster}/c/0", "served_model": "s", "layer": "engine", "counted": True, "deployment": "",
        "agreement": "", "prompt_tokens": prompt, "cached_tokens": prompt // 2, "generation_tokens": prompt,
        "requests": 1, "resets": 0, "samples": 6, "started_ms": 1,
    }  # fmt: skip
    for name in ("prompt_tokens", "cached_tokens", "generation_tokens", "requests"):
        row[f"{name}_end"] = 5_000 + (minute + 1) * row[name]
    return {**row, **more}


def line(
    minute: int, cluster: str, model: str, agreement: str, gpu_seconds: str, energy_j: int, cost: str, subsidy: str,
    prompt: int = 0,
) -> Row:  # fmt: skip
    """A line of unit costs."""
    return {
        "minute": START + timedelta(minutes=minute), "cluster": cluster, "model": model, "agreement": agreement,
        "programme": "fund" if agreement else "", "version": 1, "gpu_seconds": Decimal(gpu_seconds),
        "busy_seconds": Decimal(gpu_seconds) / 2, "energy_j": Decimal(energy_j), "cost": Decimal(cost),
        "usage_cost": Decimal(cost) / 2, "prompt_tokens": prompt, "cached_tokens": prompt // 2,
        "generation_tokens": prompt, "subsidy": Decimal(subsidy),
        "charge": Decimal(cost) - Decimal(subsidy) if agreement else Decimal(0), "currency": "CAD",
    }  # fmt: skip


def charge(
    cluster: str, agreement: str, gpu_seconds: str, energy_j: int, cost: str, subsidy: str, **more: Any
) -> Row:  # fmt: skip
    """A line of the hour's charges."""
    row: Row = {
        "period_start": START, "period_end": START + timedelta(hours=1), "booked_month": START.date().replace(day=1),
        "revision": 1, "recorded_at": START + timedelta(hours=1), "kind": "charge", "reason": "settled",
        "category": "charged" if agreement else "idle", "programme": "fund" if agreement else "",
        "agreement": agreement, "cluster": cluster, "deployment": "", "workload": "", "model": "", "sku": H100,
        "gpu_model": H100, "slice": "", "rule": "", "price_version": f"{cluster}-h100@2020-01-01",
        "gpu_seconds": Decimal(gpu_seconds), "busy_seconds": Decimal(gpu_seconds) / 2, "rgu_seconds": Decimal(0),
        "energy_j": Decimal(energy_j), "counter_seconds": Decimal(gpu_seconds), "integrated_seconds": Decimal(0),
        "bridged_seconds": Decimal(0), "prompt_tokens": 0, "cached_tokens": 0, "generation_tokens": 0,
        "price_cost": Decimal(cost), "price_currency": "CAD", "cost": Decimal(cost), "accrued": Decimal(subsidy),
        "subsidy": Decimal(subsidy), "charge": Decimal(cost) - Decimal(subsidy) if agreement else Decimal(0),
        "currency": "CAD",
    }  # fmt: skip
    return {**row, **more}


def message(shard: str, boot: str, seq: int, **more: object) -> Row:
    """A message that was taken in a second after the one before."""
    row: Row = {
        "shard": shard, "boot": boot, "seq": seq, "topic": "telemetry.gpu", "kafka_partition": 0, "kafka_offset": seq,
        "rows": 3, "fate": "metered", "stored_at": START + timedelta(seconds=seq),
    }  # fmt: skip
    return {**row, **more}


@dataclass
class Ledger:
    """The rows of each table."""

    gpu_usage_store: list[Row] = field(default_factory=list)
    token_usage_store: list[Row] = field(default_factory=list)
    unit_costs_store: list[Row] = field(default_factory=list)
    subsidy_burn_store: list[Row] = field(default_factory=list)
    data_quality: list[Row] = field(default_factory=list)
    gpu_series: list[Row] = field(default_factory=list)
    gpu_samples_store: list[Row] = field(default_factory=list)
    telemetry_messages_store: list[Row] = field(default_factory=list)
    quarantine_store: list[Row] = field(default_factory=list)
    quarantine_replays: list[Row] = field(default_factory=list)
    charges: list[Row] = field(default_factory=list)
    settlements: list[Row] = field(default_factory=list)
    billing_periods: list[Row] = field(default_factory=list)
    costs_hourly_store: list[Row] = field(default_factory=list)
    costs_daily_store: list[Row] = field(default_factory=list)
    gpu_usage_hourly_store: list[Row] = field(default_factory=list)
    fleet_hourly_store: list[Row] = field(default_factory=list)
    rollups: list[Row] = field(default_factory=list)

    def insert(self, client: Client, tables: Iterable[str] | None = None) -> None:
        """Write everything, or these tables."""
        wanted = vars(self) if tables is None else {table: vars(self)[table] for table in tables}

        def fill(table: str, rows: list[Row]) -> None:
            names = list(rows[0])
            client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fill, *zip(*((table, rows) for table, rows in wanted.items() if rows), strict=True)))


def sound() -> Ledger:
    """The book as it must be."""
    ledger = Ledger()
    for minute in range(MINUTES):
        chat = {"workload": "chat/p", "namespace": "chat", "pod": "p", "deployment": "chat", "agreement": "acme"}
        held = {"slice": "1", "share_num": 3, "share_den": 7, "workload": "7", "job": "7", "agreement": "lab"}
        free = {"slice": "unallocated", "share_num": 4, "share_den": 7}
        ledger.gpu_usage_store += [
            usage(minute, "fir", "GPU-0", "60", "0.06", **chat),
            # 60 s x 3/7, floored to the nanosecond, and what is left
            usage(minute, "fir", "GPU-1", "25.714285714", "0.025714286", **held, energy_j=Decimal(7_000)),
            usage(minute, "fir", "GPU-1", "34.285714286", "0.034285714", **free, energy_j=Decimal(11_000)),
            usage(
                minute, "oak", "GPU-2", "60", "0.06", workload="pool/p", namespace="pool", pod="p", deployment="pool"
            ),
        ]
        gateway = {"layer": "gateway", "deployment": "pool", "model": "small"}
        ledger.token_usage_store += [
            tokens(minute, "fir", 500, deployment="chat", model="big", agreement="acme"),
            tokens(minute, "oak", 150, team="a", agreement="firm-a", **gateway),
            tokens(minute, "oak", 50, team="b", agreement="firm-b", **gateway),
            tokens(minute, "oak", 200, replica="1", deployment="pool", model="small", counted=False),
        ]
        ledger.unit_costs_store += [
            line(minute, "fir", "big", "acme", "60", 18_000, "0.06", "0.04", 500),
            line(minute, "fir", "", "lab", "25.714285714", 7_000, "0.025714286", "0.025714286"),
            line(minute, "fir", "", "", "34.285714286", 11_000, "0.034285714", "0"),
            # USD 0.06 = CAD 0.084, divided 300 : 100; the firms pay 50 per million of their 300 and 100 tokens
            line(minute, "oak", "small", "firm-a", "45", 13_500, "0.063", "0.048", 150),
            line(minute, "oak", "small", "firm-b", "15", 4_500, "0.021", "0.016", 50),
        ]
        ledger.telemetry_messages_store += [
            message("fir/c/0", "b1", minute + 1),
            message("fir/c/0", "b2", minute + 1),
            message("oak/c/0", "b1", minute + 7),
        ]  # fmt: skip
    _observe(ledger)
    _set_aside(ledger)
    _settle(ledger)
    _roll_up(ledger)
    for agreement, before, subsidy in (("acme", "10", "0.04"), ("lab", "0", "0.025714286"), ("firm-a", "0", "0.048")):
        spent = Decimal(before) + MINUTES * Decimal(subsidy)
        ledger.subsidy_burn_store.append(
            {
                "minute": START + timedelta(minutes=MINUTES - 1), "programme": "fund", "agreement": agreement,
                "ts": START + timedelta(minutes=MINUTES), "spent": spent, "accrued": spent, "cap": None,
                "rate_per_hour": Decimal(subsidy) * 60, "runway_hours": None, "currency": "CAD",
            }
        )  # fmt: skip
    return ledger


def _observe(ledger: Ledger) -> None:
    """What the exporters showed every ten seconds."""
    for series, (device, (cluster, name)) in enumerate(SERIES.items()):
        ledger.gpu_series.append({"series": series, "cluster": cluster, "node": "n", "device": device, "slice": name})
        ledger.gpu_samples_store += [
            {
                "series": series, "ts": START + timedelta(seconds=10 * tick), "power_w": 300.0,
                "energy_mj": 1_000_000 + 3_000_000 * tick, "busy": 0.5, "sm_active": 0.5, "memory_used_mib": 0.0,
                "temperature_c": 50.0,
            }
            for tick in range(6 * MINUTES + 1)
        ]  # fmt: skip


def _settle(ledger: Ledger) -> None:
    """The hour as it was priced, after the month before was closed."""
    pool = {"deployment": "pool", "model": "small"}
    ledger.charges += [
        charge("fir", "acme", "360", 108_000, "0.36", "0.24", deployment="chat", model="big", rule="cost_share 2/3",
               prompt_tokens=3000, cached_tokens=1500, generation_tokens=3000),
        charge("fir", "lab", "154.285714284", 42_000, "0.154285716", "0.154285716", workload="7",
               rule="credits amount"),
        charge("fir", "", "205.714285716", 66_000, "0.205714284", "0"),
        charge("oak", "firm-a", "270", 81_000, "0.378", "0.288", **pool, price_cost=Decimal("0.27"),
               price_currency="USD", rule="token_price", prompt_tokens=900, cached_tokens=450, generation_tokens=900),
        charge("oak", "firm-b", "90", 27_000, "0.126", "0.096", **pool, price_cost=Decimal("0.09"),
               price_currency="USD", rule="token_price", prompt_tokens=300, cached_tokens=150, generation_tokens=300),
    ]  # fmt: skip
    ledger.settlements.append(
        {
            "period_start": START, "revision": 1, "recorded_at": START + timedelta(hours=1), "status": "provisional",
            "reason": "settled", "reference_at": START, "entries": 5, "gpu_seconds": Decimal(1080),
            "energy_j": Decimal(324_000), "tokens": 8400,
        }
    )  # fmt: skip
    before = (START.date().replace(day=1) - timedelta(days=1)).replace(day=1)
    ledger.billing_periods.append({"month": before, "status": "closed", "recorded_at": START, "reason": "over"})


def _roll_up(ledger: Ledger) -> None:
    """The hour as it was rolled up, and its day, which is over since an hour of the next one is rolled up."""
    for row in ledger.charges:
        key = {name: row[name] for name in ("cluster", "model", "agreement", "programme", "category", "currency")}
        sums = {
            name: row[name]
            for name in ("gpu_seconds", "busy_seconds", "energy_j", "prompt_tokens", "cached_tokens",
                         "generation_tokens", "cost", "subsidy", "charge")
        }  # fmt: skip
        parts = {"capital_cost": row["cost"]}
        ledger.costs_hourly_store.append({"period_start": START, **key, **sums, **parts, "revision": 1})
        ledger.costs_daily_store.append({"day": START.date(), **key, **sums, **parts, "version": 1})
    held = {"currency": "CAD", "gpu_model": H100, "revision": 1, "period_start": START}
    for cluster, device, part, gpu_seconds, energy_j in (
        ("fir", "GPU-0", "", "360", 108_000), ("fir", "GPU-1", "1", "154.285714284", 42_000),
        ("fir", "GPU-1", "unallocated", "205.714285716", 66_000), ("oak", "GPU-2", "", "360", 108_000),
    ):  # fmt: skip
        amounts = {"gpu_seconds": Decimal(gpu_seconds), "energy_j": Decimal(energy_j)}
        ledger.gpu_usage_hourly_store.append({**held, "cluster": cluster, "device": device, "slice": part, **amounts})
    for cluster, devices, energy_j in (("fir", 2, 216_000), ("oak", 1, 108_000)):
        amounts = {"gpu_seconds": Decimal(360 * devices), "energy_j": Decimal(energy_j)}
        ledger.fleet_hourly_store.append({**held, "cluster": cluster, "devices": devices, **amounts})
    tomorrow = START.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    ledger.rollups += [{"period_start": hour, "revision": 1, "recorded_at": START} for hour in (START, tomorrow)]


def _set_aside(ledger: Ledger) -> None:
    """One message could not be read, and was replayed since."""
    ledger.telemetry_messages_store[6] |= {"fate": "quarantined"}
    name = {"topic": "telemetry.gpu", "kafka_partition": 0, "kafka_offset": 3, "digest": "d"}
    ledger.quarantine_store.append(
        {**name, "ts": START, "reason": "not an Arrow IPC stream", "shard": "fir/c/0", "boot": "b1", "seq": 3}
    )
    ledger.quarantine_replays.append({**name, "replayed_at": START + timedelta(minutes=1), "outcome": "filled"})
