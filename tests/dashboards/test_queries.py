"""Every panel and variable query runs on the real engine as the read-only user, for every range and choice."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from dashboards.boards import DASHBOARDS
from dashboards.macros import Window, expand, substitute
from dashboards.model import Dashboard, Kind, Panel
from dashboards.page.state import RANGES
from dashboards.units import LANGS, Style, figure
from tests.dashboards import expected
from tests.dashboards.seed import AGREEMENTS, CLUSTERS, PROGRAMMES, STOPPED
from tests.dashboards.servers import ClickHouse

PANELS = [pytest.param(board, panel, id=f"{board.uid}/{panel.name}") for board in DASHBOARDS for panel in board.panels]
CHOICES = {
    "all": {},
    "one": {"programme": ["access-fund"], "agreement": ["acme-ai"], "cluster": ["fabric"],
            "model": ["cohere/command-r-plus"]},
    "many": {"programme": ["access-fund", "research"], "agreement": ["acme-ai", "boreal-nlp", "rrg-vision"],
             "cluster": ["fabric", "fir", "narval"], "model": ["cohere/command-r-plus", "meta/llama-3.3-70b"]},
}  # fmt: skip


def _statement(board: Dashboard, sql: str, window: Window, chosen: dict[str, list[str]], lang: str = "en") -> str:
    values: dict[str, Sequence[str]] = {v.name: chosen.get(v.name, ()) for v in board.variables}
    return expand(substitute(sql, values | {"lang": (lang,)}), window)


def _windows(seeded: ClickHouse) -> dict[str, Window]:
    assert seeded.ledger is not None
    to_ms = int(seeded.ledger.now.timestamp() * 1000)
    before = to_ms - 400 * 86_400_000
    return {
        "1h": Window(to_ms - 3_600_000, to_ms, 60_000),
        "30d": Window(to_ms - RANGES["30d"] * 1000, to_ms, 10_800_000),
        "empty": Window(before - 3_600_000, before, 60_000),
    }


def _check(panel: Panel, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if not rows:
        return  # the driver names no columns then
    if panel.kind is Kind.STAT:
        assert len(rows) == 1
        for row in rows:
            value = row[names.index("value")]
            assert value is None or isinstance(value, int | float | Decimal)
    elif panel.kind is Kind.TIMESERIES:
        assert list(names[:3]) == ["time", "series", "value"]
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        assert len({(row[0], row[1]) for row in rows}) == len(rows), "two points of one series at one time"
        assert all(isinstance(row[2], int | float | Decimal | None) for row in rows)
    else:
        assert {column.name for column in panel.columns} <= set(names)
        assert {column.link.column for column in panel.columns if column.link} <= set(names)
        for row in rows:
            for column in panel.columns:
                value = row[names.index(column.name)]
                if value is not None and column.unit.style is not Style.TEXT:
                    figure(value, column.unit, "fr")


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_panel_query(seeded: ClickHouse, board: Dashboard, panel: Panel) -> None:
    """1 h, 30 days and an empty range, with all, one and many values chosen, each of the form that the panel needs."""
    for span, window in _windows(seeded).items():
        for name, chosen in CHOICES.items():
            answer = seeded.analyst.query(_statement(board, panel.sql, window, chosen))
            _check(panel, answer.column_names, answer.result_rows)
            if span != "empty" and name != "one":
                assert answer.result_rows, f"{panel.name} is empty for {span}, {name}"
                if panel.kind is Kind.STAT:
                    assert answer.result_rows[0][0] is not None


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_panel_query_on_an_empty_book(empty: ClickHouse, board: Dashboard, panel: Panel) -> None:
    """Before the first usage every panel is empty; none fails."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    answer = empty.analyst.query(_statement(board, panel.sql, Window(now_ms - 3_600_000, now_ms), {}))
    _check(panel, answer.column_names, answer.result_rows)
    if panel.kind is not Kind.STAT:
        assert not answer.result_rows
    else:
        assert all(value is None for row in answer.result_rows for value in row)


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_variable_queries(seeded: ClickHouse, board: Dashboard) -> None:
    """Values and names of every variable; agreements follow the programme; French names where there are any."""
    window = _windows(seeded)["1h"]
    found = {}
    for variable in board.variables:
        answer = seeded.analyst.query(_statement(board, variable.sql, window, {}))
        assert answer.column_names == ("value", "text")
        found[variable.name] = [row[0] for row in answer.result_rows]
    assert set(found["programme"]) == {row[0] for row in PROGRAMMES}
    assert set(found["agreement"]) == {row.id for row in AGREEMENTS}
    if "cluster" in found:
        assert set(found["cluster"]) == {row[0] for row in CLUSTERS}
        assert "" not in found["model"]
    agreement = next(variable for variable in board.variables if variable.name == "agreement")
    answer = seeded.analyst.query(_statement(board, agreement.sql, window, {"programme": ["research"]}))
    assert {row[0] for row in answer.result_rows} == {row.id for row in AGREEMENTS if row.programme == "research"}
    texts = seeded.analyst.query(_statement(board, board.variables[0].sql, window, {}, "fr")).result_rows
    assert dict(texts)["research"] == "Crédits de recherche"
    assert dict(texts)["uk-pool"] == "Compute pool"


