"""What labels mean and what things cost, against arithmetic written a second time."""

import decimal
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Config
from streams.reference import Reference, UnknownReference

DAY = date(2026, 11, 20)
STARTS, ENDS = date(2026, 1, 1), date(2028, 3, 31)


def at(day: date) -> int:
    """First moment of a UTC day, ms."""
    return (day - date(1970, 1, 1)).days * 86_400_000


def agreement(name: str, rule: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"id": name, "programme": "fund", "recipient": name, "rule": rule, "starts": STARTS, "ends": ENDS}
    return {**base, **more}


def reference(**sections: Any) -> Reference:
    clusters = [
        {"id": "fir", "country": "CA", "pue": "1.08"},
        {"id": "isambard", "country": "GB"},
    ]
    programmes = [
        {"id": "fund", "budget": "300", "starts": STARTS, "ends": ENDS},
        {"id": "airr", "budget": "300", "currency": "GBP", "starts": STARTS, "ends": ENDS},
    ]
    return Reference(Config.model_validate({"cluster": clusters, "programme": programmes, **sections}))


SHARE = {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2", "elsewhere_until": date(2027, 3, 31)}

LABELS = reference(
    deployment=[
        {"id": "chat", "cluster": "fir", "model": "m/chat", "match": {"namespace": "llm", "pod": "chat-*"},
         "agreement": "acme"},
        {"id": "any", "cluster": "fir", "model": "m/any", "match": {"namespace": "llm"}, "shared": True},
        {"id": "own", "cluster": "fir", "model": "m/own", "match": {"job": "own-*"}, "tokens_from": "gateway"},
        {"id": "abroad", "cluster": "isambard", "model": "m/x", "match": {"namespace": "*"}},
    ],
    agreement=[
        agreement("acme", SHARE, match=[{"namespace": "acme-*"}, {"account": "rrg-acme"}, {"team": "acme"}]),
        agreement("both", SHARE, match=[{"namespace": "lab", "pod": "train-?"}]),
        agreement("gpu-only", SHARE, match=[{"account": "def-*_gpu"}]),
        agreement("rest", SHARE, match=[{"namespace": "acme-*"}, {"team": "t*"}], programme="airr"),
    ],
)  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "meaning"),
    [
        # namespace, pod, job, account
        (("", "", "", ""), ("", "", "")),
        (("acme-1", "", "", ""), ("", "", "")),  # a namespace without a pod holds nothing
        (("", "", "", "rrg-acme"), ("", "", "")),  # nor does an account without a job
        (("llm", "chat-0", "", ""), ("llm/chat-0", "chat", "acme")),
        (("llm", "other", "", ""), ("llm/other", "any", "")),  # shared: divided later, by tokens
        (("acme-1", "p", "", ""), ("acme-1/p", "", "acme")),  # two agreements fit: the first in the file
        (("", "p", "", ""), ("p", "", "")),
        (("lab", "train-1", "", ""), ("lab/train-1", "", "both")),
        (("lab", "train-10", "", ""), ("lab/train-10", "", "")),  # every pattern that is given must match
        (("LLM", "chat-0", "", ""), ("LLM/chat-0", "", "")),  # names are case-sensitive
        (("", "", "17", "rrg-acme"), ("17", "", "acme")),
        (("", "", "17", "rrg-acme_gpu"), ("17", "", "acme")),  # Slurm's kinds of allocation
        (("", "", "17", "rrg-acme_cpu"), ("17", "", "acme")),
        (("", "", "17", "def-x_gpu"), ("17", "", "gpu-only")),
        (("", "", "17", "def-x_cpu"), ("17", "", "")),
        (("", "", "own-1", "rrg-acme"), ("own-1", "own", "")),  # a deployment decides, also that nobody pays
        (("llm", "chat-0", "9", "rrg-acme"), ("llm/chat-0", "chat", "acme")),  # the pod names the workload
    ],
)
def test_who_works_on_a_device(labels: tuple[str, str, str, str], meaning: tuple[str, str, str]) -> None:
    """Workload, deployment and agreement follow from labels alone, the same every time."""
    assert LABELS.resolve_gpu("fir", *labels) == meaning
    assert LABELS.resolve_gpu("fir", *labels) == meaning


def test_deployments_belong_to_their_cluster() -> None:
    """The same namespace on another cluster is another deployment."""
    assert LABELS.resolve_gpu("isambard", "llm", "chat-0", "", "") == ("llm/chat-0", "abroad", "")
    assert LABELS.resolve_gpu("nowhere", "llm", "chat-0", "", "") == ("llm/chat-0", "", "")


