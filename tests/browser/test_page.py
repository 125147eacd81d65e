"""The page in a real browser: values equal SQL and plain Python, both languages, both themes, both widths."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboards.boards import DASHBOARDS
from dashboards.macros import Window, expand, substitute
from dashboards.model import Dashboard, Kind, Panel
from dashboards.page.state import RANGES
from dashboards.units import LANGS
from tests.browser.conftest import REFRESH_S
from tests.browser.conftest import page as page_process
from tests.dashboards import expected, servers
from tests.dashboards.servers import ClickHouse

SHOTS = Path(__file__).parents[2] / "out" / "screenshots"
WIDTHS = {1400: 900, 390: 844}
BURN, ECONOMICS = DASHBOARDS
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


def _tiles(page: Page) -> dict[str, str]:
    found = page.locator(".cw-figure[data-panel]")
    return dict(found.evaluate_all("all => all.map(one => [one.dataset.panel, one.dataset.value])"))


def _address(page: Page) -> str:
    return str(page.evaluate("location.href"))


def _window(span: str) -> Window:
    step_ms = round(REFRESH_S * 1000)
    to_ms = int(time.time() * 1000) // step_ms * step_ms
    return Window(to_ms - RANGES[span] * 1000, to_ms)


def _answer(clickhouse: ClickHouse, board: Dashboard, name: str, span: str, **chosen: list[str]) -> tuple[Panel, Any]:
    """A panel, and what SQL answers for it now."""
    panel = next(panel for panel in board.panels if panel.name == name)
    values = {v.name: chosen.get(v.name, []) for v in board.variables} | {"lang": ["en"]}
    return panel, clickhouse.analyst.query(expand(substitute(panel.sql, values), _window(span)))


def _sql_value(clickhouse: ClickHouse, board: Dashboard, name: str, span: str, **chosen: list[str]) -> str | None:
    _, answer = _answer(clickhouse, board, name, span, **chosen)
    return _exact(answer.result_rows[0][answer.column_names.index("value")]) if answer.result_rows else None


def _exact(value: object) -> str:
    return "" if value is None else format(value, "f") if isinstance(value, Decimal) else str(value)


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("fr", "dark")])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_looks(browser: Browser, page_url: str, board: Dashboard, width: int, theme: str, lang: str) -> None:
    """Every panel is filled, in its language and theme; nothing leaves the machine, fails, or overflows the screen."""
    other = "dark" if theme == "light" else "light"
    address = f"{page_url}/d/{board.uid}?range=1h&lang={lang}&theme={theme}"
    with opened(browser, address, width=width, scheme=other) as (page, wrong):
        stats = [panel.name for panel in board.panels if panel.kind is Kind.STAT]
        assert _until(lambda: set(_tiles(page)) == set(stats)), _tiles(page)
        for panel in board.panels:
            section = page.locator(f"#panel-{panel.name}")
            expect(section.locator("h2")).to_have_text(panel.title.of("fr" if lang == "fr" else "en"))
            if panel.kind is Kind.TIMESERIES:
                expect(section.locator("svg path[stroke]").nth(3)).to_be_attached()
                expect(section.locator(".cw-last").nth(2)).to_be_visible()
            if panel.kind is Kind.TABLE:
                expect(section.locator("tbody tr").first).to_be_visible()
        assert page.locator(".cw-failure").count() == 0
        assert page.locator("html").get_attribute("lang") == ("fr" if lang == "fr" else "en-US")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(int(part) for part in background.strip("rgb()").split(",")[:3]) > 384
        assert bright is (theme == "light"), background
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{board.uid}-{lang}-{theme}-{width}.png", full_page=True)
        assert not wrong


@pytest.mark.parametrize(("span", "agreements"), [("1h", []), ("24h", ["acme-ai", "rrg-vision"])])
def test_figures_equal_sql_and_python(
    browser: Browser, page_url: str, seeded: ClickHouse, span: str, agreements: list[str]
) -> None:
    """The six figures of finance on the page are those of SQL, digit by digit, and those of plain Python."""
    assert seeded.ledger is not None
    ledger, query = seeded.ledger, "".join(f"&agreement={one}" for one in agreements)
    with opened(browser, f"{page_url}/d/{BURN.uid}?range={span}&lang=en{query}") as (page, _):

        def agree() -> bool:
            window = _window(span)
            want = expected.burn_tiles(ledger, window.from_ms, window.to_ms, set(agreements))
            shown = _tiles(page)
            return set(shown) == set(want) and all(
                shown[name] == _sql_value(seeded, BURN, name, span, agreement=agreements)
                and float(shown[name]) == pytest.approx(float(value or 0), rel=1e-12)
                for name, value in want.items()
            )

        assert _until(agree), _tiles(page)
        spent = page.locator('.cw-figure[data-panel="spent"]')
        assert spent.inner_text().replace(",", "").replace("\u00a0", " ") == f"{round(_decimal(spent))} CAD"


def _decimal(figure: Any) -> Decimal:
    return Decimal(figure.get_attribute("data-value"))


def test_tables_equal_sql(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Every cell of the table of agreements is the value that SQL gives."""
    panel, answer = _answer(seeded, BURN, "agreements", "1h")
    places = [answer.column_names.index(column.name) for column in panel.columns]
    want = [[_exact(row[place]) for place in places] for row in answer.result_rows]
    with opened(browser, f"{page_url}/d/{BURN.uid}?range=1h&lang=en") as (page, _):
        script = "rows => rows.map(row => [...row.cells].map(cell => cell.dataset.value))"
        rows = page.locator("#panel-agreements tbody tr")
        assert _until(lambda: rows.evaluate_all(script) == want), rows.evaluate_all(script)


