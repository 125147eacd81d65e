"""Small histories whose ledger a reader can work out on paper."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pyarrow as pa

from schemas.arrow import ARROW, GPU_SAMPLES, decode, encode
from schemas.config_alerts import Alerts
from streams.metering.conditions import DeviceWatch, limits_of
from tests.streams.metering.ledger import GpuWorker, gpu_ledger, gpu_store
from tests.streams.metering.oracle import Row
from tests.streams.metering.samples import Observation, Slice, Tenant, gpu_batch

NOON = 1_760_011_200_000  # 2025-10-09 12:00:00 UTC
ACME = Tenant(namespace="acme", pod="train-0")
NORD = Tenant(namespace="nord", pod="serve-0")


def at(
    second: float, joules: float | None, watts: float | None = 500.0, slices: tuple[Slice, ...] = (Slice(),)
) -> Observation:
    """GPU-1 so many seconds after noon, with so much energy on its counter."""
    energy_mj = None if joules is None else round(joules * 1000)
    return Observation("fir", "fir/a/0", "GPU-1", NOON + round(second * 1000), watts, energy_mj, slices)


def meter(observations: Sequence[Observation]) -> tuple[list[Row], GpuWorker]:
    """The ledger of these observations, each a message that went through its encoding, and the worker behind it."""
    worker = GpuWorker(gpu_store(), {"fir": 90_000})
    for one in observations:
        batch = decode(encode(gpu_batch([one])), "gpu-samples/1", ARROW)
        worker.fold_batch("fir", "fir/a/0", batch)
    worker.commit()
    return sorted(gpu_ledger(worker.store)), worker


def brief(rows: Sequence[Row]) -> list[tuple[str, float, float, float, float, str]]:
    """Slice, start and end in seconds after noon, GPU-seconds, joules, method."""
    return [
        (
            row.slice, (row.ts_start - NOON) / 1000, (row.ts_end - NOON) / 1000, row.gpu_ns / 1e9, row.energy_mj / 1e3,
            row.method,
        )
        for row in rows
    ]  # fmt: skip


def test_interval_across_a_minute() -> None:
    """From 50 s to 70 s at 500 W: half of the 10 kJ belongs to either minute, and the counter is known at the cut."""
    rows, _ = meter([at(50, 1_000_000), at(70, 1_010_000)])
    assert brief(rows) == [("", 50, 60, 10, 5000, "counter"), ("", 60, 70, 10, 5000, "counter")]
    assert [row.energy_mj_end for row in rows] == [1_005_000_000, 1_010_000_000]
    assert [row.samples for row in rows] == [1, 1]  # the head, and the sample at 70 s


def test_row_grows_within_its_minute() -> None:
    """Samples of one minute make one row; its counter is the last one's."""
    rows, _ = meter([at(0, 100), at(10, 5100), at(20, 10_100), at(30, 15_100)])
    assert brief(rows) == [("", 0, 30, 30, 15_000, "counter")]
    assert rows[0].samples == 4
    assert rows[0].energy_mj_end == 15_100_000


def test_three_sevenths_for_seventy_seconds_are_thirty_gpu_seconds() -> None:
    """A 3g.40gb held for 70 s is 30 GPU-seconds to the nanosecond, however often it was scraped; the rest is 40."""
    held = (Slice("3g.40gb", 3, 7, ACME, busy=0.5),)
    for period in (1, 7, 10, 70):
        rows, _ = meter([at(s, 100 * s, slices=held) for s in range(0, 71, period)])
        mine = [row for row in rows if row.slice == "3g.40gb"]
        free = [row for row in rows if row.slice == "unallocated"]
        assert sum(row.gpu_ns for row in mine) == 30 * 10**9
        assert sum(row.gpu_ns for row in free) == 40 * 10**9
        assert {row.share for row in free} == {(4, 7)}
        assert sum(row.energy_mj for row in rows) == 7_000_000
        assert sum(row.busy_known_ns for row in mine) == 30 * 10**9
        assert {row.busy_ns for row in free} == {0}


def test_slices_that_claim_too_much_share_the_device() -> None:
    """Two slices of 4/7 and 4/7 cannot be: each gets half of the device, and nothing is counted twice."""
    claimed = (Slice("a", 4, 7, ACME), Slice("b", 4, 7, NORD))
    rows, _ = meter([at(0, 0, slices=claimed), at(10, 4000, slices=claimed)])
    assert brief(rows) == [("a", 0, 10, 5, 2000, "counter"), ("b", 0, 10, 5, 2000, "counter")]


