"""The energy counter is the integral of the power that the device shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulator.catalogue import A100, H100, MI300X
from collectors.simulator.devices import Devices

ALL = slice(0, 3)


def devices() -> Devices:
    return Devices([A100, H100, MI300X], np.random.default_rng(1))


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_energy_is_conserved(loads: list[float]) -> None:
    """Integrating the shown power finely gives the counter's difference: nothing is made up or lost between steps."""
    fleet = devices()
    total = np.zeros(3)
    for load in loads:
        fleet.aim(np.full(3, load))
        moments = np.linspace(0, 0.25, 41)
        powers = np.array([fleet.power_at(ALL, float(moment)) for moment in moments])
        total += np.trapezoid(powers, moments, axis=0)
        fleet.step(0.25)
    assert fleet.energy_j == pytest.approx(total, rel=1e-5)


def test_power_lags_and_stays_between_idle_and_limit() -> None:
    """Power approaches its target without a jump, and never leaves the board's range."""
    fleet = devices()
    fleet.aim(np.full(3, 2.0))
    before = fleet.power_w.copy()
    fleet.step(0.25)
    assert np.all(fleet.power_w > before)
    assert np.all(fleet.power_w < 0.5 * fleet.limit_w)
    for _ in range(100):
        fleet.step(0.25)
    assert fleet.power_w == pytest.approx(fleet.limit_w, rel=1e-3)
    assert np.all(fleet.heat_c < 85)


def test_reading_between_steps_agrees_with_the_next_step() -> None:
    """A page made at any moment continues into the next step: the counter never goes back."""
    fleet = devices()
    fleet.aim(np.array([0.2, 0.9, 0.5]))
    early, late = fleet.energy_at(ALL, 0.1), fleet.energy_at(ALL, 0.2499999)
    fleet.step(0.25)
    assert np.all(early < late)
    assert fleet.energy_j == pytest.approx(late, abs=1e-3)


def test_driver_reload_restarts_one_part_only() -> None:
    """The counter restarts at zero; what was consumed in truth does not."""
    fleet = devices()
    fleet.step(10.0)
    life = fleet.energy_j.copy()
    fleet.reload_driver(slice(0, 2))
    counters = fleet.energy_j - fleet.counter_zero_j
    assert counters[:2].tolist() == [0.0, 0.0]
    assert counters[2] > 1e5
    assert np.array_equal(fleet.energy_j, life)
