"""Alerts from the topic to those who are told: Prometheus's own Alertmanager and signed webhooks, on a real broker."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from compose.broker import create_topics, free_port, servers
from compose.metrics import served
from compose.notify import courier, http, metrics, queue, role
from compose.notify.changes import Change
from schemas.config_alerts import Alertmanager, Notify, Webhook
from schemas.economics import Alert
from schemas.topics import ALERTS
from tests.alertmanager import alertmanager
from tests.compose.alerting import firing, resolved, topic
from tests.compose.receiver import SECRET, Answer, Receiver, receiver, well
from tests.kafka.cluster import Cluster
from tests.prometheus import fetch
from tests.roles import running

PAGE = "https://page.example"
PROMISED_S = 5.0
WAIT_S = 30.0


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret of the webhooks, and waits of a test."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr(courier, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(courier, "LONGEST_WAIT_S", 0.5)
    monkeypatch.setattr(courier, "_LOOKS_S", 0.1)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def webhook(url: str, name: str = "ops", **more: Any) -> Webhook:
    return Webhook.model_validate({"id": name, "url": url, "secret_env": "HOOK_SECRET"} | more)


def told(*hooks: Webhook, servers: tuple[str, ...] = (), repeat: float = 60.0) -> Notify:
    managers = [Alertmanager(urls=list(servers))] if servers else []
    return Notify(webhook=list(hooks), alertmanager=managers, repeat=repeat)


def keys(*alerts: Alert) -> list[str]:
    return [Change.of(alert).key for alert in alerts]


@contextlib.asynccontextmanager
async def notifying(notify: Notify, kafka: str, folder: Path) -> AsyncIterator[None]:
    """The notifier for a block; it must end in good order."""
    stop = asyncio.Event()
    work = asyncio.create_task(role.run(notify, kafka, folder / "state", PAGE, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(work, 15)


async def until(met: Callable[[], bool], within_s: float = WAIT_S) -> None:
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(met):  # noqa: ASYNC110  (what others do sets no event here)
            await asyncio.sleep(0.02)


# ---- everybody -------------------------------------------------------------------------------------------------------


async def test_a_change_reaches_everybody_in_time(broker: str, hook: Receiver, tmp_path: Path) -> None:
    """Alertmanager and webhook have it within seconds, once, with labels, texts, money and a link; then its end."""
    alert = firing()
    with alertmanager(tmp_path / "am") as server:
        everybody = told(webhook(hook.url), servers=(server.url,))
        async with notifying(everybody, broker, tmp_path), topic(broker) as publish:
            await publish([alert, alert])
            await until(lambda: server.subjects() == ["agreement-1"] and len(hook.taken) == 1, PROMISED_S)
            (shown,) = server.alerts()
            over = resolved(alert)
            await publish([over, alert])
            await until(lambda: server.subjects() == [] and len(hook.taken) == 2, PROMISED_S)
    labels = {
        "alertname": "budget_90", "severity": "critical", "audience": "finance", "subject": "agreement-1",
        "agreement": "agreement-1",
    }  # fmt: skip
    assert shown["labels"] == labels
    assert shown["generatorURL"].startswith(f"{PAGE}/d/cw-agreement?from=")
    assert shown["annotations"]["description"].startswith("agreement-1 has used 93.0% of its cap. Since 20")
    assert "En jeu\u00a0: 1\u202f234,50\u00a0CAD par heure." in shown["annotations"]["description_fr"]
    assert hook.forged == 0
    assert hook.tried == keys(alert, over)
    begins, ends = (message["alerts"][0] for message in hook.taken)
    assert (begins["labels"], begins["status"], begins["endsAt"]) == (labels, "firing", "0001-01-01T00:00:00Z")
    assert (begins["at_stake_per_hour"], begins["currency"]) == ("1234.500000000", "CAD")
    assert (begins["value"], begins["threshold"], begins["evidence"]) == (0.93, 0.9, ["spent 930,000.00 CAD"])
    assert (ends["status"], ends["startsAt"], ends["fingerprint"]) == (
        "resolved", begins["startsAt"], begins["fingerprint"],
    )  # fmt: skip
    assert ends["endsAt"] > ends["startsAt"]


async def test_who_comes_new_is_told_of_what_is_open(broker: str, hook: Receiver, tmp_path: Path) -> None:
    """And of nothing that was over before. Whoever was told already is not told again."""
    early, open_ = firing(1), firing(2)
    with receiver() as second:
        async with topic(broker) as publish:
            await publish([early, open_, resolved(early)])
            async with notifying(told(webhook(hook.url)), broker, tmp_path):
                await until(lambda: hook.keys == keys(open_))
            late = firing(3)
            await publish([late])
            both = told(webhook(hook.url), webhook(second.url, "finance"))
            async with notifying(both, broker, tmp_path):
                await until(lambda: len(hook.keys) == 2 and len(second.keys) == 2)
            assert hook.tried == keys(open_, late)
            assert second.tried == keys(open_, late)


async def test_filters(broker: str, hook: Receiver, tmp_path: Path) -> None:
    """Severities, audience and rules: an alert must pass all of them."""
    alerts = [
        firing(1, rule="budget_90", severity="critical"),
        firing(2, rule="budget_50", severity="info"),
        firing(3, rule="over_temperature", severity="critical"),
    ]
    with receiver() as finance, receiver() as heat:
        notify = told(
            webhook(hook.url, severities=["critical", "warning"]),
            webhook(finance.url, "finance", audience="finance"),
            webhook(
                heat.url, "heat", severities=["critical"], audience="operations", rules=["over_temperature", "xid"]
            ),
        )
        async with notifying(notify, broker, tmp_path), topic(broker) as publish:
            await publish(alerts)
            await until(lambda: [len(each.keys) for each in (hook, finance, heat)] == [2, 2, 1])
        assert [hook.keys, finance.keys, heat.keys] == [
            keys(alerts[0], alerts[2]), keys(alerts[0], alerts[1]), keys(alerts[2]),
        ]  # fmt: skip


# ---- bad days --------------------------------------------------------------------------------------------------------


async def test_a_receiver_with_bad_days_gets_everything(
    broker: str, hook: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors, cut connections, pleas to wait, no answer at all: told again until it is taken, in order for each alert,
    always with the same key."""
    monkeypatch.setattr(http, "TIMEOUT_S", 0.5)
    bad: dict[int, Answer | None] = {1: (500, {}), 2: None, 3: (429, {"Retry-After": "1"}), 4: (408, {}), 5: (503, {})}
    waited: list[float] = []

    def badly(message: dict[str, Any], times: int) -> Answer | None:
        number = int(message["alerts"][0]["labels"]["subject"].split("-")[1])
        if number == 3 and times <= 2:
            waited.append(time.monotonic())
        if number == 6 and times == 1:
            time.sleep(1.0)  # nobody waits for this answer
        return bad.get(number, (200, {})) if times == 1 else (200, {})

    hook.script = badly
    alerts = [firing(number) for number in range(1, 8)]
    ends = [resolved(alert) for alert in alerts]
    async with notifying(told(webhook(hook.url)), broker, tmp_path), topic(broker) as publish:
        await publish([*alerts, *ends])
        await until(lambda: len(hook.keys) == 14)
    assert sorted(hook.keys) == sorted(keys(*alerts, *ends))
    for alert, end in zip(alerts, ends, strict=True):
        first, second = keys(alert, end)
        assert hook.keys.index(first) < hook.keys.index(second)
    assert waited[1] - waited[0] >= 1.0
    assert hook.forged == 0


