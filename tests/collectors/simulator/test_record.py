"""The record says what was truly served and drawn between the first and the last scrape, whatever the pages show."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.readings import TOKEN_COUNTERS, WHOLES, GpuReading, Origin, Reading, TokenReading
from collectors.registry import KINDS
from collectors.simulator.fabric import Fabric
from collectors.simulator.record import endpoint_of
from tests.collectors.simulator.conftest import BASE, EPOCH, scrape

INTERVAL_S = 5.0


class Meter:
    """What a reader of pages can know: reset-aware differences of counters, labels held until the next scrape."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self.energy_mj: dict[str, float] = defaultdict(float)
        self.seconds: dict[tuple[str, str, str, str, str], float] = defaultdict(float)
        self.resets: set[str] = set()
        self._readers: dict[str, Any] = {}
        self._last: dict[str, tuple[float, Reading]] = {}

    def take(self, path: str, at_s: float, page: str) -> None:
        kind = path.split("/")[3]
        if path not in self._readers:
            self._readers[path] = KINDS[kind].reader(Origin(kind, BASE + path, "h", "h:1", "d"))  # type: ignore[index]
        reading = self._readers[path].read(page.encode())
        if path in self._last:
            before_s, before = self._last[path]
            if isinstance(reading, TokenReading) and isinstance(before, TokenReading):
                self._add_tokens(path, before, reading)
            if isinstance(reading, GpuReading) and isinstance(before, GpuReading):
                self._add_devices(at_s - before_s, before, reading)
        self._last[path] = (at_s, reading)

    def _add_tokens(self, path: str, old: TokenReading, new: TokenReading) -> None:
        for at, (replica, team) in enumerate(zip(new.rows.replica, new.rows.team, strict=True)):
            then = list(zip(old.rows.replica, old.rows.team, strict=True)).index((replica, team))
            restarted = old.counters[4, then] != new.counters[4, at]
            if restarted:
                self.resets.add(path)
            for column in range(len(TOKEN_COUNTERS) - 1):
                start = 0 if restarted else max(int(old.counters[column, then]), 0)
                self.tokens[path, replica, team][column] += max(int(new.counters[column, at]), 0) - start

    def _add_devices(self, seconds: float, old: GpuReading, new: GpuReading) -> None:
        row = WHOLES.index("energy_mj")
        rows = old.rows
        for at, device in enumerate(rows.device):
            share = rows.share_num[at] / rows.share_den[at]
            holder = (rows.namespace[at], rows.pod[at], rows.job[at])
            self.seconds[(device, rows.slice[at], *holder)] += seconds * share
        for device in dict.fromkeys(rows.device):
            before = max(int(old.wholes[row, at]) for at in range(len(old)) if rows.device[at] == device)
            after = max(int(new.wholes[row, at]) for at in range(len(new)) if new.rows.device[at] == device)
            if after < before:
                self.resets.add(device)
                powers = [float(one.gauges[0, one.rows.device.index(device)]) for one in (old, new)]
                self.energy_mj[device] += seconds * 1000 * sum(powers) / 2
            else:
                self.energy_mj[device] += after - before


@pytest.fixture(scope="module")
def run(make_fabric: Callable[..., Fabric]) -> tuple[Fabric, Meter, dict[str, Any]]:
    """Two minutes of a demonstration, metered from its pages, with a pod restart and a driver reload in it."""
    fabric, meter = make_fabric(gpus=64, seed=11), Meter()
    for tick in range(25):
        at_s = 60.4 + tick * INTERVAL_S
        for path, page in scrape(fabric, at_s).items():
            meter.take(path, at_s, page)
    return fabric, meter, json.loads(json.dumps(fabric.record.as_dict()))


def test_two_minutes_hold_one_restart_and_one_reload(run: tuple[Fabric, Meter, dict[str, Any]]) -> None:
    """The demonstration shows what a meter must survive, and the record says when it happened."""
    _, meter, record = run
    events = [(event["kind"], (event["at_ms"] - EPOCH * 1000) / 1000 - 60) for event in record["events"]]
    assert sorted(kind for kind, _ in events) == ["driver_reload", "pod_restart", "xid"]
    assert next(at for kind, at in events if kind == "driver_reload") >= 40
    restarted = next(event["subject"] for event in record["events"] if event["kind"] == "pod_restart")
    assert restarted.removeprefix(BASE) in meter.resets
    reloaded = {row["device"] for row in record["devices"] if row["reloads"]}
    assert reloaded
    assert reloaded <= meter.resets


def test_tokens_equal_the_pages_exactly(run: tuple[Fabric, Meter, dict[str, Any]]) -> None:
    """No token is lost or invented by a meter that takes differences, across the restart too."""
    _, meter, record = run
    assert len(record["tokens"]) == len(meter.tokens)
    for row in record["tokens"]:
        metered = meter.tokens[row["url"].removeprefix(BASE), row["replica"], row["team"]]
        names = ("prompt_tokens", "cached_tokens", "generation_tokens", "requests")
        assert [row[name] for name in names] == metered
        assert row["endpoint"] == endpoint_of(row["url"])
        assert row["last_ms"] - row["first_ms"] == 24 * INTERVAL_S * 1000
    assert sum(row["prompt_tokens"] for row in record["tokens"]) > 1_000_000


