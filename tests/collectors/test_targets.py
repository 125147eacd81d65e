"""Scraping real HTTP servers: what is broken is marked down with its reason, and nothing waits for it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from collectors.batches import Timed
from collectors.readings import Reading
from collectors.scraper import HEALTHY_SLOTS, MAX_PAGE_BYTES, Scraper
from collectors.statistics import Statistics
from collectors.target import REPEAT_MS, DefectLog, Target, make_target
from schemas.config import TargetKind
from tests.collectors import exporters
from tests.collectors.exporters import breaks_off, endless, gpu_page, says, serving, slow, trickling


def target(url: str, *, kind: TargetKind = "dcgm-exporter", timeout_s: float = 1.0) -> Target:
    return make_target(kind, url, interval_s=10.0, timeout_s=timeout_s, deployment="", statistics=Statistics())


def defects(subject: Target) -> list[tuple[str, str]]:
    """Kind and detail of what waits to be sent."""
    return [(defect.kind, defect.detail) for defect in subject.defects.take(1000)]


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (slow, "target_timeout"),
        (trickling, "target_timeout"),
        (endless, "oversized_page"),
        (breaks_off, "truncated_page"),
        (says(gpu_page()[:-20]), "truncated_page"),
        (says(b"\x00\xff garbage \xfe\n" * 100), "garbage_page"),
        (says("<html><body>Login</body></html>\n"), "garbage_page"),
        (says(""), "empty_page"),
        (says("error gathering metrics\n", 500), "http_error"),
        (says(gpu_page(), 404), "http_error"),
        (says("go_goroutines 7\n"), "no_series"),
    ],
)
async def test_a_broken_target_is_down_with_its_reason_and_up_again(handler: exporters.Handler, kind: str) -> None:
    """The first failed scrape marks a target down, so it is known within two intervals; one good page undoes it."""
    answers = [handler, says(gpu_page())]

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answers[0](request)

    async with serving(metrics=handle) as address, Scraper() as scraper:
        subject = target(f"{address}/metrics")
        for _ in range(2):
            assert await subject.scrape(scraper) is None
        found = defects(subject)
        assert [name for name, _ in found] == [kind, "target_down"]
        assert found[0][1] == found[1][1] != ""
        del answers[0]
        timed = await subject.scrape(scraper)
        assert timed is not None
        assert len(timed.reading) == 2
        assert defects(subject) == [("target_up", "")]


async def test_a_dead_target_is_down() -> None:
    """Nobody listens: said in the system's words."""
    async with Scraper() as scraper:
        subject = target(exporters.refused())
        assert await subject.scrape(scraper) is None
        assert [kind for kind, _ in defects(subject)] == ["target_unreachable", "target_down"]


async def test_a_gigabyte_is_not_read() -> None:
    """An answer that does not end costs a few megabytes and no more time than others have."""
    sent = 0

    async def counting(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(1024):
                await response.write(b"x" * 2**20)
                sent += 2**20
        except ConnectionError:
            pass
        return response

    async with serving(metrics=counting, announced=_announces_much) as address, Scraper() as scraper:
        assert await target(f"{address}/metrics", timeout_s=10).scrape(scraper) is None
        assert sent < 3 * MAX_PAGE_BYTES
        announced = target(f"{address}/announced", timeout_s=10)
        assert await announced.scrape(scraper) is None
        assert defects(announced)[0][0] == "oversized_page"


async def _announces_much(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(2**30)})
    await response.prepare(request)
    await asyncio.sleep(5)
    return response


