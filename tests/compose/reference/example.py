"""Reference data of every section, with figures that no binary float holds."""

from typing import Any

from schemas.config import Config


def tables() -> dict[str, Any]:
    """As a file would have them."""
    return {
        "cluster": [
            {"id": "fir", "name": "Fir", "country": "CA", "region": "CA-BC", "pue": "1.08",
             "timezone": "America/Vancouver",
             "target": [{"kind": "dcgm-exporter", "urls": ["http://fir-1:9400/metrics"], "interval": "60s"}]},
            {"id": "oak", "country": "GB", "operator_country": "CA"},
        ],
        "deployment": [
            {"id": "chat", "cluster": "fir", "model": "big", "match": {"namespace": "chat"}, "agreement": "acme"},
            {"id": "pool", "cluster": "oak", "model": "small", "match": {"pod": "pool-*"}, "shared": True},
        ],
        "price": [
            {"id": "fir-h100", "cluster": "fir", "gpu_model": "NVIDIA H100*", "basis": "owned", "capex": "42000",
             "lifetime_years": 5, "residual_value": "2000", "energy_per_kwh": "0.0776", "pue": "1.1",
             "tariff": [{"id": "night", "starts": "22:00", "ends": "06:00", "energy_per_kwh": "0.041"}],
             "effective_from": "2026-01-01"},
            {"id": "oak-any", "cluster": "oak", "basis": "rented", "per_gpu_hour": "3.90", "currency": "GBP",
             "effective_from": "2026-01-01"},
        ],
        "fx_rate": [
            {"base": "GBP", "quote": "CAD", "rate": "1.7312", "effective_from": "2026-01-01"},
            {"base": "GBP", "quote": "CAD", "rate": "1.75", "effective_from": "2026-02-01"},
        ],
        "programme": [
            {"id": "fund", "name": "Fund", "budget": "300000000", "starts": "2025-08-01", "ends": "2028-03-31",
             "stacking_limit": "3/4"},
        ],
        "agreement": [
            {"id": "acme", "programme": "fund", "recipient": "Acme", "starts": "2026-01-01", "ends": "2028-03-31",
             "rule": {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2", "elsewhere_until": "2027-03-31"},
             "cap": "1500000", "match": [{"namespace": "acme-*"}, {"team": "acme"}],
             "plan": [{"on": "2026-06-30", "spent": "1000.5"}]},
            {"id": "acme-more", "programme": "fund", "recipient": "Acme", "starts": "2026-01-01", "ends": "2027-03-31",
             "rule": {"kind": "cost_share", "share": "1/7", "of": "remainder"}, "after": "acme"},
            {"id": "lab", "programme": "fund", "recipient": "Lab", "starts": "2026-01-01", "ends": "2027-03-31",
             "rule": {"kind": "credits", "unit": "rgu_hours", "quantity": 50000, "used_before": "0.1"}},
        ],
        "rgu": [
            {"gpu_model": "NVIDIA H100*", "weight": "12.2", "effective_from": "2026-04-01"},
            {"gpu_model": "NVIDIA H100*", "slice": "3g.40gb", "share": "3/7", "weight": "6.1",
             "effective_from": "2026-04-01"},
        ],
        "carbon": [{"region": "CA-BC", "g_per_kwh": "11.3", "vintage": "2024", "effective_from": "2026-01-01"}],
        "pool": [{"id": "ca-gb", "currencies": {"CA": "CAD", "GB": "GBP"}, "allies": ["US"]}],
        "finance": {"hour_final_after": "6h"},
    }  # fmt: skip


def config(**sections: Any) -> Config:
    """The tables, with some sections replaced."""
    return Config.model_validate({**tables(), **sections})
