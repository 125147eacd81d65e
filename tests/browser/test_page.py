"""The page in a real browser: values equal SQL digit by digit, both languages, both themes, both widths."""

import contextlib
import csv
import io
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboards.boards import BY_UID, DASHBOARDS
from dashboards.boards.common import AGREEMENT_DETAIL, SUBSIDY_BURN, UNIT_ECONOMICS
from dashboards.macros import Window, expand, substitute
from dashboards.model import Dashboard, Kind, Panel
from dashboards.page.download import as_csv
from dashboards.page.feed import Table
from dashboards.page.ranges import NAMES, Range, milliseconds
from dashboards.page.series import series_of
from dashboards.page.words import RANGES
from schemas.texts import LANGS, Lang
from tests.browser.conftest import REFRESH_S
from tests.browser.conftest import page as page_process
from tests.dashboards import servers
from tests.dashboards.servers import ClickHouse

SHOTS = Path(__file__).parents[2] / "out" / "screenshots"
WIDTHS = {1400: 900, 390: 844}
BURN, AGREEMENT, ECONOMICS = BY_UID[SUBSIDY_BURN], BY_UID[AGREEMENT_DETAIL], BY_UID[UNIT_ECONOMICS]
DAY_MS = 86_400_000
Chosen = Mapping[str, Sequence[str]]
"""Values of variables, where they are not All."""
expect.set_options(timeout=15_000)


@contextmanager
def opened(browser: Browser, url: str, *, width: int = 1400, scheme: str = "light") -> Iterator[tuple[Page, list[str]]]:
    """A fresh tab at an address, and everything that went wrong or left the machine on it.

    Tabs of a test module share one cache, as the tabs of a viewer do.
    """
    context = browser.contexts[0] if browser.contexts else browser.new_context()
    page, wrong = context.new_page(), []
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda entry: wrong.append(f"console: {entry.text}") if entry.type == "error" else None)
    page.on("request", lambda asked: wrong.append(asked.url) if not _is_local(asked.url) else None)
    page.on("websocket", lambda socket: wrong.append(socket.url) if "//127.0.0.1:" not in socket.url else None)
    page.goto(url)
    try:
        yield page, wrong
    finally:
        page.close()


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def _until(check: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return False


def _address(page: Page) -> str:
    return str(page.evaluate("location.href"))


def _query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(_address(page)).query)


def _settled(page: Page, board: Dashboard) -> None:
    """Wait until every panel of a dashboard shows something."""
    filled = "document.querySelectorAll('.cw-panel:has(.cw-figure, .cw-last, tbody tr, .cw-note:not(.cw-loading))')"
    assert _until(lambda: page.evaluate(f"{filled}.length") == len(board.panels)), page.evaluate(
        "[...document.querySelectorAll('.cw-panel:has(.cw-loading)')].map(one => one.id)"
    )


def _window(page: Page) -> Window:
    """The time that the page read last."""
    read = page.locator("#range-shown [data-from]")
    ends = read.evaluate("one => [one.dataset.from, one.dataset.to, one.dataset.interval].map(Number)")
    return Window(*ends)


def _answer(clickhouse: ClickHouse, board: Dashboard, sql: str, window: Window, chosen: Chosen) -> Table:
    """What SQL answers, with the choices of a viewer."""
    values: dict[str, Sequence[str]] = {v.name: (v.default,) if v.default else () for v in board.variables}
    result = clickhouse.analyst.query(expand(substitute(sql, {**values, "lang": ("en",), **chosen}), window))
    return Table(tuple(result.column_names), result.result_rows)


def _exact(value: object) -> str:
    return "" if value is None else format(value, "f") if isinstance(value, Decimal) else str(value)


SHOWN = """panel => ({
  figure: [...panel.querySelectorAll('.cw-figure')].map(one => one.dataset.value),
  last: [...panel.querySelectorAll('.cw-last')].map(one => [one.dataset.series, one.dataset.value]),
  rows: [...panel.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.dataset.value)),
})"""


def _shown(page: Page, panel: Panel) -> object:
    found = page.locator(f"#panel-{panel.name}").evaluate(SHOWN)
    if panel.kind is Kind.STAT:
        return found["figure"]
    if panel.kind is Kind.TIMESERIES:
        return dict(found["last"])
    ages = [column.name == "age_s" for column in panel.columns]  # go on with the clock
    return [["" if age else cell for age, cell in zip(ages, row, strict=True)] for row in found["rows"]]


