"""Parts of the page that need no browser: addresses, ranges, charts, markup, downloads, and reading once for all."""

import asyncio
import csv
import io
import re
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from starlette.datastructures import QueryParams

from dashboards.boards import BY_UID, DASHBOARDS
from dashboards.boards.common import AGREEMENT_DETAIL, SUBSIDY_BURN, UNIT_ECONOMICS
from dashboards.macros import Window
from dashboards.model import (
    Annotation,
    Column,
    Grid,
    Kind,
    Level,
    Panel,
    RowLink,
    SeriesStyle,
    Threshold,
)
from dashboards.page import PageError, charts, markup, run, tables
from dashboards.page.download import as_csv
from dashboards.page.feed import Feed, QueryFailed, Table
from dashboards.page.marks import Mark, listed, marks_of
from dashboards.page.ranges import NAMES, PRESETS, Range, fiscal_year, milliseconds
from dashboards.page.series import Newest, band, newest, series_of, spacing_ms, stacked
from dashboards.page.state import State
from dashboards.units import MONEY, MONEY_PER_MTOK, SECONDS, SHARE, TEXT, Unit
from schemas.texts import Lang, Text
from tests.dashboards.servers import ClickHouse

BURN, ECONOMICS, AGREEMENT = BY_UID[SUBSIDY_BURN], BY_UID[UNIT_ECONOMICS], BY_UID[AGREEMENT_DETAIL]
START = datetime(2026, 11, 1, tzinfo=UTC)
START_MS = milliseconds(START)
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
NOW_MS = milliseconds(NOW)
WORDS = Text("words", "mots")


def _state(query: str = "", accept: str = "") -> State:
    return State.read(BURN, QueryParams(query), accept)


# ---- addresses -----------------------------------------------------------------------------------------------------


def test_an_address_says_it_all() -> None:
    """What a viewer chose is in the address, and reading the address gives it back."""
    state = _state("range=24h&lang=fr&theme=dark&agreement=acme-ai&agreement=x%26y&currency=USD&marks=off&nonsense=1")
    assert (state.range, state.lang, state.theme, state.marks) == (Range("24h"), "fr", "dark", False)
    assert state.values()["agreement"] == ("acme-ai", "x&y")
    assert state.values()["currency"] == ("USD",)
    path, query = state.link().split("?")
    assert path == "/d/cw-subsidy-burn"
    assert State.read(BURN, QueryParams(query), "") == state


@pytest.mark.parametrize("query", ["", "range=9y&lang=de&theme=pink", "range=&lang=&theme=", "from=5&to=x", "from=5"])
def test_what_is_not_understood_falls_back(query: str) -> None:
    state = _state(query, "fr-CA,fr;q=0.9")
    assert (state.range, state.lang, state.theme, state.own_range) == (Range(BURN.range), "fr", "", False)
    assert State.read(BURN, QueryParams(query), "", "15m").range == Range("15m")


@pytest.mark.parametrize(
    "query",
    ["from=2000&to=1000", "from=1000&to=1000", "from=-5&to=90000000", "from=1&to=9999999999999999", "from=1&to=٣٣٣٣٣٣"],
)
def test_ranges_that_cannot_be_fall_back(query: str) -> None:
    """The wrong way round, empty, negative, of a far century, of other digits: never an error, never a huge query."""
    assert _state(query).range == Range(BURN.range)


def test_links_carry_what_the_other_dashboard_knows() -> None:
    """Variables by name; a range that was chosen goes along, one that a dashboard opened with stays there."""
    state = State.read(ECONOMICS, QueryParams("cluster=fir&agreement=a&currency=USD&range=1h"), "")
    assert state.link(BURN, {"agreement": "b"}) == "/d/cw-subsidy-burn?range=1h&lang=en&agreement=b&currency=USD"
    assert State.read(ECONOMICS, QueryParams(""), "").link(BURN) == "/d/cw-subsidy-burn?lang=en"
    absolute = _state(f"from={START_MS}&to={START_MS + DAY_MS}")
    assert absolute.link(AGREEMENT) == f"/d/cw-agreement?from={START_MS}&to={START_MS + DAY_MS}&lang=en"


def test_a_variable_with_a_default_has_one_value() -> None:
    assert _state("").values()["currency"] == ("CAD",)
    assert _state("currency=USD&currency=CAD").values()["currency"] == ("USD",)


