"""A small book written by hand: two clusters, six minutes, every figure worked out on paper."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.config import Config

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTES = 6
H100 = "NVIDIA H100 80GB HBM3"

Row = dict[str, Any]


def config() -> Config:
    """An hour costs CAD 3.60 on fir and USD 3.60 on oak: a thousandth a second."""

    def agreement(name: str, rule: dict[str, str], **more: Any) -> dict[str, Any]:
        base = {"id": name, "programme": "fund", "recipient": name, "rule": rule}
        return {**base, "starts": date(2026, 1, 1), "ends": date(2028, 3, 31), **more}

    def price(cluster: str, currency: str) -> dict[str, Any]:
        rented = {"id": f"{cluster}-h100", "cluster": cluster, "basis": "rented", "per_gpu_hour": "3.60"}
        return {**rented, "currency": currency, "effective_from": date(2026, 1, 1)}

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
            "fx_rate": [{"base": "USD", "quote": "CAD", "rate": "1.40", "effective_from": date(2026, 1, 1)}],
            "programme": [{"id": "fund", "budget": "1000", "starts": date(2026, 1, 1), "ends": date(2028, 3, 31)}],
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
        "price_version": f"{cluster}-h100@2026-01-01",
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


def line(minute: int, cluster: str, model: str, agreement: str, cost: str, subsidy: str, prompt: int = 0) -> Row:
    """A line of unit costs."""
    return {
        "minute": START + timedelta(minutes=minute), "cluster": cluster, "model": model, "agreement": agreement,
        "programme": "fund" if agreement else "", "version": 1, "gpu_seconds": Decimal(1), "busy_seconds": Decimal(0),
        "energy_j": Decimal(0), "cost": Decimal(cost), "usage_cost": Decimal(cost) / 2, "prompt_tokens": prompt,
        "cached_tokens": prompt // 2, "generation_tokens": prompt, "subsidy": Decimal(subsidy),
        "charge": Decimal(cost) - Decimal(subsidy) if agreement else Decimal(0), "currency": "CAD",
    }  # fmt: skip


@dataclass
class Ledger:
    """The rows of each table."""

    gpu_usage_store: list[Row] = field(default_factory=list)
    token_usage_store: list[Row] = field(default_factory=list)
    unit_costs_store: list[Row] = field(default_factory=list)
    subsidy_burn_store: list[Row] = field(default_factory=list)
    data_quality: list[Row] = field(default_factory=list)

    def insert(self, client: Client) -> None:
        """Write everything."""
        for table, rows in vars(self).items():
            if rows:
                names = list(rows[0])
                client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


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
            line(minute, "fir", "big", "acme", "0.06", "0.04", 500),
            line(minute, "fir", "", "lab", "0.025714286", "0.025714286"),
            line(minute, "fir", "", "", "0.034285714", "0"),
            # USD 0.06 = CAD 0.084, divided 300 : 100; the firms pay 50 per million of their 300 and 100 tokens
            line(minute, "oak", "small", "firm-a", "0.063", "0.048", 150),
            line(minute, "oak", "small", "firm-b", "0.021", "0.016", 50),
        ]
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
