"""The clock of samples on clocks that are set by hand: no step goes unsaid, and none makes the stamps useless."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import CONFIRM_S, MAX_AHEAD_S, STEP_S, SteadyClock

HOUR_S = 3600.0
START_S = 1_800_000_000.0


class Clocks:
    """A machine's clocks, and what is made of them."""

    def __init__(self, since_boot_s: float = 1000.0) -> None:
        self.elapsed_s = since_boot_s
        self.wall_s = START_S
        self.reports: list[tuple[str, str]] = []
        self.steady = SteadyClock(
            lambda _, what, detail: self.reports.append((what, detail)), lambda: self.wall_s, lambda: self.elapsed_s
        )

    def run(self, seconds: float, every_s: float = 10.0) -> list[float]:
        """Time goes on, with a scrape now and then. Returns how far each stamp is ahead of the system's clock."""
        ahead = []
        for _ in range(round(seconds / every_s)):
            self.elapsed_s += every_s
            self.wall_s += every_s
            ahead.append(round(self.steady() - self.wall_s, 3))
        return ahead


def test_without_a_step_it_is_the_systems_clock() -> None:
    """To the microsecond, and nothing is said."""
    clocks = Clocks()
    assert set(clocks.run(2 * HOUR_S)) == {0.0}
    assert clocks.reports == []


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 7.0, -0.5])
def test_a_clock_set_wrong_and_right_again_changes_nothing(step_s: float) -> None:
    """A fault of less than five minutes: each stamp is the one that it would have been, and both steps are said."""
    clocks = Clocks()
    clocks.run(HOUR_S)
    clocks.wall_s += step_s
    assert set(clocks.run(CONFIRM_S - 20)) == {-step_s}
    clocks.wall_s -= step_s
    assert set(clocks.run(HOUR_S)) == {0.0}
    assert [what for what, _ in clocks.reports] == ["stepped", "undone"]
    assert f"set by {step_s:+.3f} s" in clocks.reports[0][1]
    assert f"the step of {step_s:+.3f} s was undone after {CONFIRM_S - 20:.0f} s" in clocks.reports[1][1]


def test_a_step_forward_that_holds_is_followed() -> None:
    """After five minutes the samples have the new time."""
    clocks = Clocks()
    clocks.run(HOUR_S)
    clocks.wall_s += HOUR_S
    ahead = clocks.run(HOUR_S)
    assert ahead[:30] == [-HOUR_S] * 30
    assert set(ahead[31:]) == {0.0}
    assert clocks.reports[-1] == ("confirmed", "the clock was set by +3600.000 s and that has held; samples follow")


def test_a_small_step_back_loses_no_sample() -> None:
    """Stamps go on at half speed until the system's time has come: each later than the one before."""
    clocks = Clocks()
    clocks.run(HOUR_S)
    clocks.wall_s -= 100.0
    ahead = clocks.run(CONFIRM_S)
    assert set(ahead) == {100.0}
    ahead = clocks.run(HOUR_S)
    assert ahead[:3] == [100.0, 95.0, 90.0]
    assert ahead[20:] == [0.0] * len(ahead[20:])


def test_a_large_step_back_is_followed_at_once_when_it_holds() -> None:
    """An hour ahead of the workers nothing was metered: going on from there would put hours into quarantine."""
    clocks = Clocks()
    clocks.run(HOUR_S)
    clocks.wall_s -= HOUR_S
    ahead = clocks.run(HOUR_S)
    assert ahead[:30] == [HOUR_S] * 30
    assert set(ahead[31:]) == {0.0}


def test_a_machine_that_starts_with_a_wrong_clock_gets_the_right_one_soon() -> None:
    """A time that was held for half a minute is given up for one that is held for half a minute."""
    clocks = Clocks()
    clocks.run(30.0)
    clocks.wall_s += HOUR_S
    ahead = clocks.run(120.0)
    assert ahead[:3] == [-HOUR_S] * 3
    assert set(ahead[5:]) == {0.0}


def test_sleep_is_no_step() -> None:
    """A laptop closed for the night: both clocks have gone on."""
    clocks = Clocks()
    clocks.run(HOUR_S)
    clocks.elapsed_s += 8 * HOUR_S
    clocks.wall_s += 8 * HOUR_S
    assert set(clocks.run(HOUR_S)) == {0.0}
    assert clocks.reports == []


def test_an_interrupted_reading_is_no_step() -> None:
    """The process was suspended between two readings of the clocks: they are read again."""
    elapsed_s = iter([0.0, 0.0, 0.0, 5.0, 5.0, 5.0])
    wall_s = iter([START_S, START_S + 5.0, START_S + 5.0])
    said: list[str] = []
    clock = SteadyClock(lambda _, what, detail: said.append(detail), lambda: next(wall_s), lambda: next(elapsed_s))
    assert clock() == START_S + 5.0
    assert said == []


STEPS = st.lists(st.tuples(st.floats(-7200, 7200), st.floats(1, 2000)), max_size=6)


@given(STEPS)
def test_stamps_never_go_back_but_over_a_large_step_and_find_the_system_in_the_end(
    steps: list[tuple[float, float]],
) -> None:
    """Whatever the clock is set to, and when."""
    clocks = Clocks()
    clocks.run(400.0)
    stamps = [clocks.steady()]
    for step_s, seconds in steps:
        clocks.wall_s += step_s
        for _ in range(round(seconds / 10)):
            clocks.run(10.0)
            stamps.append(clocks.steady())
    back = [after - before for before, after in pairwise(stamps) if after <= before]
    assert all(step_s < 10 - MAX_AHEAD_S for step_s in back)
    assert len(back) <= len(steps)
    clocks.run(CONFIRM_S + 2 * MAX_AHEAD_S + 20)
    assert abs(clocks.steady() - clocks.wall_s) < STEP_S
    assert len(clocks.reports) <= 2 * len(steps)
