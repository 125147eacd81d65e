"""What a replay asks of the book, and how it writes rows that come late: never over rows that are there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from compose.access import NoAnswer
from schemas.usage import GpuTotals
from streams.book import BLOCK_ROWS, Book
from streams.late import Hole, stood, went_on
from streams.metering.intervals import MAX_BRIDGE_MS, MINUTE_MS

_NAMED = 1000  # devices in one query: their names travel in the URL

# A replay that was cut off is finished by the next one, if it comes within this time.
_RECENT = "recorded_at > now() - INTERVAL 30 DAY"

# Identity, labels and counters of a row, under the names that GpuMeter.load reads.
_ROW = """
    device, slice, toString(shard) AS shard, toString(node) AS node, toString(vendor) AS vendor,
    toString(gpu_model) AS gpu_model, share_num, share_den, toString(namespace) AS namespace, pod, job,
    toString(account) AS account, toUnixTimestamp64Milli(ts_start) AS ts_start_ms,
    toUnixTimestamp64Milli(ts_end) AS ts_end_ms, toInt64(toDecimal128(energy_j, 3) * 1000) AS row_energy_mj,
    energy_mj_end, power_w_end, toString(method) AS method, ended
"""
# Where each device is looked at, one moment per device; -1 of any other.
_MOMENT = "transform(device, {devices:Array(String)}, {moments:Array(Int64)}, toInt64(-1))"

Rows = list[dict[str, Any]]
Moments = Mapping[str, int]
"""Device -> unix ms."""


class LateLedger:
    """The GPU ledger of a ClickHouse, as a replay sees it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.book = Book(client)

    # ---- reading ---------------------------------------------------------------------------------------------------

    def spans(self, cluster: str, devices: Sequence[str], since_ms: int, until_ms: int) -> list[tuple[str, int, int]]:
        """What the ledger covers of these devices around a period: (device, start, end).

        As far as anything in the period can reach (a silence that is bridged at most), and of each device the next
        moment after that.
        """
        period = {"since": since_ms - MAX_BRIDGE_MS - MINUTE_MS, "until": until_ms + MAX_BRIDGE_MS}
        return [
            (device, start_ms, end_ms)
            for some in _parts(devices)
            for query in (_SPANS, _NEXT)
            for device, start_ms, end_ms in self._client.query(
                query, parameters={"cluster": cluster, "devices": some, **period}
            ).result_rows
        ]

    def counters(self, cluster: str, endpoints: Sequence[str]) -> dict[tuple[str, ...], tuple[int, int]]:
        """First and latest moment (ms) of the token ledger by counter: endpoint, replica, model as served, team."""
        rows = [
            row
            for some in _parts(endpoints)
            for row in self._client.query(_COUNTERS, parameters={"cluster": cluster, "endpoints": some}).result_rows
        ]
        return {tuple(counter): (first_ms, last_ms) for *counter, first_ms, last_ms in rows}

    def before(self, cluster: str, holes: Iterable[Hole]) -> list[Mapping[str, Any]]:
        """The rows that stand where these holes start, at most one hole of a device."""
        found: list[Mapping[str, Any]] = []
        for some in _parts([hole for hole in holes if hole.start_ms >= 0]):
            moments = {hole.device: hole.start_ms for hole in some}
            rows = self._rows(_ENDING, cluster, moments)
            raw = self._raw(cluster, moments)
            for device, own in groupby(rows, key=lambda row: str(row["device"])):
                found += stood(list(own), raw.get(device, {}))
        return found

    def after(self, cluster: str, holes: Iterable[Hole]) -> dict[str, Rows]:
        """The samples with which the ledger goes on where these holes end, by device."""
        found: dict[str, Rows] = {}
        for some in _parts(list(holes)):
            moments = {hole.device: hole.end_ms for hole in some}
            raw = self._raw(cluster, moments)
            for device, own in groupby(self._rows(_STARTING, cluster, moments), key=lambda row: str(row["device"])):
                found[device] = went_on(device, moments[device], list(own), raw.get(device, {}))
        return found

    def _rows(self, sql: str, cluster: str, moments: Moments) -> Rows:
        parameters = {
            "cluster": cluster, "devices": list(moments), "moments": list(moments.values()),
            "first": min(moments.values()) - MINUTE_MS, "last": max(moments.values()) + MINUTE_MS,
        }  # fmt: skip
        return list(self._client.query(sql, parameters=parameters).named_results())

    def _raw(self, cluster: str, moments: Moments) -> dict[str, dict[str, dict[str, Any]]]:
        """Raw samples of these moments by device and slice, as far as they are still there."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for row in self._rows(_SAMPLES, cluster, moments):
            device, slice_ = row.pop("device"), row.pop("slice")
            found.setdefault(device, {})[slice_] = row
        return found

    # ---- writing ---------------------------------------------------------------------------------------------------

    def record(self, run: UUID, rows: pa.Table) -> None:
        """Record rows in gpu_usage_late: those of a device all or none. Only what is recorded goes into the ledger."""
        marked = rows.append_column("run", pa.array([str(run)] * len(rows), pa.string()))
        for block in _whole_devices(marked):
            self.book.insert_block("gpu_usage_late", block)

    def check(self, run: UUID) -> None:
        """Raise NoAnswer, and take back what was recorded, when rows would lie over rows that are there, or another
        replay is at work."""
        others = [other for other in self.unfinished() if other != run]
        if others or self.overlaps(run):
            self.abandon(run)
            why = "another replay is at work" if others else "the ledger has changed meanwhile"
            raise NoAnswer(f"{why}: nothing was written, try again in a moment.")

    def overlaps(self, run: UUID) -> bool:
        """Whether rows of the ledger share a moment with the recorded rows, other than these rows themselves."""
        return bool(self._client.query(_OVERLAPS, parameters={"run": str(run)}).result_rows[0][0])

    def abandon(self, run: UUID) -> None:
        """Take back what was recorded."""
        self._client.command("DELETE FROM gpu_usage_late WHERE run = {run:UUID}", parameters={"run": str(run)})

    def finish(self, run: UUID) -> list[GpuTotals]:
        """Copy the recorded rows of a replay into the ledger; returns the new totals of their minutes. Doing it again
        writes the same rows under the same keys."""
        names = [name for (name,) in self._client.query(_COLUMNS).result_rows]
        columns = ", ".join(f"`{name}`" for name in names if name not in ("run", "recorded_at"))
        self._client.command(
            f"INSERT INTO gpu_usage_store ({columns}) SELECT {columns} FROM gpu_usage_late WHERE run = {{run:UUID}}",
            parameters={"run": str(run)},
        )
        places = self._client.query(_MINUTES, parameters={"run": str(run)}).result_rows
        return [
            totals
            for cluster, shard, minutes_ms in places
            for totals in self.book.gpu_totals(cluster, minutes_ms, [shard])
        ]

    def unfinished(self) -> list[UUID]:
        """Replays that recorded rows and did not come to their end."""
        return [run for (run,) in self._client.query(_UNFINISHED).result_rows]


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(values), _NAMED):
        yield values[begin : begin + _NAMED]


def _whole_devices(rows: pa.Table) -> Iterator[pa.Table]:
    """Rows in blocks that ClickHouse stores whole, cut between devices."""
    rows = rows.sort_by([("cluster", "ascending"), ("device", "ascending")])
    begin = 0
    while begin < len(rows):
        end = min(begin + BLOCK_ROWS, len(rows))
        device = rows["device"]
        while end < len(rows) and end > begin + 1 and device[end] == device[end - 1]:
            end -= 1
        yield rows.slice(begin, end - begin)
        begin = end


_OWN = "cluster = {cluster:String} AND device IN {devices:Array(String)}"
_SPANS = f"""
SELECT device, min(start_ms), max(end_ms)
FROM
(
    SELECT device, start_ms, end_ms,
        sum(apart) OVER (PARTITION BY device ORDER BY start_ms, end_ms ROWS UNBOUNDED PRECEDING) AS number
    FROM
    (
        SELECT device, toUnixTimestamp64Milli(ts_start) AS start_ms, toUnixTimestamp64Milli(ts_end) AS end_ms,
            start_ms > max(end_ms) OVER (
                PARTITION BY device ORDER BY start_ms, end_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS apart
        FROM gpu_usage_store
        WHERE {_OWN} AND ts_start >= fromUnixTimestamp64Milli({{since:Int64}})
            AND ts_start <= fromUnixTimestamp64Milli({{until:Int64}})
    )
)
GROUP BY device, number
"""
_NEXT = f"""
SELECT device, toUnixTimestamp64Milli(min(ts_start)) AS start_ms, start_ms
FROM gpu_usage_store
WHERE {_OWN} AND ts_start > fromUnixTimestamp64Milli({{until:Int64}})
GROUP BY device
"""
_ENDING = f"""
SELECT {_ROW} FROM gpu_usage_store FINAL
WHERE {_OWN} AND ts_start >= fromUnixTimestamp64Milli({{first:Int64}})
    AND ts_start <= fromUnixTimestamp64Milli({{last:Int64}}) AND ts_end_ms = {_MOMENT}
ORDER BY device, slice, ts_start DESC
LIMIT 1 BY device, slice
"""
_STARTING = f"""
SELECT {_ROW} FROM gpu_usage_store FINAL
WHERE {_OWN} AND ts_start >= fromUnixTimestamp64Milli({{first:Int64}})
    AND ts_start <= fromUnixTimestamp64Milli({{last:Int64}})
    AND ts_start_ms >= {_MOMENT} AND intDiv(ts_start_ms, 60000) = intDiv({_MOMENT}, 60000)
ORDER BY device, slice, ts_start
"""
# A Float32 as the shortest decimal that it is the nearest to: what the exporter printed.
_SAMPLES = f"""
SELECT device, slice, busy_source, if(isNaN(sample.power_w), NULL, toFloat64(toString(sample.power_w))) AS power_w,
    if(sample.energy_mj < 0, NULL, sample.energy_mj) AS energy_mj,
    if(isNaN(sample.busy), NULL, toFloat64(toString(sample.busy))) AS busy
FROM
(
    SELECT series, ts, power_w, energy_mj, busy FROM gpu_samples_store
    WHERE series IN (SELECT series FROM gpu_series WHERE {_OWN})
        AND toUnixTimestamp64Milli(ts) IN {{moments:Array(Int64)}}
        AND ts BETWEEN fromUnixTimestamp64Milli({{first:Int64}}) AND fromUnixTimestamp64Milli({{last:Int64}})
) AS sample
INNER JOIN
(
    SELECT DISTINCT series, device, toString(slice) AS slice, toString(busy_source) AS busy_source
    FROM gpu_series WHERE {_OWN}
) AS label ON sample.series = label.series
WHERE toUnixTimestamp64Milli(sample.ts) = {_MOMENT}
"""
_COUNTERS = """
SELECT endpoint, toString(replica), toString(served_model), toString(team), toUnixTimestamp64Milli(min(ts_start)),
    toUnixTimestamp64Milli(max(ts_end))
FROM token_usage_store
WHERE cluster = {cluster:String} AND endpoint IN {endpoints:Array(String)}
GROUP BY ALL
"""
_COLUMNS = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'gpu_usage_late'"
_MINUTES = """
SELECT cluster, shard, groupUniqArray(toInt64(toUnixTimestamp(minute)) * 1000) FROM gpu_usage_late
WHERE run = {run:UUID} AND ts_end > ts_start
GROUP BY cluster, shard
ORDER BY cluster, shard
"""
_OVERLAPS = """
WITH (SELECT (min(minute), max(minute)) FROM gpu_usage_late WHERE run = {run:UUID}) AS period
SELECT count()
FROM
(
    SELECT cluster, device, slice, minute, shard, ts_start, ts_end FROM gpu_usage_store
    WHERE ts_start >= period.1 AND ts_start < period.2 + INTERVAL 1 MINUTE AND ts_end > ts_start
        AND (cluster, device) IN (SELECT cluster, device FROM gpu_usage_late WHERE run = {run:UUID})
) AS there
INNER JOIN (SELECT * FROM gpu_usage_late WHERE run = {run:UUID}) AS late
    ON there.cluster = late.cluster AND there.device = late.device AND there.minute = late.minute
WHERE there.ts_start < late.ts_end AND late.ts_start < there.ts_end
    AND (there.shard != late.shard OR there.slice != late.slice OR there.ts_start != late.ts_start)
"""
_UNFINISHED = f"""
SELECT DISTINCT run FROM gpu_usage_late
WHERE {_RECENT} AND run NOT IN (SELECT run FROM quarantine_replays)
ORDER BY run
"""
