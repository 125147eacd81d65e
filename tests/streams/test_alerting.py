"""Protects finance's trust: budgets, burn rates and audits become conditions exactly where they should."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alert_rules import BY_ID
from schemas.audits import AuditState
from schemas.config_alerts import Alerts
from schemas.economics import Burn
from schemas.money import NANO
from streams.alert_book import AlertBook
from streams.alert_conditions import Condition
from streams.alerting import RULE_OF_AUDIT, Rules
from tests.streams.economy import MINUTE, config

NOW = MINUTE + 60_000
AUDITS = Path(__file__).parents[2] / "compose" / "audits"


def rules() -> Rules:
    """Rules that began now."""
    return Rules(config(), NOW)


def burn(spent: int, cap: int | None = 100) -> Burn:
    """State of agreement `share` with this many dollars spent."""
    return Burn(
        programme="fund",
        agreement="share",
        minute_ms=MINUTE,
        ts_ms=NOW,
        spent_nano=spent * NANO,
        accrued_nano=spent * NANO,
        cap_nano=None if cap is None else cap * NANO,
        rate_nano_per_hour=NANO,
        runway_hours=1.5,
        currency="CAD",
    )


def found(given: Rules, rule: str, now_ms: int = NOW) -> list[Condition]:
    """Conditions of a rule."""
    return [condition for condition in given.conditions(now_ms) if condition.fires and condition.rule.startswith(rule)]


@pytest.mark.parametrize(
    ("spent", "thresholds"), [(49, []), (50, [0.5]), (85, [0.8, 0.5]), (100, [1.0, 0.9, 0.8, 0.5])]
)
def test_budget_thresholds(spent: int, thresholds: list[float]) -> None:
    """50, 80, 90 and 100 % of the cap, each its own alert."""
    given = rules()
    given.saw(burn(spent))
    assert [condition.threshold for condition in found(given, "budget")] == thresholds


def test_an_agreement_without_a_cap_has_no_budget_alert() -> None:
    """Nothing to be used up."""
    given = rules()
    given.saw(burn(10**6, cap=None))
    assert not found(given, "budget")


def burning(fast: tuple[int | None, int], slow: tuple[int | None, int | None], lasting: int | None = NANO) -> Burn:
    """State of `share`, half of whose 100 dollars is left: rates over (1 h, 5 min) and (3 d, 6 h), nano-dollars."""
    rates = {
        "rate_1h_nano_per_hour": fast[0],
        "rate_nano_per_hour": fast[1],
        "rate_3d_nano_per_hour": slow[0],
        "rate_6h_nano_per_hour": slow[1],
    }
    return burn(50).model_copy(update={**rates, "sustainable_nano_per_hour": lasting})


def test_money_that_burns_too_fast_in_words() -> None:
    """What finance reads at night: how many times too fast, how much, and when it is gone."""
    given = rules()
    given.saw(burning((12 * NANO + NANO // 2, 20 * NANO), (0, 0)))
    (condition,) = found(given, "burn")
    assert (condition.rule, condition.subject, condition.agreement) == ("burn_fast", "share", "share")
    assert (condition.value, condition.threshold) == (12.5, 10)
    assert condition.at_stake == (12 * NANO + NANO // 2, "CAD")
    assert condition.words().of("en") == (
        "share burns 12.5 times as fast as its money lasts until its end: over the last hour and still now at least "
        "12.50 CAD per hour; at this rate the remaining 50.00 CAD are gone on 2026-09-21 at 18:15 UTC"
    )
    assert condition.words().fr == (
        "share dépense 12,5 fois trop vite pour que l’argent dure jusqu’à la fin : pendant la dernière heure et encore "
        "maintenant, au moins 12,50 CAD par heure ; à ce rythme, les 50,00 CAD restants sont épuisés le 2026-09-21 à "
        "18:15 UTC"
    )


@pytest.mark.parametrize(
    ("fast", "slow", "fires"),
    [
        ((10 * NANO, 10 * NANO), (0, 0), ["burn_fast"]),  # exactly at the threshold
        ((10 * NANO - 1, 99 * NANO), (0, 0), []),  # a peak of minutes
        ((99 * NANO, 10 * NANO - 1), (0, 0), []),  # over already
        ((0, 0), (NANO * 5 // 4, NANO * 5 // 4), ["burn_slow"]),
        ((0, 0), (NANO * 5 // 4 - 1, 99 * NANO), []),
        ((0, 0), (99 * NANO, NANO * 5 // 4 - 1), []),
        ((99 * NANO, 99 * NANO), (99 * NANO, 99 * NANO), ["burn_fast", "burn_slow"]),
        ((None, 99 * NANO), (None, 99 * NANO), []),  # not metered for long enough
        ((0, 99 * NANO), (99 * NANO, None), []),
    ],
)
def test_both_windows_must_burn(fast: tuple[int | None, int], slow: tuple[int, int], fires: list[str]) -> None:
    """A long window, so that a peak is no alarm, and a short one, so that it ends when the burn does."""
    given = rules()
    given.saw(burning(fast, slow))
    assert [condition.rule for condition in found(given, "burn")] == fires


@pytest.mark.parametrize("lasting", [None, 0])
def test_without_a_lasting_rate_nothing_burns_too_fast(lasting: int | None) -> None:
    """No cap, a passed end, or nothing left, which is the last threshold's to say."""
    given = rules()
    given.saw(burning((99 * NANO, 99 * NANO), (99 * NANO, 99 * NANO), lasting))
    assert found(given, "burn") == []


