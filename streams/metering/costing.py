"""Cost of many ledger rows at once, rounded as exact rational arithmetic would.

The cost of a row is ``gpu_ns * per_gpu_ns + energy_mj * per_mj`` nano-units of its currency, both rates exact
fractions, rounded half-even. Fractions per row would cost more than everything else in the worker, so this works like
the adaptive predicates of computational geometry (Shewchuk 1997): a floating-point estimate decides wherever its
proven error cannot reach a rounding boundary, and the few rows near one (about two in a million) are computed with
fractions. The result is the exact one in every row.
"""

from fractions import Fraction

import numpy as np

from streams.metering.intervals import Int

# Three correctly rounded operations, each off by at most 2**-53 of its result; 2**-50 leaves a factor of two to spare.
_RELATIVE_ERROR = 2.0**-50


def cost_nano(gpu_ns: Int, energy_mj: Int, per_gpu_ns: Fraction, per_mj: Fraction) -> Int:
    """Costs in nano-units. gpu_ns and energy_mj are non-negative and below 2**53, rates non-negative."""
    estimate = gpu_ns * float(per_gpu_ns) + energy_mj * float(per_mj)
    nearest = np.rint(estimate)
    cost = nearest.astype(np.int64)
    distance = 0.5 - np.abs(estimate - nearest)
    for row in np.flatnonzero(distance <= estimate * _RELATIVE_ERROR):
        cost[row] = round(int(gpu_ns[row]) * per_gpu_ns + int(energy_mj[row]) * per_mj)
    return cost
