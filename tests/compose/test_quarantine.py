"""`commonwatt quarantine`: what the book says of messages put aside, and how a replay writes without disturbing."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from compose import client as clients
from compose.access import NoAnswer
from compose.cli import app
from compose.migrate import migrate, shipped
from compose.quarantine.entries import select
from compose.quarantine.ledger import LateLedger
from compose.quarantine.plan import Share
from compose.quarantine.reasons import OTHER, kind_of
from compose.quarantine.show import hexdump
from schemas.quarantine import Origin, added_headers, claims, digest, read
from schemas.topics import TELEMETRY_GPU
from streams.late import Hole
from tests.compose.ledger import START, Ledger, sound, usage
from tests.faults.test_messages import unreadable

ASIDE = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SCHEMA, DAMAGED = "unknown schema 'gpu-samples/9'; known: …", "not an Arrow IPC stream: truncated"


def put_aside(client: Client, offset: int, reason: str, **more: Any) -> None:
    """A row of a message that a worker put aside."""
    row = {
        "topic": TELEMETRY_GPU, "kafka_partition": 3, "kafka_offset": offset, "digest": f"{offset}", "reason": reason,
        "ts": ASIDE + timedelta(seconds=offset), "bytes": 1234, "cluster": "fir", "shard": "fir/c/0", "collector": "c",
        "boot": "b", "seq": offset, **more,
    }  # fmt: skip
    client.insert("quarantine_store", [list(row.values())], column_names=list(row))


def replayed(client: Client, offset: int, outcome: str) -> None:
    """A row of a replay."""
    row = {
        "topic": TELEMETRY_GPU, "kafka_partition": 3, "kafka_offset": offset, "digest": f"{offset}",
        "replayed_at": datetime.now(UTC), "run": uuid4(), "outcome": outcome,
    }  # fmt: skip
    client.insert("quarantine_replays", [list(row.values())], column_names=list(row))


def command(clickhouse: Any, *arguments: str) -> str:
    """What `commonwatt quarantine arguments…` prints; it succeeds."""
    answer = CliRunner().invoke(app, ["quarantine", *arguments, "--clickhouse", clickhouse.url], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_a_message_stands_once_with_its_latest_replay(clickhouse: Any) -> None:
    """A worker that reads a batch again puts the same messages aside again; an embedded broker that starts anew gives
    the same name to another message."""
    for offset, reason in ((1, SCHEMA), (1, SCHEMA), (2, DAMAGED)):
        put_aside(clickhouse.client, offset, reason)
    put_aside(clickhouse.client, 1, DAMAGED, digest="another")
    for outcome in ("published", "filled"):
        replayed(clickhouse.client, 2, outcome)
    rows = clickhouse.client.query("SELECT id, digest, outcome, isNull(replayed_at) FROM quarantine ORDER BY ALL")
    assert [tuple(row) for row in rows.result_rows] == [
        ("telemetry.gpu/3/1", "1", "", 1),
        ("telemetry.gpu/3/1", "another", "", 1),
        ("telemetry.gpu/3/2", "2", "filled", 0),
    ]


def test_list(clickhouse: Any) -> None:
    """First how many for which reason, then the messages; narrowed down by reason, cluster and state; as a table, JSON
    and CSV."""
    assert "no messages in quarantine" in command(clickhouse, "list")
    for offset in range(3):
        put_aside(clickhouse.client, offset, SCHEMA)
    put_aside(clickhouse.client, 3, DAMAGED, cluster="oak", shard="oak/c/0", seq=None)
    replayed(clickhouse.client, 0, "covered")
    table = command(clickhouse, "list", "--limit", "2").splitlines()
    assert next(line.split()[:4] for line in table if "unknown schema" in line) == ["unknown", "schema", "3", "2"]
    assert [line.split()[0] for line in table if "telemetry.gpu" in line] == ["telemetry.gpu/3/2", "telemetry.gpu/3/3"]
    assert "2 older ones are not shown (--limit)" in table
    document = json.loads(command(clickhouse, "list", "--format", "json", "--open"))
    assert [(group["reason"], group["messages"]) for group in document["reasons"]] == [
        ("unknown schema", 2), ("damaged", 1),
    ]  # fmt: skip
    assert [message["seq"] for message in document["messages"]] == [1, 2, None]
    for chosen in (("--cluster", "oak"), ("--reason", "TRUNCATED"), ("--reason", "damaged")):
        rows = list(csv.DictReader(io.StringIO(command(clickhouse, "list", "--format", "csv", *chosen))))
        assert [(row["id"], row["kind"]) for row in rows] == [("telemetry.gpu/3/3", "damaged")]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("replay --config {config}", "name messages to replay, or --all (not both)"),
        ("replay telemetry.gpu/0/0 --all --config {config}", "name messages to replay, or --all (not both)"),
        ("replay telemetry.gpu/0/0 --reason x --config {config}", "--reason and --cluster choose among --all"),
        ("replay telemetry.gpu/0/0 --config {config}", "no message in quarantine is named telemetry.gpu/0/0"),
        ("show telemetry.gpu/0/0", "no message in quarantine is named telemetry.gpu/0/0"),
        ("show telemetry.gpu/3/1 --data {data}", "is no data folder of Commonwatt"),
        (
            "show telemetry.gpu/3/1 --kafka kafka://127.0.0.1:1",
            "The Kafka at kafka://127.0.0.1:1 cannot be used (nobody answers there)",
        ),
        ("list --format xml", '--format "xml" is not known'),
    ],
)
def test_mistakes(clickhouse: Any, tmp_path: Path, arguments: str, sentence: str) -> None:
    """One sentence that says what to do."""
    put_aside(clickhouse.client, 1, SCHEMA)
    config = tmp_path / "config.toml"
    config.write_text('[[cluster]]\nid = "fir"\ncountry = "CA"\n')
    words = arguments.format(config=config, data=tmp_path).split()
    answer = CliRunner().invoke(app, ["quarantine", *words, "--clickhouse", clickhouse.url])
    assert answer.exception is not None
    assert sentence in str(answer.exception)


def test_every_reason_is_explained() -> None:
    """Each reason for which a worker puts a message aside has a meaning and a remedy of its own kind."""
    for _, reason in unreadable():
        assert kind_of(reason) is not OTHER, reason
    ahead = "its samples are up to 400 s ahead of the worker's clock: the clock of collector c1 is wrong, or …"
    assert kind_of(ahead).name == "samples from the future"
    assert kind_of("3 validation errors for GpuTotals\nversion\n …").name == "between workers"
    assert kind_of("whatever a later version says") is OTHER


def test_a_message_says_what_it_can() -> None:
    """The envelope is read field by field: one damaged header hides no other. What was added can be taken off."""
    headers = [("cluster", b"fir"), ("collector", b"\xff"), ("boot", b"b"), ("seq", b"12x")]
    assert claims(b"fir/c/0", headers) == ("fir", "fir/c/0", "", "b", None)
    assert claims(b"\xff", [("seq", b"12")]) == ("", "", "", "", 12)
    origin = Origin(TELEMETRY_GPU, 3, 17)
    put = read(b"value", [*headers, *added_headers("why", origin, b"fir/c/0")])
    assert put is not None
    assert (put.origin, put.reason, put.key, put.value, list(put.headers)) == (
        origin,
        "why",
        b"fir/c/0",
        b"value",
        headers,
    )
    assert put.digest == digest(b"fir/c/0", b"value", headers) != digest(b"fir/c/0", b"valu", headers)
    assert read(b"value", headers) is None
    assert Origin.parse(str(origin)) == origin
    assert list(hexdump(b"ABC\x00" * 5))[1] == f"000010  41 42 43 00{' ' * 38}ABC."


def test_an_upgrade_keeps_what_was_in_quarantine(clickhouse_server: Any) -> None:
    """The table of earlier versions becomes a view over the same messages."""
    client = clients.connect(clickhouse_server.url, database=None)
    client.command("DROP DATABASE IF EXISTS upgraded")
    try:
        migrate(client, "upgraded", [step for step in shipped() if step.name < "0004"])
        row = ["2026-11-20 12:00:00", "telemetry.gpu", 3, 17, "empty message", 0]
        for _ in range(2):
            client.command(f"INSERT INTO upgraded.quarantine VALUES {tuple(row)}")
        migrate(client, "upgraded")
        (found,) = client.query("SELECT id, reason, bytes, replayed_at FROM upgraded.quarantine").result_rows
        assert tuple(found) == ("telemetry.gpu/3/17", "empty message", 0, None)
    finally:
        client.command("DROP DATABASE upgraded")
        client.close()


def late_rows(minute: int, seconds: int) -> pa.Table:
    """A row of GPU-0 that late samples bring, `seconds` from the start of a minute on; twenty long."""
    row = usage(minute, "fir", "GPU-0", "20", "0.02", shard="fir/c/0/late")
    start = START + timedelta(minutes=minute, seconds=seconds)
    fields = {**row, "ts_start": start, "ts_end": start + timedelta(seconds=20), "recorded_at": datetime.now(UTC)}
    table = pa.table({name: [value] for name, value in fields.items()})
    return table.set_column(
        table.schema.get_field_index("minute"), "minute", pa.array([row["minute"]], pa.timestamp("s"))
    )


def test_late_rows_never_lie_over_others(clickhouse: Any) -> None:
    """Rows are recorded, then examined, then in the ledger. What would overlap a row that is there is taken back; so is
    what another replay records meanwhile; finishing twice writes nothing twice."""
    ledger = Ledger(gpu_usage_store=[row for row in sound().gpu_usage_store if row["ts_start"] != START])
    ledger.insert(clickhouse.client)
    late = LateLedger(clickhouse.client)
    count = "SELECT count() FROM gpu_usage"
    before = clickhouse.client.query(count).result_rows

    lying_over = uuid4()
    late.record(lying_over, late_rows(1, 30))
    with pytest.raises(NoAnswer, match="the ledger has changed meanwhile"):
        late.check(lying_over)
    assert late.unfinished() == []

    first, second = uuid4(), uuid4()
    late.record(first, late_rows(0, 0))
    late.record(second, late_rows(0, 30))
    with pytest.raises(NoAnswer, match="another replay is at work"):
        late.check(second)
    late.check(first)
    assert late.unfinished() == [first]
    totals = late.finish(first)
    assert [(message.shard, message.minute_ms, message.version) for message in totals] == [
        ("fir/c/0/late", int(START.timestamp() * 1000), 20 * 10**9)
    ]
    assert late.finish(first) == totals
    late.check(first)
    assert clickhouse.client.query(count).result_rows[0][0] == before[0][0] + 1


def test_the_ledger_says_what_it_covers(clickhouse: Any) -> None:
    """Stretches of a device without a break; around a hole, the rows that stand there and the sample that follows, with
    its counter from the raw samples or, where these are gone, from the rows."""
    rows = [row for row in sound().gpu_usage_store if row["ts_start"] != START + timedelta(minutes=2)]
    sample = sound()
    Ledger(gpu_usage_store=rows, gpu_series=sample.gpu_series).insert(clickhouse.client)
    late = LateLedger(clickhouse.client)
    start = int(START.timestamp() * 1000)
    begin, end = start + 2 * 60_000, start + 3 * 60_000
    assert sorted(late.spans("fir", ["GPU-0", "GPU-9"], begin, end)) == [
        ("GPU-0", start, begin), ("GPU-0", end, start + 6 * 60_000),
    ]  # fmt: skip
    holes = [Hole("GPU-0", begin, end), Hole("GPU-1", begin, end)]
    standing = late.before("fir", holes)
    assert [(row["device"], row["slice"], row["energy_mj_end"], row["power_w_end"]) for row in standing] == [
        ("GPU-0", "", 37_000_000, 300.0), ("GPU-1", "1", 37_000_000, 300.0),
        ("GPU-1", "unallocated", 37_000_000, 300.0),
    ]  # fmt: skip
    counter = 1_000_000 + 3 * 18_000_000
    following = late.after("fir", holes)
    for device, name, share in (("GPU-0", "", (1, 1)), ("GPU-1", "1", (3, 7))):
        (fields,) = following[device]
        assert (fields["ts"], fields["slice"], fields["share_num"], fields["share_den"]) == (end, name, *share)
        assert (fields["energy_mj"], fields["power_w"], fields["busy"]) == (counter, None, None)
    Ledger(gpu_samples_store=sample.gpu_samples_store).insert(clickhouse.client)
    (fields,) = late.after("fir", holes)["GPU-1"]
    assert (fields["energy_mj"], fields["power_w"], fields["busy"]) == (counter, 300.0, 0.5)


def test_shares_are_told_by_the_weightiest() -> None:
    """A message that fills a hole is `filled`, whatever else came of it."""
    assert Share(filled=1, published=2, covered=3).outcome == "filled"
    assert Share(published=2, covered=3).outcome == "published"
    assert Share(covered=3).outcome == Share().outcome == "covered"


def test_reasons_of_an_entry(clickhouse: Any) -> None:
    """The kind of a reason stands beside it."""
    put_aside(clickhouse.client, 1, SCHEMA)
    (entry,) = select(clickhouse.client)
    assert (entry.kind, str(entry.origin)) == ("unknown schema", entry.id)