async def test_who_is_down_holds_up_nobody_and_loses_nothing(broker: str, hook: Receiver, tmp_path: Path) -> None:
    """One receiver answers nothing, one is not there, one chokes on a single alert; over a restart, too."""
    port = free_port()
    poisoned = firing(2)

    def chokes(message: dict[str, Any], times: int) -> Answer | None:
        return (500, {}) if message["alerts"][0]["fingerprint"] == poisoned.fingerprint else (200, {})

    alerts = [firing(1), poisoned, *(firing(number) for number in range(3, 9))]
    with receiver() as choking:
        choking.script = chokes
        notify = told(
            webhook(f"http://127.0.0.1:{port}/hook", "absent"), webhook(hook.url), webhook(choking.url, "choking")
        )
        async with topic(broker) as publish:
            async with notifying(notify, broker, tmp_path):
                await publish(alerts)
                await until(lambda: len(hook.keys) == 8 and len(choking.keys) == 7, PROMISED_S)
            choking.script = well
            with receiver(port) as back:
                async with notifying(notify, broker, tmp_path):
                    await until(lambda: len(back.keys) == 8 and len(choking.keys) == 8)
                assert sorted(back.keys) == sorted(keys(*alerts))
            assert hook.tried == keys(*alerts)


async def test_what_is_refused_for_good_is_kept_aside(broker: str, hook: Receiver, tmp_path: Path) -> None:
    """410 at once, other 4xx and redirects after some tries; with the reason, and `--retry` queues it again."""
    answers: dict[int, Answer] = {1: (410, {}), 2: (404, {}), 3: (302, {"Location": "http://elsewhere/"})}

    def refusing(message: dict[str, Any], times: int) -> Answer | None:
        return answers.get(int(message["alerts"][0]["labels"]["subject"].split("-")[1]), (200, {}))

    hook.script = refusing
    alerts = [firing(number) for number in range(1, 5)]
    async with notifying(told(webhook(hook.url)), broker, tmp_path), topic(broker) as publish:
        await publish(alerts)
        with queue.beside(tmp_path / "state") as beside:
            await until(lambda: len(beside.undelivered()) == 3 and not beside.waiting())
            reasons = {one.alert.subject: one.reason for one in beside.undelivered()}
            assert hook.keys == keys(alerts[3])
            tried = keys(*alerts)
            assert [hook.tried.count(key) for key in tried] == [1, courier.REFUSALS, courier.REFUSALS, 1]
            hook.script = well
            assert beside.retry() == 3
            await until(lambda: len(hook.keys) == 4)
            await until(lambda: not beside.undelivered())
    assert reasons == {
        "agreement-1": "HTTP 410: so it is",
        "agreement-2": "HTTP 404: so it is",
        "agreement-3": "HTTP 302: it has moved to http://elsewhere/; write that address",
    }


