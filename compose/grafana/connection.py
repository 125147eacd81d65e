"""One Grafana through its HTTP API, with what goes wrong as a sentence."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import niquests
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaServerError, GrafanaTimeoutError

TOKEN, USER, PASSWORD = "GRAFANA_TOKEN", "GRAFANA_USER", "GRAFANA_PASSWORD"
_TIMEOUT_S = (5.0, 90.0)  # to connect, to answer: longer than any query may take
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Json = dict[str, Any]


class GrafanaRefuses(Exception):
    """Grafana cannot be reached, or does not do what was asked. `str()` is the whole message for the user."""

    def __init__(self, text: str, said: str = "") -> None:
        super().__init__(text)
        self.said = said
        """Grafana's own words about this one request; empty: it says nothing, or knows nobody of that name."""


class NotThere(GrafanaRefuses):
    """Grafana knows nothing of that name (404)."""


class Grafana:
    """A client; every request says what it is for."""

    def __init__(self, url: str) -> None:
        """Credentials come from the environment. Raises GrafanaRefuses when there are none or the URL is none."""
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number
            fits = False
        if not fits:
            raise GrafanaRefuses(f'--url "{url}" is no address: write for example http://127.0.0.1:3000.')
        if parts.username or parts.password:
            raise GrafanaRefuses(
                f"A password does not belong in --url, where others see it: set {TOKEN}, or {USER} and {PASSWORD}."
            )
        # The client puts the path before "api" as it is.
        address = f"{self.url}/" if parts.path else self.url
        self.api: Any = GrafanaApi.from_url(address, credential=_credential(), timeout=_TIMEOUT_S)
        if parts.hostname in _LOOPBACK:
            self.api.client.s.trust_env = False  # no proxy of the environment between this machine and itself

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except GrafanaTimeoutError:
            raise GrafanaRefuses(f"The Grafana at {self.url} does not answer in time: could not {what}.") from None
        except GrafanaServerError as error:
            raise GrafanaRefuses(
                f"The Grafana at {self.url} fails ({error.status_code}): could not {what}: {_said(error)}. "
                "See its log, and run this again: what is there by now stays.",
                _said(error),
            ) from None
        except GrafanaClientError as error:
            raise self._refusal(what, error) from None
        except niquests.exceptions.JSONDecodeError:
            raise self._no_grafana() from None
        except (GrafanaException, niquests.exceptions.RequestException):
            raise GrafanaRefuses(f"The Grafana at {self.url} cannot be reached: start it, or correct --url.") from None

    def ask(self, what: str, request: Callable[[Any], object]) -> Json:
        """Grafana's answer to a request that is to `what`, such as "make the folder X". Raises GrafanaRefuses."""
        with self._asking(what):
            answer = request(self.api)
            if isinstance(answer, dict):
                return answer
        raise self._no_grafana()

    def read(self, what: str, request: Callable[[Any], object]) -> Json | None:
        """What Grafana says of something; None when it knows nothing of it. Raises GrafanaRefuses."""
        try:
            return self.ask(f"read {what}", request)
        except NotThere:
            return None

    def _no_grafana(self) -> GrafanaRefuses:
        return GrafanaRefuses(
            f"What answers at {self.url} is no Grafana: correct --url, with the path below which Grafana is served."
        )

    def _refusal(self, what: str, error: GrafanaClientError) -> GrafanaRefuses:
        said = _said(error)
        match error.status_code:
            case 401:
                return GrafanaRefuses(
                    f"The Grafana at {self.url} does not accept who asks: set {TOKEN} to a valid token of a service "
                    f"account, or {USER} and {PASSWORD}."
                )
            case 403:
                return GrafanaRefuses(
                    f"Grafana does not allow this account to {what} ({said}): give its service account the role Admin.",
                    said,
                )
            case 404:
                return NotThere(
                    f"Grafana has nothing to {what} (404): is {self.url} a Grafana of version 11.6 or newer, with the "
                    "path below which it is served?",
                    said,
                )
            case 409 if "someone else" not in said:
                return GrafanaRefuses(
                    f"Could not {what}: something else has this name or uid already ({said}). Rename or remove that in "
                    "Grafana, and run this again."
                )
            case 409 | 412:
                return GrafanaRefuses(
                    f"Could not {what}: somebody changed it since it was read. Nothing of theirs was overwritten: run "
                    "this again to see what differs, and decide then."
                )
        return GrafanaRefuses(f"Could not {what}: Grafana answers {error.status_code}: {said}.", said)


def _credential() -> str | tuple[str, str]:
    token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if token:
        return token
    if user and password:
        return user, password
    raise GrafanaRefuses(
        f"Grafana has to know who asks: set {TOKEN} to the token of a service account with the role Admin, or {USER} "
        f"and {PASSWORD}."
    )


def _said(error: GrafanaException) -> str:
    """Grafana's own words, on one line."""
    words = response = error.response
    if isinstance(response, dict):
        answers = response.get("results", {}).values()
        words = "; ".join(str(answer["error"]) for answer in answers if answer.get("error"))
        words = words or response.get("message") or response.get("error")
    return " ".join(str(words or error.message).split()).rstrip(".")[:300]
