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
from compose import reference_tables
from compose.audit import SAMPLES, CheckResult
from compose.audit_scope import BEGINNING, reaching_back, scope_of
from compose.check import as_json, checks, render, run, run_checks
from schemas.config import Config
from tests.compose.ledger import MINUTES, START, Ledger, config, message, sound, usage


def audits(clickhouse: Any, ledger: Ledger, **more: Any) -> dict[str, CheckResult]:
    reference_tables.store(clickhouse.client, config())
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
        reference_tables.store(clickhouse.client, config())
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


# index of a row in a table: 4 usage rows a minute (GPU-0, slice 1, unallocated, GPU-2), 4 token rows, 5 lines
BREAKS: list[tuple[str, Callable[[Ledger], None], dict[str, object]]] = []


def breaks(audit: str, **named: object) -> Callable[[Callable[[Ledger], None]], Callable[[Ledger], None]]:
    """A way to break the book, the audit that must find it, and what its first row must name."""

    def register(change: Callable[[Ledger], None]) -> Callable[[Ledger], None]:
        BREAKS.append((audit, change, named))
        return change

    return register


@breaks("no overlap of a slice", cluster="fir", device="GPU-0", slice="")
def overlapping_row(ledger: Ledger) -> None:
    start = START + timedelta(minutes=2, seconds=30)
    ledger.gpu_usage_store.append(
        usage(2, "fir", "GPU-0", "10", "0.01", ts_start=start, ts_end=start + timedelta(seconds=10))
    )


@breaks("intervals", cluster="fir", device="GPU-0")
def row_over_two_minutes(ledger: Ledger) -> None:
    ledger.gpu_usage_store[4 * (MINUTES - 1)]["ts_end"] += timedelta(seconds=1)


@breaks("intervals", device="GPU-2")
def row_that_runs_backwards(ledger: Ledger) -> None:
    ledger.gpu_usage_store[3]["ts_end"] = START - timedelta(seconds=1)


@breaks("intervals", device="GPU-0")
def row_of_another_minute(ledger: Ledger) -> None:
    ledger.gpu_usage_store[0]["minute"] = START + timedelta(minutes=1)


@breaks("whole or slices", cluster="fir", device="GPU-1")
def whole_beside_slices(ledger: Ledger) -> None:
    ledger.gpu_usage_store.append(usage(3, "fir", "GPU-1", "60", "0.06"))


@breaks("slices add up to the device", device="GPU-1", difference_ns=-1)
def lost_nanosecond(ledger: Ledger) -> None:
    ledger.gpu_usage_store[2]["gpu_seconds"] -= Decimal("0.000000001")


@breaks("slices add up to the device", device="GPU-1")
def missing_slice(ledger: Ledger) -> None:
    del ledger.gpu_usage_store[2]


@breaks("slices of a moment", device="GPU-1")
def slices_larger_than_the_device(ledger: Ledger) -> None:
    row, free = ledger.gpu_usage_store[1:3]
    middle = START + timedelta(seconds=30)
    # the same seconds in the minute, but all of them in its first half, beside what is free
    row |= {"ts_end": middle, "gpu_seconds": Decimal(30), "busy_seconds": 0, "busy_known_seconds": 0}
    free |= {"gpu_seconds": Decimal(30), "busy_seconds": 0, "busy_known_seconds": 0}


@breaks("gaps have reasons", cluster="fir", device="GPU-0")
def gap_without_reason(ledger: Ledger) -> None:
    ledger.gpu_usage_store[8] |= {"ts_start": START + timedelta(minutes=2, seconds=30), "gpu_seconds": Decimal(30)}


@breaks("conservation of time", device="GPU-0", unobserved_s=Decimal("-59.000000000"))
def hour_of_more_than_an_hour(ledger: Ledger) -> None:
    ledger.gpu_usage_store[0]["gpu_seconds"] = Decimal(3359)


@breaks("conservation of time", device="GPU-0")
def busier_than_known(ledger: Ledger) -> None:
    ledger.gpu_usage_store[0]["busy_known_seconds"] = Decimal(1)
    for minute in range(1, MINUTES):
        ledger.gpu_usage_store[4 * minute]["busy_known_seconds"] = Decimal(1)


@breaks("conservation of energy", device="GPU-1", difference_mj=-1)
def lost_millijoule(ledger: Ledger) -> None:
    ledger.gpu_usage_store[9]["energy_j"] -= Decimal("0.001")


@breaks("conservation of energy", device="GPU-2", difference_mj=18_000_000)
def energy_without_the_counter(ledger: Ledger) -> None:
    ledger.gpu_usage_store[7]["energy_j"] *= 2


@breaks("no negative quantity", relation="gpu_usage", cluster="oak")
def negative_cost(ledger: Ledger) -> None:
    ledger.gpu_usage_store[3]["cost"] = Decimal(-1)


