"""`commonwatt doctor`: reaches everything that a configuration names, says what is wrong and what helps."""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console
from rich.text import Text

from compose import broker, datadir, migrate
from compose.access import password
from compose.client import CannotConnect, connect
from compose.doctor_sinks import examine_sinks
from compose.doctor_targets import examine_targets
from compose.findings import Finding
from schemas import topics
from schemas.config import Config
from schemas.config_file import ConfigError, load

MAX_CLOCK_S = 2.0
"""A minute is attributed by the collector's clock: more than this would show in it."""
TESTED_CLICKHOUSE = (26, 9)
"""The release that the tests run against; an older one is named, not refused."""
RIGHTS = ("SELECT", "INSERT", "CREATE TABLE", "CREATE VIEW", "ALTER TABLE", "DROP TABLE", "DROP VIEW")


def main(config_file: Path, data: Path | None, console: Console) -> int:
    """Print a line for each finding. Returns the exit status: 1 when something is wrong."""
    healthy = True
    for finding in findings(config_file, data):
        healthy &= finding.ok
        _print(finding, console)
    return 0 if healthy else 1


def findings(config_file: Path, data: Path | None) -> Iterator[Finding]:
    """Everything that was looked at, as it is found."""
    try:
        config = load(config_file)
    except ConfigError as error:
        yield from (Finding("configuration", line, "correct the file") for line in str(error).splitlines())
        return
    counts = f"{len(config.cluster)} clusters, {len(config.deployment)} deployments, {len(config.agreement)} agreements"
    yield Finding("configuration", f"{config_file} is sound: {counts}")
    yield _examine_disk(data)
    running = _running(data)
    yield from asyncio.run(_examine_kafka(config, running.get("kafka")))
    yield from _examine_clickhouse(config, running.get("clickhouse"))
    yield from asyncio.run(examine_targets(config))
    yield from asyncio.run(examine_sinks(config.notify))


def _print(finding: Finding, console: Console) -> None:
    mark = ("✓", "green") if finding.ok else ("✗", "red")
    console.print(Text.assemble(mark, " ", (f"{finding.subject}: ", "bold"), finding.text), soft_wrap=True)
    if not finding.ok:
        console.print(Text(f"    {finding.remedy}"), soft_wrap=True)


# --- this machine ---------------------------------------------------------------------------------------------------


def _examine_disk(data: Path | None) -> Finding:
    folder = datadir.default(data)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:,.1f} GB free for {folder}"
    remedy = "make room, or choose another folder with --data" if free < datadir.MIN_FREE_BYTES else ""
    return Finding("disk", text, remedy)


def _running(data: Path | None) -> dict[str, str]:
    """Addresses of the embedded roles, where they run on this data folder."""
    with contextlib.suppress(datadir.DataError):
        return datadir.addresses(data) or {}
    return {}


# --- Kafka ----------------------------------------------------------------------------------------------------------


async def _examine_kafka(config: Config, running: str | None) -> list[Finding]:
    url = config.kafka.url if config.kafka else running
    if url is None:
        try:
            program = broker.binary()
        except broker.BrokerError as error:
            return [Finding("Kafka", str(error), "name a Kafka in the configuration: [kafka] url = ...")]
        return [Finding("Kafka", f"embedded, started by `commonwatt up` ({Path(program).name})")]
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.servers(url), request_timeout_ms=10_000)
    try:
        await admin.start()
        brokers = (await admin.describe_cluster())["brokers"]
        described = await admin.describe_topics()
    except (KafkaError, OSError) as error:
        return [Finding("Kafka", f"{url} does not answer ({error})", "start it, or correct [kafka] url")]
    finally:
        await admin.close()
    return [Finding("Kafka", f"{url} answers, {len(brokers)} broker(s)"), *_examine_topics(described)]