def test_driver_reload() -> None:
    """The counter falls to 300 J: that interval is counted from power, 10 s at the mean of 400 W and 600 W."""
    rows, worker = meter([at(0, 9000, 500), at(10, 13_000, 400), at(20, 300, 600), at(30, 5300, 500)])
    assert brief(rows) == [
        ("", 0, 10, 10, 4000, "counter"),
        ("", 10, 20, 10, 5000, "integrated"),
        ("", 20, 30, 10, 5000, "counter"),
    ]
    assert rows[1].energy_mj_end == 300_000
    events = worker.meter.take_events()
    assert [(event.kind, event.subject, event.ts_ms - NOON) for event in events] == [("counter_reset", "GPU-1", 20_000)]


def test_stale_reading_is_no_reset() -> None:
    """A second collector, whose clock is ahead, brings 14,900 J after 15,000 J: no energy, and the 100 J are not
    counted again when the counter goes on."""
    rows, worker = meter([at(0, 10_000), at(10, 15_000), at(10.3, 14_900), at(20, 20_000)])
    assert brief(rows) == [("", 0, 20, 20, 10_000, "counter")]
    assert rows[0].energy_mj_end == 20_000_000
    assert [(event.kind, event.ts_ms - NOON) for event in worker.meter.take_events()] == [("stale_reading", 0)]


def test_stale_readings_are_told_once_a_minute() -> None:
    """Two collectors whose clocks differ by 0.3 s make one at every tick; the first of each minute is enough."""
    both = [one for s in range(50, 80, 10) for one in (at(s, 500_000 + 500 * s), at(s + 0.3, 499_990 + 500 * s))]
    rows, worker = meter(both)
    assert sum(row.energy_mj for row in rows) == 10_000_000
    assert [event.ts_ms - NOON for event in worker.meter.take_events()] == [0, 60_000]


def test_what_is_too_far_behind_is_a_reset() -> None:
    """More than 3 kW use in a minute, later than the clocks of two collectors can differ, or not even half of it left:
    the counter was set back, and power tells the energy of that interval."""
    for before, second, after in ((9_000_000, 10, 8_800_000), (9_000_000, 61, 8_990_000), (9000, 10, 4500)):
        rows, worker = meter([at(0, before), at(second, after), at(second + 10, after + 5000)])
        assert [row.method for row in rows if row.ts_start == NOON] == ["integrated"]
        assert {event.kind for event in worker.meter.take_events()} == {"counter_reset"}
        assert sum(row.energy_mj for row in rows) == 500_000 * second + 5_000_000


def test_nonsensical_counter_is_forgotten() -> None:
    """A counter near 2**63 mJ once, and what follows is metered as if it had not been."""
    rows, worker = meter([at(0, 0), at(10, 9.2e15), at(20, 10_000), at(30, 15_000)])
    assert brief(rows) == [("", 0, 20, 20, 10_000, "integrated"), ("", 20, 30, 10, 5000, "counter")]
    assert [event.kind for event in worker.meter.take_events()] == ["counter_jump", "counter_reset"]


def test_counter_jump_is_not_energy() -> None:
    """A counter that rises by 1 GJ in 10 s is broken: power tells the energy, and an event says so."""
    rows, worker = meter([at(0, 0), at(10, 1_000_000_000), at(20, 1_000_005_000)])
    assert brief(rows) == [("", 0, 10, 10, 5000, "integrated"), ("", 10, 20, 10, 5000, "counter")]
    assert [event.kind for event in worker.meter.take_events()] == ["counter_jump"]


def test_nothing_measured_is_time_without_energy() -> None:
    """Without counter and power the time is metered, its energy is not invented."""
    rows, _ = meter([at(0, None, None), at(10, None, None)])
    assert brief(rows) == [("", 0, 10, 10, 0, "time")]
    assert rows[0].energy_mj_end is None


def test_tenant_change() -> None:
    """Labels at the start of an interval hold until its end: acme keeps the device until nord is seen."""
    acme, nord = (Slice(tenant=ACME, busy=0.25),), (Slice(tenant=NORD, busy=0.75),)
    rows, _ = meter([at(0, 0, slices=acme), at(10, 5000, slices=acme), at(20, 10_000, slices=nord),
                     at(30, 15_000, slices=nord)])  # fmt: skip
    assert brief(rows) == [("", 0, 20, 20, 10_000, "counter"), ("", 20, 30, 10, 5000, "counter")]
    assert [row.tenant for row in rows] == [ACME, NORD]
    assert [row.busy_ns / 1e9 for row in rows] == [10, 7.5]  # 10 s at 0.25, then 0.75 seen at 20 s for acme's last 10 s
    assert [row.samples for row in rows] == [3, 1]


