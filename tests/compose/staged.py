"""One run of `commonwatt up` through the stages of `tests.compose.stages`, and what it left behind.

The worker, the collector and ClickHouse are killed on the way, each in the middle of a stage.
"""

import contextlib
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from compose import client as clients
from compose import datadir
from tests.collectors.exporters import refused
from tests.compose.command import Platform, rows, up
from tests.compose.pages import serving
from tests.compose.stages import BREAK, CHAT_SERVED, CONFIG, STAGES, stage
from tests.prometheus import Page, fetch
from tests.roles import running, wait_gone, wait_until

READS = 3  # of each page in each stage
KILLED = ("worker", "collect", "clickhouse")  # kill -9 in the middle of the first stages, one in each
RESTART_S = 30.0
STORED_S = 60.0


@dataclass(frozen=True)
class Book:
    """What one run of `commonwatt up` left behind."""

    folder: Path
    config: Path
    dead: str
    running: list[dict[str, str]]
    """Answer to `commonwatt sql` while it ran."""
    metrics: dict[str, Page]
    """What each role told then."""
    scraped: list[dict[str, Any]]
    """The file for Prometheus, at that time."""
    said: str
    url: str
    client: Client
    usage: list[dict[str, Any]]
    tokens: list[dict[str, Any]]
    costs: list[dict[str, Any]]
    seen_ms: dict[str, list[tuple[int, str, int]]]
    """device -> its samples: time, pod of the first slice, energy counter."""

    def of(self, device: str, **more: object) -> list[dict[str, Any]]:
        """Ledger rows of a device, oldest first."""
        return [
            row
            for row in self.usage
            if row["device"] == device and all(row[name] == value for name, value in more.items())
        ]

    def span_ms(self, device: str) -> int:
        samples = self.seen_ms[device]
        return samples[-1][0] - samples[0][0]


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@contextlib.contextmanager
def staged(place: Path) -> Iterator[Book]:
    """One run in a folder of its own, ended by Ctrl-C; then its book at rest, for a block."""
    folder, config, dead = place / "data", place / "config.toml", refused()
    with serving() as pages:
        config.write_text(CONFIG.format(url=pages.url, dead=dead))
        started_s = time.time() - 3600
        pages.show(stage(0, started_s))
        options = ("--config", config, "--data", folder, "--page-port", 0, "--clickhouse-port", 0, "--for", "10m")
        with up(*options, log=place / "up.log") as platform:
            pages.wait_read(READS)
            for number in range(1, STAGES):
                kill(platform, KILLED[number - 1])
                pages.wait_read(READS + 2)
                away_from_the_minute()
                time.sleep(0.3)  # no page of the stage before is on its way when the new process starts
                if number == BREAK:
                    started_s = time.time()
                pages.show(stage(number, started_s))
                pages.wait_read(READS)
            asked = wait_stored(folder)
            metrics = {role.removeprefix("metrics."): fetch(url) for role, url in metrics_of(folder).items()}
            scraped = json.loads((folder / "metrics.json").read_text())
            processes = list(platform.roles().values())
            assert platform.end() == 0, platform.said()
            wait_gone(processes)
            assert "What was metered" in platform.said()
    with running(
        "compose.clickhouse", "--data", str(folder / "clickhouse"), "--port", "0", log=place / "rest.log"
    ) as rest:
        client = clients.connect(rest.url)
        yield Book(
            folder, config, dead, asked, metrics, scraped, platform.said(), rest.url, client,
            usage=select(client, "SELECT * FROM gpu_usage ORDER BY device, ts_start, slice"),
            tokens=select(client, "SELECT * FROM token_usage ORDER BY endpoint, team, ts_start"),
            costs=select(client, "SELECT * FROM unit_costs ORDER BY minute, cluster, model, agreement"),
            seen_ms=samples(client),
        )  # fmt: skip
        client.close()


def away_from_the_minute() -> None:
    """Counters are stepped within a minute, so that no step is divided among two rows and paper needs no floors."""
    wait_until(lambda: 2 < time.time() % 60 < 55, 60)


def kill(platform: Platform, role: str) -> None:
    """kill -9, and wait until it was started again."""
    os.kill(platform.roles()[role], signal.SIGKILL)
    line = f"\n{role} was started again: it was killed by SIGKILL; it said: "
    wait_until(lambda: line in platform.said() or platform.process.poll() is not None, RESTART_S, platform.said)
    assert platform.process.poll() is None, platform.said()


def metrics_of(folder: Path) -> dict[str, str]:
    found = datadir.addresses(folder) or {}
    return {name: url for name, url in found.items() if name.startswith(datadir.METRICS)}


def wait_stored(folder: Path) -> list[dict[str, str]]:
    """Ask a running Commonwatt until the last stage is in the book."""
    query = "SELECT layer, sum(prompt_tokens) AS prompt, sum(generation_tokens) AS generation FROM token_usage "
    query += "GROUP BY layer ORDER BY layer"
    deadline = time.monotonic() + STORED_S
    while True:
        answer = rows(query, folder)
        done = [(row["layer"], int(row["prompt"])) for row in answer]
        if done == [("engine", CHAT_SERVED[0] + 1200), ("gateway", 1200)] or time.monotonic() > deadline:
            return answer


def select(client: Client, query: str) -> list[dict[str, Any]]:
    return list(client.query(query).named_results())


def samples(client: Client) -> dict[str, list[tuple[int, str, int]]]:
    found: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    query = "SELECT device, ts, min(pod) AS pod, any(energy_mj) AS energy_mj FROM gpu_samples GROUP BY device, ts"
    for row in select(client, f"{query} ORDER BY ts"):
        found[row["device"]].append((ms(row["ts"]), row["pod"], row["energy_mj"]))
    return found
