"""What a soak found."""

from collections import Counter
from dataclasses import dataclass, field

from compose.audit import CheckResult
from tests.soak.keeper import Ended
from tests.soak.plan import Plan
from tests.soak.verdict import Difference, Log
from tests.soak.watch import CatchUp

Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass
class Outcome:
    """Everything that the report tells."""

    plan: Plan
    caused: Counter[str]
    """Faults that happened, by kind."""
    catch_ups: list[CatchUp]
    log: Log
    quarantined: set[Place]
    overlaps: int
    """Intervals of the ledger that begin before the one before them ends."""
    audits: list[CheckResult]
    ended: list[Ended]
    """Workers and collectors that ended though nobody asked them to; they were started again."""
    differences: list[Difference] = field(default_factory=list)
    """Table by table, from the undisturbed book."""
    took_s: float = 0.0

    @property
    def rows(self) -> int:
        """Rows of the undisturbed book."""
        return sum(difference.rows for difference in self.differences)

    @property
    def lost(self) -> int:
        """Rows of the undisturbed book that the disturbed one has not."""
        return sum(len(difference.lost) for difference in self.differences)

    @property
    def doubled(self) -> int:
        """Rows that the disturbed book has beyond those of the undisturbed one."""
        return self.overlaps + sum(len(difference.doubled) for difference in self.differences)

    @property
    def changed(self) -> int:
        """Rows that both have, with different values."""
        return sum(len(difference.changed) for difference in self.differences)

    @property
    def longest(self) -> CatchUp | None:
        """The fault after which it took longest until everything was in the ledger again."""
        known = [catch_up for catch_up in self.catch_ups if catch_up.took_s is not None]
        return max(known, key=lambda catch_up: catch_up.took_s or 0.0, default=None)

    def wrong(self) -> list[str]:
        """What is not as it must be, a line each."""
        found = [line for difference in self.differences for line in difference.lines()]
        if self.overlaps:
            found.append(f"{self.overlaps} intervals of the ledger begin before the one before them ends")
        found += [f"topics: {line}" for line in self.log.missing]
        found += [f"quarantine: {place} is missing" for place in sorted(self.log.unreadable - self.quarantined)]
        found += [f"quarantine: {place} is readable" for place in sorted(self.quarantined - self.log.unreadable)]
        found += [
            f"audit {audit.name}: {audit.faults} at fault, the first {audit.rows[:1]}"
            for audit in self.audits
            if not audit.passed
        ]
        found += [
            f"after {catch_up.kind} it was never caught up" for catch_up in self.catch_ups if catch_up.took_s is None
        ]
        return found
