"""`commonwatt doctor` reaches everything, and each thing that is wrong has a line with a remedy."""

import asyncio
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console

from compose.broker import free_port
from compose.client import connect
from compose.doctor import findings, main
from compose.findings import Finding
from compose.migrate import migrate
from schemas.topics import PARTITIONS
from tests.roles import running

GPU_PAGE = """\
# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"} 300.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-2",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"} 310.5
"""
PAGES = {"/metrics": (200, GPU_PAGE), "/other": (200, "# TYPE up gauge\nup 1\n"), "/down": (503, "starting")}


class Exporter(BaseHTTPRequestHandler):
    """Plain static pages."""

    date = ""

    def do_GET(self) -> None:
        status, page = PAGES[self.path]
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(page.encode())

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.date or super().date_time_string(timestamp)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def exporter() -> Iterator[str]:
    """Address of an exporter with the pages above."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def written(folder: Path, *urls: str, more: str = "") -> Path:
    file = folder / "c.toml"
    quoted = ", ".join(f'"{url}"' for url in urls)
    file.write_text(
        f'{more}\n[[cluster]]\nid = "fir"\ncountry = "CA"\n'
        f'[[cluster.target]]\nkind = "dcgm-exporter"\nurls = [{quoted}]\ninterval = "2s"\n'
    )
    return file


def wrong(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.subject, finding.text, finding.remedy) for finding in found if not finding.ok]


def said(found: list[Finding], subject: str) -> list[str]:
    return [finding.text for finding in found if finding.subject == subject]


def test_everything_in_order(broker: str, clickhouse: Any, exporter: str, tmp_path: Path) -> None:
    """Kafka, topics, ClickHouse, rights, tables, clocks and targets each have a line, and the exit status is 0."""
    more = f'[kafka]\nurl = "{broker}"\n[clickhouse]\nurl = "{clickhouse.url}"'
    file = written(tmp_path, f"{exporter}/metrics", more=more)
    found = list(findings(file, tmp_path / "data"))
    assert wrong(found) == []
    assert [finding.subject for finding in found] == [
        "configuration", "disk", "Kafka", "Kafka topics", "ClickHouse", "clock", "ClickHouse rights", "tables",
        "fir dcgm-exporter", "clock",
    ]  # fmt: skip
    assert said(found, "Kafka") == [f"{broker} answers, 1 broker(s)"]
    assert said(found, "Kafka topics") == [f"{len(PARTITIONS)} of {len(PARTITIONS)} are there"]
    assert said(found, "fir dcgm-exporter") == ["1 of 1 answer, 2 samples recognised"]
    assert said(found, "tables")[0].endswith("migrations are applied")
    page = io.StringIO()
    assert main(file, tmp_path / "data", Console(file=page, width=80)) == 0
    assert page.getvalue().startswith("✓ configuration: ")
    assert "✗" not in page.getvalue()


def test_embedded_parts_need_not_run(exporter: str, tmp_path: Path) -> None:
    """Without [kafka] and [clickhouse] the embedded ones only have to be installed."""
    found = list(findings(written(tmp_path, f"{exporter}/metrics"), tmp_path / "data"))
    assert wrong(found) == []
    assert said(found, "Kafka") == ["embedded, started by `commonwatt up` (tansu)"]
    assert said(found, "ClickHouse")[0].startswith("embedded, chdb ")


def test_a_bad_file_is_all_that_is_said(tmp_path: Path) -> None:
    """Nothing is reached on a bad configuration; every mistake has its line, and the exit status is 1."""
    file = written(tmp_path, "nowhere", more="colour = 1")
    page = io.StringIO()
    assert main(file, None, Console(file=page, width=200)) == 1
    lines = page.getvalue().splitlines()
    assert lines[0].startswith(f'✗ configuration: {file}:1: unknown key "colour" at the top of the file')
    assert lines[2].startswith(f'✗ configuration: {file}:7: urls: "nowhere" is not an address')
    assert len(lines) == 4


def test_nothing_answers(tmp_path: Path) -> None:
    """Kafka, ClickHouse and a target that are not there: three remedies, no traceback, no long wait."""
    kafka, server, target = f"kafka://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}", free_port()
    more = f'[kafka]\nurl = "{kafka}"\n[clickhouse]\nurl = "{server}"'
    found = list(findings(written(tmp_path, f"http://127.0.0.1:{target}/metrics", more=more), tmp_path))
    assert [(subject, remedy) for subject, _, remedy in wrong(found)] == [
        ("Kafka", "start it, or correct [kafka] url"),
        ("ClickHouse", "correct [clickhouse], or start the server"),
        ("fir dcgm-exporter", "see below"),
        ("fir dcgm-exporter", "start it, or correct its address in urls"),
    ]
    assert "cannot be reached" in said(found, "ClickHouse")[0]
    assert "target_unreachable" in said(found, "fir dcgm-exporter")[1]


def test_targets_that_are_not_what_they_should_be(exporter: str, tmp_path: Path) -> None:
    """A page of another exporter, an error status, credentials that must not be shown."""
    address = exporter.replace("http://", "http://user:secret@")
    found = list(findings(written(tmp_path, f"{address}/metrics", f"{address}/other", f"{address}/down"), tmp_path))
    lines = said(found, "fir dcgm-exporter")
    assert lines[0].startswith("2 of 3 answer, 2 samples recognised") or lines[0].startswith("1 of 3 answer")
    assert any(f"{exporter}/down: http_error: HTTP status 503" in line for line in lines)
    assert any(f"{exporter}/other: " in line for line in lines)
    assert not any("secret" in finding.text for finding in found)


def test_a_clock_that_is_wrong(exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage is booked by the collector's clock: when it disagrees with the targets, that is said."""
    monkeypatch.setattr(Exporter, "date", "Wed, 01 Jan 2025 00:00:00 GMT")
    found = list(findings(written(tmp_path, f"{exporter}/metrics"), tmp_path))
    assert [(subject, remedy) for subject, _, remedy in wrong(found)] == [("clock", "set the clocks by NTP")]


