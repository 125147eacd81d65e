"""`make bench`: every measured figure, side by side in one run."""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from compose.client import connect
from compose.migrate import migrate
from schemas.topics import MAX_ROWS
from tests.bench import alerts, finance, panels, parser, pipeline
from tests.bench.fleet import CLUSTER
from tests.roles import running

SAMPLES = 20_000_000
PARTS = ("pipeline", "parser", "finance", "alerts", "panels")


def main() -> None:
    """Run the benchmarks."""
    arguments = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    arguments.add_argument("--samples", type=int, default=SAMPLES, help="size of the backlog")
    arguments.add_argument("--only", choices=PARTS, help="just this one")
    options = arguments.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="commonwatt-bench-") as folder:
        if options.only in (None, "pipeline"):
            asyncio.run(_pipeline(console, Path(folder), options.samples))
        if options.only in (None, "parser"):
            parser.main()
        if options.only in (None, "finance"):
            finance.main(console, Path(folder))
        if options.only in (None, "alerts"):
            alerts.main(console, Path(folder))
        if options.only in (None, "panels"):
            panels.main(console, Path(folder))


async def _pipeline(console: Console, folder: Path, samples: int) -> None:
    book = ("--data", str(folder / "book"), "--port", "0")
    with (
        running("compose.broker", "--port", "0", log=folder / "broker.log") as broker,
        running("compose.clickhouse", *book, log=folder / "clickhouse.log") as clickhouse,
    ):
        migrate(connect(clickhouse.url, database=None))
        client = connect(clickhouse.url)
        ticks = -(-samples // (pipeline.SHARDS * MAX_ROWS))
        await pipeline.fill(broker.url, ticks, console.print)
        count = ticks * pipeline.SHARDS * MAX_ROWS
        worker = await pipeline.measure_worker(broker.url, clickhouse.url, client, count, folder)
        gpu_seconds, cost, stored = client.query(
            "SELECT sum(gpu_seconds), sum(cost), count() FROM gpu_usage WHERE cluster = %(cluster)s",
            {"cluster": CLUSTER},
        ).result_rows[0]
        (bytes_per_sample,) = client.query(
            "SELECT sum(data_compressed_bytes) / sum(rows) FROM system.parts "
            "WHERE active AND database = 'commonwatt' AND table = 'gpu_samples_store'"
        ).result_rows[0]
        expected = (ticks - 1) * pipeline.SHARDS * MAX_ROWS
        console.print(
            f"stored: {stored:,} usage rows, {gpu_seconds:,.0f} GPU-seconds (expected {expected:,}), {cost:,.2f} CAD, "
            f"{bytes_per_sample:.1f} bytes per raw sample"
        )
        client.command("TRUNCATE TABLE gpu_samples_store")
        raw = await pipeline.measure_raw(broker.url, client, ticks * pipeline.SHARDS)
        json_events = pipeline.measure_json(broker.url)
    _show(console, [worker, raw, json_events])
    if gpu_seconds != expected:
        raise SystemExit("the ledger is not what was sent")


def _show(console: Console, speeds: Sequence[pipeline.Speed]) -> None:
    table = Table(box=box.SIMPLE_HEAD, title="Kafka to ClickHouse, two cores shared by all parts", title_justify="left")
    for name in ("path", "samples", "seconds", "samples/s", "beside the worker", "CPU s", "peak MiB"):
        table.add_column(name, justify="left" if name == "path" else "right")
    for speed in speeds:
        ratio = speeds[0].per_second / speed.per_second
        table.add_row(
            speed.name, f"{speed.rows:,}", f"{speed.seconds:.1f}", f"{speed.per_second:,.0f}", f"{ratio:.2f}",
            f"{speed.cpu_s:.1f}", f"{speed.peak_mib:.0f}" if speed.peak_mib else "",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