@breaks("no negative quantity", relation="token_usage", cluster="oak")
def negative_tokens(ledger: Ledger) -> None:
    ledger.token_usage_store[1]["generation_tokens"] = -1


@breaks("no negative quantity", relation="unit_costs", subject=" lab")
def negative_subsidy(ledger: Ledger) -> None:
    ledger.unit_costs_store[1]["subsidy"] = Decimal(-1)


@breaks("gaps have reasons", cluster="oak", device="GPU-2", gap_s=120)
def long_gap_without_reason(ledger: Ledger) -> None:
    del ledger.gpu_usage_store[11], ledger.gpu_usage_store[14]


@breaks("usage equals the samples", cluster="fir", device="GPU-1", counter_mj=54_000_000, by_counter_mj=54_000_001)
def energy_that_no_counter_showed(ledger: Ledger) -> None:
    ledger.gpu_usage_store[9]["energy_j"] += Decimal("0.001")


@breaks("usage equals the samples", cluster="oak", device="GPU-2", sampled_s=180, metered_s=120, minutes=1)
def samples_that_were_not_metered(ledger: Ledger) -> None:
    del ledger.gpu_usage_store[11]


@breaks("usage equals the samples", cluster="fir", device="GPU-0", sampled_s=120, metered_s=180, minutes=1)
def usage_without_samples(ledger: Ledger) -> None:
    late = [row for row in ledger.gpu_samples_store if row["series"] == 0 and row["ts"] > START + timedelta(minutes=3)]
    for row in late:
        ledger.gpu_samples_store.remove(row)


@breaks("usage equals the samples", cluster="fir", device="GPU-7", sampled_s=0, metered_s=60)
def device_that_was_never_seen(ledger: Ledger) -> None:
    for minute, device in ((65, "GPU-7"), (70, "GPU-0")):  # the cluster goes on beyond the minute in question
        start = START + timedelta(minutes=minute)
        more = {"ts_start": start, "ts_end": start + timedelta(minutes=1)}
        ledger.gpu_usage_store.append(usage(minute, "fir", device, "60", "0.06", **more))
        ledger.gpu_samples_store += [
            {**row, "ts": row["ts"] + timedelta(minutes=66)} for row in ledger.gpu_samples_store if not row["series"]
        ][:1]


@breaks("no gap of a counter", cluster="oak", team="a")
def tokens_left_out(ledger: Ledger) -> None:
    del ledger.token_usage_store[9]


@breaks("engines against gateways", deployment="pool", quantity="prompt_tokens", engine_tokens=800, gateway_tokens=1600)
def gateway_of_too_much(ledger: Ledger) -> None:
    for row in ledger.token_usage_store:
        row["prompt_tokens"] *= 2 if row["layer"] == "gateway" else 1


@breaks("engines against gateways", deployment="pool", quantity="generation_tokens", engine_tokens=1600)
def tokens_that_are_nobodys(ledger: Ledger) -> None:
    for row in ledger.token_usage_store[3::4]:
        row["generation_tokens"] *= 2


@breaks("no message is missing", shard="fir/c/0", boot="b1", first_seq=4, last_seq=5, missing=2)
def messages_that_never_came(ledger: Ledger) -> None:
    del ledger.telemetry_messages_store[9], ledger.telemetry_messages_store[11]


@breaks("quarantine is empty", id="telemetry.gpu/0/3", shard="fir/c/0", boot="b1", seq=3)
def message_in_quarantine(ledger: Ledger) -> None:
    ledger.quarantine_replays.clear()


@breaks("no overlap of a counter", cluster="oak", team="b")
def overlapping_tokens(ledger: Ledger) -> None:
    ledger.token_usage_store[6]["ts_start"] -= timedelta(seconds=1)


@breaks("no overlap of a counter", cluster="fir")
def tokens_of_another_minute(ledger: Ledger) -> None:
    ledger.token_usage_store[0]["minute"] = START - timedelta(minutes=1)


@breaks("tokens equal the counters", cluster="fir", prompt_tokens=501, prompt_advance=500)
def token_too_many(ledger: Ledger) -> None:
    ledger.token_usage_store[4]["prompt_tokens"] += 1


@breaks("tokens equal the counters", team="a", requests=1, requests_advance=-9)
def counter_down_without_restart(ledger: Ledger) -> None:
    ledger.token_usage_store[5]["requests_end"] = 4_992


@breaks("charge and subsidy make the cost", agreement="acme", difference=None)
def unpaid_cost(ledger: Ledger) -> None:
    ledger.unit_costs_store[0]["charge"] -= Decimal("0.000000001")


@breaks("charge and subsidy make the cost", agreement="")
def subsidy_to_nobody(ledger: Ledger) -> None:
    ledger.unit_costs_store[2]["subsidy"] = Decimal("0.000000001")


