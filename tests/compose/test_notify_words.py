"""What an alert says: every rule in both languages, exact money, links that lead to what it is about."""

from urllib.parse import parse_qs, urlsplit

import pytest

from compose.notify import words
from compose.notify.alertmanager import postable
from compose.notify.http import _after_s
from compose.notify.webhook import message, signature
from schemas.alert_rules import RULES, AlertRule
from tests.compose.alerting import firing, resolved

PAGE = "https://page.example"
AT_MS = 1_795_856_360_578  # 2026-11-28 08:59:20.578 UTC
PAPER = "c3269323a8ebd95b10cfe42584c51810e32261f420144b4fcc85b609b1bde884"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_told_in_full(rule: AlertRule) -> None:
    """What happened, since when, what is at stake, what to look at; and a link."""
    alert = firing(rule=rule.id, severity=rule.severity, starts_at_ms=AT_MS)
    for lang in ("en", "fr"):
        text = words.description(alert, lang)
        assert text.startswith(words.summary(alert, lang))
        assert "2026-11-28 08:59:20 UTC" in text
        assert "CAD" in text
        assert rule.advice.of(lang) in text
    assert words.audience(alert) in ("finance", "operations")
    assert urlsplit(words.link(PAGE, alert)).path == f"/d/{rule.dashboard}"
    assert all(words.annotations(alert).values())


def test_what_is_over_is_told_as_over() -> None:
    """From when to when, and nothing to do."""
    alert = firing(starts_at_ms=AT_MS)
    over = alert.model_copy(update={"state": "resolved", "ends_at_ms": AT_MS + 60_000})
    assert words.description(over, "en") == (
        "agreement-1 has used 93.0% of its cap. It is over: from 2026-11-28 08:59:20 UTC to 2026-11-28 09:00:20 UTC. "
        "At stake were 1,234.50\u00a0CAD per hour. At fault: spent 930,000.00 CAD."
    )
    assert "C’est terminé\u00a0: du 2026-11-28 08:59:20 UTC au" in words.description(over, "fr")


def test_what_is_not_known_is_said_so() -> None:
    """Money that is not known is no zero; a rule of another version has no advice, no link, and operators get it."""
    alert = firing(rule="of_tomorrow", at_stake_nano_per_hour=None, evidence=[])
    assert words.description(alert, "en").endswith("What is at stake is not known.")
    assert message("ops", alert, PAGE)["alerts"][0]["at_stake_per_hour"] is None  # type: ignore[index]
    assert words.link(PAGE, alert) == ""
    assert words.audience(alert) == "operations"
    assert "advice" not in words.annotations(alert)


@pytest.mark.parametrize(("nano", "exact", "read"), [
    (0, "0.000000000", "0.00"),
    (1, "0.000000001", "0.0000"),
    (123_456_789_012_345_678_901, "123456789012.345678901", "123,456,789,012.35"),
])  # fmt: skip
def test_money_is_exact_for_programs_and_rounded_for_people(nano: int, exact: str, read: str) -> None:
    """Never through a float."""
    alert = firing(at_stake_nano_per_hour=nano)
    assert message("ops", alert, PAGE)["alerts"][0]["at_stake_per_hour"] == exact  # type: ignore[index]
    assert words.money(alert, "en") == f"{read}\u00a0CAD"


def test_a_link_leads_to_what_it_is_about() -> None:
    """Variables for the page and for Grafana, properly escaped, a range around the start, and the panel."""
    alert = firing(rule="over_temperature", cluster="fir & co", agreement="", model="a/b c", starts_at_ms=AT_MS)
    parts = urlsplit(words.link(PAGE, alert))
    query = {name: value for name, (value,) in parse_qs(parts.query).items()}
    assert query == {
        "from": str(AT_MS - 3_600_000), "to": str(AT_MS + 3_600_000), "cluster": "fir & co", "model": "a/b c",
        "var-cluster": "fir & co", "var-model": "a/b c",
    }  # fmt: skip
    assert parts.fragment == "panel-hottest"


def test_an_alertmanager_sees_one_alert_from_beginning_to_end() -> None:
    """The same labels and the same start; its end is ahead while it fires, and the real one afterwards."""
    alert = firing(starts_at_ms=AT_MS)
    over = alert.model_copy(update={"state": "resolved", "ends_at_ms": AT_MS + 60_000})
    begins, ends = postable(alert, PAGE, AT_MS + 240_000), postable(over, PAGE, AT_MS + 999_000)
    assert begins["labels"] == ends["labels"]
    assert begins["startsAt"] == ends["startsAt"] == "2026-11-28T08:59:20.578Z"
    assert (begins["endsAt"], ends["endsAt"]) == ("2026-11-28T09:03:20.578Z", "2026-11-28T09:00:20.578Z")


def test_grafana_s_shape() -> None:
    """Every field that Grafana's own webhook has (`receiver` to `message`, and those of an alert), with its type."""
    told = message("ops", firing(), PAGE)
    alerts = told["alerts"]
    assert isinstance(alerts, list)
    assert {name: type(value) for name, value in told.items()} == {
        "receiver": str, "status": str, "alerts": list, "groupLabels": dict, "commonLabels": dict,
        "commonAnnotations": dict, "externalURL": str, "version": str, "groupKey": str, "truncatedAlerts": int,
        "orgId": int, "title": str, "state": str, "message": str,
    }  # fmt: skip
    assert {
        "status", "labels", "annotations", "startsAt", "endsAt", "values", "generatorURL", "fingerprint", "silenceURL",
        "dashboardURL", "panelURL", "imageURL", "valueString",
    } <= alerts[0].keys()  # fmt: skip
    assert (told["state"], message("ops", resolved(firing()), PAGE)["state"]) == ("alerting", "ok")


def test_a_signature_on_paper() -> None:
    """HMAC-SHA256, computed with openssl: printf '1795856360.{}' | openssl dgst -sha256 -hmac secret"""
    assert signature(b"secret", 1_795_856_360, b"{}") == f"t=1795856360,v1={PAPER}"


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [(None, 0, 0), ("7", 7, 7), ("999999", 3600, 3600), ("soon", 0, 0), ("Wed, 01 Jan 2020 00:00:00 GMT", 0, 0),
     ("Fri, 01 Jan 2100 00:00:00 GMT", 3600, 3600), ("-5", 0, 0)],
)  # fmt: skip
def test_how_long_a_receiver_wants_to_be_left_alone(header: str | None, least: float, most: float) -> None:
    """Seconds or a date; never for ever, and nothing where it cannot be read."""
    assert least <= _after_s(header) <= most
