"""The families of a vLLM v1 page (2026-03), in its order, and where each number comes from.

A value's key is a counter of :mod:`collectors.simulator.engines`, a quantity derived from it by the page, or a
constant: what the simulated engines never do (recompute, abort, swap) stays at zero.
"""

from typing import NamedTuple


class Series(NamedTuple):
    """One line per engine: extra labels (alphabetical with `engine` and `model_name`) and the value's key."""

    labels: dict[str, object]
    key: str


class Family(NamedTuple):
    name: str
    text: str
    kind: str
    series: tuple[Series, ...]


def _one(key: str) -> tuple[Series, ...]:
    return (Series({}, key),)


_FLOPS = "(for Model Flops Utilization calculations)."
FAMILIES: tuple[Family, ...] = (
    Family(
        "estimated_flops_per_gpu",
        f"Estimated number of floating point operations per GPU {_FLOPS}",
        "counter",
        _one("0"),
    ),
    Family(
        "estimated_read_bytes_per_gpu",
        f"Estimated number of bytes read from memory per GPU {_FLOPS}",
        "counter",
        _one("0"),
    ),
    Family(
        "estimated_write_bytes_per_gpu",
        f"Estimated number of bytes written to memory per GPU {_FLOPS}",
        "counter",
        _one("0"),
    ),
    Family("num_requests_running", "Number of requests in model execution batches.", "gauge", _one("running")),
    Family("num_requests_waiting", "Number of requests waiting to be processed.", "gauge", _one("waiting")),
    Family(
        "engine_sleep_state",
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; "
        "weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
        "gauge",
        tuple(
            Series({"sleep_state": state}, key)
            for state, key in (("awake", "1"), ("weights_offloaded", "0"), ("discard_all", "0"))
        ),
    ),
    Family("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", "gauge", _one("kv_used")),
    Family(
        "prefix_cache_queries",
        "Prefix cache queries, in terms of number of queried tokens.",
        "counter",
        _one("prompt_tokens"),
    ),
    Family(
        "prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", "counter", _one("cached_tokens")
    ),
    Family(
        "external_prefix_cache_queries",
        "External prefix cache queries from KV connector cross-instance cache sharing, "
        "in terms of number of queried tokens.",
        "counter",
        _one("0"),
    ),
    Family(
        "external_prefix_cache_hits",
        "External prefix cache hits from KV connector cross-instance cache sharing, "
        "in terms of number of cached tokens.",
        "counter",
        _one("0"),
    ),
    Family("mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items.", "counter", _one("0")),
    Family("mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items.", "counter", _one("0")),
    Family("num_preemptions", "Cumulative number of preemption from the engine.", "counter", _one("0")),
    Family("prompt_tokens", "Number of prefill tokens processed.", "counter", _one("prompt_tokens")),
    Family(
        "prompt_tokens_by_source",
        "Number of prompt tokens by source.",
        "counter",
        tuple(
            Series({"source": source}, key)
            for source, key in (
                ("local_compute", "computed_tokens"),
                ("local_cache_hit", "cached_tokens"),
                ("external_kv_transfer", "0"),
            )
        ),
    ),
    Family(
        "prompt_tokens_cached", "Number of cached prompt tokens (local + external).", "counter", _one("cached_tokens")
    ),
    Family("prompt_tokens_recomputed", "Number of cached tokens recomputed for forward pass.", "counter", _one("0")),
    Family("generation_tokens", "Number of generation tokens processed.", "counter", _one("generation_tokens")),
    Family(
        "request_success",
        "Count of successfully processed requests.",
        "counter",
        tuple(
            Series({"finished_reason": reason}, key)
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
HISTOGRAMS: dict[str, str] = {
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
    "request_prefill_kv_computed_tokens": (
        "Histogram of new KV tokens computed during prefill (excluding cached tokens)."
    ),
}

CACHE_TEXT = "Information of the LLMEngine CacheConfig"
CACHE_CONFIG: dict[str, object] = {
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

# Front of the HTTP server (prometheus-fastapi-instrumentator): families by handler carry no sample here.
HTTP_BEFORE: tuple[tuple[str, str, str], ...] = (
    ("http_requests_total", "counter", "Total number of requests by method, status and handler."),
    (
        "http_request_size_bytes",
        "summary",
        "Content length of incoming requests by handler. Only value of header is respected. Otherwise ignored. "
        "No percentile calculated. ",
    ),
    (
        "http_response_size_bytes",
        "summary",
        "Content length of outgoing responses by handler. Only value of header is respected. Otherwise ignored. "
        "No percentile calculated. ",
    ),
)
HTTP_LATENCY = (
    "http_request_duration_highr_seconds",
    "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
)
HTTP_AFTER = (
    "http_request_duration_seconds",
    "histogram",
    "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
)
