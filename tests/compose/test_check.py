"""`commonwatt check` passes on a sound book, and names the rows when any single promise is broken."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import compose
from compose.audit import SAMPLES, CheckResult
from compose.audit_scope import BEGINNING, reaching_back, scope_of
from compose.check import as_json, checks, render, run, run_checks
from compose.reference import history, tables
from schemas.config import Config
from tests.compose.breaks import BREAKS
from tests.compose.ledger import MINUTES, START, Ledger, config, line, message, sound


def audits(clickhouse: Any, ledger: Ledger, **more: Any) -> dict[str, CheckResult]:
    tables.store(clickhouse.client, more.get("config") or config())
    ledger.insert(clickhouse.client)
    return {result.name: result for result in run_checks(clickhouse.client, **{"config": config(), **more})}


def audited(clickhouse: Any, ledger: Ledger, name: str) -> CheckResult:
    """One audit of a book, of which only what it reads is written."""
    (check,) = [check for check in checks(config()) if name in check.names]
    query = next((text for text in QUERIES if f"-- name: {name}\n" in text), " ".join(MONEY))
    words = set(re.findall(r"\w+", query))
    if "settled_s" in words:  # how far that is, the ledgers tell
        words |= {*MONEY}
    ledger.insert(clickhouse.client, [table for table in vars(ledger) if words & {table, *VIEWS.get(table, ())}])
    if "agreements" in words:
        tables.store(clickhouse.client, config())
    scope = scope_of(clickhouse.client, config(), at_rest=False, since=BEGINNING, rows=1000)
    (found,) = [result for result in run(check, clickhouse.client, scope) if result.name == name]
    return found


QUERIES = [path.read_text() for path in (Path(compose.__file__).parent / "audits").glob("*.sql")]
MONEY = ("gpu_usage", "token_usage", "unit_costs")  # what the audits in Python read
VIEWS = {
    **{f"{view}_store": (view,) for view in (*MONEY, "subsidy_burn", "telemetry_messages", "quarantine")},
    "quarantine_replays": ("quarantine",),
}


def failing(results: dict[str, CheckResult]) -> dict[str, list[dict[str, object]]]:
    return {name: result.rows for name, result in results.items() if not result.passed}


def test_a_sound_book_passes(clickhouse: Any) -> None:
    """Every audit examines something and finds nothing."""
    results = audits(clickhouse, sound())
    assert failing(results) == {}
    settled = MINUTES - 2
    assert {name: result.examined for name, result in results.items()} == {
        "intervals": 4 * MINUTES,
        "no overlap of a slice": 4 * MINUTES,
        "whole or slices": 4 * MINUTES,
        "slices add up to the device": 3 * MINUTES,
        "slices of a moment": 8 * MINUTES,
        "gaps have reasons": 0,
        "conservation of time": 3,
        "conservation of energy": 3 * (MINUTES - 1),
        "usage equals the samples": 3,
        "no negative quantity": 13 * MINUTES,
        "no overlap of a counter": 4 * MINUTES,
        "no gap of a counter": 4 * MINUTES,
        "tokens equal the counters": 4 * MINUTES,
        "charge and subsidy make the cost": 5 * MINUTES,
        "engines against gateways": 2,
        "time and energy of the tally equal the book": 2 * settled,
        "tokens of the tally equal the book": 2 * settled,
        "burn equals the unit costs": 3,
        "cost of each row": 4 * MINUTES,
        "money of each device hour": 3,
        "costs of the tally equal the book": 2 * settled,
        "conservation of money": 2,
        "no message is missing": 3 * MINUTES,
        "quarantine is empty": 1,
        "subsidy follows the agreement": 4 * MINUTES,
        "charged and subsidised make the cost of charges": 5,
        "charges are made of the whole ledger": 2,
        "charges cost what the tally says": 5,
        "roll-ups cost what charges say": 5,
        "rolled up days are their hours": 5,
        "roll-ups have every device": 1,
        "closed months stay closed": 5,
        "no agreement is paid more than its cap": 4,
    }


def test_the_book_alone_is_enough(clickhouse: Any) -> None:
    """Without a configuration the audits use what the book itself records of prices, rates and agreements."""
    results = audits(clickhouse, sound(), config=None)
    assert failing(results) == {}
    assert results["cost of each row"].examined == 4 * MINUTES


def test_an_empty_book_passes(clickhouse: Any) -> None:
    """Nothing to examine is not a fault."""
    results = run_checks(clickhouse.client)
    assert all(result.passed and result.examined == 0 for result in results)


@pytest.mark.parametrize(("audit", "change", "named"), BREAKS, ids=[change.__name__ for _, change, _ in BREAKS])
def test_each_broken_promise_is_found(
    audit: str, change: Callable[[Ledger], None], named: dict[str, object], clickhouse: Any
) -> None:
    """The audit of that promise fails, and its rows lead to the fault."""
    ledger = sound()
    change(ledger)
    found = audited(clickhouse, ledger, audit)
    assert not found.passed
    assert {name: found.rows[0].get(name) for name in named} == named


def test_every_audit_can_fail(clickhouse: Any) -> None:
    """No audit is decoration: each one has a book that it refuses."""
    assert {result.name for result in audits(clickhouse, sound()).values()} == {audit for audit, _, _ in BREAKS}


def supported() -> tuple[Config, Ledger]:
    """A sound book in which `help` pays half of what the firms' programme leaves to firm-a."""
    data = config().model_dump()
    rule = {"kind": "cost_share", "share": "1/2", "elsewhere": "1/2", "of": "remainder"}
    data["agreement"].append({**data["agreement"][2], "id": "help", "after": "firm-a", "match": [], "rule": rule})
    ledger = sound()
    ledger.unit_costs_store += [
        line(minute, "oak", "small", "help", "0", 0, "0", "0.0075") for minute in range(MINUTES)
    ]
    return Config.model_validate(data), ledger


