"""Plain counters of a collector, for its summary line and for whoever watches it."""

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Statistics:
    """All since the start, except `buffered_*` and `targets_down`, which are of the moment."""

    scrapes: int = 0
    failures: int = 0
    lines: int = 0
    """Lines of the pages that were read."""
    samples: int = 0
    messages: int = 0
    """Acknowledged by Kafka."""
    dropped_messages: int = 0
    """Refused because the buffer was full."""
    dropped_samples: int = 0
    buffered_messages: int = 0
    buffered_bytes: int = 0
    targets: int = 0
    targets_down: int = 0

    def summary(self, before: "Statistics") -> str:
        """One line for the log: what has happened since `before`, and the state of now."""
        new = {name: value - getattr(before, name) for name, value in asdict(self).items()}
        text = (
            f"{new['scrapes']} scrapes ({new['failures']} failed), {new['lines']} lines, {new['samples']} samples, "
            f"{new['messages']} messages sent; {self.targets} targets, {self.targets_down} down; "
            f"{self.buffered_messages} messages ({self.buffered_bytes} bytes) waiting for Kafka"
        )
        if self.dropped_messages:
            text += f"; {self.dropped_messages} messages ({self.dropped_samples} samples) dropped since the start"
        return text