def test_freshness(seeded: ClickHouse, empty: ClickHouse) -> None:
    """The newest usage is the end of the newest ledger row; an empty book has none."""
    assert seeded.ledger is not None
    window = _windows(seeded)["1h"]
    for board in DASHBOARDS:
        ((newest, age_s),) = seeded.analyst.query(_statement(board, board.freshness_sql, window, {})).result_rows
        assert newest.replace(tzinfo=UTC) == seeded.ledger.now
        assert 0 <= age_s < 600
        assert not empty.analyst.query(_statement(board, board.freshness_sql, window, {})).result_rows


@pytest.mark.parametrize("span", ["1h", "30d"])
@pytest.mark.parametrize("agreements", [set(), {"acme-ai"}, {"acme-ai", STOPPED, "waiting"}], ids=len)
def test_burn_tiles_against_python(seeded: ClickHouse, span: str, agreements: set[str]) -> None:
    """The six figures of finance equal those worked out row by row in Python: money to the nano-dollar."""
    assert seeded.ledger is not None
    board, window = DASHBOARDS[0], _windows(seeded)[span]
    want = expected.burn_tiles(seeded.ledger, window.from_ms, window.to_ms, agreements)
    for panel in board.panels:
        if panel.kind is Kind.STAT:
            rows = seeded.analyst.query(
                _statement(board, panel.sql, window, {"agreement": sorted(agreements)})
            ).result_rows
            got = rows[0][0] if rows else None
            if isinstance(ratio := want[panel.name], Fraction):  # a double in the end: the page shows it so
                assert got == pytest.approx(float(ratio), rel=1e-12), panel.name
            else:
                assert got == want[panel.name], panel.name


@pytest.mark.parametrize("span", ["1h", "30d"])
def test_economics_tiles_against_python(seeded: ClickHouse, span: str) -> None:
    """Cost and energy per token, rates and busy share equal those worked out row by row in Python."""
    assert seeded.ledger is not None
    board, window = DASHBOARDS[1], _windows(seeded)[span]
    for _ in range(2):  # a minute may close between the two computations: then the second try agrees
        closed = (datetime.now(UTC) - timedelta(seconds=15)).replace(second=0, microsecond=0)
        exact = expected.economics_tiles(seeded.ledger, window.from_ms, window.to_ms, closed)
        want, got = {name: float(value) for name, value in exact.items()}, {}
        for panel in board.panels:
            if panel.name in want:
                got[panel.name] = seeded.analyst.query(_statement(board, panel.sql, window, {})).result_rows[0][0]
        if got == pytest.approx(want, rel=1e-12):
            return
    assert got == pytest.approx(want, rel=1e-12)


def test_totals_by_line_add_up(seeded: ClickHouse) -> None:
    """Conservation on the page: the rows of the cost table add up to the cost of the range."""
    assert seeded.ledger is not None
    board, window = DASHBOARDS[1], _windows(seeded)["30d"]
    panel = next(panel for panel in board.panels if panel.name == "costs")
    answer = seeded.analyst.query(_statement(board, panel.sql, window, {}))
    total = sum(row[answer.column_names.index("total")] for row in answer.result_rows)
    assert total == sum(line.cost for line in seeded.ledger.unit_costs if line.currency == "CAD"
                        and window.from_s <= line.minute.timestamp() <= window.to_s)  # fmt: skip


def test_other_currencies_are_named_not_added(seeded: ClickHouse) -> None:
    """Cost booked in pounds stands beside the totals, in pounds."""
    board, window = DASHBOARDS[1], _windows(seeded)["1h"]
    panel = next(panel for panel in board.panels if panel.name == "coverage-by-cluster")
    answer = seeded.analyst.query(_statement(board, panel.sql, window, {}))
    other = {row[0]: row[answer.column_names.index("other")] for row in answer.result_rows}
    assert other["Isambard-AI"].endswith(" GBP")
    assert other["Fir"] == ""


def test_coverage_tells_what_was_not_seen(seeded: ClickHouse) -> None:
    """The last hour was measured whole; of the thirty days before, two minutes in each hour."""
    board = DASHBOARDS[1]
    panel = next(panel for panel in board.panels if panel.name == "coverage")
    for span, low, high in (("1h", 0.99, 1.0), ("30d", 0.03, 0.05)):
        ((value,),) = seeded.analyst.query(_statement(board, panel.sql, _windows(seeded)[span], {})).result_rows
        assert low <= value <= high


@pytest.mark.parametrize("lang", LANGS)
def test_words_in_sql_follow_the_language(seeded: ClickHouse, lang: str) -> None:
    board, window = DASHBOARDS[1], _windows(seeded)["1h"]
    panel = next(panel for panel in board.panels if panel.name == "costs")
    rows = seeded.analyst.query(_statement(board, panel.sql, window, {}, lang)).result_rows
    assert ("aucun modèle" if lang == "fr" else "no model") in {row[1] for row in rows}
