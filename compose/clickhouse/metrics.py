"""What the embedded ClickHouse tells Prometheus about itself."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily

QUERY_SECONDS = Histogram(
    "commonwatt_clickhouse_query_seconds",
    "Time from a whole request to the end of its answer.",
    ["kind"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
INSERTED_ROWS = Counter("commonwatt_clickhouse_inserted_rows_total", "Rows that were sent and stored.")
INSERTED_BYTES = Counter("commonwatt_clickhouse_inserted_bytes_total", "Bytes of these rows in memory.")
ERRORS = Counter(
    "commonwatt_clickhouse_errors_total", "Requests answered with an error, by ClickHouse's code.", ["code"]
)

for _kind in ("insert", "read", "write"):
    QUERY_SECONDS.labels(_kind)  # shown from the start


def storage(folder: Path, reserve_bytes: int, parts: Iterable[tuple[str, int, int]]) -> list[Metric]:
    """The disk of a folder, and the active parts of each table as (table, parts, bytes)."""
    disk = shutil.disk_usage(folder)
    count = GaugeMetricFamily("commonwatt_clickhouse_active_parts", "Active parts of a table.", labels=["table"])
    size = GaugeMetricFamily("commonwatt_clickhouse_table_bytes", "Bytes of these parts on the disk.", labels=["table"])
    for table, number, table_bytes in parts:
        count.add_metric([table], number)
        size.add_metric([table], table_bytes)
    return [
        GaugeMetricFamily("commonwatt_clickhouse_disk_free_bytes", "Free on the disk of the book.", disk.free),
        GaugeMetricFamily("commonwatt_clickhouse_disk_size_bytes", "Size of the disk of the book.", disk.total),
        GaugeMetricFamily(
            "commonwatt_clickhouse_disk_reserve_bytes", "With less than this free, rows are refused.", reserve_bytes
        ),
        count,
        size,
    ]
