"""The page of a LiteLLM proxy, written by Python's prometheus_client.

Tokens are counted when a request ends, by team. The request counter names the model as ``requested_model`` only
(litellm types of 2026). Keys are hashes, users and end users are not recorded. `model` and `requested_model` are the
same here.
"""

import hashlib

from collectors.simulator.formats import python_float, sorted_label_set
from collectors.simulator.gateway import Teams
from collectors.simulator.pages.python_process import head, process_head
from collectors.simulator.topology import Gateway

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAMILIES: tuple[tuple[str, str], ...] = (
    ("litellm_proxy_total_requests_metric", "Total number of requests made to the proxy server"),
    ("litellm_requests_metric", "Total number of LLM calls to litellm - track total per API Key, team, user"),
    ("litellm_spend_metric", "Total spend on LLM requests"),
    ("litellm_total_tokens_metric", "Total number of input + output tokens from LLM requests"),
    ("litellm_input_tokens_metric", "Total number of input tokens from LLM requests"),
    ("litellm_output_tokens_metric", "Total number of output tokens from LLM requests"),
)


class LiteLlmPage:
    """One gateway's page. A team appears with its first finished request."""

    content_type = CONTENT_TYPE

    def __init__(self, gateway: Gateway, teams: Teams, started_unix_s: float) -> None:
        self._teams = teams
        self._first = gateway.first_team
        self._started = started_unix_s
        self._labels = [self._team_labels(gateway, team) for team in gateway.teams]

    def render(self) -> bytes:
        """The page as of now."""
        out = [process_head(self._started)]
        for family, text in _FAMILIES:
            for suffix, kind in (("total", "counter"), ("created", "gauge")):
                name = f"{family}_{suffix}"
                out.append(head(name, kind, text))
                for index in range(len(self._labels)):
                    number = self._first + index
                    if self._teams.requests[number]:
                        value = self._started if suffix == "created" else self._value(family, number)
                        out.append(f"{name}{self._labels[index][family]} {python_float(value)}\n")
        return "".join(out).encode()

    def _value(self, family: str, number: int) -> float:
        prompt, generated = int(self._teams.prompt_tokens[number]), int(self._teams.generation_tokens[number])
        return {
            "litellm_spend_metric": 0.0,  # self-hosted models have no list price at the gateway
            "litellm_total_tokens_metric": prompt + generated,
            "litellm_input_tokens_metric": prompt,
            "litellm_output_tokens_metric": generated,
        }.get(family, int(self._teams.requests[number]))

    @staticmethod
    def _team_labels(gateway: Gateway, team: str) -> dict[str, str]:
        common = {
            "api_key_alias": f"{team}-key",
            "end_user": "None",
            "hashed_api_key": hashlib.sha256(f"{gateway.name}/{team}".encode()).hexdigest(),
            "team": team,
            "team_alias": team,
            "user": "None",
        }
        proxy = {"requested_model": gateway.model, "route": "/v1/chat/completions", "status_code": "200"}
        model = {"model": gateway.model}
        return {
            family: sorted_label_set(
                common
                | (proxy if family == "litellm_proxy_total_requests_metric" else model)
                | ({"requested_model": gateway.model} if "_tokens_" in family else {})
            )
            for family, _ in _FAMILIES
        }
