"""How fast subsidy burns: unit costs in, the state of each agreement out. Pure, and exact but for the runway.

Spent = what the rule yields, summed over all minutes, at most the cap. Rates = subsidy per hour over the last 5 minutes
(each cluster over the time that its usage covers), 1 hour, 6 hours and 3 days. Runway = what is left at the first of
these rates. Sustainable = the rate at which what is left lasts exactly until the end of the agreement.

Each minute of the last two hours is held, so that a newer state of it replaces the older one; of what is older, sums of
ten minutes, as long as a window reaches back to them. A change to an older minute asks for `load` again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from schemas.config import Agreement, Config, Credits
from schemas.economics import Burn, UnitCosts
from schemas.money import round_half_even, to_nano
from streams.planning import ends_ms, planned_nano, starts_ms

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
RATE_MINUTES = 5  # long enough to average over scrapes and requests, short enough to be "now"
KEPT_MINUTES = 120  # minutes whose state is held one by one
BUCKET_MS = 10 * MINUTE_MS  # windows of more than an hour begin at a whole one of these
REACH_MS = 3 * DAY_MS + BUCKET_MS  # how far before the first minute that is held the longest window may begin


@dataclass(slots=True)
class _Minute:
    subsidy_nano: int
    gpu_ns: int
    start_ms: int
    end_ms: int


_NOTHING = _Minute(0, 0, 0, 0)


@dataclass(slots=True)
class _Account:
    """One agreement: everything, its part in each bucket of the longest window, and in each of the last minutes."""

    subsidy_nano: int = 0
    gpu_ns: int = 0
    first_ms: int | None = None
    """First minute in which its usage was metered."""
    buckets: dict[int, int] = field(default_factory=dict)
    """Start of the bucket, ms -> subsidy, nano-units."""
    minutes: dict[tuple[str, int], _Minute] = field(default_factory=dict)
    """(cluster, minute in ms) -> its newest state."""

    def put(self, cluster: str, minute_ms: int, minute: _Minute) -> None:
        """Take in the newest state of a minute in the place of what was known of it."""
        known = self.minutes.get((cluster, minute_ms), _NOTHING)
        self.minutes[cluster, minute_ms] = minute
        self.add(minute_ms, minute_ms, minute.subsidy_nano - known.subsidy_nano, minute.gpu_ns - known.gpu_ns)

    def add(self, from_ms: int, first_ms: int, subsidy_nano: int, gpu_ns: int) -> None:
        """Add to the sums: usage that begins at `from_ms` and lies within one bucket."""
        self.subsidy_nano += subsidy_nano
        self.gpu_ns += gpu_ns
        self.first_ms = first_ms if self.first_ms is None else min(self.first_ms, first_ms)
        bucket = from_ms // BUCKET_MS * BUCKET_MS
        self.buckets[bucket] = self.buckets.get(bucket, 0) + subsidy_nano


class Burning:
    """Running tally of every agreement."""

    def __init__(self, config: Config) -> None:
        self._agreements = {agreement.id: agreement for agreement in config.agreement}
        self._currency = {programme.id: programme.currency for programme in config.programme}
        self._accounts = {agreement.id: _Account() for agreement in config.agreement}
        self._versions: dict[tuple[str, int], int] = {}
        self._reached_ms: dict[str, int] = {}
        """Moment of the latest state of each agreement. It never goes back: the book, of which no end is known within a
        minute, is taken to reach the minute's end, and of two states of one moment the later one holds."""
        self.window_start_ms = 0
        """Minutes before this moment are not held one by one; a change to one of them asks for `load` again."""

    def load(self, rows: Iterable[Mapping[str, Any]], window_start_ms: int) -> None:
        """Start from the book (see Book.subsidies)."""
        self._accounts = {agreement: _Account() for agreement in self._agreements}
        self._versions = {}
        self.window_start_ms = window_start_ms
        for row in rows:
            account = self._accounts.get(row["agreement"])
            if account is None:  # no longer described; its history stays in the book
                continue
            begin, subsidy, gpu_ns = row["from_ms"], row["subsidy_nano"], row["gpu_ns"]
            if row["place"]:
                account.put(row["place"], begin, _Minute(subsidy, gpu_ns, begin, begin + MINUTE_MS))
            else:
                account.add(begin, row["first_ms"], subsidy, gpu_ns)

    def apply(self, costs: UnitCosts) -> set[str]:
        """Replace a (cluster, minute) by a newer state; returns the agreements that it concerns."""
        key = (costs.cluster, costs.minute_ms)
        if costs.version < self._versions.get(key, 0):
            return set()
        self._versions[key] = costs.version
        sums: dict[str, tuple[int, int]] = {}
        for line in costs.lines:
            subsidy, gpu_ns = sums.get(line.agreement, (0, 0))
            sums[line.agreement] = (subsidy + line.subsidy_nano, gpu_ns + line.gpu_ns)
        concerned = set()
        for agreement, (subsidy, gpu_ns) in sums.items():
            if agreement in self._accounts:
                self._accounts[agreement].put(*key, _Minute(subsidy, gpu_ns, costs.ts_start_ms, costs.ts_end_ms))
                concerned.add(agreement)
        return concerned

    def slide(self, newest_ms: int) -> None:
        """Let go of minutes and buckets that no window reaches back to; they stay in the sums."""
        start = max(self.window_start_ms, newest_ms - KEPT_MINUTES * MINUTE_MS)
        self.window_start_ms = start
        for account in self._accounts.values():
            for key in [key for key in account.minutes if key[1] < start]:
                del account.minutes[key]
            for bucket in [bucket for bucket in account.buckets if bucket < start - REACH_MS]:
                del account.buckets[bucket]
        for key in [key for key in self._versions if key[1] < start]:
            del self._versions[key]

    def state(self, agreement_id: str) -> Burn | None:
        """The burn of an agreement as of its newest minute; None before it has used anything."""
        account = self._accounts[agreement_id]
        if not account.minutes:
            return None
        agreement = self._agreements[agreement_id]
        newest_ms = max(minute for _, minute in account.minutes)
        accrued = to_nano(agreement.spent_before) + account.subsidy_nano
        cap = None if agreement.cap is None else to_nano(agreement.cap)
        spent = accrued if cap is None else min(accrued, cap)
        left = None if cap is None else cap - spent
        rate = _per_hour(account, newest_ms, lambda minute: minute.subsidy_nano)
        ends = [minute.end_ms for minute in account.minutes.values()]
        reached_ms = self._reached_ms[agreement_id] = max(*ends, self._reached_ms.get(agreement_id, 0))
        window = _Windows(agreement, account, newest_ms, reached_ms)
        return Burn(
            programme=agreement.programme,
            agreement=agreement_id,
            minute_ms=newest_ms,
            ts_ms=reached_ms,
            spent_nano=spent,
            accrued_nano=accrued,
            cap_nano=cap,
            rate_nano_per_hour=round_half_even(rate),
            rate_1h_nano_per_hour=window.last_hour(),
            rate_6h_nano_per_hour=window.last(6 * HOUR_MS),
            rate_3d_nano_per_hour=window.last(3 * DAY_MS),
            planned_nano=planned_nano(agreement, reached_ms),
            sustainable_nano_per_hour=_sustainable(agreement, reached_ms, left),
            runway_hours=_runway(agreement, account, newest_ms, rate, left),
            currency=self._currency[agreement.programme],
        )


