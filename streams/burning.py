"""How fast subsidy burns: unit costs in, the state of each agreement out. Pure.

Spent = what the rule yields, summed over all minutes, at most the cap. Rate = subsidy per hour over the last minutes,
each cluster over the time that its usage covers. Runway = what is left at that rate.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from schemas.config import Agreement, Config, Credits
from schemas.economics import Burn, UnitCosts
from schemas.money import round_half_even, to_nano

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
RATE_MINUTES = 5  # long enough to average over scrapes and requests, short enough to be "now"
KEPT_MINUTES = 120  # minutes whose state is held one by one; what is older is one sum


@dataclass(slots=True)
class _Minute:
    subsidy_nano: int
    gpu_ns: int
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class _Account:
    """One agreement: everything before the window, and the window minute by minute."""

    before_nano: int = 0
    before_gpu_ns: int = 0
    minutes: dict[tuple[str, int], _Minute] = field(default_factory=dict)


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
        """Minutes before this moment are one sum; a change to one of them asks for `load` again."""

    def load(self, rows: Iterable[Mapping[str, Any]], window_start_ms: int) -> None:
        """Start from the book (see Book.subsidies)."""
        self._accounts = {agreement: _Account() for agreement in self._agreements}
        self._versions = {}
        self.window_start_ms = window_start_ms
        for row in rows:
            account = self._accounts.get(row["agreement"])
            if account is None:  # no longer described; its history stays in the book
                continue
            if row["minute_ms"] is None:
                account.before_nano += row["subsidy_nano"]
                account.before_gpu_ns += row["gpu_ns"]
            else:
                minute = row["minute_ms"]
                account.minutes[row["place"], minute] = _Minute(
                    row["subsidy_nano"], row["gpu_ns"], minute, minute + MINUTE_MS
                )

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
                self._accounts[agreement].minutes[key] = _Minute(subsidy, gpu_ns, costs.ts_start_ms, costs.ts_end_ms)
                concerned.add(agreement)
        return concerned

    def slide(self, newest_ms: int) -> None:
        """Fold minutes that have left the window into one sum."""
        start = max(self.window_start_ms, newest_ms - KEPT_MINUTES * MINUTE_MS)
        self.window_start_ms = start
        for account in self._accounts.values():
            for key in [key for key in account.minutes if key[1] < start]:
                minute = account.minutes.pop(key)
                account.before_nano += minute.subsidy_nano
                account.before_gpu_ns += minute.gpu_ns
        for key in [key for key in self._versions if key[1] < start]:
            del self._versions[key]

    def state(self, agreement_id: str) -> Burn | None:
        """The burn of an agreement as of its newest minute; None before it has used anything."""
        account = self._accounts[agreement_id]
        if not account.minutes:
            return None
        agreement = self._agreements[agreement_id]
        newest_ms = max(minute for _, minute in account.minutes)
        accrued = (
            to_nano(agreement.spent_before)
            + account.before_nano
            + sum(minute.subsidy_nano for minute in account.minutes.values())
        )
        cap = None if agreement.cap is None else to_nano(agreement.cap)
        rate = self._per_hour(account, newest_ms, lambda minute: minute.subsidy_nano)
        spent = accrued if cap is None else min(accrued, cap)
        ends = [minute.end_ms for minute in account.minutes.values()]
        reached_ms = self._reached_ms[agreement_id] = max(*ends, self._reached_ms.get(agreement_id, 0))
        return Burn(
            programme=agreement.programme,
            agreement=agreement_id,
            minute_ms=newest_ms,
            ts_ms=reached_ms,
            spent_nano=spent,
            accrued_nano=accrued,
            cap_nano=cap,
            rate_nano_per_hour=round_half_even(rate),
            runway_hours=self._runway(agreement, account, newest_ms, rate, None if cap is None else cap - spent),
            currency=self._currency[agreement.programme],
        )

    def _runway(
        self, agreement: Agreement, account: _Account, newest_ms: int, rate: Fraction, left_nano: int | None
    ) -> float | None:
        """Hours until the cap, or until granted GPU-hours are used up, whichever comes first."""
        ends = []
        if left_nano is not None and rate > 0:
            ends.append(left_nano / rate)
        rule = agreement.rule
        if isinstance(rule, Credits) and rule.unit == "gpu_hours" and rule.quantity is not None:
            used = account.before_gpu_ns + sum(minute.gpu_ns for minute in account.minutes.values())
            per_hour = self._per_hour(account, newest_ms, lambda minute: minute.gpu_ns)
            if per_hour > 0:
                ends.append(max(rule.quantity * HOUR_MS * 1_000_000 - used, Fraction(0)) / per_hour)
        return float(min(ends)) if ends else None

    @staticmethod
    def _per_hour(account: _Account, newest_ms: int, amount: Any) -> Fraction:
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
