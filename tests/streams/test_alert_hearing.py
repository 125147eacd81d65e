"""Protects what is said of who is heard: silence, late data, clocks and devices, each matter once."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from schemas.alert_rules import BY_ID
from schemas.config import Config
from schemas.topics import Defect
from schemas.usage import DeviceCondition, Heard, ShardHeard
from streams.alert_book import AlertBook
from streams.alert_conditions import Condition, Stake
from streams.alert_hearing import FORGOTTEN_S, OUTDATED_S, STEP_S, TARGET_FORGOTTEN_S, Hearing
from streams.alerting import Rules
from tests.streams.economy import config

NOW = 1_790_000_100_000
S = 1000
DCGM = {"kind": "dcgm-exporter", "urls": ["http://127.0.0.1:1/metrics"]}


def settings(**changes: Any) -> Config:
    """One cluster, scraped every ten seconds, with the usual thresholds."""
    cluster = [{"id": "fir", "country": "CA", "target": [DCGM]}]
    return config(**{"cluster": cluster, "deployment": [], "agreement": [], **changes})


def hearing(**changes: Any) -> Hearing:
    """Began now. Every device costs one dollar per hour, the cluster 500."""
    return Hearing(
        settings(**changes), NOW, lambda _, gpus: Stake(round(gpus * 10**9), "CAD"), lambda _: Stake(500, "CAD")
    )


def heard(
    at_ms: int, shard: str = "fir/c1/0", *, boot: str = "b1", since_ms: int = NOW, delay_s: float | None = 1,
    defects: Sequence[Defect] = (), conditions: Sequence[DeviceCondition] = (),
) -> Heard:  # fmt: skip
    """A message of a shard, with samples so old (None: without any)."""
    one = ShardHeard(
        shard=shard, boot=boot, since_ms=since_ms, heard_ms=at_ms,
        ts_ms=None if delay_s is None else at_ms - round(1000 * delay_s), defects=list(defects),
        conditions=None if delay_s is None else list(conditions),
    )  # fmt: skip
    return Heard(cluster=shard.split("/")[0], shards=[one])


def found(given: Hearing, rule: str, now_ms: int) -> list[Condition]:
    """Conditions of a rule that fire."""
    return [condition for condition in given.conditions(now_ms) if condition.fires and condition.rule == rule]


def subjects(given: Hearing, rule: str, now_ms: int) -> list[str]:
    """What they are about."""
    return sorted(condition.subject for condition in found(given, rule, now_ms))


# ---- clusters --------------------------------------------------------------------------------------------------------


def test_a_silent_cluster() -> None:
    """Silence is measured from the last samples, or from the start of the watch; a message without any is silence."""
    given = hearing()
    assert not found(given, "cluster_silent", NOW + 90 * S)
    assert found(given, "cluster_silent", NOW + 91 * S)
    given.saw(heard(NOW + 60 * S))
    given.saw(heard(NOW + 120 * S, delay_s=None))
    assert not found(given, "cluster_silent", NOW + 150 * S)
    (condition,) = found(given, "cluster_silent", NOW + 151 * S)
    assert (condition.subject, condition.cluster, condition.at_stake) == ("fir", "fir", Stake(500, "CAD"))
    assert condition.words().en == "nothing was metered of fir for 91 s"
    assert condition.words().fr == "rien n’a été mesuré de fir depuis 91 s"


def test_a_slow_cluster_is_given_time() -> None:
    """Scraped every minute, it is not silent before three of them."""
    target = {**DCGM, "interval": "1m"}
    given = hearing(cluster=[{"id": "fir", "country": "CA", "target": [target]}])
    assert not found(given, "cluster_silent", NOW + 180 * S)
    assert found(given, "cluster_silent", NOW + 181 * S)


def test_a_cluster_without_targets_is_not_expected() -> None:
    """Nobody collects from it here, and it may send nothing."""
    given = hearing(cluster=[{"id": "fir", "country": "CA"}])
    assert not found(given, "cluster_silent", NOW + 9000 * S)


def test_a_cluster_that_was_silent_stays_so_over_a_restart() -> None:
    """The next worker does not call it back to life, and hears it as soon as it speaks."""
    given = hearing()
    given.was_silent("fir")
    assert found(given, "cluster_silent", NOW + 1)
    given.saw(heard(NOW + 2))
    assert not found(given, "cluster_silent", NOW + 3)


def test_what_held_the_worker_up_is_no_silence() -> None:
    """ClickHouse was away for five minutes: nobody could be heard."""
    given = hearing()
    given.saw(heard(NOW))
    given.waited(NOW + 300 * S)
    assert list(given.conditions(NOW + 301 * S)) == []
    assert found(given, "cluster_silent", NOW + 391 * S)


# ---- collectors ------------------------------------------------------------------------------------------------------


def test_a_silent_collector() -> None:
    """One of two says nothing; when both do it is the cluster."""
    given = hearing()
    given.saw(heard(NOW))
    for second in range(0, 200, 10):
        given.saw(heard(NOW + second * S, "fir/c2/0"))
    assert subjects(given, "collector_silent", NOW + 90 * S) == []
    (condition,) = found(given, "collector_silent", NOW + 191 * S)
    assert (condition.subject, condition.cluster, condition.evidence) == ("fir/c1", "fir", ["fir/c1/0"])
    assert condition.words().en == ("collector fir/c1 said nothing for 3 min, while others of the cluster are heard")
    assert subjects(given, "collector_silent", NOW + 400 * S) == []
    assert subjects(given, "cluster_silent", NOW + 400 * S) == ["fir"]


def test_a_message_without_samples_is_a_sign_of_life() -> None:
    """Its exporters may be dead; the collector is not."""
    given = hearing()
    for second in range(0, 200, 10):
        given.saw(heard(NOW + second * S, "fir/c2/0"))
        given.saw(heard(NOW + second * S, delay_s=None))
    assert subjects(given, "collector_silent", NOW + 191 * S) == []


def test_a_shard_that_is_stuck() -> None:
    """The same run of the collector sends its other shard."""
    given = hearing()
    given.saw(heard(NOW, "fir/c1/1"))
    for second in range(0, 200, 10):
        given.saw(heard(NOW + second * S))
    (condition,) = found(given, "collector_silent", NOW + 191 * S)
    assert condition.words().en == "collector fir/c1 is heard, but 1 of its shards said nothing for 3 min"


def test_a_collector_that_came_back_with_fewer_shards_is_whole() -> None:
    """Another run, of another configuration: nobody misses what it does not send."""
    given = hearing()
    given.saw(heard(NOW, "fir/c1/1", boot="b1"))
    for second in range(0, 200, 10):
        given.saw(heard(NOW + second * S, boot="b2"))
    assert subjects(given, "collector_silent", NOW + 191 * S) == []


def test_a_collector_that_was_silent_stays_so_over_a_restart() -> None:
    """By the book it sent something once; the next worker hears the other one, and waits no ninety seconds."""
    given = hearing()
    for collector in ("c1", "c2"):
        given.began(f"fir/{collector}/0", "b1", NOW, NOW - 3600 * S)
    given.collector_was_silent("fir/c1")
    given.saw(heard(NOW + 5 * S, "fir/c2/0"))
    assert subjects(given, "collector_silent", NOW + 6 * S) == ["fir/c1"]
    given.saw(heard(NOW + 7 * S))
    assert subjects(given, "collector_silent", NOW + 8 * S) == []


def test_a_collector_that_is_gone_is_forgotten() -> None:
    """After a day nobody expects it back."""
    given = hearing()
    given.saw(heard(NOW))
    later = NOW + round(FORGOTTEN_S) * S
    given.saw(heard(later, "fir/c2/0"))
    assert subjects(given, "collector_silent", later) == ["fir/c1"]
    assert subjects(given, "collector_silent", later + 1) == []


# ---- exporters -------------------------------------------------------------------------------------------------------


def down(at_ms: int, number: int = 1, kind: str = "target_down") -> Defect:
    """What a collector says of an exporter."""
    return Defect(ts_ms=at_ms, source=f"dcgm-exporter http://n{number}:9400/metrics", kind=kind, detail="refused")


def test_an_exporter_that_does_not_answer() -> None:
    """From the first refusal until it answers; what comes late or twice changes nothing."""
    given = hearing()
    given.saw(heard(NOW, defects=[down(NOW)]))
    (condition,) = found(given, "exporter_silent", NOW + 5 * S)
    assert condition.subject == "fir/dcgm-exporter http://n1:9400/metrics"
    assert condition.words().en == "dcgm-exporter http://n1:9400/metrics does not answer its collector: refused"
    assert condition.words().fr.endswith("ne répond pas à son collecteur : refused")
    given.saw(heard(NOW + 10 * S, defects=[down(NOW + 10 * S, kind="target_up")]))
    assert not found(given, "exporter_silent", NOW + 11 * S)
    given.saw(heard(NOW, defects=[down(NOW)]))
    assert not found(given, "exporter_silent", NOW + 12 * S)


def test_an_exporter_that_is_no_longer_spoken_of_is_forgotten() -> None:
    """It was taken out of the configuration: no collector repeats what is wrong with it."""
    given = hearing()
    given.saw(heard(NOW, defects=[down(NOW)]))
    repeated = Defect(ts_ms=NOW + 600 * S, source=down(NOW).source, kind="refused")
    given.saw(heard(NOW + 600 * S, defects=[repeated]))
    last = NOW + 600 * S + round(TARGET_FORGOTTEN_S) * S
    given.saw(heard(last))
    assert found(given, "exporter_silent", last)
    given.saw(heard(last + 1))
    assert not found(given, "exporter_silent", last + 1)


def test_exporters_that_were_down_are_known_after_a_restart() -> None:
    """From the book: a collector says only once that one went down."""
    given = hearing()
    given.told("fir", down(NOW - 3600 * S), NOW - 300 * S)
    given.saw(heard(NOW + 1))
    assert len(found(given, "exporter_silent", NOW + 2)) == 1


def test_a_silent_cluster_of_1000_devices_and_50_exporters_is_one_alert() -> None:
    """With the usual times, second by second for fifteen minutes: exporters fail one after the other within twenty
    seconds, the collector says so, then everything comes back. One alert, and one end of it."""
    rules, book = Rules(settings(), NOW), AlertBook()
    changes = []
    for second in range(900):
        now_ms = NOW + second * S
        away = 120 <= second < 600
        if second % 10 == 0:
            gone = [down(now_ms, number) for number in range(50) if second == 120 + number % 3 * 10]
            back = [down(now_ms, number, "target_up") for number in range(50) if second == 600 + number % 3 * 10]
            hot = DeviceCondition(
                kind="hot", node="n1", agreement="", devices=8, gpus=8, value=90, evidence=["GPU-1: 90 °C"]
            )
            rules.saw(heard(now_ms, delay_s=None if away else 1, defects=gone + back, conditions=[hot] if away else []))
        changes += book.update(rules.conditions(now_ms), now_ms)
    assert [(alert.rule, alert.subject, alert.state) for alert in changes] == [
        ("cluster_silent", "fir", "firing"), ("cluster_silent", "fir", "resolved"),
    ]  # fmt: skip
    assert changes[0].starts_at_ms == NOW + (110 + 90 + 1) * S


def test_some_exporters_are_told_one_by_one() -> None:
    """The others go on: each that fails is an alert of its own, after half a minute, until it is back."""
    rules, book = Rules(settings(), NOW), AlertBook()
    changes = []
    for second in range(300):
        now_ms = NOW + second * S
        if second % 10 == 0:
            kinds = {100: "target_down", 200: "target_up"}
            rules.saw(
                heard(now_ms, defects=[down(now_ms, number, kinds[second]) for number in (1, 2) if second in kinds])
            )
        changes += book.update(rules.conditions(now_ms), now_ms)
    assert [(alert.rule, alert.state, (alert.ts_ms - NOW) // S) for alert in changes] == [
        ("exporter_silent", "firing", 130), ("exporter_silent", "firing", 130),
        ("exporter_silent", "resolved", 229), ("exporter_silent", "resolved", 229),
    ]  # fmt: skip


# ---- clocks and delay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delay_s", "state"), [(1, None), (31, False), (60, False), (61, True)])
def test_late_data(delay_s: float, state: bool | None) -> None:
    """Data come, and late; an alert goes on until the delay is half of what it was."""
    given = hearing()
    given.saw(heard(NOW, delay_s=delay_s))
    assert [condition.fires for condition in given.conditions(NOW)] == ([] if state is None else [state])


def test_late_data_in_words() -> None:
    """With the shards that are late. Once nothing comes any more it is another matter."""
    given = hearing()
    given.saw(heard(NOW, delay_s=300))
    (condition,) = found(given, "lag", NOW)
    assert condition.words().en == "usage of fir arrives 5 min after it was measured"
    assert condition.evidence == ["fir/c1/0: 300 s"]
    assert not found(given, "lag", NOW + 91 * S)


@pytest.mark.parametrize(("ahead_s", "state"), [(4, None), (4.5, False), (6, True)])
def test_a_clock_that_is_ahead(ahead_s: float, state: bool | None) -> None:
    """Samples from the future."""
    given = hearing()
    given.saw(heard(NOW, delay_s=-ahead_s))
    assert [condition.fires for condition in given.conditions(NOW)] == ([] if state is None else [state])


def test_a_clock_that_was_set() -> None:
    """The collector reports a step: told for ten minutes, unless it is undone or small."""

    def step(at_ms: int, subject: str, seconds: float) -> Defect:
        detail = f"the clock was set by {seconds:+.3f} s; samples keep the old time until that holds"
        return Defect(ts_ms=at_ms, source="collector c1", kind="clock_step", subject=subject, detail=detail)

    given = hearing()
    given.saw(heard(NOW, defects=[step(NOW, "stepped", -3600)]))
    (condition,) = found(given, "clock_skew", NOW + 1)
    assert (condition.subject, condition.value) == ("fir/c1", 3600)
    last = NOW + round(STEP_S) * S
    given.saw(heard(last))
    assert found(given, "clock_skew", last)
    assert not found(given, "clock_skew", last + 1)
    given.saw(heard(last, defects=[step(last, "stepped", 7200)]))
    given.saw(heard(last + 1, defects=[step(last + 1, "undone", 7200)]))
    assert not found(given, "clock_skew", last + 2)
    given.saw(heard(last + 3, defects=[step(last + 3, "stepped", 0.5)]))
    assert not found(given, "clock_skew", last + 4)


# ---- devices ---------------------------------------------------------------------------------------------------------


def device(kind: str, value: float, node: str = "n1", agreement: str = "", count: int = 1) -> DeviceCondition:
    """Devices of a node or agreement, as a meter saw them."""
    return DeviceCondition(
        kind=kind, node="" if agreement else node, agreement=agreement, devices=count, gpus=count / 2, value=value,
        evidence=[f"GPU-{number}: {value:g}" for number in range(count)],
    )  # fmt: skip


def test_devices_in_trouble_are_one_alert_per_node_or_tenant() -> None:
    """A rack that overheats must not be a storm; the shards of an agreement are added up."""
    given = hearing()
    given.saw(heard(NOW, conditions=[device("hot", 97, count=8), device("idle", 900, agreement="lab", count=4)]))
    given.saw(
        heard(NOW, "fir/c1/1", conditions=[device("xid", 79, "n2"), device("idle", 1200, agreement="lab", count=2)])
    )
    told = {condition.rule: condition for condition in given.conditions(NOW)}
    assert {rule: (condition.subject, condition.value) for rule, condition in told.items()} == {
        "over_temperature": ("fir/n1", 97),
        "allocated_idle": ("fir/lab", 1200),
        "xid": ("fir/n2", 79),
    }
    assert told["allocated_idle"].agreement == "lab"
    assert told["allocated_idle"].at_stake == Stake(3 * 10**9, "CAD")
    assert len(told["allocated_idle"].evidence) == 5
    assert told["allocated_idle"].words().en == "6 devices of fir/lab are held but idle, the longest for 20 min"
    assert told["allocated_idle"].words().fr == (
        "6 appareils de fir/lab sont réservés sans rien faire, depuis 20 min au plus"
    )
    assert told["over_temperature"].words().en == "8 devices on fir/n1 are above 85 °C, the hottest at 97 °C"
    assert told["xid"].words().fr == "1 appareil sur fir/n2 signale XID 79"
    given.saw(heard(NOW + 1))
    given.saw(heard(NOW + 1, "fir/c1/1"))
    assert list(given.conditions(NOW + 1)) == []


def test_a_device_that_cools_down() -> None:
    """Below the threshold an alert goes on, until it is well below."""
    given = hearing()
    given.saw(heard(NOW, conditions=[device("hot", 84)]))
    (condition,) = given.conditions(NOW)
    assert (condition.fires, condition.value) == (False, 84)


def test_frozen_counters() -> None:
    """Their energy is missing from the book."""
    given = hearing()
    given.saw(heard(NOW, conditions=[device("frozen", 300, count=2)]))
    (condition,) = given.conditions(NOW)
    assert (condition.rule, condition.threshold) == ("counter_frozen", 300)
    assert condition.words().en == (
        "2 devices on fir/n1 draw power with their energy counters frozen, the longest for 5 min"
    )


def test_what_a_silent_shard_said_is_outdated() -> None:
    """After a quarter of an hour nobody knows whether the node is still hot."""
    given = hearing()
    given.saw(heard(NOW, conditions=[device("hot", 97)]))
    assert found(given, "over_temperature", NOW + round(OUTDATED_S) * S)
    assert not found(given, "over_temperature", NOW + round(OUTDATED_S) * S + 1)


def test_a_meter_that_begins_anew_does_not_end_what_takes_long_to_see() -> None:
    """Idle for an hour, then another worker takes over: it would need ten minutes to see the same. Heat it sees at
    once."""
    given = hearing()
    given.saw(heard(NOW, conditions=[device("hot", 97), device("idle", 3600, agreement="lab")]))
    since_ms = NOW + 10 * S
    given.saw(heard(since_ms, since_ms=since_ms))
    assert [condition.rule for condition in given.conditions(since_ms)] == ["allocated_idle"]
    given.saw(heard(since_ms + 629 * S, since_ms=since_ms))
    assert len(found(given, "allocated_idle", since_ms + 629 * S)) == 1
    given.saw(heard(since_ms + 630 * S, since_ms=since_ms))
    assert not found(given, "allocated_idle", since_ms + 630 * S)
    again = heard(since_ms + 640 * S, since_ms=since_ms, conditions=[device("idle", 630, agreement="lab")])
    given.saw(again)
    given.saw(heard(since_ms + 650 * S, since_ms=since_ms))
    assert not found(given, "allocated_idle", since_ms + 650 * S)


def test_hysteresis_of_the_meters_is_that_of_the_rule() -> None:
    """The meter reports devices down to where the alert clears."""
    assert BY_ID["over_temperature"].clears_at < 1


# ---- order -----------------------------------------------------------------------------------------------------------

MESSAGES = st.builds(
    lambda second, shard, delay_s, hot, fails: heard(
        NOW + second * S, f"fir/c{shard}/0", delay_s=delay_s, conditions=[device("hot", 80 + hot)],
        defects=[down(NOW + second * S, shard, "target_down" if fails else "target_up")],
    ),
    st.integers(0, 300), st.integers(1, 3), st.sampled_from([None, 1, 100, -20]), st.integers(0, 20), st.booleans(),
)  # fmt: skip


@examples(
    st.lists(MESSAGES, max_size=12, unique_by=lambda one: (one.shards[0].heard_ms, one.shards[0].shard)),
    st.randoms(use_true_random=False),
)
def test_repetition_changes_nothing(messages: list[Heard], random: Any) -> None:
    """Messages in the order of time; the same with old ones repeated in between: the same conditions."""
    messages = sorted(messages, key=lambda one: one.shards[0].heard_ms)
    once, often = hearing(), hearing()
    for number, message in enumerate(messages):
        once.saw(message)
        often.saw(message)
        for _ in range(2):
            often.saw(random.choice(messages[: number + 1]))

    def seen(given: Hearing) -> list[tuple[str, str, float, bool]]:
        return sorted((c.rule, c.subject, c.value, c.fires) for c in given.conditions(NOW + 310 * S))

    assert seen(often) == seen(once)
