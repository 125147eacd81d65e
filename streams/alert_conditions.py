"""What holds now and should not: the one form in which every rule says so."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from schemas.alert_rules import BY_ID
from schemas.config import Cluster
from schemas.config_alerts import Alerts
from schemas.money import nano_to_decimal
from schemas.texts import Lang, Text

SHOWN = 5
"""Devices, exporters or rows that an alert names."""


class Stake(NamedTuple):
    """Money that a matter concerns."""

    nano_per_hour: int
    currency: str


class Condition(NamedTuple):
    """Something that holds now and should not."""

    rule: str
    subject: str
    value: float
    threshold: float
    words: Callable[[], Text]
    """What happened, in a sentence; asked only when it becomes an alert."""
    fires: bool = True
    """False: too little to begin an alert, and enough for one that is open to go on (hysteresis)."""
    cluster: str = ""
    agreement: str = ""
    model: str = ""
    at_stake: Stake | None = None
    evidence: Sequence[str] = ()
    severity: str = ""
    """The rule's, unless it says otherwise."""

    @property
    def fingerprint(self) -> str:
        """Identity of the alert: rule and subject."""
        return fingerprint(self.rule, self.subject)


def patience_s(settings: Alerts, cluster: Cluster | None) -> float:
    """How long a cluster, or a part of it, may say nothing: as configured, and at least three scrape intervals."""
    return max(settings.silent_after, 3 * slowest_s(cluster))


def slowest_s(cluster: Cluster | None) -> float:
    """Longest scrape interval of a cluster; 0 where nothing is scraped."""
    return max((target.interval for target in cluster.target), default=0.0) if cluster else 0.0


def fingerprint(rule: str, subject: str) -> str:
    """Identity of an alert."""
    return blake2b(f"{rule}\x1f{subject}".encode(), digest_size=8).hexdigest()


def beyond(rule: str, value: float, threshold: float) -> bool | None:
    """How a value stands to the threshold of its rule: beyond it (True); not yet back far enough for an alert that is
    open to end (False); or as it should be (None)."""
    clears_at = BY_ID[rule].clears_at
    sign = 1 if clears_at <= 1 else -1
    if sign * value > sign * threshold:
        return True
    return False if sign * value > sign * threshold * clears_at else None


def number(value: float | Decimal, lang: Lang, digits: int = 0) -> str:
    """A number as people write it in a language."""
    text = f"{value:,.{digits}f}"
    return text if lang == "en" else text.replace(",", "\u202f").replace(".", ",")


def money(nano: int, currency: str, lang: Lang) -> str:
    """An amount with its currency; hundredths."""
    return f"{number(nano_to_decimal(nano), lang, 2)} {currency}"


def duration(seconds: float, lang: Lang) -> str:
    """A length of time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{number(seconds / 3600, lang, 1)} h"
