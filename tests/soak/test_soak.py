"""A short soak, and that a soak would notice."""

import itertools
from pathlib import Path

import pytest

from tests.soak import plan as plans
from tests.soak.plan import EMBEDDED, KINDS, LANES, Plan, make
from tests.soak.run import soak
from tests.soak.verdict import Table, compare

SEED = 1
SECONDS = 16.0


async def test_faults_of_every_kind_change_nothing(tmp_path: Path) -> None:
    """On the embedded broker, which alone is left in peace: sixteen kinds of faults in as many seconds."""
    plan = make(SEED, SECONDS, EMBEDDED)
    outcome = await soak(plan, tmp_path, lambda _: None)
    assert outcome.wrong() == []
    assert (outcome.lost, outcome.doubled, outcome.changed) == (0, 0, 0)
    assert outcome.rows > 1000
    assert outcome.caused.total() >= 10
    assert len(outcome.caused) >= 6
    assert outcome.log.sent == plan.ticks * 6
    assert outcome.longest is not None


@pytest.mark.parametrize("brokers", ["embedded", "1", "3"])
def test_a_plan_is_drawn_from_its_seed(brokers: str) -> None:
    """The same seed draws the same plan, which has every kind of fault that the brokers bear, and can be read again."""
    plan = make(7, 600, brokers)
    assert plan == make(7, 600, brokers) != make(8, 600, brokers)
    assert Plan.parse(plan.text()) == plan
    borne = {kind.name for lane in LANES for kind in lane.kinds if brokers != EMBEDDED or not lane.real_kafka}
    assert {fault.kind for fault in plan.faults} == borne
    assert len(plan.faults) >= 40
    assert all(fault.at_s >= 0 and fault.at_s + fault.for_s < plan.seconds for fault in plan.faults)


def test_faults_of_a_lane_come_one_after_the_other() -> None:
    """So at most one broker is down, and never more workers join or leave than there are."""
    for seed in range(20):
        plan = make(seed, 600, "3")
        for lane in LANES:
            own = [fault for fault in plan.faults if KINDS[fault.kind] in lane.kinds]
            for before, after in itertools.pairwise(own):
                assert before.at_s + before.for_s <= after.at_s
        workers = plans.WORKERS
        for fault in plan.faults:
            workers += (fault.kind == "add_worker") - (fault.kind == "remove_worker")
            assert 1 <= workers <= plans.MOST_WORKERS


def test_a_wrong_plan_is_refused() -> None:
    """With what is wrong about it."""
    text = make(1, 60, EMBEDDED).text()
    with pytest.raises(ValueError, match="no fault is called 'flood'"):
        Plan.parse(text.replace("kill_worker", "flood"))
    with pytest.raises(ValueError, match="too short"):
        make(1, 5, EMBEDDED)


def test_what_is_lost_doubled_or_changed_is_found() -> None:
    """Row by row, by the columns that name a row."""
    columns = ("agreement", "accrued")
    expected = {"spent": Table(columns, [("acme", 1), ("lab", 2), ("uni", 3)])}
    found = {"spent": Table(columns, [("acme", 1), ("acme", 1), ("lab", 5), ("other", 9)])}
    (difference,) = compare(expected, found)
    assert difference.lost == [("uni", 3)]
    assert difference.doubled == [("acme", 1), ("other", 9)]
    assert difference.changed == [(("lab", 2), ("lab", 5))]
    (same,) = compare(expected, expected)
    assert same.same
