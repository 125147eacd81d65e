"""`commonwatt alerts`: what is open, then every change once; for people in two languages, and for programs."""

import asyncio
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from compose.access import NoAnswer
from compose.alerts import Teller, as_json, follow
from compose.broker import create_topics, free_port
from tests.compose.alerting import firing, now_ms, resolved, topic
from tests.compose.command import commonwatt
from tests.faults.work import until
from tests.kafka.cluster import Cluster


def hour_ago() -> int:
    return now_ms() - 3_600_000


def teller(**more: object) -> tuple[Teller, io.StringIO]:
    page = io.StringIO()
    return Teller(Console(file=page, width=80), **more), page  # type: ignore[arg-type]


def test_an_alert_says_everything() -> None:
    """What happened, since when, what is at stake, what to look at, and where."""
    alert = firing(starts_at_ms=hour_ago())
    told, page = teller(page_url="https://page.example")
    told.open([alert])
    first, facts, advice, link = page.getvalue().splitlines()
    assert first.endswith("UTC  critical      firing    budget_90: agreement-1 has used 93.0% of its cap")
    assert facts.strip().startswith("since 20")
    assert facts.endswith("UTC (1\u00a0h) · 1,234.50\u00a0CAD per hour at stake")
    assert advice.strip().startswith("Compare the burn-down with the plan.")
    assert link.strip().startswith("https://page.example/d/cw-agreement?from=")


def test_in_french() -> None:
    """With French words, numbers and advice."""
    told, page = teller(lang="fr")
    told.open([firing(starts_at_ms=hour_ago())])
    first, facts, advice = page.getvalue().splitlines()
    assert first.endswith("critique      en cours  budget_90: agreement-1 a utilisé 93,0 % de son plafond")
    assert facts.endswith("1\u202f234,50\u00a0CAD par heure en jeu")
    assert advice.strip().startswith("Comparez la dépense avec le plan.")
    told, page = teller(lang="fr")
    told.open([])
    assert page.getvalue() == "aucune alerte ouverte\n"


def test_what_is_not_known_is_left_out() -> None:
    """No money, a rule of another version, no French: the rest is told all the same."""
    told, page = teller(lang="fr", page_url="https://page.example")
    told.open([firing(rule="of_tomorrow", at_stake_nano_per_hour=None, summary_fr="")])
    first, facts = page.getvalue().splitlines()
    assert first.endswith("of_tomorrow: agreement-1 has used 93.0% of its cap")
    assert "en jeu" not in facts


def test_json_is_one_object_a_line() -> None:
    """Every field, the amount as an exact decimal, however narrow the terminal is."""
    told, page = teller(json=True, page_url="https://page.example")
    alerts = [firing(1), firing(2, evidence=["x" * 200, "[red]not markup[/red]"])]
    told.open(alerts)
    found = [json.loads(text) for text in page.getvalue().splitlines()]
    assert found == [as_json(alert, "https://page.example") for alert in alerts]
    assert found[0]["at_stake_per_hour"] == "1234.500000000"
    assert found[0]["audience"] == "finance"
    told.open([])


async def test_first_what_is_open_then_every_change_once(broker: str) -> None:
    """From the topic and the book together; what was over before is not told, repetitions are not told."""
    over, open_, of_book, ended = firing(1), firing(2), firing(3), firing(4)
    told, page = teller()
    stop = asyncio.Event()
    async with topic(broker) as publish:
        await publish([over, open_, resolved(over), ended, resolved(ended)])
        following = asyncio.create_task(follow(broker, told, stop, [of_book, ended], on=True))
        await until(lambda: page.getvalue().count(" firing ") == 2)
        late = firing(5)
        await publish([late, open_, late, of_book, resolved(of_book), resolved(of_book)])
        await until(lambda: "resolved" in page.getvalue())
        stop.set()
        await asyncio.wait_for(following, 10)
    subjects = [text.split()[-7] for text in page.getvalue().splitlines() if "budget_90:" in text]
    assert subjects == ["agreement-2", "agreement-3", "agreement-5", "agreement-3"]


async def test_it_goes_on_after_kafka_was_away(without_kafka: str | None, tmp_path: Path) -> None:
    """A real broker is killed and comes back: the next change is told, once."""
    if without_kafka is not None:
        pytest.skip(f"without real Kafka: {without_kafka}")
    told, page = teller()
    stop = asyncio.Event()
    with Cluster(tmp_path / "kafka") as cluster:
        await create_topics(cluster.url)
        following = asyncio.create_task(follow(cluster.url, told, stop, on=True))
        await until(lambda: "no open alerts" in page.getvalue())
        cluster.kill(0)
        await asyncio.sleep(1.0)
        cluster.launch(0)
        await asyncio.to_thread(cluster.wait_ready)
        async with topic(cluster.url) as publish:
            await publish([firing(1), firing(1, starts_at_ms=hour_ago())])
            await until(lambda: page.getvalue().count(" firing ") == 2)
        stop.set()
        await asyncio.wait_for(following, 15)


async def test_a_kafka_that_never_was_there() -> None:
    """One sentence, at once."""
    told, _ = teller()
    with pytest.raises(NoAnswer, match="cannot be reached: start it, or correct the URL"):
        await follow(f"kafka://127.0.0.1:{free_port()}", told, asyncio.Event(), on=True)


async def test_on_a_machine_with_nothing_but_a_kafka(broker: str) -> None:
    """`commonwatt alerts --kafka URL` needs no book."""
    async with topic(broker) as publish:
        over = firing(3)
        await publish([firing(1), over, firing(2), resolved(over)])
    answer = await asyncio.to_thread(commonwatt, "alerts", "--json", "--kafka", broker)
    assert answer.returncode == 0, answer.stderr
    assert [json.loads(text)["subject"] for text in answer.stdout.splitlines()] == ["agreement-1", "agreement-2"]
    answer = await asyncio.to_thread(commonwatt, "alerts", "--language", "de", "--kafka", broker)
    assert answer.stderr == 'commonwatt: --language "de" is not known: use en or fr.\n'