@pytest.mark.parametrize(
    ("counter", "meaning"),
    [
        # deployment, served model, team, layer
        (("chat", "served", "", "engine"), ("m/chat", "acme", True)),
        (("chat", "served", "acme", "gateway"), ("m/chat", "acme", False)),
        (("any", "served", "acme", "gateway"), ("m/any", "acme", True)),
        (("any", "served", "tango", "gateway"), ("m/any", "rest", True)),
        (("any", "served", "nobody", "gateway"), ("m/any", "", True)),
        (("any", "served", "", "engine"), ("m/any", "", False)),
        (("own", "served", "", "gateway"), ("m/own", "", True)),
        (("own", "served", "", "engine"), ("m/own", "", False)),
        (("", "served", "", "engine"), ("served", "", True)),
        (("", "served", "acme", "gateway"), ("served", "acme", False)),
        (("abroad", "served", "", "engine"), ("served", "", True)),  # of another cluster
    ],
)
def test_whose_tokens(counter: tuple[str, str, str, str], meaning: tuple[str, str, bool]) -> None:
    """One layer of a deployment counts; tokens of a shared one belong to the team's agreement."""
    assert LABELS.resolve_tokens("fir", *counter) == meaning


def test_what_is_declared() -> None:
    """Countries, models, programmes and currencies are looked up; what is not described is empty, or CAD."""
    assert [LABELS.country(cluster) for cluster in ("fir", "isambard", "x")] == ["CA", "GB", ""]
    assert [LABELS.model(deployment) for deployment in ("chat", "x")] == ["m/chat", ""]
    assert [LABELS.is_shared(deployment) for deployment in ("any", "chat", "")] == [True, False, False]
    assert [LABELS.programme(name) for name in ("acme", "rest", "")] == ["fund", "airr", ""]
    assert [LABELS.currency(name) for name in ("acme", "rest", "", "x")] == ["CAD", "GBP", "CAD", "CAD"]


# --- prices ---------------------------------------------------------------------------------------------------------

OWNED = {
    "id": "h100", "cluster": "fir", "gpu_model": "NVIDIA H100*", "basis": "owned", "capex": "42000",
    "lifetime_years": 5, "opex_per_gpu_hour": "0.35", "energy_per_kwh": "0.0776", "effective_from": date(2026, 4, 1),
}  # fmt: skip
H100 = "NVIDIA H100 80GB HBM3"


def rented(
    name: str, starts: date, ends: date | None = None, gpu_model: str = "*", cluster: str = "fir"
) -> dict[str, Any]:
    return {"id": name, "cluster": cluster, "gpu_model": gpu_model, "basis": "rented", "per_gpu_hour": "3.90",
            "currency": "USD", "effective_from": starts, "effective_to": ends}  # fmt: skip


def test_an_owned_hour_by_hand() -> None:
    """42,000 over five years of 8,766 hours, 0.35 of operation, and 700 W for an hour at 0.0776 x 1.08."""
    rate = reference(price=[OWNED]).price("fir", H100, at(DAY))
    assert rate is not None
    assert (rate.currency, rate.version) == ("CAD", "h100@2026-04-01")
    hour_ns, energy_mj = 3600 * 10**9, 700 * 3600 * 1000
    with decimal.localcontext(prec=50):
        hour = Decimal(42000) / (5 * 8766) + Decimal("0.35") + Decimal("0.7") * Decimal("0.0776") * Decimal("1.08")
        expected = (hour * 10**9).to_integral_value(decimal.ROUND_HALF_EVEN)
    assert rate.cost(hour_ns, energy_mj) == expected == 1_366_913_375


def test_a_rented_hour_by_hand() -> None:
    """The contract price, energy included."""
    rate = reference(price=[rented("cloud", STARTS)]).price("fir", "anything", at(DAY))
    assert rate is not None
    assert (rate.currency, rate.version) == ("USD", "cloud@2026-01-01")
    assert rate.cost(3600 * 10**9, 10**9) == 3_900_000_000