@breaks("time and energy of the tally equal the book", cluster="fir", tally_gpu_seconds=Decimal("120.000000001"))
def nanosecond_added_by_the_tally(ledger: Ledger) -> None:
    ledger.unit_costs_store[1]["gpu_seconds"] += Decimal("0.000000001")


@breaks("time and energy of the tally equal the book", cluster="oak", tally_energy_j=Decimal("17999.999"))
def millijoule_lost_by_the_tally(ledger: Ledger) -> None:
    ledger.unit_costs_store[4]["energy_j"] -= Decimal("0.001")


@breaks("time and energy of the tally equal the book", cluster="oak", tally_busy_seconds=Decimal("30.5"))
def busier_in_the_tally(ledger: Ledger) -> None:
    ledger.unit_costs_store[3]["busy_seconds"] += Decimal("0.5")


@breaks("tokens of the tally equal the book", cluster="fir", book_prompt_tokens=500, tally_prompt_tokens=499)
def token_lost_by_the_tally(ledger: Ledger) -> None:
    ledger.unit_costs_store[0]["prompt_tokens"] -= 1


@breaks("tokens of the tally equal the book", cluster="oak", tally_generation_tokens=0)
def minute_lost_by_the_tally(ledger: Ledger) -> None:
    del ledger.unit_costs_store[3:5]


@breaks("burn equals the unit costs", agreement="acme")
def burn_of_too_much(ledger: Ledger) -> None:
    ledger.subsidy_burn_store[0]["accrued"] += Decimal("0.000000001")


@breaks("burn equals the unit costs", agreement="lab")
def burn_that_fell_behind(ledger: Ledger) -> None:
    ledger.subsidy_burn_store[1]["accrued"] /= 2


@breaks("cost of each row", device="GPU-1", cost=Decimal("0.034285715"), expected_cost=Decimal("0.034285714"))
def row_a_nano_dollar_dear(ledger: Ledger) -> None:
    ledger.gpu_usage_store[2]["cost"] += Decimal("0.000000001")


@breaks("cost of each row", device="GPU-2", price_version="", expected_version="oak-h100@2020-01-01")
def unpriced_row(ledger: Ledger) -> None:
    ledger.gpu_usage_store[3] |= {"cost": Decimal(0), "currency": "", "price_version": ""}


@breaks("costs of the tally equal the book", cluster="oak", tally_cost=Decimal("0.084000001"))
def tally_a_nano_dollar_dear(ledger: Ledger) -> None:
    ledger.unit_costs_store[3]["cost"] += Decimal("0.000000001")


@breaks("costs of the tally equal the book", cluster="fir", tally_cost=Decimal("0.085714286"))
def idle_cost_left_out(ledger: Ledger) -> None:
    del ledger.unit_costs_store[2]


@breaks("conservation of money", cluster="fir", idle=Decimal("0.137142856"), uncharged=Decimal("0.137142855"))
def idle_time_that_is_charged(ledger: Ledger) -> None:
    lab, nobody = ledger.unit_costs_store[1:3]
    lab |= {"cost": lab["cost"] + Decimal("0.000000001"), "subsidy": lab["subsidy"] + Decimal("0.000000001")}
    nobody["cost"] -= Decimal("0.000000001")


@breaks("conservation of money", cluster="oak", fleet=Decimal("0.336"), charged=Decimal("0.315"))
def tenant_who_is_not_charged(ledger: Ledger) -> None:
    del ledger.unit_costs_store[4]


@breaks("money of each device hour", device="GPU-1", expected_cost=Decimal("0.36"), idle=Decimal("0.205714291"))
def slice_that_is_dear(ledger: Ledger) -> None:
    ledger.gpu_usage_store[2]["cost"] += Decimal("0.000000005")
    ledger.gpu_usage_store[6]["cost"] += Decimal("0.000000002")


@breaks("subsidy follows the agreement", agreement="firm-b", expected_subsidy=Decimal("0.016000000"))
def subsidy_of_another_rule(ledger: Ledger) -> None:
    ledger.unit_costs_store[4] |= {"subsidy": Decimal("0.010"), "charge": Decimal("0.011")}


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
    tables = config().model_dump()
    tables["cluster"][0]["max_gap"] = 300.0
    reference_tables.store(clickhouse.client, Config.model_validate(tables))
    back = reference_tables.read(clickhouse.client)
    assert back is not None
    assert {cluster.id: cluster.max_gap_s for cluster in back.cluster} == {"fir": 300, "oak": 90}


def test_work_is_bounded(clickhouse: Any) -> None:
    """A period is shortened to the minutes whose rows are not too many; samples beyond a bound are taken in parts."""
    sound().insert(clickhouse.client)
    client = clickhouse.client
    assert reaching_back(client, BEGINNING, 10_000) == BEGINNING
    assert reaching_back(client, BEGINNING, 11) == START + timedelta(minutes=MINUTES - 2)
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