@dataclass(frozen=True, slots=True)
class _Windows:
    """Rates over windows that end with the newest minute, in nano-units per hour.

    Time counts from when the agreement began, or its usage was first metered: an average over what was before would be
    none. Less than half of a window is not enough for one.
    """

    agreement: Agreement
    account: _Account
    newest_ms: int
    reached_ms: int

    def last_hour(self) -> int | None:
        """Over 60 minutes, the running one included."""
        start = self.newest_ms + MINUTE_MS - HOUR_MS
        minutes = self.account.minutes.items()
        return self._rate(sum(minute.subsidy_nano for (_, ms), minute in minutes if ms >= start), start, HOUR_MS)

    def last(self, length_ms: int) -> int | None:
        """Over this long, and up to a bucket more."""
        start = (self.newest_ms + MINUTE_MS - length_ms) // BUCKET_MS * BUCKET_MS
        buckets = self.account.buckets.items()
        return self._rate(sum(subsidy for ms, subsidy in buckets if ms >= start), start, length_ms)

    def _rate(self, subsidy_nano: int, start_ms: int, length_ms: int) -> int | None:
        covered_ms = self.reached_ms - max(start_ms, starts_ms(self.agreement), self.account.first_ms or 0)
        if 2 * covered_ms < length_ms:
            return None
        return round_half_even(Fraction(subsidy_nano * HOUR_MS, covered_ms))


def _sustainable(agreement: Agreement, reached_ms: int, left_nano: int | None) -> int | None:
    remaining_ms = ends_ms(agreement) - reached_ms
    if left_nano is None or remaining_ms <= 0:
        return None
    return round_half_even(Fraction(left_nano * HOUR_MS, remaining_ms))


def _runway(
    agreement: Agreement, account: _Account, newest_ms: int, rate: Fraction, left_nano: int | None
) -> float | None:
    """Hours until the cap, or until granted GPU-hours are used up, whichever comes first.

    Unit costs have no reference GPU units, so granted RGU-hours do not limit it; the charges count them exactly.
    """
    ends = []
    if left_nano is not None and rate > 0:
        ends.append(left_nano / rate)
    rule = agreement.rule
    if isinstance(rule, Credits) and rule.unit == "gpu_hours" and rule.quantity is not None:
        per_hour = _per_hour(account, newest_ms, lambda minute: minute.gpu_ns)
        if per_hour > 0:
            granted = (rule.quantity - rule.used_before) * HOUR_MS * 1_000_000
            ends.append(max(granted - account.gpu_ns, Fraction(0)) / per_hour)
    return float(min(ends)) if ends else None


def _per_hour(account: _Account, newest_ms: int, amount: Callable[[_Minute], int]) -> Fraction:
    """Sum over clusters of what was used in the last minutes, per hour of the time covered there."""
    by_cluster: dict[str, tuple[int, int, int]] = {}
    for (cluster, minute_ms), minute in account.minutes.items():
        if minute_ms > newest_ms - RATE_MINUTES * MINUTE_MS:
            total, start, end = by_cluster.get(cluster, (0, minute.start_ms, minute.end_ms))
            by_cluster[cluster] = (
                total + amount(minute),
                min(start, minute.start_ms),
                max(end, minute.end_ms),
            )
    return sum(
        (Fraction(total * HOUR_MS, end - start) for total, start, end in by_cluster.values() if end > start),
        Fraction(0),
    )
