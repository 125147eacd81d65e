"""`commonwatt dashboards push` and `verify` against a Grafana of the tests' own (tests.compose.grafana)."""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from compose.cli import app
from compose.grafana import push, selection
from compose.grafana.connection import Grafana, GrafanaRefuses
from compose.grafana.difference import paths
from dashboards.boards import DASHBOARDS
from dashboards.grafana.checks import checks
from dashboards.grafana.datasources import Place
from dashboards.grafana.sources import SOURCES
from schemas.config_alerts import Alerts
from tests.compose.grafana import TOKEN, FakeGrafana, serving
from tests.conftest import ClickHouse

USERS = {"grafana_finance": "finance", "grafana_operations": "operations", "grafana_analysts": "analyst"}
PASSWORDS = {f"CLICKHOUSE_{role}_PASSWORD": f"of {role}" for role in ("FINANCE", "OPERATIONS", "ANALYSTS")}
SIGNED = {"GRAFANA_TOKEN": TOKEN, **PASSWORDS}
OPTIONS = push.Options(Place("clickhouse"), Alerts())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own settings, and an account that may do everything."""
    for name in list(os.environ):
        if name.startswith(("GRAFANA_", "CLICKHOUSE_")):
            monkeypatch.delenv(name)
    for name, value in SIGNED.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def grafana(clickhouse: ClickHouse) -> Iterator[FakeGrafana]:
    with serving(FakeGrafana(clickhouse.url, USERS)) as fake:
        yield fake


def commonwatt(*arguments: str) -> Result:
    """A command in this process; what the user may correct stays the exception that carries the sentence."""
    return CliRunner().invoke(app, ["dashboards", *arguments])


def pushed(grafana: FakeGrafana, *arguments: str) -> str:
    answer = commonwatt("push", "--url", grafana.url, "--clickhouse", "clickhouse", "--yes", *arguments)
    assert answer.exception is None, answer.exception
    return answer.output


# ---- push ------------------------------------------------------------------------------------------------------------


def test_push_to_an_empty_grafana_then_again(grafana: FakeGrafana) -> None:
    """Everything is made, in an order in which each finds what it needs; a second push writes nothing."""
    said = pushed(grafana)
    assert set(grafana.folders) == {"commonwatt", "commonwatt-fr"}
    assert set(grafana.datasources) == {source.uid for source in SOURCES}
    assert grafana.passwords["commonwatt-finance"] == "of FINANCE"
    assert len({one["jsonData"]["username"] for one in grafana.datasources.values()}) == len(SOURCES)
    assert set(grafana.dashboards) == {board.uid + end for board in DASHBOARDS for end in ("", "-fr")}
    assert {one["meta"]["folderUid"] for uid, one in grafana.dashboards.items() if uid.endswith("-fr")} == {
        "commonwatt-fr"
    }
    rules = [rule for group in grafana.groups.values() for rule in group["rules"]]
    assert len(rules) == len(checks(Alerts()))
    assert all(line.split()[0] in ("new", "written:") for line in said.splitlines()[1:] if line.strip())
    assert grafana.written()
    again = pushed(grafana)
    assert "nothing to change" in again
    assert "of FINANCE" not in said + again
    assert grafana.written() == []


def test_rules_are_spelled_as_the_api_wants_them(grafana: FakeGrafana) -> None:
    """A field in the spelling of files would be dropped without a word: the fake Grafana does so too."""
    pushed(grafana)
    for (folder, name), group in grafana.groups.items():
        assert group["interval"] % 10 == 0
        for rule in group["rules"]:
            assert {"keep_firing_for", "missingSeriesEvalsToResolve", "for", "noDataState", "execErrState"} <= set(rule)
            assert (rule["folderUID"], rule["ruleGroup"], rule["provenance"]) == (folder, name, "api")
            assert rule["annotations"]["__dashboardUid__"] in grafana.dashboards
            board = grafana.dashboards[rule["annotations"]["__dashboardUid__"]]["dashboard"]
            assert int(rule["annotations"]["__panelId__"]) in {panel["id"] for panel in board["panels"]}
            assert rule["data"][0]["datasourceUid"] in grafana.datasources


def test_editable_rules(grafana: FakeGrafana) -> None:
    """`--editable` leaves them open to Grafana's own pages."""
    pushed(grafana, "--editable")
    assert {rule["provenance"] for group in grafana.groups.values() for rule in group["rules"]} == {""}


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--dry-run", "--yes"], []])
def test_nothing_is_written_unasked(grafana: FakeGrafana, arguments: list[str]) -> None:
    """Not in a dry run, and not without a yes where nobody can be asked."""
    answer = commonwatt("push", "--url", grafana.url, "--clickhouse", "clickhouse:9440", *arguments)
    assert answer.exit_code == 0
    assert "nothing was written" in answer.output
    assert "cw-subsidy-burn" in answer.output
    assert grafana.written() == []


