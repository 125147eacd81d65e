"""Inference servers, gateways and the batch system: counters exact, per replica, and nobody's name leaves."""

import pytest

from collectors.readings import JobReading
from collectors.vllm import VllmReader
from tests.collectors.support import kinds, origin, read, token_rows, tokens

ENGINE = 'engine="0",model_name="m"'


def test_vllm_engines_are_replicas() -> None:
    """Counters of several engines are never summed here; finish reasons of one engine are."""
    text = (
        "process_start_time_seconds 1.7740113846e+09\n"
        'vllm:prompt_tokens_total{engine="0",model_name="m"} 9007199254740993\n'
        'vllm:prompt_tokens_total{engine="1",model_name="m"} 200.0\n'
        'vllm:generation_tokens_total{engine="0",model_name="m"} 1.2345678e+07\n'
        'vllm:generation_tokens_total{engine="1",model_name="m"} 20\n'
        'vllm:prompt_tokens_cached_total{engine="0",model_name="m"} 5\n'
        'vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 7\n'
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 2\n'
        'vllm:request_success_total{engine="1",finished_reason="stop",model_name="m"} 1\n'
        'vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 99\n'
        'vllm:iteration_tokens_total_count{engine="0",model_name="m"} 99\n'
        'vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 99\n'
    )
    reading = tokens("vllm", text)
    assert token_rows(reading) == [
        {
            "replica": "0",
            "model": "m",
            "prompt_tokens": 9007199254740993,
            "cached_tokens": 5,
            "generation_tokens": 12345678,
            "requests": 9,
            "started_ms": 1774011384600,
        },
        {
            "replica": "1",
            "model": "m",
            "prompt_tokens": 200,
            "generation_tokens": 20,
            "requests": 1,
            "started_ms": 1774011384600,
        },
    ]
    assert (reading.endpoint, reading.deployment, reading.layer) == ("host-1:9400", "deployment-1", "engine")


@pytest.mark.parametrize(
    ("lines", "cached"),
    [
        (["prompt_tokens_cached_total{%s} 5", "prefix_cache_hits_total{%s} 9"], 5),
        (
            [
                'prompt_tokens_by_source_total{%s,source="local_compute"} 100',
                'prompt_tokens_by_source_total{%s,source="local_cache_hit"} 30',
                'prompt_tokens_by_source_total{%s,source="external_kv_transfer"} 12',
                "prefix_cache_hits_total{%s} 9",
            ],
            42,
        ),
        (["prefix_cache_hits_total{%s} 9", "prefix_cache_queries_total{%s} 90"], 9),
        (["gpu_prefix_cache_hits_total{%s} 8"], 8),
        (["external_prefix_cache_hits_total{%s} 8"], None),
    ],
)
def test_vllm_cached_tokens_of_every_release(lines: list[str], cached: int | None) -> None:
    """The name of the cached part has changed three times; the most exact one on the page counts."""
    text = f"vllm:prompt_tokens_total{{{ENGINE}}} 142\n" + "".join(f"vllm:{line % ENGINE}\n" for line in lines)
    assert token_rows(tokens("vllm", text))[0].get("cached_tokens") == cached


def test_vllm_start_from_the_created_series() -> None:
    """Without the process metrics the creation time of the counter says when counting began."""
    text = f"vllm:prompt_tokens_total{{{ENGINE}}} 1\nvllm:prompt_tokens_created{{{ENGINE}}} 1.7740114612876017e+09\n"
    assert token_rows(tokens("vllm", text))[0]["started_ms"] == 1774011461288


def test_vllm_without_engine_label_and_without_total() -> None:
    """v0 has no engine label; OpenMetrics families may lose their _total on the way."""
    text = 'vllm:prompt_tokens{model_name="m"} 11\nvllm:generation_tokens{model_name="m"} 3\n'
    assert token_rows(tokens("vllm", text)) == [{"model": "m", "prompt_tokens": 11, "generation_tokens": 3}]


def test_a_counter_that_is_unreadable_is_unknown_not_smaller() -> None:
    """Leaving one part out of a sum would look like a restart."""
    text = (
        f"vllm:prompt_tokens_total{{{ENGINE}}} 1\n"
        f'vllm:request_success_total{{{ENGINE},finished_reason="stop"}} 100\n'
        f'vllm:request_success_total{{{ENGINE},finished_reason="length"}} NaN\n'
    )
    reading = tokens("vllm", text)
    assert "requests" not in token_rows(reading)[0]
    assert kinds(reading) == ["counter_out_of_range"]


def test_a_replica_that_goes_is_said() -> None:
    """A model unloaded, or half a page: a defect names the counter."""
    reader = VllmReader(origin("vllm"))
    reader.read(b'vllm:prompt_tokens_total{engine="0"} 1\nvllm:prompt_tokens_total{engine="1"} 1\n')
    reading = reader.read(b'vllm:prompt_tokens_total{engine="0"} 1\n')
    assert [(fault.kind, fault.subject) for fault in reading.faults] == [("counter_vanished", "1")]


def test_litellm_sums_users_to_team_and_model() -> None:
    """Tenants are kept, people and keys are not: their series are summed, their names go nowhere."""
    text = ""
    for user, key, count in (("u1", "k1", 100), ("u2", "k2", 23)):
        labels = (
            f'end_user="None",hashed_api_key="{key}",model="command-r",team="t-acme",team_alias="Acme",user="{user}"'
        )
        text += f"litellm_input_tokens_metric_total{{{labels}}} {count}.0\n"
        text += f"litellm_output_tokens_metric_total{{{labels}}} {count * 2}.0\n"
        text += f'litellm_proxy_total_requests_metric_total{{{labels},status_code="200"}} 4.0\n'
        text += f'litellm_proxy_total_requests_metric_total{{{labels},status_code="429"}} 50.0\n'
    text += 'litellm_input_tokens_metric_total{model="command-r",team="None",team_alias="None",user="u3"} 1.0\n'
    reading = tokens("litellm", text)
    assert token_rows(reading) == [
        {"model": "command-r", "team": "t-acme", "prompt_tokens": 123, "generation_tokens": 246, "requests": 8},
        {"model": "command-r", "prompt_tokens": 1},
    ]
    assert reading.layer == "gateway"
    assert "u1" not in repr(reading)
    assert "k1" not in repr(reading)


def test_litellm_before_the_first_request() -> None:
    """A gateway that nobody has asked yet is up and has no counters."""
    assert token_rows(tokens("litellm", "process_start_time_seconds 1.7e9\n")) == []


def test_slurm_accounts() -> None:
    """`error` is no account; the association's suffix is not part of it; an idle node is no error."""
    text = (
        "# HELP slurm_job_memory_usage Memory used by a job\n"
        'slurm_job_memory_usage{account="rrg-kamil_gpu",slurmjobid="11",user="kamil"} 1.5e+010\n'
        'slurm_job_memory_usage{account="error",slurmjobid="12",user="x"} 1\n'
        'slurm_job_power_gpu{account="def-other",gpu="0",slurmjobid="13",user="y"} 71994.0\n'
        'slurm_job_utilization_gpu{account="def-prof1",gpu="0",slurmjobid="14",user="y"} 5\n'
    )
    reading = read("slurm-job-exporter", text)
    assert isinstance(reading, JobReading)
    assert reading.accounts == {"11": "rrg-kamil", "14": "def-prof1"}
    idle = read("slurm-job-exporter", "# HELP slurm_job_memory_usage Memory used by a job\n")
    assert isinstance(idle, JobReading)
    assert idle.accounts == {}
