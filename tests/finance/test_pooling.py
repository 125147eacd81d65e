"""Countries that lend each other compute, and the carbon of their regions: the arithmetic."""

from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.finance.carbon import Energy, emissions
from compose.finance.pooling import CLASSES, Use, account, class_of
from schemas.config import Carbon, Cluster, Pool

COUNTRIES = ("CA", "GB", "FR", "US")
CURRENCIES = ("CAD", "GBP", "USD")
CLUSTERS = {
    f"{stands}-{operator}".lower(): Cluster(
        id=f"{stands}-{operator}".lower(), country=stands, operator_country=operator, pue=Fraction("1.2")
    )
    for stands in COUNTRIES
    for operator in COUNTRIES
}
POOL = Pool(id="ca-gb", currencies={"CA": "CAD", "GB": "GBP"}, allies=["FR"])
WIDE = Pool(id="three", currencies={"CA": "CAD", "GB": "GBP", "US": "USD"})
DAY = date(2026, 7, 1)

AMOUNT = st.integers(0, 10**15)
USES = st.lists(
    st.builds(
        Use,
        day=st.integers(0, 30).map(lambda offset: DAY + timedelta(offset)),
        recipient_country=st.sampled_from(COUNTRIES),
        cluster=st.sampled_from(sorted(CLUSTERS)),
        currency=st.sampled_from(CURRENCIES),
        gpu_ns=AMOUNT,
        rgu_ns=AMOUNT,
        energy_mj=AMOUNT,
        cost_nano=AMOUNT,
    ),
    max_size=25,
)


def _convert(amount: int, base: str, quote: str, day: date) -> int:
    """A rate that changes by the day."""
    worth = {"CAD": Fraction(1), "GBP": Fraction(7, 4) + Fraction(day.day, 1000), "USD": Fraction(7, 5)}
    return round(amount * worth[base] / worth[quote])


@pytest.mark.parametrize(
    ("recipient", "stands", "operator", "kind"),
    [
        ("CA", "CA", "CA", "domestic"), ("CA", "CA", "", "domestic"), ("CA", "CA", "GB", "allied"),
        ("CA", "GB", "GB", "allied"), ("CA", "GB", "CA", "allied"), ("CA", "FR", "FR", "allied"),
        ("CA", "CA", "US", "foreign"), ("CA", "GB", "US", "foreign"), ("CA", "US", "CA", "foreign"),
        ("CA", "US", "US", "foreign"), ("GB", "CA", "CA", "allied"),
    ],
)  # fmt: skip
def test_classes_as_defined(recipient: str, stands: str, operator: str, kind: str) -> None:
    """Place and operator decide together; who names no operator's country is at home where the cluster stands."""
    assert class_of(POOL, recipient, Cluster(id="x", country=stands, operator_country=operator or None)) == kind


@pytest.mark.parametrize("pool", [POOL, WIDE])
@given(uses=USES)
def test_pairs_hold_all_usage_of_the_pool(pool: Pool, uses: list[Use]) -> None:
    """Every use that touches the pool is in exactly one pair: sums over pairs are sums over uses, costs day by day."""
    found = account(pool, uses, CLUSTERS, _convert)
    ours = [use for use in uses if {use.recipient_country, CLUSTERS[use.cluster].country} & pool.currencies.keys()]
    for name in ("gpu_ns", "rgu_ns", "energy_mj"):
        assert sum(getattr(figures, name) for figures in found.used.values()) == sum(getattr(use, name) for use in ours)
    for country, currency in pool.currencies.items():
        counted = [figures.cost_nano[currency] for pair, figures in found.used.items() if country in pair]
        touched = [use for use in ours if country in (use.recipient_country, CLUSTERS[use.cluster].country)]
        assert sum(counted) == sum(_convert(use.cost_nano, use.currency, currency, use.day) for use in touched)


@pytest.mark.parametrize("pool", [POOL, WIDE])
@given(uses=USES)
def test_what_one_lends_the_other_borrows(pool: Pool, uses: list[Use]) -> None:
    """Balances are antisymmetric, in every unit and every currency."""
    balances = account(pool, uses, CLUSTERS, _convert).balances
    assert len(balances) == len(pool.currencies) * (len(pool.currencies) - 1)
    for (one, other), balance in balances.items():
        back = balances[other, one]
        assert (balance.gpu_ns, balance.rgu_ns, balance.energy_mj) == (-back.gpu_ns, -back.rgu_ns, -back.energy_mj)
        assert balance.cost_nano == {currency: -cost for currency, cost in back.cost_nano.items()}


@pytest.mark.parametrize("pool", [POOL, WIDE])
@given(uses=USES)
def test_shares_add_up_to_one(pool: Pool, uses: list[Use]) -> None:
    """Classes are disjoint and leave nothing out: exactly 1 for who used anything, nothing for who did not."""
    for country, shares in account(pool, uses, CLUSTERS, _convert).shares.items():
        ours = [use for use in uses if use.recipient_country == country]
        for found, used in ((shares.gpu, sum(u.gpu_ns for u in ours)), (shares.rgu, sum(u.rgu_ns for u in ours))):
            if found is None:
                assert used == 0
            else:
                assert tuple(found) == CLASSES
                assert sum(found.values()) == 1


