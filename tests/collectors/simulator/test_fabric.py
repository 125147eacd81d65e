"""What happens in the fabric: repeatable, conserving, and gentle where it restarts."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from collectors.simulator.catalogue import RHYTHM, SERVING
from collectors.simulator.fabric import STEP_S, Fabric, expand
from schemas.config import Config
from tests.collectors.simulator.conftest import BASE, built_in_trace, scrape


def test_same_seed_same_pages(make_fabric: Callable[..., Fabric]) -> None:
    """The same seed and the same scrapes give the same bytes; another seed gives another fabric."""
    one, two, other = (make_fabric(seed=seed) for seed in (4, 4, 5))
    for at_s in (60.3, 65.3, 90.7, 123.0):
        first = scrape(one, at_s)
        assert first == scrape(two, at_s)
        assert first != scrape(other, at_s)


def test_scrapes_do_not_disturb(make_fabric: Callable[..., Fabric]) -> None:
    """What is consumed does not depend on who looks, nor on the size of the steps in which time is asked for."""
    looked, alone = make_fabric(), make_fabric()
    for tick in range(30):
        scrape(looked, 60 + tick * 0.37)
    looked.advance(75.0)
    alone.advance(75.0)
    assert np.array_equal(looked.devices.energy_j, alone.devices.energy_j)
    assert np.array_equal(looked.engines.life["prompt_tokens"], alone.engines.life["prompt_tokens"])


def test_power_follows_the_work(make_fabric: Callable[..., Fabric]) -> None:
    """Serving and training draw far more than idle; a free GPU idles; an idle job draws as little as a free GPU."""
    fabric = make_fabric(gpus=256)
    fabric.advance(70.0)
    share = (fabric.devices.power_w - fabric.devices.idle_w) / (fabric.devices.limit_w - fabric.devices.idle_w)
    by: dict[str, list[float]] = {"serving": [], "train": [], "idle": [], "free": []}
    for node in fabric.topology.nodes:
        for number, part in zip(range(node.slices.start, node.slices.stop), node.slice_list, strict=True):
            tenant = fabric.occupancy.tenants[number]
            if not part.name:
                kind = (
                    "free"
                    if tenant is None
                    else "serving"
                    if tenant.deployment
                    else "idle"
                    if tenant.pod.startswith("idle")
                    else "train"
                )
                by[kind].append(float(share[part.device]))
    assert np.mean(by["serving"]) > 0.4
    assert np.mean(by["train"]) > 0.4
    assert np.median(by["free"]) < 0.02
    assert by["idle"]
    assert max(by["idle"]) < 0.02


def test_every_deployment_keeps_up_and_costs_what_is_expected(make_fabric: Callable[..., Fabric]) -> None:
    """Queues stay short, and tokens per GPU are those that the demonstration's prices were chosen for."""
    fabric = make_fabric(gpus=256)
    before = {name: fabric.engines.life[name].copy() for name in ("prompt_tokens", "generation_tokens")}
    fabric.advance(180.0)
    assert fabric.engines.waiting.sum() == 0
    per_gpu = {}
    for key in SERVING:
        servers = [one for one in fabric.topology.servers if (one.cluster, one.deployment) == key]
        engines = [engine for one in servers for engine in one.engines]
        gpus = sum(len(one.engines) * one.gpus_per_engine for one in servers)
        served = sum(int((fabric.engines.life[name] - before[name])[engines].sum()) for name in before)
        per_gpu[key[1]] = served / 120 / gpus
    assert 4000 < per_gpu["prairie-8b"] < 7500  # CAD 0.05 .. 0.10 per 1M tokens at CAD 1.34 an hour
    assert 4000 < per_gpu["shared-8b"] < 7500
    assert per_gpu["command-r-plus"] < 1500  # CAD 1.76 an hour: far above the band


