"""`commonwatt alerts`: what is open, and what changes."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from compose import datadir
from compose.access import NoAnswer
from compose.notify import topic, words
from compose.notify.changes import FIRING, Seen
from compose.quiet import quiet
from dashboards.units import duration
from schemas import texts
from schemas.config import Config
from schemas.economics import Alert
from schemas.texts import Lang

_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_WORDS = {
    "critical": texts.Text("critical", "critique"),
    "warning": texts.Text("warning", "à surveiller"),
    "info": texts.Text("info", "info"),
    "firing": texts.Text("firing", "en cours"),
    "resolved": texts.Text("resolved", "terminée"),
}
_NOTHING = texts.Text("no open alerts", "aucune alerte ouverte")
_SINCE = texts.Text("since {since} ({lasting})", "depuis {since} ({lasting})")
_AT_STAKE = texts.Text("{money} per hour at stake", "{money} par heure en jeu")
_UNREADABLE = texts.Text("an alert that this version cannot read", "une alerte que cette version ne peut pas lire")


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells of alerts: people on a terminal, or programs by a JSON object in each line."""

    console: Console
    lang: Lang = "en"
    json: bool = False
    page_url: str | None = None
    """Where links lead; None: there are none."""

    def open(self, alerts: Iterable[Alert]) -> None:
        """What is firing, the longest first."""
        found = sorted(alerts, key=lambda alert: (alert.starts_at_ms, alert.fingerprint))
        for alert in found:
            self.change(alert)
        if not found and not self.json:
            self.console.print(_NOTHING.of(self.lang))

    def change(self, alert: Alert) -> None:
        """One alert: what happened, since when, how much money is at stake per hour, what to look at."""
        if self.json:
            self.console.out(json.dumps(as_json(alert, self.page_url), ensure_ascii=False), highlight=False)
            return
        self.console.print(line(alert, self.lang), soft_wrap=True)
        for detail in self._details(alert):
            self.console.print(Text(f"    {detail}"), soft_wrap=True)

    def unreadable(self) -> None:
        """Something on the topic is no alert."""
        if not self.json:
            self.console.print(_UNREADABLE.of(self.lang), style="dim")

    def _details(self, alert: Alert) -> list[str]:
        if alert.state != FIRING:
            return []
        lasting_s = max(0, time.time_ns() // 1_000_000 - alert.starts_at_ms) // 1000
        lasting = duration(Decimal(lasting_s), self.lang)
        facts = [_SINCE.of(self.lang).format(since=words.moment(alert.starts_at_ms), lasting=lasting)]
        if stake := words.money(alert, self.lang):
            facts.append(_AT_STAKE.of(self.lang).format(money=stake))
        return [" · ".join(facts), *filter(None, (words.advice(alert, self.lang), words.link(self.page_url, alert)))]


def line(alert: Alert, lang: Lang = "en") -> Text:
    """One alert in one line: when, how bad, firing or resolved, what."""
    text = Text(f"{words.moment(alert.ends_at_ms or alert.starts_at_ms)}  ")
    text.append(f"{_word(alert.severity, lang):<12}  ", style=_STYLE.get(alert.severity, ""))
    text.append(f"{_word(alert.state, lang):<8}  ", style="" if alert.state == FIRING else "green")
    return text.append(f"{alert.rule}: {words.summary(alert, lang)}")


def as_json(alert: Alert, page_url: str | None) -> dict[str, object]:
    """Every field of an alert, and what people are told besides; the amount as a decimal."""
    amount = words.at_stake(alert)
    return {
        **alert.model_dump(exclude={"at_stake_nano_per_hour"}),
        "at_stake_per_hour": None if amount is None else f"{amount:f}",
        "audience": words.audience(alert),
        "advice": words.advice(alert, "en"),
        "advice_fr": words.advice(alert, "fr"),
        "url": words.link(page_url, alert),
    }


def kafka_of(data: Path | None, config: Config | None) -> str:
    """Where the stream of alerts is. Raises NoAnswer when nothing runs."""
    if config is not None and config.kafka is not None:
        return config.kafka.url
    running = datadir.addresses(data) or {}
    if "kafka" not in running:
        raise NoAnswer("nothing runs that could be followed: start `commonwatt up` or `demo`, or name --kafka URL.")
    return running["kafka"]


def page_of(data: Path | None, config: Config | None) -> str | None:
    """Where links to dashboards lead: what the configuration says, else the page that runs on this data folder."""
    if config is not None and config.notify.page_url is not None:
        return config.notify.page_url
    with contextlib.suppress(datadir.DataError):
        return (datadir.addresses(data) or {}).get("page")
    return None


async def follow(kafka: str, teller: Teller, stop: asyncio.Event, known: Sequence[Alert] = (), *, on: bool) -> None:
    """Tell what is open, on the topic or as `known` from the book; then, if `on`, every change once, until `stop`.

    Kafka may go away meanwhile and come back. Raises NoAnswer when it cannot be reached at first.
    """
    seen, standing = Seen(), {alert.fingerprint: alert for alert in known}
    for alert in known:
        seen.add(alert)
    told = False
    with quiet("aiokafka"):
        async with contextlib.aclosing(topic.follow(kafka, stop, patient=False)) as batches:
            async for batch in batches:
                for alert in batch.alerts:
                    if not seen.is_news(alert, time.time_ns() // 1_000_000):
                        continue
                    seen.add(alert)
                    if told:
                        teller.change(alert)
                    elif alert.state == FIRING:
                        standing[alert.fingerprint] = alert
                    elif standing.get(alert.fingerprint, alert).starts_at_ms == alert.starts_at_ms:
                        standing.pop(alert.fingerprint, None)
                if told and batch.unreadable:
                    teller.unreadable()
                if batch.caught_up and not told:
                    told = True
                    teller.open(standing.values())
                if told and not on:
                    return


def _word(code: str, lang: Lang) -> str:
    return _WORDS[code].of(lang) if code in _WORDS else code
