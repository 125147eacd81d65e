"""The life of an alert: conditions in, changes of alerts out. Pure.

    condition --for_s--> firing --not seen for keep_s--> resolved

A condition that begins is pending until it has held for `for_s`. An alert that fires stays as it was when it fired,
goes on for as long as its condition holds (at the lower level at which it clears), and is resolved when that was not
seen for `keep_s`. So a value that swings around its threshold is one alert. While a larger matter is open (a whole
cluster is silent) the smaller ones that follow from it do not begin and do not end. Of many subjects of one rule in one
cluster the first MOST are alerts of their own, and all others together are one more.

The same conditions again, in any order, change nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.alert_rules import BY_ID, AlertRule
from schemas.economics import Alert
from schemas.texts import Text
from streams.alert_conditions import SHOWN, Condition, Stake, number

MOST = 10
"""Alerts of one rule that are open in one cluster at a time, beside the one for all others."""
OTHERS = "*"
"""Last part of the subject of the one for all others."""
SETTLING_S = 30.0
"""An alert that was open when this book was opened does not end before its subject had time to report."""
# What is measured since a meter began: it must be given as long as that takes.
_SINCE_BEGUN = frozenset({"allocated_idle", "counter_frozen"})

Key = tuple[str, str]
"""(rule, subject)"""


@dataclass(slots=True)
class _Open:
    alert: Alert
    held_ms: int
    """When its condition was last seen."""
    not_before_ms: int = 0
    """It is not resolved earlier."""


class AlertBook:
    """Pending and open alerts; tells what changed.

    `already_open`: those that were firing at `now_ms` by the database, oldest first. Of several with one fingerprint
    (two workers at once, for a moment) the first goes on and the others are resolved; so are those of unknown rules.
    """

    def __init__(
        self, already_open: Iterable[Alert] = (), now_ms: int = 0, rules: Mapping[str, AlertRule] = BY_ID
    ) -> None:
        self._rules = rules
        self._rank = {rule: rank for rank, rule in enumerate(rules)}
        self._hiding = frozenset(above for rule in rules.values() for above in rule.hidden_by)
        self._level = {rule: _level(rule, rules) for rule in rules}
        self._open: dict[Key, _Open] = {}
        self._count = Counter[tuple[str, str]]()
        """Open alerts of each rule in each cluster."""
        self._pending: dict[Key, int] = {}
        self._left_over: list[Alert] = []
        for alert in already_open:
            key = (alert.rule, alert.subject)
            if key in self._open or alert.rule not in rules:
                self._left_over.append(alert)
                continue
            settling_s = SETTLING_S + (alert.threshold if alert.rule in _SINCE_BEGUN else 0.0)
            self._put(_Open(alert, now_ms, now_ms + round(settling_s * 1000)))

    @property
    def open(self) -> list[Alert]:
        """Alerts that are firing."""
        return [opened.alert for opened in self._open.values()]

    def update(self, conditions: Iterable[Condition], now_ms: int) -> list[Alert]:
        """Alerts that begin or end with these conditions, which are all that hold."""
        changes = [_resolved(alert, now_ms, now_ms) for alert in self._left_over]
        self._left_over = []
        holding = {(condition.rule, condition.subject): condition for condition in conditions}
        for level in range(max(self._level.values()) + 1):
            changes += self._begin([c for c in holding.values() if self._level[c.rule] == level], now_ms)
            changes += self._end(level, now_ms)
        self._pending = {key: since_ms for key, since_ms in self._pending.items() if key in holding}
        return changes

    def _begin(self, holding: Sequence[Condition], now_ms: int) -> list[Alert]:
        """Keep what is open going, and open what has held for long enough."""
        hidden = self._hidden()
        due: dict[tuple[str, str], list[Condition]] = {}
        for condition in holding:
            key, rule = (condition.rule, condition.subject), self._rules[condition.rule]
            if key in self._open:
                self._open[key].held_ms = now_ms
                continue
            if (rule.id, condition.cluster) in hidden or not (condition.fires or key in self._pending):
                self._pending.pop(key, None)
                continue
            if now_ms - self._pending.setdefault(key, now_ms) >= rule.for_s * 1000:
                due.setdefault((rule.id, condition.cluster), []).append(condition)
        fired = []
        for (rule_id, cluster), several in sorted(due.items(), key=lambda item: (self._rank[item[0][0]], item[0][1])):
            several.sort(key=lambda condition: (self._pending[condition.rule, condition.subject], condition.subject))
            room = self._room(rule_id, cluster)
            fired += [self._fire(condition, now_ms) for condition in several[:room]]
            if len(several) > room:
                fired += self._others(self._rules[rule_id], cluster, several[room:], now_ms)
        return fired

    def _hidden(self) -> set[tuple[str, str]]:
        """(rule, cluster) about which nothing new is said."""
        over = {(rule, opened.alert.cluster) for (rule, _), opened in self._open.items() if rule in self._hiding}
        return {
            (rule.id, cluster)
            for rule in self._rules.values()
            for above, cluster in over
            if cluster and above in rule.hidden_by
        }

    def _room(self, rule: str, cluster: str) -> int:
        """How many more alerts of their own a rule may have in a cluster: no bound where it is about none, and none
        while there is one for all others."""
        if not cluster:
            return len(self._pending)
        if (rule, f"{cluster}/{OTHERS}") in self._open:
            return 0
        return max(0, MOST - self._count[rule, cluster])

    def _put(self, opened: _Open) -> None:
        alert = opened.alert
        self._open[alert.rule, alert.subject] = opened
        self._count[alert.rule, alert.cluster] += 1

    def _fire(self, condition: Condition, now_ms: int) -> Alert:
        words, stake = condition.words(), condition.at_stake
        alert = Alert(
            fingerprint=condition.fingerprint,
            rule=condition.rule,
            severity=condition.severity or self._rules[condition.rule].severity,
            subject=condition.subject,
            state="firing",
            value=condition.value,
            threshold=condition.threshold,
            summary=words.of("en"),
            summary_fr=words.of("fr"),
            cluster=condition.cluster,
            agreement=condition.agreement,
            model=condition.model,
            at_stake_nano_per_hour=stake.nano_per_hour if stake else None,
            currency=stake.currency if stake else "",
            evidence=list(condition.evidence),
            ts_ms=now_ms,
            starts_at_ms=now_ms,
        )
        self._put(_Open(alert, now_ms))
        self._pending.pop((condition.rule, condition.subject), None)
        return alert

    def _others(self, rule: AlertRule, cluster: str, rest: Sequence[Condition], now_ms: int) -> list[Alert]:
        """The one alert for all that have none of their own; empty where it is open already."""
        subject = f"{cluster}/{OTHERS}"
        if (rule.id, subject) in self._open:
            self._open[rule.id, subject].held_ms = now_ms
            return []
        stakes = [condition.at_stake for condition in rest if condition.at_stake is not None]
        stake = None
        if len(stakes) == len(rest) and len({one.currency for one in stakes}) == 1:
            stake = Stake(sum(one.nano_per_hour for one in stakes), stakes[0].currency)
        count = len(rest)
        return [
            self._fire(
                Condition(
                    rule.id, subject, count, MOST,
                    lambda: Text(
                        f"and {number(count, 'en')} more on {cluster} beside those that are told: {rule.title.en}",
                        f"et {number(count, 'fr')} de plus sur {cluster}, outre ceux déjà signalés : {rule.title.fr}",
                    ),
                    cluster=cluster, at_stake=stake,
                    evidence=[condition.subject for condition in rest[:SHOWN]],
                ),
                now_ms,
            )
        ]  # fmt: skip

    def _end(self, level: int, now_ms: int) -> list[Alert]:
        """Resolve what was not seen for long enough, of the rules of a level."""
        hidden = self._hidden()
        ended = []
        for key, opened in list(self._open.items()):
            if self._level[key[0]] != level:
                continue
            if (key[0], opened.alert.cluster) in hidden:
                opened.held_ms = now_ms  # nothing is known of it
            over_ms = now_ms - opened.held_ms
            if over_ms > 0 and over_ms >= self._rules[key[0]].keep_s * 1000 and now_ms >= opened.not_before_ms:
                del self._open[key]
                self._count[key[0], opened.alert.cluster] -= 1
                ended.append(_resolved(opened.alert, opened.held_ms, now_ms))
        return sorted(ended, key=lambda alert: (self._rank[alert.rule], alert.subject))


def _level(rule: str, rules: Mapping[str, AlertRule]) -> int:
    """0 for a rule that none hides, else one more than those that do: what is larger is decided first."""
    return 1 + max((_level(above, rules) for above in rules[rule].hidden_by), default=-1)


def _resolved(alert: Alert, ends_at_ms: int, now_ms: int) -> Alert:
    ends_at_ms = max(ends_at_ms, alert.starts_at_ms)
    return alert.model_copy(update={"state": "resolved", "ts_ms": now_ms, "ends_at_ms": ends_at_ms})