def test_graceful_restart(make_fabric: Callable[..., Fabric]) -> None:
    """A server drains, waits to be read once more, then restarts at zero with a new process and serves again."""
    fabric = make_fabric(gpus=64, rhythm=replace(RHYTHM, first_pod_restart_s=(1.0, 1.0)))
    fabric.advance(62.0)
    server = next(one for one in fabric.topology.servers if not one.accepting)
    path = f"/{server.cluster}/{server.name}/vllm/metrics"
    fabric.advance(200.0)
    assert fabric.engines.in_flight(server.engines) == 0
    assert server.process == 0, "nobody has read its last tokens yet"
    page, delivered = fabric.targets[path].answer(200.0)
    delivered()
    last = int(fabric.engines.life["generation_tokens"][server.engines].sum())
    assert sum(map(float, re.findall(r"vllm:generation_tokens_total\{.*\} (\S+)", page.decode()))) == last
    fabric.advance(200.0 + 2 * STEP_S)
    assert server.process == 1
    page, _ = fabric.targets[path].answer(200.5)
    text = page.decode()
    assert sum(map(float, re.findall(r"vllm:generation_tokens_total\{.*\} (\S+)", text))) == 0
    started = [float(value) for value in re.findall(r"^process_start_time_seconds (\S+)", text, re.MULTILINE)]
    created = {float(value) for value in re.findall(r"vllm:generation_tokens_created\{.*\} (\S+)", text)}
    assert started == [fabric.record.epoch_unix_s + server.started_s]
    assert min(created) > started[0]
    fabric.advance(230.0)
    assert fabric.engines.life["generation_tokens"][server.engines].sum() > last


def test_driver_reload_meets_idle_gpus(make_fabric: Callable[..., Fabric]) -> None:
    """A faulty node is emptied, its power has settled when its counters restart, and jobs come back afterwards."""
    fabric = make_fabric(gpus=256)
    node = [one for one in fabric.topology.nodes if one.site.maintenance][-1]
    ledger = fabric.record.nodes[node.number]
    while not node.xid[0]:
        fabric.advance(fabric.now_s + STEP_S)
    assert node.xid[0] == 95
    assert fabric.occupancy.tenants[node.slices] == [None] * 4
    while not ledger.reloads:
        before = fabric.read(node, fabric.now_s)
        fabric.advance(fabric.now_s + STEP_S)
    after = fabric.read(node, fabric.now_s)
    assert before.power_w == pytest.approx(fabric.devices.idle_w[node.devices], rel=1e-3)
    assert after.counter_j.tolist() == [0.0] * 4
    assert np.all(before.counter_j > 1e5)
    assert node.xid == [0] * 4
    fabric.advance(fabric.now_s + 120)
    slots = fabric._jobs.of_node(node.number)
    assert not any(slot.closed for slot in slots)


def test_tenants_come_and_go(make_fabric: Callable[..., Fabric]) -> None:
    """In two minutes jobs end and others begin on the same GPUs, and some GPUs stay free."""
    fabric = make_fabric(gpus=256)
    first = list(fabric.occupancy.tenants)
    fabric.advance(180.0)
    last = fabric.occupancy.tenants
    assert any(one and two and one != two for one, two in zip(first, last, strict=True))
    assert any(one and two is None for one, two in zip(first, last, strict=True))
    assert any(one is None and two for one, two in zip(first, last, strict=True))
    assert any(one is two is None for one, two in zip(first, last, strict=True))


def test_more_replicas_than_gpus(demo: Config) -> None:
    """What cannot be placed is said in one sentence that names the replica and the pool."""
    config = expand(demo, gpus=32, base_url=BASE)
    many = [f"{BASE}/isambard/aya-8b-{number}/vllm/metrics" for number in range(9)]
    with pytest.raises(ValueError, match=r"aya-8b-\d.*no free GPU in isambard/gh200; list fewer replicas"):
        Fabric(_with_urls(config, "vllm", "isambard", many), trace=built_in_trace())


@pytest.mark.parametrize(
    ("kind", "url", "message"),
    [
        ("dcgm-exporter", f"{BASE}/narval/z9-001/dcgm-exporter/metrics", "'z9-001' belongs to none of narval's pools"),
        ("slurm-job-exporter", f"{BASE}/narval/a100-999/slurm-job-exporter/metrics", "no GPU exporter stands on node"),
    ],
)
def test_targets_that_are_not_in_the_catalogue(demo: Config, kind: str, url: str, message: str) -> None:
    """A target that the simulator cannot serve is named at the start, not answered with 404 later."""
    config = expand(demo, gpus=32, base_url=BASE)
    with pytest.raises(ValueError, match=message):
        Fabric(_with_urls(config, kind, "narval", [url]), trace=built_in_trace())


def _with_urls(config: Config, kind: str, cluster: str, urls: list[str]) -> Config:
    clusters = [
        one.model_copy(
            update={
                "target": [
                    target.model_copy(update={"urls": urls}) if target.kind == kind and one.id == cluster else target
                    for target in one.target
                ]
            }
        )
        for one in config.cluster
    ]
    return config.model_copy(update={"cluster": clusters})
