"""The fabric over HTTP: real pages at real addresses, a clean end, and little of the machine's time."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from collectors.simulator import serve, toml_file
from collectors.simulator.fabric import Fabric, expand
from schemas.config import Config
from schemas.config_file import ConfigError, load
from tests.collectors.simulator.conftest import DEMO, scrape


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def addresses(config: Config) -> list[str]:
    return [url for cluster in config.cluster for target in cluster.target for url in target.urls]


async def test_serves_every_target_and_ends_cleanly(demo: Config, port: int, tmp_path: Path) -> None:
    """Every address of the expanded file answers; the record tells of just those scrapes; the end comes at once."""
    config = expand(demo, gpus=32, base_url=f"http://127.0.0.1:{port}")
    record, stop = tmp_path / "record.json", asyncio.Event()
    task = asyncio.create_task(serve.run(config, host="127.0.0.1", port=port, record=record, seed=1, stop=stop))
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            try:
                async with session.get(f"http://127.0.0.1:{port}/nothing") as answer:
                    assert answer.status == 404
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
        before_ms = time.time() * 1000
        for _ in range(3):
            for url in addresses(config):
                async with session.get(url) as answer:
                    assert answer.status == 200, url
                    kind = answer.headers["Content-Type"]
                    assert kind.startswith("text/plain")
                    assert ("version=0.0.4" in kind) == ("dcgm-exporter" not in url)
                    assert (await answer.read()).endswith(b"\n")
        after_ms = time.time() * 1000
        stop.set()
        begun = time.monotonic()
        await asyncio.wait_for(task, 10)
        assert time.monotonic() - begun < 5
    written = json.loads(record.read_text())
    assert {target["url"] for target in written["targets"]} == set(addresses(config))
    for target in written["targets"]:
        assert target["scrapes"] == 3
        assert before_ms - 50 <= target["first_ms"] <= target["last_ms"] <= after_ms + 50


async def test_as_a_process(port: int, tmp_path: Path) -> None:
    """`python -m collectors.simulator` expands the demonstration's file, serves it, and ends with 0 on SIGTERM."""
    expanded = tmp_path / "expanded.toml"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "collectors.simulator", "--config", str(DEMO), "--gpus", "40", "--port", str(port)),
        *("--write", str(expanded), "--record", str(tmp_path / "record.json")),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with aiohttp.ClientSession() as session:
            await _answers(session, expanded, process)
            process.send_signal(signal.SIGTERM)
            _, said = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, said) == (0, b"")
    assert json.loads((tmp_path / "record.json").read_text())["version"] == 1


async def _answers(session: aiohttp.ClientSession, expanded: Path, process: asyncio.subprocess.Process) -> None:
    """Wait until the process has written its addresses and answers at one of them."""
    for _ in range(200):
        with contextlib.suppress(ConfigError, aiohttp.ClientConnectionError):  # not written, or not listening yet
            async with session.get(addresses(load(expanded))[0]) as answer:
                assert answer.status == 200
                return
        if process.returncode is not None:
            break
        await asyncio.sleep(0.1)
    pytest.fail("the simulator does not answer")


async def test_a_port_in_use_is_said(demo: Config, tmp_path: Path) -> None:
    """The command fails with one line and status 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = tmp_path / "expanded.toml"
        path.write_text(toml_file.dumps(expand(demo, gpus=32, base_url=f"http://127.0.0.1:{port}")), encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "collectors.simulator", "--config", str(path), "--port", str(port)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert str(port) in said.decode()
    assert len(said.decode().strip().splitlines()) == 1


def test_two_thousand_gpus_cost_little(make_fabric: Callable[..., Fabric]) -> None:
    """Model and pages of 2,000 GPUs read every 5 s take well under 15 % of a core (HTTP comes on top: half of that)."""
    fabric = make_fabric(gpus=2000)
    scrape(fabric, 60.1)
    begun = time.process_time()
    for tick in range(1, 5):
        scrape(fabric, 60.1 + tick * 5.0)
    share = (time.process_time() - begun) / 20.0
    print(f"\n2,000 GPUs, {len(fabric.targets)} targets every 5 s: {share:.1%} of a core without HTTP")
    assert share < 0.10
