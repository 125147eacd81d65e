"""Forecasts from the charges of a real book."""

from datetime import datetime, timedelta
from fractions import Fraction

from compose.finance import forecast
from compose.finance.forecasting import lasts
from tests.conftest import ClickHouse
from tests.finance.reporting import DAY, HOUR, JULY, RECORDED, charge, config, record, settle

UNIT = 10**9


def test_forecast_of_settled_days(clickhouse: ClickHouse) -> None:
    """Whole days only, the last 28, silent ones as 0: against the same from the entries with fractions."""
    client = clickhouse.client
    record(client, config())
    first = JULY - 40 * DAY
    entries = [
        charge("acme", first + day * DAY + hour * HOUR, (day + hour) * UNIT // 7)
        for day in range(41)
        for hour in (0, 9, 23)
        if day % 5 and first + day * DAY + hour * HOUR < JULY + 10 * HOUR
    ]
    settle(client, entries, JULY + 8 * HOUR, JULY + 9 * HOUR)
    daily = [sum((day + hour) * UNIT // 7 for hour in (0, 9, 23)) if day % 5 else 0 for day in range(12, 40)]
    spent = sum(Fraction(entry["subsidy"]) for entry in entries) * UNIT + 100 * UNIT

    acme, lab, brit = forecast.forecasts(client)
    lasting = lasts(1000 * UNIT - int(spent), daily)
    assert lasting is not None
    assert acme.until == JULY + 10 * HOUR
    assert (acme.days, acme.spent_nano, acme.remaining_nano) == (28, spent, 1000 * UNIT - spent)
    assert acme.mean_nano_per_day == round(Fraction(sum(daily), 28))
    assert acme.projected_end == acme.until + timedelta(seconds=lasting.mean_s)
    assert acme.projected_end_early == acme.until + timedelta(seconds=lasting.early_s)
    assert acme.projected_end_early < acme.projected_end
    assert (lab.days, lab.mean_nano_per_day, lab.remaining_nano) == (0, 0, None)
    assert (brit.currency, brit.projected_end, brit.remaining_nano) == ("GBP", None, 500 * UNIT)


def test_days_begin_with_the_first_usage(clickhouse: ClickHouse) -> None:
    """The day on which usage began at noon is not whole; one that began at midnight is."""
    client = clickhouse.client
    record(client, config())
    entries = [charge("acme", JULY + 12 * HOUR, UNIT), charge("brit", JULY, 2 * UNIT), charge("acme", JULY + DAY, UNIT)]
    settle(client, entries, JULY + 4 * DAY - HOUR)
    acme, _, brit = forecast.forecasts(client)
    assert (acme.days, acme.mean_nano_per_day) == (3, round(Fraction(UNIT, 3)))
    assert (brit.days, brit.mean_nano_per_day) == (4, UNIT // 2)


def test_forecast_as_of_a_moment(clickhouse: ClickHouse) -> None:
    """What was recorded afterwards, entries and settlements alike, changes no earlier forecast."""
    client = clickhouse.client
    record(client, config())
    settle(client, [charge("acme", JULY + day * DAY, 10 * UNIT) for day in range(4)], JULY + 4 * DAY)
    before = forecast.forecasts(client)
    later = RECORDED + DAY
    settle(client, [charge("acme", JULY, 7 * UNIT, recorded_at=later)], JULY + 5 * DAY, recorded=later)
    assert forecast.forecasts(client, RECORDED) == before
    assert forecast.forecasts(client)[0].spent_nano == before[0].spent_nano + 7 * UNIT


def test_nothing_settled_is_nothing_to_forecast(clickhouse: ClickHouse) -> None:
    """Without a settled hour there is no forecast, and no row."""
    record(clickhouse.client, config())
    assert forecast.write(clickhouse.client) == []


def test_rows_of_a_forecast(clickhouse: ClickHouse) -> None:
    """Each forecast is one row, amounts exact and moments whole."""
    client = clickhouse.client
    record(client, config())
    entries = [charge("acme", JULY + day * DAY, (10 + day % 2) * UNIT + 1) for day in range(30)]
    settle(client, entries, JULY + 30 * DAY)
    written = forecast.write(client)
    rows = list(client.query("SELECT * EXCEPT recorded_at FROM subsidy_forecasts ORDER BY agreement").named_results())
    assert [row["agreement"] for row in rows] == ["acme", "brit", "lab"]
    acme, row = written[0], rows[0]
    for name in ("spent", "planned", "remaining", "spent_at_end"):
        assert row[name] * UNIT == getattr(acme, f"{name}_nano")
    assert row["mean_per_day"] * UNIT == acme.mean_nano_per_day
    for name in ("until", "projected_end_early", "projected_end", "projected_end_late"):
        moment = getattr(acme, name)
        assert isinstance(moment, datetime)
        assert row[name] == moment.replace(tzinfo=None)
