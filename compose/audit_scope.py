"""What the audits examine: from when on, which minutes are settled, how much work that is."""

from datetime import UTC, date, datetime, timedelta

from clickhouse_connect.driver.client import Client

from compose.audit import Scope
from schemas.config import Config

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
SETTLE = timedelta(minutes=2)
"""A minute is compared with the tally once its cluster's usage has gone this much further, and a message is missed once
a later one was stored this long ago."""
_LEDGER = "gpu_usage_store"
"""The largest table: its rows tell how much work the audits of a period are."""


def scope_of(
    client: Client, config: Config | None, *, at_rest: bool, since: datetime, rows: int, turn: int = 0
) -> Scope:
    """What is examined of the book from `since` on, as it is now. `turn` counts the passes of who comes again."""
    since = since.replace(second=0, microsecond=0)
    (now,) = client.query(_NOW).result_rows[0]
    (samples,) = client.query(_SAMPLES, parameters={"since": since}).result_rows[0]
    max_gap_s = {cluster.id: cluster.max_gap_s for cluster in config.cluster} if config else {}
    return Scope(
        since=since,
        settled_s={
            cluster: _settled_s(newest, at_rest, oldest, max_gap_s.get(cluster, 90.0))
            for cluster, newest, oldest in client.query(_REACH, parameters={"settle": SETTLE.seconds}).result_rows
        },
        settled_at=now if at_rest else now - SETTLE,
        max_gap_s=max_gap_s,
        rows=rows,
        samples=samples,
        turn=turn,
        **({"token_difference": float(config.alerts.token_difference)} if config else {}),
    )


def reaching_back(client: Client, since: datetime, rows: int) -> datetime:
    """The earliest moment not before `since` from which on the ledger has at most this many rows; whole minutes."""
    left = rows
    for day, count in client.query(_DAYS, parameters={"since": since, "table": _LEDGER}).result_rows:
        if count > left:
            return _reaching_back_on(client, day, max(since, _midnight(day)), left)
        left -= count
    return since


def _reaching_back_on(client: Client, day: date, since: datetime, rows: int) -> datetime:
    """The same within a day that has more; its newest minute in any case."""
    left, earliest = rows, _midnight(day) + timedelta(days=1)
    found = client.query(_MINUTES, parameters={"since": since, "until": earliest}).result_rows
    for number, (minute, count) in enumerate(found):
        if count > left and number:
            break
        left -= count
        earliest = minute.replace(tzinfo=UTC)
    return earliest


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


_NOW = "SELECT now64(3, 'UTC')"

_SAMPLES = "SELECT count() FROM gpu_samples_store WHERE ts >= {since:DateTime('UTC')}"

# How far the usage of each cluster reaches, and the earliest sample of what was stored of late: while shards catch up,
# one may be hours behind another. Looked for in the newest two days of the ledgers; earlier ones are settled.
_REACH = """
SELECT reach.cluster, reach.newest, late.oldest
FROM
(
    SELECT cluster, max(ts_end) AS newest FROM
    (
        SELECT cluster, ts_end FROM gpu_usage_store
        WHERE ts_start >= (SELECT max(ts_start) FROM gpu_usage_store) - INTERVAL 2 DAY
        UNION ALL
        SELECT cluster, ts_end FROM token_usage_store
        WHERE ts_start >= (SELECT max(ts_start) FROM token_usage_store) - INTERVAL 2 DAY
    )
    GROUP BY cluster
) AS reach
LEFT JOIN
(
    SELECT splitByChar('/', shard)[1] AS cluster, min(ts_first) AS oldest FROM telemetry_messages_store
    WHERE stored_at >= now64(3, 'UTC') - toIntervalSecond({settle:UInt32})
    GROUP BY cluster
) AS late ON late.cluster = reach.cluster
"""

_DAYS = """
SELECT toDate(partition) AS day, sum(rows) AS stored FROM system.parts
WHERE active AND database = currentDatabase() AND table = {table:String} AND day >= toDate({since:DateTime('UTC')})
GROUP BY day ORDER BY day DESC
"""

_MINUTES = """
SELECT minute, count() AS stored FROM gpu_usage_store
WHERE ts_start >= {since:DateTime('UTC')} AND ts_start < {until:DateTime('UTC')}
GROUP BY minute ORDER BY minute DESC
"""


def _settled_s(newest: datetime, at_rest: bool, oldest: datetime | None, max_gap_s: float) -> int:
    """Unix second of the end of the last settled minute of a cluster.

    `newest`: how far its usage reaches. `oldest`: the earliest sample that was stored of late, None = none was; it
    metered the time since the sample before, at most max_gap earlier. Times in UTC.
    """
    settled = newest + timedelta(minutes=1) if at_rest else newest - SETTLE
    if oldest is not None and not at_rest:
        settled = min(settled, oldest - timedelta(seconds=max_gap_s))
    return int(settled.replace(tzinfo=UTC).timestamp()) // 60 * 60
