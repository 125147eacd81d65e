"""`commonwatt check` passes on a sound book, and names the rows when any single promise is broken."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from compose import reference_tables
from compose.audit import CheckResult
from compose.check import as_json, render, run_checks
from tests.compose.ledger import MINUTES, START, Ledger, config, sound, usage


def audits(clickhouse: Any, ledger: Ledger, **more: Any) -> dict[str, CheckResult]:
    reference_tables.store(clickhouse.client, config())
    ledger.insert(clickhouse.client)
    return {result.name: result for result in run_checks(clickhouse.client, **{"config": config(), **more})}


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
        "no negative quantity": 13 * MINUTES,
        "no overlap of a counter": 4 * MINUTES,
        "tokens equal the counters": 4 * MINUTES,
        "charge and subsidy make the cost": 5 * MINUTES,
        "tokens of the tally equal the book": 2 * settled,
        "burn equals the unit costs": 3,
        "cost of each row": 4 * MINUTES,
        "costs of the tally equal the book": 2 * settled,
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


@breaks("cost of each row", device="GPU-2", price_version="", expected_version="oak-h100@2026-01-01")
def unpriced_row(ledger: Ledger) -> None:
    ledger.gpu_usage_store[3] |= {"cost": Decimal(0), "currency": "", "price_version": ""}


@breaks("costs of the tally equal the book", cluster="oak", tally_cost=Decimal("0.084000001"))
def tally_a_nano_dollar_dear(ledger: Ledger) -> None:
    ledger.unit_costs_store[3]["cost"] += Decimal("0.000000001")


@breaks("costs of the tally equal the book", cluster="fir", tally_cost=Decimal("0.085714286"))
def idle_cost_left_out(ledger: Ledger) -> None:
    del ledger.unit_costs_store[2]


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
    found = failing(audits(clickhouse, ledger))
    assert audit in found
    assert {name: found[audit][0].get(name) for name in named} == named


def test_every_audit_can_fail(clickhouse: Any) -> None:
    """No audit is decoration: each one has a book that it refuses."""
    assert {result.name for result in audits(clickhouse, sound()).values()} == {audit for audit, _, _ in BREAKS}


def test_gaps_with_reasons_pass(clickhouse: Any) -> None:
    """A gap longer than max_gap is plain; a short one needs an event. Both are counted and the longest is told."""
    ledger = sound()
    ledger.gpu_usage_store[8] |= {"ts_start": START + timedelta(minutes=2, seconds=30), "gpu_seconds": Decimal(30)}
    ledger.data_quality.append(
        {
            "ts": START + timedelta(minutes=2),
            "cluster": "fir",
            "source": "s",
            "kind": "k",
            "subject": "GPU-0",
            "detail": "",
        }
    )
    del ledger.gpu_usage_store[11], ledger.gpu_usage_store[14]  # GPU-2 in the minutes 2 and 3
    gaps = audits(clickhouse, ledger)["gaps have reasons"]
    assert (gaps.passed, gaps.examined, gaps.note) == (True, 2, "150 s in all, the longest 120 s")


def test_open_minutes_are_not_compared_with_the_tally(clickhouse: Any) -> None:
    """The tally may be two minutes behind while the book grows."""
    ledger = sound()
    del ledger.unit_costs_store[-10:]
    ledger.subsidy_burn_store.clear()
    assert failing(audits(clickhouse, ledger)) == {}
    at_rest = {result.name: result for result in run_checks(clickhouse.client, config(), at_rest=True)}
    assert failing(at_rest).keys() == {"tokens of the tally equal the book", "costs of the tally equal the book"}
    assert at_rest["tokens of the tally equal the book"].faults == 4


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
    assert "device=GPU-1  slice=unallocated  ts_start=2026-11-20T12:00:00.000Z" in page.getvalue()
    told = {result["name"]: result for result in json.loads(as_json(results))}
    assert told["cost of each row"]["faults"] == 24
    assert told["cost of each row"]["passed"] is False
    assert told["cost of each row"]["rows"][0]["cost"] == "0.060000001"
    assert told["intervals"]["passed"] is True
