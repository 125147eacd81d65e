"""Metrics as Prometheus has them: pages fetched over HTTP and read with prometheus_client's parser."""

import shutil
import subprocess
import urllib.request
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on this machine: it comes with Debian's `prometheus`"
)


@dataclass(frozen=True)
class Page:
    """What one role told at one moment."""

    text: str
    samples: dict[str, list[tuple[dict[str, str], float]]]

    def value(self, name: str, **labels: str) -> float:
        """The one sample with these labels."""
        (value,) = [value for found, value in self.samples[name] if labels.items() <= found.items()]
        return value

    def by(self, name: str, label: str) -> dict[str, float]:
        """Label value -> sample."""
        return {found[label]: value for found, value in self.samples.get(name, ())}


def fetch(url: str) -> Page:
    """The page at a URL. Fails when it cannot be parsed, or when a metric has no help."""
    with urllib.request.urlopen(url, timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = response.read().decode()
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Page(text, samples)


def lint(page: Page) -> str:
    """What `promtool check metrics` objects to; empty when nothing."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=page.text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""
