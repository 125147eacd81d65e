"""Parts of the page that need no browser: addresses, charts, markup, and reading once for all viewers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from starlette.datastructures import QueryParams

from dashboards.boards import DASHBOARDS
from dashboards.macros import Window
from dashboards.model import Kind
from dashboards.page import PageError, markup, run
from dashboards.page.charts import options, series_of
from dashboards.page.feed import Feed, QueryFailed, Table
from dashboards.page.state import RANGES, State
from tests.dashboards.servers import ClickHouse

BURN, ECONOMICS = DASHBOARDS
START = datetime(2026, 11, 1, tzinfo=UTC)


def _state(query: str = "", accept: str = "") -> State:
    return State.read(BURN, QueryParams(query), accept)


def test_an_address_says_it_all() -> None:
    """What a viewer chose is in the address, and reading the address gives it back."""
    state = _state("range=24h&lang=fr&theme=dark&agreement=acme-ai&agreement=x%26y&nonsense=1")
    assert (state.range, state.lang, state.theme) == ("24h", "fr", "dark")
    assert state.values() == {"lang": ("fr",), "programme": (), "agreement": ("acme-ai", "x&y")}
    path, query = state.link().split("?")
    assert path == "/d/cw-subsidy-burn"
    assert State.read(BURN, QueryParams(query), "") == state


@pytest.mark.parametrize("query", ["", "range=9y&lang=de&theme=pink", "range=&lang=&theme="])
def test_what_is_not_understood_falls_back(query: str) -> None:
    state = _state(query, "fr-CA,fr;q=0.9")
    assert (state.range, state.lang, state.theme) == (BURN.range, "fr", "")


def test_links_carry_what_the_other_dashboard_knows() -> None:
    state = State.read(ECONOMICS, QueryParams("cluster=fir&agreement=a&range=1h"), "")
    assert state.link(BURN, agreement="b") == "/d/cw-subsidy-burn?range=1h&lang=en&agreement=b"


@pytest.mark.parametrize("span", RANGES)
def test_viewers_of_a_moment_ask_the_same_question(span: str) -> None:
    """Within one refresh period the window is the same for all; it is never finer than the ledger's minutes."""
    state = _state(f"range={span}")
    windows = {state.window(1_760_000_000 + part, 5.0) for part in (0, 1.2, 4.9)}
    assert len(windows) == 1
    (window,) = windows
    assert window.to_ms - window.from_ms == RANGES[span] * 1000
    assert window.interval_s >= 60
    assert (window.to_s - window.from_s) / window.interval_s <= 240


def _table(minutes: list[int], value: float = 1.0) -> Table:
    rows = [(START + timedelta(minutes=minute), "a", value) for minute in minutes]
    return Table(("time", "series", "value"), rows)


def test_a_gap_is_drawn_as_a_gap() -> None:
    """Missing is missing: no line across minutes that were not measured."""
    panel = next(panel for panel in BURN.panels if panel.kind is Kind.TIMESERIES)
    start_ms = int(START.timestamp() * 1000)
    drawn = options(panel, series_of(_table([0, 1, 5])), Window(start_ms, start_ms + 600_000, 60_000), "en")
    assert [point[1] for point in drawn["series"][0]["data"]] == [1.0, 1.0, None, 1.0]


def test_tables_of_another_form_are_refused_in_words() -> None:
    with pytest.raises(QueryFailed, match="yields no column series"):
        series_of(Table(("time", "value"), [(START, 1)]))
    with pytest.raises(QueryFailed, match="no numbers"):
        series_of(Table(("time", "series", "value"), [(START, "a", "much")]))
    assert series_of(Table((), [])) == []


def test_text_from_the_database_stays_text() -> None:
    """Names come from configuration and exporters: markup in them is shown, not run."""
    evil = "<script>alert(1)</script>\"'"
    panel = next(panel for panel in BURN.panels if panel.name == "open-alerts")
    table = Table(("level", "name", "about", "what", "starts_at"), [("critical", "r", evil, evil, START)])
    html = markup.grid(panel, table, _state())
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<script" not in markup.legend(BURN.panels[6], [markup.Newest(evil, 1.0)], "en")
    assert "<script" not in markup.failure(evil, "en", shown=False)


@pytest_asyncio.fixture
async def feed(seeded: ClickHouse) -> AsyncIterator[Feed]:
    one = Feed(seeded.url, user="analyst", password="", remember_s=60)
    yield one
    await one.close()


async def test_a_statement_runs_once_for_all_viewers(feed: Feed) -> None:
    """Twenty viewers who ask at the same time, and one who asks later, share one answer."""
    sql = "SELECT generateUUIDv4() AS value"
    answers = await asyncio.gather(*(feed.ask(sql) for _ in range(20)))
    answers.append(await feed.ask(sql))
    assert len({answer.rows[0][0] for answer in answers}) == 1
    assert (await feed.ask(sql + " ")).rows != answers[0].rows


async def test_a_viewer_who_leaves_takes_nobody_along(feed: Feed) -> None:
    sql = "SELECT sleep(0.3) AS value, generateUUIDv4()"
    leaving = asyncio.create_task(feed.ask(sql))
    staying = asyncio.create_task(feed.ask(sql))
    await asyncio.sleep(0.05)
    leaving.cancel()
    assert (await staying).rows[0][0] == 0


async def test_an_answer_is_read_again_after_its_time(seeded: ClickHouse) -> None:
    feed = Feed(seeded.url, user="analyst", password="", remember_s=0.05)
    first = await feed.ask("SELECT generateUUIDv4() AS value")
    await asyncio.sleep(0.1)
    assert (await feed.ask("SELECT generateUUIDv4() AS value")).rows != first.rows
    await feed.close()


async def test_failures_are_one_readable_line(feed: Feed) -> None:
    with pytest.raises(QueryFailed) as failure:
        await feed.ask("SELECT nothing FROM unit_costs")
    text = str(failure.value)
    assert "nothing" in text
    assert "\n" not in text
    assert len(text) <= 300


async def test_the_page_cannot_write(feed: Feed) -> None:
    """The page's user reads only, so no statement of a panel can change the book."""
    with pytest.raises(QueryFailed):
        await feed.ask("INSERT INTO alerts (fingerprint) VALUES ('x')")
    with pytest.raises(QueryFailed):
        await feed.ask("DROP TABLE alerts")


async def test_a_database_that_is_away_is_said_so() -> None:
    feed = Feed("http://127.0.0.1:9", user="analyst", password="", remember_s=1)
    with pytest.raises(QueryFailed, match=r"127\.0\.0\.1:9 cannot be reached"):
        await feed.ask("SELECT 1")
    await feed.close()


async def test_a_port_in_use_is_said_so() -> None:
    """The user learns which address is taken and what to do, not where in the code it went wrong."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PageError, match=rf"cannot listen on 127\.0\.0\.1:{port} .* choose another --port"):
            await run("http://127.0.0.1:9", port=port, stop=asyncio.Event())
