"""The committed Grafana dashboards are those of the definitions, and follow the rules that keep dashboards usable."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.boards import BY_UID, DASHBOARDS
from dashboards.generate import documents, grafana_files, write
from dashboards.grafana import dashboard_json, render
from dashboards.grafana.links import grafana_uid, names_of, row_link
from dashboards.grafana.provisioning import FOLDERS, ROOT
from dashboards.grafana.sources import BY_AUDIENCE
from dashboards.macros import Window, expand, variables_in
from dashboards.model import MAX_POINTS, Dashboard, Kind, Level, Panel, RowLink, SeriesStyle
from schemas.texts import LANGS, Lang, Text
from tests.dashboards.sdk import unknown_in_dashboard

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "dashboards"
INVISIBLE = re.compile("[\ufeff\u200b-\u200f\u2060]")
BUILT_IN = "-- Grafana --"
REFERENCE = {"agreements", "clusters", "deployments", "programmes"}  # small, and without a history to bound

BOARDS = [
    pytest.param(json.loads(render(board, lang)), id=grafana_uid(board, lang)) for board in DASHBOARDS for lang in LANGS
]
DEFINED = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
RENDERED = pytest.mark.parametrize("board", BOARDS)


def _every(node: Any, key: str) -> Iterator[Any]:
    """Every value under that key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from _every(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _every(value, key)


def _statements(board: dict[str, Any]) -> list[str]:
    return list(_every(board, "rawSql"))


# ---- generated files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "folder"), [(grafana_files(), COMMITTED), (documents(), REPOSITORY / "docs")], ids=["grafana", "docs"]
)
def test_committed_files_are_those_of_the_definitions(files: dict[str, str], folder: Path) -> None:
    """Whoever changes a definition runs `python -m dashboards build` and commits what it writes."""
    for name, text in files.items():
        path = folder / name
        assert path.is_file() and path.read_text("utf-8") == text, f"{path}: run python -m dashboards build"  # noqa: PT018


def test_no_file_is_left_of_a_dashboard_that_is_gone() -> None:
    generated = {COMMITTED / name for name in grafana_files() if name.endswith(".json")}
    assert set(COMMITTED.glob("grafana/**/*.json")) == generated


def test_the_build_is_stable(tmp_path: Path) -> None:
    """The same definitions give the same bytes, with sorted keys: a change is a small difference."""
    files = grafana_files()
    assert files == grafana_files()
    for path in write(files, tmp_path):
        text = path.read_text("utf-8")
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        if path.suffix == ".json":
            assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", [*grafana_files(), *documents()])
def test_no_invisible_characters(name: str) -> None:
    text = (grafana_files() | documents())[name]
    assert not INVISIBLE.search(text)


def test_uids_are_unique() -> None:
    uids = [grafana_uid(board, lang) for board in DASHBOARDS for lang in LANGS]
    assert len(set(uids)) == len(uids) == len(BOARDS)


# ---- the form of dashboards ------------------------------------------------------------------------------------------


@RENDERED
def test_grafana_knows_every_key(board: dict[str, Any]) -> None:
    assert not unknown_in_dashboard(board)


def test_a_wrong_key_is_noticed() -> None:
    """The comparison above can fail: in options, in custom fields, in overrides, and at the top."""
    board = json.loads(render(DASHBOARDS[0], "en"))
    chart = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    chart["options"]["legendd"] = {"showLegend": True}
    chart["fieldConfig"]["defaults"]["custom"]["lineWdth"] = 2
    chart["fieldConfig"]["overrides"].append(
        {"matcher": {"id": "byName", "options": "x"}, "properties": [{"id": "custom.fillBelow", "value": "y"}]}
    )
    board["refrehs"] = "1m"
    found = " ".join(unknown_in_dashboard(board))
    for wrong in ("legendd", "lineWdth", "fillBelow", "refrehs"):
        assert wrong in found


@DEFINED
def test_head(board: Dashboard) -> None:
    """Range, refresh and fiscal year suit the audience; the cursor is shared; nothing is edited by hand."""
    for lang in LANGS:
        head = dashboard_json(board, lang)
        assert head["refresh"] == {"finance": "1m", "operations": "10s"}[board.audience]
        assert (head["timezone"], head["graphTooltip"], head["editable"]) == ("utc", 1, False)
        assert head["fiscalYearStartMonth"] == 3, "April, counted from 0"
        if board.range == "fy":
            assert head["time"] == {"from": "now/fy", "to": "now/fy"}
        else:
            assert head["time"] == {"from": f"now-{board.range}", "to": "now"}
            assert re.fullmatch(r"\d+[hd]", board.range)
        assert head["title"] == board.title.of(lang)