def test_repartition() -> None:
    """A whole device is cut into 3/7 and 4/7 at 20 s: its row ends there, two begin."""
    whole = (Slice(tenant=ACME),)
    parts = (Slice("3g", 3, 7, ACME), Slice("4g", 4, 7, NORD))
    rows, _ = meter([at(6, 0, slices=whole), at(20, 7000, slices=parts), at(34, 14_000, slices=parts)])
    assert brief(rows) == [
        ("", 6, 20, 14, 7000, "counter"),
        ("3g", 20, 34, 6, 3000, "counter"),
        ("4g", 20, 34, 8, 4000, "counter"),
    ]


def test_one_slice_leaves_the_others_go_on() -> None:
    """The row of a slice that stays is not cut when its neighbour goes; what that one held is unallocated."""
    both = (Slice("3g", 3, 7, ACME), Slice("4g", 4, 7, NORD))
    rows, _ = meter([at(0, 0, slices=both), at(14, 7000, slices=both[:1]), at(28, 14_000, slices=both[:1])])
    assert brief(rows) == [
        ("3g", 0, 28, 12, 6000, "counter"),
        ("4g", 0, 14, 8, 4000, "counter"),
        ("unallocated", 14, 28, 8, 4000, "counter"),
    ]


def test_bridged_gap() -> None:
    """Silent from 30 s to 210 s with the counter going on: three minutes of rows, marked, nothing lost."""
    rows, worker = meter([at(20, 0), at(30, 1000), at(210, 19_000), at(220, 20_000)])
    assert brief(rows) == [
        ("", 20, 30, 10, 1000, "counter"),
        ("", 30, 60, 30, 3000, "bridged"),
        ("", 60, 120, 60, 6000, "bridged"),
        ("", 120, 180, 60, 6000, "bridged"),
        ("", 180, 210, 30, 3000, "bridged"),
        ("", 210, 220, 10, 1000, "counter"),
    ]
    assert [row.energy_mj_end for row in rows] == [1_000_000, 4_000_000, 10_000_000, 16_000_000, 19_000_000, 20_000_000]
    assert worker.meter.take_events() == []


def test_ninety_seconds_need_no_bridge() -> None:
    """A silence of exactly max_gap is an ordinary interval."""
    rows, _ = meter([at(0, 0), at(90, 9000), at(180.001, 18_000)])
    assert [row.method for row in rows] == ["counter", "counter", "bridged", "bridged", "bridged"]


def test_unmetered_gap() -> None:
    """Silent for 180 s with another tenant behind it: nobody knows who held the device, so nobody is charged."""
    acme, nord = (Slice(tenant=ACME),), (Slice(tenant=NORD),)
    rows, worker = meter([at(0, 0, slices=acme), at(30, 1000, slices=acme), at(210, 19_000, slices=nord),
                          at(220, 20_000, slices=nord)])  # fmt: skip
    assert brief(rows) == [("", 0, 30, 30, 1000, "counter"), ("", 210, 220, 10, 1000, "counter")]
    assert [(event.kind, event.ts_ms - NOON) for event in worker.meter.take_events()] == [("unmetered_gap", 210_000)]


def test_gap_over_a_reset_or_without_counter_is_not_metered() -> None:
    """Power at the two ends of a long silence says nothing about what was between them."""
    for before, after in ((5000, 10), (None, 10), (5000, None)):
        rows, _ = meter([at(0, before), at(200, after), at(210, after)])
        assert [(row.ts_start - NOON, row.ts_end - NOON) for row in rows] == [(200_000, 210_000)]


def test_longest_bridge_is_a_day() -> None:
    """A host that comes up with its clock years behind does not make years of rows once it knows the time."""
    day = 24 * 3600
    rows, _ = meter([at(0, 0), at(day, 1000)])
    assert len(rows) == 1440
    assert sum(row.energy_mj for row in rows) == 1_000_000
    late, worker = meter([at(0, 0), at(day + 0.001, 1000), at(day + 10, 2000)])
    assert brief(late) == [("", day + 0.001, day + 10, 9.999, 1000, "counter")]
    assert [event.kind for event in worker.meter.take_events()] == ["unmetered_gap"]


def test_repeated_and_older_samples_are_dropped() -> None:
    """The same sample twice, or one from before the last, adds nothing and is counted as a duplicate."""
    rows, worker = meter([at(0, 0), at(10, 5000), at(10, 5000), at(5, 2500), at(20, 10_000)])
    assert brief(rows) == [("", 0, 20, 20, 10_000, "counter")]
    assert worker.meter.duplicates == 2
    assert worker.meter.samples == 3
    assert len(worker.meter.take_raw()[0]) == 3


