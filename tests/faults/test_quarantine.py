"""Messages in quarantine: listed, explained, replayed after a fix; what was missing is filled, exactly and once."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from typer.testing import CliRunner

from compose.check import run_checks
from compose.cli import app
from compose.quarantine.ledger import LateLedger
from compose.reference import tables
from schemas.arrow import JSON
from schemas.config_file import load
from tests.faults.traffic import CONFIG, INTERVAL_MS, START_MS, Message, Shape, scrapes
from tests.faults.work import Book, Site, Worker, ended
from tests.roles import spawn

HOLE = range(20, 76)  # ticks: 112 s, longer than may be silent
TAIL = range(86, 90)

LATE = "SELECT * FROM gpu_usage_late ORDER BY ALL"


def mixed() -> list[Message]:
    """The traffic of every test; as JSON in the ticks of HOLE and TAIL, else Arrow."""
    found = []
    for scrape in scrapes(Shape()):
        arrow = scrape._replace(tick=0).message()
        headers = {**dict(arrow.headers), "seq": str(scrape.tick + 1).encode()}
        value = arrow.value
        if scrape.tick in HOLE or scrape.tick in TAIL:
            headers["content-type"] = JSON.encode()
            value = TypeAdapter(list[BaseModel]).dump_json(list(scrape.rows), serialize_as_any=True)
        found.append(arrow._replace(value=value, headers=tuple(headers.items())))
    return found


@contextlib.contextmanager
def older_worker(site: Site) -> Iterator[Worker]:
    """A worker of a version that cannot read JSON."""
    config_file, log = site.folder / "config.toml", site.folder / "older.log"
    config_file.write_text(CONFIG)
    arguments = ("--config", str(config_file), "--kafka", site.kafka, "--clickhouse", site.clickhouse_url)
    with ended(Worker(spawn("tests.faults.older", "worker", *arguments, log=log).process, log)) as worker:
        yield worker


async def command(*arguments: object) -> str:
    """What `commonwatt quarantine arguments…` prints; it succeeds."""
    words = ["quarantine", *(str(argument) for argument in arguments)]
    answer = await asyncio.to_thread(CliRunner().invoke, app, words, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


async def test_replay_fills_what_is_missing(
    site: Site, undisturbed: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that cannot read JSON put two minutes and the end of the traffic aside. After the upgrade a replay meters
    what lies in holes (tenant changes, a reset, a device partitioned anew, devices without a counter), sends what is
    newer to the workers, and leaves what the ledger covers; cut off on its way it is finished by the next one; a third
    has nothing to do. The ledger then holds of every device what it holds undisturbed, and every audit passes."""
    traffic = mixed()
    aside = [message for message in traffic if JSON.encode() in dict(message.headers).values()]
    config_file = site.folder / "config.toml"
    book_of, site_of = ("--clickhouse", site.clickhouse_url), ("--kafka", site.kafka)
    everything = ("replay", "--all", "--config", config_file, *site_of, *book_of)
    with older_worker(site) as worker:
        await site.feed(traffic)
        await site.caught_up(worker)
        assert worker.stop() == 0
    before, config = site.book(), load(config_file)
    listed = json.loads(await command("list", "--format", "json", "--open", *book_of))
    (group,) = listed["reasons"]
    assert (group["reason"], group["messages"], group["open"]) == ("unknown encoding", len(aside), len(aside))
    assert {message["shard"] for message in listed["messages"]} == {"fir/c1/0", "fir/c1/1", "fir/c1/2", "oak/c1/0"}

    with site.worker() as worker:
        entry, saved = listed["messages"][0], tmp_path / "message"
        assert_shown(await command("show", entry["id"], "--save", saved, *site_of, *book_of), entry)
        assert saved.read_bytes() in {message.value for message in aside}
        planned = await command(*everything, "--dry-run")
        assert "fill holes of the ledger" in planned
        assert "newer than the ledger" in planned
        assert site.book() == before

        with monkeypatch.context() as patched:
            patched.setattr(LateLedger, "finish", cut_off)
            with pytest.raises(CutOff):
                await command(*everything)
        assert site.book()["gpu_usage"] == before["gpu_usage"]
        recorded = site.client.query(LATE).result_rows
        replayed = await command(*everything)
        assert "cut off" in replayed
        assert replayed.count("replayed: ") == len(aside)
        assert site.client.query(LATE).result_rows == recorded != []
        await site.caught_up(worker)
        assert worker.stop() == 0

    found = site.book()
    assert closed(before) <= set(found["gpu_usage"])
    assert by_device(found) == by_device(undisturbed)
    assert await command(*everything) == "nothing to replay\n"
    assert "holes" not in await command(*everything, "--again")
    assert site.book() == found
    tables.store(site.client, config)
    audits = run_checks(site.client, config, at_rest=True)
    assert {audit.name: audit.rows for audit in audits if not audit.passed} == {}


def assert_shown(shown: str, entry: dict[str, Any]) -> None:
    """Where it came from, why it is there, what to do, what this version reads."""
    for part in (entry["id"], entry["shard"], "unknown content-type", "workers to the version", "reads it: "):
        assert part in shown


class CutOff(Exception):
    """A replay ends here, as by kill -9."""


def cut_off(*_: object) -> None:
    raise CutOff


def closed(book: Book) -> set[tuple[Any, ...]]:
    """Rows of the GPU ledger to which nothing newer is added."""
    start = datetime.fromtimestamp((START_MS + TAIL.start * INTERVAL_MS) / 1000 - 60, UTC).replace(tzinfo=None)
    return {row for row in book["gpu_usage"] if row[4] < start}


def by_device(book: Book) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """Time (s) and energy (J) of each device."""
    found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for row in book["gpu_usage"]:
        time_s, energy_j = found.get(row[:2], (Decimal(0), Decimal(0)))
        found[row[:2]] = (time_s + row[19], energy_j + row[20])
    return found
