"""Every way to break the book of `tests.compose.ledger`: the audit that must find it, and what its first row names."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from tests.compose.ledger import MINUTES, START, Ledger, usage

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


@breaks("charged and subsidised make the cost of charges", cluster="fir", agreement="acme")
def charge_of_a_nano_too_much(ledger: Ledger) -> None:
    ledger.charges[0]["charge"] += Decimal("0.000000001")


@breaks("charged and subsidised make the cost of charges", category="idle")
def idle_time_that_a_programme_pays(ledger: Ledger) -> None:
    ledger.charges[2] |= {"subsidy": Decimal("0.1"), "charge": Decimal("0.105714284")}


@breaks("charges are made of the whole ledger", cluster="oak", charged_gpu_seconds=Decimal(359))
def second_that_was_not_charged(ledger: Ledger) -> None:
    ledger.charges[3]["gpu_seconds"] -= 1


@breaks("charges are made of the whole ledger", cluster="fir", charged_tokens=12_000)
def tokens_charged_twice(ledger: Ledger) -> None:
    ledger.charges.append({**ledger.charges[0], "gpu_seconds": Decimal(0), "energy_j": Decimal(0)})


@breaks("no agreement is paid more than its cap", agreement="lab", cap=Decimal(50))
def subsidy_beyond_the_cap(ledger: Ledger) -> None:
    ledger.charges[1] |= {"cost": Decimal("50.1"), "subsidy": Decimal("50.1")}


@breaks("closed months stay closed", agreement="acme", kind="charge")
def entry_in_a_closed_month(ledger: Ledger) -> None:
    month = START.date().replace(day=1)
    ledger.billing_periods.append({"month": month, "status": "closed", "recorded_at": START, "reason": "over"})
    ledger.charges = ledger.charges[:1]


@breaks("closed months stay closed", agreement="lab", kind="adjustment")
def adjustment_of_an_open_month(ledger: Ledger) -> None:
    ledger.charges[1]["kind"] = "adjustment"


@breaks("charges cost what the tally says", cluster="oak", agreement="firm-b", charged_cost=Decimal("0.125"))
def charge_at_another_price(ledger: Ledger) -> None:
    ledger.charges[4] |= {"cost": Decimal("0.125"), "charge": Decimal("0.029")}


@breaks("roll-ups cost what charges say", cluster="oak", agreement="firm-b", rolled_up_subsidy=Decimal("0.096000001"))
def nano_that_no_charge_has(ledger: Ledger) -> None:
    ledger.costs_hourly_store[4]["subsidy"] += Decimal("0.000000001")


@breaks("roll-ups cost what charges say", cluster="fir", agreement="lab", rolled_up_gpu_seconds=Decimal(0))
def line_that_was_not_rolled_up(ledger: Ledger) -> None:
    del ledger.costs_hourly_store[1], ledger.costs_daily_store[1]


@breaks("rolled up days are their hours", cluster="oak", agreement="firm-a", days_cost=Decimal("0.377"))
def day_without_a_cent(ledger: Ledger) -> None:
    ledger.costs_daily_store[3]["cost"] -= Decimal("0.001")


@breaks("rolled up days are their hours", category="idle", days_capital_cost=Decimal(0))
def day_that_forgot_what_its_cost_is_made_of(ledger: Ledger) -> None:
    ledger.costs_daily_store[2]["capital_cost"] = Decimal(0)


@breaks("roll-ups have every device", device_gpu_seconds=Decimal(720), fleet_gpu_seconds=Decimal(1080))
def device_that_was_not_rolled_up(ledger: Ledger) -> None:
    del ledger.gpu_usage_hourly_store[3]


@breaks("roll-ups have every device", fleet_energy_j=Decimal(216_000))
def cluster_that_the_fleet_lacks(ledger: Ledger) -> None:
    del ledger.fleet_hourly_store[1]
