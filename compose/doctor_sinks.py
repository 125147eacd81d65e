"""The part of `commonwatt doctor` that reaches those who are told of alerts. Nobody is told of anything."""

import asyncio
import os
from collections.abc import Mapping

import aiohttp

from compose.findings import Finding
from compose.notify.sinks import NoSecret, authorization_of, check_secrets
from schemas.config_alerts import Alertmanager, Notify, Webhook

_TIMEOUT = aiohttp.ClientTimeout(total=10)


async def examine_sinks(notify: Notify, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """A finding for each Alertmanager and webhook; one for the secrets where they are not in order."""
    found = []
    for part in (*notify.alertmanager, *notify.webhook):
        alone = Notify(webhook=[part]) if isinstance(part, Webhook) else Notify(alertmanager=[part])
        try:
            check_secrets(alone, environment)
        except NoSecret as error:
            found.append(Finding("alerts", str(error), "set it where `commonwatt notify` or `up` is started"))
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        asked = [
            *(
                _alertmanager(session, section, url, environment)
                for section in notify.alertmanager
                for url in section.urls
            ),
            *(_webhook(session, webhook) for webhook in notify.webhook),
        ]
        return [*found, *await asyncio.gather(*asked)]


async def _alertmanager(
    session: aiohttp.ClientSession, section: Alertmanager, url: str, environment: Mapping[str, str]
) -> Finding:
    subject = f"Alertmanager {url}"
    authorization = authorization_of(section, environment)
    headers = {"Authorization": authorization} if authorization else {}
    try:
        async with session.get(f"{url}/api/v2/status", headers=headers, allow_redirects=False) as answer:
            if answer.status in (401, 403):
                remedy = "correct user and password_env, or token_env"
                return Finding(subject, f"does not let us in (HTTP {answer.status})", remedy)
            if answer.status != 200:
                return Finding(subject, f"HTTP {answer.status} at /api/v2/status", "write its address up to /api/v2")
            version = (await answer.json(content_type=None))["versionInfo"]["version"]
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Finding(subject, _why(error), "start it, or correct its address in urls")
    except (ValueError, LookupError, TypeError):
        return Finding(subject, "what answers there is no Alertmanager", "write its address up to /api/v2")
    return Finding(subject, f"answers, version {version}")


async def _webhook(session: aiohttp.ClientSession, webhook: Webhook) -> Finding:
    """Any answer will do: what a receiver says to a request that tells nothing means nothing."""
    subject = f"webhook {webhook.id}"
    try:
        async with session.head(webhook.url, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Finding(subject, _why(error), "start the receiver, or correct its url")
    return Finding(subject, f"its server answers (HTTP {status} to HEAD)")


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached ({error.os_error.strerror or error.os_error})"
    return f"cannot be reached ({str(error) or type(error).__name__})"