def _wanted(panel: Panel, table: Table) -> object:
    if panel.kind is Kind.STAT:
        value = table.rows[0][table.column("value")] if table.rows else None
        return [] if value is None else [_exact(value)]
    if panel.kind is Kind.TIMESERIES:
        return {one.name: str(one.points[-1][1]) for one in series_of(table)}
    if not table.rows:
        return []
    places = [None if column.name == "age_s" else table.column(column.name) for column in panel.columns]
    return [["" if place is None else _exact(row[place]) for place in places] for row in table.rows]


def _past(hours: float) -> str:
    """A range, as in an address, that ended ten minutes ago: its figures no longer change with the clock."""
    end = milliseconds(datetime.now(UTC)) // 60_000 * 60_000 - 600_000
    return f"from={end - round(hours * 3_600_000)}&to={end}"


def _differences(page: Page, clickhouse: ClickHouse, board: Dashboard, chosen: Chosen) -> dict[str, object]:
    """Panels that do not show what SQL answers for the same time."""
    window = _window(page)
    compared = [panel for panel in board.panels if panel.bounded != "now"]
    shown = {panel.name: _shown(page, panel) for panel in compared}
    if _window(page) != window:
        return {"window": "has moved on"}
    wanted = {panel.name: _wanted(panel, _answer(clickhouse, board, panel.sql, window, chosen)) for panel in compared}
    return {name: (shown[name], wanted[name]) for name in wanted if shown[name] != wanted[name]}


