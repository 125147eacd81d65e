"""kill -9 of the notifier, again and again while alerts come and receivers have bad days: everybody is told of every
change, and a repetition on the wire can be told by its key."""

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import Any

from compose.notify.changes import Change
from schemas.economics import Alert
from tests.compose.alerting import firing, notifier, resolved, topic
from tests.compose.receiver import Answer, receiver, well
from tests.faults.work import until

LIVES = 6
EACH = 20
"""Changes that come in each of them."""
ALERTS = LIVES * EACH // 2
SEED = 20261128

CONFIG = """
[[cluster]]
id = "fir"
country = "CA"
[notify]
page_url = "https://page.example"
[[notify.webhook]]
id = "moody"
url = "{moody}"
secret_env = "HOOK_SECRET"
[[notify.webhook]]
id = "well"
url = "{well}"
secret_env = "HOOK_SECRET"
"""


async def test_everybody_is_told_of_every_change(broker: str, tmp_path: Path) -> None:
    """Each notifier dies after so many requests, at any moment of what follows; the last one finishes. Nothing is lost,
    each alert begins before it ends, and one that finds everything told tells nothing more."""
    chance, moods = random.Random(SEED), threading.Lock()
    config, log = tmp_path / "config.toml", tmp_path / "notify.log"

    def moody(message: dict[str, Any], times: int) -> Answer | None:
        with moods:
            mood = chance.random()
        time.sleep(0.01 * mood)
        return None if mood < 0.015 else (503, {}) if mood < 0.03 else (200, {})

    begins = [firing(number) for number in range(1, ALERTS + 1)]
    ends = [resolved(alert) for alert in begins]
    changes = [change for pair in zip(begins, ends, strict=True) for change in pair]
    expected = {Change.of(change).key for change in changes}
    with receiver() as first, receiver() as second:
        first.script = moody
        config.write_text(CONFIG.format(moody=first.url, well=second.url))
        with notifier(config, broker, tmp_path):  # from here on they are told of every change
            await until(lambda: log.exists() and "well is told of what is open" in log.read_text())
        async with topic(broker) as publish:
            for life in range(LIVES):
                dies_after = len(first.tried) + len(second.tried) + chance.randint(1, EACH)
                with notifier(config, broker, tmp_path):
                    feeding = asyncio.create_task(publish(twice_some(changes[life * EACH : (life + 1) * EACH])))
                    await until(lambda after=dies_after: len(first.tried) + len(second.tried) >= after)  # type: ignore[misc]
                    await asyncio.sleep(0.02 * chance.random())
                await feeding
            with notifier(config, broker, tmp_path) as last:
                await until(lambda: expected == set(first.keys) == set(second.keys))
                last.process.terminate()
                assert await asyncio.to_thread(last.process.wait, 20) == 0
            tried = [len(first.tried), len(second.tried)]
            first.script = well
            with notifier(config, broker, tmp_path):
                later = firing(ALERTS + 1)
                await publish([later])
                await until(lambda: first.keys[-1] == second.keys[-1] == Change.of(later).key)
            assert [len(first.tried), len(second.tried)] == [count + 1 for count in tried]
    for found in (first, second):
        assert found.forged == 0
        for begin, end in zip(begins, ends, strict=True):
            assert found.keys.index(Change.of(begin).key) < found.keys.index(Change.of(end).key)
        bodies: dict[str, dict[str, Any]] = {}
        for message in found.taken:
            assert bodies.setdefault(message["key"], message) == message
    assert len(second.taken) - len(second.keys) <= LIVES  # at most the one that was under way


def twice_some(changes: list[Alert]) -> list[Alert]:
    """Every fifth one comes twice, as after a restart of a worker."""
    return [change for number, change in enumerate(changes) for _ in range(2 if number % 5 == 0 else 1)]