def test_gateway_and_engines_agree_but_for_requests_under_way(run: tuple[Fabric, Meter, dict[str, Any]]) -> None:
    """The gateway counts a request when it ends: it differs from the engines by what is in flight, not more."""
    _, _, record = run
    sums: dict[str, int] = defaultdict(int)
    for row in record["tokens"]:
        if row["deployment"] == "shared-8b":
            sums[row["layer"]] += row["prompt_tokens"]
    assert sums["gateway"] == pytest.approx(sums["engine"], rel=0.05)


def test_energy_equals_the_pages(run: tuple[Fabric, Meter, dict[str, Any]]) -> None:
    """Device by device to the counter's resolution; over a driver reload, where power is integrated, within 0.1 %."""
    _, meter, record = run
    for row in record["devices"]:
        metered_j = meter.energy_mj[row["device"]] / 1000
        assert row["energy_j"] == pytest.approx(metered_j, abs=1e-3 * metered_j if row["reloads"] else 0.02), row
        assert row["gpu_seconds"] == pytest.approx(24 * INTERVAL_S, abs=1e-6)


def test_shown_tenants_equal_the_labels(run: tuple[Fabric, Meter, dict[str, Any]]) -> None:
    """`shown` applies the meter's rule, so it equals what the labels say, to the microsecond."""
    _, meter, record = run
    shown = {
        (row["device"], row["slice"], row["namespace"], row["pod"], row["job"]): row["shown"]["gpu_seconds"]
        for row in record["holdings"]
        if row["slice"] != "unallocated" and row["shown"]["gpu_seconds"]
    }
    assert shown == pytest.approx(dict(meter.seconds), abs=1e-4)


@pytest.mark.parametrize("account", ["shown", "true"])
def test_holdings_add_up_to_the_device(run: tuple[Fabric, Meter, dict[str, Any]], account: str) -> None:
    """Held, free and unallocated time and energy of a device are the whole device, in both accounts."""
    _, _, record = run
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in record["holdings"]:
        sums[row["device"]][0] += row[account]["gpu_seconds"]
        sums[row["device"]][1] += row[account]["energy_j"]
    for row in record["devices"]:
        assert sums[row["device"]] == pytest.approx([row["gpu_seconds"], row["energy_j"]], rel=1e-5)


def test_true_tenants_change_between_scrapes(run: tuple[Fabric, Meter, dict[str, Any]]) -> None:
    """`true` differs from `shown` by less than one interval and share for each change of a tenant."""
    _, _, record = run
    differences = [abs(row["shown"]["gpu_seconds"] - row["true"]["gpu_seconds"]) for row in record["holdings"]]
    assert max(differences) > 0.1
    assert (
        max(
            difference
            for row, difference in zip(record["holdings"], differences, strict=True)
            if row["job"] or row["pod"]
        )
        <= INTERVAL_S
    )


def test_recent_scrapes_are_kept(run: tuple[Fabric, Meter, dict[str, Any]]) -> None:
    """The totals of the last scrapes stand in the record, so that a page fetched but lost can be told apart."""
    _, _, record = run
    for row in record["tokens"]:
        assert len(row["recent"]) == 8
        assert row["recent"][-1][1:] == [
            row[name] for name in ("prompt_tokens", "cached_tokens", "generation_tokens", "requests")
        ]
        assert [at for at, *_ in row["recent"]] == sorted(at for at, *_ in row["recent"])
        assert row["recent"][-1][0] == row["last_ms"]


def test_an_unfinished_delivery_does_not_count(make_fabric: Callable[..., Fabric]) -> None:
    """A page that the reader did not get is as if it had never been made."""
    fabric = make_fabric(gpus=32)
    path = "/ai-fabric/prairie-8b-0/vllm/metrics"
    for at_s, delivered in ((61.0, False), (62.0, True), (66.0, True), (70.0, False)):
        fabric.advance(at_s)
        _, done = fabric.targets[path].answer(at_s)
        if delivered:
            done()
    (row,) = json.loads(json.dumps(fabric.record.as_dict()))["tokens"]
    assert (row["first_ms"], row["last_ms"]) == (round((EPOCH + 62) * 1000), round((EPOCH + 66) * 1000))


def test_written_in_one_step(make_fabric: Callable[..., Fabric], tmp_path: Path) -> None:
    """Whoever reads the file finds a whole record, and no other file beside it."""
    fabric = make_fabric(gpus=32)
    path = tmp_path / "record.json"
    fabric.record.write(path)
    scrape(fabric, 61.0)
    fabric.record.write(path)
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]
    assert len(json.loads(path.read_text())["tokens"]) > 5
