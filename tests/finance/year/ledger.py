"""What was used in the worked year: a few hours of every month, a few minutes of each, written as the workers write it.

Quantities are random but always the same. The hours lie on both sides of every change of a price, a rate or a rule.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.money import nano_to_decimal
from tests.finance.year.economy import A100, H100, L40S, MI300X

Row = dict[str, Any]

MINUTES = (0, 14, 15, 29, 30, 59)
"""Minutes of each hour in which devices are observed: tariffs change at 15 and 30."""

HOURS = sorted(
    {
        # Each month in an evening of Vancouver, over the end of a tariff, and an hour later.
        *(datetime(2026, month, 9, hour, tzinfo=UTC) for month in range(7, 13) for hour in (4, 5)),
        *(datetime(2027, month, 8, hour, tzinfo=UTC) for month in range(1, 7) for hour in (5, 6)),
        # Where one month ends and the next begins.
        datetime(2026, 7, 31, 23, tzinfo=UTC), datetime(2026, 8, 1, 0, tzinfo=UTC),
        # inlet starts, and a rate changes.
        datetime(2026, 9, 15, 23, tzinfo=UTC), datetime(2026, 9, 16, 0, tzinfo=UTC),
        # Devices of fir become dearer.
        datetime(2026, 10, 14, 23, tzinfo=UTC), datetime(2026, 10, 15, 0, tzinfo=UTC),
        # delta ends.
        datetime(2026, 11, 15, 23, tzinfo=UTC), datetime(2026, 11, 16, 0, tzinfo=UTC),
        # The year turns: devices of rorqual become cheaper, and acme-province pays nothing abroad any more.
        datetime(2026, 12, 31, 23, tzinfo=UTC), datetime(2027, 1, 1, 0, tzinfo=UTC),
        # Without a contract on oak, and then in another currency.
        datetime(2027, 1, 28, 12, tzinfo=UTC), datetime(2027, 2, 1, 0, tzinfo=UTC),
        # The half that is paid abroad ends, by UTC and not by the clocks of either cluster.
        datetime(2027, 3, 31, 23, tzinfo=UTC), datetime(2027, 4, 1, 0, tzinfo=UTC),
    }
)  # fmt: skip

LATE_HOURS = (datetime(2026, 9, 9, 4, tzinfo=UTC), datetime(2026, 10, 20, 10, tzinfo=UTC))
"""Hours of months that are closed when more of them becomes known: one that was charged, one of which nothing was."""

_DEVICES: tuple[tuple[str, str, str, str, str, str], ...] = (
    # cluster, device, product, workload, deployment, agreement
    ("fir", "F0", H100, "borealis/chat-0", "borealis-chat", "borealis"),
    ("fir", "F1", H100, "borealis/chat-1", "borealis-chat", "borealis"),
    ("fir", "F2", H100, "borealis/code-0", "borealis-code", "borealis"),
    ("fir", "F3", H100, "acme/train-0", "", "acme"),
    ("fir", "F4", H100, "", "", ""),
    ("oak", "O0", MI300X, "acme/train-1", "", "acme"),
    ("oak", "O1", MI300X, "cedar/llm-0", "cedar-llm", "cedar"),
    ("oak", "O2", MI300X, "inlet/sim-0", "", "inlet"),
    ("oak", "O3", MI300X, "", "", ""),
    ("rorqual", "R0", A100, "pool/llm-0", "pool", ""),
    ("rorqual", "R1", A100, "pool/llm-1", "pool", ""),
    ("rorqual", "R2", A100, "glacier/fold-0", "", "glacier"),
    ("rorqual", "R3", L40S, "glacier/fold-1", "", "glacier"),
    ("rorqual", "R5", H100, "harbour/bio-1", "", "harbour"),
)
_INSTANCES = (
    # MIG instances of R4: name, compute share of 7, workload, agreement
    ("3g.40gb/1", 3, "harbour/bio-0", "harbour"),
    ("1g.10gb/7", 1, "harbour/bio-2", "harbour"),
    ("unallocated", 3, "", ""),
)


@dataclass
class Ledger:
    """Rows of the two ledgers."""

    gpu: list[Row] = field(default_factory=list)
    tokens: list[Row] = field(default_factory=list)

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(self.gpu + other.gpu, self.tokens + other.tokens)

    def until(self, end: datetime) -> "Ledger":
        """What was used before a moment."""
        return self._where(lambda row: row["minute"] < end)

    def since(self, start: datetime) -> "Ledger":
        """What was used from a moment on."""
        return self._where(lambda row: row["minute"] >= start)

    def _where(self, holds: Callable[[Row], bool]) -> "Ledger":
        return Ledger([row for row in self.gpu if holds(row)], [row for row in self.tokens if holds(row)])

    def insert(self, client: Client) -> None:
        """Write everything into the book."""
        for table, rows in (("gpu_usage_store", self.gpu), ("token_usage_store", self.tokens)):
            if rows:
                names = list(rows[0])
                client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


def year() -> Ledger:
    """Everything that becomes known in time."""
    random_ = random.Random(2026)
    ledger = Ledger()
    for hour in HOURS:
        for minute in MINUTES:
            _observe(ledger, random_, hour + timedelta(minutes=minute))
    return ledger


def late() -> Ledger:
    """What becomes known when its months are closed: minutes that were missing, whole ones and tokens."""
    random_ = random.Random(31)
    ledger = Ledger()
    for hour in LATE_HOURS:
        for minute in (15, 29, 30, 41):
            start = hour + timedelta(minutes=minute)
            for cluster, device, product, workload, deployment, agreement in _DEVICES:
                if agreement in ("acme", "inlet", "cedar") or not workload:
                    row = _row(random_, start, 0, 60_000, cluster, f"{device}-late", product)
                    ledger.gpu.append(row | {"workload": workload, "deployment": deployment, "agreement": agreement})
            # More tokens of one tenant of the pool: its minute is divided anew, where it was charged already.
            ledger.tokens.append(_served(random_, start, "ember", "gateway-late"))
    return ledger


def _observe(ledger: Ledger, random_: random.Random, start: datetime) -> None:
    """One minute of everything."""
    for cluster, device, product, workload, deployment, agreement in _DEVICES:
        if random_.random() < 0.1:
            continue  # not observed
        names = {"workload": workload, "deployment": deployment, "agreement": agreement}
        cut_ms = random_.choice((0, 0, 0, random_.randrange(1, 60_000)))
        for begin_ms, end_ms in ((0, cut_ms), (cut_ms, 60_000)):
            if begin_ms == end_ms:
                continue
            if not workload:  # held by nobody, or by somebody who has no agreement
                names["workload"] = random_.choice(("", "stray/job-7"))
            ledger.gpu.append(_row(random_, start, begin_ms, end_ms, cluster, device, product) | names)
    for instance in _instances(random_, start):
        ledger.gpu.append(instance)
    ledger.tokens.extend(_minute_of_tokens(random_, start))


def _row(
    random_: random.Random, start: datetime, begin_ms: int, end_ms: int, cluster: str, device: str, product: str
) -> Row:
    """A row of a whole device over part of a minute."""
    gpu_ns = (end_ms - begin_ms) * 10**6
    energy_mj = random_.randrange(60_000, 700_000) * (end_ms - begin_ms) // 1000
    return {
        "cluster": cluster, "device": device, "slice": "", "ts_start": start + timedelta(milliseconds=begin_ms),
        "ts_end": start + timedelta(milliseconds=end_ms), "minute": start, "shard": f"{cluster}/c/0", "node": "n0",
        "vendor": "amd" if product == MI300X else "nvidia", "gpu_model": product, "share_num": 1, "share_den": 1,
        "namespace": "", "pod": "", "job": "", "account": "", "workload": "", "deployment": "", "agreement": "",
        "gpu_seconds": nano_to_decimal(gpu_ns), "energy_j": Decimal(energy_mj).scaleb(-3),
        "busy_seconds": nano_to_decimal(random_.randrange(gpu_ns + 1)), "busy_known_seconds": nano_to_decimal(gpu_ns),
        "energy_mj_end": None, "power_w_end": None, "samples": 6,
        "method": random_.choice(("counter", "counter", "integrated", "bridged")),
        # Charges are priced from quantities: what the worker made of them then is not asked, so it may be anything.
        "cost": Decimal(0), "currency": "", "price_version": "",
    }  # fmt: skip


def _instances(random_: random.Random, start: datetime) -> Iterator[Row]:
    """R4, in slices: their parts make the device."""
    whole = _row(random_, start, 0, 60_000, "rorqual", "R4", H100)
    time_left, energy_left = whole["gpu_seconds"], whole["energy_j"]
    for name, share, workload, agreement in _INSTANCES:
        gpu_ns = 60 * 10**9 * share // 7
        last = name == "unallocated"
        gpu_seconds = time_left if last else nano_to_decimal(gpu_ns)
        energy_j = energy_left if last else (whole["energy_j"] * share / 7).quantize(Decimal("0.001"))
        time_left, energy_left = time_left - gpu_seconds, energy_left - energy_j
        yield whole | {
            "slice": name, "share_num": share, "share_den": 7, "workload": workload, "agreement": agreement,
            "gpu_seconds": gpu_seconds, "energy_j": energy_j, "busy_seconds": gpu_seconds / 2 // 1,
        }  # fmt: skip


def _minute_of_tokens(random_: random.Random, start: datetime) -> Iterator[Row]:
    """Tokens of the pool's tenants, of cedar and of borealis. Some minutes of the pool have none."""
    if random_.random() < 0.8:
        for team in ("delta", "ember", "fjord", ""):
            if random_.random() < 0.8:
                yield _served(random_, start, team, "gateway")
                # The engine's count of the same tokens is there for comparison only.
                yield _served(random_, start, "", f"engine-{team}") | {"layer": "engine", "counted": False}
    for replica in ("cedar-0", "cedar-1"):
        own = {"cluster": "oak", "model": "cedar-70b", "deployment": "cedar-llm", "agreement": "cedar"}
        yield _served(random_, start, "", replica) | own | {"layer": "engine"}
    own = {"cluster": "fir", "model": "north-7b", "deployment": "borealis-chat", "agreement": "borealis"}
    yield _served(random_, start, "", "chat-0") | own | {"layer": "engine"}


def _served(random_: random.Random, start: datetime, team: str, endpoint: str) -> Row:
    """Tokens of one counter: from the middle of the minute before to the middle of this one."""
    prompt = random_.randrange(60_000)
    return {
        "cluster": "rorqual", "endpoint": endpoint, "replica": "0", "model": "open-32b", "team": team,
        "ts_start": start - timedelta(seconds=30), "ts_end": start + timedelta(seconds=30), "minute": start,
        "shard": "rorqual/c/0", "served_model": "s", "layer": "gateway", "counted": True, "deployment": "pool",
        "agreement": team, "prompt_tokens": prompt, "cached_tokens": random_.randrange(prompt + 1),
        "generation_tokens": random_.randrange(15_000), "requests": 1, "resets": 0, "samples": 6, "started_ms": 1,
        "prompt_tokens_end": None, "cached_tokens_end": None, "generation_tokens_end": None, "requests_end": None,
    }  # fmt: skip


def days() -> set[date]:
    """Days of which the ledger knows anything."""
    return {hour.date() for hour in (*HOURS, *LATE_HOURS)}
