"""LiteLLM proxy: https://docs.litellm.ai/docs/proxy/prometheus

A gateway knows tenants: counters are summed to team and model. Its other labels (end user, key, e-mail) stay here.
Requests are those answered with success; a proxy that does not label them with the model counts them under the one
that was asked for.
"""

from collections.abc import Mapping

from collectors.exposition import Family, PageReader
from collectors.readings import Origin, TokenReading
from collectors.token_rows import PROCESS, Layer, TokenKey, TokenPages

_COUNTERS = {
    "litellm_input_tokens_metric": "prompt_tokens",
    "litellm_output_tokens_metric": "generation_tokens",
    "litellm_proxy_total_requests_metric": "requests",
}
FAMILIES = {
    **{
        f"{name}{suffix}": Family(column, counter=True)
        for name, column in _COUNTERS.items()
        for suffix in ("_total", "")
    },
    "process_start_time_seconds": Family("process_start"),
    "litellm_input_tokens_metric_created": Family("created"),
}

GATEWAY = Layer(
    name="gateway",
    sources={
        "prompt_tokens": ("prompt_tokens",),
        "generation_tokens": ("generation_tokens",),
        "requests": ("requests",),
    },
    started=("process_start", "created"),
    may_be_empty=True,
)


class LitellmReader:
    """Reads the pages of one LiteLLM proxy."""

    def __init__(self, origin: Origin) -> None:
        self._reader = PageReader(FAMILIES, _identify)
        self._pages = TokenPages(GATEWAY, origin)

    def read(self, page: bytes) -> TokenReading:
        """Raises PageError when nothing of the page can be used."""
        return self._pages.reading(self._reader.read(page))


def _identify(column: str, labels: Mapping[str, str]) -> TokenKey | None:
    if column == "process_start":
        return PROCESS
    if column == "requests" and not labels.get("status_code", "200").startswith("2"):
        return None
    model = _known(labels, "model") or _known(labels, "requested_model")
    return TokenKey("", model, _known(labels, "team") or _known(labels, "team_alias"))


def _known(labels: Mapping[str, str], name: str) -> str:
    """A label's value; LiteLLM prints None for what it does not know."""
    value = labels.get(name, "")
    return "" if value == "None" else value