def _examine_topics(described: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    partitions = {entry["topic"]: len(entry["partitions"]) for entry in described}
    missing = [name for name in topics.PARTITIONS if name not in partitions]
    for name, wanted in topics.PARTITIONS.items():
        if name in partitions and partitions[name] != wanted:
            yield Finding(
                "Kafka topics",
                f"{name} has {partitions[name]} partition(s), not {wanted}: totals of a cluster would part ways",
                f"delete the topic while nothing runs, then `commonwatt up` creates it with {wanted}",
            )
    text = f"{len(topics.PARTITIONS) - len(missing)} of {len(topics.PARTITIONS)} are there"
    yield Finding("Kafka topics", f"{text}; missing ones are created at the start" if missing else text)


# --- ClickHouse -----------------------------------------------------------------------------------------------------


def _examine_clickhouse(config: Config, running: str | None) -> Iterator[Finding]:
    if config.clickhouse is None and running is None:
        if importlib.util.find_spec("chdb") is None:
            yield Finding(
                "ClickHouse", "the embedded one is not installed", "install chdb, or name one in [clickhouse]"
            )
        else:
            yield Finding(
                "ClickHouse", f"embedded, chdb {importlib.metadata.version('chdb')}, started by `commonwatt up`"
            )
        return
    url, user = (config.clickhouse.url, config.clickhouse.user) if config.clickhouse else (str(running), "default")
    try:
        client = connect(url, user, password(), None, timeout_s=20)
    except CannotConnect as error:
        yield Finding("ClickHouse", str(error), "correct [clickhouse], or start the server")
        return
    with contextlib.closing(client):
        try:
            yield from _examine_server(client, url, user)
        except ClickHouseError as error:
            yield Finding(
                "ClickHouse", f"{url} answers, but not to this: {error}", f"give {user} the rights to read it"
            )


def _examine_server(client: Client, url: str, user: str) -> Iterator[Finding]:
    before = time.time()
    version, moment, disk = client.query(
        "SELECT version(), toUnixTimestamp64Milli(now64(3)), (SELECT min(free_space) FROM system.disks)"
    ).result_rows[0]
    ahead_s = moment / 1000 - (before + time.time()) / 2
    release = tuple(int(part) for part in version.split(".")[:2])
    older = " (older than the one that Commonwatt is tested with)" if release < TESTED_CLICKHOUSE else ""
    yield Finding("ClickHouse", f"{url} answers, version {version}{older}, {disk / 1e9:,.1f} GB free")
    wrong = f"set the clocks by NTP: ClickHouse is {ahead_s:+.1f} s from here" if abs(ahead_s) > MAX_CLOCK_S else ""
    yield Finding("clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC here, ClickHouse {ahead_s:+.3f} s", wrong)
    yield _examine_rights(client, user)
    yield _examine_tables(client)


def _examine_rights(client: Client, user: str) -> Finding:
    refused = [right for right in RIGHTS if not client.command(f"CHECK GRANT {right} ON commonwatt.*")]
    if refused:
        grant = f"GRANT {', '.join(refused)} ON commonwatt.* TO {user}"
        return Finding(
            "ClickHouse rights", f"user {user} may not {', '.join(refused)}", f"run as administrator: {grant}"
        )
    return Finding("ClickHouse rights", f"user {user} may {', '.join(RIGHTS)}")


def _examine_tables(client: Client) -> Finding:
    wanted = {migration.name: migration.checksum for migration in migrate.shipped()}
    applied: Sequence[Sequence[str]] = []
    if client.command("EXISTS TABLE commonwatt.schema_migrations"):
        query = "SELECT name, checksum FROM commonwatt.schema_migrations FINAL WHERE done = statements"
        applied = client.query(query).result_rows
    foreign = [name for name, checksum in applied if wanted.get(name) != checksum]
    if foreign:
        return Finding("tables", f"{', '.join(foreign)} is of another version", "use the version that made the tables")
    missing = [name for name in wanted if name not in {done for done, _ in applied}]
    if missing:
        return Finding("tables", f"not there yet: {', '.join(missing)}", "run `commonwatt migrate`")
    return Finding("tables", f"all {len(wanted)} migrations are applied")
