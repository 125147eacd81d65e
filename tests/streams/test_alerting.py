"""Protects operators' trust: each rule fires on its condition, once, resolves when it ends, and groups devices."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.audits import AuditState
from schemas.config import Alerts
from schemas.economics import Alert, Burn, UnitCost, UnitCosts
from schemas.money import NANO
from schemas.usage import DeviceCondition
from streams.alerting import AlertBook, Condition, Rules
from tests.streams.economy import MINUTE, config

NOW = MINUTE + 60_000


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


def costs(
    cost_nano: int, tokens: int, minute_ms: int = MINUTE, conditions: list[DeviceCondition] | None = None
) -> UnitCosts:
    """A minute in which model `small` cost this much for these tokens."""
    unit = UnitCost(
        model="small",
        agreement="",
        programme="",
        gpu_ns=1,
        busy_ns=0,
        energy_mj=0,
        cost_nano=cost_nano,
        usage_cost_nano=0,
        prompt_tokens=tokens,
        cached_tokens=0,
        generation_tokens=0,
        subsidy_nano=0,
        charge_nano=0,
        currency="CAD",
    )
    return UnitCosts(
        cluster="fir",
        minute_ms=minute_ms,
        version=1,
        ts_start_ms=minute_ms,
        ts_end_ms=minute_ms + 60_000,
        lines=[unit],
        conditions={"fir/a/0": conditions or []},
    )


def found(given: Rules, rule: str, now_ms: int = NOW) -> list[Condition]:
    """Conditions of a rule."""
    return [condition for condition in given.conditions(now_ms) if condition.rule.startswith(rule)]


@pytest.mark.parametrize(
    ("spent", "thresholds"), [(49, []), (50, [0.5]), (85, [0.8, 0.5]), (100, [1.0, 0.9, 0.8, 0.5])]
)
def test_budget_thresholds(spent: int, thresholds: list[float]) -> None:
    """50, 80, 90 and 100 % of the cap, each its own alert."""
    given = rules()
    given.saw_burn(burn(spent))
    assert [condition.threshold for condition in found(given, "budget")] == thresholds


def test_an_agreement_without_a_cap_has_no_budget_alert() -> None:
    """Nothing to be used up."""
    given = rules()
    given.saw_burn(burn(10**6, cap=None))
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
    given.saw_burn(burning((12 * NANO + NANO // 2, 20 * NANO), (0, 0)))
    (condition,) = found(given, "burn")
    assert (condition.rule, condition.severity, condition.subject) == ("burn_fast", "critical", "share")
    assert (condition.value, condition.threshold) == (12.5, 10)
    assert condition.summary == (
        "share burns 12.5 times as fast as its money lasts until its end: over the last hour and still now at least "
        "12.50 CAD per hour; at this rate the remaining 50.00 CAD are gone on 2026-09-21 at 18:15 UTC"
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
    given.saw_burn(burning(fast, slow))
    assert [condition.rule for condition in found(given, "burn")] == fires


@pytest.mark.parametrize("lasting", [None, 0])
def test_without_a_lasting_rate_nothing_burns_too_fast(lasting: int | None) -> None:
    """No cap, a passed end, or nothing left, which is the last threshold's to say."""
    given = rules()
    given.saw_burn(burning((99 * NANO, 99 * NANO), (99 * NANO, 99 * NANO), lasting))
    assert found(given, "burn") == []


def test_a_burn_that_ends_is_resolved() -> None:
    """When the short window calms down; or when the agreement uses nothing more, so that no state comes."""
    given, alerts = rules(), AlertBook([])
    given.saw_burn(burning((99 * NANO, 99 * NANO), (99 * NANO, 99 * NANO)))

    def changes(now_ms: int) -> list[tuple[str, str]]:
        burns = [condition for condition in given.conditions(now_ms) if condition.rule.startswith("burn")]
        return [(alert.rule, alert.state) for alert in alerts.update(burns, now_ms)]

    assert changes(NOW) == [("burn_fast", "firing"), ("burn_slow", "firing")]
    assert changes(NOW + 299_999) == []
    assert changes(NOW + 300_000) == [("burn_fast", "resolved")]
    assert changes(NOW + 6 * 3_600_000) == [("burn_slow", "resolved")]
    given.saw_burn(burning((99 * NANO, 99 * NANO), (99 * NANO, 99 * NANO)))
    assert changes(NOW) == [("burn_fast", "firing"), ("burn_slow", "firing")]
    given.saw_burn(burning((99 * NANO, 0), (99 * NANO, 0)))
    assert changes(NOW) == [("burn_fast", "resolved"), ("burn_slow", "resolved")]


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
    given_rules.saw_burn(state.model_copy(update={"spent_nano": spent, "cap_nano": cap}))
    expected = []
    if lasting and cap is not None:
        if hour is not None and Fraction(hour, lasting) >= fast and Fraction(now, lasting) >= fast:
            expected.append("burn_fast")
        if None not in (days, hours) and min(Fraction(days or 0), Fraction(hours or 0)) / lasting >= slow:
            expected.append("burn_slow")
    assert [condition.rule for condition in found(given_rules, "burn")] == expected