def test_slice_that_stands_twice_in_a_message_counts_once() -> None:
    """Two exporters on one host repeat a device: the first row counts, the other is left out and reported."""
    twice = (Slice(tenant=ACME), Slice(tenant=NORD))
    rows, worker = meter([at(0, 0, slices=twice), at(10, 5000, slices=twice)])
    assert brief(rows) == [("", 0, 10, 10, 5000, "counter")]
    assert rows[0].tenant == ACME
    assert [event.kind for event in worker.meter.take_events()] == ["repeated_series"]


def test_impossible_values_are_left_out_and_the_rest_is_kept() -> None:
    """Power of 5 kW and a busy ratio of 1.5 are dropped; the counter still tells the energy."""
    rows, worker = meter([at(0, 0), at(10, 5000, 5000, (Slice(busy=1.5),)), at(20, 10_000)])
    assert brief(rows) == [("", 0, 20, 20, 10_000, "counter")]
    assert rows[0].busy_known_ns == 0
    assert {event.kind for event in worker.meter.take_events()} == {"power_out_of_range", "ratio_out_of_range"}
    _, _, power_w, _, busy, *_ = worker.meter.take_raw()
    assert power_w[1] != power_w[1]
    assert busy[1] != busy[1]


def test_heartbeat_changes_nothing() -> None:
    """A message without rows, before the first sample or between two, is no news of any device."""
    nothing = pa.RecordBatch.from_pylist([], schema=GPU_SAMPLES)
    worker = GpuWorker(gpu_store(), {"fir": 90_000})
    for batch in (nothing, gpu_batch([at(0, 0)]), nothing, gpu_batch([at(10, 5000)]), nothing):
        worker.fold_batch("fir", "fir/a/0", batch)
    worker.commit()
    assert brief(gpu_ledger(worker.store)) == [("", 0, 10, 10, 5000, "counter")]


def test_silence_is_measured_by_the_clusters_own_rule() -> None:
    """What is an ordinary interval on one cluster is a gap on another; a cluster without a rule has 90 s."""
    for cluster, method in (("slow", "counter"), ("quick", "bridged"), ("unknown", "bridged")):
        worker = GpuWorker(gpu_store(), {"slow": 600_000, "quick": 30_000})
        for second in (0, 100):
            worker.fold([Observation(cluster, f"{cluster}/a/0", "GPU-1", NOON + 1000 * second, 500.0, 1000 * second)])
        worker.commit()
        assert {row.method for row in gpu_ledger(worker.store)} == {method}


def test_integrated_energy_at_a_tie_goes_to_the_even_millijoule() -> None:
    """1 ms at 0.5 W is half a millijoule: rounded half-even, as everywhere."""
    for watts, expected in ((0.5, 0), (1.5, 2), (2.5, 2)):
        rows, _ = meter([at(0, None, watts), at(0.001, None, watts)])
        assert rows[0].energy_mj == expected == round(Fraction(watts))


def test_infinity_is_no_measurement() -> None:
    """A temperature that no number can say would be sent on as a finding that no agent can read."""
    batch = gpu_batch([at(0, 0)])
    for name in ("temperature_c", "memory_used_mib"):
        column = batch.schema.get_field_index(name)
        batch = batch.set_column(column, batch.schema.field(column), pa.array([float("inf")]))
    worker = GpuWorker(gpu_store(), {"fir": 90_000})
    worker.fold_batch("fir", "fir/a/0", batch)
    assert DeviceWatch(worker.meter, limits_of(Alerts()), lambda _: "").conditions("fir/a/0") == []
    assert {event.kind for event in worker.meter.take_events()} == {"temperature_out_of_range", "memory_out_of_range"}


def test_thousands_of_slices_do_not_leave_64_bits() -> None:
    """4,000 slices that each claim nearly the device: it is divided among them, and no part is negative."""
    claimed = tuple(Slice(f"{number:04}", 60 + number % 4, 61 + number % 4) for number in range(4000))
    rows, _ = meter([at(0, 0, slices=claimed), at(59, 30_000, slices=claimed)])
    assert sum(row.gpu_ns for row in rows) == 59 * 10**9
    assert sum(row.energy_mj for row in rows) == 30_000_000
    assert min(row.gpu_ns for row in rows) > 0


# ---- moves between workers -------------------------------------------------------------------------------------------


def moved(one: Observation, shard: str, tenant: Tenant = ACME) -> Observation:
    """The same observation, made by another shard's collector."""
    return replace(one, shard=shard, slices=(Slice(tenant=tenant),))