# ---- ranges --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_viewers_of_a_moment_ask_the_same_question(name: str) -> None:
    """Within one refresh period the window is the same for all; a year has at most a point for each day."""
    windows = {Range(name).window(1_760_000_040 + part, 5.0) for part in (0, 1.2, 4.9)}
    assert len(windows) == 1
    (window,) = windows
    if name in PRESETS:
        assert window.to_ms - window.from_ms == PRESETS[name] * 1000
    points = (window.to_s - window.from_s) / window.interval_s
    assert points <= 240 or (points <= 366 and window.interval_s == 86_400)


def test_widths_of_points_choose_what_is_read() -> None:
    """Minutes for a day and less, hours up to two months, days beyond: SQL switches at 3600 s and 86,400 s."""
    width = {name: Range(name).interval_s(NOW_MS) for name in NAMES}
    assert width["15m"] == width["1h"] == 60
    assert max(width[name] for name in ("6h", "24h")) < 3600
    assert all(3600 <= width[name] < 86_400 for name in ("7d", "30d"))
    sixty_days = Range.between(NOW_MS - 60 * DAY_MS, NOW_MS)
    assert sixty_days is not None
    assert sixty_days.interval_s(NOW_MS) == 21_600
    assert width["90d"] == width["1y"] == width["fy"] == 86_400


def test_the_fiscal_year_is_whole() -> None:
    """From 1 April to 31 March, its future included."""
    first, last = fiscal_year(NOW_MS)
    assert first == milliseconds(datetime(2026, 4, 1, tzinfo=UTC))
    assert last == milliseconds(datetime(2027, 4, 1, tzinfo=UTC)) - 1
    assert fiscal_year(milliseconds(datetime(2026, 3, 31, 23, 59, tzinfo=UTC)))[1] == first - 1
    window = Range("fy").window(NOW_MS / 1000, 5.0)
    assert (window.from_ms, window.to_ms) == (first, last)


def test_steps_back_and_forward() -> None:
    """By the length of the range; fiscal years by years; forward again to what ends now."""
    earlier = Range("6h").moved(NOW_MS, later=False)
    assert earlier == Range("", NOW_MS - 12 * HOUR_MS, NOW_MS - 6 * HOUR_MS)
    assert earlier.moved(NOW_MS + 90_000, later=True) == Range("6h")
    assert earlier.moved(NOW_MS + HOUR_MS, later=True) == Range("", NOW_MS - 6 * HOUR_MS, NOW_MS)
    last_year = Range("fy").moved(NOW_MS, later=False)
    assert last_year == Range("", *fiscal_year(NOW_MS - 365 * DAY_MS))
    assert last_year.said("en") == "2025-04-01 to 2026-03-31"
    assert last_year.moved(NOW_MS, later=True) == Range("fy")
    first = Range("", 0, DAY_MS)
    assert first.moved(NOW_MS, later=False) == first


def test_only_ranges_that_reach_the_present_are_live() -> None:
    assert Range("6h").is_live(NOW_MS)
    assert Range("", NOW_MS - DAY_MS, NOW_MS + DAY_MS).is_live(NOW_MS)
    assert not Range("", NOW_MS - DAY_MS, NOW_MS - 1).is_live(NOW_MS)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "said"),
    [
        (NOW_MS, NOW_MS + HOUR_MS, "2026-11-28 09:00 au 10:00"),
        (NOW_MS, NOW_MS + DAY_MS, "2026-11-28 09:00 au 2026-11-29 09:00"),
        (START_MS, START_MS + DAY_MS - 1, "2026-11-01"),
    ],
)
def test_absolute_ranges_in_words(from_ms: int, to_ms: int, said: str) -> None:
    assert Range("", from_ms, to_ms).said("fr") == said


# ---- charts --------------------------------------------------------------------------------------------------------


def _table(minutes: list[int], value: float = 1.0) -> Table:
    rows = [(START + timedelta(minutes=minute), "a", value) for minute in minutes]
    return Table(("time", "series", "value"), rows)


def _many(**values: Sequence[tuple[int, float]]) -> Table:
    rows = [
        (START + timedelta(minutes=minute), name, value) for name, points in values.items() for minute, value in points
    ]
    return Table(("time", "series", "value"), sorted(rows))


