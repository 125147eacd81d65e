"""kill -9 of ClickHouse under a working worker: it waits, goes on where it was, and nothing is lost or double."""

import asyncio
import functools
from pathlib import Path

from compose import client as clients
from compose import migrate
from compose.broker import free_port
from tests.faults.traffic import messages
from tests.faults.work import Book, Site
from tests.roles import running

BACKLOG = 120
AWAY_S = 1.0


async def test_the_ledger_is_that_of_an_undisturbed_run(undisturbed: Book, broker: str, tmp_path: Path) -> None:
    """Killed twice while messages come in: right after it has stored the first rows, and again later."""
    port, traffic = free_port(), messages()
    arguments = ("--data", str(tmp_path / "data"), "--port", str(port))
    serve = functools.partial(running, "compose.clickhouse", *arguments, log=tmp_path / "clickhouse.log")
    url = f"http://127.0.0.1:{port}"
    with serve() as server:
        migrate.migrate(clients.connect(url, database=None))
        site = Site(broker, url, clients.connect(url), tmp_path)
        await site.feed(traffic[:BACKLOG])
        with site.worker() as worker:
            live = asyncio.create_task(site.feed(traffic[BACKLOG:], pause_s=0.05))
            await site.written()
            server.kill()
            await asyncio.sleep(AWAY_S)
            with serve() as server:
                await site.written()
                server.kill()
                await asyncio.sleep(AWAY_S)
                with serve():
                    await live
                    await site.caught_up(worker)
                    assert worker.stop() == 0
                    assert "ClickHouse does not take the call" in worker.log.read_text()
                    site.assert_same(undisturbed)
