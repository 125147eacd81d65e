"""The /metrics page of a vLLM v1 server (2026-03), written by Python's prometheus_client.

Counters print with ``_total`` and a ``_created`` gauge each; ``vllm:iteration_tokens_total`` is a histogram in spite of its
name; with several engines behind one address every family has a line per engine. All counters start at zero with the
process; ``process_start_time_seconds`` and the ``_created`` times say when that was.
"""

from collections.abc import Sequence
from typing import NamedTuple

from collectors.simulator.engines import Engines
from collectors.simulator.formats import label_set, python_float
from collectors.simulator.topology import Server

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Series(NamedTuple):
    """One line per engine: extra labels (alphabetical with `engine` and `model_name`) and the value's key."""

    labels: dict[str, object]
    key: str


class _Family(NamedTuple):
    name: str
    text: str
    kind: str
    series: tuple[_Series, ...]


def _one(key: str) -> tuple[_Series, ...]:
    return (_Series({}, key),)


_FLOPS = "(for Model Flops Utilization calculations)."
_FAMILIES: tuple[_Family, ...] = (
    _Family("estimated_flops_per_gpu", f"Estimated number of floating point operations per GPU {_FLOPS}", "counter", _one("0")),
    _Family("estimated_read_bytes_per_gpu", f"Estimated number of bytes read from memory per GPU {_FLOPS}", "counter", _one("0")),
    _Family("estimated_write_bytes_per_gpu", f"Estimated number of bytes written to memory per GPU {_FLOPS}", "counter", _one("0")),
    _Family("num_requests_running", "Number of requests in model execution batches.", "gauge", _one("running")),
    _Family("num_requests_waiting", "Number of requests waiting to be processed.", "gauge", _one("waiting")),
    _Family(
        "engine_sleep_state",
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; "
        "weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
        "gauge",
        tuple(
            _Series({"sleep_state": state}, key)
            for state, key in (("awake", "1"), ("weights_offloaded", "0"), ("discard_all", "0"))
        ),
    ),
    _Family("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", "gauge", _one("kv_used")),
    _Family("prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", "counter", _one("prompt_tokens")),
    _Family("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", "counter", _one("cached_tokens")),
    _Family(
        "external_prefix_cache_queries",
        "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.",
        "counter",
        _one("0"),
    ),
    _Family(
        "external_prefix_cache_hits",
        "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.",
        "counter",
        _one("0"),
    ),
    _Family("mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items.", "counter", _one("0")),
    _Family("mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items.", "counter", _one("0")),
    _Family("num_preemptions", "Cumulative number of preemption from the engine.", "counter", _one("0")),
    _Family("prompt_tokens", "Number of prefill tokens processed.", "counter", _one("prompt_tokens")),
    _Family(
        "prompt_tokens_by_source",
        "Number of prompt tokens by source.",
        "counter",
        tuple(
            _Series({"source": source}, key)
            for source, key in (
                ("local_compute", "computed_tokens"),
                ("local_cache_hit", "cached_tokens"),
                ("external_kv_transfer", "0"),
            )
        ),
    ),
    _Family("prompt_tokens_cached", "Number of cached prompt tokens (local + external).", "counter", _one("cached_tokens")),
    _Family("prompt_tokens_recomputed", "Number of cached tokens recomputed for forward pass.", "counter", _one("0")),
    _Family("generation_tokens", "Number of generation tokens processed.", "counter", _one("generation_tokens")),
    _Family(
        "request_success",
        "Count of successfully processed requests.",
        "counter",
        tuple(
            _Series({"finished_reason": reason}, key)
            for reason, key in (
                ("stop", "stopped"),
                ("length", "cut_off"),
                ("abort", "0"),
                ("error", "0"),
                ("repetition", "0"),
            )
        ),
    ),
)
_HISTOGRAMS: dict[str, str] = {
    "request_prompt_tokens": "Number of prefill tokens processed.",
    "request_generation_tokens": "Number of generation tokens processed.",
    "iteration_tokens_total": "Histogram of number of tokens per engine_step.",
    "request_max_num_generation_tokens": "Histogram of maximum number of requested generation tokens.",
    "request_params_n": "Histogram of the n request parameter.",
    "request_params_max_tokens": "Histogram of the max_tokens request parameter.",
    "time_to_first_token_seconds": "Histogram of time to first token in seconds.",
    "inter_token_latency_seconds": "Histogram of inter-token latency in seconds.",
    "request_time_per_output_token_seconds": "Histogram of time_per_output_token_seconds per request.",
    "e2e_request_latency_seconds": "Histogram of e2e request latency in seconds.",
    "request_queue_time_seconds": "Histogram of time spent in WAITING phase for request.",
    "request_inference_time_seconds": "Histogram of time spent in RUNNING phase for request.",
    "request_prefill_time_seconds": "Histogram of time spent in PREFILL phase for request.",
    "request_decode_time_seconds": "Histogram of time spent in DECODE phase for request.",
    "request_prefill_kv_computed_tokens": "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
}


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
        numbers = [number for family in self._numbers() for number in family]
        return (self._text % tuple(numbers)).encode()

    def _numbers(self) -> list[list[str]]:
        """Numbers in the order of the page's open places."""
        values = [self._values(engine) for engine in self._server.engines]
        out = [
            [python_float(engine[series.key]) for engine in values for series in family.series] for family in _FAMILIES
        ]
        for name in _HISTOGRAMS:
            histogram = self._engines.histograms[name]
            for engine in self._server.engines:
                counts = histogram.cumulative(engine)
                shown = [f"{count}.0" if count < 1_000_000 else python_float(count) for count in counts]
                out.append([*shown, shown[-1], python_float(float(histogram.sums[engine]))])
        return out

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
        self._created = began + 8e-3
        out = [_process_head(began)]
        for family in _FAMILIES:
            suffix = "_total" if family.kind == "counter" else ""
            labels = [label for _, label in self._label_sets(family.series)]
            out.extend(_block(f"vllm:{family.name}{suffix}", family.kind, family.text, labels, "%s"))
            if suffix:
                out.extend(self._created_block(family.name, family.text, labels))
        for name, text in _HISTOGRAMS.items():
            out.append(_head(f"vllm:{name}", "histogram", text))
            for number in range(len(self._server.engines)):
                base = self._base(number)
                for bound in (*self._engines.histograms[name].bounds, float("inf")):
                    le = "+Inf" if bound == float("inf") else python_float(bound)
                    out.append(f"vllm:{name}_bucket{_sorted(base | {'le': le})} %s\n")
                out.append(f"vllm:{name}_count{label_set(base)} %s\nvllm:{name}_sum{label_set(base)} %s\n")
            labels = [label_set(self._base(number)) for number in range(len(self._server.engines))]
            out.extend(self._created_block(name, text, labels))
        out.extend(_block("vllm:cache_config_info", "gauge", _CACHE_TEXT, self._cache_labels(), "1.0"))
        out.append(_http_tail(began))
        return "".join(out)

    def _created_block(self, name: str, text: str, labels: Sequence[str]) -> list[str]:
        self._created += 3.1e-5
        return _block(f"vllm:{name}_created", "gauge", text, labels, python_float(self._created))

    def _base(self, number: int) -> dict[str, object]:
        return {"engine": number, "model_name": self._server.model}

    def _label_sets(self, series: Sequence[_Series]) -> list[tuple[int, str]]:
        """Engine by engine, as the client prints them."""
        return [
            (number, _sorted(self._base(number) | one.labels))
            for number in range(len(self._server.engines))
            for one in series
        ]

    def _cache_labels(self) -> list[str]:
        return [
            _sorted({**_CACHE_CONFIG, "engine": number, "num_gpu_blocks": 32_000 + 1000 * number})
            for number in range(len(self._server.engines))
        ]