def _chart(unit: Unit = MONEY, *, stacked: bool = False, styles: tuple[SeriesStyle, ...] = ()) -> Panel:
    return Panel(
        id=1, name="chart", kind=Kind.TIMESERIES, title=WORDS, description=WORDS, sql="", grid=Grid(0, 0, 8, 8),
        unit=unit, stacked=stacked, styles=styles,
    )  # fmt: skip


def _window(minutes: int) -> Window:
    return Window(START_MS, START_MS + minutes * MINUTE_MS, MINUTE_MS)


def _drawn(panel: Panel, table: Table, minutes: int = 10, marks: Sequence[Mark] = (), now: int = 0) -> dict[str, Any]:
    """Everything of a chart by id."""
    options = charts.options(panel, series_of(table), _window(minutes), _state(), marks, START_MS + now * MINUTE_MS)
    return {one["id"]: one for one in options["series"]}


def test_a_gap_is_drawn_as_a_gap() -> None:
    """Missing is missing: no line across minutes that were not measured, and a value between two gaps is a dot."""
    line = _drawn(_chart(), _table([0, 1, 5, 9]))["line-0"]
    assert [point[1] for point in line["data"]] == [1.0, 1.0, None, 1.0, None, 1.0]
    dots = [point["coord"][0] for point in line["markPoint"]["data"] if point.get("symbolSize") == 4]
    assert dots == [START_MS + 5 * MINUTE_MS, START_MS + 9 * MINUTE_MS]


def test_hours_in_a_fine_range_are_joined() -> None:
    """Settled hours stay an hour apart however fine the range is; a missing one is a gap all the same."""
    hours = [(hour * 60, 1.0) for hour in (0, 1, 2, 4)]
    line = _drawn(_chart(), _many(a=hours), minutes=360)["line-0"]
    assert [point[1] for point in line["data"]] == [1.0, 1.0, 1.0, None, 1.0]
    (start, *_, end) = _drawn(_chart(stacked=True), _many(a=hours), minutes=360)["line-0"]["data"]
    assert end[0] - start[0] == 5 * HOUR_MS
    every_second = series_of(_many(a=[(0, 1.0), (1, 1.0), (3, 1.0), (5, 1.0), (7, 1.0), (8, 1.0)]))
    assert spacing_ms(every_second, MINUTE_MS) == 2 * MINUTE_MS
    assert spacing_ms(series_of(_many(a=[(0, 1.0)])), MINUTE_MS) == MINUTE_MS
    assert spacing_ms(series_of(_many(a=[(0, 1.0), (60, 1.0), (61, 1.0)])), MINUTE_MS) == MINUTE_MS


def test_stacked_series_add_up() -> None:
    """Every layer has the same moments; what has no value adds nothing; where nothing was measured there is a gap."""
    table = _many(a=[(0, 1.0), (1, 2.0), (5, 3.0)], b=[(1, 10.0)])
    drawn = _drawn(_chart(stacked=True), table)
    a, b = drawn["line-0"], drawn["line-1"]
    assert a["stack"] == b["stack"] == "sum"
    assert [point[0] for point in a["data"]] == [point[0] for point in b["data"]]
    assert [point[1] for point in a["data"]] == [1.0, 2.0, 2.0, None, 3.0, 3.0, None]
    assert [point[1] for point in b["data"]] == [0.0, 10.0, 10.0, None, 0.0, 0.0, None]
    assert stacked([], MINUTE_MS) == []


def test_a_band_lies_between_two_series_with_other_moments() -> None:
    """The area covers the time that both cover, with their ends on the lines, and ends at a gap."""
    upper = [(0, 10.0), (4, 14.0)]
    lower = [(2, 1.0), (3, 2.0), (6, 5.0)]
    (outline,) = band(upper, lower, 10)
    assert outline == [(2, 12.0), (4, 14.0), (4, 3.0), (3, 2.0), (2, 1.0)]
    assert band([(0, 1.0), (1, 1.0), (5, 1.0), (6, 1.0)], [(n, 0.0) for n in range(7)], 1) == [
        [(0, 1.0), (1, 1.0), (1, 0.0), (0, 0.0)],
        [(5, 1.0), (6, 1.0), (6, 0.0), (5, 0.0)],
    ]
    assert band([(0, 1.0)], [(0, 1.0)], 1) == []


