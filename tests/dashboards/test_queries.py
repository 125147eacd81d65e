"""Every query of every dashboard runs on the real engine as the read-only user, for every range and choice; the figures
of finance equal those worked out in plain Python."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from dashboards.boards import BY_UID, DASHBOARDS, agreement, budget, subsidy_burn
from dashboards.macros import Window, expand, substitute
from dashboards.model import Annotation, Dashboard, Kind, Panel
from dashboards.units import Style, figure
from schemas.alert_rules import RULES
from schemas.texts import LANGS, Lang
from tests.dashboards import expected
from tests.dashboards.seed import AGREEMENT, AGREEMENTS, CLUSTERS, DAY, HOUR, MINUTE, PROGRAMMES, Ledger, hour_of
from tests.dashboards.servers import ClickHouse

BURN, DETAIL = subsidy_burn.DASHBOARD, agreement.DASHBOARD
PANELS = [pytest.param(board, panel, id=f"{board.uid}/{panel.name}") for board in DASHBOARDS for panel in board.panels]
MARKS = [pytest.param(board, mark, id=f"{board.uid}/{mark.name}") for board in DASHBOARDS for mark in board.annotations]
CHOICES: dict[str, dict[str, list[str]]] = {
    "all": {},
    "one": {"programme": ["access-fund"], "agreement": ["acme-ai"], "cluster": ["fabric"],
            "model": ["cohere/command-r-plus"]},
    "many": {"programme": ["access-fund", "research"], "agreement": ["acme-ai", "boreal-nlp", "rrg-vision"],
             "cluster": ["fabric", "fir", "narval"], "model": ["cohere/command-r-plus", "meta/llama-3.3-70b"]},
}  # fmt: skip


def statement(board: Dashboard, sql: str, window: Window, chosen: Mapping[str, Sequence[str]], lang: str = "en") -> str:
    """SQL as it reaches ClickHouse."""
    defaults = {v.name: [v.default] if v.default else [] for v in board.variables}
    values: dict[str, Sequence[str]] = {name: chosen.get(name, default) for name, default in defaults.items()}
    return expand(substitute(sql, values | {"lang": (lang,)}), window)


def windows(ledger: Ledger) -> dict[str, Window]:
    """Minutes, hours and days; in the past, and into the future; and one without anything."""
    now, hour, day = int(ledger.now.timestamp()), 3600, 86_400
    midnight = now // day * day
    spans = {
        "1h": (now - hour, now, 60),
        "30d": (now - 30 * day, now, 3 * hour),
        "1y": (now - 365 * day, now, day),
        "fiscal year": (midnight - 200 * day, midnight + 165 * day - 1, day),
        "week ahead": (now - 7 * day, now + 7 * day, 2 * hour),
        "past days": (midnight - 20 * day + 1234, midnight - 12 * day + 43_210, hour),
        "past hours": (now - 15 * day - 6 * hour, now - 15 * day, 120),
        "empty": (now - 400 * day - hour, now - 400 * day, 60),
    }
    return {name: Window(since * 1000, to * 1000, step * 1000) for name, (since, to, step) in spans.items()}


SPANS = ("1h", "30d", "1y", "fiscal year", "week ahead", "past days", "past hours")


def _panel(board: Dashboard, name: str) -> Panel:
    return next(panel for panel in board.panels if panel.name == name)


def rows(
    clickhouse: ClickHouse, board: Dashboard, sql: str, window: Window, lang: str = "en", **chosen: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of an answer, by column name."""
    answer = clickhouse.analyst.query(statement(board, sql, window, chosen, lang))
    return [dict(zip(answer.column_names, row, strict=True)) for row in answer.result_rows]


