"""The sinks that a configuration names, with what is secret from the environment."""

import os
from collections.abc import Mapping
from typing import Protocol

import aiohttp

from compose.notify.alertmanager import Alertmanager
from compose.notify.webhook import Webhook
from schemas.config_alerts import Alertmanager as AlertmanagerSection
from schemas.config_alerts import Notify
from schemas.economics import Alert

MIN_SECRET = 16
"""Characters of a secret that nobody guesses."""


class NoSecret(Exception):
    """A secret that the configuration names is not set. `str()` is the whole message for the user."""


class Sink(Protocol):
    """Somebody who is told of alerts."""

    id: str
    stateful: bool
    """What counts is the state of an alert: a change that another has followed need not be told."""

    def wants(self, alert: Alert) -> bool:
        """Whether it is to be told of an alert at all."""

    async def deliver(self, alert: Alert, now_ms: int) -> None:
        """Tell one change. Raises Later or Refused."""

    async def close(self) -> None:
        """End the connections."""


def is_configured(notify: Notify) -> bool:
    """Whether anybody is told of alerts."""
    return bool(notify.alertmanager or notify.webhook)


def check_secrets(notify: Notify, environment: Mapping[str, str] = os.environ) -> None:
    """Raises NoSecret when a variable is not set, or its secret is too short to keep."""
    for webhook in notify.webhook:
        secret = _secret(environment, webhook.secret_env, f'webhook "{webhook.id}" is signed with a secret')
        if len(secret) < MIN_SECRET:
            raise NoSecret(
                f"the secret in {webhook.secret_env} has {len(secret)} characters: set one of {MIN_SECRET} or more."
            )
    for section in notify.alertmanager:
        for name in (section.password_env, section.token_env):
            if name is not None:
                _secret(environment, name, f"the Alertmanager {section.urls[0]} wants a password or token")


def built(notify: Notify, page_url: str | None, environment: Mapping[str, str] = os.environ) -> list[Sink]:
    """Every sink. Call within a running loop, after `check_secrets`."""
    sinks: list[Sink] = []
    for section in notify.alertmanager:
        authorization = authorization_of(section, environment)
        sinks += [Alertmanager(url, page_url, notify.repeat, authorization) for url in section.urls]
    for webhook in notify.webhook:
        sinks.append(
            Webhook(
                webhook.id, webhook.url, environment[webhook.secret_env], page_url,
                severities=webhook.severities, audience=webhook.audience, rules=webhook.rules,
            )
        )  # fmt: skip
    return sinks


def authorization_of(section: AlertmanagerSection, environment: Mapping[str, str]) -> str:
    """What an Alertmanager is told about who asks; empty when it does not want to know, or the variable is not set."""
    if section.password_env:
        return aiohttp.encode_basic_auth(section.user, environment.get(section.password_env, ""))
    return f"Bearer {environment.get(section.token_env, '')}" if section.token_env else ""


def _secret(environment: Mapping[str, str], name: str, what: str) -> str:
    secret = environment.get(name, "")
    if not secret:
        raise NoSecret(f"{what}, and the environment variable {name} is not set: set it.")
    return secret
