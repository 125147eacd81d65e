"""What is agreed in the worked year 2026-07 … 2027-06: clusters, prices, programmes, twelve agreements."""

from datetime import date
from typing import Any

from schemas.config import Config

H100 = "NVIDIA H100 80GB HBM3"
A100 = "NVIDIA A100-SXM4-80GB"
L40S = "NVIDIA L40S"
"""Nobody has a price for it."""
MI300X = "AMD Instinct MI300X"

BEFORE = date(2026, 1, 1)
WRONG_OPEX, RIGHT_OPEX = "0.41", "0.395"
"""Operation of an H100 on fir from 2026-10-15: as it was recorded first, and as it is corrected at the end."""


def config(opex: str = WRONG_OPEX) -> Config:
    """Everything that is agreed; `opex` of an H100 on fir since 2026-10-15."""
    return Config.model_validate(
        {
            "cluster": CLUSTERS,
            "deployment": DEPLOYMENTS,
            "price": [*_fir_prices(opex), *RORQUAL_PRICES, *OAK_PRICES],
            "fx_rate": FX_RATES,
            "programme": PROGRAMMES,
            "agreement": AGREEMENTS,
            "rgu": RGUS,
        }
    )


CLUSTERS: list[dict[str, Any]] = [
    {"id": "fir", "country": "CA", "region": "CA-BC", "timezone": "America/Vancouver", "pue": "1.08"},
    {"id": "oak", "country": "US", "region": "US-WA", "timezone": "America/Los_Angeles"},
    {"id": "rorqual", "country": "CA", "region": "CA-QC", "timezone": "America/Toronto", "pue": "1.12"},
]

DEPLOYMENTS: list[dict[str, Any]] = [
    # Two deployments of one model for one agreement: their minutes are charged as one.
    {"id": "borealis-chat", "cluster": "fir", "model": "north-7b", "match": {"pod": "chat-*"}, "agreement": "borealis"},
    {"id": "borealis-code", "cluster": "fir", "model": "north-7b", "match": {"pod": "code-*"}, "agreement": "borealis"},
    {"id": "cedar-llm", "cluster": "oak", "model": "cedar-70b", "match": {"namespace": "cedar"}, "agreement": "cedar"},
    {"id": "pool", "cluster": "rorqual", "model": "open-32b", "match": {"namespace": "pool"}, "shared": True},
]


def _fir_prices(opex: str) -> list[dict[str, Any]]:
    """Bought, with a tariff by time of day that changes within an hour; dearer from the middle of a month on."""
    h100 = {"cluster": "fir", "gpu_model": "NVIDIA H100*", "basis": "owned", "capex": "42000", "lifetime_years": 5}
    return [
        # What fits less well does not hold, although it is cheaper and listed first.
        {**h100, "id": "fir-any", "gpu_model": "*", "capex": "1000", "effective_from": BEFORE},
        {
            **h100, "id": "fir-2026", "residual_value": "3500", "opex_per_gpu_hour": "0.35", "energy_per_kwh": "0.0776",
            "effective_from": BEFORE,
            "tariff": [
                {"id": "evening", "starts": "16:30", "ends": "21:15", "days": "weekdays", "energy_per_kwh": "0.1408"},
                {"id": "night", "starts": "23:00", "ends": "05:00", "energy_per_kwh": "0.0612"},
            ],
        },
        {
            **h100, "id": "fir-2026-10", "residual_value": "3500", "opex_per_gpu_hour": opex,
            "energy_per_kwh": "0.0801", "effective_from": date(2026, 10, 15),
            "tariff": [
                {
                    "id": "winter-peak", "starts": "16:30", "ends": "21:15", "days": "weekdays",
                    "months": [11, 12, 1, 2], "energy_per_kwh": "0.1733",
                },
                {"id": "weekend", "starts": "00:00", "ends": "00:00", "days": "weekends", "energy_per_kwh": "0.0555"},
                {"id": "night", "starts": "23:00", "ends": "05:00", "energy_per_kwh": "0.0633"},
            ],
        },
    ]  # fmt: skip


RORQUAL_PRICES: list[dict[str, Any]] = [
    # A purchase that no number of decimals writes per hour; a PUE of its own.
    {
        "id": "rorqual-a100", "cluster": "rorqual", "gpu_model": "NVIDIA A100*", "basis": "owned", "capex": "19999.99",
        "lifetime_years": 7, "opex_per_gpu_hour": "0.271828182", "energy_per_kwh": "0.0519", "pue": "1.25",
        "effective_from": BEFORE,
    },
    {
        "id": "rorqual-h100", "cluster": "rorqual", "gpu_model": "NVIDIA H100*", "basis": "owned", "capex": "41000",
        "lifetime_years": "4.5", "residual_value": "2000", "opex_per_gpu_hour": "0.3", "energy_per_kwh": "0.0519",
        "effective_from": BEFORE,
    },
    {
        "id": "rorqual-h100-2027", "cluster": "rorqual", "gpu_model": "NVIDIA H100*", "basis": "owned",
        "capex": "37000", "lifetime_years": "4.5", "residual_value": "2000", "opex_per_gpu_hour": "0.3",
        "energy_per_kwh": "0.0534", "effective_from": date(2027, 1, 1),
    },
]  # fmt: skip