async def test_what_is_no_alert_is_passed_over(broker: str, hook: Receiver, tmp_path: Path) -> None:
    """Garbage on the topic, and an alert that was taken off it: said and counted, and the next alert is told."""
    before, alert = metrics.UNREADABLE._value.get(), firing()
    producer = AIOKafkaProducer(bootstrap_servers=servers(broker))
    await producer.start()
    await producer.send_and_wait(ALERTS, b"not an alert", key=b"1")
    await producer.send_and_wait(ALERTS, None, key=b"2")
    await producer.stop()
    async with notifying(told(webhook(hook.url)), broker, tmp_path), topic(broker) as publish:
        await publish([alert])
        await until(lambda: hook.keys == keys(alert))
    assert metrics.UNREADABLE._value.get() - before == 1


async def test_what_it_tells_prometheus(broker: str, hook: Receiver, tmp_path: Path) -> None:
    """How much was delivered, waits, failed and was set aside, for each receiver."""
    hook.script = lambda message, times: (
        (410, {}) if message["alerts"][0]["labels"]["subject"] == "agreement-2" else (200, {})
    )
    notify = told(webhook(hook.url, "met"), webhook(f"http://127.0.0.1:{free_port()}/hook", "lost"))
    with served(0) as url:
        assert url is not None
        async with notifying(notify, broker, tmp_path), topic(broker) as publish:
            alert = firing(1)
            await publish([alert, firing(2), alert])
            await until(lambda: len(hook.tried) == 2)
            await until(lambda: fetch(url).by("commonwatt_notify_waiting", "sink") == {"met": 0, "lost": 2})
            await until(lambda: fetch(url).by("commonwatt_notify_failures_total", "sink")["lost"] >= 1)
            page = await asyncio.to_thread(fetch, url)
    assert page.by("commonwatt_notify_delivered_total", "sink")["met"] == 1
    assert page.by("commonwatt_notify_set_aside_total", "sink")["met"] == 1
    assert page.by("commonwatt_notify_set_aside", "sink") == {"met": 1, "lost": 0}
    assert page.by("commonwatt_notify_oldest_waiting_seconds", "sink")["lost"] > 0
    assert page.value("commonwatt_notify_seconds_count", sink="met") == 1
    assert page.value("commonwatt_notify_open_alerts") == 2


# ---- Alertmanager ----------------------------------------------------------------------------------------------------