@pytest.mark.parametrize(("cents_per_mtok", "fires"), [(4, True), (5, False), (10, False), (11, True)])
def test_cost_outside_the_band(cents_per_mtok: int, fires: bool) -> None:
    """The band of the national plan, CAD 0.05 to 0.10 per million tokens, both ends inside."""
    given = rules()
    given.saw_costs(costs(cents_per_mtok * NANO // 100, 1_000_000))
    assert bool(found(given, "cost_per_mtok")) == fires


def test_cost_is_judged_on_finished_minutes_once_there_are_any() -> None:
    """The first seconds of a minute have cost but hardly tokens: they must not raise an alarm."""
    given = rules()
    given.saw_costs(costs(7 * NANO // 100, 1_000_000))
    given.saw_costs(costs(7 * NANO // 100, 20_000, MINUTE + 60_000))
    assert not found(given, "cost_per_mtok")


def test_a_minute_long_past_is_not_judged_again() -> None:
    """Rows that come late change what a minute cost hours ago; the cost per token is judged on the last minutes."""
    given = rules()
    for number in range(7):
        given.saw_costs(costs(7 * NANO // 100, 1_000_000, MINUTE + number * 60_000))
    given.saw_costs(costs(7_000 * NANO, 1_000_000, MINUTE - 60_000))
    assert not found(given, "cost_per_mtok")


def test_devices_in_trouble_are_one_alert_per_node_or_tenant() -> None:
    """A rack that overheats must not be a storm."""
    hot = [
        DeviceCondition(kind="hot", device=f"g{i}", node="n1", agreement="", value=90 + i, since_ms=NOW)
        for i in range(8)
    ]
    idle = DeviceCondition(kind="idle", device="g9", node="n2", agreement="lab", value=900, since_ms=NOW)
    xid = DeviceCondition(kind="xid", device="g9", node="n2", agreement="lab", value=79, since_ms=NOW)
    given = rules()
    given.saw_costs(costs(7 * NANO // 100, 1_000_000, conditions=[*hot, idle, xid]))
    assert [(c.rule, c.subject, c.value) for c in given.conditions(NOW)] == [
        ("over_temperature", "fir/n1", 97),
        ("allocated_idle", "fir/lab", 900),
        ("xid", "fir/n2", 79),
    ]
    given.saw_costs(costs(7 * NANO // 100, 1_000_000, MINUTE + 60_000))
    assert not given.conditions(NOW)


def test_a_silent_cluster() -> None:
    """Silence is measured from the last usage, or from the start of the watch; each cluster on its own."""
    given = rules()
    given.saw_cluster("fir", NOW + 50_000)
    assert [c.subject for c in found(given, "cluster_silent", NOW + 100_000)] == ["oak"]
    assert [c.subject for c in found(given, "cluster_silent", NOW + 150_000)] == ["fir", "oak"]


def test_an_alert_fires_once_and_resolves_once() -> None:
    """The same condition again is no news; its end is."""
    book = AlertBook([])
    condition = Condition("rule", "subject", "warning", 2.0, 1.0, "two is more than one")
    (fired,) = book.update([condition], NOW)
    assert (fired.state, fired.starts_at_ms) == ("firing", NOW)
    assert book.update([condition], NOW + 1) == []
    (ended,) = book.update([], NOW + 2)
    assert (ended.state, ended.starts_at_ms, ended.ends_at_ms) == ("resolved", NOW, NOW + 2)
    assert book.update([], NOW + 3) == []


def test_a_restarted_worker_neither_repeats_nor_forgets() -> None:
    """Open alerts come from the book; until subjects had time to report nothing is called resolved."""
    condition = Condition("rule", "subject", "warning", 2.0, 1.0, "two is more than one")
    open_alert = Alert(
        fingerprint=condition.fingerprint,
        rule="rule",
        severity="warning",
        subject="subject",
        state="firing",
        value=2,
        threshold=1,
        summary="two is more than one",
        ts_ms=NOW,
        starts_at_ms=NOW,
    )
    book = AlertBook([open_alert])
    assert book.update([], NOW + 1, resolve=False) == []
    assert book.update([condition], NOW + 2, resolve=False) == []
    assert [alert.state for alert in book.update([], NOW + 3)] == ["resolved"]


def audit(faults: int, ts_ms: int = NOW, severity: str = "critical") -> AuditState:
    """What an audit found."""
    rows = ["device=GPU-1", "device=GPU-2"][:faults]
    return AuditState(
        name="tiling", protects="No gaps.", severity=severity, examined=9, faults=faults, rows=rows, ts_ms=ts_ms
    )


def test_a_failed_audit() -> None:
    """It says what is no longer sure, and where; it ends when the audit passes, whatever comes late of before."""
    given = rules()
    given.saw_audit(audit(0))
    assert not found(given, "check_failed")
    given.saw_audit(audit(2, NOW + 1))
    (condition,) = found(given, "check_failed")
    assert (condition.subject, condition.severity, condition.value, condition.threshold) == ("tiling", "critical", 2, 0)
    assert condition.summary == "the audit “tiling” finds 2 at fault. No gaps. First at fault: device=GPU-1"
    given.saw_audit(audit(0, NOW + 3))
    given.saw_audit(audit(1, NOW + 2))
    assert not found(given, "check_failed")
    given.saw_audit(audit(1, NOW + 4, severity="warning"))
    assert [condition.severity for condition in found(given, "check_failed")] == ["warning"]


def test_a_failed_audit_survives_a_restart() -> None:
    """The next worker does not hear of it again before the audit runs again: until then it holds, and is no news."""
    before, now = rules(), rules()
    before.saw_audit(audit(1))
    alerts = AlertBook([])
    already_open = alerts.update(before.conditions(NOW), NOW)
    for alert in already_open:
        now.saw_open(alert)
    alerts = AlertBook(already_open)
    assert alerts.update(now.conditions(NOW), NOW) == []
    now.saw_audit(audit(0, NOW - 1000))  # its clock may be behind that of the worker that fired
    assert [alert.state for alert in alerts.update(now.conditions(NOW), NOW)] == ["resolved"]