def _check(panel: Panel, answer: list[dict[str, Any]]) -> None:
    """The form that the kind of panel needs: see dashboards.model."""
    if panel.kind is Kind.STAT:
        assert len(answer) <= 1
        for row in answer:
            assert next(iter(row)) == "value"
            assert set(row) <= {"value", "note"}
            assert row["value"] is None or not isinstance(figure(row["value"], panel.unit, "fr"), str)
            assert isinstance(row.get("note", ""), str)
    elif panel.kind is Kind.TIMESERIES:
        assert all(list(row)[:3] == ["time", "series", "value"] for row in answer)
        assert [row["time"] for row in answer] == sorted(row["time"] for row in answer)
        assert all(isinstance(row["time"], datetime) and isinstance(row["series"], str) for row in answer)
        assert len({(row["time"], row["series"]) for row in answer}) == len(answer), "two points at one time"
        assert all(isinstance(row["value"], int | float | Decimal | None) for row in answer)
    else:
        needed = {column.name for column in panel.columns}
        needed |= {name for column in panel.columns if column.link for name in column.link.columns()}
        assert all(needed <= set(row) for row in answer)
        assert panel.limit is None or len(answer) <= panel.limit
        for row in answer:
            for column in panel.columns:
                if row[column.name] is not None and column.unit.style is not Style.TEXT:
                    figure(row[column.name], column.unit, "fr")
                if column.link and (uid := column.link.dashboard_column):
                    assert row[uid] in BY_UID or row[uid].startswith("cw-")
                for bound in (column.link.from_column, column.link.to_column) if column.link else ():
                    assert bound is None or isinstance(row[bound], int)


SPARSE = {"caps", "next-end", "runs-out", "held-by-cluster", "settlements"}
"""Panels that may be empty although there is usage."""


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_panel_query(seeded: ClickHouse, board: Dashboard, panel: Panel) -> None:
    """Every range, both languages, with all, one and many values chosen; each of the form that the panel needs."""
    assert seeded.ledger is not None
    every = windows(seeded.ledger)
    for number, span in enumerate(("1h", "30d", "empty", "1y", "fiscal year")):
        window = every[span]
        for name in list(CHOICES)[: 3 if number < 3 else 1]:
            answer = rows(seeded, board, panel.sql, window, LANGS[number % 2], **CHOICES[name])
            _check(panel, answer)
            if span in ("1h", "30d") and name == "all" and panel.name not in SPARSE:
                assert answer, f"{panel.name} is empty for {span}"
                if panel.kind is Kind.STAT:
                    assert answer[0]["value"] is not None


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_panel_query_on_an_empty_book(empty: ClickHouse, board: Dashboard, panel: Panel) -> None:
    """Before the first usage every panel is empty, and what is wrong is counted as 0; none fails."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    for window in (Window(now_ms - 3_600_000, now_ms), Window(now_ms - 365 * 86_400_000, now_ms, 86_400_000)):
        answer = rows(empty, board, panel.sql, window)
        _check(panel, answer)
        assert not answer or (panel.kind is Kind.STAT and answer[0]["value"] in (None, 0))


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_variable_queries(seeded: ClickHouse, board: Dashboard) -> None:
    """Values and names of every variable; agreements follow the programme; French names where there are any."""
    assert seeded.ledger is not None
    known = {
        "programme": {row[0] for row in PROGRAMMES}, "agreement": {row.id for row in AGREEMENTS},
        "cluster": {row[0] for row in CLUSTERS}, "currency": {"CAD", "GBP"},
    }  # fmt: skip
    for span, window in windows(seeded.ledger).items():
        for variable in board.variables:
            answer = rows(seeded, board, variable.sql, window)
            assert all(list(row) == ["value", "text"] for row in answer)
            found = {row["value"] for row in answer}
            if variable.name == "model":
                assert found == set() if span == "empty" else "mila/petit-7b" in found
                assert "" not in found
            else:
                assert found == known[variable.name]
            assert variable.default is None or variable.default in found
            if variable.name == "agreement":
                answer = rows(seeded, board, variable.sql, window, programme=["research"])
                assert {row["value"] for row in answer} == {a.id for a in AGREEMENTS if a.programme == "research"}
            if variable.name == "programme":
                texts = {row["value"]: row["text"] for row in rows(seeded, board, variable.sql, window, "fr")}
                assert texts["research"] == "Crédits de recherche"
                assert texts["uk-pool"] == "Compute pool"


@pytest.mark.parametrize(("board", "mark"), MARKS)
def test_annotation_queries(seeded: ClickHouse, empty: ClickHouse, board: Dashboard, mark: Annotation) -> None:
    """Columns, types and order of annotations for every range and choice; none in an empty book."""
    assert seeded.ledger is not None
    for window in windows(seeded.ledger).values():
        for number, chosen in enumerate(CHOICES.values()):
            answer = rows(seeded, board, mark.sql, window, LANGS[number % 2], **chosen)
            assert [row["time"] for row in answer] == sorted(row["time"] for row in answer)
            for row in answer:
                assert list(row) == ["time", "timeEnd", "title", "text", "tags"]
                assert row["timeEnd"] is None or row["timeEnd"] >= row["time"]
                assert all(isinstance(row[name], str) for name in ("title", "text", "tags"))
                assert row["title"]
                begins = row["time"].replace(tzinfo=UTC).timestamp()
                ends = (row["timeEnd"] or row["time"]).replace(tzinfo=UTC).timestamp()
                assert begins <= window.to_s + 1
                assert ends >= window.from_s // 86_400 * 86_400
        assert not rows(empty, board, mark.sql, window)


def test_annotations_say_what_happened(seeded: ClickHouse) -> None:
    """A month of finance: the alert that ended is a region, the one that fires reaches to now, and the price and the
    cap that changed are moments; an agreement's marks are its own."""
    assert seeded.ledger is not None
    now, window = seeded.ledger.now, windows(seeded.ledger)["30d"]
    marks = {mark.name: mark for mark in BURN.annotations}
    alerts = rows(seeded, BURN, marks["alerts"].sql, window, "fr")
    slow = next(row for row in alerts if "acme-ai" in row["title"])
    assert slow["text"] == "acme-ai dépense 1,4 fois trop vite"
    assert (slow["time"], slow["timeEnd"]) == tuple((now - days * DAY).replace(tzinfo=None) for days in (5, 3))
    fires = next(row for row in alerts if "northern-bio" in row["title"])
    assert fires["timeEnd"].replace(tzinfo=UTC) == now
    assert fires["tags"] == "alert,critical"
    (price,) = rows(seeded, BURN, marks["prices"].sql, window)
    assert price["text"] == "isambard · NVIDIA GH200* · 2.75 GBP/GPU-h"
    (cap,) = rows(seeded, BURN, marks["caps"].sql, window)
    assert (cap["title"], cap["text"]) == ("Cap changed: acme-ai", "1200000 → 1500000")
    for name in ("alerts", "caps"):
        answer = rows(seeded, BURN, marks[name].sql, window, agreement=["northern-bio"])
        assert all("northern-bio" in row["title"] for row in answer)


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_freshness(seeded: ClickHouse, empty: ClickHouse, board: Dashboard) -> None:
    """The newest usage is the end of the newest row of the ledger; an empty book has none."""
    assert seeded.ledger is not None
    window = windows(seeded.ledger)["1h"]
    ((newest, age_s),) = seeded.analyst.query(statement(board, board.freshness_sql, window, {})).result_rows
    if datetime.now(UTC) - seeded.ledger.now < 4 * MINUTE:  # to the second while it is new, then to the minute
        assert newest.replace(tzinfo=UTC) == seeded.ledger.now
    assert 0 <= age_s < 900
    assert not empty.analyst.query(statement(board, board.freshness_sql, window, {})).result_rows