def test_a_difference_is_shown_and_mended(grafana: FakeGrafana) -> None:
    """What somebody changed in Grafana is named by its place, and put right; the rest is left alone."""
    pushed(grafana)

    def retitle(board: dict[str, Any]) -> None:
        board["panels"][2]["title"] = "Mine"
        board["panels"][1]["id"] = 999

    grafana.edit("cw-subsidy-burn", retitle)
    group = next(iter(grafana.groups.values()))
    group["rules"][0]["data"][1]["model"]["conditions"][0]["evaluator"]["params"] = [42]
    group["rules"].append(dict(group["rules"][0], uid="mine"))
    grafana.datasources["commonwatt-finance"]["jsonData"] |= {"host": "elsewhere", "added": "by hand"}
    grafana.folders["commonwatt"]["title"] = "Renamed"
    grafana.written()
    said = pushed(grafana)
    changed = [line.split()[0:3] for line in said.splitlines() if line.startswith("changed")]
    assert len(changed) == 4
    for place in ("panels[2].title", "panels[1].id", "jsonData.host", "mine (gone)", "evaluator.params[0]", "title"):
        assert place in said
    assert len(grafana.written()) == 4
    assert grafana.dashboards["cw-subsidy-burn"]["dashboard"]["panels"][2]["title"] != "Mine"
    assert grafana.datasources["commonwatt-finance"]["jsonData"]["host"] == "clickhouse"
    assert grafana.datasources["commonwatt-finance"]["jsonData"]["added"] == "by hand"
    assert "nothing to change" in pushed(grafana)


def test_edited_between_reading_and_writing(grafana: FakeGrafana) -> None:
    """Grafana refuses, nothing of theirs is overwritten, and the sentence says what to do."""
    pushed(grafana)
    grafana.edit("cw-subsidy-burn", lambda board: board.update(title="old"))
    changes = push.plan(Grafana(grafana.url), OPTIONS)
    grafana.edit("cw-subsidy-burn", lambda board: board.update(title="theirs"))
    with pytest.raises(GrafanaRefuses, match=r"somebody changed it since it was read.*run this again to see"):
        list(push.write(changes))
    assert grafana.dashboards["cw-subsidy-burn"]["dashboard"]["title"] == "theirs"


def test_a_data_source_edited_between(grafana: FakeGrafana) -> None:
    """Grafana says 409 there; it is the same matter."""
    pushed(grafana)
    source = grafana.datasources["commonwatt-operations"]
    source["jsonData"] = source["jsonData"] | {"host": "old"}
    changes = push.plan(Grafana(grafana.url), OPTIONS)
    source["version"] += 1
    with pytest.raises(GrafanaRefuses, match=r"data source Commonwatt \(operations\): somebody changed it"):
        list(push.write(changes))


