"""The clock that samples are stamped with: the system's, made safe against steps.

The ledger tiles time, so a stamp that goes back makes duplicates of all samples until the old time is reached again,
and one that is an hour ahead poisons the hour. Both happen: a machine starts with a wrong clock and gets the right time
later, an administrator mistypes a date.

So time is read as the system's time of once plus what has elapsed since (on a clock that nobody sets and that goes on
while the machine sleeps; the small corrections of NTP reach both clocks and are no steps). A step is believed when it
has held for CONFIRM_S, or for as long as the time before it had: until then stamps go on by the old time, and a clock
that is set wrong and set right again within five minutes changes nothing at all. What is believed is followed:

- a step forward at once: one interval is longer by it, as after a silence;
- a step back of up to MAX_AHEAD_S by running at half speed until the system's time is reached: no stamp goes back,
  every sample counts, and what was counted too much before is counted too little now;
- a longer one at once: workers put samples so far ahead of their own clocks into quarantine, so that the ledger has not
  got there.

Each step, its confirmation or its end is reported, with its size.
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds."""

Report = Callable[[float, str, str], None]
"""(unix seconds, what happened: stepped, confirmed or undone, a sentence)."""

STEP_S = 0.02
"""Two readings of the system's clocks differ by less; NTP steps by 0.1 s and more."""
CONFIRM_S = 300.0
MAX_AHEAD_S = 300.0
"""Of a worker's clock; samples further ahead are quarantined."""
HALF_SPEED = 0.5


def since_boot() -> float:
    """Seconds on a clock that is never set and that counts sleep, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Call it for the time in unix seconds. `report` is told of steps."""

    def __init__(self, report: Report, wall: Clock = time.time, elapsed: Clock = since_boot) -> None:
        self._report = report
        self._wall = wall
        self._elapsed = elapsed
        self._held_since_s, self._offset_s = self._read()
        self._ahead_s = 0.0
        """How far the stamps were ahead of the believed time …"""
        self._ahead_at_s = 0.0
        """… at this moment of the elapsed time."""
        self._stepped: tuple[float, float] | None = None
        """(since, offset) of a step that is not believed yet."""

    def __call__(self) -> float:
        now_s, offset_s = self._read()
        if abs(offset_s - self._offset_s) < STEP_S:
            self._undo(now_s)
        else:
            self._follow(now_s, offset_s)
        return now_s + self._offset_s + self._ahead(now_s)

    def _read(self) -> tuple[float, float]:
        """The elapsed time, and the system's time less it: of a few readings the one that was interrupted least."""
        best: tuple[float, float, float] | None = None
        for _ in range(3):
            before_s, wall_s, after_s = self._elapsed(), self._wall(), self._elapsed()
            if best is None or after_s - before_s < best[0]:
                best = (after_s - before_s, after_s, wall_s - (before_s + after_s) / 2)
            if best[0] < STEP_S / 4:
                break
        assert best is not None
        return best[1], best[2]

    def _ahead(self, now_s: float) -> float:
        return max(0.0, self._ahead_s - HALF_SPEED * (now_s - self._ahead_at_s))

    def _undo(self, now_s: float) -> None:
        if self._stepped is not None:
            since_s, offset_s = self._stepped
            self._stepped = None
            self._tell(
                now_s,
                "undone",
                f"the step of {offset_s - self._offset_s:+.3f} s was undone after {now_s - since_s:.0f} s",
            )

    def _follow(self, now_s: float, offset_s: float) -> None:
        if self._stepped is None or abs(offset_s - self._stepped[1]) >= STEP_S:
            self._stepped = (now_s, offset_s)
            step_s = offset_s - self._offset_s
            self._tell(
                now_s, "stepped", f"the clock was set by {step_s:+.3f} s; samples keep the old time until that holds"
            )
        since_s, offset_s = self._stepped
        if now_s - since_s >= min(CONFIRM_S, since_s - self._held_since_s):
            self._believe(now_s, since_s, offset_s)

    def _believe(self, now_s: float, since_s: float, offset_s: float) -> None:
        step_s = offset_s - self._offset_s
        ahead_s = max(0.0, self._ahead(now_s) - step_s)
        self._ahead_s, self._ahead_at_s = (ahead_s if ahead_s <= MAX_AHEAD_S else 0.0), now_s
        self._offset_s, self._held_since_s, self._stepped = offset_s, since_s, None
        self._tell(now_s, "confirmed", f"the clock was set by {step_s:+.3f} s and that has held; samples follow")

    def _tell(self, now_s: float, what: str, detail: str) -> None:
        self._report(now_s + self._offset_s + self._ahead(now_s), what, detail)
