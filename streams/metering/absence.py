"""When a chain may have gone on elsewhere: its device or server has missed a tick of its own.

A device is metered by one worker at a time, but it can move: a collector's configuration changes, or a standby takes
over under another name, and with the name the shard, the partition and the worker change. Whoever gets the device back
must not go on from what it remembers. Nobody can leave and come back between two ticks, so memory is trusted as long as
a device comes at its own pace; after an absence of more than one and a half of its ticks the book is asked again.
"""

import numpy as np

from streams.metering.intervals import Int

FIRST_PATIENCE_MS = 15_000  # one and a half of the scrape interval of a target that the configuration leaves open
LEAST_PATIENCE_MS = 4_500  # no collector takes over and gives back within less; spares uneven scrapes of every second


def next_patience(elapsed_ms: Int, patience_ms: Int) -> Int:
    """How long an absence is trusted, ms, after one more interval: one and a half of it.

    An interval of less than half of what was expected hardly changes anything: two collectors that read the same
    targets a moment apart make no pace of a moment. Nor does an absence, until it comes again and again.
    """
    usual = np.where(elapsed_ms + elapsed_ms < patience_ms, patience_ms - (patience_ms >> 4), elapsed_ms * 3 >> 1)
    usual = np.maximum(usual, LEAST_PATIENCE_MS)
    absent = elapsed_ms > patience_ms
    return np.where(absent, patience_ms * 7 // 6, usual) if absent.any() else usual
