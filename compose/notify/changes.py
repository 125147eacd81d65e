"""Which changes of alerts are news. Pure.

The topic tells a change at least once: again after a restart of a worker, and the whole topic is read again whenever
reading begins. Changes are told apart by fingerprint, start and state.
"""

from collections.abc import Iterable
from typing import NamedTuple

from schemas.economics import Alert

FIRING = "firing"
RESOLVED = "resolved"
KEPT_MS = 30 * 86_400_000
"""Changes are remembered for this long, and the last one of each alert for ever."""


class Change(NamedTuple):
    """What tells one change from all others."""

    fingerprint: str
    starts_at_ms: int
    state: str

    @classmethod
    def of(cls, alert: Alert) -> "Change":
        """The change that a message tells of."""
        return cls(alert.fingerprint, alert.starts_at_ms, alert.state)

    @property
    def key(self) -> str:
        """The same in one word, for receivers that drop repetitions."""
        return f"{self.fingerprint}-{self.starts_at_ms}-{self.state}"


class Seen:
    """The changes that were told of. `known` are changes with the moment (unix ms) at which each was published."""

    def __init__(self, known: Iterable[tuple[Change, int]] = ()) -> None:
        self._changes: set[Change] = set()
        self._newest_ms: dict[str, int] = {}
        for change, ts_ms in known:
            self._add(change, ts_ms)

    def is_news(self, alert: Alert, now_ms: int) -> bool:
        """Whether nobody has told of it; nor of its end, nor (weeks ago) of what came after it."""
        change = Change.of(alert)
        if change in self._changes or change._replace(state=RESOLVED) in self._changes:
            return False
        forgotten = alert.ts_ms < now_ms - KEPT_MS and alert.ts_ms < self._newest_ms.get(alert.fingerprint, 0)
        return not forgotten

    def knows_beginning(self, alert: Alert) -> bool:
        """Whether it was told of that this alert fires."""
        return Change.of(alert)._replace(state=FIRING) in self._changes

    def add(self, alert: Alert) -> None:
        """It was told of."""
        self._add(Change.of(alert), alert.ts_ms)

    def _add(self, change: Change, ts_ms: int) -> None:
        self._changes.add(change)
        self._newest_ms[change.fingerprint] = max(ts_ms, self._newest_ms.get(change.fingerprint, 0))
