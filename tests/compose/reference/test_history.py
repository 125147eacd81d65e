"""Reference data are recorded exactly, never edited, and as of any moment they are what was known then."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from compose.reference.history import (
    NoReference,
    changes,
    config_at,
    differing,
    effective,
    latest_change_at,
    record,
)
from schemas.config import Config, CostShare
from tests.compose.reference.example import config, tables

MS = timedelta(milliseconds=1)


def changed(section: str, place: int, **values: Any) -> Config:
    """The tables with one entry changed."""
    data = tables()
    data[section][place] |= values
    return Config.model_validate(data)


def without(section: str, place: int) -> Config:
    data = tables()
    del data[section][place]
    return Config.model_validate(data)


def as_recorded(given: Config) -> Config:
    """What the book says of a configuration: no targets, but the silence that follows from them."""
    clusters = [cluster.model_copy(update={"target": [], "max_gap": cluster.max_gap_s}) for cluster in given.cluster]
    return given.model_copy(update={"cluster": clusters})


def test_every_value_comes_back_exactly(clickhouse: Any) -> None:
    """Fractions, dates, patterns and times of day survive the book: 2/3 is 2/3, 0.0776 is 0.0776."""
    record(clickhouse.client, config(), source="a.toml")
    back = config_at(clickhouse.client)
    assert back == as_recorded(config())
    assert isinstance(back.agreement[0].rule, CostShare)
    assert (back.agreement[0].rule.share, back.price[0].energy_per_kwh) == (Fraction(2, 3), Fraction(776, 10_000))
    assert back.cluster[0].max_gap_s == config().cluster[0].max_gap_s == 180


def test_what_is_the_same_is_not_recorded_again(clickhouse: Any) -> None:
    """A restart adds nothing; a change adds the rows that changed, under one later moment."""
    entries = sum(len(section) for name, section in tables().items() if name != "finance") + 1
    assert record(clickhouse.client, config(), source="a.toml") == entries
    first = latest_change_at(clickhouse.client)
    assert record(clickhouse.client, config(), source="a.toml") == 0
    assert latest_change_at(clickhouse.client) == first
    assert record(clickhouse.client, changed("price", 0, capex="43000"), source="a.toml") == 1
    assert latest_change_at(clickhouse.client) > first


def test_as_of_is_what_was_known_then(clickhouse: Any) -> None:
    """Each state stays readable to the millisecond, however often entries changed, went and came again."""
    states = [
        config(), changed("price", 0, capex="43000"), without("fx_rate", 1), config(),
        changed("agreement", 0, cap="1600000"),
    ]  # fmt: skip
    moments = []
    for state in states:
        record(clickhouse.client, state, source="a.toml")
        moments.append(latest_change_at(clickhouse.client))
    assert moments == sorted(set(moments))
    for state, moment, after in zip(
        states, moments, [*moments[1:], datetime.now(UTC) + timedelta(days=9)], strict=True
    ):
        assert config_at(clickhouse.client, moment) == as_recorded(state)
        assert config_at(clickhouse.client, after - MS) == as_recorded(state)
        assert latest_change_at(clickhouse.client, after - MS) == moment
    with pytest.raises(NoReference, match="commonwatt reference apply"):
        config_at(clickhouse.client, moments[0] - MS)
    with pytest.raises(NoReference):
        latest_change_at(clickhouse.client, moments[0] - MS)


def test_what_a_file_no_longer_has(clickhouse: Any) -> None:
    """A price that was taken out prices nothing any more; an agreement stays, because the ledger names it."""
    record(clickhouse.client, config(), source="a.toml")
    record(clickhouse.client, without("price", 0), source="a.toml")
    record(clickhouse.client, changed("price", 0, id="fir-h100-v2"), source="a.toml")
    assert {price.id for price in config_at(clickhouse.client).price} == {"fir-h100-v2", "oak-any"}
    record(clickhouse.client, without("agreement", 2), source="a.toml")
    assert [agreement.id for agreement in config_at(clickhouse.client).agreement] == ["acme", "acme-more", "lab"]


def test_the_order_of_patterns_is_kept(clickhouse: Any) -> None:
    """The first agreement whose patterns fit pays: an order that changes is recorded, and nothing else is."""
    record(clickhouse.client, config(), source="a.toml")
    data = tables()
    data["agreement"].insert(1, data["agreement"].pop())
    assert record(clickhouse.client, Config.model_validate(data), source="a.toml") == 2
    assert config_at(clickhouse.client) == as_recorded(Config.model_validate(data))


def test_a_file_does_not_undo_a_correction(clickhouse: Any) -> None:
    """What was applied holds on, and is named; when the file says the same, nothing is to be said."""
    record(clickhouse.client, config(), source="a.toml")
    record(clickhouse.client, changed("price", 0, capex="43000"), source="fix.toml", origin="applied")
    assert [(entry.origin, entry.source) for entry in changes(clickhouse.client, "price", "fir-h100")] == [
        ("configuration", "a.toml"),
        ("applied", "fix.toml"),
    ]
    assert record(clickhouse.client, config(), source="a.toml") == 0
    assert config_at(clickhouse.client).price[0].capex == 43_000
    assert differing(clickhouse.client, config()) == ["price/fir-h100"]
    assert differing(clickhouse.client, changed("price", 0, capex="43000")) == []


def test_workers_use_corrections(clickhouse: Any) -> None:
    """The file's entries, the book's where a correction was applied, and what only the book has; targets stay."""
    given = config()
    assert effective(clickhouse.client, given) == given
    record(clickhouse.client, given, source="a.toml")
    assert effective(clickhouse.client, given) == given
    data = tables()
    data["price"][0]["capex"] = "43000"
    data["cluster"][0]["pue"] = "1.2"
    data["carbon"].append({**data["carbon"][0], "region": "CA-QC"})
    record(clickhouse.client, Config.model_validate(data), source="fix.toml", origin="applied")
    corrected = effective(clickhouse.client, given)
    assert corrected == Config.model_validate(data)
    assert corrected.cluster[0].target == given.cluster[0].target
