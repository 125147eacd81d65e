"""Samples per second from Kafka to stored rows: the worker, the raw limit, and one JSON event per GPU, in one run.

All three read the same backlog from the same embedded broker and write into the same embedded ClickHouse, one after
the other. A worker is measured from its first stored sample to its last, so that joining the group does not count.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from collectors.simulator import toml_file
from compose.broker import servers
from compose.lag import Lag
from schemas.arrow import ARROW, decode
from schemas.config import Config
from schemas.topics import MAX_MESSAGE_BYTES, MAX_ROWS, TELEMETRY_GPU
from tests.bench.fleet import CLUSTER, Fleet
from tests.roles import ROOT

SHARDS = 16  # 65,536 devices
JSON_EVENTS = 40_000
JSON_TOPIC = "bench.json"
RAW_ROWS = 64 * MAX_ROWS  # rows per insert, as the worker's largest batch
TIMEOUT_S = 600


@dataclass(frozen=True)
class Speed:
    """One way to do it."""

    name: str
    rows: int
    seconds: float
    cpu_s: float
    peak_mib: float

    @property
    def per_second(self) -> float:
        return self.rows / self.seconds


def config() -> Config:
    """A fleet with a price and eight agreements."""
    days = {"starts": date(2026, 1, 1), "ends": date(2036, 1, 1)}
    return Config.model_validate(
        {
            "cluster": [
                {
                    "id": CLUSTER,
                    "country": "CA",
                    "target": [{"kind": "dcgm-exporter", "urls": ["http://127.0.0.1:1/metrics"]}],
                }
            ],
            "price": [
                {
                    "id": "owned", "cluster": CLUSTER, "basis": "owned", "capex": "42000", "lifetime_years": "5",
                    "opex_per_gpu_hour": "0.35", "energy_per_kwh": "0.0776", "effective_from": date(2026, 1, 1),
                }
            ],
            "programme": [{"id": "fund", "budget": "300000000", **days}],
            "agreement": [
                {
                    "id": f"team-{i}", "programme": "fund", "recipient": f"Team {i}", "cap": "1000000", **days,
                    "rule": {"kind": "cost_share", "share": "2/3"}, "match": [{"namespace": f"team-{i}"}],
                }
                for i in range(8)
            ],
        }
    )  # fmt: skip


async def fill(kafka: str, ticks: int, say: Callable[[str], None]) -> Fleet:
    """Put a backlog of `ticks` ticks of the fleet on telemetry.gpu, and some of it as JSON events on another topic."""
    fleet = Fleet(SHARDS, (int(time.time()) - ticks) // 60 * 60_000)
    producer = AIOKafkaProducer(bootstrap_servers=servers(kafka), acks="all", max_request_size=MAX_MESSAGE_BYTES)
    await producer.start()
    sent_bytes = 0
    try:
        for number, messages in enumerate(fleet.ticks(ticks)):
            pending = [
                await producer.send(TELEMETRY_GPU, key=key.encode(), value=value, headers=headers)
                for key, value, headers in messages
            ]
            sent_bytes += sum(len(value) for _, value, _ in messages)
            await asyncio.gather(*pending)
            if number * SHARDS * MAX_ROWS < JSON_EVENTS:
                await _send_events(producer, messages)
    finally:
        await producer.stop()
    rows = ticks * SHARDS * MAX_ROWS
    say(f"backlog: {rows:,} samples of {SHARDS * MAX_ROWS:,} devices, {sent_bytes / rows:.1f} bytes each on the wire")
    return fleet


async def _send_events(producer: AIOKafkaProducer, messages: list[tuple[str, bytes, list[tuple[str, bytes]]]]) -> None:
    pending = []
    for key, value, _ in messages:
        for row in decode(value, "gpu-samples/1", ARROW).to_pylist():
            row["ts"] = int(row["ts"].timestamp() * 1000)
            event = json.dumps({"cluster": CLUSTER, **row}).encode()
            pending.append(await producer.send(JSON_TOPIC, key=key.encode(), value=event))
    await asyncio.gather(*pending)


async def measure_worker(kafka: str, url: str, client: Client, samples: int, folder: Path) -> Speed:
    """The real worker, as a process, on the whole backlog."""
    file = folder / "bench.toml"
    file.write_text(toml_file.dumps(config()))
    command = ["worker", "--config", str(file), "--kafka", kafka, "--clickhouse", url]
    with (folder / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "compose", *command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        rows, seconds = await _until_stored(client, samples, process)
        cpu_s, peak_mib = _used(process.pid)
        await _until_drained(kafka)
    finally:
        process.terminate()
        await process.wait()
    return Speed("commonwatt worker", rows, seconds, cpu_s, peak_mib)


async def _until_stored(client: Client, samples: int, process: asyncio.subprocess.Process) -> tuple[int, float]:
    first: tuple[float, int] | None = None
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        stored = int(client.query("SELECT count() FROM gpu_samples_store").result_rows[0][0])
        if stored and first is None:
            first = (time.monotonic(), stored)
        if first is not None and stored >= samples:
            return stored - first[1], time.monotonic() - first[0]
        if process.returncode is not None:
            raise SystemExit(f"the worker ended with {process.returncode}: see its log")
        await asyncio.sleep(0.1)
    raise SystemExit(f"the worker stored {stored:,} of {samples:,} samples in {TIMEOUT_S} s")


async def _until_drained(kafka: str) -> None:
    lag = await Lag.connect(kafka)
    try:
        while await lag.total():  # noqa: ASYNC110  (the broker tells nobody)
            await asyncio.sleep(0.2)
    finally:
        await lag.close()


def _used(pid: int) -> tuple[float, float]:
    """CPU seconds and peak memory of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak_kib / 1024