async def test_slow_and_dead_targets_delay_nobody() -> None:
    """More slow targets than slots: the healthy ones, last in line, are read within about a second."""
    async with serving(slow=slow, good=says(gpu_page())) as address, Scraper() as scraper:
        sick = [target(f"{address}/slow", timeout_s=20) for _ in range(HEALTHY_SLOTS + 50)]
        waiting = [asyncio.create_task(one.scrape(scraper)) for one in sick]
        await asyncio.sleep(0)
        started = time.monotonic()
        results = await asyncio.gather(*(target(f"{address}/good", timeout_s=15).scrape(scraper) for _ in range(20)))
        assert time.monotonic() - started < 5
        assert all(results)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_openmetrics_pages_must_be_whole() -> None:
    """A server that insists on OpenMetrics ends its page with # EOF; without it something is missing."""
    page = 'vllm:prompt_tokens_total{engine="0",model_name="m"} 5\n'

    def openmetrics(text: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(_: web.Request) -> web.StreamResponse:
            return web.Response(text=text, content_type="application/openmetrics-text")

        return handle

    async with serving(whole=openmetrics(page + "# EOF\n"), cut=openmetrics(page)) as address, Scraper() as scraper:
        assert await target(f"{address}/whole", kind="vllm").scrape(scraper) is not None
        cut = target(f"{address}/cut", kind="vllm")
        assert await cut.scrape(scraper) is None
        assert defects(cut)[0][0] == "truncated_page"


async def test_a_page_is_dated_by_the_collectors_clock() -> None:
    """The middle of the request, on the clock that the collector gives it: there is no other in a sample."""
    now_s = 1_000_000.0

    async with serving(metrics=says(gpu_page())) as address, Scraper(clock=lambda: now_s) as scraper:
        subject = target(f"{address}/metrics")
        for step_s in (0.0, 10.0, -3600.0):  # the clock alone decides what to make of a step
            now_s = 1_000_000.0 + step_s
            timed: Timed[Reading] | None = await subject.scrape(scraper)
            assert timed is not None
            assert 0 <= timed.ts_ms - 1000 * now_s < 500
    assert defects(subject) == []


async def test_credentials_are_used_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """The user name and the query of an address go to the target, not into defects, logs or names."""
    seen = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("Authorization", ""), request.query_string))
        return web.Response(status=401)

    caplog.set_level(logging.DEBUG)
    async with serving(metrics=handle) as address, Scraper() as scraper:
        server = address.removeprefix("http://")
        subject = target(f"http://s3cret:t0ken@{server}/metrics?key=hidden")
        assert await subject.scrape(scraper) is None
        assert seen == [("Basic czNjcmV0OnQwa2Vu", "key=hidden")]
        assert subject.origin.url == f"{address}/metrics"
        assert subject.origin.endpoint == server
        shown = repr(subject.defects.take(10)) + repr(subject.origin) + caplog.text
        assert not any(secret in shown for secret in ("s3cret", "t0ken", "hidden"))


async def test_a_large_page_is_read_aside() -> None:
    """A page of some megabytes is read on a thread, with the same result."""
    page = "".join(gpu_page(devices=8, node=f"n{i}") for i in range(1000))
    async with serving(metrics=says(page)) as address, Scraper() as scraper:
        timed = await target(f"{address}/metrics", timeout_s=10).scrape(scraper)
        assert timed is not None
        assert len(timed.reading) == 8000


def test_a_defect_that_stays_is_not_repeated_at_every_scrape() -> None:
    """One event per defect and ten minutes, whatever the scrape interval; the oldest are kept when there are many."""
    log = DefectLog("dcgm-exporter http://n1:9400/metrics")
    for second in range(0, 1200, 10):
        log.note(1000 * second, "sentinel_int64", "GPU-1", "power_w")
        log.note(1000 * second, "sentinel_int64", "GPU-2", "power_w")
    assert [(defect.ts_ms, defect.subject) for defect in log.take(100)] == [
        (0, "GPU-1"),
        (0, "GPU-2"),
        (REPEAT_MS, "GPU-1"),
        (REPEAT_MS, "GPU-2"),
    ]
    assert log.take(100) == []


@pytest.mark.parametrize(
    ("url", "host", "endpoint"),
    [
        ("http://llm-0:8000/metrics", "llm-0", "llm-0:8000"),
        ("https://llm.example/metrics", "llm.example", "llm.example:443"),
        ("http://proxy:9000/llm-1/metrics?x=1", "proxy", "proxy:9000/llm-1"),
        ("http://[2001:db8::1]:8000/metrics", "2001:db8::1", "[2001:db8::1]:8000"),
    ],
)
def test_names_of_targets(url: str, host: str, endpoint: str) -> None:
    """A token server is named by host and port, and by the path where several share them."""
    origin = target(url, kind="vllm").origin
    assert (origin.host, origin.endpoint) == (host, endpoint)
