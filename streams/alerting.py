"""Rules over what was heard, unit costs, burn and audits. Pure: state in, the conditions that hold out.

What each rule is (how bad, for how long, what to do) stands in `schemas.alert_rules`; here it is found out whether its
condition holds: of agreements in `streams.alert_money`, of the last hour of clusters and models in
`streams.alert_rates`, of who is heard and of devices in `streams.alert_hearing`. What becomes of a condition is the
business of `streams.alert_book`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from schemas.audits import AuditState
from schemas.config import Config
from schemas.economics import Alert, Burn, UnitCosts
from schemas.texts import Text
from schemas.usage import Heard
from streams.alert_conditions import SHOWN, Condition, number
from streams.alert_hearing import Hearing
from streams.alert_money import Budgets
from streams.alert_rates import CURRENCY, Rates
from streams.reference import Reference, UnknownReference

CHECK_FAILED = "check_failed"
RULE_OF_AUDIT = {
    "quarantine is empty": "quarantine",
    "time and energy of the tally equal the book": "tally_differs",
    "tokens of the tally equal the book": "tally_differs",
}
"""Audits with a rule of their own; of any other it is `check_failed`."""
_AUDITED = frozenset({CHECK_FAILED, *RULE_OF_AUDIT.values()})


class Rules:
    """What was seen last, and the conditions that follow from it."""

    def __init__(self, config: Config, started_ms: int) -> None:
        self._reference = Reference(config)
        self._audits: dict[str, AuditState] = {}
        self.budgets = Budgets(config.alerts)
        self.rates = Rates(config, self._cad)
        self.hearing = Hearing(config, started_ms, self.rates.cost_of, self.rates.cost_per_hour)

    def saw(self, message: Heard | UnitCosts | Burn | AuditState) -> None:
        """A state of something. One that is older than what is known of the same changes nothing."""
        if isinstance(message, Heard):
            self.hearing.saw(message)
        elif isinstance(message, UnitCosts):
            self.rates.saw(message)
        elif isinstance(message, Burn):
            self.budgets.saw(message)
        else:
            known = self._audits.get(message.name)
            if known is None or message.ts_ms >= known.ts_ms:
                self._audits[message.name] = message

    def saw_open(self, alert: Alert) -> None:
        """An alert that was open when this watch began. A failed audit fails until it is seen to pass, who was silent
        is silent until heard: it was told to whoever watched before, and may not be told again for long."""
        if alert.rule == "cluster_silent":
            self.hearing.was_silent(alert.cluster or alert.subject)
        elif alert.rule == "collector_silent":
            self.hearing.collector_was_silent(alert.subject)
        elif alert.rule in _AUDITED:
            self.saw(
                AuditState(
                    name=alert.subject, protects=alert.summary, severity=alert.severity, examined=0,
                    faults=max(1, int(alert.value)), rows=[], ts_ms=0,
                )
            )  # fmt: skip

    def conditions(self, now_ms: int) -> list[Condition]:
        """Everything that holds at this moment."""
        return [
            *self.budgets.conditions(now_ms),
            *self.rates.conditions(),
            *self.hearing.conditions(now_ms),
            *self._failed_audits(),
        ]

    def _failed_audits(self) -> Iterator[Condition]:
        for audit in self._audits.values():
            if audit.faults:
                yield Condition(
                    RULE_OF_AUDIT.get(audit.name, CHECK_FAILED), audit.name, audit.faults, 0, _words_of(audit),
                    evidence=audit.rows[:SHOWN], severity=audit.severity,
                )  # fmt: skip

    def _cad(self, amount_nano: int, currency: str, ts_ms: int) -> int | None:
        """An amount in CAD on the day of a moment; None when no rate is known."""
        if not amount_nano or not currency:  # a device without a price has no currency, and no cost
            return amount_nano
        day = datetime.fromtimestamp(ts_ms / 1000, UTC).date()
        try:
            return self._reference.convert(amount_nano, currency, CURRENCY, day)
        except UnknownReference:
            return None


def _words_of(audit: AuditState) -> Callable[[], Text]:
    first = f" First at fault: {audit.rows[0]}" if audit.rows else ""
    first_fr = f" Premier en défaut : {audit.rows[0]}" if audit.rows else ""
    return lambda: Text(
        f"the audit “{audit.name}” finds {number(audit.faults, 'en')} at fault. {audit.protects}{first}",
        f"la vérification « {audit.name} » trouve {number(audit.faults, 'fr')} en défaut.{first_fr}",
    )
