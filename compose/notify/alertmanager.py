"""Prometheus Alertmanager: `POST /api/v2/alerts`, as Prometheus itself does it.

Alertmanager is told the state: it resolves a firing alert that it has not heard of for a while, so what is open is sent
again and again, and what has ended for a quarter of an hour more, so that one that was started anew hears of it.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from compose.notify import words
from compose.notify.changes import RESOLVED
from compose.notify.http import post, session
from schemas.economics import Alert

HELD_TIMES = 4
"""A firing alert ends by itself so many repetitions after the last one (Prometheus: rules/manager.go, sendAlerts)."""
RESOLVED_MS = 15 * 60_000
"""What has ended is repeated for this long (Prometheus: resolvedRetention in rules/alerting.go)."""

Json = dict[str, object]


class Alertmanager:
    """One server. It gets every alert; which ones go to whom is said in its own configuration."""

    stateful = True

    def __init__(self, url: str, page_url: str | None, repeat_s: float, authorization: str = "") -> None:
        self.id = url
        self._url = f"{url}/api/v2/alerts"
        self._page_url = page_url
        self._held_ms = int(HELD_TIMES * repeat_s * 1000)
        self._session = session(authorization)

    def wants(self, alert: Alert) -> bool:
        """Everything."""
        return True

    async def deliver(self, alert: Alert, now_ms: int) -> None:
        """Tell one change. Raises Later or Refused."""
        await self.tell([alert], now_ms)

    async def tell(self, alerts: Sequence[Alert], now_ms: int) -> None:
        """Tell the state of several alerts at once. Raises Later or Refused."""
        body = [postable(alert, self._page_url, now_ms + self._held_ms) for alert in alerts]
        await post(self._session, self._url, json.dumps(body).encode(), {})

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()


def postable(alert: Alert, page_url: str | None, held_until_ms: int) -> Json:
    """An alert as the API takes it. Its labels are its identity there; they are those of its fingerprint."""
    ends_at_ms = held_until_ms
    if alert.state == RESOLVED:
        ends_at_ms = max(alert.ends_at_ms or alert.ts_ms, alert.starts_at_ms)
    return {
        "labels": words.labels(alert),
        "annotations": words.annotations(alert),
        "startsAt": timestamp(alert.starts_at_ms),
        "endsAt": timestamp(ends_at_ms),
        "generatorURL": words.link(page_url, alert),
    }


def timestamp(at_ms: int) -> str:
    """A moment in RFC 3339, to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
