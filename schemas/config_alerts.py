"""Sections `[alerts]` and `[notify]` of the configuration: when there is an alert, and who is told of it."""

import difflib
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.alert_rules import BY_ID
from schemas.config_section import MistakeAt, Section
from schemas.config_values import Amount, BaseUrl, EnvName, HookUrl, Id, Number, Positive, Seconds, Share


class Alerts(Section):
    """Thresholds of the streamed rules, see docs/alerts.md."""

    cost_per_mtok_low: Amount = Fraction(5, 100)
    """Target band of the cost of 1M tokens, CAD; above it there is an alert."""
    cost_per_mtok_high: Amount = Fraction(10, 100)
    tokens_drop_to: Share = Fraction(1, 2)
    """Tokens of the last five minutes, as a share of what they were half an hour to an hour before."""
    energy_per_token_least_j: Number = Fraction(1, 1000)
    """GPU energy, J, that a token takes at least; below, tokens are claimed that no device can have made."""
    busy_without_tokens: Annotated[Share, Positive] = Fraction(1, 10)
    """Share of the time for which devices of a model may be busy while no token is counted."""
    idle_below: Share = Fraction(2, 100)
    idle_for: Seconds = 600.0
    hot_above_c: Number = Fraction(85)
    silent_after: Seconds = 90.0
    """Without a message of a collector, or usage of a cluster; at least three scrape intervals."""
    counter_frozen_for: Seconds = 300.0
    """An energy counter that stands still while the device draws power."""
    clock_skew_above: Seconds = 5.0
    lag_above: Seconds = 60.0
    """From sample to worker."""
    coverage_below: Share = Fraction(99, 100)
    """Share of the time of a cluster's devices that was metered, over five minutes."""
    token_difference: Share = Fraction(1, 100)
    """Share by which the tokens of a deployment's engines and of its gateway may differ within an hour."""
    burn_fast: Annotated[Number, Positive] = Fraction(10)
    """Times the rate at which an agreement's money would last until its end, over 1 h and over 5 min."""
    burn_slow: Annotated[Number, Positive] = Fraction(5, 4)
    """The same over 3 d and over 6 h."""

    @model_validator(mode="after")
    def _band(self) -> "Alerts":
        if self.cost_per_mtok_low > self.cost_per_mtok_high:
            raise MistakeAt("cost_per_mtok_low", "cost_per_mtok_low is above cost_per_mtok_high; exchange them")
        return self


class Alertmanager(Section):
    """Prometheus Alertmanagers that know each other: every one gets every alert."""

    urls: list[BaseUrl] = Field(min_length=1)
    """Without `/api/v2`."""
    user: str = ""
    """Basic authentication; its password comes from the environment variable `password_env`."""
    password_env: EnvName | None = None
    token_env: EnvName | None = None
    """Bearer token, likewise from the environment."""

    @model_validator(mode="after")
    def _one_way_in(self) -> "Alertmanager":
        if self.user and not self.password_env:
            raise MistakeAt("user", f'user "{self.user}" has no password; name its variable: password_env = "..."')
        if self.password_env and not self.user:
            raise MistakeAt("password_env", 'password_env is the password of nobody; add user = "..."')
        if self.token_env and self.user:
            raise MistakeAt("token_env", "a server takes a user or a token; take out token_env, or user")
        return self


class Webhook(Section):
    """Another system that is told of alerts by signed requests, see docs/alerting.md."""

    id: Id
    url: HookUrl
    secret_env: EnvName
    """Environment variable that holds the secret of the signatures."""
    severities: list[Literal["info", "warning", "critical"]] = []
    """Default: all. The same for the next two: an alert must pass all three."""
    audience: Literal["finance", "operations"] | None = None
    rules: list[str] = []
    """Ids of rules, see docs/alerts.md."""

    @model_validator(mode="after")
    def _known_rules(self) -> "Webhook":
        for index, rule in enumerate(self.rules):
            if rule not in BY_ID:
                close = difflib.get_close_matches(rule, BY_ID, n=1)
                remedy = f'did you mean "{close[0]}"?' if close else f"write one of {', '.join(BY_ID)}"
                raise MistakeAt(("rules", index), f'no rule has the id "{rule}"; {remedy}')
        return self


class Notify(Section):
    """Where alerts go, beside the topic and the table."""

    page_url: BaseUrl | None = None
    """Where people reach the page or Grafana: alerts link to the dashboard that explains them. Default: no links; with
    `up` the address of its own page."""
    repeat: Seconds = 60.0
    """Firing alerts are sent to Alertmanager again and again; it resolves what it has not heard of for four times as
    long."""
    alertmanager: list[Alertmanager] = []
    webhook: list[Webhook] = []

    @model_validator(mode="after")
    def _told_apart(self) -> "Notify":
        if not 1 <= self.repeat <= 600:
            raise MistakeAt("repeat", f"repeat of {self.repeat:g} s is not sensible; write from 1s to 10m")
        seen = set[str]()
        for index, webhook in enumerate(self.webhook):
            if webhook.id in seen:
                text = f'a webhook with id "{webhook.id}" is already described above; give this one another id'
                raise MistakeAt(("webhook", index, "id"), text)
            seen.add(webhook.id)
        for index, section in enumerate(self.alertmanager):
            for number, url in enumerate(section.urls):
                if url in seen:
                    raise MistakeAt(
                        ("alertmanager", index, "urls", number), f'"{url}" is listed twice; take one of the two out'
                    )
                seen.add(url)
        return self
