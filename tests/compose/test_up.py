"""Protects the main job on targets of one's own: `commonwatt up` on pages whose counters are set by hand, and on which
the worker, the collector and ClickHouse are killed on the way.

Each stage of the pages (see `tests.compose.stages`) is read several times, so what the ledger must hold follows from
the stages alone; how long each lasted is taken from the times of the recorded samples.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.compose.command import commonwatt
from tests.compose.staged import KILLED, READS, Book, ms, select, staged
from tests.compose.stages import (
    ACME_SERVED,
    AMD_UJ,
    CHAT_SERVED,
    LAB_SERVED,
    MIG_MJ,
    PART_MJ,
    POWER_W,
    TENANT_MJ,
    WHOLE_MJ,
)
from tests.prometheus import lint, needs_promtool
from tests.roles import ROOT


def gpu_ms(found: list[dict[str, Any]]) -> Fraction:
    return sum((Fraction(row["gpu_seconds"]) * 1000 for row in found), Fraction(0))


def energy_mj(found: list[dict[str, Any]]) -> int:
    return int(sum(row["energy_j"] for row in found) * 1000)


def nano(amount: Decimal) -> int:
    return int(amount * 10**9)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """Made once for all tests here."""
    with staged(tmp_path_factory.mktemp("up")) as run:
        yield run


def test_it_can_be_asked_while_it_runs(book: Book) -> None:
    """`commonwatt sql` beside a running `up`: the tokens of the last stage, exactly."""
    assert [{name: row[name] for name in row} for row in book.running] == [
        {
            "layer": "engine",
            "prompt": str(CHAT_SERVED[0] + ACME_SERVED[0] + LAB_SERVED[0]),
            "generation": str(CHAT_SERVED[2] + ACME_SERVED[1] + LAB_SERVED[1]),
        },
        {
            "layer": "gateway",
            "prompt": str(ACME_SERVED[0] + LAB_SERVED[0]),
            "generation": str(ACME_SERVED[1] + LAB_SERVED[1]),
        },
    ]


def test_a_role_that_was_killed_is_started_again(book: Book) -> None:
    """Each once, with a line for whoever watches and a figure for Prometheus; all other tests here say that it costs
    nothing."""
    assert [line.split()[0] for line in book.said.splitlines() if " was started again: " in line] == list(KILLED)
    restarts = book.metrics["up"].by("commonwatt_role_restarts_total", "role")
    assert {role for role, times in restarts.items() if times} == set(KILLED)
    assert set(restarts.values()) == {0, 1}


def test_every_role_tells_its_metrics(book: Book) -> None:
    """At an address that `run.json` and Prometheus's own file name; the version and the process on each page."""
    assert book.metrics.keys() >= {"up", "broker", "clickhouse", "worker", "collect", "page"}
    assert [(entry["labels"]["process"], len(entry["targets"])) for entry in book.scraped] == [
        (role, 1) for role in book.metrics
    ]
    for page in book.metrics.values():
        assert page.value("commonwatt_build_info") == 1
        assert page.value("process_resident_memory_bytes") > 10_000_000


def test_metrics_are_true(book: Book) -> None:
    """Figures of the moment, against the configuration and against each other."""
    collect, worker, up_, broker = (book.metrics[role] for role in ("collect", "worker", "up", "broker"))
    assert collect.value("commonwatt_collector_targets") == 9
    assert collect.value("commonwatt_collector_targets_down") == 1
    scrapes = collect.value("commonwatt_collector_scrapes_total")
    assert scrapes >= 9 * READS
    assert collect.value("commonwatt_collector_scrape_seconds_count") == scrapes
    assert scrapes / 9 - 2 <= collect.value("commonwatt_collector_scrape_failures_total") <= scrapes / 9 + 2
    assert collect.value("commonwatt_collector_refused_messages_total") == 0
    assert set(worker.by("commonwatt_sample_age_seconds", "cluster")) == {"fir", "oak"}
    assert all(-1 < age < 10 for age in worker.by("commonwatt_sample_age_seconds", "cluster").values())
    assert set(worker.by("commonwatt_state_age_seconds", "agent")) == {"unit_cost", "burn"}
    sent = broker.by("commonwatt_broker_messages_total", "topic")
    topics = select(book.client, "SELECT topic, count() AS messages FROM telemetry_messages GROUP BY topic")
    for row in topics:  # a message that was acknowledged as the collector was killed may have been sent twice
        assert row["messages"] - 30 <= sent[row["topic"]] <= row["messages"] + 2
    assert broker.value("commonwatt_broker_resident_memory_bytes") > 1_000_000
    assert sum(up_.by("commonwatt_group_lag_messages", "topic").values()) < 20
    book_ = book.metrics["clickhouse"]
    assert book_.value("commonwatt_clickhouse_inserted_rows_total") > 0
    assert book_.by("commonwatt_clickhouse_active_parts", "table")["gpu_usage_store"] >= 1
    assert book_.value("commonwatt_clickhouse_disk_free_bytes") > book_.value(
        "commonwatt_clickhouse_disk_reserve_bytes"
    )
    assert book.metrics["page"].value("commonwatt_page_viewers") == 0