def test_topics_with_other_partitions(broker: str, exporter: str, tmp_path: Path) -> None:
    """A topic that somebody made with another number of partitions would tear the halves of a cluster apart."""

    async def replace() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.removeprefix("kafka://"))
        await admin.start()
        await admin.delete_topics(["usage.gpu", "alerts"])
        await admin.create_topics([NewTopic("usage.gpu", 3, 1)])
        await admin.close()

    asyncio.run(replace())
    found = list(findings(written(tmp_path, f"{exporter}/metrics", more=f'[kafka]\nurl = "{broker}"'), tmp_path))
    assert [(subject, text) for subject, text, _ in wrong(found)] == [
        ("Kafka topics", "usage.gpu has 3 partition(s), not 8: totals of a cluster would part ways")
    ]
    assert (
        said(found, "Kafka topics")[1]
        == f"{len(PARTITIONS) - 1} of {len(PARTITIONS)} are there; missing ones are created at the start"
    )


def test_tables_that_are_missing_or_foreign(exporter: str, tmp_path: Path) -> None:
    """A server without tables needs `migrate`; tables of another version need that version."""
    arguments = ("--data", str(tmp_path / "data"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=tmp_path / "clickhouse.log") as server:
        file = written(tmp_path, f"{exporter}/metrics", more=f'[clickhouse]\nurl = "{server.url}"')
        ((subject, text, remedy),) = wrong(list(findings(file, tmp_path)))
        assert (subject, remedy) == ("tables", "run `commonwatt migrate`")
        assert text.startswith("not there yet: 0001_")
        client = connect(server.url, database=None)
        migrate(client)
        assert wrong(list(findings(file, tmp_path))) == []
        client.insert(
            "commonwatt.schema_migrations",
            [["9999_future", "x", 1, 1]],
            column_names=["name", "checksum", "statements", "done"],
        )
        client.close()
        assert wrong(list(findings(file, tmp_path))) == [
            ("tables", "9999_future is of another version", "use the version that made the tables")
        ]


def test_a_user_without_rights(clickhouse: Any, exporter: str, tmp_path: Path) -> None:
    """The analysts' user cannot run the platform."""
    more = f'[clickhouse]\nurl = "{clickhouse.url}"\nuser = "analyst"'
    found = wrong(list(findings(written(tmp_path, f"{exporter}/metrics", more=more), tmp_path)))
    assert found
    assert all(subject.startswith("ClickHouse") for subject, _, _ in found)
