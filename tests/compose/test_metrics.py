"""Metrics as a service: where they are, what a role in trouble still tells, the files that come for Prometheus.

That the roles tell the truth is protected in `tests.compose.test_up` and `tests.faults.test_clickhouse_away`.
"""

import asyncio
import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from collectors import metrics as collector_metrics
from collectors.statistics import Statistics
from compose.datadir import held
from compose.metrics import MetricsError, asked, served
from tests.prometheus import PROMTOOL, Page, fetch, lint, needs_promtool
from tests.roles import ROOT

PROMETHEUS = ROOT / "compose" / "prometheus.yaml"


def test_served_for_the_block() -> None:
    """On a free port of this machine only, with the version of the programme; gone afterwards, and nothing without."""
    with served(0) as url:
        assert url is not None
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)
        assert fetch(url).value("commonwatt_build_info") == 1
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)
    with served(None) as url:
        assert url is None


def test_a_port_that_is_taken() -> None:
    """One sentence with the remedy."""
    with served(0) as url:
        port = int(str(url).split(":")[2].split("/")[0])
        text = rf"Port {port} on 127\.0\.0\.1 cannot be used for metrics \(Address already in use\): choose another"
        with pytest.raises(MetricsError, match=text), served(port):
            pass


async def page_of(url: str | None) -> Page:
    return await asyncio.to_thread(fetch, str(url))


async def test_what_cannot_be_asked_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A role that cannot look something up still shows everything else, and says so; asked again each time."""
    answers: list[list[Metric]] = [[], [GaugeMetricFamily("trial_seconds", "A trial.", 3)]]

    async def ask() -> list[Metric]:
        if not (answer := answers.pop()):
            raise OSError("away")
        return answer

    with served(0) as url:
        with asked(ask):
            assert (await page_of(url)).value("trial_seconds") == 3
            page = await page_of(url)
            assert "trial_seconds" not in page.samples
            assert page.value("commonwatt_build_info") == 1
        assert "trial_seconds" not in (await page_of(url)).samples
    assert "some metrics are missing (OSError: away)" in caplog.text


def test_the_statistics_of_a_collector() -> None:
    """Counters, state and a histogram whose buckets hold everything up to their bound."""
    statistics = Statistics(scrapes=4, failures=1, spool_bytes=7, targets=2, clock_steps=3)
    for seconds in (0.001, 0.005, 0.3, 60.0):
        statistics.scrape_s.add(seconds)
    with served(0) as url, collector_metrics.shown(statistics):
        page = fetch(str(url))
    assert page.value("commonwatt_collector_scrapes_total") == 4
    assert page.value("commonwatt_collector_spool_bytes") == 7
    assert page.value("commonwatt_collector_clock_steps_total") == 3
    buckets = page.by("commonwatt_collector_scrape_seconds_bucket", "le")
    assert [buckets[bound] for bound in ("0.005", "0.25", "0.5", "10.0", "+Inf")] == [2, 2, 3, 3, 4]
    assert page.value("commonwatt_collector_scrape_seconds_sum") == pytest.approx(60.306)
    if PROMTOOL is not None:
        assert lint(page) == ""


def test_prometheus_finds_the_roles(tmp_path: Path) -> None:
    """The file that `up` keeps for it, as long as it runs."""
    with held(tmp_path / "data") as data:
        data.write_addresses({"kafka": "kafka://127.0.0.1:1", "metrics.worker": "http://127.0.0.1:2/metrics"})
        found = json.loads((tmp_path / "data" / "metrics.json").read_text())
        assert found == [{"targets": ["127.0.0.1:2"], "labels": {"process": "worker"}}]
    assert not (tmp_path / "data" / "metrics.json").exists()


@needs_promtool
def test_the_example_is_sound() -> None:
    """Prometheus takes the configuration and the rules as they are shipped."""
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", str(PROMETHEUS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"SUCCESS: \d+ rules found", done.stdout), done.stdout
