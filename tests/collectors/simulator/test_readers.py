"""The collectors' own readers find in every page what the fabric's state says."""

from collections.abc import Callable

import numpy as np
import pytest

from collectors.readings import GAUGES, TOKEN_COUNTERS, WHOLES, GpuReading, JobReading, Origin, Reading, TokenReading
from collectors.registry import KINDS
from collectors.simulator.fabric import Fabric
from schemas.config import TargetKind
from tests.collectors.simulator.conftest import BASE, EPOCH

NOW = 80.1


@pytest.fixture(scope="module")
def fabric(make_fabric: Callable[..., Fabric]) -> Fabric:
    made = make_fabric(gpus=256)
    made.advance(NOW)
    return made


def readings(fabric: Fabric, kind: TargetKind) -> dict[str, Reading]:
    found = {}
    for path, target in fabric.targets.items():
        if f"/{kind}/" in path:
            reader = KINDS[kind].reader(Origin(kind, BASE + path, "127.0.0.1", "127.0.0.1:9000", "d"))
            reading = reader.read(target.answer(NOW)[0])
            assert reading.faults == [], path
            found[path] = reading
    assert found
    return found


@pytest.mark.parametrize("kind", ["dcgm-exporter", "amd-device-metrics-exporter"])
def test_devices(fabric: Fabric, kind: TargetKind) -> None:
    """Identity, shares, tenants, power, energy, fault code of each slice."""
    found = readings(fabric, kind)
    for node in fabric.topology.nodes:
        path = next((path for path in found if path.startswith(f"/{node.cluster}/{node.name}/{kind}/")), None)
        if path is None:
            continue
        reading, truth = found[path], fabric.read(node, NOW)
        assert isinstance(reading, GpuReading)
        rows = {(reading.rows.device[at], reading.rows.slice[at]): at for at in range(len(reading))}
        assert len(rows) == len(node.slice_list)
        for index, (device, part) in enumerate(node.entities()):
            at, tenant = rows[device.identity, part.name], truth.tenants[index]
            assert (reading.rows.share_num[at], reading.rows.share_den[at]) == part.share
            assert reading.rows.node[at] == node.name
            assert reading.rows.gpu_model[at] == device.gpu.model
            holder = (reading.rows.namespace[at], reading.rows.pod[at], reading.rows.job[at])
            assert holder == ((tenant.namespace, tenant.pod, tenant.job) if tenant else ("", "", ""))
            if part.partition:
                continue
            power = reading.gauges[GAUGES.index("power_w"), at]
            assert np.isnan(power) or power == pytest.approx(truth.power_w[device.index], abs=0.51)
            energy_mj = int(reading.wholes[WHOLES.index("energy_mj"), at])
            assert energy_mj == pytest.approx(truth.counter_j[device.index] * 1000, abs=1.01)
            assert 0 <= reading.gauges[GAUGES.index("busy"), at] <= 1
            if kind == "dcgm-exporter":
                assert int(reading.wholes[WHOLES.index("xid"), at]) == truth.xid[device.index]


def test_engines(fabric: Fabric) -> None:
    """Every engine's counters, exactly, and the start of its process."""
    found = readings(fabric, "vllm")
    for server in fabric.topology.servers:
        reading = found[f"/{server.cluster}/{server.name}/vllm/metrics"]
        assert isinstance(reading, TokenReading)
        assert reading.rows.replica == [str(number) for number in range(len(server.engines))]
        assert set(reading.rows.model) == {server.model}
        for at, engine in enumerate(server.engines):
            read = dict(zip(TOKEN_COUNTERS, reading.counters[:, at].tolist(), strict=True))
            for name in ("prompt_tokens", "cached_tokens", "generation_tokens"):
                assert read[name] == fabric.engines.process(name, engine) > 0
            done = fabric.engines.process("stopped", engine) + fabric.engines.process("cut_off", engine)
            assert read["requests"] == done
            assert read["started_ms"] == round((EPOCH + server.started_s) * 1000)


def test_gateway(fabric: Fabric) -> None:
    """Every team's counters, exactly."""
    (reading,) = readings(fabric, "litellm").values()
    assert isinstance(reading, TokenReading)
    gateway = fabric.topology.gateways[0]
    assert sorted(reading.rows.team) == gateway.teams
    for at, team in enumerate(reading.rows.team):
        number = gateway.first_team + gateway.teams.index(team)
        read = dict(zip(TOKEN_COUNTERS, reading.counters[:, at].tolist(), strict=True))
        assert read["prompt_tokens"] == fabric.teams.prompt_tokens[number]
        assert read["generation_tokens"] == fabric.teams.generation_tokens[number]
        assert read["requests"] == fabric.teams.requests[number]


def test_accounts(fabric: Fabric) -> None:
    """Every job on a Slurm cluster finds its account, on NVIDIA, MIG and AMD nodes alike."""
    accounts: dict[str, str] = {}
    for reading in readings(fabric, "slurm-job-exporter").values():
        assert isinstance(reading, JobReading)
        accounts |= reading.accounts
    jobs = {tenant.job: tenant.account for tenant in fabric.occupancy.tenants if tenant and tenant.job}
    assert accounts == jobs
