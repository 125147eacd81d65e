"""Protects operators' trust: one matter is one alert, whatever a value does and in whatever order it is told."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from schemas.alert_rules import BY_ID, RULES, AlertRule
from schemas.economics import Alert
from schemas.texts import Text
from streams.alert_book import MOST, SETTLING_S, AlertBook
from streams.alert_conditions import Condition, Stake

NOW = 1_790_000_000_000
WORDS = Text("it happened", "c’est arrivé")


def condition(
    rule: str = "over_temperature", subject: str = "fir/n1", *, cluster: str = "fir", fires: bool = True
) -> Condition:
    """Something that holds."""
    return Condition(
        rule, subject, 90.0, 85.0, lambda: WORDS, fires, cluster=cluster, at_stake=Stake(10, "CAD"), evidence=["GPU-1"]
    )


def rule(*, for_s: float = 0.0, keep_s: float = 60.0) -> dict[str, AlertRule]:
    """The rules, with other times for one of them."""
    return {**BY_ID, "over_temperature": replace(BY_ID["over_temperature"], for_s=for_s, keep_s=keep_s)}


def told(changes: Iterable[Alert]) -> list[tuple[str, str, str]]:
    """State, rule and subject."""
    return [(alert.state, alert.rule, alert.subject) for alert in changes]


def test_an_alert_says_what_its_condition_says() -> None:
    """Whoever reads it needs no other source: words in both languages, place, money and the devices at fault."""
    (alert,) = AlertBook().update([condition()], NOW)
    assert (alert.state, alert.severity, alert.value, alert.threshold) == ("firing", "critical", 90.0, 85.0)
    assert (alert.summary, alert.summary_fr) == ("it happened", "c’est arrivé")
    assert (alert.cluster, alert.at_stake_nano_per_hour, alert.currency, alert.evidence) == (
        "fir",
        10,
        "CAD",
        ["GPU-1"],
    )
    assert (alert.ts_ms, alert.starts_at_ms, alert.ends_at_ms) == (NOW, NOW, None)
    assert alert.fingerprint == condition().fingerprint


def test_it_fires_once_and_ends_once() -> None:
    """The same condition again is no news; its end is, once it was not seen for as long as the rule says."""
    book = AlertBook(rules=rule(keep_s=60))
    (fired,) = book.update([condition()], NOW)
    assert book.update([condition()], NOW + 1000) == []
    assert book.update([], NOW + 60_999) == []
    (ended,) = book.update([], NOW + 61_000)
    assert (ended.state, ended.starts_at_ms, ended.ends_at_ms, ended.ts_ms) == (
        "resolved", fired.starts_at_ms, NOW + 1000, NOW + 61_000,
    )  # fmt: skip
    assert book.update([], NOW + 62_000) == []
    assert told(book.update([condition()], NOW + 63_000)) == [("firing", "over_temperature", "fir/n1")]


def test_a_condition_is_pending_until_it_has_held() -> None:
    """One that ends before was nothing, and the next one waits anew, also after an alert."""
    book = AlertBook(rules=rule(for_s=30, keep_s=0))
    assert book.update([condition()], NOW) == []
    assert book.update([], NOW + 10_000) == []
    assert book.update([condition()], NOW + 20_000) == []
    assert book.update([condition()], NOW + 49_999) == []
    assert len(book.update([condition()], NOW + 50_000)) == 1
    assert len(book.update([], NOW + 51_000)) == 1
    assert book.update([condition()], NOW + 52_000) == []


def test_hysteresis() -> None:
    """What is too little to begin an alert keeps one going, and keeps one that is pending."""
    book = AlertBook(rules=rule(for_s=10, keep_s=0))
    assert book.update([condition(fires=False)], NOW) == []
    assert book.update([condition()], NOW + 1000) == []
    assert book.update([condition(fires=False)], NOW + 5000) == []
    assert len(book.update([condition(fires=False)], NOW + 11_000)) == 1
    assert book.update([condition(fires=False)], NOW + 500_000) == []
    assert len(book.update([], NOW + 500_001)) == 1


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=120), st.integers(0, 5), st.integers(0, 30))
def test_a_value_that_swings_is_one_alert(swings: list[bool | None], for_s: int, keep_s: int) -> None:
    """Second by second it is beyond the threshold, between the two, or back: alerts and their ends alternate, and
    between an end and the last sight of its condition there are always `keep_s` seconds."""
    book = AlertBook(rules=rule(for_s=for_s, keep_s=keep_s))
    state, seen_ms = "resolved", 0
    for second, fires in enumerate(swings):
        now_ms = NOW + second * 1000
        holding = [] if fires is None else [condition(fires=fires)]
        changes = book.update(holding, now_ms)
        assert len(changes) <= 1
        for alert in changes:
            assert alert.state != state
            state = alert.state
            if state == "resolved":
                assert now_ms - seen_ms >= keep_s * 1000
        if holding:
            seen_ms = now_ms
        assert len(book.open) == (state == "firing")


SUBJECTS = st.sampled_from([f"fir/n{number}" for number in range(15)] + ["oak/n1", "oak/n2"])
RULES_OF_CLUSTERS = st.sampled_from(["over_temperature", "xid", "allocated_idle", "cluster_silent", "collector_silent"])
MATTERS = st.lists(st.tuples(RULES_OF_CLUSTERS, SUBJECTS), max_size=40)


@given(st.lists(st.tuples(MATTERS, st.integers(1, 100)), max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(steps: list[tuple[list[tuple[str, str]], int]], random: object) -> None:
    """The same conditions in another order, some of them twice, and the whole once more: the same changes; of one
    start at most one firing and one resolved; never more than MOST and one of a rule in a cluster."""
    here, there = AlertBook(), AlertBook()
    seen = set[tuple[str, int, str]]()
    now_ms = NOW
    for matters, seconds in steps:
        now_ms += seconds * 1000
        holding = [condition(rule, subject, cluster=subject.split("/")[0]) for rule, subject in matters]
        shuffled = holding + holding[::2]
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        changes = here.update(holding, now_ms)
        assert there.update(shuffled, now_ms) == changes
        assert there.update(shuffled, now_ms) == []
        for alert in changes:
            identity = (alert.fingerprint, alert.starts_at_ms, alert.state)
            assert identity not in seen
            seen.add(identity)
        counts: dict[tuple[str, str], int] = {}
        for alert in here.open:
            counts[alert.rule, alert.cluster] = counts.get((alert.rule, alert.cluster), 0) + 1
        assert max(counts.values(), default=0) <= MOST + 1


def test_no_storm() -> None:
    """Of 500 nodes that overheat at once ten are told, and one alert says how many more; when some cool down the
    others are not told one after the other."""
    book = AlertBook(rules=rule(keep_s=0))
    hot = [condition(subject=f"fir/n{number:03}") for number in range(500)]
    fired = book.update(hot, NOW)
    assert len(fired) == MOST + 1
    assert (fired[-1].subject, fired[-1].value, fired[-1].at_stake_nano_per_hour) == ("fir/*", 490, 4900)
    assert fired[-1].summary == "and 490 more on fir beside those that are told: Devices too hot"
    assert fired[-1].evidence[0] == "fir/n010"
    assert book.update(hot, NOW + 1000) == []
    assert len(book.update(hot[5:], NOW + 2000)) == 5
    assert book.update(hot[5:], NOW + 3000) == []
    assert len(book.update([], NOW + 4000)) == 6
    assert book.open == []


def test_agreements_are_told_each() -> None:
    """The bound is for what a cluster can do at once; every agreement's budget is somebody's."""
    budgets = [condition("budget_80", f"agreement-{number}", cluster="") for number in range(300)]
    assert len(AlertBook().update(budgets, NOW)) == 300


def test_a_larger_matter_hides_the_smaller() -> None:
    """While a cluster is silent what is open about its devices stays, nothing new is said of it, and others are told as
    ever."""
    book = AlertBook(rules=rule(keep_s=60))
    book.update([condition()], NOW)
    silent = condition("cluster_silent", "fir")
    changes = book.update([silent, condition("xid", "fir/n1"), condition("xid", "oak/n1", cluster="oak")], NOW + 1000)
    assert told(changes) == [("firing", "cluster_silent", "fir"), ("firing", "xid", "oak/n1")]
    assert told(book.update([silent], NOW + 600_000)) == [("resolved", "xid", "oak/n1")]
    back = book.update([condition("xid", "fir/n1")], NOW + 640_000)
    assert told(back) == [("resolved", "cluster_silent", "fir"), ("firing", "xid", "fir/n1")]
    assert told(book.update([], NOW + 700_000)) == [
        ("resolved", "over_temperature", "fir/n1"), ("resolved", "xid", "fir/n1"),
    ]  # fmt: skip


def test_a_budget_is_not_hidden_by_a_cluster() -> None:
    """Only what follows from the silence is."""
    for rule_ in RULES:
        assert not rule_.id.startswith(("budget", "burn")) or not rule_.hidden_by


def restored(book: AlertBook, now_ms: int) -> AlertBook:
    """The book of the next worker, which reads what was stored."""
    return AlertBook(book.open, now_ms)


def test_a_restarted_worker_neither_repeats_nor_forgets() -> None:
    """Open alerts are taken over; none ends before its subject had time to report, and then as ever."""
    first = AlertBook()
    first.update([condition()], NOW)
    book = restored(first, NOW + 60_000)
    assert book.update([], NOW + 61_000) == []
    assert book.update([condition()], NOW + 62_000) == []
    keep_ms = round(BY_ID["over_temperature"].keep_s * 1000)
    assert book.update([], NOW + 62_000 + keep_ms - 1) == []
    assert [alert.state for alert in book.update([], NOW + 62_000 + keep_ms)] == ["resolved"]
    book = restored(first, NOW + 60_000)
    assert book.update([], NOW + 60_000 + round(SETTLING_S * 1000) - 1) == []
    assert len(book.update([], NOW + 60_000 + max(keep_ms, round(SETTLING_S * 1000)))) == 1


def test_what_takes_long_to_see_is_given_that_long() -> None:
    """An idle device is seen to be idle ten minutes after the meter began: until then the alert goes on."""
    idle = condition("allocated_idle")._replace(threshold=600.0)
    first = AlertBook()
    first.update([idle], NOW)
    book = restored(first, NOW)
    assert book.update([], NOW + 629_000) == []
    assert len(book.update([], NOW + 631_000)) == 1


def test_two_that_fired_at_once_become_one() -> None:
    """Two workers may both have thought that it was theirs: the first alert goes on, the other is resolved."""
    first, second = AlertBook(), AlertBook()
    (one,), (other,) = first.update([condition()], NOW), second.update([condition()], NOW + 700)
    book = AlertBook([one, other], NOW + 5000)
    (ended,) = book.update([condition()], NOW + 5001)
    assert (ended.state, ended.starts_at_ms) == ("resolved", NOW + 700)
    assert book.open == [one]


def test_an_alert_of_a_rule_that_is_gone_ends() -> None:
    """An upgrade must not leave it open for ever."""
    (alert,) = AlertBook().update([condition()], NOW)
    book = AlertBook([alert.model_copy(update={"rule": "of an earlier version"})], NOW)
    assert [ended.state for ended in book.update([], NOW + 1)] == ["resolved"]