@RENDERED
def test_grid(board: dict[str, Any]) -> None:
    """Panels do not overlap, stand in reading order, and fill rows of 24 columns."""
    taken: dict[tuple[int, int], str] = {}
    places = [panel["gridPos"] for panel in board["panels"]]
    assert places == sorted(places, key=lambda grid: (grid["y"], grid["x"]))
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len(taken) == 24 * max(grid["y"] + grid["h"] for grid in places)


@RENDERED
def test_the_strip_on_top(board: dict[str, Any]) -> None:
    """Eight figures first: six, then how much was observed and how new it is."""
    first = board["panels"][:8]
    assert all(panel["type"] == "stat" for panel in first)
    assert [panel["gridPos"] for panel in first] == [{"x": 3 * at, "y": 0, "w": 3, "h": 4} for at in range(8)]


@DEFINED
def test_coverage_and_freshness_stand_beside_totals(board: Dashboard) -> None:
    assert [panel.name for panel in board.panels[6:8]] == ["observed", "newest"]


@RENDERED
def test_panels(board: dict[str, Any]) -> None:
    """Every panel says what it shows, in which unit, from which data source, with a proper query."""
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids
    for panel in board["panels"]:
        where = panel["title"]
        assert len(panel["description"]) > 60, where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["fieldConfig"]["defaults"]["noValue"], where
        assert (panel["maxDataPoints"], panel["interval"]) == (MAX_POINTS, "1m")
        for thresholds in (*_every(panel["fieldConfig"], "thresholds"), *_thresholds_of_columns(panel)):
            marks = [step["value"] for step in thresholds["steps"]]
            assert marks[0] is None, where
            assert marks[1:] == sorted(set(marks[1:])), where
        (target,) = panel["targets"]
        assert target["editorType"] == "sql"
        assert type(target["format"]) is int
        if panel["type"] == "timeseries":
            assert target["format"] == 0
            assert " AS time" in target["rawSql"], where
            assert re.search(r"ORDER BY time\b", target["rawSql"]), where
        else:
            assert target["format"] == 1