def test_series_are_drawn_in_their_own_way() -> None:
    """Dashed, in the colour of a level, and the band between two: in the definition's words of either language."""
    panel = _chart(
        styles=(
            SeriesStyle(Text("plan", "régime"), dashed=True),
            SeriesStyle(Text("high", "haut"), level=Level.WATCH, down_to=Text("low", "bas")),
        )
    )
    points = [(0, 1.0), (1, 2.0)]
    drawn = _drawn(panel, _many(plan=points, high=points, low=points, spent=points))
    by_name = {one["name"]: one for one in drawn.values() if one["type"] == "line" and one["name"]}
    assert by_name["plan"]["lineStyle"]["type"] == "dashed"
    assert by_name["spent"]["lineStyle"]["type"] == "solid"
    assert by_name["high"]["color"] == by_name["low"]["color"] == "var(--watch)"
    assert by_name["spent"]["markPoint"]["data"]
    assert not by_name["high"]["markPoint"]["data"]
    assert drawn["band-0"]["type"] == "custom"
    french = charts.options(
        panel, series_of(_many(haut=points, bas=points)), _window(2), _state("lang=fr"), (), START_MS
    )
    assert "band-0" in {one["id"] for one in french["series"]}


def test_amounts_are_in_the_chosen_currency() -> None:
    """The axis, the legend, tiles and heads of columns say the currency in front of the unit."""
    state = _state("currency=USD&lang=fr")
    axis = charts.options(_chart(MONEY_PER_MTOK), series_of(_table([0])), _window(1), state)["yAxis"]
    assert axis["name"] == "USD/Mjetons"
    assert str(state.figure(Decimal("1234.5"), MONEY)) == "1\u202f234,50\u00a0USD"
    assert str(state.figure(0.5, SHARE)) == "50,0\u00a0%"
    html = markup.legend(_chart(MONEY), [Newest("a", 2.5, START_MS)], ["red"], _window(1), state)
    assert "USD" in html


def test_the_present_and_what_lies_ahead() -> None:
    """A range that reaches beyond now has a line there; a forecast's value says when it is for, nothing has ended."""
    table = _many(spent=[(0, 1.0), (4, 2.0)], forecast=[(4, 2.0), (10, 5.0)], old=[(0, 1.0)])
    lines = _drawn(_chart(), table, minutes=10, now=4)["marks"]["markLine"]["data"]
    assert [line["xAxis"] for line in lines] == [START_MS + 4 * MINUTE_MS]
    assert not _drawn(_chart(), table, minutes=10, now=10)["marks"]["markLine"]["data"]
    ends = {one.name: one for one in newest(series_of(table), MINUTE_MS, START_MS + 4 * MINUTE_MS)}
    assert (ends["forecast"].ahead, ends["spent"].ended, ends["old"].ended) == (True, False, True)
    html = markup.legend(_chart(), list(ends.values()), ["a", "b", "c"], _window(10), _state())
    assert "at 00:10" in html
    assert "until 00:00" in html
    long = Window(START_MS - 90 * DAY_MS, START_MS + DAY_MS, DAY_MS)
    assert "le 2026-11-01" in markup.legend(_chart(), list(ends.values()), ["a"] * 3, long, _state("lang=fr"))


def test_annotations_are_drawn_and_said() -> None:
    """Regions as areas, cut to the range, moments as lines, others left out; the list says them in words."""
    annotation = Annotation("alerts", Text("Alerts", "Alertes"), Level.ACT, "")
    table = Table(
        ("time", "timeEnd", "title", "text", "tags"),
        [
            (START + timedelta(minutes=2), START + timedelta(minutes=20), "narval is silent", "<b>", "critical"),
            (START + timedelta(minutes=3), None, "price", "", ""),
            (START - timedelta(minutes=9), None, "before", "", ""),
            (START_MS + 4 * MINUTE_MS, None, "in milliseconds", "", ""),
        ],
    )
    marks = marks_of(annotation, table, "fr")
    drawn = _drawn(_chart(), _table([0, 1]), marks=marks)["marks"]
    assert [line["xAxis"] - START_MS for line in drawn["markLine"]["data"]] == [3 * MINUTE_MS, 4 * MINUTE_MS]
    for start, end in drawn["markArea"]["data"]:
        assert (start["xAxis"] - START_MS, end["xAxis"] - START_MS) == (2 * MINUTE_MS, 10 * MINUTE_MS)
    html = listed(marks, "fr")
    assert "2026-11-01 00:02 au 2026-11-01 00:20 · Alertes" in html
    assert "&lt;b&gt;" in html
    hidden = charts.options(_chart(), series_of(_table([0])), _window(9), _state("marks=off"), marks, START_MS)
    assert not hidden["series"][0]["markArea"]["data"]
    assert listed([], "en") == '<p class="cw-note">No event in this range.</p>'
    with pytest.raises(QueryFailed, match="no moment"):
        marks_of(annotation, Table(table.names, [("soon", None, "", "", "")]), "en")