async def test_alertmanagers_keep_what_is_open(broker: str, tmp_path: Path) -> None:
    """Every server of a cluster has everything; repetitions stay one alert; one that lost all it knew has it again;
    what ended meanwhile is over there, too."""
    with alertmanager(tmp_path / "one") as one, alertmanager(tmp_path / "two") as two:
        notify = told(servers=(one.url, two.url), repeat=1.0)
        async with notifying(notify, broker, tmp_path), topic(broker) as publish:
            alerts = [firing(number) for number in (1, 2, 3)]
            await publish(alerts)
            everything = ["agreement-1", "agreement-2", "agreement-3"]
            await until(lambda: one.subjects() == everything == two.subjects(), PROMISED_S)
            before = {alert["fingerprint"]: alert["endsAt"] for alert in one.alerts()}
            await until(lambda: all(alert["endsAt"] > before[alert["fingerprint"]] for alert in one.alerts()))
            assert one.subjects() == everything
            one.kill()
            await publish([resolved(alerts[0])])
            await until(lambda: two.subjects() == everything[1:])
            one.start()
            await until(lambda: one.subjects() == everything[1:])
            await asyncio.sleep(4 * 1.0 + 0.5)  # as long as it holds an alert that nobody repeats
            assert one.subjects() == everything[1:] == two.subjects()
        await until(lambda: one.subjects() == [])  # nobody repeats them any more


async def test_alertmanager_asks_who_it_is(
    broker: str, hook: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password, or a token, from the environment."""
    monkeypatch.setenv("AM_PASSWORD", "p")
    monkeypatch.setenv("AM_TOKEN", "abc")
    base = hook.url.removesuffix("/hook")
    notify = Notify(
        alertmanager=[
            Alertmanager(urls=[f"{base}/a"], user="u", password_env="AM_PASSWORD"),
            Alertmanager(urls=[f"{base}/b"], token_env="AM_TOKEN"),
        ]
    )
    async with notifying(notify, broker, tmp_path), topic(broker) as publish:
        await publish([firing()])
        await until(lambda: len(hook.asked) == 2)
    assert sorted(hook.asked) == ["/a/api/v2/alerts Basic dTpw", "/b/api/v2/alerts Bearer abc"]


# ---- Kafka -----------------------------------------------------------------------------------------------------------


async def test_kafka_away_at_first(tmp_path: Path, hook: Receiver) -> None:
    """The notifier begins without it, and goes on as soon as it is there."""
    port, alert = free_port(), firing()
    kafka = f"kafka://127.0.0.1:{port}"
    async with notifying(told(webhook(hook.url)), kafka, tmp_path):
        await asyncio.sleep(1.0)
        with running("compose.broker", "--port", str(port), log=tmp_path / "broker.log"):
            async with topic(kafka) as publish:
                await publish([alert])
                await until(lambda: hook.keys == keys(alert))


async def test_kafka_away_and_back(without_kafka: str | None, tmp_path: Path, hook: Receiver) -> None:
    """A real one is killed and comes back, then its topic is made anew, without what was in it: what was told is not
    told again, what comes is."""
    if without_kafka is not None:
        pytest.skip(f"without real Kafka: {without_kafka}")
    alerts = [firing(number) for number in range(1, 5)]
    with Cluster(tmp_path / "kafka") as cluster:
        await create_topics(cluster.url)
        async with notifying(told(webhook(hook.url)), cluster.url, tmp_path):
            async with topic(cluster.url) as publish:
                await publish(alerts[:2])
            await until(lambda: hook.keys == keys(*alerts[:2]))
            cluster.kill(0)
            await asyncio.sleep(1.0)
            cluster.launch(0)
            await asyncio.to_thread(cluster.wait_ready)
            async with topic(cluster.url) as publish:
                await publish(alerts[:3])
            await until(lambda: hook.keys == keys(*alerts[:3]))
            admin = AIOKafkaAdminClient(bootstrap_servers=servers(cluster.url))
            await admin.start()
            await admin.delete_topics([ALERTS])
            await admin.close()
            await asyncio.sleep(1.0)
            await create_topics(cluster.url)
            async with topic(cluster.url) as publish:
                await publish([alerts[0], alerts[3]])
            await until(lambda: hook.keys == keys(*alerts))
    assert hook.tried == keys(*alerts)
