"""The agent `unit_cost`: a minute that changes long after it was over is costed whole."""

from types import SimpleNamespace
from typing import Any

from schemas.topics import USAGE_GPU
from schemas.usage import GpuTotals
from streams.app import create_app
from streams.book import Book
from streams.context import Context
from streams.reference import Reference
from streams.unit_cost import KEPT_MS, UnitCostAgent
from tests.compose.ledger import START, Ledger, config, usage

MINUTE_MS = int(START.timestamp() * 1000)


def test_a_minute_that_was_forgotten_begins_again_from_the_book(clickhouse: Any) -> None:
    """Rows that come late, after the minute has left the worker's memory, are added to what the minute had: beside the
    other shards' devices, not in their place."""
    shards = ("fir/c/0", "fir/c/1", "fir/c/0/late")
    rows = [usage(0, "fir", f"GPU-{n}", "60", "0.06", shard=shard) for n, shard in enumerate(shards)]
    Ledger(gpu_usage_store=rows).insert(clickhouse.client)
    book = Book(clickhouse.client)
    context = Context(
        create_app("kafka://127.0.0.1:1"), book, config(), Reference(config()), lambda: MINUTE_MS - KEPT_MS
    )
    agent = UnitCostAgent(context)

    def costs(*totals: GpuTotals) -> list[int]:
        """Cost of each minute that these messages change."""
        events = [
            SimpleNamespace(message=SimpleNamespace(topic=USAGE_GPU, value=one.model_dump_json().encode()))
            for one in totals
        ]
        found, rejected = agent._compute(events)
        assert rejected == []
        return [sum(line.cost_nano for line in message.lines) for message in found]

    first, second, late = (book.gpu_totals("fir", [MINUTE_MS], [shard])[0] for shard in shards)
    assert costs(first, second) == [120_000_000]
    assert costs(first.model_copy(update={"minute_ms": MINUTE_MS + 2 * KEPT_MS})) == [60_000_000]
    assert costs(late) == [180_000_000]