async def measure_raw(kafka: str, client: Client, messages: int) -> Speed:
    """The limit: the same messages fetched by bare aiokafka and inserted untouched, as many rows at a time."""
    schema_columns = """
        ts DateTime64(3, 'UTC'), node LowCardinality(String), device String, slice LowCardinality(String),
        share_num Int64, share_den Int64, vendor LowCardinality(String), gpu_model LowCardinality(String),
        power_w Nullable(Float64), energy_mj Nullable(Int64), busy Nullable(Float64),
        busy_source LowCardinality(String), sm_active Nullable(Float64), memory_used_mib Nullable(Float64),
        temperature_c Nullable(Float64), xid Nullable(Int64), namespace LowCardinality(String), pod String,
        job String, account LowCardinality(String)
    """
    client.command(f"CREATE TABLE bench_raw ({schema_columns}) ENGINE = MergeTree ORDER BY (device, ts)")
    consumer = AIOKafkaConsumer(
        TELEMETRY_GPU, bootstrap_servers=servers(kafka), auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
    )  # fmt: skip
    await consumer.start()
    inserting: asyncio.Task[None] | None = None
    begin, cpu, rows, fetched = time.monotonic(), _own_cpu(), 0, 0
    try:
        held: list[pa.RecordBatch] = []
        while fetched < messages:
            for records in (await consumer.getmany(timeout_ms=1000, max_records=RAW_ROWS // MAX_ROWS)).values():
                held += [decode(record.value, "gpu-samples/1", ARROW) for record in records]
                fetched += len(records)
            if len(held) * MAX_ROWS >= RAW_ROWS or fetched >= messages:
                if inserting is not None:
                    await inserting
                batch, held = held, []
                inserting = asyncio.create_task(asyncio.to_thread(_insert_raw, client, batch))
                rows += sum(part.num_rows for part in batch)
        if inserting is not None:
            await inserting
    finally:
        await consumer.stop()
        client.command("DROP TABLE bench_raw")
    seconds = time.monotonic() - begin
    return Speed("raw limit (aiokafka, insert untouched)", rows, seconds, _own_cpu() - cpu, 0)


def _insert_raw(client: Client, batches: list[pa.RecordBatch]) -> None:
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    names = table.column_names
    client.raw_insert("bench_raw", names, insert_block=sink.getvalue().to_pybytes(), fmt="ArrowStream")


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure_json(kafka: str) -> Speed:
    """One JSON event per GPU in a plain Faust agent with a table of running energy per device."""
    begin = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.json_agent", kafka, JSON_TOPIC, str(JSON_EVENTS)],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if answer.returncode:
        raise SystemExit(f"the JSON agent failed after {time.monotonic() - begin:.0f} s: {answer.stderr[-2000:]}")
    events, seconds, cpu_s = answer.stdout.split()
    return Speed("one JSON event per GPU (Faust table)", int(events), float(seconds), float(cpu_s), 0)
