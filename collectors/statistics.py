"""Plain counters of a collector, for its summary line and for whoever watches it."""

from bisect import bisect_left
from dataclasses import dataclass, field

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Durations:
    """How many took how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """Up to each bound of BUCKETS_S, without those up to the one before it; then the longer ones."""
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Statistics:
    """All since the start, except `spool_*`, `targets` and `targets_down`, which are of the moment."""

    scrapes: int = 0
    failures: int = 0
    scrape_s: Durations = field(default_factory=Durations)
    lines: int = 0
    """Lines of the pages that were read."""
    samples: int = 0
    messages: int = 0
    """Acknowledged by Kafka."""
    dropped_messages: int = 0
    """Refused: by the spool, because it was full or the disk failed, or by Kafka for good."""
    dropped_samples: int = 0
    spool_messages: int = 0
    """Waiting for Kafka."""
    spool_bytes: int = 0
    spool_limit_bytes: int = 0
    spool_age_s: float = 0.0
    """How long the oldest of them has waited; looked at once a second."""
    targets: int = 0
    targets_down: int = 0
    clock_steps: int = 0
    """Times that the system's clock was set."""

    def summary(self, before: "Statistics") -> str:
        """One line for the log: what has happened since `before`, and the state of now."""

        def new(name: str) -> int:
            return int(getattr(self, name) - getattr(before, name))

        text = (
            f"{new('scrapes')} scrapes ({new('failures')} failed), {new('lines')} lines, {new('samples')} samples, "
            f"{new('messages')} messages sent; {self.targets} targets, {self.targets_down} down; "
            f"{self.spool_messages} messages ({self.spool_bytes} bytes) waiting for Kafka"
        )
        if self.spool_age_s > 1:
            text += f", the oldest for {self.spool_age_s:.0f} s"
        if self.dropped_messages:
            text += f"; {self.dropped_messages} messages ({self.dropped_samples} samples) dropped since the start"
        return text
