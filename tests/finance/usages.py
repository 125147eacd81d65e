"""Usage for tests of rating: from rows of plain values, and drawn by hypothesis."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from compose.finance.usage import COUNTS, NUMBERS, TEXTS, Texts, Usage
from schemas.config import Config
from tests.streams.economy import agreement, config

START_S = 1_790_002_800
"""2026-09-21T15:00:00Z, a whole hour."""
PRICES = (("", ""), ("cad@2026-01-01", "CAD"), ("usd@2026-01-01", "USD"))


class Device(NamedTuple):
    """Device time of a minute."""

    minute: int
    """Since START_S."""
    cluster: str
    deployment: str
    workload: str
    agreement: str
    gpu_model: str
    slice: str
    price: int
    gpu_ns: int
    busy_ns: int
    energy_mj: int
    cost_nano: int


class Tokens(NamedTuple):
    """Counted tokens of a minute."""

    minute: int
    cluster: str
    deployment: str
    model: str
    agreement: str
    prompt: int
    cached: int
    generation: int


def usage(devices: Sequence[Device], tokens: Sequence[Tokens]) -> Usage:
    """As it would be read from the ledger."""

    def numbers(values: Sequence[int]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.array(values, np.int64)

    def texts(values: Sequence[str]) -> Texts:
        return Texts.of(pa.array(values, pa.string()))

    figures = {name: [0] * len(devices) for name in NUMBERS}
    figures |= {name: [getattr(row, name) for row in devices] for name in ("gpu_ns", "busy_ns", "energy_mj")}
    figures |= {"counter_ns": figures["gpu_ns"], "price_cost_nano": [row.cost_nano for row in devices]}
    counts = zip(COUNTS, ("prompt", "cached", "generation"), strict=True)
    names = ("cluster", "deployment", "model", "agreement")
    return Usage(
        minute=numbers([START_S + 60 * row.minute for row in devices]),
        texts={name: texts([getattr(row, name) for row in devices]) for name in TEXTS},
        price=numbers([row.price for row in devices]),
        numbers={name: numbers(values) for name, values in figures.items()},
        prices=PRICES,
        token_minute=numbers([START_S + 60 * row.minute for row in tokens]),
        token_texts={name: texts([getattr(row, name) for row in tokens]) for name in names},
        tokens={column: numbers([getattr(row, name) for row in tokens]) for column, name in counts},
    )


def rules(**more: Any) -> Config:
    """Every rule and every limit: caps that are soon reached, grants, a chain under a stacking limit."""
    term = {"starts": date(2026, 1, 1), "ends": date(2028, 3, 31)}
    known = config().model_dump()
    known["programme"].append(
        {"id": "province", "budget": "1000", "stacking_limit": "3/4", "starts": date(2026, 1, 1), "ends": term["ends"]}
    )
    known["agreement"] = [
        agreement("share", {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2"}, cap="3", spent_before="1"),
        {
            **agreement("top", {"kind": "cost_share", "share": "1/2", "of": "remainder"}, cap="0.4", after="share"),
            "programme": "province", "recipient": "share",
        },
        agreement("firm-a", {"kind": "token_price", "per_mtok": "500"}, match=[{"team": "a"}]),
        agreement(
            "firm-b", {"kind": "token_price", "prompt_per_mtok": "500", "cached_per_mtok": "50",
                       "output_per_mtok": "1500.5"}, match=[{"team": "b"}], cap="0.7",
        ),
        agreement("lab", {"kind": "credits"}, cap="0.9"),
        agreement("hours", {"kind": "credits", "unit": "gpu_hours", "quantity": "0.05"}, cap="100"),
        agreement("units", {"kind": "credits", "unit": "rgu_hours", "quantity": "0.31", "used_before": "0.01"}),
        {**agreement("over", {"kind": "credits"}, cap="9"), "ends": date(2026, 9, 20)},
    ]  # fmt: skip
    known["rgu"] = [
        {"gpu_model": "H100*", "weight": "12.2", "effective_from": date(2026, 1, 1)},
        {
            "gpu_model": "H100*", "slice": "3g.40gb", "share": "3/7", "weight": "6.1",
            "effective_from": date(2026, 1, 1),
        },
    ]  # fmt: skip
    return Config.model_validate({**known, **more})


_WHO = st.sampled_from(
    [
        ("fir", "own", "", "share"), ("fir", "pool", "", ""), ("fir", "", "ns/p", "share"), ("oak", "", "job", "share"),
        ("fir", "", "x", "lab"), ("fir", "", "y", "lab"), ("oak", "", "z", "hours"), ("fir", "", "z", "units"),
        ("fir", "", "late", "over"), ("fir", "", "nobody", ""), ("oak", "", "", ""),
    ]
)  # fmt: skip
_WHAT = st.sampled_from([("H100", ""), ("H100", "3g.40gb"), ("A30", ""), ("MI300X", "cpx")])
_SERVED = st.sampled_from(
    [
        ("fir", "own", "big", "share"), ("fir", "pool", "small", "firm-a"), ("fir", "pool", "small", "firm-b"),
        ("fir", "pool", "small", ""), ("oak", "", "loose", ""),
    ]
)  # fmt: skip


@st.composite
def devices(draw: st.DrawFn, minutes: int) -> list[Device]:
    """Groups of device time, each at most once."""
    found: dict[tuple[object, ...], Device] = {}
    for _ in range(draw(st.integers(0, 14))):
        minute, who, what = draw(st.integers(0, minutes - 1)), draw(_WHO), draw(_WHAT)
        price = draw(st.integers(0, 2))
        gpu_ns = draw(st.integers(1, 480 * 10**9))
        cost = draw(st.integers(0, 2 * 10**9)) if price else 0
        row = Device(
            minute, *who, *what, price, gpu_ns, draw(st.integers(0, gpu_ns)), draw(st.integers(0, 10**9)), cost
        )
        found[row[:8]] = row
    return list(found.values())


@st.composite
def tokens(draw: st.DrawFn, minutes: int) -> list[Tokens]:
    """Groups of counted tokens, each at most once."""
    found: dict[tuple[object, ...], Tokens] = {}
    for _ in range(draw(st.integers(0, 8))):
        minute, who = draw(st.integers(0, minutes - 1)), draw(_SERVED)
        prompt, generation = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
        row = Tokens(minute, *who, prompt, draw(st.integers(0, prompt)), generation)
        found[row[:5]] = row
    return list(found.values())
