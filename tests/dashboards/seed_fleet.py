"""Rows for fleet operations and metering health: what devices did, how it was read, and what was wrong with that.

Kept as Python objects too, like those of :mod:`tests.dashboards.seed`; `of` makes them for a ledger.
"""

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.dashboards import seed
from tests.dashboards.seed import CLUSTERS, HOUR, MILLI, MINUTE, NANO, Ledger

DEPLOYMENTS = [
    ("command-r-plus", "fabric", "cohere/command-r-plus", "acme-ai", False),
    ("llama", "fabric", "meta/llama-3.3-70b", "boreal-nlp", False),
    ("petit", "isambard", "mila/petit-7b", "bristol", False),
]
MODEL_OF = {row[0]: row[2] for row in DEPLOYMENTS}
REGION = {row[0]: row[4] for row in CLUSTERS}
PUE = {row[0]: Decimal(row[5]) for row in CLUSTERS}
MOST_MINUTES = 45


@dataclass(frozen=True)
class Usage:
    """One row of the GPU ledger."""

    cluster: str
    device: str
    slice: str
    ts_start: datetime
    ts_end: datetime
    minute: datetime
    shard: str
    node: str
    vendor: str
    gpu_model: str
    share_num: int
    share_den: int
    workload: str
    agreement: str
    gpu_seconds: Decimal
    energy_j: Decimal
    busy_seconds: Decimal
    busy_known_seconds: Decimal
    samples: int
    method: str
    cost: Decimal
    currency: str
    price_version: str
    deployment: str = ""


@dataclass(frozen=True)
class Held:
    """A device slice and what it did from so many minutes ago until so many minutes ago."""

    cluster: str
    device: str
    workload: str
    agreement: str
    busy: str | None
    """Share; None: not measured."""
    deployment: str = ""
    slice: str = ""
    share: tuple[int, int] = (1, 1)
    since: int = MOST_MINUTES
    until: int = 0
    method: str = "counter"
    watts: int = 400
    price: str = "2.10"
    currency: str = "CAD"


HELD = [
    Held("fabric", "GPU-c0de", "llm/command-0", "acme-ai", "0.75", "command-r-plus", watts=520),
    Held("fabric", "GPU-c0df", "llm/command-1", "acme-ai", "0.012", "command-r-plus", watts=110),
    Held("fabric", "GPU-11aa", "llm/llama-0", "boreal-nlp", "0.5", "llama", watts=480),
    Held("fabric", "GPU-11ab", "llm/llama-1", "boreal-nlp", "0.001", "llama", watts=90, price="2.50"),
    # Idle, but not for long enough; idle, but given back since; doing what is not measured.
    Held("fabric", "GPU-0f01", "job-5", "northern-bio", "0", since=8),
    Held("fabric", "GPU-0f02", "job-6", "northern-bio", "0", until=12),
    Held("fabric", "GPU-0f03", "job-7", "northern-bio", None),
    # The energy of its last minutes was not measured.
    Held("fabric", "GPU-0f04", "job-8", "northern-bio", "0.9", until=3, watts=300),
    Held("fabric", "GPU-0f04", "job-8", "northern-bio", "0.9", since=3, method="time", watts=0),
    # A device in slices: one at work, one idle, and what belongs to none.
    Held("fir", "GPU-5117", "bio/fold-0", "rrg-vision", "0.6", slice="3g.40gb/1", share=(3, 7), price="1.32"),
    Held("fir", "GPU-5117", "bio/fold-1", "rrg-vision", "0.002", slice="2g.20gb/2", share=(2, 7), price="1.32"),
    Held("fir", "GPU-5117", "", "", "0", slice="unallocated", share=(2, 7), price="1.32"),
    Held("isambard", "GPU-9b9b", "petit/0", "bristol", "0.004", "petit", watts=150, price="2.75", currency="GBP"),
    # Given back, and at work before.
    Held("narval", "GPU-77ab", "job-1", "boreal-nlp", "0.3", since=MOST_MINUTES, until=20, watts=270, price="0.74"),
]


def usage(ledger: Ledger) -> list[Usage]:
    """The GPU ledger of the last minutes, the rows of `seed` among them."""
    first = [Usage(**dict(zip(seed._USAGE_COLUMNS, row, strict=True))) for row in seed._usage(ledger.now)]  # type: ignore[arg-type]
    return [*first, *_more_usage(ledger.now)]


