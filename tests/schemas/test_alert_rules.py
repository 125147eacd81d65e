"""Protects the one definition of the rules: each can be evaluated, explained and silenced as it says."""

from datetime import timedelta
from fractions import Fraction

import pytest
from pydantic import ValidationError

from schemas.alert_rules import BY_ID, RULES, AlertRule
from schemas.config import Cluster
from schemas.config_alerts import Alerts
from schemas.texts import LANGS


def test_ids_are_unique() -> None:
    """A fingerprint is made of the id."""
    assert len(BY_ID) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_whole(rule: AlertRule) -> None:
    """Its threshold is a setting that exists, its times are sensible, and it says in both languages what to do."""
    found = BY_ID[rule.id]
    assert found.setting is None or found.setting in Alerts.model_fields
    assert found.severity in ("info", "warning", "critical")
    assert 0 <= found.for_s <= 300
    assert 0 <= found.keep_s <= 3600
    assert 0.4 <= found.clears_at <= 2
    for lang in LANGS:
        assert found.title.of(lang)
        assert not found.title.of(lang).endswith(".")
        assert len(found.title.of(lang)) <= 60
        assert found.advice.of(lang).endswith(".")
    assert "'" not in found.title.fr + found.advice.fr  # the apostrophe of print


def test_what_is_hidden_ends() -> None:
    """A rule hides no rule that hides it, and what hides is about clusters."""
    for rule in RULES:
        above = set(rule.hidden_by)
        for _ in RULES:
            above |= {higher for name in above for higher in BY_ID[name].hidden_by}
        assert rule.id not in above
        assert above <= {"cluster_silent", "collector_silent"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"busy_without_tokens": 0}, {"tokens_drop_to": "3/2"}, {"coverage_below": "101/100"}, {"lag_above": "0s"},
        {"energy_per_token_least_j": -1}, {"counter_frozen_for": "soon"}, {"silence_after": "90s"},
    ],
)  # fmt: skip
def test_senseless_thresholds_are_refused(wrong: dict[str, object]) -> None:
    """Before anything starts on them."""
    with pytest.raises(ValidationError):
        Alerts.model_validate(wrong)


def test_thresholds_are_read() -> None:
    """As people write them; and a cap of power is a number of kilowatts above nothing."""
    alerts = Alerts.model_validate({"lag_above": "2m", "coverage_below": "95/100", "tokens_drop_to": "1/3"})
    assert alerts.lag_above == timedelta(minutes=2).total_seconds()
    assert (alerts.coverage_below, alerts.tokens_drop_to) == (Fraction(95, 100), Fraction(1, 3))
    assert Cluster.model_validate({"id": "fir", "country": "CA", "power_cap_kw": "850.5"}).power_cap_kw == Fraction(
        1701, 2
    )
    with pytest.raises(ValidationError):
        Cluster.model_validate({"id": "fir", "country": "CA", "power_cap_kw": 0})
