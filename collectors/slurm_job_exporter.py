"""slurm-job-exporter: https://github.com/guilbaults/slurm-job-exporter

Used for one thing: which account pays for which job. Its power is in mW and on MIG nodes that of the parent GPU, so
energy never comes from here. Users and commands, which it also prints, are not read.
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

from collectors.exposition import Family, PageReader
from collectors.readings import JobReading, Origin, label, unreadable_faults

FAMILIES = {
    name: Family("job")
    for name in (
        "slurm_job_memory_usage",
        "slurm_job_process_count",
        "slurm_job_memory_usage_gpu",
        "slurm_job_utilization_gpu",
    )
}
_UNKNOWN = ("", "error")


class _Job(NamedTuple):
    id: str
    account: str


class SlurmJobReader:
    """Reads the pages of one slurm-job-exporter."""

    def __init__(self, origin: Origin) -> None:
        self._reader = PageReader(FAMILIES, _identify)

    def read(self, page: bytes) -> JobReading:
        """Raises PageError when nothing of the page can be used. A node without jobs has an empty result."""
        result = self._reader.read(page)
        jobs = (cast(_Job, series.key) for series in result.series.gauges)
        return JobReading(
            accounts={job.id: job.account for job in jobs},
            lines=result.lines,
            faults=unreadable_faults(result.unreadable, result.unreadable_count),
        )


def _identify(column: str, labels: Mapping[str, str]) -> _Job | None:
    job, account = labels.get("slurmjobid", ""), labels.get("account", "")
    if not job or account in _UNKNOWN:
        return None
    # The Alliance's associations end in _cpu or _gpu; the account is the same.
    return _Job(label(job), label(account.removesuffix("_gpu").removesuffix("_cpu")))