def _more_usage(now: datetime) -> Iterator[Usage]:
    open_minute = now.replace(second=0, microsecond=0)
    for back in range(MOST_MINUTES, -1, -1):
        start = open_minute - back * MINUTE
        end = min(start + MINUTE, now)
        if end == start:
            continue
        span_s = Decimal(str((end - start).total_seconds()))
        for one in HELD:
            if not one.since > back >= one.until:
                continue
            num, den = one.share
            seconds = (span_s * num / den).quantize(NANO)
            yield Usage(
                one.cluster, one.device, one.slice, start, end, start, f"{one.cluster}/c/0", f"{one.cluster}-g001",
                "nvidia", "NVIDIA H100", num, den, one.workload, one.agreement, seconds,
                (seconds * one.watts).quantize(MILLI),
                Decimal(0) if one.busy is None else (seconds * Decimal(one.busy)).quantize(NANO),
                Decimal(0) if one.busy is None else seconds, 6, one.method,
                (seconds * Decimal(one.price) / 3600).quantize(NANO), one.currency, "price@2026-04-01", one.deployment,
            )  # fmt: skip


@dataclass(frozen=True)
class FleetHour:
    period_start: datetime
    cluster: str
    gpu_model: str
    currency: str
    devices: int
    gpu_seconds: Decimal
    held_seconds: Decimal
    busy_seconds: Decimal
    idle_held_seconds: Decimal
    idle_held_cost: Decimal
    energy_j: Decimal
    cost: Decimal


