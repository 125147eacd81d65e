"""What an alert says to people: what happened, since when, how much money is at stake per hour, what to look at."""

from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlencode

from dashboards.boards import BY_UID
from dashboards.units import AMOUNT, figure
from schemas.alert_rules import BY_ID
from schemas.economics import Alert
from schemas.texts import Lang, Text

FINANCE = "finance"
OPERATIONS = "operations"
_FINANCE_BOARDS = frozenset({"cw-subsidy-burn", "cw-agreement", "cw-unit-economics"})
_HOUR_MS = 3_600_000
# What a link shows before and after the start of an alert: money moves in days, machines in minutes.
_AROUND_MS = {FINANCE: (7 * 24 * _HOUR_MS, 24 * _HOUR_MS), OPERATIONS: (_HOUR_MS, _HOUR_MS)}

_SINCE = Text("Since {since}.", "Depuis {since}.")
_LASTED = Text("It is over: from {since} to {end}.", "C’est terminé : du {since} au {end}.")
_AT_STAKE = Text("At stake: {money} per hour.", "En jeu : {money} par heure.")
_WAS_AT_STAKE = Text("At stake were {money} per hour.", "Étaient en jeu : {money} par heure.")
_NOT_KNOWN = Text("What is at stake is not known.", "Le montant en jeu n’est pas connu.")
_EVIDENCE = Text("At fault: {evidence}.", "En cause : {evidence}.")


def summary(alert: Alert, lang: Lang) -> str:
    """What happened; in English where an earlier version recorded nothing else."""
    return (alert.summary_fr or alert.summary) if lang == "fr" else alert.summary


def advice(alert: Alert, lang: Lang) -> str:
    """What to look at and what to do; empty for a rule of another version."""
    rule = BY_ID.get(alert.rule)
    return rule.advice.of(lang) if rule else ""


def title(alert: Alert, lang: Lang) -> str:
    """The rule in words; its id for a rule of another version."""
    rule = BY_ID.get(alert.rule)
    return rule.title.of(lang) if rule else alert.rule


def audience(alert: Alert) -> str:
    """Who acts on it: finance or operations, as the dashboard that explains it."""
    rule = BY_ID.get(alert.rule)
    if rule is None:
        return OPERATIONS
    board = BY_UID.get(rule.dashboard)
    if board is None:
        return FINANCE if rule.dashboard in _FINANCE_BOARDS else OPERATIONS
    return board.audience


def at_stake(alert: Alert) -> Decimal | None:
    """Money per hour that the matter concerns, exact; None when it is not known."""
    amount = alert.at_stake_nano_per_hour
    return None if amount is None else Decimal(amount).scaleb(-9)


def money(alert: Alert, lang: Lang) -> str:
    """The same as people read it, such as 1,234.50 CAD; empty when it is not known."""
    amount = at_stake(alert)
    return "" if amount is None else f"{figure(amount, AMOUNT, lang).digits}\u00a0{alert.currency}".rstrip()


def moment(at_ms: int) -> str:
    """A moment to the second, with its zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def description(alert: Alert, lang: Lang) -> str:
    """All of it in a few sentences."""
    since, stake, ended = moment(alert.starts_at_ms), money(alert, lang), alert.ends_at_ms is not None
    parts = [_sentence(summary(alert, lang))]
    if alert.ends_at_ms is None:
        parts.append(_SINCE.of(lang).format(since=since))
    else:
        parts.append(_LASTED.of(lang).format(since=since, end=moment(alert.ends_at_ms)))
    parts.append((_WAS_AT_STAKE if ended else _AT_STAKE).of(lang).format(money=stake) if stake else _NOT_KNOWN.of(lang))
    if not ended:
        parts.append(advice(alert, lang))
    if alert.evidence:
        parts.append(_EVIDENCE.of(lang).format(evidence=", ".join(alert.evidence)))
    return " ".join(filter(None, parts))


def link(page_url: str | None, alert: Alert) -> str:
    """The dashboard that explains it, on what it is about, around its start; empty without a page or for a rule of
    another version.

    Variables are named as the built-in page has them and once more as Grafana does: each passes over the other's.
    """
    rule = BY_ID.get(alert.rule)
    if page_url is None or rule is None:
        return ""
    before_ms, after_ms = _AROUND_MS[audience(alert)]
    shown = {
        name: value
        for name in ("cluster", "agreement", "model")
        if (value := getattr(alert, name))
    }  # fmt: skip
    query = {
        "from": str(alert.starts_at_ms - before_ms),
        "to": str(max(alert.starts_at_ms, alert.ends_at_ms or 0) + after_ms),
        **shown,
        **{f"var-{name}": value for name, value in shown.items()},
    }
    return f"{page_url}/d/{rule.dashboard}?{urlencode(query)}#panel-{rule.panel}"


def labels(alert: Alert) -> dict[str, str]:
    """What an alert is about, for routing: those that say something."""
    found = {
        "alertname": alert.rule,
        "severity": alert.severity,
        "audience": audience(alert),
        "subject": alert.subject,
        "cluster": alert.cluster,
        "agreement": alert.agreement,
        "model": alert.model,
    }
    return {name: value for name, value in found.items() if value}


def annotations(alert: Alert) -> dict[str, str]:
    """What an alert says, in both languages."""
    found = {
        "title": title(alert, "en"),
        "title_fr": title(alert, "fr"),
        "summary": summary(alert, "en"),
        "summary_fr": summary(alert, "fr"),
        "description": description(alert, "en"),
        "description_fr": description(alert, "fr"),
        "advice": advice(alert, "en"),
        "advice_fr": advice(alert, "fr"),
        "at_stake_per_hour": money(alert, "en"),
    }
    return {name: value for name, value in found.items() if value}


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