CONTRAST = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 :
    ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = node => { for (; node; node = node.parentElement) {
    const colour = parse(getComputedStyle(node).backgroundColor); if (colour[3] !== 0) return colour; }
    return [255, 255, 255]; };
  const low = [];
  for (const node of document.querySelectorAll('header *, main *')) {
    if (![...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !node.checkVisibility()) continue;
    if (node.closest('svg')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.push([node.textContent.trim().slice(0, 40), (a + .05) / (b + .05)]);
  }
  return low;
}"""
OVERFLOW = """() => [...document.querySelectorAll('.cw-figure, .cw-nav a, .cw-chip, .cw-below, .cw-button, h1')]
  .filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"""


def _check_filled(page: Page, board: Dashboard, lang: Lang) -> None:
    """Every panel has its title and shows figures, or says in its own words why there are none."""
    for panel in board.panels:
        section = page.locator(f"#panel-{panel.name}")
        expect(section.locator("h2")).to_have_text(panel.title.of(lang))
        if section.locator(".cw-figure, .cw-last, tbody tr").count() == 0:
            expect(section.locator(".cw-note")).to_have_text(panel.empty.of(lang))
        elif panel.kind is Kind.TIMESERIES:
            expect(section.locator(".cw-chart svg path").first).to_be_attached()
    assert page.locator(".cw-failure").count() == 0, page.locator(".cw-failure").all_inner_texts()


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("fr", "dark")])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_looks(browser: Browser, page_url: str, board: Dashboard, width: int, theme: str, lang: Lang) -> None:
    """Every panel is filled, in its language and theme; nothing leaves the machine, fails, or overflows the screen;
    every text stands out from its ground by 4.5 to 1 or more (WCAG AA)."""
    other = "dark" if theme == "light" else "light"
    address = f"{page_url}/d/{board.uid}?range=6h&lang={lang}&theme={theme}"
    with opened(browser, address, width=width, scheme=other) as (page, wrong):
        _settled(page, board)
        _check_filled(page, board, lang)
        links = page.get_by_role("navigation").get_by_role("link")
        assert links.all_inner_texts() == [one.title.of(lang) for one in DASHBOARDS]
        assert page.locator("html").get_attribute("lang") == ("fr" if lang == "fr" else "en-US")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(int(part) for part in background.strip("rgb()").split(",")[:3]) > 384
        assert bright is (theme == "light"), background
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERFLOW) == []
        assert page.evaluate(CONTRAST) == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{board.uid}-{lang}-{theme}-{width}.png", full_page=True)
        assert not wrong


def _is_near(page: Page, want: Window) -> bool:
    """The page has read a window, or one a little later."""
    read = _window(page)
    return read.interval_ms == want.interval_ms and 0 <= read.to_ms - want.to_ms <= 120_000


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_figures_equal_sql(browser: Browser, page_url: str, seeded: ClickHouse, board: Dashboard) -> None:
    """Every tile, every cell of every table and the last value of every line is what SQL gives, digit by digit: for
    all agreements in minutes, and for some of them in hours."""
    with opened(browser, f"{page_url}/d/{board.uid}?lang=en&{_past(3)}") as (page, _):
        _settled(page, board)
        assert _until(lambda: not _differences(page, seeded, board, {})), _differences(page, seeded, board, {})
    chosen = {"agreement": ("acme-ai", "rrg-vision")} if any(v.name == "agreement" for v in board.variables) else {}
    query = "".join(f"&agreement={one}" for one in chosen.get("agreement", ()))
    with opened(browser, f"{page_url}/d/{board.uid}?lang=en&{_past(20 * 24)}{query}") as (page, _):
        _settled(page, board)
        assert _until(lambda: not _differences(page, seeded, board, chosen)), _differences(page, seeded, board, chosen)
        for figure in page.locator(".cw-figure.cw-money").all():
            value = Decimal(figure.get_attribute("data-value") or "")
            if value >= 100_000:
                written = figure.inner_text().replace(",", "").replace("\u00a0", " ")
                assert written.startswith(f"{round(value)} CAD")


def test_choices(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Filters change the figures without a reload, stand in the address, go along to the next page; back undoes."""
    past = _past(24)
    with opened(browser, f"{page_url}/?lang=en&{past}") as (page, wrong):
        _settled(page, BURN)
        page.get_by_role("combobox", name="Agreement").click()
        page.get_by_role("option", name="Acme AI Inc. · acme-ai").click()
        page.keyboard.press("Escape")
        expect(page.locator("#panel-agreements tbody tr")).to_have_count(1)
        chosen = {"agreement": ("acme-ai",)}
        assert _until(lambda: not _differences(page, seeded, BURN, chosen)), _differences(page, seeded, BURN, chosen)
        assert _query(page)["agreement"] == ["acme-ai"]
        page.get_by_role("link", name="Unit economics").first.click()
        page.wait_for_url("**/d/cw-unit-economics?**")
        assert _query(page) == parse_qs(f"{past}&lang=en&agreement=acme-ai")
        _settled(page, ECONOMICS)
        page.go_back()
        page.wait_for_url("**/d/cw-subsidy-burn?**")
        expect(page.locator("#panel-agreements tbody tr")).to_have_count(1)
        page.go_back()
        assert _until(lambda: page.locator("#panel-agreements tbody tr").count() > 3)
        assert not wrong


def test_the_currency_of_amounts(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Amounts are added up in one currency at a time, which stands behind each and goes along in links."""
    with opened(browser, f"{page_url}/d/{BURN.uid}?lang=en&{_past(6)}") as (page, wrong):
        spent = page.locator('.cw-figure[data-panel="spent"] .cw-unit')
        expect(spent).to_have_text("\u00a0CAD")
        page.get_by_role("combobox", name="Currency").click()
        page.get_by_role("option", name="GBP").click()
        expect(spent).to_have_text("\u00a0GBP")
        chosen = {"currency": ("GBP",)}
        assert _until(lambda: not _differences(page, seeded, BURN, chosen)), _differences(page, seeded, BURN, chosen)
        page.get_by_role("link", name="Unit economics").first.click()
        page.wait_for_url("**/d/cw-unit-economics?**")
        assert _query(page)["currency"] == ["GBP"]
        expect(page.locator("#panel-costs thead")).to_contain_text("GBP")
        assert not wrong


def test_unknown_choices_are_dropped(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Values come from lists that SQL gave: what an address makes up is not asked for."""
    made_up = "&agreement=%5C%27%20OR%201%3D1%20--&currency=XXX"
    with opened(browser, f"{page_url}/?lang=en&{_past(6)}{made_up}") as (page, _):
        assert _until(lambda: page.locator(".cw-figure").count() > 3 and not _differences(page, seeded, BURN, {}))
        expect(page.locator('.cw-figure[data-panel="spent"] .cw-unit')).to_have_text("\u00a0CAD")


def test_a_row_leads_to_its_agreement(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """From the table of agreements to one of them: the agreement, the row's own time, language and theme go along."""
    panel = next(panel for panel in BURN.panels if panel.name == "agreements")
    link = next(column.link for column in panel.columns if column.link and column.link.dashboard == AGREEMENT.uid)
    with opened(browser, f"{page_url}/d/{BURN.uid}?lang=fr&theme=dark&{_past(24)}") as (page, wrong):
        _settled(page, BURN)
        table = _answer(seeded, BURN, panel.sql, _window(page), {"lang": ("fr",)})
        row = next(row for row in table.rows if row[table.column("agreement")] == "acme-ai")
        page.locator(f'#panel-agreements a[href*="{AGREEMENT.uid}"][href*="agreement=acme-ai"]').first.click()
        page.wait_for_url(f"**/d/{AGREEMENT.uid}?**")
        query = _query(page)
        assert (query["agreement"], query["lang"], query["theme"]) == (["acme-ai"], ["fr"], ["dark"])
        if link.from_column and link.to_column:
            own = [_exact(row[table.column(name)]) for name in (link.from_column, link.to_column)]
            assert [query["from"], query["to"]] == [[end] for end in own]
        _settled(page, AGREEMENT)
        chosen = {"agreement": ("acme-ai",), "lang": ("fr",)}
        assert _until(lambda: not _differences(page, seeded, AGREEMENT, chosen))
        page.go_back()
        page.wait_for_url(f"**/d/{BURN.uid}?**")
        assert not wrong


def test_presets(browser: Browser, page_url: str) -> None:
    """All ranges are offered, the chosen one is marked, said in words, and stands in the address."""
    with opened(browser, f"{page_url}/d/{ECONOMICS.uid}?lang=en") as (page, wrong):
        _settled(page, ECONOMICS)
        box = page.get_by_role("dialog", name="Time range")
        for name in ("fy", "7d", "15m"):
            page.locator("#range-shown").click()
            assert box.get_by_role("button").all_inner_texts()[:-1] == [RANGES[one].en for one in NAMES]
            box.get_by_role("button", name=RANGES[name].en, exact=True).click()
            expect(box).to_be_hidden()
            expect(page.locator("#range-shown")).to_have_text(RANGES[name].en)
            page.wait_for_url(f"**range={name}*")
            want = Range(name).window(time.time(), REFRESH_S)
            assert _until(partial(_is_near, page, want)), (_window(page), want)
        _settled(page, ECONOMICS)
        assert page.locator(".cw-failure").count() == 0
        page.locator("#range-shown").click()
        expect(box.locator('[aria-pressed="true"]')).to_have_text("Last 15 minutes")
        assert not wrong


def test_a_range_between_two_moments(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Chosen with the keyboard alone; a past range is not read again, one that ends ahead has a line for now."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, last = today - timedelta(days=3), today - timedelta(days=1)
    with opened(browser, f"{page_url}/d/{BURN.uid}?lang=en") as (page, wrong):
        _settled(page, BURN)
        page.locator("#range-shown").focus()
        page.locator("button:has(#range-shown)").press("Enter")
        start, end = page.get_by_label("From (UTC)"), page.get_by_label("To (UTC)")
        expect(start).to_be_visible()
        start.fill(f"{last:%Y-%m-%dT%H:%M}")
        end.fill(f"{first:%Y-%m-%dT%H:%M}")
        end.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("Choose an end that is at least a minute after the start.")
        start.fill(f"{first:%Y-%m-%dT%H:%M}")
        end.fill(f"{last:%Y-%m-%dT%H:%M}")
        end.press("Enter")
        want = Window(milliseconds(first), milliseconds(last), 900_000)
        assert _until(lambda: _window(page) == want), _window(page)
        expect(page.locator("#range-shown")).to_have_text(f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}")
        assert (_query(page)["from"], _query(page)["to"]) == ([str(want.from_ms)], [str(want.to_ms)])
        assert _until(lambda: not _differences(page, seeded, BURN, {})), _differences(page, seeded, BURN, {})
        page.get_by_role("button", name="The time before").click()
        assert _until(lambda: _window(page).to_ms == want.from_ms)
        page.get_by_role("button", name="The time after").click()
        assert _until(lambda: _window(page) == want)
        assert not wrong
    ahead = f"from={milliseconds(today)}&to={milliseconds(today) + 3 * DAY_MS}"
    with opened(browser, f"{page_url}/d/{BURN.uid}?lang=fr&{ahead}") as (page, wrong):
        _settled(page, BURN)
        assert _until(lambda: page.locator(".cw-chart text", has_text="maintenant").count() > 0)
        assert not wrong


def test_a_range_drawn_in_a_chart(browser: Browser, page_url: str) -> None:
    """Dragging over a chart shows the time under the drag; back returns to the range before."""
    with opened(browser, f"{page_url}/d/{ECONOMICS.uid}?lang=en&range=1h") as (page, wrong):
        _settled(page, ECONOMICS)
        chart = page.locator("#panel-cost-per-mtok-by-model .cw-chart")
        expect(chart.locator("svg path").first).to_be_attached()
        before = _window(page)
        box = chart.bounding_box()
        assert box is not None

        def drag() -> bool:
            y = box["y"] + box["height"] / 2
            page.mouse.move(box["x"] + box["width"] * 0.4, y)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=4)
            page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=4)
            page.mouse.up()
            return _until(lambda: "from=" in _address(page), 2)

        assert drag() or drag()  # a chart may be drawn anew under the first
        assert _until(lambda: _window(page).to_ms - _window(page).from_ms < 1_000_000)
        window = _window(page)
        assert before.from_ms < window.from_ms < window.to_ms < before.to_ms + 60_000
        assert window.from_ms % 60_000 == window.to_ms % 60_000 == 0
        page.go_back()
        expect(page.locator("#range-shown")).to_have_text("Last hour")
        assert not wrong


def test_events(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Annotations are in the charts and, in words, in a list; the viewer can leave them out of the charts."""
    with opened(browser, f"{page_url}/d/{ECONOMICS.uid}?lang=en&range=24h") as (page, wrong):
        _settled(page, ECONOMICS)
        asked = [_answer(seeded, ECONOMICS, one.sql, _window(page), {}) for one in ECONOMICS.annotations]
        titles = [str(row[table.column("title")]) for table in asked for row in table.rows]
        assert titles
        expect(page.locator(".cw-count")).to_have_text(str(len(titles)))
        page.get_by_role("button", name="Events").click()
        listed = page.get_by_role("dialog", name="Events").get_by_role("listitem")
        assert sorted(listed.locator("strong").all_inner_texts()) == sorted(titles)
        chart = page.locator("#panel-cost-per-mtok-by-model .cw-chart svg")
        drawn = "svg => svg.querySelectorAll('path[stroke-dasharray], path[fill-opacity], path[opacity]').length"
        with_events = chart.evaluate(drawn)
        page.get_by_role("checkbox", name="Mark them in the charts").click()
        assert _until(lambda: chart.evaluate(drawn) < with_events)
        assert _until(lambda: _query(page).get("marks") == ["off"])
        expect(page.locator(".cw-count")).to_have_text(str(len(titles)))
        assert not wrong


def test_data_and_sql_can_be_taken_along(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Each panel's description links its data as CSV, every digit, and its SQL as it is run."""
    panel = next(panel for panel in BURN.panels if panel.name == "agreements")
    first = milliseconds(datetime.now(UTC)) // DAY_MS * DAY_MS - DAY_MS
    with opened(browser, f"{page_url}/d/{BURN.uid}?lang=en&from={first}&to={first + DAY_MS}") as (page, _):
        _settled(page, BURN)
        page.get_by_role("button", name=f"About: {panel.title.en}", exact=True).press("Enter")
        box = page.locator("#about-agreements")
        with page.expect_download() as download:
            box.get_by_role("link", name="Data (CSV)").press("Enter")
        table = _answer(seeded, BURN, panel.sql, _window(page), {})
        assert len(table.rows) > 3
        text = Path(download.value.path()).read_bytes().decode("utf-8")
        assert text == as_csv(table)
        spent = [row[table.column("spent")] for row in table.rows]
        assert [Decimal(row["spent"]) for row in csv.DictReader(io.StringIO(text))] == spent
        with page.context.expect_page() as opening:
            box.get_by_role("link", name="SQL as run").press("Enter")
        sql = opening.value.locator("pre").inner_text()
        opening.value.close()
        assert "$__" not in sql
        assert seeded.analyst.query(sql).result_rows == list(table.rows)
    for path in ("nothing.csv", "agreements.xls"):
        answer = browser.contexts[0].request.get(f"{page_url}/d/{BURN.uid}/{path}")
        assert answer.status == 404


def test_rows_can_be_sorted(browser: Browser, page_url: str) -> None:
    """With the keyboard, from the head of a column; what is focused stays so while the figures are read again."""
    with opened(browser, f"{page_url}/d/{BURN.uid}?lang=en&range=1h") as (page, wrong):
        _settled(page, BURN)
        head = page.locator('#panel-agreements [data-sort="spent"]')
        cells = page.locator('#panel-agreements tbody [data-column="spent"]')

        def spent() -> list[float]:
            return [float(one) for one in cells.evaluate_all("all => all.map(one => one.dataset.value)") if one]

        head.press("Enter")
        assert _until(lambda: spent() == sorted(spent(), reverse=True))
        expect(page.locator("#panel-agreements th[aria-sort]")).to_have_attribute("aria-sort", "descending")
        page.keyboard.press("Enter")
        assert _until(lambda: spent() == sorted(spent()))
        window = _window(page)
        assert _until(lambda: _window(page) != window)
        page.wait_for_timeout(500)
        assert page.evaluate("document.activeElement.dataset.sort") == "spent"
        assert spent() == sorted(spent())
        assert not wrong


def test_language_and_theme_switches(browser: Browser, page_url: str) -> None:
    with opened(browser, f"{page_url}/?lang=en") as (page, _):
        _settled(page, BURN)
        page.get_by_role("button", name="Français").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(BURN.title.fr)
        theme = "document.documentElement.dataset.theme"
        page.get_by_role("button", name="Thème : système").click()
        page.get_by_role("button", name="Thème : clair").click()
        expect(page.get_by_role("button", name="Thème : sombre")).to_be_visible()
        assert _until(lambda: page.evaluate(theme) == "dark")
        assert _until(lambda: "theme=dark" in _address(page) and "lang=fr" in _address(page))


def test_live(browser: Browser, page_url: str) -> None:
    """The page reads again by itself as long as its range reaches the present; the freshness goes on in any case."""
    with opened(browser, f"{page_url}/?lang=en&range=1h") as (page, _):
        _settled(page, BURN)
        chip = page.locator("#freshness .cw-chip")
        first, window = float(chip.get_attribute("data-age") or 0), _window(page)
        assert _until(lambda: float(chip.get_attribute("data-age") or 0) >= first + 2 * REFRESH_S)
        assert _until(lambda: _window(page).to_ms > window.to_ms)
    past = milliseconds(datetime.now(UTC)) - DAY_MS
    with opened(browser, f"{page_url}/?lang=en&from={past - DAY_MS}&to={past}") as (page, _):
        _settled(page, BURN)
        chip = page.locator("#freshness .cw-chip")
        first = float(chip.get_attribute("data-age") or 0)
        page.evaluate("document.querySelector('.cw-figure').textContent = 'as it was'")
        assert _until(lambda: float(chip.get_attribute("data-age") or 0) >= first + 2 * REFRESH_S)
        expect(page.locator(".cw-figure").first).to_have_text("as it was")


def test_keyboard_and_screen_reader(browser: Browser, page_url: str) -> None:
    """Skip link first, then the page in reading order; regions, tables and figures have names; what opens, closes."""
    with opened(browser, f"{page_url}/?lang=en&range=6h") as (page, _):
        _settled(page, BURN)
        page.keyboard.press("Tab")
        focused = "(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || '').trim()"
        assert page.evaluate(focused) == "Skip to the figures"
        navigation = page.get_by_role("navigation", name="Dashboards")
        reached = [navigation.get_by_role("link", name=board.title.en) for board in DASHBOARDS]
        reached += [page.get_by_role("button", name=name) for name in ("Theme: system", "Français")]
        reached += [
            page.get_by_role("button", name=name) for name in ("The time before", "Last 6 hours", "The time after")
        ]
        reached += [page.get_by_role("combobox", name=variable.label.en) for variable in BURN.variables]
        reached += [page.get_by_role("button", name="Events")]
        reached += [page.get_by_role("button", name=f"About: {BURN.panels[0].title.en}", exact=True)]
        for element in reached:
            page.keyboard.press("Tab")
            expect(element).to_be_focused()
        expect(page.get_by_role("main")).to_be_visible()
        assert page.get_by_role("heading", level=1).count() == 1
        for panel in BURN.panels:
            expect(page.get_by_role("region", name=panel.title.en, exact=True).first).to_be_visible()
        expect(page.get_by_role("table", name="Open alerts")).to_be_visible()
        about = page.get_by_role("button", name="About: Burn rate", exact=True)
        about.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#about-burn-rate")).to_be_visible()
        page.keyboard.press("Tab")
        assert page.evaluate("!!document.activeElement.closest('#about-burn-rate')")
        page.keyboard.press("Escape")
        expect(page.locator("#about-burn-rate")).to_be_hidden()
        live = page.locator("[aria-live=polite]").first
        assert _until(lambda: "Subsidy spent" in (live.text_content() or ""))


def test_a_phone_folds_its_filters_away(browser: Browser, page_url: str) -> None:
    """The figures come first; a button shows the filters, and says how many are set."""
    with opened(browser, f"{page_url}/d/{BURN.uid}?lang=en&agreement=acme-ai", width=390) as (page, wrong):
        _settled(page, BURN)
        fold = page.get_by_role("button", name="Filters (1)")
        expect(page.get_by_role("combobox", name="Agreement")).to_be_hidden()
        fold.click()
        expect(page.get_by_role("combobox", name="Agreement")).to_be_visible()
        expect(fold).to_have_attribute("aria-expanded", "true")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("#range-shown").click()
        expect(page.get_by_role("dialog", name="Time range")).to_be_in_viewport(ratio=1)
        assert not wrong


def test_first_paint_within_a_second(browser: Browser, page_url: str) -> None:
    """The best of some visits with an empty cache: a busy machine must not decide."""
    script = "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
    took: list[float] = []
    while len(took) < 20 and min(took, default=9999) >= 1000:
        context = browser.new_context()
        page = context.new_page()
        page.goto(page_url)
        page.wait_for_function(f"{script}.length")
        took.append(page.evaluate(script)[0])
        context.close()
    print(f"first paint after {min(took):.0f} ms")
    assert min(took) < 1000, took


@pytest.mark.parametrize(("board", "lang"), list(zip(DASHBOARDS, itertools.cycle(LANGS), strict=False)))
def test_before_the_first_usage(browser: Browser, empty_page_url: str, board: Dashboard, lang: Lang) -> None:
    """An empty book is said in words in every panel; nothing is blank, nothing fails."""
    with opened(browser, f"{empty_page_url}/d/{board.uid}?lang={lang}") as (page, wrong):
        _settled(page, board)
        _check_filled(page, board, lang)
        assert page.locator("#figures .cw-note").count() > len(board.panels) / 2
        expect(page.locator("#freshness .cw-chip")).to_have_attribute("data-level", "act")
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{board.uid}-{lang}-empty.png", full_page=True)
        assert not wrong


def test_a_database_that_goes_away(browser: Browser, tmp_path: Path) -> None:
    """An open page keeps what it showed and says so; a new one opens and says why it is empty. Once the database is
    back both show it, a past range too, whose figures are not read again otherwise."""
    past = milliseconds(datetime.now(UTC)) - DAY_MS
    address = f"/?lang=en&from={past - DAY_MS}&to={past}"
    with contextlib.ExitStack() as book:
        clickhouse = book.enter_context(servers.clickhouse(tmp_path, seeded=False))
        with page_process(clickhouse.url, tmp_path) as url, opened(browser, url + address) as (page, wrong):
            _settled(page, BURN)
            notes = page.locator("#figures .cw-note").count()
            book.close()
            page.get_by_role("button", name="The time before").click()
            for panel in BURN.panels:
                section = page.locator(f"#panel-{panel.name}")
                expect(section.locator(".cw-failure")).to_contain_text("cannot be reached. Shown as last read")
            assert page.locator("#figures .cw-note").count() == notes
            expect(page.locator("#freshness")).to_contain_text("No answer from the database")
            assert not wrong
            page.reload()
            for panel in BURN.panels:
                expect(page.locator(f"#panel-{panel.name} .cw-failure")).to_contain_text("Trying again")
            SHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=SHOTS / "away.png", full_page=True)
            port, log = clickhouse.url.rsplit(":", 1)[1], tmp_path / "again.log"
            arguments = ["compose.clickhouse", "--data", str(tmp_path / "data"), "--port", port]
            with servers.process(arguments, log) as child:
                assert servers.address(child, log) == clickhouse.url
                expect(page.locator(".cw-failure")).to_have_count(0)
                assert page.locator("#figures .cw-note").count() == notes


def test_an_address_that_names_nothing(browser: Browser, page_url: str) -> None:
    with opened(browser, f"{page_url}/d/nothing?lang=fr") as (page, _):
        expect(page.locator("h1")).to_have_text("Ce tableau de bord n’existe pas.")
        expect(page.get_by_role("link", name=ECONOMICS.title.fr)).to_be_visible()
