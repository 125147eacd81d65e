"""High availability: two collectors read the same targets under one name; one is killed, and nothing counts twice."""

import asyncio
import contextlib
import json
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from collectors.simulator import toml_file
from collectors.simulator.fabric import expand
from compose.broker import free_port
from compose.check import run_checks
from compose.reference import tables
from schemas.config import Config
from schemas.config_file import load
from tests.conftest import ClickHouse
from tests.faults.work import Site, launch, until
from tests.roles import ROOT, STOP_S, Starting, spawn

LATENESS_S = 0.5  # a page is dated when it was received; on a busy machine that is this much after it was made
TOKENS = ("prompt_tokens", "cached_tokens", "generation_tokens", "requests")


@dataclass(frozen=True)
class Fabric:
    """A simulated fabric as a process."""

    config: Config
    config_file: Path
    process: Starting
    record_file: Path

    def record(self) -> dict[str, Any]:
        """What truly happened; ends the process."""
        end(self.process)
        found: dict[str, Any] = json.loads(self.record_file.read_text())
        return found


@contextlib.contextmanager
def role(name: str, *arguments: object, log: Path) -> Iterator[Starting]:
    """`commonwatt NAME …` for a block; what is left of it afterwards is killed."""
    started = spawn("compose", name, *map(str, arguments), log=log)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait(STOP_S)


def end(process: Starting) -> None:
    """SIGTERM; it must end in good order."""
    process.process.terminate()
    assert process.process.wait(STOP_S) == 0, process.log.read_text()


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    """The demonstration's at its smallest, every target read twice a second."""
    port = free_port()
    config = expand(load(ROOT / "compose" / "demo.toml"), gpus=32, base_url=f"http://127.0.0.1:{port}")
    config = config.model_copy(
        update={
            "cluster": [
                cluster.model_copy(
                    update={"target": [target.model_copy(update={"interval": 0.5}) for target in cluster.target]}
                )
                for cluster in config.cluster
            ]
        }
    )
    config_file, record_file = tmp_path / "fabric.toml", tmp_path / "record.json"
    config_file.write_text(toml_file.dumps(config))
    arguments = ("--config", config_file, "--port", port, "--record", record_file)
    with role("simulate", *arguments, log=tmp_path / "simulate.log") as process:
        yield Fabric(config, config_file, process, record_file)


async def test_one_of_two_is_killed_and_nothing_is_lost_or_counted_twice(
    fabric: Fabric, broker: str, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """Tokens equal what was served, exactly; time and energy what was used; every audit passes."""
    common = ("--config", fabric.config_file, "--kafka", broker, "--collector", "pair")
    tables.store(clickhouse.client, fabric.config)
    worker = launch(fabric.config_file, broker, clickhouse.url, tmp_path / "worker.log")
    try:
        with (
            role("collect", *common, "--spool", tmp_path / "one", log=tmp_path / "one.log") as one,
            contextlib.ExitStack() as stack,
        ):
            await until(lambda: samples(clickhouse.client) > 0)
            log = tmp_path / "two.log"
            two = stack.enter_context(role("collect", *common, "--spool", tmp_path / "two", log=log))
            await until(lambda: boots(clickhouse.client) == 2)
            await asyncio.sleep(3)
            one.process.kill()
            one.process.wait()
            known = samples(clickhouse.client)
            await until(lambda: samples(clickhouse.client) > known + 200)
            end(two)
        await Site(broker, clickhouse.url, clickhouse.client, tmp_path).caught_up(worker)
        assert worker.stop() == 0
    finally:
        worker.process.kill()
        worker.process.wait()
    record = fabric.record()
    assert_tokens(clickhouse.client, record)
    assert_usage(clickhouse.client, record)
    results = run_checks(clickhouse.client, fabric.config, at_rest=True)
    assert {result.name: result.rows for result in results if not result.passed} == {}


def samples(client: Client) -> int:
    """Readings of devices in the book."""
    return int(client.query("SELECT count() FROM gpu_samples").result_rows[0][0])


def boots(client: Client) -> int:
    """Runs of collectors whose messages were metered."""
    return int(client.query("SELECT uniqExact(boot) FROM telemetry_messages").result_rows[0][0])


def assert_tokens(client: Client, record: dict[str, Any]) -> None:
    """Exactly, for every replica, model and tenant."""
    names = ", ".join(f"sum({name})" for name in TOKENS)
    found = client.query(f"SELECT endpoint, replica, team, {names} FROM token_usage GROUP BY endpoint, replica, team")
    metered = {tuple(row[:3]): tuple(int(value) for value in row[3:]) for row in found.result_rows}
    served: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for counter in record["tokens"]:
        for position, name in enumerate(TOKENS):
            served[counter["endpoint"], counter["replica"], counter["team"]][position] += counter[name] or 0
    assert sum(total[0] for total in served.values()) > 10_000
    assert metered == {key: tuple(total) for key, total in served.items()}


def assert_usage(client: Client, record: dict[str, Any]) -> None:
    """Each device's time within a late scrape, the energy of all within 0.1 %."""
    found = client.query(
        "SELECT cluster, device, sum(gpu_seconds), sum(energy_j) FROM gpu_usage GROUP BY cluster, device"
    )
    metered = {
        (cluster, device): (float(seconds), float(joules)) for cluster, device, seconds, joules in found.result_rows
    }
    used = {(device["cluster"], device["device"]): device for device in record["devices"]}
    assert metered.keys() == used.keys()
    for key, device in used.items():
        assert metered[key][0] == pytest.approx(device["gpu_seconds"], abs=LATENESS_S), key
    total_j = sum(device["energy_j"] for device in used.values())
    assert sum(joules for _, joules in metered.values()) == pytest.approx(total_j, rel=1e-3)