def test_support_of_what_another_agreement_left(clickhouse: Any) -> None:
    """Its lines have no usage and are credits: they are in the view, and every audit knows what they must be."""
    known, ledger = supported()
    results = audits(clickhouse, ledger, config=known)
    assert failing(results) == {}
    assert results["subsidy follows the agreement"].examined == 5 * MINUTES


@pytest.mark.parametrize(
    ("change", "subsidy"), [({"subsidy": Decimal("0.0074"), "charge": Decimal("-0.0074")}, "0.0074"), ({}, "0")]
)
def test_support_that_is_wrong_or_missing(change: dict[str, Decimal], subsidy: str, clickhouse: Any) -> None:
    """Another amount than the rule yields is found, and so is a line that is not there."""
    known, ledger = supported()
    last = ledger.unit_costs_store.pop()
    ledger.unit_costs_store += [{**last, **change}] if change else []
    found = audits(clickhouse, ledger, config=known)["subsidy follows the agreement"]
    assert [(row["agreement"], row["subsidy"], row["expected_subsidy"]) for row in found.rows] == [
        ("help", Decimal(subsidy), Decimal("0.0075"))
    ]


def test_gaps_with_reasons_pass(clickhouse: Any) -> None:
    """An event of the device where the gap ends explains it, short or long. All are counted and the longest is told."""
    ledger = sound()
    ledger.gpu_usage_store[8] |= {"ts_start": START + timedelta(minutes=2, seconds=30), "gpu_seconds": Decimal(30)}
    del ledger.gpu_usage_store[11], ledger.gpu_usage_store[14]  # GPU-2 in the minutes 2 and 3
    event = {"source": "s", "kind": "unmetered_gap", "detail": ""}
    ledger.data_quality += [
        {**event, "cluster": "fir", "subject": "GPU-0", "ts": START + timedelta(minutes=2, seconds=30)},
        {**event, "cluster": "oak", "subject": "GPU-2", "ts": START + timedelta(minutes=4)},
    ]
    gaps = audited(clickhouse, ledger, "gaps have reasons")
    assert (gaps.passed, gaps.examined, gaps.note) == (True, 2, "150 s in all, the longest 120 s")


def test_open_minutes_are_not_compared_with_the_tally(clickhouse: Any) -> None:
    """The tally may be two minutes behind while the book grows."""
    ledger = sound()
    del ledger.unit_costs_store[-10:]
    ledger.subsidy_burn_store.clear()
    ledger.settlements.clear()
    assert failing(audits(clickhouse, ledger)) == {}
    at_rest = {result.name: result for result in run_checks(clickhouse.client, config(), at_rest=True)}
    assert failing(at_rest).keys() == {
        "time and energy of the tally equal the book",
        "tokens of the tally equal the book",
        "costs of the tally equal the book",
        "conservation of money",
    }
    assert at_rest["tokens of the tally equal the book"].faults == 4


