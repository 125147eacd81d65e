"""The book: what the workers write to ClickHouse and read back from it. The only place that knows both SQL and tables.

Every insert is one block into one partition, so it is stored whole or not at all; rows of an older day are written
before those of a newer one, so that a chain head is never there without what came before it.

The ledgers are partitioned by day and ordered by device: what a worker asks on taking over (chain heads, totals of the
last minutes) reads a day or two, however long the history is.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import tenacity
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.economics import Alert, Burn
from schemas.usage import GpuGroup, GpuTotals, TokenGroup, TokenTotals
from streams import metrics
from streams.alert_rates import CostRow
from streams.metering.tokens import COUNTERS

log = logging.getLogger(__name__)
Value = TypeVar("Value")

# Errors of ClickHouse that waiting cures. Any other says that our statement, our rows or our account are wrong.
_PASSING = (
    "MEMORY_LIMIT_EXCEEDED", "TOO_MANY_PARTS", "TIMEOUT_EXCEEDED", "NETWORK_ERROR", "SOCKET_TIMEOUT",
    "NOT_ENOUGH_SPACE",
    "TABLE_IS_READ_ONLY", "TOO_MANY_SIMULTANEOUS_QUERIES", "KEEPER_EXCEPTION", "CANNOT_SCHEDULE_TASK",
    "ALL_CONNECTION_TRIES_FAILED", "ABORTED", "QUERY_WAS_CANCELLED", "SERVER_OVERLOADED",
)  # fmt: skip

DAY_MS = 86_400_000
COMPLAIN_S = 60.0  # between two lines in the log about a ClickHouse that is waited for
MINUTES_AT_ONCE = 240  # whose totals are read back together
BLOCK_ROWS = 1_000_000  # ClickHouse cuts a block at 1,048,449 rows
_INSERT = {
    "async_insert": 0,  # acknowledged when stored
    "optimize_on_insert": 0,  # a batch holds each key once; looking for duplicates in it doubles the cost of the insert
}


def _passes(error: BaseException) -> bool:
    """Whether the same call can succeed later (ClickHouse away, overloaded, out of memory or disk)."""
    if isinstance(error, OperationalError | OSError):
        return True
    return isinstance(error, DatabaseError) and any(name in str(error) for name in _PASSING)


class Book:
    """The tables of a ClickHouse, through one thread-safe client. Every call waits out an absent ClickHouse."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._complained = 0.0
        self._waiting: set[int] = set()
        self._given_up = threading.Event()
        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
            before_sleep=self._complain,
            stop=tenacity.stop_when_event_set(self._given_up),
            sleep=tenacity.sleep_using_event(self._given_up),
            reraise=True,
        )

    def give_up(self) -> None:
        """Wait no longer: calls that ClickHouse does not take fail from now on, those under way as well."""
        self._given_up.set()

    @property
    def waits(self) -> bool:
        """Whether a call is waiting because ClickHouse did not take it."""
        return bool(self._waiting)

    # ---- writing ---------------------------------------------------------------------------------------------------

    def insert(self, table: str, rows: pa.Table) -> None:
        """Write rows; returns when they are stored. What does not fit one block goes oldest first."""
        for part in _blocks(rows):
            self.insert_block(table, part)

    def insert_block(self, table: str, rows: pa.Table) -> None:
        """Write at most BLOCK_ROWS rows of one day, or of a table without days, whole or not at all."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows.combine_chunks())
        self._call(partial(self._send, table, rows.column_names, sink.getvalue().to_pybytes()))
        metrics.ROWS.labels(table).inc(rows.num_rows)

    def _send(self, table: str, columns: list[str], block: bytes) -> None:
        begun = time.monotonic()
        self._client.raw_insert(table, columns, insert_block=block, settings=_INSERT, fmt="ArrowStream")
        metrics.INSERT_SECONDS.labels(table).observe(time.monotonic() - begun)

    # ---- chain heads -----------------------------------------------------------------------------------------------

    def gpu_heads(self, cluster: str, devices: Sequence[str], before_ms: int) -> list[dict[str, Any]]:
        """The last row of every slice of these devices, whichever shard wrote it.

        Looked for in the day before `before_ms`, and only for devices not found there in all of history.
        """
        heads = self._gpu_heads_since(cluster, devices, before_ms - DAY_MS)
        found = {head["device"] for head in heads}
        rest = [device for device in devices if device not in found]
        return heads + (self._gpu_heads_since(cluster, rest, 0) if rest else [])

    def _gpu_heads_since(self, cluster: str, devices: Sequence[str], since_ms: int) -> list[dict[str, Any]]:
        return self._select(
            """
            SELECT device, slice, tupleElement(head, 'shard') AS shard, tupleElement(head, 'node') AS node,
                   tupleElement(head, 'vendor') AS vendor, tupleElement(head, 'gpu_model') AS gpu_model,
                   tupleElement(head, 'share_num') AS share_num, tupleElement(head, 'share_den') AS share_den,
                   tupleElement(head, 'namespace') AS namespace, tupleElement(head, 'pod') AS pod,
                   tupleElement(head, 'job') AS job, tupleElement(head, 'account') AS account,
                   tupleElement(head, 'ts_start_ms') AS ts_start_ms, tupleElement(head, 'ts_end_ms') AS ts_end_ms,
                   tupleElement(head, 'gpu_ns') AS gpu_ns, tupleElement(head, 'row_energy_mj') AS row_energy_mj,
                   tupleElement(head, 'busy_ns') AS busy_ns, tupleElement(head, 'busy_known_ns') AS busy_known_ns,
                   tupleElement(head, 'energy_mj_end') AS energy_mj_end,
                   tupleElement(head, 'power_w_end') AS power_w_end,
                   tupleElement(head, 'samples') AS samples, tupleElement(head, 'method') AS method,
                   tupleElement(head, 'ended') AS ended
            FROM
            (
                SELECT device, slice, argMax(
                    CAST((toString(shard), toString(node), toString(vendor), toString(gpu_model), share_num, share_den,
                          toString(namespace), pod, job, toString(account),
                          toUnixTimestamp64Milli(ts_start), toUnixTimestamp64Milli(ts_end),
                          toInt64(toDecimal128(gpu_seconds, 9) * 1000000000), toInt64(toDecimal128(energy_j, 3) * 1000),
                          toInt64(toDecimal128(busy_seconds, 9) * 1000000000),
                          toInt64(toDecimal128(busy_known_seconds, 9) * 1000000000),
                          energy_mj_end, power_w_end, samples, toString(method), ended)
                    AS Tuple(shard String, node String, vendor String, gpu_model String,
                             share_num UInt32, share_den UInt32,
                             namespace String, pod String, job String, account String,
                             ts_start_ms Int64, ts_end_ms Int64, gpu_ns Int64, row_energy_mj Int64,
                             busy_ns Int64, busy_known_ns Int64, energy_mj_end Nullable(Int64),
                             power_w_end Nullable(Float64), samples UInt32, method String, ended Bool)),
                    (ts_end, ts_start)) AS head
                FROM gpu_usage_store
                WHERE cluster = {cluster:String} AND device IN {devices:Array(String)}
                  AND ts_start >= fromUnixTimestamp64Milli({since:Int64})
                GROUP BY device, slice
            )
            """,
            {"cluster": cluster, "devices": list(devices), "since": since_ms},
        )

    def token_heads(self, cluster: str, endpoints: Sequence[str], before_ms: int) -> list[dict[str, Any]]:
        """The last row of every counter of these endpoints, looked for as in `gpu_heads`."""
        heads = self._token_heads_since(cluster, endpoints, before_ms - DAY_MS)
        found = {head["endpoint"] for head in heads}
        rest = [endpoint for endpoint in endpoints if endpoint not in found]
        return heads + (self._token_heads_since(cluster, rest, 0) if rest else [])

    def _token_heads_since(self, cluster: str, endpoints: Sequence[str], since_ms: int) -> list[dict[str, Any]]:
        ends = ", ".join(f"{name}, {name}_end" for name in COUNTERS)
        return self._select(
            f"""
            SELECT cluster, endpoint, replica, served_model, team, deployment, layer, shard,
                   toUnixTimestamp64Milli(ts_start) AS ts_start_ms, toUnixTimestamp64Milli(ts_end) AS ts_end_ms,
                   resets, samples, started_ms, {ends}
            FROM token_usage_store
            WHERE cluster = {{cluster:String}} AND endpoint IN {{endpoints:Array(String)}}
              AND ts_start >= fromUnixTimestamp64Milli({{since:Int64}})
            ORDER BY ts_end DESC, ts_start DESC
            LIMIT 1 BY endpoint, replica, served_model, team
            """,
            {"cluster": cluster, "endpoints": list(endpoints), "since": since_ms},
        )

    def last_seq(self, shard: str, boot: str) -> int | None:
        """Highest number of a run of a shard that was taken in; None when there is none. Reads the end of its rows."""
        rows = self._select(
            """
            SELECT seq FROM telemetry_messages_store WHERE shard = {shard:String} AND boot = {boot:String}
            ORDER BY shard DESC, boot DESC, seq DESC LIMIT 1
            """,
            {"shard": shard, "boot": boot},
        )
        return rows[0]["seq"] if rows else None

    # ---- totals that only the book knows ---------------------------------------------------------------------------

    def gpu_totals(
        self, cluster: str, minutes_ms: Sequence[int], shards: Sequence[str] | None = None
    ) -> list[GpuTotals]:
        """Totals of some minutes of a cluster, per shard (or of some shards)."""
        rows = self._totals(
            """
            SELECT toInt64(toUnixTimestamp(minute)) * 1000 AS minute_ms, shard,
                   deployment, agreement, gpu_model, currency, price_version,
                   toInt64(sum(gpu_seconds) * 1000000000) AS gpu_ns, toInt64(sum(busy_seconds) * 1000000000) AS busy_ns,
                   toInt64(sum(energy_j) * 1000) AS energy_mj, toInt64(sum(cost) * 1000000000) AS cost_nano,
                   toUnixTimestamp64Milli(min(ts_start)) AS ts_start_ms,
                   toUnixTimestamp64Milli(max(ts_end)) AS ts_end_ms
            FROM gpu_usage
            WHERE cluster = {cluster:String} AND toUnixTimestamp(minute) IN {minutes:Array(Int64)}
              AND ts_start >= toDateTime({first:Int64}, 'UTC') AND ts_start < toDateTime({last:Int64} + 60, 'UTC')
              AND (empty({shards:Array(String)}) OR shard IN {shards:Array(String)})
            GROUP BY ALL
            """,
            cluster, minutes_ms, shards,
        )  # fmt: skip
        totals = []
        for (minute_ms, shard), parts in _grouped(rows, "minute_ms", "shard"):
            groups = [GpuGroup(**{field: part[field] for field in GpuGroup.model_fields}) for part in parts]
            totals.append(
                GpuTotals(
                    cluster=cluster,
                    shard=shard,
                    minute_ms=minute_ms,
                    version=sum(group.gpu_ns for group in groups),
                    ts_start_ms=min(part["ts_start_ms"] for part in parts),
                    ts_end_ms=max(part["ts_end_ms"] for part in parts),
                    groups=groups,
                )
            )
        return totals

    def token_totals(
        self, cluster: str, minutes_ms: Sequence[int], shards: Sequence[str] | None = None
    ) -> list[TokenTotals]:
        """Token totals of some minutes of a cluster, per shard (or of some shards)."""
        sums = ", ".join(f"sum({name}) AS {name}" for name in COUNTERS)
        rows = self._totals(
            f"""
            SELECT toInt64(toUnixTimestamp(minute)) * 1000 AS minute_ms, shard,
                   deployment, model, agreement, layer, counted,
                   sum(toUnixTimestamp64Milli(ts_end) - toUnixTimestamp64Milli(ts_start)) AS covered_ms, {sums},
                   toUnixTimestamp64Milli(max(ts_end)) AS ts_end_ms
            FROM token_usage
            WHERE cluster = {{cluster:String}} AND toUnixTimestamp(minute) IN {{minutes:Array(Int64)}}
              AND (empty({{shards:Array(String)}}) OR shard IN {{shards:Array(String)}})
            GROUP BY minute, shard, deployment, model, agreement, layer, counted
            """,
            cluster, minutes_ms, shards,
        )  # fmt: skip
        return [
            TokenTotals(
                cluster=cluster,
                shard=shard,
                minute_ms=minute_ms,
                version=sum(part["covered_ms"] for part in parts),
                ts_end_ms=max(part["ts_end_ms"] for part in parts),
                groups=[TokenGroup(**{field: part[field] for field in TokenGroup.model_fields}) for part in parts],
            )
            for (minute_ms, shard), parts in _grouped(rows, "minute_ms", "shard")
        ]

    def _totals(
        self, sql: str, cluster: str, minutes_ms: Sequence[int], shards: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        """Rows of the minutes, some of them at a time: what is read hardly depends on their number, the answer does."""
        seconds = sorted({minute_ms // 1000 for minute_ms in minutes_ms})
        found: list[dict[str, Any]] = []
        for begin in range(0, len(seconds), MINUTES_AT_ONCE):
            part = seconds[begin : begin + MINUTES_AT_ONCE]
            places = {"cluster": cluster, "shards": list(shards or ())}
            found += self._select(sql, {**places, "minutes": part, "first": part[0], "last": part[-1]})
        return found

    def recent_minutes(self, table: str, cluster: str, shard: str, since_ms: int) -> list[int]:
        """Minutes (ms) of a ledger in which a shard has rows, from `since_ms` on."""
        rows = self._select(
            f"""
            SELECT DISTINCT toInt64(toUnixTimestamp(minute)) * 1000 AS minute_ms FROM {table}
            WHERE cluster = {{cluster:String}} AND shard = {{shard:String}}
              AND ts_start >= fromUnixTimestamp64Milli({{since:Int64}})
            """,
            {"cluster": cluster, "shard": shard, "since": since_ms},
        )
        return [row["minute_ms"] for row in rows]

    # ---- economics -------------------------------------------------------------------------------------------------

    def unit_cost_keys(self, cluster: str, minutes_ms: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
        """(model, agreement) of the lines that are stored for some minutes of a cluster, by minute."""
        rows = self._select(
            """
            SELECT DISTINCT toInt64(toUnixTimestamp(minute)) * 1000 AS minute_ms, model, agreement FROM unit_costs_store
            WHERE cluster = {cluster:String} AND toUnixTimestamp(minute) IN {minutes:Array(Int64)}
            """,
            {"cluster": cluster, "minutes": [minute_ms // 1000 for minute_ms in minutes_ms]},
        )
        found: dict[int, list[tuple[str, str]]] = {}
        for row in rows:
            found.setdefault(row["minute_ms"], []).append((row["model"], row["agreement"]))
        return found

    def subsidies(self, since_ms: int, buckets_since_ms: int, bucket_ms: int) -> list[dict[str, Any]]:
        """Subsidy and GPU time per agreement, in parts that add up to all of it.

        One row for everything before `buckets_since_ms` (`from_ms` 0), one per bucket until `since_ms` (`from_ms`: its
        start), and one per (cluster, minute) from there on (`place`: the cluster; `from_ms`: the minute). `first_ms` is
        the earliest minute in the row.
        """
        return self._select(
            """
            WITH toInt64(toUnixTimestamp(minute)) * 1000 AS ms
            SELECT agreement, if(ms < {since:Int64}, '', cluster) AS place,
                   multiIf(ms >= {since:Int64}, ms,
                           ms >= {buckets:Int64}, intDiv(ms, {bucket:Int64}) * {bucket:Int64}, 0) AS from_ms,
                   min(ms) AS first_ms, toInt128(sum(subsidy) * 1000000000) AS subsidy_nano,
                   toInt128(sum(gpu_seconds) * 1000000000) AS gpu_ns
            FROM unit_costs WHERE agreement != ''
            GROUP BY agreement, place, from_ms
            """,
            {"since": since_ms, "buckets": buckets_since_ms, "bucket": bucket_ms},
        )

    def open_alerts(self) -> list[Alert]:
        """Alerts that are firing, in the order in which they began."""
        return self._alerts(
            """
            state = 'firing'
            AND (fingerprint, starts_at) NOT IN (SELECT fingerprint, starts_at FROM alerts WHERE state = 'resolved')
            """,
            {},
        )

    def last_resolved(self, within_s: float) -> list[Alert]:
        """Alerts that were resolved within so many seconds of the last change of any alert, in that order."""
        return self._alerts(
            "state = 'resolved' AND ts >= (SELECT max(ts) FROM alerts) - toIntervalSecond({within:UInt32})",
            {"within": round(within_s)},
        )

    def _alerts(self, condition: str, parameters: dict[str, Any]) -> list[Alert]:
        rows = self._select(
            f"""
            SELECT fingerprint, rule, severity, subject, state, value, threshold, summary, summary_fr, cluster,
                   agreement, model, toInt128(at_stake_per_hour * 1000000000) AS at_stake_nano_per_hour, currency,
                   evidence, toUnixTimestamp64Milli(ts) AS ts_ms, toUnixTimestamp64Milli(starts_at) AS starts_at_ms,
                   toUnixTimestamp64Milli(ends_at) AS ends_at_ms
            FROM alerts FINAL WHERE {condition} ORDER BY ts, fingerprint
            """,
            parameters,
        )
        return [Alert(**row) for row in rows]

    def recent_costs(self, since_ms: int) -> list[CostRow]:
        """What the minutes from a moment on cost, by cluster, model and currency."""
        rows = self._select(
            """
            SELECT cluster, toInt64(toUnixTimestamp(minute)) * 1000 AS minute_ms, model, currency,
                   toInt64(sum(gpu_seconds) * 1000000000) AS gpu_ns, toInt64(sum(busy_seconds) * 1000000000) AS busy_ns,
                   toInt64(sum(energy_j) * 1000) AS energy_mj,
                   toInt64(sum(prompt_tokens + generation_tokens)) AS tokens,
                   toInt128(sum(cost) * 1000000000) AS cost_nano
            FROM unit_costs WHERE minute >= toDateTime({since:Int64}, 'UTC')
            GROUP BY cluster, minute, model, currency
            """,
            {"since": since_ms // 1000},
        )
        return [CostRow(**row) for row in rows]

    def last_heard(self, since_ms: int) -> list[dict[str, Any]]:
        """Of every shard that sent something since a moment: its last run, when its last message was stored, and when
        the last one with samples."""
        return self._select(
            """
            SELECT shard, argMax(boot, stored_at) AS boot, toUnixTimestamp64Milli(max(stored_at)) AS heard_ms,
                   toUnixTimestamp64Milli(maxIf(stored_at, rows > 0)) AS sampled_ms
            FROM telemetry_messages_store
            WHERE stored_at >= fromUnixTimestamp64Milli({since:Int64}) AND fate = 'metered'
            GROUP BY shard
            """,
            {"since": since_ms},
        )

    def targets_down(self, since_ms: int, told_since_ms: int) -> list[dict[str, Any]]:
        """Targets whose last change since a moment was to go down: when, why, and when a collector last spoke of them
        (null: not since the other moment)."""
        return self._select(
            """
            SELECT cluster, source, argMax(kind, ts) AS state, argMax(detail, ts) AS why,
                   toUnixTimestamp64Milli(max(ts)) AS ts_ms, any(told.told_ms) AS told_ms
            FROM data_quality
            LEFT JOIN
            (
                SELECT cluster, source, toNullable(toUnixTimestamp64Milli(max(ts))) AS told_ms FROM data_quality
                WHERE ts >= fromUnixTimestamp64Milli({told:Int64}) AND subject = '' GROUP BY cluster, source
            ) AS told USING (cluster, source)
            WHERE kind IN ('target_down', 'target_up') AND ts >= fromUnixTimestamp64Milli({since:Int64})
            GROUP BY cluster, source HAVING state = 'target_down'
            """,
            {"since": since_ms, "told": told_since_ms},
        )

    def latest_burns(self) -> list[Burn]:
        """The newest state of every agreement; of several of one moment the last that was written."""
        rows = self._select(
            """
            SELECT agreement, programme, toInt64(toUnixTimestamp(minute)) * 1000 AS minute_ms,
                   toUnixTimestamp64Milli(ts) AS ts_ms, toInt128(spent * 1000000000) AS spent_nano,
                   toInt128(accrued * 1000000000) AS accrued_nano, toInt128(cap * 1000000000) AS cap_nano,
                   toInt128(rate_per_hour * 1000000000) AS rate_nano_per_hour,
                   toInt128(rate_1h_per_hour * 1000000000) AS rate_1h_nano_per_hour,
                   toInt128(rate_6h_per_hour * 1000000000) AS rate_6h_nano_per_hour,
                   toInt128(rate_3d_per_hour * 1000000000) AS rate_3d_nano_per_hour,
                   toInt128(planned * 1000000000) AS planned_nano,
                   toInt128(sustainable_per_hour * 1000000000) AS sustainable_nano_per_hour, runway_hours, currency
            FROM subsidy_burn_store FINAL
            WHERE (agreement, minute) IN
            (
                SELECT agreement, max(minute) FROM subsidy_burn_store
                WHERE minute > now() - INTERVAL 40 DAY GROUP BY agreement
            )
            """,
            {},
        )
        return [Burn(**row) for row in rows]

    def last_usage_ms(self) -> dict[str, int]:
        """Latest moment of the ledger per cluster, within the last day."""
        rows = self._select(
            """
            SELECT cluster, toUnixTimestamp64Milli(max(ts_end)) AS ts_ms FROM gpu_usage_store
            WHERE ts_start > now() - INTERVAL 1 DAY GROUP BY cluster
            """,
            {},
        )
        return {row["cluster"]: row["ts_ms"] for row in rows}

    # ---- plumbing --------------------------------------------------------------------------------------------------

    def _select(self, sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        result = self._call(lambda: self._client.query(sql, parameters=parameters))
        return list(result.named_results())

    def _call(self, function: Callable[[], Value]) -> Value:
        retry = self._retry.copy()
        try:
            value = retry(function)
        finally:
            waited = retry.statistics["attempt_number"] > 1
            self._waiting.discard(threading.get_ident())
            if waited:
                metrics.WAITING.dec()
        if waited:
            log.info("ClickHouse has taken the call after %.0f s", time.monotonic() - retry.statistics["start_time"])
        return value

    def _complain(self, state: tenacity.RetryCallState) -> None:
        """Say that a call is repeated: the first time, and for all waiting calls together once a minute."""
        metrics.RETRIES.inc()
        self._waiting.add(threading.get_ident())
        if state.attempt_number == 1:
            metrics.WAITING.inc()
        now = time.monotonic()
        if state.attempt_number == 1 or now > self._complained + COMPLAIN_S:
            self._complained = now
            reason = _reason(state.outcome.exception() if state.outcome else None)
            log.warning("ClickHouse does not take the call (try %d), it is repeated: %s", state.attempt_number, reason)


def _reason(error: BaseException | None) -> str:
    """Why a call failed, without the address and the statement that the driver writes around it."""
    text = str(error).split("\n")[0]
    found = re.search(r"\[Errno \d+\] [^'\")]+|DB::Exception: .*?(?= \(version |$)", text)
    return found[0] if found else text


def _blocks(rows: pa.Table) -> Iterator[pa.Table]:
    """Rows in parts that ClickHouse stores whole or not at all: one day of a ledger, at most BLOCK_ROWS."""
    if not rows.num_rows:
        return
    if "ts_start" not in rows.column_names:
        days = [rows]
    else:
        day = pc.floor_temporal(rows["ts_start"], unit="day")
        values = sorted(pc.unique(day).to_pylist())
        days = [rows] if len(values) == 1 else [rows.filter(pc.equal(day, value)) for value in values]
    for part in days:
        if part.num_rows > BLOCK_ROWS and "ts_start" in part.column_names:
            part = part.sort_by("ts_start")
        yield from (part.slice(begin, BLOCK_ROWS) for begin in range(0, part.num_rows, BLOCK_ROWS))


def _grouped(rows: list[dict[str, Any]], *keys: str) -> list[tuple[tuple[Any, ...], list[dict[str, Any]]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return sorted(groups.items(), key=itemgetter(0))
