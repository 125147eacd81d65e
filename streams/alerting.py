"""Rules over usage, unit costs and burn, and the alerts that follow. Pure: state in, changes of alerts out.

A rule names the conditions that hold now, each under the subject it is about; `AlertBook` turns conditions that begin
into firing alerts and conditions that end into resolved ones. Devices are grouped under their agreement or node, so
that a rack that overheats is one alert.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from hashlib import blake2b
from typing import NamedTuple

from schemas.audits import AuditState
from schemas.config import Config
from schemas.economics import Alert, Burn, UnitCosts
from schemas.money import NANO
from schemas.usage import DeviceCondition

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
BUDGET = ((1.0, "critical"), (0.9, "critical"), (0.8, "warning"), (0.5, "info"))
COST_MINUTES = 5  # minutes over which cost per token is judged: one minute of a quiet model says little
CHECK_FAILED = "check_failed"
LEAST_TOKENS = 10_000  # below this many tokens a cost per million is noise
_LAST_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1000  # later is not a date


class Condition(NamedTuple):
    """Something that holds now and should not."""

    rule: str
    subject: str
    severity: str
    value: float
    threshold: float
    summary: str

    @property
    def fingerprint(self) -> str:
        """Identity of the alert: rule and subject."""
        return blake2b(f"{self.rule}\x1f{self.subject}".encode(), digest_size=8).hexdigest()


@dataclass(slots=True)
class _Unit:
    cost_nano: int
    tokens: int


class Rules:
    """What was seen last, and the conditions that follow from it."""

    def __init__(self, config: Config, started_ms: int) -> None:
        self._settings = config.alerts
        self._clusters = [cluster.id for cluster in config.cluster if cluster.target]
        self._seen_ms = dict.fromkeys(self._clusters, started_ms)
        self._devices: dict[tuple[str, str], tuple[int, list[DeviceCondition]]] = {}
        self._burn: dict[str, Burn] = {}
        self._costs: dict[tuple[str, int], dict[str, _Unit]] = {}
        self._audits: dict[str, AuditState] = {}

    # ---- what was seen ---------------------------------------------------------------------------------------------

    def saw_cluster(self, cluster: str, ts_ms: int) -> None:
        """Usage of a cluster reaches this moment."""
        self._seen_ms[cluster] = max(ts_ms, self._seen_ms.get(cluster, 0))

    def saw_costs(self, costs: UnitCosts) -> None:
        """A (cluster, minute) of unit costs: the cluster is alive, and these devices need a look."""
        self.saw_cluster(costs.cluster, costs.ts_end_ms)
        for shard, conditions in costs.conditions.items():
            minute, _ = self._devices.get((costs.cluster, shard), (0, []))
            if costs.minute_ms >= minute:
                self._devices[costs.cluster, shard] = (costs.minute_ms, conditions)
        newest = max((minute for cluster, minute in self._costs if cluster == costs.cluster), default=0)
        if costs.minute_ms < newest - (COST_MINUTES + 1) * MINUTE_MS:
            return  # of rows that came late: that minute is judged long since
        models: dict[str, _Unit] = {}
        for line in costs.lines:
            if line.model:
                unit = models.setdefault(line.model, _Unit(0, 0))
                unit.cost_nano += line.cost_nano
                unit.tokens += line.prompt_tokens + line.generation_tokens
        self._costs[costs.cluster, costs.minute_ms] = models
        oldest = costs.minute_ms - (COST_MINUTES + 1) * MINUTE_MS
        for key in [key for key in self._costs if key[0] == costs.cluster and key[1] < oldest]:
            del self._costs[key]

    def saw_burn(self, burn: Burn) -> None:
        """The newest state of an agreement."""
        known = self._burn.get(burn.agreement)
        if known is None or burn.ts_ms >= known.ts_ms:
            self._burn[burn.agreement] = burn

    def saw_audit(self, audit: AuditState) -> None:
        """The newest state of an audit of the book."""
        known = self._audits.get(audit.name)
        if known is None or audit.ts_ms >= known.ts_ms:
            self._audits[audit.name] = audit

    def saw_open(self, alert: Alert) -> None:
        """An alert that was open when this watch began. A failed audit fails until it is seen to pass: its state may
        have been read by whoever watched before, and the next one, whatever it says, may be minutes away."""
        if alert.rule == CHECK_FAILED:
            self.saw_audit(
                AuditState(
                    name=alert.subject, protects=alert.summary, severity=alert.severity, examined=0,
                    faults=max(1, int(alert.value)), rows=[], ts_ms=0,
                )
            )  # fmt: skip

    # ---- what follows ----------------------------------------------------------------------------------------------

    def conditions(self, now_ms: int) -> list[Condition]:
        """Everything that holds at this moment."""
        return [
            *self._budgets(),
            *self._burn_rates(now_ms),
            *self._cost_band(),
            *self._device_conditions(),
            *self._silent_clusters(now_ms),
            *self._failed_checks(),
        ]

    def _budgets(self) -> Iterator[Condition]:
        for burn in self._burn.values():
            if not burn.cap_nano:
                continue
            used = burn.spent_nano / burn.cap_nano
            for threshold, severity in BUDGET:
                if used >= threshold:
                    yield Condition(
                        f"budget_{threshold:.0%}".rstrip("%"), burn.agreement, severity, used, threshold,
                        f"{burn.agreement} has used {used:.1%} of its cap of "
                        f"{burn.cap_nano // NANO:,} {burn.currency}{_runway(burn)}",
                    )  # fmt: skip

    def _burn_rates(self, now_ms: int) -> Iterator[Condition]:
        """Money that goes faster than it lasts, over a long window and still over a short one.

        A state says nothing about windows that have passed since: of an agreement that uses nothing more, none comes.
        """
        fast, slow = self._settings.burn_fast, self._settings.burn_slow
        for burn in self._burn.values():
            hour, days, age_ms = burn.rate_1h_nano_per_hour, burn.rate_3d_nano_per_hour, now_ms - burn.ts_ms
            if hour is not None and age_ms < 5 * MINUTE_MS:
                lower = min(hour, burn.rate_nano_per_hour)
                yield from _too_fast("burn_fast", "critical", burn, lower, fast, "the last hour and still now")
            if days is not None and burn.rate_6h_nano_per_hour is not None and age_ms < 6 * HOUR_MS:
                lower = min(days, burn.rate_6h_nano_per_hour)
                yield from _too_fast("burn_slow", "warning", burn, lower, slow, "the last 3 days and the last 6 hours")

    def _cost_band(self) -> Iterator[Condition]:
        low, high = float(self._settings.cost_per_mtok_low), float(self._settings.cost_per_mtok_high)
        newest: dict[str, int] = {}
        for cluster, minute in self._costs:
            newest[cluster] = max(minute, newest.get(cluster, 0))
        units: dict[tuple[str, str], _Unit] = {}
        for (cluster, minute), models in self._costs.items():
            if minute == newest[cluster] and (cluster, minute - MINUTE_MS) in self._costs:
                continue  # the running minute is judged only while there is no other
            for model, unit in models.items():
                total = units.setdefault((cluster, model), _Unit(0, 0))
                total.cost_nano += unit.cost_nano
                total.tokens += unit.tokens
        for (cluster, model), unit in units.items():
            if unit.tokens < LEAST_TOKENS:
                continue
            cost = unit.cost_nano / unit.tokens / 1000  # nano-dollars per token = 1e-3 dollars per million
            if cost > high or cost < low:
                side, limit = ("above", high) if cost > high else ("below", low)
                yield Condition(
                    "cost_per_mtok", f"{cluster}/{model}", "warning" if cost > high else "info", cost, limit,
                    f"a million tokens of {model} on {cluster} cost {cost:.3f}, {side} the band {low:g} to {high:g}",
                )  # fmt: skip

    def _device_conditions(self) -> Iterator[Condition]:
        grouped: dict[tuple[str, str], list[DeviceCondition]] = {}
        for (cluster, _), (_, conditions) in self._devices.items():
            for condition in conditions:
                owner = condition.agreement or condition.node if condition.kind == "idle" else condition.node
                grouped.setdefault((condition.kind, f"{cluster}/{owner}"), []).append(condition)
        for (kind, subject), devices in grouped.items():
            worst = max(devices, key=lambda device: device.value)
            one = f"{devices[0].device}" if len(devices) == 1 else f"{len(devices)} devices"
            if kind == "idle":
                longest = max(device.value for device in devices)
                yield Condition(
                    "allocated_idle", subject, "warning", longest, self._settings.idle_for,
                    f"{one} of {subject} are held but idle, the longest for {longest / 60:.0f} min",
                )  # fmt: skip
            elif kind == "xid":
                yield Condition(
                    "xid", subject, "critical", worst.value, 0, f"{one} on {subject} report XID {worst.value:.0f}"
                )
            else:
                limit = float(self._settings.hot_above_c)
                yield Condition(
                    "over_temperature", subject, "critical", worst.value, limit,
                    f"{one} on {subject} are above {limit:g} °C, the hottest at {worst.value:.0f} °C",
                )  # fmt: skip

    def _silent_clusters(self, now_ms: int) -> Iterator[Condition]:
        for cluster in self._clusters:
            silent_s = (now_ms - self._seen_ms[cluster]) / 1000
            if silent_s > self._settings.silent_after:
                yield Condition(
                    "cluster_silent", cluster, "critical", silent_s, self._settings.silent_after,
                    f"no usage from {cluster} for {silent_s:.0f} s: look at its collector and exporters",
                )  # fmt: skip

    def _failed_checks(self) -> Iterator[Condition]:
        for audit in self._audits.values():
            if audit.faults:
                first = f" First at fault: {audit.rows[0]}" if audit.rows else ""
                yield Condition(
                    CHECK_FAILED, audit.name, audit.severity, audit.faults, 0,
                    f"the audit “{audit.name}” finds {audit.faults:,} at fault. {audit.protects}{first}",
                )  # fmt: skip


class AlertBook:
    """Open alerts; tells what changed."""

    def __init__(self, already_open: Iterable[Alert]) -> None:
        self._open = {alert.fingerprint: alert for alert in already_open}

    def update(self, conditions: Iterable[Condition], now_ms: int, *, resolve: bool = True) -> list[Alert]:
        """Alerts that begin or end with these conditions. The same conditions again change nothing.

        resolve: whether a condition that is not here has ended, or may only not have been reported yet.
        """
        holding = {condition.fingerprint: condition for condition in conditions}
        changes = []
        for fingerprint, condition in holding.items():
            if fingerprint not in self._open:
                self._open[fingerprint] = Alert(
                    fingerprint=fingerprint, state="firing", ts_ms=now_ms, starts_at_ms=now_ms, **condition._asdict()
                )
                changes.append(self._open[fingerprint])
        if not resolve:
            return changes
        for fingerprint in [fingerprint for fingerprint in self._open if fingerprint not in holding]:
            ended = self._open.pop(fingerprint)
            changes.append(ended.model_copy(update={"state": "resolved", "ts_ms": now_ms, "ends_at_ms": now_ms}))
        return changes


def _too_fast(
    rule: str, severity: str, burn: Burn, rate_nano_per_hour: int, times: Fraction, when: str
) -> Iterator[Condition]:
    """The condition, where a rate is so many times the one at which the money lasts; none where there is no such rate,
    or the money is used up (`budget_100` says that)."""
    lasting = burn.sustainable_nano_per_hour
    if not lasting or burn.cap_nano is None or rate_nano_per_hour < times * lasting:
        return
    left_nano = burn.cap_nano - burn.spent_nano
    gone_ms = min(burn.ts_ms + left_nano * HOUR_MS // rate_nano_per_hour, _LAST_MS)
    gone = datetime.fromtimestamp(gone_ms // 1000, UTC)
    found = rate_nano_per_hour / lasting
    yield Condition(
        rule, burn.agreement, severity, found, float(times),
        f"{burn.agreement} burns {found:,.1f} times as fast as its money lasts until its end: over {when} at least "
        f"{rate_nano_per_hour / NANO:,.2f} {burn.currency} per hour; at this rate the remaining "
        f"{left_nano / NANO:,.2f} {burn.currency} are gone on {gone:%Y-%m-%d at %H:%M} UTC",
    )  # fmt: skip


def _runway(burn: Burn) -> str:
    return "" if burn.runway_hours is None else f"; at the current rate the rest lasts {burn.runway_hours:,.1f} h"
