"""Asks every target of a configuration once, as a collector would, and says what its page holds."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp

from collectors.registry import KINDS
from collectors.scraper import Scraper
from collectors.statistics import Statistics
from collectors.target import Target, make_target
from compose.findings import Finding
from schemas.config import Config, TargetKind

SHOWN = 20
"""Targets at fault that are named one by one."""
MAX_CLOCK_S = 5.0
"""The Date of HTTP has whole seconds, and answers travel: less than this says nothing."""
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one target said."""

    url: str
    """Without credentials."""
    samples: int | None
    """None = no page."""
    faults: list[str]
    ahead_s: float | None
    """Its clock minus ours, s; None when it does not say."""


async def examine_targets(config: Config) -> list[Finding]:
    """A finding for each table of targets, one for each of the first targets at fault, one for the clocks."""
    found: list[Finding] = []
    ahead_s: list[float] = []
    slots = asyncio.Semaphore(_AT_ONCE)
    async with Scraper() as scraper, aiohttp.ClientSession() as session:
        for cluster in config.cluster:
            for section in cluster.target:
                targets = [
                    make_target(
                        section.kind,
                        url,
                        interval_s=section.interval,
                        timeout_s=section.timeout,
                        deployment=section.deployment,
                        statistics=Statistics(),
                    )
                    for url in section.urls
                ]
                asked = [_ask(*pair, scraper, session, slots) for pair in zip(targets, section.urls, strict=True)]
                answers = await asyncio.gather(*asked)
                found += _summarise(cluster.id, section.kind, answers)
                ahead_s += [answer.ahead_s for answer in answers if answer.ahead_s is not None]
    if ahead_s:
        found.append(_clock(ahead_s))
    return found or [Finding("targets", "no cluster has any", "add [[cluster.target]] with kind and urls")]


async def _ask(
    target: Target, url: str, scraper: Scraper, session: aiohttp.ClientSession, slots: asyncio.Semaphore
) -> _Answer:
    async with slots:
        timed = await target.scrape(scraper)
        faults = [f"{defect.kind}: {defect.detail or defect.subject}" for defect in target.defects.take(SHOWN)]
        ahead_s = await _clock_of(session, url) if timed is not None else None
    samples = None if timed is None else len(timed.reading)
    return _Answer(target.origin.url, samples, faults, ahead_s)


async def _clock_of(session: aiohttp.ClientSession, url: str) -> float | None:
    """Seconds by which a server's clock is ahead of ours, from the Date of its answer."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
            moment = parsedate_to_datetime(response.headers["Date"])
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        return None
    return moment.timestamp() + 0.5 - time.time()  # the Date is cut to whole seconds


def _summarise(cluster: str, kind: TargetKind, answers: Sequence[_Answer]) -> Iterator[Finding]:
    subject = f"{cluster} {kind}"
    silent = [answer for answer in answers if answer.samples is None]
    idle_is_empty = KINDS[kind].topic is None  # a node without jobs has no accounts to tell
    empty = [answer for answer in answers if answer.samples == 0 and not idle_is_empty]
    samples = sum(answer.samples or 0 for answer in answers)
    text = f"{len(answers) - len(silent)} of {len(answers)} answer, {samples:,} samples recognised"
    yield Finding(subject, text, "see below" if silent or empty else "")
    for answer in silent[:SHOWN]:
        reason = next((fault for fault in answer.faults if not fault.startswith("target_down")), "no page")
        yield Finding(subject, f"{answer.url}: {reason}", "start it, or correct its address in urls")
    for answer in empty[:SHOWN]:
        reason = answer.faults[0] if answer.faults else "its page holds no metric of this kind"
        yield Finding(subject, f"{answer.url}: {reason}", "name the kind that it is, or the path of its metrics")
    if (more := len(silent[SHOWN:]) + len(empty[SHOWN:])) > 0:
        yield Finding(subject, f"and {more:,} more", "see above")
    for fault, count in _faults(answers):
        yield Finding(subject, f"{fault} in {count} page(s); the values concerned are left out")


def _faults(answers: Sequence[_Answer]) -> list[tuple[str, int]]:
    """Defects of pages that were read, by kind."""
    kinds = Counter(
        kind for answer in answers if answer.samples for kind in {fault.partition(":")[0] for fault in answer.faults}
    )
    return kinds.most_common()


def _clock(ahead_s: Sequence[float]) -> Finding:
    """Whether our clock agrees with most of the others; usage is booked by ours."""
    median_s = statistics.median(ahead_s)
    text = f"the targets' clocks are {median_s:+.1f} s from this one (median of {len(ahead_s)})"
    return Finding("clock", text, "set the clocks by NTP" if abs(median_s) > MAX_CLOCK_S else "")