def test_a_burn_that_ends_is_resolved() -> None:
    """When the short window calms down; or when the agreement uses nothing more, so that no state comes."""
    given, alerts = rules(), AlertBook()
    given.saw(burning((99 * NANO, 99 * NANO), (99 * NANO, 99 * NANO)))

    def changes(now_ms: int) -> list[tuple[str, str]]:
        burns = [condition for condition in given.conditions(now_ms) if condition.rule.startswith("burn")]
        return [(alert.rule, alert.state) for alert in alerts.update(burns, now_ms)]

    fast_ms, slow_ms = (round(BY_ID[rule].keep_s * 1000) for rule in ("burn_fast", "burn_slow"))
    assert changes(NOW) == [("burn_fast", "firing"), ("burn_slow", "firing")]
    assert changes(NOW + 299_999) == []
    assert changes(NOW + 300_000) == []
    assert changes(NOW + 299_999 + fast_ms) == [("burn_fast", "resolved")]
    assert changes(NOW + 6 * 3_600_000 - 1) == []
    assert changes(NOW + 6 * 3_600_000 - 1 + slow_ms) == [("burn_slow", "resolved")]
    given.saw(burning((99 * NANO, 99 * NANO), (99 * NANO, 99 * NANO)))
    assert changes(NOW) == [("burn_fast", "firing"), ("burn_slow", "firing")]
    later = NOW + slow_ms + 1000
    less = burning((9 * NANO, 9 * NANO), (99 * NANO, 9 * NANO // 8))  # not yet back far enough
    given.saw(less.model_copy(update={"ts_ms": later}))
    assert changes(later) == []
    given.saw(burning((99 * NANO, 0), (99 * NANO, 0)).model_copy(update={"ts_ms": later}))
    assert changes(later + slow_ms) == [("burn_fast", "resolved"), ("burn_slow", "resolved")]


RATES = st.none() | st.integers(0, 10**15)
TIMES = st.integers(1, 10**8).map(lambda millionths: Fraction(millionths, 10**6))


@given(
    RATES, st.integers(0, 10**15), RATES, RATES, RATES, st.integers(0, 10**17), st.none() | st.integers(0, 10**17),
    TIMES, TIMES,
)  # fmt: skip
def test_alerts_follow_from_the_rates_alone(
    hour: int | None, now: int, days: int | None, hours: int | None, lasting: int | None, spent: int, cap: int | None,
    fast: Fraction, slow: Fraction,
) -> None:  # fmt: skip
    """Whatever is measured: an alert exactly where both rates are so many times the lasting one, and never an error."""
    alerts = Alerts(burn_fast=fast, burn_slow=slow)
    given_rules = Rules(config(alerts=alerts), NOW)
    spent = spent if cap is None else min(spent, cap)
    state = burning((hour, now), (days, hours), lasting)
    given_rules.saw(state.model_copy(update={"spent_nano": spent, "cap_nano": cap}))
    expected = []
    if lasting and cap is not None:
        if hour is not None and Fraction(hour, lasting) >= fast and Fraction(now, lasting) >= fast:
            expected.append("burn_fast")
        if None not in (days, hours) and min(Fraction(days or 0), Fraction(hours or 0)) / lasting >= slow:
            expected.append("burn_slow")
    assert [condition.rule for condition in found(given_rules, "burn")] == expected


def audit(faults: int, ts_ms: int = NOW, severity: str = "critical") -> AuditState:
    """What an audit found."""
    rows = ["device=GPU-1", "device=GPU-2"][:faults]
    return AuditState(
        name="tiling", protects="No gaps.", severity=severity, examined=9, faults=faults, rows=rows, ts_ms=ts_ms
    )


def test_a_failed_audit() -> None:
    """It says what is no longer sure, and where; it ends when the audit passes, whatever comes late of before."""
    given = rules()
    given.saw(audit(0))
    assert not found(given, "check_failed")
    given.saw(audit(2, NOW + 1))
    (condition,) = found(given, "check_failed")
    assert (condition.subject, condition.severity, condition.value, condition.threshold) == ("tiling", "critical", 2, 0)
    assert condition.evidence == ["device=GPU-1", "device=GPU-2"]
    assert condition.words().en == "the audit “tiling” finds 2 at fault. No gaps. First at fault: device=GPU-1"
    given.saw(audit(0, NOW + 3))
    given.saw(audit(1, NOW + 2))
    assert not found(given, "check_failed")
    given.saw(audit(1, NOW + 4, severity="warning"))
    assert [condition.severity for condition in found(given, "check_failed")] == ["warning"]


def test_a_failed_audit_survives_a_restart() -> None:
    """The next worker does not hear of it again before the audit runs again: until then it holds, and is no news."""
    before, now = rules(), rules()
    before.saw(audit(1))
    alerts = AlertBook()
    already_open = alerts.update(before.conditions(NOW), NOW)
    for alert in already_open:
        now.saw_open(alert)
    alerts = AlertBook(already_open, NOW)
    assert alerts.update(now.conditions(NOW), NOW) == []
    later = NOW + 80_000
    assert alerts.update(now.conditions(later), later) == []
    now.saw(audit(0, NOW - 1000))  # its clock may be behind that of the worker that fired
    assert [alert.state for alert in alerts.update(now.conditions(later + 1), later + 1)] == ["resolved"]


@pytest.mark.parametrize(("name", "rule"), [*RULE_OF_AUDIT.items(), ("tiling", "check_failed")])
def test_each_audit_has_its_rule(name: str, rule: str) -> None:
    """Messages that wait and a tally that went astray are told as what they are."""
    given = rules()
    given.saw(audit(1).model_copy(update={"name": name}))
    assert [condition.rule for condition in given.conditions(NOW)] == [rule]


def test_audits_that_have_a_rule_exist() -> None:
    """An audit that is renamed must not lose its rule."""
    names = {line.removeprefix("-- name: ") for file in AUDITS.glob("*.sql") for line in file.read_text().splitlines()}
    assert RULE_OF_AUDIT.keys() <= names