def _thresholds_of_columns(panel: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for override in panel["fieldConfig"]["overrides"]:
        yield from (item["value"] for item in override["properties"] if item["id"] == "thresholds")


@DEFINED
def test_names_within_a_dashboard(board: Dashboard) -> None:
    names = [panel.name for panel in board.panels]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


@RENDERED
def test_data_sources(board: dict[str, Any]) -> None:
    """Everything asks the data source that is chosen above; only Grafana's own annotations have another."""
    found = [source["uid"] for source in _every(board, "datasource")]
    assert set(found) == {"${datasource}", BUILT_IN}
    assert found.count(BUILT_IN) == 1


# ---- queries ---------------------------------------------------------------------------------------------------------


@DEFINED
def test_queries_are_bounded_in_time(board: Dashboard) -> None:
    """A panel looks at the range, at its end, or, declared so, at the present."""
    for panel in board.panels:
        if panel.bounded == "range":
            assert _within(panel.sql), panel.name
        elif panel.bounded == "end":
            assert "$__toTime" in panel.sql, panel.name
        else:
            read = set(re.findall(r"\b(?:FROM|JOIN) (\w+)", panel.sql))
            assert read <= REFERENCE or re.search(r"\bnow(64)?\(", panel.sql), panel.name
        if panel.kind is Kind.TABLE:
            assert panel.limit is None or f"LIMIT {panel.limit}" in panel.sql, panel.name
    for annotation in board.annotations:
        assert _within(annotation.sql), annotation.name


def _within(sql: str) -> bool:
    """Whether a statement asks about the range: by a filter, or by both of its ends."""
    return bool(re.search(r"\$__(timeFilter|dateFilter)\(", sql)) or {"$__fromTime", "$__toTime"} <= set(
        re.findall(r"\$__\w+", sql)
    )


@RENDERED
def test_statements(board: dict[str, Any]) -> None:
    """Every value quoted, every variable there, and no macro that is unknown or rewrites the statement."""
    variables = {variable["name"] for variable in board["templating"]["list"]}
    for sql in _statements(board):
        assert variables_in(sql) <= variables
        assert "'$" not in sql
        for bare in re.findall(r"\$\{\w+(?!:singlequote)[:}]", sql):
            raise AssertionError(f"{bare} without :singlequote")
        plain = sql.replace("$__conditionalAll", "")
        assert "$__" not in expand(plain, Window(0, 3_600_000)), "a macro that the plugin does not know"


@RENDERED
def test_variables(board: dict[str, Any]) -> None:
    """No free text: values come from the book. All where several can be chosen, else one that is chosen at first."""
    listed = board["templating"]["list"]
    assert [variable["name"] for variable in listed][:2] == ["datasource", "lang"]
    assert {variable["type"] for variable in listed[2:]} == {"query"}
    for variable in listed[2:]:
        assert variable["query"]["rawSql"] == variable["definition"]
        assert variable["includeAll"] is variable["multi"]
        current = variable["current"]["value"]
        assert current == ["$__all"] if variable["multi"] else isinstance(current, str) and current
        if not variable["multi"]:
            assert f"${variable['name']})" not in "".join(_statements(board)), "has no All"


@DEFINED
def test_money_says_its_currency(board: Dashboard) -> None:
    """Grafana has no unit for a currency that is chosen: titles name it. Such panels need the variable."""
    names = {variable.name for variable in board.variables}
    for panel, drawn in zip(board.panels, json.loads(render(board, "en"))["panels"], strict=True):
        money = panel.unit.money or any(column.unit.money for column in panel.columns)
        assert drawn["title"].endswith(" (${currency})") is money
        assert not money or "currency" in names, panel.name


@RENDERED
def test_annotations(board: dict[str, Any]) -> None:
    """Grafana's own first, then those of the book: tables whose columns it knows, in a named colour."""
    own, *ours = board["annotations"]["list"]
    assert own["builtIn"] == 1
    names = [annotation["name"] for annotation in ours]
    assert len(set(names)) == len(names)
    for annotation in ours:
        assert type(annotation["target"]["format"]) is int
        assert annotation["target"]["format"] == 1
        assert annotation["iconColor"] in {"red", "orange", "green", "text"}
        for column in ("time", "timeEnd", "title", "text", "tags"):
            assert re.search(rf"\b{column}\b", annotation["target"]["rawSql"]), column


@RENDERED
def test_series_that_are_drawn_apart(board: dict[str, Any]) -> None:
    """Overrides name series in the language of the dashboard: the SQL yields the same words."""
    for panel in board["panels"]:
        if panel["type"] != "timeseries":
            continue
        sql = panel["targets"][0]["rawSql"]
        for override in panel["fieldConfig"]["overrides"]:
            below = [item["value"] for item in override["properties"] if item["id"] == "custom.fillBelowTo"]
            for name in (override["matcher"]["options"], *below):
                assert name.replace("'", "\\'") in sql, f"{panel['title']}: no series {name!r}"


# ---- links -----------------------------------------------------------------------------------------------------------


@DEFINED
@pytest.mark.parametrize("lang", LANGS)
def test_links_lead_somewhere(board: Dashboard, lang: Lang) -> None:
    """To a dashboard that exists, in the same language, with variables that exist there and values that exist here."""
    by_uid = {grafana_uid(one, lang): one for one in DASHBOARDS}
    here, found = set(names_of(board)), 0
    for panel in json.loads(render(board, lang))["panels"]:
        sql = panel["targets"][0]["rawSql"]
        for url in (link["url"] for links in [*_every(panel, "links"), *_override_links(panel)] for link in links):
            match = re.fullmatch(r"/d/([\w-]+|\$\{__data\.fields\.(\w+)\}(-fr)?)\?(.+)", url)
            assert match, url
            if match[2]:  # each row says to which
                assert (match[3] == "-fr") is (lang == "fr")
                assert re.search(rf"\b{match[2]}\b", sql), f"no column {match[2]}"
            there = {n for one in ([*by_uid.values()] if match[2] else [by_uid[match[1]]]) for n in names_of(one)}
            for part in match[4].split("&"):
                if set_to := re.fullmatch(r"var-(\w+)=\$\{__data\.fields\.(\w+):percentencode\}", part):
                    assert set_to[1] in there, url
                    assert re.search(rf"\b{set_to[2]}\b", sql), f"no column {set_to[2]}"
                elif carried := re.fullmatch(r"\$\{(\w+):queryparam\}", part):
                    assert carried[1] in here & there, url
                elif own := re.fullmatch(r"(?:from|to)=\$\{__data\.fields\.(\w+)\.numeric\}", part):
                    assert re.search(rf"\b{own[1]}\b", sql), f"no column {own[1]}"
                else:
                    assert part in {"${__url_time_range}", "${__all_variables}", "from=${__from}", "to=${__to}"}, part
            named = re.findall(r"(?:var-(\w+)=|\$\{(\w+):queryparam)", url)
            assert len(named) == len(set(named)), "a variable set twice"
            found += 1
    assert found


def _override_links(panel: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    for override in panel["fieldConfig"]["overrides"]:
        yield from (item["value"] for item in override["properties"] if item["id"] == "links")


@RENDERED
def test_ways_between_dashboards(board: dict[str, Any]) -> None:
    """Beside panels: to every dashboard of the language, and to this one in the other; range and variables go along."""
    others, translated = board["links"]
    lang = "fr" if board["uid"].endswith("-fr") else "en"
    assert others["tags"] == [f"commonwatt-{lang}"]
    assert set(others["tags"]) < set(board["tags"])
    assert translated["url"] == f"/d/{board['uid'].removesuffix('-fr')}{'' if lang == 'fr' else '-fr'}"
    assert all(link["includeVars"] and link["keepTime"] for link in board["links"])


def test_columns_that_only_links_need_are_hidden() -> None:
    for board in DASHBOARDS:
        for panel, drawn in zip(board.panels, json.loads(render(board, "en"))["panels"], strict=True):
            shown = {column.name for column in panel.columns}
            needed = {name for column in panel.columns if column.link for name in column.link.columns()}
            hidden = {
                override["matcher"]["options"]
                for override in drawn["fieldConfig"]["overrides"]
                if {"id": "custom.hidden", "value": True} in override["properties"]
            }
            assert hidden == needed - shown, panel.name


# ---- words -----------------------------------------------------------------------------------------------------------


def test_both_languages_say_something_of_their_own() -> None:
    """A text that is the same in both languages is a word that both share, not a forgotten translation."""
    for board in DASHBOARDS:
        for text in _texts(board):
            assert text.en.strip()
            assert text.fr.strip()
            assert text.en != text.fr or len(text.en.split()) <= 2, text.en
    assert dashboard_json(DASHBOARDS[0], "fr")["title"] != dashboard_json(DASHBOARDS[0], "en")["title"]


def _texts(board: Dashboard) -> Iterator[Text]:
    yield from (board.title, board.question)
    yield from (variable.label for variable in board.variables)
    yield from (annotation.title for annotation in board.annotations)
    for panel in board.panels:
        yield from (panel.title, panel.description, panel.empty)
        yield from (threshold.label for threshold in panel.thresholds if threshold.label)
        yield from (style.name for style in panel.styles)
        for column in panel.columns:
            yield from (column.title, *column.words.values())


# ---- provisioning ----------------------------------------------------------------------------------------------------


def _provisioned(kind: str, what: str) -> list[dict[str, Any]]:
    files = [text for name, text in grafana_files().items() if name.startswith(f"provisioning/{kind}/")]
    return [entry for text in files for entry in yaml.safe_load(text)[what]]


def test_each_language_is_provisioned() -> None:
    """A folder each, read-only, from where the generated files are to be put."""
    providers = _provisioned("dashboards", "providers")
    assert [(p["folder"], p["options"]["path"]) for p in providers] == [(FOLDERS[x], str(ROOT / x)) for x in LANGS]
    assert all(provider["type"] == "file" and not provider["allowUiUpdates"] for provider in providers)
    assert len({provider["folderUid"] for provider in providers}) == len(LANGS)


def test_data_sources_that_dashboards_open_with_are_provisioned() -> None:
    """The names and uids that dashboards and alert rules rely on are those of the data sources."""
    provisioned = {source["uid"]: source["name"] for source in _provisioned("datasources", "datasources")}
    for board in DASHBOARDS:
        source = BY_AUDIENCE[board.audience]
        assert provisioned[source.uid] == source.name
        (first, *_) = json.loads(render(board, "en"))["templating"]["list"]
        assert first["current"] == {"text": source.name, "value": source.uid}


# ---- what the model can say, whether or not a dashboard says it yet --------------------------------------------------


def _drawn(panel: Panel, lang: Lang = "en") -> dict[str, Any]:
    board = DASHBOARDS[0]
    one = Dashboard(board.uid, board.title, board.question, board.variables, (panel,), board.freshness_sql)
    drawn: dict[str, Any] = json.loads(render(one, lang))["panels"][0]
    return drawn


def _chart(**more: Any) -> Panel:
    model = next(panel for board in DASHBOARDS for panel in board.panels if panel.kind is Kind.TIMESERIES)
    fields = {name: getattr(model, name) for name in ("id", "name", "kind", "title", "description", "sql", "grid")}
    return Panel(**fields | more)


def test_dashes_bands_and_levels() -> None:
    """A forecast is dashed, its band an area between two series, the plan in the colour of its level."""
    low, high = Text("early", "tôt"), Text("late", "tard")
    panel = _chart(
        styles=(
            SeriesStyle(Text("plan", "prévu"), dashed=True, level=Level.WATCH),
            SeriesStyle(high, down_to=low),
        )
    )
    plan, band = _drawn(panel, "fr")["fieldConfig"]["overrides"]
    assert plan["matcher"] == {"id": "byName", "options": "prévu"}
    assert {item["id"]: item["value"] for item in plan["properties"]} == {
        "custom.lineStyle": {"dash": [8, 6], "fill": "dash"},
        "color": {"fixedColor": "orange", "mode": "fixed"},
    }
    assert {item["id"]: item["value"] for item in band["properties"]} == {
        "custom.fillBelowTo": "tôt", "custom.fillOpacity": 15
    }  # fmt: skip


def test_a_note_stands_beside_its_figure() -> None:
    """As the name of the row, which Grafana reads from another column only when it shows all values."""
    model = next(panel for board in DASHBOARDS for panel in board.panels if panel.kind is Kind.STAT)
    noted = _drawn(replace(model, sql="SELECT 1 AS value, 'of 2' AS note"))
    assert noted["options"]["reduceOptions"] == {
        "calcs": ["lastNotNull"], "fields": "", "limit": 1, "values": True
    }  # fmt: skip
    assert noted["options"]["textMode"] == "value_and_name"
    assert noted["fieldConfig"]["defaults"]["displayName"] == "${__data.fields.note}"
    (as_it_is,) = noted["fieldConfig"]["overrides"]
    assert as_it_is["matcher"]["options"] == "note"
    assert as_it_is["properties"] == [{"id": "unit", "value": "string"}]
    plain = _drawn(replace(model, sql="SELECT 1 AS value"))
    assert plain["options"]["textMode"] == "value"
    assert plain["options"]["reduceOptions"]["values"] is False


def test_stacked() -> None:
    custom = _drawn(_chart(stacked=True))["fieldConfig"]["defaults"]["custom"]
    assert custom["stacking"] == {"group": "A", "mode": "normal"}
    assert custom["fillOpacity"] > 0
    assert "stacking" not in _drawn(_chart())["fieldConfig"]["defaults"]["custom"]


def test_a_row_has_its_own_range() -> None:
    """From a table row: its variables and its range; what else both dashboards offer goes along as it is chosen."""
    here, there = DASHBOARDS[0], DASHBOARDS[1]
    shared = [v.name for v in here.variables if v.name in {w.name for w in there.variables} and v.name != "agreement"]
    link = RowLink(there.uid, {"agreement": "id"}, from_column="begun", to_column="ended")
    url = str(row_link(link, here, "fr", "x")["url"])
    head, query = url.split("?")
    assert head == f"/d/{grafana_uid(BY_UID[there.uid], 'fr')}"
    assert query.split("&") == [
        "from=${__data.fields.begun.numeric}",
        "to=${__data.fields.ended.numeric}",
        "var-agreement=${__data.fields.id:percentencode}",
        *(f"${{{name}:queryparam}}" for name in shared),
    ]
    open_end = str(row_link(RowLink(there.uid, {"agreement": "id"}, from_column="begun"), here, "en", "x")["url"])
    assert "?from=${__data.fields.begun.numeric}&to=${__to}&" in open_end
    as_shown = str(row_link(RowLink(there.uid, {"agreement": "id"}), here, "en", "x")["url"])
    assert "?${__url_time_range}&" in as_shown
    by_row = RowLink(there.uid, {"agreement": "id"}, dashboard_column="explained_by")
    assert str(row_link(by_row, here, "fr", "x")["url"]).startswith("/d/${__data.fields.explained_by}-fr?")
    assert str(row_link(by_row, here, "en", "x")["url"]).startswith("/d/${__data.fields.explained_by}?")


def test_links_leave_the_data_source_to_the_dashboard() -> None:
    """That of finance may not read what operators' dashboards show, and the other way round."""
    for board in DASHBOARDS:
        (source, *_) = json.loads(render(board, "en"))["templating"]["list"]
        assert source["skipUrlSync"] is True
        assert "datasource:queryparam" not in render(board, "en")