_ALL: tuple[set[str], set[str], str] = (set(), set(), "CAD")


@pytest.mark.parametrize(
    ("programmes", "agreements", "currency", "span"),
    [
        *(pytest.param(*_ALL, span, id=f"all-{span}") for span in SPANS),
        *(
            pytest.param(*choice, span, id=f"{name}-{span}")
            for name, choice in {
                "one": (set(), {"acme-ai"}, "CAD"),
                "many": (set(), {"acme-ai", "def-climate", "waiting", "past-lab"}, "CAD"),
                "programme": ({"research"}, set(), "CAD"),
                "pounds": (set(), set(), "GBP"),
            }.items()
            for span in ("1h", "fiscal year", "past days")
        ),
        pytest.param(set(), {"bristol"}, "CAD", "1h", id="none-1h"),
    ],
)
def test_figures_against_python(
    seeded: ClickHouse, programmes: set[str], agreements: set[str], currency: str, span: str
) -> None:
    """The six figures of both dashboards equal those worked out row by row in Python: money to the nano-unit. Over the
    seam between settled hours and live minutes, at ends of ranges in the past, now, and in the future."""
    assert seeded.ledger is not None
    window = windows(seeded.ledger)[span]
    want = expected.budget_tiles(seeded.ledger, window, expected.chosen(programmes, agreements, currency))
    figures: dict[str, Panel] = {}
    for board in (BURN, DETAIL):
        six = [panel for panel in board.panels if panel.kind is Kind.STAT and panel.name in want]
        assert len(six) == 6
        for panel in six:
            assert figures.setdefault(panel.name, panel).sql == panel.sql  # asked once where both have it
    assert set(figures) == set(want)
    for panel in figures.values():
        answer = rows(
            seeded, BURN, panel.sql, window, programme=sorted(programmes), agreement=sorted(agreements),
            currency=[currency],
        )  # fmt: skip
        got = answer[0]["value"] if answer else None
        if isinstance(ratio := want[panel.name], Fraction):  # a double in the end: the page shows it so
            assert got == pytest.approx(float(ratio), rel=1e-12), panel.name
        else:
            assert got == want[panel.name], panel.name


