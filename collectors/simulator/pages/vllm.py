"""The /metrics page of a vLLM v1 server (2026-03), written by Python's prometheus_client.

Counters print with ``_total`` and a ``_created`` gauge each; ``vllm:iteration_tokens_total`` is a histogram in spite of
its name; with several engines behind one address every family has a line per engine. All counters start at zero with
the process; ``process_start_time_seconds`` and the ``_created`` times say when that was.
"""

from collections.abc import Iterator, Sequence

from collectors.simulator.engines import Engines
from collectors.simulator.formats import label_set, python_float, sorted_label_set
from collectors.simulator.pages.python_process import block, head, process_head
from collectors.simulator.pages.vllm_families import (
    CACHE_CONFIG,
    CACHE_TEXT,
    FAMILIES,
    HISTOGRAMS,
    HTTP_AFTER,
    HTTP_BEFORE,
    HTTP_LATENCY,
    Series,
)
from collectors.simulator.topology import Server

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LOAD_S = 8.0  # from the start of the process to the first counter


class VllmPage:
    """One server's page. The text is kept for the life of its process; only numbers are put in."""

    content_type = CONTENT_TYPE

    def __init__(self, server: Server, engines: Engines, epoch_unix_s: float) -> None:
        self._server = server
        self._engines = engines
        self._epoch = epoch_unix_s
        self._process = -1
        self._text = ""

    def render(self) -> bytes:
        """The page as of the last step."""
        if self._server.process != self._process:
            self._process = self._server.process
            self._text = self._compose()
        return (self._text % tuple(self._numbers())).encode()

    def _numbers(self) -> Iterator[str]:
        """Numbers in the order of the page's open places."""
        values = [self._values(engine) for engine in self._server.engines]
        for family in FAMILIES:
            for engine_values in values:
                for series in family.series:
                    yield python_float(engine_values[series.key])
        for name in HISTOGRAMS:
            for engine in self._server.engines:
                yield from self._histogram(name, [engine])
        yield from self._histogram(HTTP_LATENCY[0], self._server.engines)

    def _histogram(self, name: str, engines: Sequence[int]) -> Iterator[str]:
        counts, total = self._engines.histograms[name].totals(engines)
        for count in counts:
            yield f"{count}.0" if count < 1_000_000 else python_float(count)
        yield python_float(counts[-1])
        yield python_float(total)

    def _values(self, engine: int) -> dict[str, float]:
        state = self._engines
        counters = {name: state.process(name, engine) for name in state.life}
        return {
            **counters,
            "computed_tokens": counters["prompt_tokens"] - counters["cached_tokens"],
            "running": float(state.running[engine]),
            "waiting": float(state.waiting[engine]),
            "kv_used": float(state.kv_used[engine]),
            "0": 0.0,
            "1": 1.0,
        }

    def _compose(self) -> str:
        began = self._epoch + self._server.started_s
        created = python_float(began + _LOAD_S)
        out = [process_head(began)]
        for family in FAMILIES:
            suffix = "_total" if family.kind == "counter" else ""
            labels = self._label_sets(family.series)
            out.append(block(f"vllm:{family.name}{suffix}", family.kind, family.text, labels, "%s"))
            if suffix:
                out.append(block(f"vllm:{family.name}_created", "gauge", family.text, labels, created))
        for name, text in HISTOGRAMS.items():
            out.append(head(f"vllm:{name}", "histogram", text))
            bases = self._bases()
            out.extend(self._buckets(f"vllm:{name}", name, base) for base in bases)
            out.append(block(f"vllm:{name}_created", "gauge", text, [label_set(base) for base in bases], created))
        cache = [
            sorted_label_set(CACHE_CONFIG | {"engine": number, "num_gpu_blocks": 32_000 + 1000 * number})
            for number in range(len(self._server.engines))
        ]
        out.append(block("vllm:cache_config_info", "gauge", CACHE_TEXT, cache, "1.0"))
        out.extend(head(*family) for family in HTTP_BEFORE)
        name, text = HTTP_LATENCY
        out.append(head(name, "histogram", text) + self._buckets(name, name, {}))
        out.append(block(f"{name}_created", "gauge", text, [""], created))
        out.append(head(*HTTP_AFTER))
        return "".join(out)

    def _buckets(self, shown: str, name: str, base: dict[str, object]) -> str:
        bounds = [*map(python_float, self._engines.histograms[name].bounds), "+Inf"]
        lines = [f"{shown}_bucket{sorted_label_set(base | {'le': bound})} %s\n" for bound in bounds]
        return "".join(lines) + f"{shown}_count{label_set(base)} %s\n{shown}_sum{label_set(base)} %s\n"

    def _bases(self) -> list[dict[str, object]]:
        return [{"engine": number, "model_name": self._server.model} for number in range(len(self._server.engines))]

    def _label_sets(self, series: Sequence[Series]) -> list[str]:
        """Engine by engine."""
        return [sorted_label_set(base | one.labels) for base in self._bases() for one in series]
