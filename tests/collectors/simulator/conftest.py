"""Fabrics for the simulator's tests: always the built-in arrivals, so that no trace beside the repository matters."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from collectors.simulator.catalogue import RHYTHM, Rhythm
from collectors.simulator.demand import Trace, synthetic_trace
from collectors.simulator.fabric import Fabric, expand
from schemas.config import Config
from schemas.config_file import load

DEMO = Path(__file__).parents[3] / "compose" / "demo.toml"
BASE = "http://127.0.0.1:9000"
EPOCH = 1_795_000_000.0


@lru_cache
def built_in_trace() -> Trace:
    return synthetic_trace(0)


@pytest.fixture(scope="session")
def demo() -> Config:
    return load(DEMO)


@pytest.fixture(scope="session")
def make_fabric(demo: Config) -> Callable[..., Fabric]:
    """A fresh fabric at its first moment; `gpus` about that many."""

    def make(gpus: int = 64, seed: int = 3, rhythm: Rhythm = RHYTHM) -> Fabric:
        config = expand(demo, gpus=gpus, base_url=BASE)
        return Fabric(config, seed=seed, epoch_unix_s=EPOCH, trace=built_in_trace(), rhythm=rhythm)

    return make


def scrape(fabric: Fabric, at_s: float) -> dict[str, str]:
    """Fetch every page to the end at one moment."""
    fabric.advance(at_s)
    pages = {}
    for path, target in fabric.targets.items():
        page, delivered = target.answer(at_s)
        delivered()
        pages[path] = page.decode()
    return pages