def test_notes_beside_figures(seeded: ClickHouse) -> None:
    """What stands beside the figures: who runs out next, the share of caps, times the lasting rate, the change."""
    assert seeded.ledger is not None
    ledger, window = seeded.ledger, windows(seeded.ledger)["1h"]
    notes = {
        panel.name: rows(seeded, BURN, panel.sql, window, "fr")[0].get("note")
        for panel in BURN.panels
        if panel.kind is Kind.STAT
    }
    assert notes["next-end"] == "Acme AI Inc."
    share = 100 * (1500000 + 168600.125 + 90000 + 6500.25) / (1500000 + 250000 + 90000 + 7000)
    assert notes["projected"] == f"{share:.1f}\u00a0% des plafonds · 3 sans prévision".replace(".", ",")
    at, cad = expected.end_of(window), expected.chosen(set(), set(), "CAD")
    want = expected.budget_tiles(ledger, window, [one for one in cad if one.cap is not None])
    lasting = sum(
        float(terms.cap - expected.spent_at(ledger, terms, at)) / ((terms.over(ledger.now) - at) / HOUR)
        for terms in cad
        if terms.cap is not None and terms.over(ledger.now) > at
    )
    times = float(want["burn-rate"] or 0) / lasting
    assert notes["burn-rate"] == f"{times:.2f} × le rythme tenable".replace(".", ",")
    assert str(notes["spent"]).startswith("7 jours\u00a0: ")


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("agreements", [set(), {"boreal-nlp"}, {"acme-ai", "past-lab"}], ids=["all", "one", "many"])
def test_burn_down_against_python(seeded: ClickHouse, span: str, agreements: set[str]) -> None:
    """Every point of the money left equals what plain Python makes of the rows until then, to the nano-dollar; the plan
    and the forecast with its band likewise, to the precision of a double."""
    assert seeded.ledger is not None
    ledger, window = seeded.ledger, windows(seeded.ledger)[span]
    chosen = expected.chosen(set(), agreements, "CAD")
    answer = rows(seeded, BURN, _panel(BURN, "burn-down").sql, window, agreement=sorted(agreements))
    series: dict[str, dict[datetime, Decimal]] = {}
    for row in answer:
        series.setdefault(row["series"], {})[row["time"].replace(tzinfo=UTC)] = row["value"]
    upto = expected.end_of(window)
    actual = series[budget.ACTUAL.en]
    assert max(actual) == upto or span == "fiscal year" or abs((max(actual) - upto).total_seconds()) < 60
    moments = sorted(actual)
    for at in _some(actual):
        until = at.replace(second=0) + MINUTE if at == moments[-1] else at
        assert actual[at] == expected.money_left(ledger, window, chosen, until), at
    plan = series[budget.PLAN.en]
    for at in _some(plan):
        assert float(plan[at]) == pytest.approx(float(expected.planned_left(ledger, chosen, at)), abs=1e-6), at
    ahead = window.to_s > ledger.now.timestamp() + 600
    assert (budget.FORECAST.en in series) == ahead
    if ahead:
        for at in _some(series[budget.FORECAST.en])[1:]:
            got = [float(series[name.en][at]) for name in (budget.FORECAST, budget.EARLY, budget.LATE)]
            assert got == pytest.approx(expected.forecast_left(ledger, window, chosen, at), rel=1e-4, abs=1), at
            assert got[1] <= got[0] <= got[2]