def test_regions_that_overlap_are_drawn_once() -> None:
    """Ten open alerts do not hide the figures behind ten layers; other levels keep a region of their own."""

    def region(start: int, end: int, level: Level = Level.WATCH) -> Mark:
        return Mark(START_MS + start * MINUTE_MS, START_MS + end * MINUTE_MS, "", f"{start}", "", level)

    marks = [region(5, 9), region(0, 2), region(1, 3), region(3, 4), region(1, 2, Level.ACT)]
    areas = _drawn(_chart(), _table([0, 1]), marks=marks)["marks"]["markArea"]["data"]
    ends = [tuple((end["xAxis"] - START_MS) // MINUTE_MS for end in area) for area in areas]
    assert ends == [(0, 4), (0, 4), (5, 9), (5, 9), (1, 2), (1, 2)]  # a wash and a strip each
    assert areas[0][0]["emphasis"]["label"]["formatter"] == "0\n1\n3"


def test_tables_of_another_form_are_refused_in_words() -> None:
    with pytest.raises(QueryFailed, match="yields no column series"):
        series_of(Table(("time", "value"), [(START, 1)]))
    with pytest.raises(QueryFailed, match="no numbers"):
        series_of(Table(("time", "series", "value"), [(START, "a", "much")]))
    assert series_of(Table((), [])) == []


# ---- tables --------------------------------------------------------------------------------------------------------

_USED = (Threshold(None, Level.GOOD, Text("fine", "bien")), Threshold(0.8, Level.WATCH, Text("soon", "bientôt")))
_COLUMNS = (
    Column("name", Text("Name", "Nom"), link=RowLink(AGREEMENT_DETAIL, {"agreement": "id"}, "first", "last")),
    Column("spent", Text("Spent", "Dépensé"), MONEY),
    Column("used", Text("Used", "Utilisé"), SHARE, thresholds=_USED, gauge=True),
    Column("trend", Text("Trend", "Tendance"), TEXT),
    Column("age", Text("Age", "Âge"), SECONDS),
)
_NAMES = ("name", "id", "first", "last", "spent", "used", "trend", "age")
_ROWS: list[tuple[object, ...]] = [
    ("Éole", "e", START_MS, START_MS + DAY_MS, Decimal("5.000000001"), 0.5, "▁▅█", 3),
    ("acme", "a", START_MS, None, Decimal(70), 0.9, "", None),
    ("Boréal", "", None, None, None, 0.1, " ▂", 90),
]


def _rows(order: tables.Order | None = None, query: str = "range=6h") -> str:
    panel = Panel(
        id=1, name="rows", kind=Kind.TABLE, title=WORDS, description=WORDS, sql="", grid=Grid(0, 0, 8, 8),
        columns=_COLUMNS,
    )  # fmt: skip
    return tables.grid(panel, Table(_NAMES, _ROWS), _state(query), order)


def test_a_row_leads_to_its_own_time() -> None:
    """The link sets the variable and the row's own range; an open end is that of the range shown; no value, no link."""
    links = re.findall(r'href="/d/cw-agreement\?([^"]*)"', _rows(query=f"from={START_MS}&to={NOW_MS}&theme=dark"))
    assert links == [
        f"from={START_MS}&amp;to={START_MS + DAY_MS}&amp;lang=en&amp;theme=dark&amp;agreement=e",
        f"from={START_MS}&amp;to={NOW_MS}&amp;lang=en&amp;theme=dark&amp;agreement=a",
    ]


@pytest.mark.parametrize(
    ("presses", "want"),
    [
        (["spent"], ["acme", "Éole", "Boréal"]),
        (["spent", "spent"], ["Éole", "acme", "Boréal"]),
        (["spent", "spent", "spent"], ["Éole", "acme", "Boréal"]),
        (["name"], ["acme", "Boréal", "Éole"]),
        (["spent", "name", "name"], ["Éole", "Boréal", "acme"]),
        (["nothing"], ["Éole", "acme", "Boréal"]),
    ],
)
def test_rows_in_the_order_of_a_column(presses: list[str], want: list[str]) -> None:
    """Figures largest first, texts A first, then the other way round, then as SQL has them; what is missing is last."""
    panel = Panel(
        id=1, name="rows", kind=Kind.TABLE, title=WORDS, description=WORDS, sql="", grid=Grid(0, 0, 8, 8),
        columns=_COLUMNS,
    )  # fmt: skip
    order = None
    for press in presses:
        order = tables.next_order(panel, order, press)
    html = _rows(order)
    assert re.findall(r'data-column="name" data-value="([^"]*)"', html) == want
    assert ("aria-sort" in html) is (order is not None)


def test_trends_are_bars_with_words() -> None:
    html = _rows()
    assert html.count('role="img"') == 2
    assert "Trend over 3 points: the newest at 8 of 8." in html
    assert 'data-value="▁▅█"' in html


def test_levels_are_said_and_not_only_coloured() -> None:
    html = _rows()
    assert ", soon</span>" in html
    assert 'title="soon">▲ </span>' in html


def test_text_from_the_database_stays_text() -> None:
    """Names come from configuration and exporters: markup in them is shown, not run."""
    evil = "<script>alert(1)</script>\"'"
    row = (evil, evil, START_MS, START_MS + DAY_MS, None, None, evil, None)
    panel = Panel(
        id=1, name="rows", kind=Kind.TABLE, title=WORDS, description=WORDS, sql="", grid=Grid(0, 0, 8, 8),
        columns=_COLUMNS,
    )  # fmt: skip
    html = tables.grid(panel, Table(_NAMES, [row]), _state())
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<script" not in markup.legend(_chart(), [Newest(evil, 1.0, 0)], [evil], _window(1), _state())
    assert "<script" not in markup.failure(evil, "en", shown=False)
    assert "<script" not in listed([Mark(0, None, evil, evil, evil, Level.ACT)], "en")
    drawn = _drawn(_chart(styles=(SeriesStyle(Text(evil, evil), down_to=Text("b", "b")),)), _many(b=[(0, 1.0)]))
    assert "band-0" not in drawn


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_every_panel_can_be_taken_along(lang: Lang) -> None:
    """Each heading links the panel's data and its SQL, with the viewer's choices."""
    for board in DASHBOARDS:
        state = State.read(board, QueryParams(f"range=1h&lang={lang}"), "")
        for panel in board.panels:
            html = markup.heading(panel, state)
            assert f'href="/d/{board.uid}/{panel.name}.csv?range=1h&amp;lang={lang}"' in html
            assert f'href="/d/{board.uid}/{panel.name}.sql?range=1h&amp;lang={lang}"' in html


def test_csv_has_every_digit_and_no_formula() -> None:
    """Amounts as they are stored, moments in UTC, nothing for null; a text never becomes a formula in a spreadsheet."""
    table = Table(
        ("amount", "share", "at", "name", "none"),
        [(Decimal("1234567.000000001"), 0.1, START, '=HYPERLINK("x")', None), (Decimal(-5), 2, START, 'a,"b', None)],
    )
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [
        ["amount", "share", "at", "name", "none"],
        ["1234567.000000001", "0.1", "2026-11-01T00:00:00Z", '\'=HYPERLINK("x")', ""],
        ["-5", "2", "2026-11-01T00:00:00Z", 'a,"b', ""],
    ]


# ---- reading -------------------------------------------------------------------------------------------------------


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


async def test_a_range_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(PageError, match=r"no time range 'soon'; choose one of 15m, .*fy with --range"):
        await run("http://127.0.0.1:9", port=0, opens_with="soon", stop=asyncio.Event())
