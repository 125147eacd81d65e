"""What an examination found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    text: str
    remedy: str = ""
    """What to do; empty = it is in order."""

    @property
    def ok(self) -> bool:
        """Whether it is in order."""
        return not self.remedy