def test_alert_rules_are_about_metrics_that_exist(book: Book) -> None:
    """Each one that the shipped rules name stands on a page of some role."""
    named = set(re.findall(r"commonwatt_\w+", (ROOT / "compose" / "prometheus-rules.yaml").read_text()))
    told = {name for page in book.metrics.values() for name in re.findall(r"^# TYPE (\w+)", page.text, re.MULTILINE)}
    assert len(named) > 10
    assert named <= told


@needs_promtool
def test_promtool_objects_to_nothing(book: Book) -> None:
    """Names, units and help texts follow Prometheus's conventions, on the page of every role."""
    assert {role: found for role, page in book.metrics.items() if (found := lint(page))} == {}


def test_every_page_was_recorded_as_it_was_shown(book: Book) -> None:
    """Each stage stands in the samples several times; what was not there was not sampled."""
    counters = {
        "GPU-whole": WHOLE_MJ,
        "GPU-tenant": TENANT_MJ,
        "GPU-mig": MIG_MJ,
        "GPU-part": PART_MJ,
        "AMD-1": tuple(uj // 1000 for uj in AMD_UJ),
    }
    assert book.seen_ms.keys() == counters.keys()
    for device, stages in counters.items():
        shown = [energy for _, _, energy in book.seen_ms[device]]
        assert list(dict.fromkeys(shown)) == list(stages)
        assert min(shown.count(energy) for energy in stages) >= READS - 1


@pytest.mark.parametrize("device", ["GPU-whole", "GPU-tenant", "GPU-mig", "GPU-part", "AMD-1"])
def test_the_rows_of_a_device_tile_the_time_from_its_first_sample_to_its_last(book: Book, device: str) -> None:
    """Exactly, whatever happened in between: no moment left out, none counted twice."""
    assert gpu_ms(book.of(device)) == book.span_ms(device) > 5000
    for name in {row["slice"] for row in book.of(device)}:
        pieces = book.of(device, slice=name)
        ends = [pieces[0]["ts_start"]] + [row["ts_end"] for row in pieces]
        assert [row["ts_start"] for row in pieces] == ends[:-1]
        assert (ms(ends[0]), ms(ends[-1])) == (book.seen_ms[device][0][0], book.seen_ms[device][-1][0])


def test_over_a_driver_reload_energy_comes_from_power(book: Book) -> None:
    """360 J by the counter, then 400 W for as long as the interval of the reload lasted, then 360 J by the counter."""
    found, seen = book.of("GPU-whole"), book.seen_ms["GPU-whole"]
    before = max(ts for ts, _, energy in seen if energy == WHOLE_MJ[1])
    after = min(ts for ts, _, energy in seen if energy == WHOLE_MJ[2])
    reload_ms = after - before
    (integrated,) = [row for row in found if row["method"] == "integrated"]
    assert (ms(integrated["ts_start"]), ms(integrated["ts_end"])) == (before, after)
    assert energy_mj([integrated]) == POWER_W * reload_ms
    total_mj = 360_000 + POWER_W * reload_ms + 360_000
    assert energy_mj(found) == total_mj
    assert energy_mj(book.of("GPU-whole", method="counter")) == 720_000
    assert {(row["workload"], row["deployment"], row["agreement"]) for row in found} == {
        ("chat/chat-0", "chat", "acme")
    }
    assert sum(row["busy_seconds"] for row in found) * 2000 == book.span_ms("GPU-whole")
    # 1,000 nano-dollars a millisecond and one for 8 mJ
    assert sum(nano(row["cost"]) for row in found) == 1000 * book.span_ms("GPU-whole") + total_mj // 8


def test_a_tenant_has_the_device_until_the_other_one_is_seen(book: Book) -> None:
    """The labels of a sample hold until the next one: time and energy change hands there, to the millisecond."""
    seen = book.seen_ms["GPU-tenant"]
    change = min(ts for ts, pod, _ in seen if pod == "train-2")
    first, second = book.of("GPU-tenant", workload="lab-a/train-1"), book.of("GPU-tenant", workload="acme-b/train-2")
    assert first + second == book.of("GPU-tenant")
    assert gpu_ms(first) == change - seen[0][0]
    assert gpu_ms(second) == seen[-1][0] - change
    assert energy_mj(first) == TENANT_MJ[2] - TENANT_MJ[0]
    assert energy_mj(second) == TENANT_MJ[3] - TENANT_MJ[2]
    assert {row["agreement"] for row in first} == {"lab"}
    assert {row["agreement"] for row in second} == {"acme"}
    assert sum(nano(row["cost"]) for row in first) == 1000 * (change - seen[0][0]) + 900_000 // 8


@pytest.mark.parametrize(
    ("device", "shares", "total_mj"),
    [
        ("GPU-mig", {"3g.40gb/1": 3, "4g.40gb/2": 4}, 777_000),
        ("GPU-part", {"3g.40gb/1": 3, "unallocated": 4}, 147_000),
    ],
)
def test_slices_share_their_device(book: Book, device: str, shares: dict[str, int], total_mj: int) -> None:
    """Sevenths of its time and of its energy, what no slice holds included; never twice what the device used."""
    assert {row["slice"] for row in book.of(device)} == shares.keys()
    assert energy_mj(book.of(device)) == total_mj
    for name, sevenths in shares.items():
        found = book.of(device, slice=name)
        assert energy_mj(found) == total_mj * sevenths // 7
        assert abs(gpu_ms(found) - Fraction(sevenths * book.span_ms(device), 7)) < Fraction(1, 10**6)
    free = book.of(device, slice="unallocated")
    assert all(row["workload"] == row["agreement"] == "" and row["busy_seconds"] == 0 for row in free)


def test_amd_energy_is_read_in_microjoules(book: Book) -> None:
    """Whole millijoules of the ledger, and a price in US dollars."""
    found = book.of("AMD-1")
    assert energy_mj(found) == 7_004_000 - 7_000_000
    assert {(row["cluster"], row["agreement"], row["currency"]) for row in found} == {("oak", "acme", "USD")}
    assert sum(nano(row["cost"]) for row in found) == 1000 * book.span_ms("AMD-1")


def test_every_row_costs_what_paper_says(book: Book) -> None:
    """Half-even to the nano-dollar, the fraction of a slice included."""
    for row in book.usage:
        exact = Fraction(row["gpu_seconds"]) / 1000
        if row["cluster"] == "fir":
            exact += Fraction(row["energy_j"]) * 1000 / 8 / 10**9
        assert nano(row["cost"]) == round(exact * 10**9), row
    versions = {(row["cluster"], row["currency"], row["price_version"]) for row in book.usage}
    assert versions == {("fir", "CAD", "fir-h100@2020-01-01"), ("oak", "USD", "oak-mi300x@2020-01-01")}


def test_tokens_over_a_restart(book: Book) -> None:
    """What the old process served since the first page, and everything that the new one did."""
    found = [row for row in book.tokens if row["deployment"] == "chat"]
    assert served(found) == CHAT_SERVED
    assert sum(row["resets"] for row in found) == 1
    assert {(row["model"], row["agreement"], row["counted"]) for row in found} == {("big", "acme", True)}


def served(found: list[dict[str, Any]]) -> tuple[int, ...]:
    return tuple(
        sum(row[name] for row in found) for name in ("prompt_tokens", "cached_tokens", "generation_tokens", "requests")
    )


def test_tokens_of_a_shared_deployment_are_counted_at_the_gateway(book: Book) -> None:
    """By team; the engine behind it is kept beside, uncounted, with the same total."""
    found = [row for row in book.tokens if row["deployment"] == "pool"]
    gateway = {team: served([row for row in found if row["team"] == team]) for team in ("acme", "lab")}
    assert gateway == {"acme": (900, 0, 300, 0), "lab": (300, 0, 100, 0)}
    assert {(row["team"], row["agreement"], row["counted"]) for row in found} == {
        ("acme", "acme", True), ("lab", "lab", True), ("", "", False),
    }  # fmt: skip
    assert served([row for row in found if row["layer"] == "engine"]) == (1200, 0, 400, 7)


def test_unit_costs_divide_the_ledger(book: Book) -> None:
    """Each deployment's cost stands in its lines once; a shared one is divided by the tokens of the minute."""
    lines = {(row["minute"], row["cluster"], row["model"], row["agreement"]): row for row in book.costs}
    expected: dict[tuple[Any, ...], int] = defaultdict(int)
    shared: dict[Any, int] = defaultdict(int)
    for (minute, cluster, deployment, agreement), found in grouped(book.usage).items():
        cost = round(sum(nano(row["cost"]) for row in found) * (Fraction(14, 10) if cluster == "oak" else 1))
        if deployment == "pool":
            shared[minute] += cost
        else:
            expected[minute, cluster, "big" if deployment else "", agreement] += cost
    for key, cost in expected.items():
        assert nano(lines.pop(key)["cost"]) == cost, key
    for minute, cost in shared.items():
        tokens = {
            team: sum(sum(served([row])[::2]) for row in book.tokens if row["minute"] == minute and row["team"] == team)
            for team in ("acme", "lab")
        }
        total = sum(tokens.values())
        parts = {agreement: lines.pop((minute, "fir", "small", agreement), None) for agreement in ("acme", "lab", "")}
        charged = {agreement: nano(line["cost"]) for agreement, line in parts.items() if line}
        assert sum(charged.values()) == cost
        for team, count in tokens.items():
            if total:
                assert abs(charged[team] - Fraction(cost * count, total)) < 1
    assert all(line["cost"] == 0 for line in lines.values())
    chat = [line for line in book.costs if line["model"] == "big"]
    assert sum(line["cost"] for line in chat) == sum(row["cost"] for row in book.of("GPU-whole"))
    assert sum(line["prompt_tokens"] + line["generation_tokens"] for line in chat) == 740 + 320
    small = [line for line in book.costs if line["model"] == "small"]
    assert sum(line["prompt_tokens"] + line["generation_tokens"] for line in small) == 1600


def grouped(found: list[dict[str, Any]]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        groups[row["minute"], row["cluster"], row["deployment"], row["agreement"]].append(row)
    return groups


def test_subsidies_follow_the_agreements(book: Book) -> None:
    """Two thirds in Canada, half elsewhere, all of it by credits; the rest is charged, and nothing goes to nobody."""
    parts = {("acme", "fir"): Fraction(2, 3), ("acme", "oak"): Fraction(1, 2), ("lab", "fir"): Fraction(1)}
    assert {(line["agreement"], line["cluster"]) for line in book.costs} == {*parts, ("", "fir")}
    spent: dict[str, int] = defaultdict(int)
    for line in book.costs:
        subsidy = round(nano(line["cost"]) * parts.get((line["agreement"], line["cluster"]), Fraction(0)))
        assert nano(line["subsidy"]) == subsidy, line
        assert nano(line["charge"]) == (nano(line["cost"]) - subsidy if line["agreement"] else 0)
        spent[line["agreement"]] += subsidy
    burn = select(
        book.client, "SELECT agreement, argMax(spent, (minute, ts)) AS spent FROM subsidy_burn GROUP BY agreement"
    )
    assert {row["agreement"]: nano(row["spent"]) for row in burn} == {"acme": spent["acme"], "lab": spent["lab"]}


def test_defects_are_named(book: Book) -> None:
    """The driver reload, the restarted server and the dead target, each with its subject; nothing else went wrong."""
    found = {
        (row["cluster"], row["kind"], row["subject"], row["source"])
        for row in select(book.client, "SELECT cluster, kind, subject, source FROM data_quality")
    }
    endpoint = next(row["endpoint"] for row in book.tokens if row["deployment"] == "chat")
    shards = {row["shard"] for row in book.usage if row["cluster"] == "fir"}
    chat_shard = next(row["shard"] for row in book.tokens if row["deployment"] == "chat")
    assert found == {
        ("fir", "counter_reset", "GPU-whole", *shards),
        ("fir", "counter_reset", f"{endpoint} 0 m", chat_shard),
        ("fir", "target_down", "", f"dcgm-exporter {book.dead}"),
        ("fir", "target_unreachable", "", f"dcgm-exporter {book.dead}"),
    }


def test_check_passes_and_then_names_a_row_that_was_smuggled_in(book: Book) -> None:
    """The audits hold on this book, and exit 1 with the row's identity when a moment is in it twice."""
    copy = (
        "cluster, device, slice, ts_end, minute, shard, node, vendor, gpu_model, share_num, share_den, namespace, pod, "
    )
    copy += "job, account, workload, deployment, agreement, gpu_seconds, energy_j, busy_seconds, busy_known_seconds, "
    copy += "energy_mj_end, power_w_end, samples, method, ended, cost, currency, price_version"
    sound = commonwatt("check", "--config", book.config, "--clickhouse", book.url)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    book.client.command(
        f"INSERT INTO gpu_usage_store ({copy}, ts_start) SELECT {copy}, ts_start + INTERVAL 1 MILLISECOND "
        "FROM gpu_usage_store FINAL WHERE device = 'GPU-whole' ORDER BY ts_end - ts_start DESC LIMIT 1"
    )
    broken = commonwatt("check", "--config", book.config, "--clickhouse", book.url)
    assert broken.returncode == 1
    start = max(book.of("GPU-whole"), key=lambda row: row["ts_end"] - row["ts_start"])["ts_start"]
    faults = broken.stdout[broken.stdout.index("✗ no overlap of a slice:") :]
    named = faults.splitlines()[1]
    assert "device=GPU-whole" in named
    assert f"ts_start={start:%Y-%m-%dT%H:%M:%S}" in named
