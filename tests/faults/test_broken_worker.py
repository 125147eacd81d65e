"""A worker whose reading loop fails ends, and says so; it does not stay behind as a process that looks healthy."""

import asyncio

from tests.faults.traffic import CONFIG, messages
from tests.faults.work import STOP_S, Book, Site
from tests.roles import spawn


async def test_it_ends_with_an_error_and_the_next_one_goes_on(site_at_hand: Site, undisturbed: Book) -> None:
    """In the middle of the traffic, with messages held. Nothing was acknowledged that was not stored."""
    site, config_file, log = site_at_hand, site_at_hand.folder / "config.toml", site_at_hand.folder / "broken.log"
    await site.feed(messages())
    config_file.write_text(CONFIG)
    command = ("worker", "--config", str(config_file), "--kafka", site.kafka, "--clickhouse", site.clickhouse_url)
    broken = spawn("tests.faults.broken", *command, log=log)
    status = await asyncio.to_thread(broken.process.wait, STOP_S)
    said = log.read_text().splitlines()[-1]
    assert (status, said) == (1, "commonwatt: worker: the Faust app stopped: the thirtieth message")
    with site.worker() as worker:
        await site.caught_up(worker)
        assert worker.stop() == 0
    site.assert_same(undisturbed)