def _hourly_usage(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """What the devices of `seed` did in the last settled hours, each hour with a revision that no longer counts."""
    for back in range(1, 25):
        for cluster, device, node, workload, agreement, busy in (
            ("fir", "GPU-1a2b", "fir-g001", "llm/command-0", "acme-ai", "0.8"),
            ("fir", "GPU-9f3c", "fir-g002", "llm/notebook-7", "rrg-vision", "0.001"),
            ("narval", "GPU-77aa", "ng10104", "", "", "0"),
        ):
            for revision, cost in ((1, "9"), (2, "1.32")):
                yield {
                    "period_start": ledger.settled_until - back * HOUR, "cluster": cluster, "device": device,
                    "node": node, "vendor": "nvidia", "gpu_model": "NVIDIA H100", "workload": workload,
                    "agreement": agreement, "currency": "CAD", "gpu_seconds": Decimal(3600),
                    "energy_j": Decimal(1_440_000), "busy_seconds": 3600 * Decimal(busy),
                    "busy_known_seconds": Decimal(3600), "cost": Decimal(cost), "revision": revision,
                }  # fmt: skip


def fleet_hours(ledger: Ledger) -> list[FleetHour]:
    """What the fleet did in settled hours: of what nobody paid for, half was held; of what was paid for, 3 % idle."""
    hours: dict[tuple[datetime, str, str], list[seed.Settled]] = {}
    for row in ledger.settled:
        hours.setdefault((row.period_start, row.cluster, row.currency), []).append(row)
    found = []
    for (hour, cluster, currency), rows in hours.items():
        seconds, cost = sum(row.gpu_seconds for row in rows), sum(row.cost for row in rows)
        paid = sum((row.gpu_seconds for row in rows if row.agreement), Decimal(0))
        paid_cost = sum((row.cost for row in rows if row.agreement), Decimal(0))
        idle, idle_cost = ((amount * Decimal("0.03")).quantize(NANO) for amount in (paid, paid_cost))
        found.append(
            FleetHour(
                hour, cluster, "NVIDIA H100", currency, seed.devices(cluster), Decimal(seconds),
                paid + ((seconds - paid) / 2).quantize(NANO), Decimal(sum(row.busy_seconds for row in rows)), idle,
                idle_cost, Decimal(sum(row.energy_j for row in rows)), Decimal(cost),
            )
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class Intensity:
    region: str
    g_per_kwh: Decimal
    vintage: str
    source: str
    effective_from: date
    recorded_at: datetime


def intensities(now: datetime) -> list[Intensity]:
    """That of one region changed within the month; of another nothing is known."""
    today, then = now.date(), now - timedelta(days=60)
    return [
        Intensity("CA-BC", Decimal("19.7"), "2025", "bench", today - timedelta(days=300), then),
        Intensity("CA-BC", Decimal("24.1"), "2026", "bench", today - timedelta(days=12), then),
        Intensity("CA-QC", Decimal("1.9"), "2025", "bench", today - timedelta(days=300), then),
    ]


@dataclass(frozen=True)
class Sample:
    ts: datetime
    cluster: str
    node: str
    device: str
    slice: str
    job: str
    power_w: float
    temperature_c: float


def samples(now: datetime) -> list[Sample]:
    """Four devices for ten minutes, every ten seconds: one too hot, one that was; one that has no temperature."""
    found = []
    for number in range(60, -1, -1):
        ts = now - timedelta(seconds=10 * number)
        found += [
            Sample(ts, "fir", "fir-g001", "GPU-5117", "3g.40gb/1", "", 512.0, 86.0 + number % 3),
            Sample(ts, "fir", "fir-g001", "GPU-5117", "2g.20gb/2", "7001", 512.0, 86.0 + number % 3),
            Sample(ts, "fabric", "fabric-g001", "GPU-c0de", "", "", 520.0, 91.0 if number == 12 else 64.0),
            Sample(ts, "narval", "ng10104", "GPU-77aa", "", "", 60.0, 41.0),
            Sample(ts, "narval", "ng10104", "GPU-77ab", "", "", 60.0, float("nan")),
        ]
    return found


@dataclass(frozen=True)
class TelemetryMessage:
    shard: str
    boot: str
    seq: int
    topic: str
    kafka_partition: int
    kafka_offset: int
    rows: int
    ts_first: datetime | None
    ts_last: datetime | None
    fate: str
    stored_at: datetime

    @property
    def delay_s(self) -> float | None:
        return None if self.ts_last is None else (self.stored_at - self.ts_last).total_seconds()


def messages(now: datetime) -> list[TelemetryMessage]:
    """Every ten seconds one of each cluster for two hours; isambard's clock is ahead, a message of fir came late."""
    found = []
    for number in range(720, 0, -1):
        for place, (cluster, *_) in enumerate(CLUSTERS):
            ts = now - timedelta(seconds=10 * number)
            delay_ms = {"isambard": -2500}.get(cluster, 900 + 350 * place) + number % 7 * 40
            if cluster == "fir" and number == 31:
                delay_ms = 240_000
            stored = min(ts + timedelta(milliseconds=delay_ms), now)
            fate = "quarantined" if cluster == "narval" and number == 40 else "metered"
            last = None if fate == "quarantined" or number == 50 else ts
            found.append(
                TelemetryMessage(
                    f"{cluster}/c/{number % 2}", "b1", 721 - number, "telemetry.gpu", place, 721 - number,
                    64 if last else 0, last, last, fate, stored,
                )
            )  # fmt: skip
    return found


@dataclass(frozen=True)
class Defect:
    ts: datetime
    cluster: str
    source: str
    kind: str
    subject: str
    detail: str


def defects(now: datetime) -> list[Defect]:
    """Of an exporter that went away and came back, of two devices, and of a collector, over a month."""
    exporter, shard = "dcgm-exporter http://fir-g002:9400/metrics", "fir/c/0"
    found = [
        Defect(now - 40 * MINUTE, "fir", exporter, "target_unreachable", "", "connection refused"),
        Defect(now - 40 * MINUTE, "fir", exporter, "target_down", "", "connection refused"),
        Defect(now - 38 * MINUTE, "fir", exporter, "target_up", "", ""),
        Defect(now - 20 * MINUTE, "fir", shard, "unmetered_gap", "GPU-9f3c", "silent for longer than max_gap"),
        Defect(now - 10 * MINUTE, "fabric", "fabric/c/1", "sequence_gap", "412", "3 messages missing"),
        Defect(
            now - 9 * MINUTE, "fabric", "fabric/c/1", "counter_reset", "llm-0:8000 0 a-model", "the process restarted"
        ),
        Defect(now - 5 * MINUTE, "fabric", "fabric/c/0", "never_heard_of", "", "of a later version"),
    ]
    for back in range(50):
        found.append(
            Defect(now - 13 * back * HOUR, "narval", "narval/c/0", "counter_reset", "GPU-77aa", "counter went down")
        )
    return found


@dataclass(frozen=True)
class Aside:
    """A message in quarantine."""

    topic: str
    kafka_partition: int
    kafka_offset: int
    digest: str
    ts: datetime
    reason: str
    bytes: int
    cluster: str
    replayed_at: datetime | None


def quarantine(now: datetime) -> list[Aside]:
    """Two that wait, one of them of a sender who does not say who it is; one that was replayed."""
    schema = "schema 'gpu-samples/9' on a topic of 'gpu-samples/1'"
    return [
        Aside("telemetry.gpu", 0, 17, "d1", now - 50 * MINUTE, schema, 900, "narval", None),
        Aside("telemetry.gpu", 0, 18, "d2", now - 3 * HOUR, schema, 901, "narval", now - 2 * HOUR),
        Aside("telemetry.tokens", 1, 4, "d3", now - 30 * HOUR, "no header 'schema'", 3, "", None),
    ]


@dataclass(frozen=True)
class Late:
    cluster: str
    device: str
    ts_start: datetime
    gpu_seconds: Decimal
    run: uuid.UUID
    recorded_at: datetime


def late(now: datetime) -> list[Late]:
    """Rows that a replay brought half an hour ago, and one of three weeks ago."""
    runs = uuid.UUID(int=1), uuid.UUID(int=2)
    return [
        Late("narval", "GPU-77aa", now - 3 * HOUR, Decimal(60), runs[0], now - 30 * MINUTE),
        Late("narval", "GPU-77aa", now - 3 * HOUR + MINUTE, Decimal(45), runs[0], now - 30 * MINUTE),
        Late("fir", "GPU-1a2b", now - timedelta(days=21, hours=2), Decimal(60), runs[1], now - timedelta(days=21)),
    ]


def _table(client: Any, table: str, rows: list[dict[str, Any]]) -> None:
    client.insert(table, [list(row.values()) for row in rows], column_names=list(rows[0]))


def insert(client: Any, ledger: Ledger) -> None:
    """Put all of it into the tables, what may come twice twice."""
    now = ledger.now
    client.insert(
        "deployments",
        [(*row, now) for row in DEPLOYMENTS],
        column_names=["id", "cluster", "model", "agreement", "shared", "recorded_at"],
    )
    _table(client, "carbon_intensity", [asdict(row) for row in intensities(now)])
    _table(client, "gpu_usage_store", [asdict(row) for row in _more_usage(now)])
    _table(client, "gpu_usage_hourly_store", list(_hourly_usage(ledger)))
    hours = [asdict(row) for row in fleet_hours(ledger)]
    _table(client, "fleet_hourly_store", [row | {"idle_held_cost": Decimal(9), "revision": 1} for row in hours])
    _table(client, "fleet_hourly_store", [row | {"revision": 2} for row in hours])
    _insert_samples(client, now)
    names = [column.name for column in fields(TelemetryMessage)]
    _table(client, "telemetry_messages_store", [{name: getattr(row, name) for name in names} for row in messages(now)])
    for _ in range(2):
        _table(client, "data_quality", [asdict(row) for row in defects(now)])
        _table(client, "gpu_usage_late", [asdict(row) | {"ts_end": row.ts_start + MINUTE} for row in late(now)])
    asides = quarantine(now)
    names = [column.name for column in fields(Aside) if column.name != "replayed_at"]
    _table(client, "quarantine_store", [{name: getattr(row, name) for name in names} for row in asides])
    _table(
        client,
        "quarantine_replays",
        [
            {name: getattr(row, name) for name in (*names[:4], "replayed_at")} | {"run": uuid.UUID(int=1)}
            for row in asides
            if row.replayed_at
        ],
    )


def _insert_samples(client: Any, now: datetime) -> None:
    found = samples(now)
    labels = ("cluster", "node", "device", "slice", "job")
    series = {key: number for number, key in enumerate(sorted({tuple(getattr(s, n) for n in labels) for s in found}))}
    _table(
        client,
        "gpu_series",
        [
            dict(zip(labels, key, strict=True)) | {"series": number, "gpu_model": "NVIDIA H100"}
            for key, number in series.items()
        ],
    )
    rows = [
        {
            "series": series[tuple(getattr(sample, name) for name in labels)], "ts": sample.ts,
            "power_w": sample.power_w, "energy_mj": -1, "busy": 0.5, "sm_active": float("nan"),
            "memory_used_mib": 1.0, "temperature_c": sample.temperature_c,
        }
        for sample in found
    ]  # fmt: skip
    for _ in range(2):
        _table(client, "gpu_samples_store", rows)