def test_device_that_comes_back_goes_on_where_the_other_worker_left_it() -> None:
    """GPU-1 is in shard a until 20 s, in b until 40 s, in a again: no second is metered twice, by whomever."""
    store = gpu_store()
    here, there = GpuWorker(store, {"fir": 90_000}), GpuWorker(store, {"fir": 90_000})
    for second in (0, 10, 20):
        here.fold([moved(at(second, 500 * second), "fir/a/0")])
    here.commit()
    for second in (30, 40):
        there.fold([moved(at(second, 500 * second), "fir/b/0")])
    there.commit()
    for second in (50, 60):
        here.fold([moved(at(second, 500 * second), "fir/a/0")])
    here.commit()
    rows = sorted(gpu_ledger(store))
    assert brief(rows) == [("", 0, 20, 20, 10_000, "counter"), ("", 20, 40, 20, 10_000, "counter"),
                           ("", 40, 60, 20, 10_000, "counter")]  # fmt: skip
    assert [row.shard for row in rows] == ["fir/a/0", "fir/b/0", "fir/a/0"]


def test_tenant_whom_the_other_worker_saw_is_charged() -> None:
    """Away from a, the device passed from acme to nord. Back in a, which knows acme, it is nord's until then."""
    store = gpu_store()
    here, there = GpuWorker(store, {"fir": 90_000}), GpuWorker(store, {"fir": 90_000})
    for second in (0, 10):
        here.fold([moved(at(second, 500 * second), "fir/a/0", ACME)])
    here.commit()
    there.fold([moved(at(20, 10_000), "fir/b/0", NORD)])
    there.commit()
    for second in (30, 40):
        here.fold([moved(at(second, 500 * second), "fir/a/0", ACME)])
    here.commit()
    held = [(row.tenant, row.ts_start - NOON, row.ts_end - NOON) for row in sorted(gpu_ledger(store))]
    assert sorted(held, key=lambda row: row[1]) == [
        (ACME, 0, 10_000), (ACME, 10_000, 20_000), (NORD, 20_000, 30_000), (ACME, 30_000, 40_000),
    ]  # fmt: skip


def test_what_a_collector_kept_on_disk_is_not_metered_again() -> None:
    """A shard is silent, another one takes its device over, then the first one's samples of that time come, without a
    gap: whoever was told of the silence asks the book."""
    store = gpu_store()
    here, there = GpuWorker(store, {"fir": 90_000}), GpuWorker(store, {"fir": 90_000})
    for second in (0, 10):
        here.fold([moved(at(second, 500 * second), "fir/a/0")])
    here.commit()
    for second in range(30, 300, 10):
        there.fold([moved(at(second, 500 * second), "fir/b/0")])
    there.commit()
    here.meter.doubt("fir/a/0")
    for second in range(20, 310, 10):
        here.fold([moved(at(second, 500 * second), "fir/a/0")])
    here.commit()
    assert sum(row.gpu_ns for row in gpu_ledger(store)) == 300 * 10**9
    assert here.meter.duplicates == 28  # 20 s to 290 s


def test_rows_on_their_way_to_the_book_are_not_taken_back() -> None:
    """The book is asked while the last batch is still being stored: what memory has is longer, and stays."""
    worker = GpuWorker(gpu_store(), {"fir": 90_000})
    worker.fold([at(0, 0)])
    worker.commit()
    worker.fold([at(10, 5000)])
    worker.meter.doubt("fir/a/0")
    worker.fold([at(20, 10_000)])
    worker.commit()
    assert brief(gpu_ledger(worker.store)) == [("", 0, 20, 20, 10_000, "counter")]


def test_book_is_asked_only_of_what_missed_a_tick() -> None:
    """A fleet that comes at its pace costs no question once the pace is known, also where two collectors read it a
    moment apart, pods change at every tick and a neighbour comes and goes."""
    for pace, uneven in ((1.0, 0.9), (10.0, 1.0), (60.0, 5.0)):
        worker = GpuWorker(gpu_store(), {"fir": 300_000})
        asked = []
        for tick in range(120):
            for moment in (0.0, 0.2):
                one = at(pace * tick + uneven * (tick % 2) + moment, 500 * pace * tick)
                other = replace(one, device="GPU-2", slices=(Slice(tenant=(ACME, NORD)[tick % 2]),))
                batch = gpu_batch([one, other] if tick < 2 or tick % 3 else [one])
                asked.append(worker.meter.unknown_devices("fir/a/0", "fir", batch))
                worker.fold_batch("fir", "fir/a/0", batch)
        assert asked[0] == ["GPU-1", "GPU-2"]
        assert not any("GPU-1" in names for names in asked[160 if pace > 15 else 1 :])
