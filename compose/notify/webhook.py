"""A signed webhook: JSON in the shape of Grafana's webhook contact point, one change per request.

    Commonwatt-Signature: t=1764320000,v1=HEX
    Idempotency-Key: FINGERPRINT-START-STATE

HEX is HMAC-SHA256 over `t`, a full stop and the body as it was sent. A receiver compares it, refuses a `t` that is long
ago, and drops a key that it has seen. Any status of the 200s means that the change was taken.
"""

import hashlib
import hmac
import json
from collections.abc import Collection

from compose.notify import words
from compose.notify.alertmanager import timestamp
from compose.notify.changes import FIRING, Change
from compose.notify.http import post, session
from schemas.economics import Alert

SIGNATURE = "Commonwatt-Signature"
KEY = "Idempotency-Key"
_NOT_ENDED = "0001-01-01T00:00:00Z"  # as Grafana writes it

Json = dict[str, object]


class Webhook:
    """One receiver. The filters let everything pass while they are empty."""

    stateful = False

    def __init__(
        self, name: str, url: str, secret: str, page_url: str | None, *,
        severities: Collection[str] = (), audience: str | None = None, rules: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.id = name
        self._url = url
        self._secret = secret.encode()
        self._page_url = page_url
        self._severities = frozenset(severities)
        self._audience = audience
        self._rules = frozenset(rules)
        self._session = session()

    def wants(self, alert: Alert) -> bool:
        """Whether the filters let it pass."""
        return (
            (not self._severities or alert.severity in self._severities)
            and self._audience in (None, words.audience(alert))
            and (not self._rules or alert.rule in self._rules)
        )

    async def deliver(self, alert: Alert, now_ms: int) -> None:
        """Tell one change, signed anew. Raises Later or Refused."""
        body = json.dumps(message(self.id, alert, self._page_url), ensure_ascii=False).encode()
        headers = {SIGNATURE: signature(self._secret, now_ms // 1000, body), KEY: Change.of(alert).key}
        await post(self._session, self._url, body, headers)

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """Value of the header of a body that is sent at a moment (unix seconds)."""
    digest = hmac.new(secret, f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def message(receiver: str, alert: Alert, page_url: str | None) -> Json:
    """The body: Grafana's fields, and in the alert those of ours that Grafana has no place for."""
    labels, annotations, url = words.labels(alert), words.annotations(alert), words.link(page_url, alert)
    firing = alert.state == FIRING
    amount = words.at_stake(alert)
    told: Json = {
        "status": alert.state,
        "labels": labels,
        "annotations": annotations,
        "startsAt": timestamp(alert.starts_at_ms),
        "endsAt": _NOT_ENDED if alert.ends_at_ms is None else timestamp(alert.ends_at_ms),
        "generatorURL": url,
        "fingerprint": alert.fingerprint,
        "silenceURL": "",
        "dashboardURL": url,
        "panelURL": url,
        "imageURL": "",
        "values": {"value": alert.value, "threshold": alert.threshold},
        "valueString": f"[ var='value' value={alert.value:g} ], [ var='threshold' value={alert.threshold:g} ]",
        "value": alert.value,
        "threshold": alert.threshold,
        "at_stake_per_hour": None if amount is None else f"{amount:f}",
        "currency": alert.currency,
        "evidence": alert.evidence,
    }
    mark = "FIRING" if firing else "RESOLVED"
    return {
        "receiver": receiver,
        "status": alert.state,
        "alerts": [told],
        "groupLabels": {"alertname": alert.rule, "subject": alert.subject},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": page_url or "",
        "version": "1",
        "groupKey": f'{{}}:{{alertname="{alert.rule}", subject="{alert.subject}"}}',
        "truncatedAlerts": 0,
        "orgId": 1,
        "title": f"[{mark}] {words.title(alert, 'en')}: {alert.subject}",
        "state": "alerting" if firing else "ok",
        "message": annotations["description"],
    }
