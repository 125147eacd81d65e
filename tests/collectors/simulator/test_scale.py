"""The demonstration's file scales to any size with every actor in it, and reads back as it was written."""

from collections import Counter
from pathlib import Path

import pytest

from collectors.simulator import toml_file
from collectors.simulator.addresses import parse
from collectors.simulator.catalogue import SITES
from collectors.simulator.scale import GPU_EXPORTERS, expand, needs_expanding
from collectors.simulator.topology import build
from schemas.config import Config, CostShare, Credits, TokenPrice
from schemas.config_file import load
from tests.collectors.simulator.conftest import BASE, DEMO


@pytest.mark.parametrize("gpus", [1, 32, 64, 256, 1000, 5000, 20_000])
def test_every_actor_at_every_size(demo: Config, gpus: int) -> None:
    """About the number of GPUs that was asked for, and no cluster, pool, deployment or gateway falls away."""
    config = expand(demo, gpus=gpus, base_url=BASE)
    assert not needs_expanding(config)
    topology = build(config, 0)
    made = len(topology.products)
    assert made == pytest.approx(max(gpus, 24), rel=0.1, abs=6)
    assert {
        (node.cluster, parse(BASE + "/x/" + node.name + "/e/metrics").name.rpartition("-")[0])
        for node in topology.nodes
    } == {(site, pool) for site, spec in SITES.items() for pool in spec.pools}
    assert {server.deployment for server in topology.servers} == {one.id for one in demo.deployment}
    assert len(topology.gateways) == 1
    urls = [url for cluster in config.cluster for target in cluster.target for url in target.urls]
    assert len(set(urls)) == len(urls)
    assert all(url.startswith(BASE + "/") for url in urls)


def test_proportions_hold(demo: Config) -> None:
    """At ten times the size every pool has ten times the GPUs."""
    small, large = (Counter(_pools(expand(demo, gpus=gpus, base_url=BASE))) for gpus in (256, 2560))
    assert sum(small.values()) == 256
    assert large == Counter({pool: 10 * count for pool, count in small.items()})


def _pools(config: Config) -> list[str]:
    return [f"{node.cluster}/{node.pool.gpu.model}" for node in build(config, 0).nodes for _ in node.device_list]


def test_written_and_read_again(demo: Config, tmp_path: Path) -> None:
    """Every role reads the expanded file, so nothing of the configuration may change on the way through TOML."""
    config = expand(demo, gpus=100, base_url=BASE)
    path = tmp_path / "expanded.toml"
    path.write_text(toml_file.dumps(config), encoding="utf-8")
    assert load(path) == config
    assert toml_file.dumps(load(path)) == toml_file.dumps(config)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "http://simulator/narval/a100-",
            "http://simulator/narval/v100-",
            "narval/v100 is not in the simulator's catalogue",
        ),
        ("/narval/a100-[001-010]/dcgm-exporter/metrics", "/narval/metrics", "a simulated target is"),
        ("[001-010]/dcgm", "[010-001]/dcgm", "the range is empty"),
    ],
)
def test_addresses_that_the_simulator_does_not_know(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A mistyped address is named instead of being simulated as something else."""
    path = tmp_path / "demo.toml"
    path.write_text(DEMO.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        expand(load(path), gpus=64, base_url=BASE)


def test_the_demonstration_names_the_actors_of_the_public_plans(demo: Config) -> None:
    """All three kinds of rules, three currencies, three countries, one shared deployment, one agreement near 80 %."""
    assert {type(agreement.rule) for agreement in demo.agreement} == {CostShare, TokenPrice, Credits}
    assert {cluster.country for cluster in demo.cluster} == {"CA", "US", "GB"}
    assert {price.currency for price in demo.price} == {"CAD", "USD", "GBP"}
    assert [deployment.id for deployment in demo.deployment if deployment.shared] == ["shared-8b"]
    near = [one.id for one in demo.agreement if one.cap and 0.7999 < one.spent_before / one.cap < 0.8]
    assert near == ["boreal-health"]
    for cluster in demo.cluster:
        assert all(2 <= target.interval <= 5 for target in cluster.target)
        assert any(target.kind in GPU_EXPORTERS for target in cluster.target)
