"""Prices by time of day, reference GPU units and carbon, against look-ups written a second time."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Config
from schemas.slices import slice_profile
from streams.pricing import PriceRate
from streams.reference import Reference

H100 = "NVIDIA H100 80GB HBM3"
ZONES = ("UTC", "America/St_Johns", "America/Vancouver", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu")
"""Half hours, quarter hours, and a clock that is set by half an hour."""
TURNS = (
    datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 4, 5, tzinfo=UTC), datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2026, 7, 1, tzinfo=UTC),
)  # fmt: skip
"""Days on which clocks are set, and one on which none is."""


def price(name: str, **more: Any) -> dict[str, Any]:
    base = {"id": name, "cluster": "fir", "basis": "owned", "capex": "50000", "lifetime_years": 5}
    return {**base, "energy_per_kwh": "0.10", "effective_from": "2026-01-01", **more}


def reference(zone: str, *prices: dict[str, Any], **sections: Any) -> Reference:
    cluster = {"id": "fir", "country": "CA", "pue": "1.2", "timezone": zone}
    return Reference(Config.model_validate({"cluster": [cluster], "price": prices, **sections}))


def ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def version(rate: PriceRate | None) -> str:
    return rate.version if rate else ""


clocks = st.builds(lambda hour, minute: f"{hour:02}:{minute:02}", st.integers(0, 23), st.sampled_from((0, 1, 15, 30)))
tariffs = st.fixed_dictionaries(
    {
        "starts": clocks,
        "ends": clocks,
        "days": st.sampled_from(("all", "weekdays", "weekends")),
        "months": st.lists(st.integers(1, 12), max_size=6, unique=True),
    }
)


def expected(given_tariffs: list[dict[str, Any]], zone: str, moment: datetime) -> str:
    """The version that holds, looked up minute by minute the slow way."""
    if moment < datetime(2026, 1, 1, tzinfo=UTC):
        return ""
    first = "2026-07-01" if moment >= datetime(2026, 7, 1, tzinfo=UTC) else "2026-01-01"
    local = moment.astimezone(ZoneInfo(zone))
    clock = f"{local.hour:02}:{local.minute:02}"
    for number, tariff in enumerate(given_tariffs):
        starts, ends = tariff["starts"], tariff["ends"]
        inside = starts <= clock < ends if starts < ends else not ends <= clock < starts
        weekend = local.isoweekday() > 5
        day = {"all": True, "weekdays": not weekend, "weekends": weekend}[tariff["days"]]
        if inside and day and (not tariff["months"] or local.month in tariff["months"]):
            return f"p@{first}/t{number}"
    return f"p@{first}"


@given(
    st.lists(tariffs, max_size=3), st.sampled_from(ZONES), st.sampled_from(TURNS), st.integers(-36 * 3600, 48 * 3600),
    st.integers(0, 30 * 3600),
)  # fmt: skip
def test_the_tariff_of_a_moment(
    given_tariffs: list[dict[str, Any]], zone: str, turn: datetime, offset_s: int, length_s: int
) -> None:
    """At any second around the setting of clocks the tariff is that of the local time, and periods say the same."""
    described = [{**tariff, "id": f"t{n}", "energy_per_kwh": f"0.{n + 2}"} for n, tariff in enumerate(given_tariffs)]
    prices = [price("p", tariff=described), price("p", tariff=described, effective_from="2026-07-01")]
    known = reference(zone, *prices)
    start = turn + timedelta(seconds=offset_s)
    end = start + timedelta(seconds=length_s + 1)
    periods = known.price_periods("fir", H100, ms(start), ms(end))
    assert periods[0][0] == ms(start)
    assert all(one[0] < other[0] and one[1] != other[1] for one, other in pairwise(periods))
    held = iter([*periods[1:], (ms(end) + 1, None)])
    rate, (until_ms, following) = periods[0][1], next(held)
    for step in range(0, length_s + 1, 60):
        moment = start + timedelta(seconds=step)
        while ms(moment) >= until_ms:
            rate, (until_ms, following) = following, next(held)
        assert version(rate) == expected(given_tariffs, zone, moment)
        assert known.price("fir", H100, ms(moment)) == rate


def test_a_night_in_newfoundland() -> None:
    """The night tariff begins at 22:00 local time, which is 00:30 UTC in summer and 01:30 UTC in winter."""
    night = {"id": "night", "starts": "22:00", "ends": "06:00", "energy_per_kwh": "0.04"}
    known = reference("America/St_Johns", price("p", tariff=[night]))
    for day, hour in (("2026-07-10", 0), ("2026-12-10", 1)):
        begin = datetime.fromisoformat(f"{day}T{hour:02}:30:00+00:00")
        assert version(known.price("fir", H100, ms(begin) - 1)) == "p@2026-01-01"
        assert version(known.price("fir", H100, ms(begin))) == "p@2026-01-01/night"
        assert version(known.price("fir", H100, ms(begin + timedelta(hours=8)))) == "p@2026-01-01"


def test_what_a_tariff_costs() -> None:
    """50,000 - 5,000 over five years, and electricity of the tariff times the PUE of the price, not of the cluster."""
    night = {"id": "night", "starts": "22:00", "ends": "06:00", "energy_per_kwh": "0.04"}
    known = reference("UTC", price("p", residual_value="5000", pue="1.1", tariff=[night]))
    day = known.price("fir", H100, ms(datetime(2026, 5, 1, 12, tzinfo=UTC)))
    dark = known.price("fir", H100, ms(datetime(2026, 5, 1, 23, tzinfo=UTC)))
    assert day is not None
    assert dark is not None
    hour = Fraction(45_000, 5 * 8766)
    for rate, per_kwh in ((day, Fraction("0.10")), (dark, Fraction("0.04"))):
        assert rate.per_gpu_ns * 3600 == hour
        assert rate.cost(3600 * 10**9, 3_600_000_000) == round((hour + per_kwh * Fraction("1.1")) * 10**9)


def test_which_prices_follow_the_clock() -> None:
    """Only products whose price has tariffs are priced minute by minute."""
    night = {"id": "night", "starts": "22:00", "ends": "06:00", "energy_per_kwh": "0.04"}
    known = reference("UTC", price("a", gpu_model="NVIDIA H100*", tariff=[night]), price("b"))
    assert known.by_time_of_day("fir", H100)
    assert not known.by_time_of_day("fir", "AMD Instinct MI300X")
    assert not known.by_time_of_day("oak", H100)
    assert known.price_periods("oak", H100, 5, 9) == [(5, None)]


# --- reference GPU units --------------------------------------------------------------------------------------------

RGU = [
    {"gpu_model": "NVIDIA H100*", "weight": "12", "effective_from": "2026-01-01"},
    {"gpu_model": "NVIDIA H100*", "weight": "12.2", "effective_from": "2026-04-01"},
    {"gpu_model": "NVIDIA H100*", "slice": "3g.40gb", "share": "3/7", "weight": "6.1", "effective_from": "2026-04-01"},
    {"gpu_model": "NVIDIA*", "weight": "4", "effective_from": "2026-01-01"},
    {
        "gpu_model": "NVIDIA H100 80GB*",
        "slice": "1g.10gb",
        "share": "1/7",
        "weight": "2",
        "effective_from": "2026-01-01",
    },
]


@pytest.mark.parametrize(
    ("gpu_model", "profile", "day", "weight"),
    [
        (H100, "", date(2026, 3, 31), Fraction(12)),
        (H100, "", date(2026, 4, 1), Fraction("12.2")),
        (H100, "3g.40gb", date(2026, 3, 31), Fraction(12)),  # not listed yet: by its share of the whole
        (H100, "3g.40gb", date(2026, 4, 1), Fraction("6.1") * 7 / 3),
        (H100, "1g.10gb", date(2026, 4, 1), Fraction(14)),
        (H100, "2g.20gb", date(2026, 4, 1), Fraction("12.2")),
        ("NVIDIA A100", "", date(2026, 4, 1), Fraction(4)),
        ("NVIDIA A100", "", date(2025, 12, 31), None),
        ("AMD Instinct MI300X", "", date(2026, 4, 1), None),
    ],
)
def test_weights(gpu_model: str, profile: str, day: date, weight: Fraction | None) -> None:
    """RGU of a whole device: the entry of the profile, else of the device; the most specific, the newest that holds."""
    assert reference("UTC", rgu=RGU).rgu(gpu_model, profile, day) == weight


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("", ""), ("3g.40gb/1", "3g.40gb"), ("3g.40gb/1/shared/x", "3g.40gb"), ("cpx/3", "cpx"), ("1", ""),
        ("unallocated", ""), ("shared/llm/chat-0", ""),
    ],
)  # fmt: skip
def test_profiles(name: str, profile: str) -> None:
    """What of a slice's name is its profile."""
    assert slice_profile(name) == profile


def test_carbon_of_a_day() -> None:
    """The newest figure of the region that has begun."""
    figures = [
        {"region": "CA-QC", "g_per_kwh": g, "vintage": "2024", "effective_from": day}
        for g, day in (("1.7", "2026-01-01"), ("1.3", "2026-06-01"))
    ]
    known = reference("UTC", carbon=figures)
    held = [known.carbon("CA-QC", date(2026, month, 1)) for month in (1, 5, 6)]
    assert [carbon and carbon.g_per_kwh for carbon in held] == [Fraction("1.7"), Fraction("1.7"), Fraction("1.3")]
    assert known.carbon("CA-QC", date(2025, 12, 31)) is None
    assert known.carbon("CA-BC", date(2026, 6, 1)) is None
