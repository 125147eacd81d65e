"""A small configuration for tests of the economics: two clusters, one shared deployment, all three rules."""

from datetime import date
from typing import Any

from schemas.config import Config
from schemas.usage import GpuGroup, GpuTotals, TokenGroup, TokenTotals

MINUTE = 1_790_000_040_000  # 2026-09-21T14:14:00Z, a whole minute


def config(**changes: Any) -> Config:
    """The configuration, with whole sections replaced."""
    sections: dict[str, Any] = {
        "cluster": [
            {"id": "fir", "country": "CA", "target": [{"kind": "vllm", "urls": ["http://127.0.0.1:1/metrics"]}]},
            {"id": "oak", "country": "US", "target": [{"kind": "vllm", "urls": ["http://127.0.0.1:1/metrics"]}]},
        ],
        "deployment": [
            {"id": "own", "cluster": "fir", "model": "big", "match": {"namespace": "own"}, "agreement": "share"},
            {"id": "pool", "cluster": "fir", "model": "small", "match": {"namespace": "pool"}, "shared": True},
        ],
        "fx_rate": [{"base": "USD", "quote": "CAD", "rate": "1.40", "effective_from": date(2026, 1, 1)}],
        "programme": [{"id": "fund", "budget": "1000000", "starts": date(2026, 1, 1), "ends": date(2028, 3, 31)}],
        "agreement": [
            agreement("share", {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2"}, cap="100"),
            agreement("firm-a", {"kind": "token_price", "per_mtok": "0.05"}),
            agreement("firm-b", {"kind": "token_price", "per_mtok": "0.05"}),
            agreement("lab", {"kind": "credits"}, cap="50"),
        ],
    }
    return Config.model_validate({**sections, **changes})


def agreement(name: str, rule: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One agreement of the programme `fund`, in force from 2026 to 2028."""
    base = {"id": name, "programme": "fund", "recipient": name, "rule": rule}
    return {**base, "starts": date(2026, 1, 1), "ends": date(2028, 3, 31), **more}


def devices(
    cost_nano: int,
    *,
    deployment: str = "",
    agreement: str = "",
    currency: str = "CAD",
    cluster: str = "fir",
    shard: str = "fir/a/0",
    minute_ms: int = MINUTE,
    gpu_ns: int = 60 * 10**9,
    busy_ns: int = 30 * 10**9,
    version: int | None = None,
    **more: Any,
) -> GpuTotals:
    """Totals of a shard's minute with one group."""
    group = GpuGroup(
        deployment=deployment,
        agreement=agreement,
        gpu_model="H100",
        currency=currency,
        price_version="p@2026-01-01",
        gpu_ns=gpu_ns,
        busy_ns=busy_ns,
        energy_mj=30_000_000,
        cost_nano=cost_nano,
    )
    return GpuTotals(
        cluster=cluster,
        shard=shard,
        minute_ms=minute_ms,
        version=gpu_ns if version is None else version,
        ts_start_ms=minute_ms,
        ts_end_ms=minute_ms + 60_000,
        groups=[group],
        **more,
    )


def served(
    tokens: dict[str, tuple[int, int]],
    *,
    deployment: str = "pool",
    model: str = "small",
    counted: bool = True,
    shard: str = "fir/a/1",
    minute_ms: int = MINUTE,
    version: int = 60_000,
) -> TokenTotals:
    """Totals of a token shard's minute: agreement -> (prompt, generation)."""
    groups = [
        TokenGroup(
            deployment=deployment,
            model=model,
            agreement=name,
            layer="gateway",
            counted=counted,
            prompt_tokens=prompt,
            cached_tokens=0,
            generation_tokens=generation,
            requests=1,
        )
        for name, (prompt, generation) in tokens.items()
    ]
    return TokenTotals(
        cluster="fir", shard=shard, minute_ms=minute_ms, version=version, ts_end_ms=minute_ms + 60_000, groups=groups
    )