_CACHE_TEXT = "Information of the LLMEngine CacheConfig"
_CACHE_CONFIG: dict[str, object] = {
    "block_size": 16,
    "cache_dtype": "auto",
    "calculate_kv_scales": False,
    "cpu_kvcache_space_bytes": None,
    "cpu_offload_gb": 0,
    "cpu_offload_params": "set()",
    "enable_prefix_caching": True,
    "gpu_memory_utilization": 0.9,
    "is_attention_free": False,
    "kv_cache_memory_bytes": None,
    "kv_offloading_backend": "native",
    "kv_offloading_size": None,
    "kv_sharing_fast_prefill": False,
    "mamba_block_size": None,
    "mamba_cache_dtype": "auto",
    "mamba_cache_mode": "none",
    "mamba_page_size_padded": None,
    "mamba_ssm_cache_dtype": "auto",
    "num_cpu_blocks": None,
    "num_gpu_blocks_override": None,
    "prefix_caching_hash_algo": "sha256",
    "sliding_window": None,
    "swap_space": 4.0,
}


def _sorted(labels: dict[str, object]) -> str:
    return label_set(dict(sorted(labels.items())))


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _block(name: str, kind: str, text: str, labels: Sequence[str], value: str) -> list[str]:
    return [_head(name, kind, text), *(f"{name}{shown} {value}\n" for shown in labels)]


def _process_head(began: float) -> str:
    """What every Python server prints first."""
    collected = _block(
        "python_gc_objects_collected_total",
        "counter",
        "Objects collected during gc",
        [f'{{generation="{number}"}}' for number in range(3)],
        "2120.0",
    )
    fixed = (
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", 9_035_190_272.0),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", 1_126_473_728.0),
        ("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", began),
        ("process_open_fds", "gauge", "Number of open file descriptors.", 48.0),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", 1_048_576.0),
    )
    info = 'python_info{implementation="CPython",major="3",minor="12",patchlevel="13",version="3.12.13"} 1.0\n'
    out = [*collected, _head("python_info", "gauge", "Python platform information"), info]
    for name, kind, text, value in fixed:
        out.extend(_block(name, kind, text, [""], python_float(value)))
    return "".join(out)


def _http_tail(began: float) -> str:
    """Families of the HTTP front that carry no sample before the first request by handler."""
    return _head("http_requests_total", "counter", "Total number of requests by method, status and handler.") + "".join(
        _block(
            "http_request_duration_highr_seconds_created",
            "gauge",
            "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
            [""],
            python_float(began),
        )
    )