def _some(points: Mapping[datetime, object]) -> list[datetime]:
    """The first and last three moments of a series, and ten between."""
    moments = sorted(points)
    return sorted({*moments[:3], *moments[:: max(1, len(moments) // 10)], *moments[-3:]})


@pytest.mark.parametrize("span", ["1h", "30d", "1y"])
def test_spending_adds_up(seeded: ClickHouse, span: str) -> None:
    """Conservation on the page: what programmes paid and what recipients paid in the intervals add up to the cost of
    the table, and that to the rows of the book."""
    assert seeded.ledger is not None
    window = windows(seeded.ledger)[span]
    own = {terms.id for terms in expected.chosen(set(), set(), "CAD")}
    book = [line for line in expected.in_range(seeded.ledger, window) if line.agreement in own]
    paid = rows(seeded, BURN, _panel(BURN, "spent-by-programme").sql, window)
    parts = rows(seeded, DETAIL, _panel(DETAIL, "spent-per-day").sql, window)
    table = rows(seeded, DETAIL, _panel(DETAIL, "cost-by-model").sql, window)
    assert sum(row["value"] for row in paid) == sum(line.subsidy for line in book)
    assert sum(row["value"] for row in parts) == sum(line.cost for line in book)
    assert sum(row["total"] for row in table if row["currency"] == "CAD") == sum(line.cost for line in book)
    tokens = rows(seeded, DETAIL, _panel(DETAIL, "tokens").sql, window)
    every = [line for line in expected.in_range(seeded.ledger, window) if line.agreement and line.model]
    assert sum(row["value"] for row in tokens) == sum(line.prompt_tokens + line.generation_tokens for line in every)


@pytest.mark.parametrize("span", ["1h", "30d", "1y"])
def test_burn_by_agreement_against_python(seeded: ClickHouse, span: str) -> None:
    """A point is the subsidy of its interval per hour; the interval that is still filling is not shown."""
    assert seeded.ledger is not None
    ledger, window = seeded.ledger, windows(seeded.ledger)[span]
    answer = rows(seeded, BURN, _panel(BURN, "burn-by-agreement").sql, window, agreement=["acme-ai"])
    width, paid = timedelta(seconds=window.interval_s), dict[int, Decimal]()
    for line in expected.in_range(ledger, window):
        if line.agreement == "acme-ai":
            interval = int(expected.moment(line).timestamp()) // window.interval_s
            paid[interval] = paid.get(interval, Decimal(0)) + line.subsidy
    for row in answer[2:-1]:
        begins = int(row["time"].replace(tzinfo=UTC).timestamp())
        assert row["value"] == pytest.approx(float(paid[begins // window.interval_s]) / (width / HOUR), rel=1e-9)
    assert max(row["time"] for row in answer).replace(tzinfo=UTC) <= ledger.now


def test_agreements_table(seeded: ClickHouse) -> None:
    """Every agreement in its own currency, with the link over its own term, the band of its forecast, its last days."""
    assert seeded.ledger is not None
    ledger, window = seeded.ledger, windows(seeded.ledger)["1h"]
    table = {
        row["agreement"]: row for row in rows(seeded, BURN, _panel(BURN, "agreements").sql, window, currency=["GBP"])
    }
    assert set(table) == set(AGREEMENT)
    assert table["bristol"]["currency"] == "GBP"
    for name, terms in AGREEMENT.items():
        row = table[name]
        assert row["spent"] == expected.spent_at(ledger, terms, expected.end_of(window))
        assert row["from_ms"] == _ms(terms.starts(ledger.now))
        assert row["to_ms"] == int(terms.over(ledger.now).timestamp()) * 1000
    until = ledger.forecasts[0].until
    assert table["acme-ai"]["band"] == f"{until.date() + 20 * DAY} – {until.date() + 90 * DAY}"
    assert table["boreal-nlp"]["band"] == ""
    assert len(table["acme-ai"]["trend"]) == 14
    assert table["acme-ai"]["change"] == pytest.approx(_change(ledger, "acme-ai"), rel=1e-9)
    assert table["waiting"]["change"] is None


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _change(ledger: Ledger, name: str) -> float:
    midnight = ledger.now.replace(hour=0, minute=0, second=0)

    def days(first: int, last: int) -> Decimal:
        book = expected.lines(ledger, midnight - first * DAY, midnight - last * DAY, ledger.settled_until)
        return sum((line.subsidy for line in book if line.agreement == name), Decimal(0))

    return float(days(7, 0) / days(14, 7)) - 1


def test_open_alerts(seeded: ClickHouse) -> None:
    """What fires, in the dashboard's language, the most severe first, with money and a link at its time; and what fired
    at another moment. Choosing an agreement or a programme leaves its own."""
    assert seeded.ledger is not None
    panel, window, now = _panel(BURN, "open-alerts"), windows(seeded.ledger)["1h"], seeded.ledger.now
    answer = rows(seeded, BURN, panel.sql, window, "fr")
    assert [row["rule"] for row in answer] == ["budget_90", "allocated_idle", "quarantine", "cost_per_mtok"]
    assert answer[0]["what"] == "northern-bio a utilisé 99 % de son plafond"
    assert answer[1]["what"] == "GPU-9f3c is held by <notebook-7> and idle"
    assert (answer[0]["at_stake"], answer[0]["stake_currency"]) == (Decimal("11.088"), "CAD")
    home = {rule.id: rule.dashboard for rule in RULES}
    for row in answer:
        assert row["explained_by"] == home[row["rule"]]
        start_ms = int(row["starts_at"].replace(tzinfo=UTC).timestamp() * 1000)
        assert (row["from_ms"], start_ms <= row["to_ms"]) == (start_ms - 3_600_000, True)
    assert [row["about"] for row in rows(seeded, BURN, panel.sql, window, agreement=["rrg-vision"])] == ["GPU-9f3c"]
    assert [row["about"] for row in rows(seeded, BURN, panel.sql, window, programme=["research"])] == ["GPU-9f3c"]
    then = Window(window.from_ms - 4 * 86_400_000, int((now - 4 * DAY).timestamp() * 1000))
    assert [row["rule"] for row in rows(seeded, BURN, panel.sql, then)] == ["burn_slow"]


def test_closing(seeded: ClickHouse) -> None:
    """Up to when figures are metered, settled and final."""
    assert seeded.ledger is not None
    ledger, window = seeded.ledger, windows(seeded.ledger)["1h"]
    answer = {
        row["stage"]: row["upto"].replace(tzinfo=UTC) for row in rows(seeded, BURN, _panel(BURN, "closing").sql, window)
    }
    assert set(answer) == {"metered", "settled", "final"}
    assert answer["settled"] == ledger.settled_until
    final = min(row.period_start for row in ledger.settled if row.period_start >= ledger.now - 2 * DAY)
    assert answer["final"] == final


@pytest.mark.parametrize("lang", LANGS)
def test_words_follow_the_language(seeded: ClickHouse, lang: Lang) -> None:
    """Words that SQL yields are in the dashboard's language."""
    assert seeded.ledger is not None
    window = windows(seeded.ledger)["1h"]
    answer = rows(seeded, DETAIL, _panel(DETAIL, "cost-by-model").sql, window, lang)
    assert ("aucun modèle" if lang == "fr" else "no model") in {row["model_title"] for row in answer}
    terms = {row["agreement"]: row for row in rows(seeded, DETAIL, _panel(DETAIL, "terms").sql, window, lang)}
    elsewhere = "ailleurs 1/2 jusqu’au" if lang == "fr" else "elsewhere 1/2 until"
    assert terms["acme-ai"]["share"] == f"2/3, {elsewhere} 2027-03-31"
    plan = json.dumps([terms["boreal-nlp"]["planned"], terms["acme-ai"]["planned"]])
    assert "140000" in plan
    assert plan.endswith(', ""]')


def test_workloads_link_to_their_own_hours(seeded: ClickHouse) -> None:
    """A workload's row leads to the hours in which it ran, whatever the range."""
    assert seeded.ledger is not None
    now = seeded.ledger.now
    for span in ("1h", "1y"):
        answer = rows(seeded, DETAIL, _panel(DETAIL, "workloads").sql, windows(seeded.ledger)[span])
        row = next(row for row in answer if row["workload"] == "llm/command-0" and row["cluster"] == "fir")
        assert row["from_ms"] <= row["to_ms"] - 3_600_000
        assert row["to_ms"] == int(hour_of(now).timestamp() + 3600) * 1000
        assert 0.75 < row["busy"] < 0.85
