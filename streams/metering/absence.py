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
    """How long an absence is trusted, ms, after one more interval: one and a half of the longest of the latest.

    Forgotten by an eighth each time, so that two collectors which read the same targets a moment apart do not look like
    a pace of a moment. An absence makes it longer by a sixth only: it is no pace until it comes again and again.
    """
    usual = np.maximum(elapsed_ms + (elapsed_ms >> 1), patience_ms - (patience_ms >> 3))
    usual = np.maximum(usual, LEAST_PATIENCE_MS)
    absent = elapsed_ms > patience_ms
    return np.where(absent, patience_ms * 7 // 6, usual) if absent.any() else usual