def test_charts_equal_sql(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """The newest value of each line, as the legend says it, is the last that SQL gives."""
    _, answer = _answer(seeded, ECONOMICS, "cost-per-mtok-by-model", "1h")
    want = {row[1]: str(row[2]) for row in answer.result_rows}
    with opened(browser, f"{page_url}/d/{ECONOMICS.uid}?range=1h&lang=en") as (page, _):
        last = page.locator("#panel-cost-per-mtok-by-model .cw-last")
        script = "all => all.map(one => [one.dataset.series, one.dataset.value])"
        assert _until(lambda: dict(last.evaluate_all(script)) == want), last.evaluate_all(script)


def test_choices(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Range and filters change the figures without a reload, stand in the address, and go along to the next page."""
    with opened(browser, f"{page_url}/?lang=en") as (page, wrong):
        assert _until(lambda: len(_tiles(page)) == 6)
        page.get_by_role("button", name="24 h", exact=True).click()
        expect(page.get_by_role("button", name="24 h", exact=True)).to_have_attribute("aria-pressed", "true")
        page.get_by_role("combobox", name="Agreement").click()
        page.get_by_role("option", name="Acme AI Inc. · acme-ai").click()
        page.keyboard.press("Escape")
        assert _until(lambda: _tiles(page)["spent"] == _sql_value(seeded, BURN, "spent", "24h", agreement=["acme-ai"]))
        assert _until(lambda: "range=24h" in _address(page) and "agreement=acme-ai" in _address(page))
        expect(page.locator("#panel-agreements tbody tr")).to_have_count(1)
        page.get_by_role("link", name="Unit economics").first.click()
        page.wait_for_url("**/d/cw-unit-economics?**")
        assert "agreement=acme-ai" in _address(page)
        assert _until(lambda: len(_tiles(page)) == 6)
        assert not wrong


def test_unknown_choices_are_dropped(browser: Browser, page_url: str, seeded: ClickHouse) -> None:
    """Values come from lists that SQL gave: what an address makes up is not asked for."""
    with opened(browser, f"{page_url}/?lang=en&agreement=%5C%27%20OR%201%3D1%20--") as (page, _):
        assert _until(lambda: _tiles(page).get("spent") == _sql_value(seeded, BURN, "spent", "6h"))


def test_language_and_theme_switches(browser: Browser, page_url: str) -> None:
    with opened(browser, f"{page_url}/?lang=en") as (page, _):
        assert _until(lambda: len(_tiles(page)) == 6)
        page.get_by_role("button", name="Français").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Consommation de la subvention")
        theme = "document.documentElement.dataset.theme"
        page.get_by_role("button", name="Thème : système").click()
        page.get_by_role("button", name="Thème : clair").click()
        expect(page.get_by_role("button", name="Thème : sombre")).to_be_visible()
        assert _until(lambda: page.evaluate(theme) == "dark")
        assert _until(lambda: "theme=dark" in _address(page) and "lang=fr" in _address(page))


def test_live(browser: Browser, page_url: str) -> None:
    """The page reads again by itself: the age of the newest usage goes on."""
    with opened(browser, f"{page_url}/?lang=en") as (page, _):
        chip = page.locator("#freshness .cw-chip")
        first = float(chip.get_attribute("data-age") or 0)
        assert _until(lambda: float(chip.get_attribute("data-age") or 0) >= first + 2 * REFRESH_S)


def test_keyboard_and_screen_reader(browser: Browser, page_url: str) -> None:
    """Skip link first; regions, headings, tables and figures have names; descriptions open from the keyboard."""
    with opened(browser, f"{page_url}/?lang=en") as (page, _):
        assert _until(lambda: len(_tiles(page)) == 6)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent").strip() == "Skip to the figures"
        expect(page.get_by_role("navigation", name="Dashboards")).to_be_visible()
        expect(page.get_by_role("main")).to_be_visible()
        assert page.get_by_role("heading", level=1).count() == 1
        for panel in BURN.panels:
            expect(page.get_by_role("region", name=panel.title.en, exact=True).first).to_be_visible()
        expect(page.get_by_role("table", name="Open alerts")).to_be_visible()
        about = page.get_by_role("button", name="About: Burn rate", exact=True)
        about.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#about-burn-rate")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#about-burn-rate")).to_be_hidden()
        live = page.locator("[aria-live=polite]").first
        assert _until(lambda: "Subsidy spent" in (live.text_content() or ""))
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))


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


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_contrast(browser: Browser, page_url: str, board: Dashboard, theme: str) -> None:
    """Every text stands out from its ground by 4.5 to 1 or more (WCAG AA)."""
    with opened(browser, f"{page_url}/d/{board.uid}?lang=en&range=1h&theme={theme}") as (page, _):
        assert _until(lambda: len(_tiles(page)) == 6)
        assert page.evaluate(CONTRAST) == []


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
    assert min(took) < 1000, took


@pytest.mark.parametrize(("board", "lang"), list(zip(DASHBOARDS, LANGS, strict=True)), ids=LANGS)
def test_before_the_first_usage(browser: Browser, empty_page_url: str, board: Dashboard, lang: str) -> None:
    """An empty book is said in words in every panel; nothing is blank, nothing fails."""
    with opened(browser, f"{empty_page_url}/d/{board.uid}?lang={lang}") as (page, wrong):
        for panel in board.panels:
            words = panel.empty.of("fr" if lang == "fr" else "en")
            expect(page.locator(f"#panel-{panel.name} .cw-note")).to_have_text(words)
        expect(page.locator("#freshness .cw-chip")).to_have_attribute("data-level", "act")
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{board.uid}-{lang}-empty.png", full_page=True)
        assert not wrong


def test_a_database_that_goes_away(browser: Browser, tmp_path: Path) -> None:
    """An open page keeps what it showed and says so; a new one opens all the same and says why it is empty."""
    with contextlib.ExitStack() as book:
        clickhouse = book.enter_context(servers.clickhouse(tmp_path, seeded=False))
        with page_process(clickhouse.url, tmp_path) as url, opened(browser, f"{url}/?lang=en") as (page, wrong):
            for panel in BURN.panels:
                expect(page.locator(f"#panel-{panel.name} .cw-note")).to_have_text(panel.empty.en)
            book.close()
            for panel in BURN.panels:
                section = page.locator(f"#panel-{panel.name}")
                expect(section.locator(".cw-failure")).to_contain_text("cannot be reached. Shown as last read")
                expect(section.locator(".cw-note")).to_have_text(panel.empty.en)
            expect(page.locator("#freshness")).to_contain_text("No answer from the database")
            assert not wrong
            page.reload()
            for panel in BURN.panels:
                expect(page.locator(f"#panel-{panel.name} .cw-failure")).to_contain_text("Trying again")
            SHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=SHOTS / "away.png", full_page=True)


def test_an_address_that_names_nothing(browser: Browser, page_url: str) -> None:
    with opened(browser, f"{page_url}/d/nothing?lang=fr") as (page, _):
        expect(page.locator("h1")).to_have_text("Ce tableau de bord n’existe pas.")
        expect(page.get_by_role("link", name="Coûts unitaires")).to_be_visible()
