"""Every kind of target: how its pages are read, and on which topic the samples go out."""

from collections.abc import Callable
from dataclasses import dataclass

from collectors.amd_device_metrics_exporter import AmdReader
from collectors.dcgm_exporter import DcgmReader
from collectors.litellm import LitellmReader
from collectors.readings import Origin, Reader
from collectors.slurm_job_exporter import SlurmJobReader
from collectors.vllm import VllmReader
from schemas.config import TargetKind
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of exporter."""

    reader: Callable[[Origin], Reader]
    topic: str | None
    """Where its samples go; None for a source of accounts, which has none."""


KINDS: dict[TargetKind, Kind] = {
    "dcgm-exporter": Kind(DcgmReader, TELEMETRY_GPU),
    "amd-device-metrics-exporter": Kind(AmdReader, TELEMETRY_GPU),
    "vllm": Kind(VllmReader, TELEMETRY_TOKENS),
    "litellm": Kind(LitellmReader, TELEMETRY_TOKENS),
    "slurm-job-exporter": Kind(SlurmJobReader, None),
}