OAK_PRICES: list[dict[str, Any]] = [
    # Rented in US dollars; without a contract in the last week of January; since then in Canadian dollars.
    {
        "id": "oak-usd", "cluster": "oak", "gpu_model": "AMD Instinct*", "basis": "rented", "currency": "USD",
        "per_gpu_hour": "2.65", "effective_from": BEFORE, "effective_to": date(2027, 1, 25),
    },
    {
        "id": "oak-cad", "cluster": "oak", "gpu_model": "AMD Instinct*", "basis": "rented", "currency": "CAD",
        "per_gpu_hour": "3.49", "effective_from": date(2027, 2, 1),
    },
]  # fmt: skip

FX_RATES: list[dict[str, Any]] = [
    {"base": base, "quote": quote, "rate": rate, "effective_from": day}
    for base, quote, rate, day in [
        ("USD", "CAD", "1.3724", BEFORE),
        ("USD", "CAD", "1.38915", date(2026, 9, 16)),
        ("USD", "CAD", "1.401", date(2026, 12, 24)),
        ("USD", "CAD", "1.362", date(2027, 1, 2)),
        # Euro into Canadian dollars: what is asked for is the inverse.
        ("EUR", "CAD", "1.6021", BEFORE),
        ("EUR", "CAD", "1.5873", date(2026, 11, 12)),
        ("EUR", "CAD", "1.61", date(2027, 4, 1)),
        ("USD", "EUR", "0.8612", BEFORE),
        ("USD", "EUR", "0.8733", date(2026, 10, 15)),
    ]
]

PROGRAMMES: list[dict[str, Any]] = [
    {"id": "access-fund", "budget": "300000000", "starts": date(2025, 8, 1), "ends": date(2028, 3, 31)},
    {
        "id": "province", "budget": "5000000", "starts": date(2026, 4, 1), "ends": date(2028, 3, 31),
        "stacking_limit": "3/4",
    },
    {"id": "alliance", "budget": "9000000", "starts": date(2026, 4, 1), "ends": date(2028, 3, 31)},
    {
        "id": "horizon", "budget": "2000000", "currency": "EUR", "starts": date(2026, 7, 1), "ends": date(2028, 12, 31),
    },
]  # fmt: skip


def _agreement(name: str, programme: str, rule: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"id": name, "programme": programme, "recipient": name.title(), "rule": rule}
    return {**base, "starts": date(2026, 7, 1), "ends": date(2028, 3, 31), **more}


_TWO_THIRDS = {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2", "elsewhere_until": date(2027, 3, 31)}

AGREEMENTS: list[dict[str, Any]] = [
    # Three in a row: at home the stacking limit binds (2/3 + 1/5 > 3/4); abroad the first pays until 2027-03-31, the
    # second until 2026-12-31, and the third a quarter of what is left.
    _agreement("acme", "access-fund", _TWO_THIRDS, match=[{"namespace": "acme"}]),
    _agreement(
        "acme-province", "province",
        {"kind": "cost_share", "share": "1/5", "elsewhere": "1/10", "elsewhere_until": date(2026, 12, 31)},
        after="acme",
    ),
    _agreement(
        "acme-alliance", "alliance",
        {"kind": "cost_share", "share": "1/3", "elsewhere": "1/4", "of": "remainder"},
        after="acme-province",
    ),
    # Its cap is crossed in the middle of an hour; then the second one pays half of everything, until its own cap.
    _agreement("borealis", "access-fund", _TWO_THIRDS, cap="1005.418", spent_before="1000.000000001"),
    _agreement(
        "borealis-more", "alliance", {"kind": "cost_share", "share": "1/2", "of": "remainder"}, after="borealis",
        cap="3.531",
    ),
    _agreement("cedar", "access-fund", {"kind": "token_price", "per_mtok": "0.055"}),
    # Ends in the middle of a month.
    _agreement(
        "delta", "access-fund",
        {
            "kind": "token_price", "prompt_per_mtok": "0.021", "cached_per_mtok": "0.0033",
            "output_per_mtok": "0.066000001",
        },
        match=[{"team": "delta"}], ends=date(2026, 11, 15),
    ),
    _agreement(
        "ember", "horizon", {"kind": "token_price", "prompt_per_mtok": "0.013", "output_per_mtok": "0.04"},
        match=[{"team": "ember"}],
    ),
    _agreement("fjord", "alliance", {"kind": "credits"}, cap="0.345", match=[{"team": "fjord"}]),
    _agreement(
        "glacier", "alliance", {"kind": "credits", "unit": "gpu_hours", "quantity": "148.3", "used_before": "143.258"},
        match=[{"namespace": "glacier"}],
    ),
    # Counted in reference GPU units.
    _agreement(
        "harbour", "alliance", {"kind": "credits", "unit": "rgu_hours", "quantity": "51.25", "used_before": "0.125"},
        match=[{"namespace": "harbour"}],
    ),
    # From the middle of a month on, of another country, in another currency.
    _agreement(
        "inlet", "horizon", {"kind": "cost_share", "share": "1", "elsewhere": "3/10"}, country="FR",
        match=[{"namespace": "inlet"}], starts=date(2026, 9, 16), cap="1.388",
    ),
]  # fmt: skip

RGUS: list[dict[str, Any]] = [
    {"gpu_model": "NVIDIA H100*", "weight": "12.2", "effective_from": BEFORE},
    {"gpu_model": "NVIDIA H100*", "weight": "12.7", "effective_from": date(2027, 1, 1)},
    {"gpu_model": "NVIDIA H100*", "slice": "3g.40gb", "share": "3/7", "weight": "6.1", "effective_from": BEFORE},
    {"gpu_model": "NVIDIA A100*", "weight": "4", "effective_from": BEFORE},
]
