"""The committed Grafana dashboards are those of the definitions, and follow the rules that keep dashboards usable."""

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.boards import DASHBOARDS
from dashboards.grafana import build, dashboard_json, render, uid
from dashboards.macros import Window, expand, variables_in
from dashboards.model import Kind
from dashboards.units import LANGS

with warnings.catch_warnings():  # it advises format v2, which Grafana 13 refuses from files
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).parents[2] / "dashboards"
COMMITTED = ROOT / "grafana"
FILES = sorted(COMMITTED.glob("*/*.json"))
INVISIBLE = re.compile("[\ufeff\u200b-\u200f\u2060]")


def _loaded() -> Iterator[Any]:
    for path in FILES:
        yield pytest.param(json.loads(path.read_text(encoding="utf-8")), id=f"{path.parent.name}/{path.stem}")


BOARDS = list(_loaded())


def test_committed_files_are_those_of_the_definitions(tmp_path: Path) -> None:
    """Whoever changes a panel runs `python -m dashboards build` and commits what it writes."""
    written = build(tmp_path)
    assert [p.relative_to(tmp_path) for p in sorted(written)] == [p.relative_to(COMMITTED) for p in FILES]
    for path in written:
        committed = COMMITTED / path.relative_to(tmp_path)
        assert path.read_text("utf-8") == committed.read_text("utf-8"), "run: python -m dashboards build"


def test_the_build_is_stable() -> None:
    assert [render(board, "en") for board in DASHBOARDS] == [render(board, "en") for board in DASHBOARDS]


def test_uids_are_unique() -> None:
    uids = [uid(board, lang) for board in DASHBOARDS for lang in LANGS]
    assert len(set(uids)) == len(uids) == len(FILES)


@pytest.mark.parametrize("board", BOARDS)
def test_the_sdk_knows_every_key(board: dict[str, Any]) -> None:
    """The foundation SDK drops keys that it does not know: what is gone after a round trip is a typing error of ours.

    Its query model does not exist for ClickHouse, so targets are left out.
    """
    board = board | {"panels": [panel | {"targets": []} for panel in board["panels"]]}
    back = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert not list(_missing(board, back, ""))


def _missing(want: Any, got: Any, where: str) -> Iterator[str]:
    if isinstance(want, dict):
        for key, value in want.items():
            if not isinstance(got, dict) or key not in got:
                if value not in (None, [], {}, ""):
                    yield f"{where}.{key}"
            else:
                yield from _missing(value, got[key], f"{where}.{key}")
    elif isinstance(want, list):
        if not isinstance(got, list) or len(want) != len(got):
            yield where
            return
        for index, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from _missing(one, other, f"{where}[{index}]")


@pytest.mark.parametrize("board", BOARDS)
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


@pytest.mark.parametrize("board", BOARDS)
def test_panels(board: dict[str, Any]) -> None:
    """Every panel says what it shows, in which unit, from which data source, with a proper query."""
    assert board["uid"]
    assert board["title"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        where = panel["title"]
        assert len(panel["description"]) > 60, where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["fieldConfig"]["defaults"]["noValue"], where
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None, where
        assert [s["value"] for s in steps[1:]] == sorted(s["value"] for s in steps[1:]), where
        for override in panel["fieldConfig"]["overrides"]:
            for item in override["properties"]:
                if item["id"] == "thresholds":
                    assert item["value"]["steps"][0]["value"] is None, where
        (target,) = panel["targets"]
        assert panel["datasource"]["uid"] == target["datasource"]["uid"] == "${datasource}"
        assert target["editorType"] == "sql"
        assert type(target["format"]) is int
        if panel["type"] == "timeseries":
            assert target["format"] == 0
            assert " AS time" in target["rawSql"], where
            assert "ORDER BY time" in target["rawSql"], where


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_queries_are_bounded_in_time(board: Any) -> None:
    """A panel looks at the range, at its end, or, declared so, at the present."""
    for panel in board.panels:
        if panel.bounded == "range":
            assert "$__timeFilter(" in panel.sql, panel.name
        elif panel.bounded == "end":
            assert "$__toTime" in panel.sql, panel.name
        else:
            assert "now()" in panel.sql, panel.name
        if panel.kind is Kind.TABLE:
            assert panel.limit is None or f"LIMIT {panel.limit}" in panel.sql, panel.name


@pytest.mark.parametrize("board", BOARDS)
def test_variables(board: dict[str, Any]) -> None:
    """No free text, every value quoted, and every variable that a query names is there."""
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert all(variable["type"] in ("datasource", "constant", "query") for variable in variables.values())
    statements = [panel["targets"][0]["rawSql"] for panel in board["panels"]]
    statements += [v["query"]["rawSql"] for v in variables.values() if v["type"] == "query"]
    for sql in statements:
        assert variables_in(sql) <= set(variables)
        assert "'$" not in sql
        for bare in re.findall(r"\$\{\w+(?!:singlequote)[:}]", sql):
            raise AssertionError(f"{bare} without :singlequote")
        expand(re.sub(r"\$__conditionalAll", "", sql), Window(0, 1))


@pytest.mark.parametrize("board", BOARDS)
def test_links_lead_somewhere(board: dict[str, Any]) -> None:
    known = {uid(one, lang) for one in DASHBOARDS for lang in LANGS}
    variables = {variable["name"] for variable in board["templating"]["list"]}
    text = json.dumps(board)
    found = re.findall(r"/d/([\w-]+)\?", text)
    assert found
    assert set(found) <= known
    assert {one.endswith("-fr") for one in found} == {board["uid"].endswith("-fr")}
    assert set(re.findall(r"var-(\w+)=", text)) <= variables


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_invisible_characters(path: Path) -> None:
    assert not INVISIBLE.search(path.read_text(encoding="utf-8"))


def test_both_languages_say_something_of_their_own() -> None:
    """A text that is the same in both languages is a word that both share, not a forgotten translation."""
    shared = {"Programme", "info"}
    for board in DASHBOARDS:
        for panel in board.panels:
            for text in (panel.title, panel.description, panel.empty, *(column.title for column in panel.columns)):
                assert text.en.strip()
                assert text.fr.strip()
                assert text.en != text.fr or text.en in shared, text.en
    assert dashboard_json(DASHBOARDS[0], "fr")["title"] != dashboard_json(DASHBOARDS[0], "en")["title"]


def test_provisioning_uses_the_plugins_own_names() -> None:
    """Mistakes that the plugin swallows: `server`, `database`, a user among the secrets, a unit in dialTimeout."""
    text = (ROOT / "provisioning" / "datasources" / "commonwatt.yaml").read_text(encoding="utf-8")
    keys = re.findall(r"^\s+([A-Za-z]+):", text, re.MULTILINE)
    assert not {"server", "database", "url", "user"} & set(keys)
    assert {"host", "port", "protocol", "username", "defaultDatabase"} <= set(keys)
    assert "username" not in text.split("secureJsonData:")[1]
    assert re.search(r'dialTimeout: "\d+"', text)
    assert re.search(r"password: \$[A-Z_]+$", text, re.MULTILINE)


def test_each_language_is_provisioned() -> None:
    text = (ROOT / "provisioning" / "dashboards" / "commonwatt.yaml").read_text(encoding="utf-8")
    for lang in LANGS:
        assert f"/{lang}\n" in text
