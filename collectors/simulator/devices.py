"""Power, energy and heat of every GPU of the fabric, as arrays.

The power of a GPU follows its load with a first-order lag: dP/dt = (target - P) / TAU. Between two steps the target is
constant, so power and energy at any moment are exact: the energy counter is the integral of the power shown.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from collectors.simulator.catalogue import Gpu

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

POWER_LAG_S = 1.5
HEAT_LAG_S = 25.0
_ROOM_C, _RISE_C = 27.0, 44.0  # idle air or liquid, and the rise at the power limit


class Devices:
    """All GPUs. Powers in W, energies in J; `energy_j` is the whole life's and never restarts."""

    def __init__(self, products: Sequence[Gpu], random: np.random.Generator) -> None:
        count = len(products)
        self.idle_w = np.array([gpu.idle_w for gpu in products]) * random.uniform(0.95, 1.05, count)
        self.limit_w = np.array([gpu.limit_w for gpu in products])
        self.power_w = self.idle_w.copy()
        self.target_w = self.idle_w.copy()
        self.energy_j = np.zeros(count)
        self.counter_zero_j = -random.uniform(4e5, 6e7, count)
        """Where the counter started: what the GPU drew since its driver was loaded, before the simulation began."""
        self.heat_c = np.full(count, _ROOM_C + 3.0)

    def aim(self, intensity: Floats) -> None:
        """Set the load (0..1 of the way from idle to the limit) until the next step."""
        self.target_w = self.idle_w + (self.limit_w - self.idle_w) * np.minimum(intensity, 1.0)

    def settle(self) -> None:
        """Start in the steady state of the present load instead of from idle."""
        self.power_w = self.target_w.copy()
        self.heat_c = self._steady_c()

    def step(self, seconds: float) -> None:
        """Let time pass under the present targets."""
        self.energy_j += self._gained(slice(None), seconds)
        self.power_w = self._power(slice(None), seconds)
        self.heat_c += (self._steady_c() - self.heat_c) * -np.expm1(-seconds / HEAT_LAG_S)

    def power_at(self, part: slice, seconds: float) -> Floats:
        """Power, W, so many seconds after the last step."""
        return self._power(part, seconds)

    def energy_at(self, part: slice, seconds: float) -> Floats:
        """Energy since the simulation began, J, so many seconds after the last step."""
        return self.energy_j[part] + self._gained(part, seconds)

    def reload_driver(self, part: slice) -> None:
        """The energy counters restart at zero, as on a driver reload."""
        self.counter_zero_j[part] = self.energy_j[part]

    def _power(self, part: slice, seconds: float) -> Floats:
        target = self.target_w[part]
        power: Floats = target + (self.power_w[part] - target) * np.exp(-seconds / POWER_LAG_S)
        return power

    def _gained(self, part: slice, seconds: float) -> Floats:
        target = self.target_w[part]
        lag = (self.power_w[part] - target) * POWER_LAG_S * -np.expm1(-seconds / POWER_LAG_S)
        gained: Floats = target * seconds + lag
        return gained

    def _steady_c(self) -> Floats:
        steady: Floats = _ROOM_C + _RISE_C * self.power_w / self.limit_w
        return steady