def test_passwords_are_written_when_asked(grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grafana never tells them, so a new one has to be asked for; without one nothing is missed later."""
    pushed(grafana)
    monkeypatch.setenv("CLICKHOUSE_FINANCE_PASSWORD", "another")
    assert "nothing to change" in pushed(grafana)
    pushed(grafana, "--renew-passwords")
    assert grafana.passwords["commonwatt-finance"] == "another"
    monkeypatch.delenv("CLICKHOUSE_FINANCE_PASSWORD")
    assert "nothing to change" in pushed(grafana)


def test_an_organisation_for_each_role(grafana: FakeGrafana) -> None:
    """`--role` brings what belongs to it and nothing of the others; analysts have every dashboard."""
    pushed(grafana, "--role", "finance")
    of_finance = {board.uid for board in DASHBOARDS if board.audience == "finance"}
    assert set(grafana.datasources) == {"commonwatt-finance"}
    assert {uid.removesuffix("-fr") for uid in grafana.dashboards} == of_finance
    asked = {rule["data"][0]["datasourceUid"] for group in grafana.groups.values() for rule in group["rules"]}
    assert asked == {"commonwatt-finance"}
    for kept in (grafana.datasources, grafana.dashboards, grafana.groups):
        kept.clear()
    pushed(grafana, "--role", "analysts")
    assert set(grafana.datasources) == {"commonwatt-analysts"}
    assert {uid.removesuffix("-fr") for uid in grafana.dashboards} == {board.uid for board in DASHBOARDS}
    chosen = [one["dashboard"]["templating"]["list"][0]["current"]["value"] for one in grafana.dashboards.values()]
    assert set(chosen) == {"commonwatt-analysts"}
    assert not grafana.groups
    answer = commonwatt("push", "--url", grafana.url, "--role", "finances", "--clickhouse", "x")
    assert str(answer.exception) == '--role "finances" is not known: use finance, operations, analysts.'


def test_below_another_folder(grafana: FakeGrafana) -> None:
    """`--folder` holds for folders that are there already, too."""
    pushed(grafana)
    said = pushed(grafana, "--folder", "energy")
    assert "parentUid" in said
    assert {folder["parentUid"] for folder in grafana.folders.values()} == {"energy"}
    assert "nothing to change" in pushed(grafana, "--folder", "energy")
    assert "nothing to change" in pushed(grafana)


def test_thresholds_of_the_configuration(grafana: FakeGrafana, tmp_path: Any) -> None:
    """`--config` decides what the rules compare with."""
    pushed(grafana)
    file = tmp_path / "c.toml"
    file.write_text('[alerts]\ncost_per_mtok_high = "0.25"\n[[cluster]]\nid = "fir"\ncountry = "CA"\n')
    said = pushed(grafana, "--config", str(file))
    assert "cw-cost-per-mtok" in said
    assert grafana.written()


def test_grafana_below_a_path(clickhouse: ClickHouse) -> None:
    """Many stand behind a proxy; user and password do as well as a token."""
    with serving(FakeGrafana(clickhouse.url, USERS, prefix="/grafana")) as fake:
        os.environ["GRAFANA_TOKEN"] = ""
        os.environ |= {"GRAFANA_USER": "admin", "GRAFANA_PASSWORD": "secret"}  # undone with the fixture's
        pushed(fake)
        assert set(fake.folders) == {"commonwatt", "commonwatt-fr"}
        answer = commonwatt("push", "--url", fake.url.removesuffix("/grafana"), "--clickhouse", "clickhouse")
        assert "is no Grafana" in str(answer.exception) or "a Grafana of version" in str(answer.exception)


# ---- what goes wrong -------------------------------------------------------------------------------------------------

WRONG: dict[str, list[tuple[int, Any, str]]] = {
    "GET /folders": [
        (401, {"message": "Invalid API key"}, r"does not accept who asks: set GRAFANA_TOKEN to a valid token"),
        (403, {"message": "You'll need additional permissions"}, r"not allow this account to read the folder.*Admin"),
        (500, {"message": "database is locked"}, r"fails \(500\).*folder Commonwatt: database is locked.*See its log"),
        (502, "<html>Bad Gateway</html>", r"fails \(502\)"),
        (200, "<html>sign in</html>", r"What answers at .* is no Grafana: correct --url"),
    ],
    "POST /datasources": [
        (409, {"message": "data source with the same name already exists"},
         r"make the data source Commonwatt \(finance\): something else has this name.*Rename or remove"),
        (403, {"message": "Permission denied"}, r"not allow this account to make the data source.*role Admin"),
    ],
    "POST /dashboards/db": [
        (412, {"message": "A dashboard with the same name exists", "status": "name-exists"}, r"somebody changed it"),
        (400, {"message": "Dashboard title cannot be empty"}, r"Grafana answers 400: Dashboard title cannot be empty"),
    ],
    "PUT /v1/provisioning": [
        (404, {"message": "Not found"}, r"nothing to write the alert rules .* \(404\).* version 11\.6 or newer"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "status", "body", "sentence"),
    [(request, *case) for request, cases in WRONG.items() for case in cases],
)
def test_each_failure_is_one_sentence(
    grafana: FakeGrafana, request_: str, status: int, body: Any, sentence: str
) -> None:
    """It names Grafana or the object, and what to do."""
    grafana.broken[request_] = (status, body)
    answer = commonwatt("push", "--url", grafana.url, "--clickhouse", "clickhouse", "--yes")
    assert isinstance(answer.exception, GrafanaRefuses), answer.output
    assert re.search(sentence, str(answer.exception)), answer.exception
    assert "\n" not in str(answer.exception)
    assert "of FINANCE" not in str(answer.exception)


@pytest.mark.parametrize(
    ("arguments", "unset", "sentence"),
    [
        (["--url", "http://127.0.0.1:1"], "", r"http://127\.0\.0\.1:1 cannot be reached: start it, or correct --url"),
        (["--url", "grafana:3000"], "", r'--url "grafana:3000" is no address: write for example'),
        (["--url", "http://a:b@127.0.0.1:1"], "", "A password does not belong in --url"),
        (["--url", "http://127.0.0.1:1"], "GRAFANA_TOKEN", "Grafana has to know who asks: set GRAFANA_TOKEN"),
        (["--url", "http://127.0.0.1:1", "--clickhouse", ""], "", "Grafana has to know where ClickHouse is"),
        (["--url", "http://127.0.0.1:1", "--clickhouse", "http://x"], "", '"http://x" is no place of a ClickHouse'),
        (["--url", "http://127.0.0.1:1", "--clickhouse", "x:0"], "", '"x:0" is no place of a ClickHouse'),
    ],
)
def test_what_cannot_even_begin(
    arguments: list[str], unset: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(unset, raising=False)
    answer = commonwatt("push", *(() if "--clickhouse" in arguments else ("--clickhouse", "x")), *arguments)
    assert isinstance(answer.exception, GrafanaRefuses)
    assert re.search(sentence, str(answer.exception)), answer.exception


def test_without_the_plugin(grafana: FakeGrafana) -> None:
    grafana.plugin = False
    answer = commonwatt("push", "--url", grafana.url, "--clickhouse", "clickhouse", "--yes")
    assert "run `grafana cli plugins install grafana-clickhouse-datasource` there" in str(answer.exception)


def test_without_a_password_for_a_new_data_source(grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLICKHOUSE_OPERATIONS_PASSWORD")
    answer = commonwatt("push", "--url", grafana.url, "--clickhouse", "clickhouse", "--yes")
    assert "Commonwatt (operations) has no password: set CLICKHOUSE_OPERATIONS_PASSWORD" in str(answer.exception)
    assert grafana.written() == []


def test_what_was_provisioned_from_files(grafana: FakeGrafana) -> None:
    """Grafana would refuse each write: it is said at once, before anything is written, and only where they differ."""
    pushed(grafana)
    grafana.dashboards["cw-agreement"]["meta"]["provisioned"] = True
    grafana.datasources["commonwatt-finance"]["readOnly"] = True
    assert "nothing to change" in pushed(grafana)
    grafana.edit("cw-agreement", lambda board: board.update(title="another"))
    grafana.written()
    answer = commonwatt("push", "--url", grafana.url, "--clickhouse", "clickhouse", "--yes")
    assert re.search(r"cw-agreement\) differs in 1 place.*provisioned from a file", str(answer.exception))
    assert grafana.written() == []


# ---- verify ----------------------------------------------------------------------------------------------------------


def test_verify_runs_everything(grafana: FakeGrafana) -> None:
    """Panels, variables, annotations and rules with their thresholds, each as the user of its data source."""
    pushed(grafana)
    answer = commonwatt("verify", "--url", grafana.url, "--all")
    assert answer.exit_code == 0, answer.output
    for board in DASHBOARDS:
        assert board.uid in answer.output
    asked = sum(path == "/ds/query" for _, path in grafana.asked)
    least = sum(len(board.panels) + len(board.variables) + len(board.annotations) for board in DASHBOARDS)
    assert asked >= least + len(checks(Alerts()))
    assert re.search(r"\d+ ok, \d+ empty, 0 failed; slowest: ", answer.output)


def test_verify_names_what_fails(grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may not read what a dashboard asks, and a data source whose user cannot sign in."""
    pushed(grafana)
    monkeypatch.setattr(selection, "DASHBOARDS", DASHBOARDS[:1])
    grafana.users = {"grafana_finance": "operations", "grafana_operations": "operations"}
    answer = commonwatt("verify", "--url", grafana.url)
    assert answer.exit_code == 1
    said = " ".join(answer.output.split())
    assert "Not enough privileges" in said
    assert "Authentication failed" in said
    assert re.search(r"[1-9]\d* failed", said)


def test_verify_with_one_source_for_all(grafana: FakeGrafana) -> None:
    """Such as a data source of the reader's own."""
    grafana.broken["POST /ds/query"] = (404, {"message": "data source not found"})
    answer = commonwatt("verify", "--url", grafana.url, "--source", "absent")
    assert answer.exit_code == 1
    assert "0 ok, 0 empty, " in answer.output
    assert len(re.findall("ata source not found", answer.output)) > len(DASHBOARDS)


def test_verify_ends_where_grafana_does_not_answer(grafana: FakeGrafana) -> None:
    """An account that is not known is one sentence, not a failure of each query."""
    grafana.broken["GET /datasources"] = (401, {"message": "Unauthorized"})
    answer = commonwatt("verify", "--url", grafana.url)
    assert "does not accept who asks" in str(answer.exception)


# ---- differences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found", "where"),
    [
        ({"a": 1}, {"a": 1.0, "id": 7}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({"a": None, "b": [], "c": False}, {}, []),
        ({"a": []}, {"a": [1]}, ["a"]),
        ({"a": True}, {"a": False}, ["a"]),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, ["a[1].b"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"for": "120s"}, {"for": "2m"}, []),
        ({"for": "120s"}, {"for": "3m"}, ["for"]),
        ({"for": "0s"}, {}, []),
        ({"a": "7d"}, {"a": "1w"}, []),
        ({"a": "x"}, {"a": None}, ["a"]),
        ({"a": {"b": 1}}, {"a": 3}, ["a"]),
    ],
)
def test_where_they_differ(wanted: Any, found: Any, where: list[str]) -> None:
    """What Grafana adds, leaves out when empty, or writes another way is no difference; all else is."""
    assert list(paths(wanted, found)) == where
