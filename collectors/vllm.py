"""vLLM: https://docs.vllm.ai/en/latest/usage/metrics.html

Each engine of a server (label `engine`; none in v0) is a replica of its own. `prompt_tokens` includes cached tokens.
Names are accepted with and without the `_total` that OpenMetrics moves between family and sample. Families that look
like counters but are histograms (`vllm:iteration_tokens_total`) are not among them.
"""

from collections.abc import Mapping

from collectors.exposition import Family, PageReader
from collectors.readings import Origin, TokenReading
from collectors.token_rows import PROCESS, Layer, TokenKey, TokenPages

_COUNTERS = {
    "vllm:prompt_tokens": "prompt_tokens",
    "vllm:generation_tokens": "generation_tokens",
    "vllm:request_success": "requests",
    "vllm:prompt_tokens_cached": "cached_tokens",
    "vllm:prompt_tokens_by_source": "prompt_tokens_by_source",
    "vllm:prefix_cache_hits": "prefix_cache_hits",
    "vllm:gpu_prefix_cache_hits": "gpu_prefix_cache_hits",
}
FAMILIES = {
    **{
        f"{name}{suffix}": Family(column, counter=True)
        for name, column in _COUNTERS.items()
        for suffix in ("_total", "")
    },
    "process_start_time_seconds": Family("process_start"),
    "vllm:prompt_tokens_created": Family("created"),
}
_CACHED_SOURCES = ("local_cache_hit", "external_kv_transfer")

ENGINE = Layer(
    name="engine",
    sources={
        "prompt_tokens": ("prompt_tokens",),
        "cached_tokens": ("cached_tokens", "prompt_tokens_by_source", "prefix_cache_hits", "gpu_prefix_cache_hits"),
        "generation_tokens": ("generation_tokens",),
        "requests": ("requests",),
    },
    started=("process_start", "created"),
    may_be_empty=False,
)


class VllmReader:
    """Reads the pages of one vLLM server."""

    def __init__(self, origin: Origin) -> None:
        self._reader = PageReader(FAMILIES, _identify)
        self._pages = TokenPages(ENGINE, origin)

    def read(self, page: bytes) -> TokenReading:
        """Raises PageError when nothing of the page can be used."""
        return self._pages.reading(self._reader.read(page))


def _identify(column: str, labels: Mapping[str, str]) -> TokenKey | None:
    if column == "process_start":
        return PROCESS
    if column == "prompt_tokens_by_source" and labels.get("source") not in _CACHED_SOURCES:
        return None
    return TokenKey(labels.get("engine", ""), labels.get("model_name", ""))