def test_minutes_of_a_shard_that_catches_up_are_open(clickhouse: Any) -> None:
    """Another shard of the cluster may be far ahead: what was stored of late tells which minutes may still change."""
    sound().insert(clickhouse.client)
    client = clickhouse.client

    def settled() -> list[int]:
        settled_s = scope_of(client, config(), at_rest=False, since=BEGINNING, rows=1).settled_s
        return [(settled_s[cluster] - int(START.timestamp())) // 60 for cluster in ("fir", "oak")]

    assert settled() == [4, 4]
    late = message("fir/c/9", "b", 1, stored_at=datetime.now(UTC), ts_first=START + timedelta(minutes=3))
    client.insert("telemetry_messages_store", [list(late.values())], column_names=list(late))
    assert settled() == [1, 4]  # 90 s before that sample, in whole minutes


def test_messages_that_are_no_holes(clickhouse: Any) -> None:
    """What was stored just now may be overtaken; what comes again after long stands alone in the period, and is none;
    a run that has lost its beginning to expiry has no hole."""
    now = datetime.now(UTC)
    ledger = sound()
    ledger.telemetry_messages_store += [
        message("fir/c/1", "b", 5, stored_at=now - timedelta(hours=1)),
        message("fir/c/1", "b", 8, stored_at=now - timedelta(minutes=1)),
        *(message("fir/c/2", "b", seq, stored_at=now - timedelta(hours=9 if seq < 7 else 1)) for seq in range(1, 9)),
        message("fir/c/2", "b", 3, stored_at=now - timedelta(minutes=5)),
        message("fir/c/3", "b", 1, stored_at=now - timedelta(days=30)),  # replayed, outlives its successors
        message("fir/c/3", "b", 9, stored_at=now - timedelta(days=34, hours=20)),
    ]
    ledger.insert(clickhouse.client)
    (check,) = [check for check in checks(None) if "no message is missing" in check.names]
    for since in (BEGINNING, now - timedelta(hours=2)):
        scope = scope_of(clickhouse.client, None, at_rest=False, since=since, rows=1)
        (found,) = run(check, clickhouse.client, scope)
        assert found.rows == []
    at_rest = scope_of(clickhouse.client, None, at_rest=True, since=now - timedelta(hours=2), rows=1)
    (found,) = run(check, clickhouse.client, at_rest)
    assert [(row["shard"], row["first_seq"], row["last_seq"]) for row in found.rows] == [("fir/c/1", 6, 7)]


def test_engines_may_serve_more_than_the_gateway_sees(clickhouse: Any) -> None:
    """Direct traffic is nobody's loss where engines count."""
    ledger = sound()
    for row in ledger.token_usage_store:
        row["counted"] = row["layer"] == "engine"
        row["generation_tokens"] *= 3 if row["layer"] == "engine" else 1
    assert audited(clickhouse, ledger, "engines against gateways").passed


def test_counters_seen_in_part_are_not_compared(clickhouse: Any) -> None:
    """What a server that was away for minutes may have served in them is allowed for."""
    ledger = sound()
    ledger.token_usage_store = [
        row
        for row in ledger.token_usage_store
        if row["layer"] == "gateway" or row["minute"] < START + timedelta(minutes=1)
    ]
    assert audited(clickhouse, ledger, "engines against gateways").passed


def test_the_same_rules_without_the_file(clickhouse: Any) -> None:
    """The book remembers how long a silence its clusters meter."""
    data = config().model_dump()
    data["cluster"][0]["max_gap"] = 300.0
    tables.store(clickhouse.client, Config.model_validate(data))
    back = history.config_at(clickhouse.client)
    assert {cluster.id: cluster.max_gap_s for cluster in back.cluster} == {"fir": 300, "oak": 90}


def test_work_is_bounded(clickhouse: Any) -> None:
    """A period is shortened to the minutes whose rows are not too many; samples beyond a bound are taken in parts."""
    sound().insert(clickhouse.client)
    client = clickhouse.client
    assert reaching_back(client, BEGINNING, 10_000) == BEGINNING
    assert reaching_back(client, BEGINNING, 11) == START + timedelta(minutes=MINUTES - 2)
    assert reaching_back(client, BEGINNING, 1) == START + timedelta(minutes=MINUTES - 1)
    assert reaching_back(client, START + timedelta(minutes=5), 10_000) == START + timedelta(minutes=5)
    (check,) = [check for check in checks(None) if "usage equals the samples" in check.names]
    scope = replace(scope_of(client, config(), at_rest=True, since=BEGINNING, rows=1), samples=2 * SAMPLES)
    parts = [run(check, client, replace(scope, turn=turn))[0] for turn in range(3)]
    assert [part.note for part in parts] == ["one device in 2"] * 3
    assert parts[0].examined + parts[1].examined == 3
    assert parts[2].examined == parts[0].examined


def test_readings_that_are_no_energy(clickhouse: Any) -> None:
    """A reading that is older than its time adds nothing, one of a new life of the counter goes on from itself, and one
    that leaps is no energy: the audit measures as the meter does."""
    ledger = sound()
    samples = {row["ts"]: row for row in ledger.gpu_samples_store if row["series"] == 0}

    def at(minute: int, tick: int) -> dict[str, Any]:
        return samples[START + timedelta(minutes=minute, seconds=10 * tick)]

    at(1, 3)["energy_mj"] = at(1, 2)["energy_mj"] - 1
    for ts, row in samples.items():  # the driver is loaded anew, then the counter leaps
        if ts > at(2, 2)["ts"]:
            row["energy_mj"] = (ts - at(2, 3)["ts"]).seconds * 300_000 + 5
        if ts > at(3, 2)["ts"]:
            row["energy_mj"] += 10**12
    unknown = at(4, 1)
    unknown["energy_mj"] = -1
    for minute, energy_mj in ((2, 15_000_000), (3, 15_000_000), (4, 12_000_000)):
        row = ledger.gpu_usage_store[4 * minute]
        counted = {
            "ts_end": row["ts_start"] + timedelta(milliseconds=energy_mj // 300),
            "energy_j": Decimal(energy_mj) / 1000,
        }
        rest = {"ts_start": counted["ts_end"], "method": "integrated"}
        counted["gpu_seconds"] = Decimal(energy_mj) / 300_000
        ledger.gpu_usage_store.append({**row, **rest, "gpu_seconds": 60 - counted["gpu_seconds"]})
        row |= counted
    found = audited(clickhouse, ledger, "usage equals the samples")
    assert (found.rows, found.examined) == ([], 3)


def test_a_restart_is_no_fault(clickhouse: Any) -> None:
    """A counter that went down with a restart recorded, or another process, is what the rules allow."""
    ledger = sound()
    ledger.token_usage_store[4] |= {"resets": 1, "prompt_tokens_end": 500, "started_ms": 2}
    ledger.token_usage_store[8] |= {"prompt_tokens_end": 1000, "started_ms": 2}
    ledger.token_usage_store[12] |= {"prompt_tokens_end": 77, "started_ms": 3}
    ledger.token_usage_store[16] |= {"prompt_tokens_end": 577, "started_ms": 3}
    ledger.token_usage_store[20] |= {"prompt_tokens_end": 1077, "started_ms": 3}
    assert failing(audits(clickhouse, ledger)) == {}


def test_open_rows_in_several_lengths_are_one(clickhouse: Any) -> None:
    """A row written again with a later end, and a chain head before it, are one interval."""
    ledger = sound()
    row = ledger.gpu_usage_store[0]
    ledger.gpu_usage_store[:0] = [
        {**row, "ts_end": START, "method": "", "gpu_seconds": Decimal(0)},
        {**row, "ts_end": START + timedelta(seconds=10), "gpu_seconds": Decimal(10)},
    ]
    assert failing(audits(clickhouse, ledger)) == {}


def test_since_and_bounds(clickhouse: Any) -> None:
    """The past can be left out, and what is recomputed with fractions is bounded, newest first, and says so."""
    ledger = sound()
    ledger.gpu_usage_store[0]["cost"] += 1
    results = audits(clickhouse, ledger, since=START + timedelta(minutes=1))
    assert failing(results) == {}
    assert results["cost of each row"].examined == 4 * (MINUTES - 1)
    bounded = {result.name: result for result in run_checks(clickhouse.client, config(), rows=8)}
    assert bounded["cost of each row"].passed
    assert (bounded["cost of each row"].examined, bounded["cost of each row"].note) == (8, "the newest 8")
    assert bounded["costs of the tally equal the book"].passed


def test_faults_are_shown_in_text_and_json(clickhouse: Any) -> None:
    """The first rows at fault, how many more there are, and amounts as exact as in the book."""
    ledger = sound()
    for row in ledger.gpu_usage_store:
        row["cost"] += Decimal("0.000000001")
    results = list(audits(clickhouse, ledger).values())
    page = io.StringIO()
    render(results, Console(file=page, width=120))
    assert "✗ cost of each row: Every ledger row costs exactly its device time" in page.getvalue()
    assert "… and 4 more" in page.getvalue()
    assert f"device=GPU-1  slice=unallocated  ts_start={START:%Y-%m-%dT%H:%M:%S}.000Z" in page.getvalue()
    told = {result["name"]: result for result in json.loads(as_json(results))}
    assert told["cost of each row"]["faults"] == 24
    assert told["cost of each row"]["passed"] is False
    assert told["cost of each row"]["rows"][0]["cost"] == "0.060000001"
    assert told["intervals"]["passed"] is True