def test_balance_by_hand() -> None:
    """3 h of British recipients in Canada against 1 h of Canadians in Britain: Canada lent 2 h."""
    hour = 3600 * 10**9
    uses = [
        Use(DAY, "GB", "ca-ca", "GBP", 3 * hour, 9 * hour, 3000, 400),
        Use(DAY, "CA", "gb-gb", "CAD", hour, 4 * hour, 500, 100),
        Use(DAY, "CA", "ca-ca", "CAD", 8 * hour, 8 * hour, 900, 999),
    ]
    balance = account(POOL, uses, CLUSTERS, lambda nano, base, quote, _: nano if base == quote else 2 * nano).balances
    lent = balance["CA", "GB"]
    assert (lent.gpu_ns, lent.rgu_ns, lent.energy_mj) == (2 * hour, 5 * hour, 2500)
    assert lent.cost_nano == {"CAD": 800 - 100, "GBP": 400 - 200}


def test_what_costs_nothing_needs_no_exchange_rate() -> None:
    """Usage before the first price, when there need not be a rate either, counts its hours all the same."""

    def convert(nano: int, base: str, quote: str, day: date) -> int:
        raise AssertionError(f"no rate on {day}")

    used = account(POOL, [Use(DAY, "GB", "ca-ca", "GBP", 7, 8, 9, 0)], CLUSTERS, convert).used["GB", "CA"]
    assert (used.gpu_ns, used.cost_nano) == (7, {"CAD": 0, "GBP": 0})


# ---- carbon ----------------------------------------------------------------------------------------------------------


def _carbon(region: str, g_per_kwh: str, vintage: str, effective_from: date) -> Carbon:
    return Carbon(region=region, g_per_kwh=Fraction(g_per_kwh), vintage=vintage, effective_from=effective_from)


def test_each_edition_of_an_intensity_is_a_row() -> None:
    """By hand: 1 kWh a day at PUE 1.1, two days at 10 g and one at 20 g, and a region of which nothing is known."""
    clusters = {
        "fir": Cluster(id="fir", country="CA", region="CA-BC", pue=Fraction("1.1")),
        "oak": Cluster(id="oak", country="GB", region="GB-ENG", pue=Fraction(1)),
    }
    energies = [Energy(DAY + timedelta(day), "fir", 3_600_000_000) for day in range(3)] + [Energy(DAY, "oak", 7)]
    carbon = [
        _carbon("CA-BC", "20", "2025", DAY + timedelta(2)), _carbon("CA-BC", "10", "2024", DAY),
        _carbon("GB-ENG", "200", "2025", DAY + timedelta(1)),
    ]  # fmt: skip
    old, new, unknown = emissions(energies, clusters, carbon)
    assert (old.vintage, old.energy_mj) == ("2024", 7_200_000_000)
    assert (old.facility_mj, old.carbon_g) == (Fraction(7_920_000_000), Fraction(22))
    assert (new.vintage, new.facility_mj, new.carbon_g) == ("2025", Fraction(3_960_000_000), Fraction(22))
    assert (unknown.region, unknown.vintage, unknown.energy_mj, unknown.carbon_g) == ("GB-ENG", None, 7, None)


def test_facility_energy_is_not_guessed() -> None:
    """A cluster whose PUE nobody gave leaves its region without facility energy and carbon, and only its region."""
    clusters = {
        "fir": Cluster(id="fir", country="CA", region="CA-BC", pue=Fraction("1.1")),
        "ash": Cluster(id="ash", country="CA", region="CA-BC"),
        "elm": Cluster(id="elm", country="CA", region="CA-QC", pue=Fraction("1.2")),
    }
    carbon = [_carbon(region, "10", "2025", DAY) for region in ("CA-BC", "CA-QC")]
    for order in (("fir", "ash", "elm"), ("elm", "ash", "fir")):
        west, east = emissions([Energy(DAY, cluster, 3_600_000_000) for cluster in order], clusters, carbon)
        assert (west.energy_mj, west.facility_mj, west.carbon_g) == (7_200_000_000, None, None)
        assert (east.facility_mj, east.carbon_g) == (Fraction(4_320_000_000), Fraction(12))


@given(st.lists(st.builds(Energy, st.dates(DAY, date(2026, 7, 31)), st.sampled_from(sorted(CLUSTERS)), AMOUNT)))
def test_energy_is_kept(energies: list[Energy]) -> None:
    """No energy is lost for want of an intensity, and none of it gets a carbon of zero."""
    found = emissions(energies, CLUSTERS, [_carbon("", "0", "zero", date(2026, 7, 10))])
    assert sum(row.energy_mj for row in found) == sum(energy.energy_mj for energy in energies)
    assert all((row.carbon_g is None) == (row.vintage is None) for row in found)