@given(
    capex=st.decimals(0, 10**6, places=2), years=st.integers(1, 20), opex=st.decimals(0, 100, places=9),
    tariff=st.decimals(0, 10, places=4), pue=st.decimals(1, 3, places=2),
    gpu_ns=st.integers(0, 60 * 10**9), energy_mj=st.integers(0, 180_000_000),
)  # fmt: skip
def test_cost_is_exact(
    capex: Decimal, years: int, opex: Decimal, tariff: Decimal, pue: Decimal, gpu_ns: int, energy_mj: int
) -> None:
    """Any row costs what fractions of hours and kilowatt-hours say, to the nano-unit."""
    price = {**OWNED, "capex": str(capex), "lifetime_years": years}
    price |= {"opex_per_gpu_hour": str(opex), "energy_per_kwh": str(tariff)}
    rate = reference(price=[price], cluster=[{"id": "fir", "country": "CA", "pue": str(pue)}]).price(
        "fir", H100, at(DAY)
    )
    assert rate is not None
    hours, kwh = Fraction(gpu_ns, 3600 * 10**9), Fraction(energy_mj, 3600 * 10**6)
    per_hour = Fraction(capex) / Fraction(years * 8766) + Fraction(opex)
    assert rate.cost(gpu_ns, energy_mj) == round((hours * per_hour + kwh * Fraction(tariff) * Fraction(pue)) * 10**9)


@given(st.integers(0, 10**9).map(lambda n: 2 * n + 1))
def test_ties_go_to_even(odd: int) -> None:
    """Half a nano-unit goes to the even neighbour."""
    price = {**rented("half", STARTS), "per_gpu_hour": "1.8"}  # 0.5 nano-units per microsecond
    rate = reference(price=[price]).price("fir", H100, at(DAY))
    assert rate is not None
    cost = rate.cost(odd * 1000, 0) if rate.per_gpu_ns == Fraction(1, 2000) else -1
    assert cost % 2 == 0
    assert abs(cost - Fraction(odd, 2)) == Fraction(1, 2)


def test_the_most_specific_price_holds_on_its_days() -> None:
    """First day included, last day excluded; another cluster, another product, another day: no price."""
    table = reference(
        price=[
            rented("any", date(2026, 1, 1)),
            rented("h100-old", date(2026, 2, 1), gpu_model="NVIDIA H100*"),
            rented("h100-new", date(2026, 6, 1), date(2026, 9, 1), gpu_model="NVIDIA H100*"),
            rented("h100-80", date(2026, 7, 1), date(2026, 7, 2), gpu_model=H100),
        ]
    )
    expected = {
        date(2025, 12, 31): None, date(2026, 1, 1): "any", date(2026, 1, 31): "any", date(2026, 2, 1): "h100-old",
        date(2026, 5, 31): "h100-old", date(2026, 6, 1): "h100-new", date(2026, 7, 1): "h100-80",
        date(2026, 7, 2): "h100-new", date(2026, 8, 31): "h100-new", date(2026, 9, 1): "any",
    }  # fmt: skip
    for day, name in expected.items():
        for ms in (at(day), at(day + timedelta(days=1)) - 1):
            rate = table.price("fir", H100, ms)
            assert (rate and rate.version.split("@")[0]) == name
    assert table.price("isambard", H100, at(DAY)) is None
    assert table.price("fir", "AMD Instinct MI300X", at(date(2026, 7, 1))) == table.price("fir", "x", at(DAY))


# --- exchange -------------------------------------------------------------------------------------------------------

FX = reference(
    fx_rate=[
        {"base": "USD", "quote": "CAD", "rate": "1.40", "effective_from": date(2026, 6, 1)},
        {"base": "USD", "quote": "CAD", "rate": "1.3642", "effective_from": date(2026, 1, 1)},
    ]
)


@given(st.integers(-(10**18), 10**18), st.dates(date(2026, 1, 1), date(2026, 12, 31)))
def test_exchange_is_exact(amount: int, day: date) -> None:
    """The rate of the day, its inverse the other way, rounded once."""
    rate = Fraction(14, 10) if day >= date(2026, 6, 1) else Fraction(13642, 10000)
    assert FX.convert(amount, "USD", "CAD", day) == round(amount * rate)
    assert FX.convert(amount, "CAD", "USD", day) == round(amount / rate)
    assert FX.convert(amount, "USD", "USD", day) == amount


def test_no_rate_is_an_error() -> None:
    """Money is never converted at a rate that nobody gave."""
    with pytest.raises(UnknownReference, match=r"no exchange rate from USD to CAD on 2025-12-31; add \[\[fx_rate\]\]"):
        FX.convert(1, "USD", "CAD", date(2025, 12, 31))
    with pytest.raises(UnknownReference, match="no exchange rate from GBP to CAD"):
        FX.convert(1, "GBP", "CAD", DAY)
