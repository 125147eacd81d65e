"""Who may read what: the grants of each role, and the rows of readers who are bound to clusters or programmes.

No ClickHouse server is at hand here, and the embedded engine takes users from its configuration alone. So the real
engine enforces grants and conditions from there (tests.compose.bound), and its parser reads statements for a server.
"""

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from typer.testing import CliRunner, Result

from compose import client, migrate
from compose.cli import app
from compose.readers.apply import CannotApply
from compose.readers.relations import ROLES, TABLES, VIEWS, grants
from compose.readers.statements import is_bound, statements
from dashboards.boards import DASHBOARDS
from dashboards.grafana.checks import checks
from dashboards.grafana.datasources import QUERY_TIMEOUT_S
from dashboards.grafana.rules import sql_of
from dashboards.grafana.sources import FINANCE, OPERATIONS
from dashboards.macros import Window, expand, substitute
from dashboards.model import Dashboard
from schemas.config import Reader
from schemas.config_alerts import Alerts
from schemas.config_file import ConfigError, load
from tests.conftest import ClickHouse
from tests.roles import ROOT, running

USERS = {"finance": "finance", "operations": "operations", "analysts": "analyst"}

PLACES = ("fir", "narval")
AGREEMENTS = {"acme": "fund", "boreal": "fund", "vision": "research", "": ""}
"""Agreement -> its programme. An empty one: what nobody's agreement pays for."""


# ---- what is there --------------------------------------------------------------------------------------------------


def relations(reader: Client) -> dict[str, str]:
    """Relations of the book, with their engine."""
    found = reader.query("SELECT name, engine FROM system.tables WHERE database = 'commonwatt'").result_rows
    return {name: engine for name, engine in found if name != "x"}


def test_every_relation_has_its_place(clickhouse: ClickHouse) -> None:
    """A table that a later migration adds is nobody's until somebody says what it is about."""
    found = relations(clickhouse.client)
    assert {name for name, engine in found.items() if engine != "View"} == set(TABLES)
    assert {name for name, engine in found.items() if engine == "View"} == set(VIEWS)


def test_views_read_what_is_said_of_them(clickhouse: ClickHouse) -> None:
    """Else a grant would be missing, or one too many given."""
    found = clickhouse.client.query(
        "SELECT name, as_select FROM system.tables WHERE database = 'commonwatt' AND engine = 'View'"
    )
    for name, text in found.result_rows:
        assert set(re.findall(r"commonwatt\.(\w+)", text)) == set(VIEWS[name]), name


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("bound", [False, True])
def test_grants_name_columns_that_exist(clickhouse: ClickHouse, role: str, bound: bool) -> None:
    columns: dict[str, set[str]] = {}
    for table, name in clickhouse.client.query(
        "SELECT table, name FROM system.columns WHERE database = 'commonwatt'"
    ).result_rows:
        columns.setdefault(table, set()).add(name)
    for relation, named in grants(role, bound=bound).items():  # type: ignore[arg-type]
        assert set(named) <= columns.get(relation, set()) or relation == "agreement_state", relation


# ---- what each role may read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "query"),
    [
        ("finance", "SELECT * FROM charges"),
        ("finance", "SELECT * FROM agreements FINAL"),
        ("finance", "SELECT * FROM agreement_state(at = now())"),
        ("finance", "SELECT * FROM coverage_hourly"),
        ("finance", "SELECT cluster, max(ts_end) FROM gpu_usage GROUP BY cluster"),
        ("operations", "SELECT * FROM gpu_samples"),
        ("operations", "SELECT * FROM gpu_usage"),
        ("operations", "SELECT * FROM data_quality"),
        ("operations", "SELECT * FROM quarantine"),
        ("operations", "SELECT * FROM unit_costs"),
        ("operations", "SELECT id, recipient FROM agreements FINAL WHERE programme = 'fund'"),
    ],
)
def test_roles_read(clickhouse: ClickHouse, user: str, query: str) -> None:
    reader = client.connect(clickhouse.url, user)
    reader.query(query)
    reader.close()


@pytest.mark.parametrize(
    ("user", "query"),
    [
        ("finance", "SELECT ts FROM gpu_samples"),
        ("finance", "SELECT ts FROM gpu_samples_store"),
        ("finance", "SELECT node FROM gpu_series"),
        ("finance", "SELECT node FROM gpu_usage"),
        ("finance", "SELECT node FROM gpu_usage_hourly"),
        ("finance", "SELECT node FROM gpu_usage_hourly_store"),
        ("finance", "SELECT pod FROM gpu_usage_store"),
        ("finance", "SELECT account FROM gpu_usage_store"),
        ("finance", "SELECT * FROM gpu_usage"),
        ("finance", "SELECT endpoint FROM token_usage"),
        ("finance", "SELECT detail FROM data_quality"),
        ("operations", "SELECT terms FROM agreements"),
        ("operations", "SELECT cap FROM agreements FINAL"),
        ("operations", "SELECT * FROM agreements"),
        ("operations", "SELECT budget FROM programmes"),
        ("operations", "SELECT cost FROM charges"),
        ("operations", "SELECT cost FROM charges_hourly"),
        ("operations", "SELECT spent FROM subsidy_burn"),
        ("operations", "SELECT spent FROM subsidy_burn_store"),
        ("operations", "SELECT spent FROM agreement_state(at = now())"),
        ("operations", "SELECT capex FROM prices"),
        ("operations", "SELECT body FROM reference_history"),
        ("operations", "SELECT cap FROM merge('commonwatt', 'agreements')"),
        ("operations", "SELECT count() FROM charges WHERE cost > 5"),
        ("operations", "SELECT id FROM agreements WHERE cap > 1"),
        ("operations", "SELECT id FROM agreements ORDER BY cap"),
    ],
)
def test_roles_read_nothing_else(clickhouse: ClickHouse, user: str, query: str) -> None:
    """The engine refuses it, whichever relation or clause is tried."""
    reader = client.connect(clickhouse.url, user)
    with pytest.raises(DatabaseError) as refused:
        reader.query(query)
    reader.close()
    assert getattr(refused.value, "code", None) == 497, refused.value


def statements_of(board: Dashboard) -> Iterator[tuple[str, str]]:
    """(what it is, SQL) of everything that a dashboard asks, with all values of all variables."""
    values = {variable.name: [variable.default] if variable.default else [] for variable in board.variables}
    values["lang"] = ["fr"]
    hour = Window((int(time.time()) - 3600) * 1000, int(time.time()) * 1000)
    asked = {f"panel {panel.name}": panel.sql for panel in board.panels}
    asked |= {f"variable {variable.name}": variable.sql for variable in board.variables}
    asked |= {f"annotation {annotation.name}": annotation.sql for annotation in board.annotations}
    asked["freshness"] = board.freshness_sql
    for name, sql in asked.items():
        yield name, expand(substitute(sql, values), hour)


def refused_of(reader: Client, asked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What the engine refuses of that, and why."""
    refused = {}
    for name, sql in asked:
        try:
            reader.query(sql)
        except DatabaseError as error:
            refused[name] = str(error)
    return refused


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_dashboards_ask_what_their_audience_may_read(clickhouse: ClickHouse, board: Dashboard) -> None:
    """Each dashboard opens with the data source of its audience; nothing on it may be refused there."""
    reader = client.connect(clickhouse.url, board.audience)
    assert refused_of(reader, statements_of(board)) == {}
    reader.close()


def test_alert_rules_ask_what_their_source_may_read(clickhouse: ClickHouse) -> None:
    """Grafana evaluates a rule with its data source's user."""
    window = Window((int(time.time()) - 3600) * 1000, int(time.time()) * 1000)
    for source in (FINANCE, OPERATIONS):
        reader = client.connect(clickhouse.url, source.uid.removeprefix("commonwatt-"))
        asked = [(one.rule.id, expand(sql_of(one), window)) for one in checks(Alerts()) if one.source is source]
        assert asked
        assert refused_of(reader, asked) == {}
        reader.close()


# ---- which rows ------------------------------------------------------------------------------------------------------


KEYS = ("boot", "device", "digest", "endpoint", "fingerprint", "holder", "id")


def fill(admin: Client) -> None:
    """One row for each place and agreement in every table, as far as the table tells them apart."""
    columns: dict[str, list[tuple[str, str]]] = {}
    for table, name, kind in admin.query(
        "SELECT table, name, type FROM system.columns WHERE database = 'commonwatt' AND default_kind = ''"
        " ORDER BY table, position"
    ).result_rows:
        columns.setdefault(table, []).append((name, kind))
    for table in TABLES:
        if table == "schema_migrations":
            continue
        rows = []
        for number, (place, agreement) in enumerate((place, agreement) for place in PLACES for agreement in AGREEMENTS):
            programme = AGREEMENTS[agreement]
            known = {
                **dict.fromkeys(KEYS, f"n{number}"),
                "cluster": place,
                "agreement": agreement,
                "programme": programme,
                "shard": f"{place}/c/0",
                "series": str(PLACES.index(place) + 1),
                "kafka_offset": str(number),
                "gone": "0",
            }
            known |= {
                "agreements": {"id": agreement, "cap": "100"},
                "clusters": {"id": place},
                "programmes": {"id": programme},
            }.get(table, {})
            values = []
            for name, kind in columns[table]:
                if name in known:
                    values.append(f"'{known[name]}'")
                elif kind.startswith("DateTime"):
                    values.append("now()" if name.endswith("_end") else "now() - 60")
                elif kind == "Date":
                    values.append("today()")
                else:
                    values.append("1" if kind.startswith(("Decimal", "Int", "UInt", "Float")) else "DEFAULT")
            if table in ("agreements", "programmes") and not programme:
                continue
            rows.append(f"({', '.join(values)})")
        names = ", ".join(name for name, _ in columns[table])
        admin.command(f"INSERT INTO {table} ({names}) VALUES {', '.join(rows)}")


@contextmanager
def bound(folder: Path, **bounds: list[str]) -> Iterator[str]:
    """A filled ClickHouse whose readers are bound."""
    reader = Reader(id="r", role="analysts", password_env="R", **bounds)
    arguments = (reader.model_dump_json(), "--data", str(folder / "data"), "--port", "0")
    with running("tests.compose.bound", *arguments, log=folder / "log") as role:
        first = client.connect(role.url, database=None)
        migrate.migrate(first)
        first.close()
        admin = client.connect(role.url)
        fill(admin)
        admin.close()
        yield role.url


def seen(reader: Client, column: str) -> dict[str, set[str]]:
    """Relation -> what a reader finds in a column, in every relation that has it."""
    found = {}
    having = f"SELECT DISTINCT table FROM system.columns WHERE database = 'commonwatt' AND name = '{column}'"
    tables = [table for (table,) in reader.query(having).result_rows]
    assert "agreement_state" not in tables  # it has parameters, so the engine lists no columns of it
    if column in ("agreement", "programme"):
        tables.append("agreement_state(at = now())")
    for table in tables:
        found[table] = {
            value for (value,) in reader.query(f"SELECT DISTINCT toString({column}) FROM {table}").result_rows
        }
    return found


def ids(reader: Client, table: str) -> set[str]:
    return {name for (name,) in reader.query(f"SELECT id FROM {table} FINAL").result_rows}


@pytest.fixture(scope="module")
def at_fir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bound(tmp_path_factory.mktemp("fir"), clusters=["fir"]) as url:
        yield url


@pytest.fixture(scope="module")
def of_fund(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bound(tmp_path_factory.mktemp("fund"), programmes=["fund"]) as url:
        yield url


@pytest.fixture(scope="module")
def of_both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bound(tmp_path_factory.mktemp("both"), clusters=["fir"], programmes=["fund"]) as url:
        yield url


def test_an_operator_of_one_cluster(at_fir: str) -> None:
    """Rows of that cluster, idle devices too, in every table and view; nothing of agreements as a whole."""
    reader = client.connect(at_fir, "analyst")
    places = seen(reader, "cluster")
    assert {"gpu_usage", "gpu_samples", "unit_costs", "costs_hourly", "costs_daily", "charges_hourly"} <= set(places)
    joined_with_agreements = {"pool_usage": set[str]()}
    assert {table: found for table, found in places.items() if found != {"fir"}} == joined_with_agreements
    agreements = seen(reader, "agreement")
    assert {table for table, found in agreements.items() if not found} >= {"subsidy_burn", "agreement_spend"}
    assert agreements["gpu_usage"] == set(AGREEMENTS)
    assert (ids(reader, "clusters"), ids(reader, "agreements"), ids(reader, "programmes")) == ({"fir"}, set(), set())
    assert reader.query("SELECT count() FROM gpu_samples_store").result_rows == [(1,)]
    assert reader.query("SELECT count() FROM reference_history").result_rows == [(0,)]
    reader.close()


def test_a_programme_sees_its_own(of_fund: str) -> None:
    """Rows of its agreements wherever they ran, places and prices; nothing that no agreement pays for."""
    reader = client.connect(of_fund, "analyst")
    programmes = seen(reader, "programme")
    assert {"charges", "unit_costs", "costs_daily", "subsidy_burn", "agreement_state(at = now())"} <= set(programmes)
    assert {table: found for table, found in programmes.items() if found != {"fund"}} == {}
    agreements = seen(reader, "agreement")
    own = {"acme", "boreal"}
    shared = {"deployments"}
    assert {table: found for table, found in agreements.items() if found != own and table not in shared} == {}
    assert agreements["deployments"] == own
    assert ids(reader, "agreements") == own
    assert ids(reader, "clusters") == set(PLACES)
    assert reader.query("SELECT count() FROM gpu_samples").result_rows == [(0,)]
    assert reader.query("SELECT count() FROM fleet_hourly_store").result_rows == [(0,)]
    reader.close()


def test_bound_twice(of_both: str) -> None:
    """Rows about both; names of the programme's agreements, but no totals of theirs, which other clusters are in."""
    reader = client.connect(of_both, "analyst")
    both = "SELECT DISTINCT cluster, agreement FROM {} ORDER BY agreement"
    for table in ("gpu_usage", "unit_costs", "charges", "costs_hourly", "alerts"):
        assert reader.query(both.format(table)).result_rows == [("fir", "acme"), ("fir", "boreal")], table
    assert ids(reader, "agreements") == {"acme", "boreal"}
    assert reader.query("SELECT count() FROM subsidy_burn").result_rows == [(0,)]
    assert reader.query("SELECT count() FROM subsidy_forecasts").result_rows == [(0,)]
    reader.close()


def test_dashboards_work_for_readers_who_are_bound(of_both: str) -> None:
    """Conditions of policies ask nothing that the role may not read."""
    for board in DASHBOARDS:
        reader = client.connect(of_both, board.audience)
        assert refused_of(reader, statements_of(board)) == {}, board.uid
        reader.close()


def test_an_agreement_that_changed_hands(of_fund: str) -> None:
    """Of a row that was replaced a reader sees nothing, though the row before would have been theirs."""
    admin = client.connect(of_fund)
    admin.command("INSERT INTO agreements (id, programme, recorded_at) VALUES ('moved', 'fund', now() - 10)")
    admin.command("INSERT INTO agreements (id, programme, recorded_at) VALUES ('moved', 'research', now())")
    admin.command(
        "INSERT INTO gpu_usage_store (cluster, device, ts_start, ts_end, agreement) "
        "VALUES ('fir', 'd', now() - 5, now(), 'moved')"
    )
    admin.close()
    reader = client.connect(of_fund, "analyst")
    assert "moved" not in ids(reader, "agreements")
    assert reader.query("SELECT count() FROM gpu_usage WHERE agreement = 'moved'").result_rows == [(0,)]
    reader.close()


def test_totals_of_the_fleet(at_fir: str, clickhouse: ClickHouse) -> None:
    """A settled hour says what the whole fleet did: who is bound sees that it is settled, and no more."""
    reader = client.connect(at_fir, "analyst")
    reader.query("SELECT period_start, status FROM settlements")
    with pytest.raises(DatabaseError):
        reader.query("SELECT energy_j FROM settlements")
    reader.close()
    whole = client.connect(clickhouse.url, "analyst")
    whole.query("SELECT energy_j FROM settlements")
    whole.close()


# ---- statements for a server -----------------------------------------------------------------------------------------

WHOLE = Reader(id="grafana_finance", role="finance", password_env="A")
SITE = Reader(id="fir-desk", role="operations", password_env="B", clusters=["fir"])
MINISTRY = Reader(id="ministry", role="analysts", password_env="C", programmes=["fund", "research"])
READERS = [WHOLE, SITE, MINISTRY]
SECRETS = {"grafana_finance": "p'a\\ss", "fir-desk": "wörd", "ministry": "x"}
SALTS = dict.fromkeys(SECRETS, "00ff")


def made(readers: list[Reader] = READERS, existing: tuple[tuple[str, str], ...] = ()) -> list[str]:
    return [one.sql for one in statements(readers, SECRETS, SALTS, existing)]


def test_the_engine_reads_every_statement(clickhouse: ClickHouse) -> None:
    """ClickHouse's own parser knows each of them."""
    for sql in (*made(), *made([SITE], (("commonwatt_reader_fir-desk", "charges_old"),))):
        clickhouse.client.query("SELECT formatQuery({sql:String})", {"sql": sql})


def test_nobody_sees_more_while_readers_are_made() -> None:
    """A user has no role until the row policies are there, and a role has its new grants in one statement."""
    found = made()
    for reader in (SITE, MINISTRY):
        user = next(
            index for index, sql in enumerate(found) if sql.startswith(f"CREATE USER IF NOT EXISTS `{reader.id}`")
        )
        policies = [index for index, sql in enumerate(found) if f"TO `{reader.id}`" in sql and "ROW POLICY" in sql]
        role = next(index for index, sql in enumerate(found) if re.match(rf"GRANT `\w+` TO `{reader.id}`", sql))
        assert user < min(policies) <= max(policies) < role
    grants_to_roles = [sql for sql in found if sql.startswith("GRANT SELECT")]
    assert len(grants_to_roles) == 3
    assert all(sql.endswith("WITH REPLACE OPTION") for sql in found if sql.startswith("GRANT"))
    assert not [sql for sql in found if sql.startswith(("DROP", "REVOKE", "CREATE USER OR", "CREATE ROLE OR"))]


def test_bounds_are_restrictive_and_writers_read_on() -> None:
    """Whatever another policy permits does not widen a bound; who has none sees every row on any server setting."""
    policies = [sql for sql in made() if "ROW POLICY" in sql]
    everyone, *bounds = policies
    assert everyone.endswith("FOR SELECT USING 1 TO ALL")
    assert all(f"commonwatt.{table}" in everyone for table in TABLES)
    assert all("AS RESTRICTIVE" in sql for sql in bounds)
    assert not [sql for sql in bounds if "grafana_finance" in sql]
    (charges,) = [sql for sql in bounds if "`ministry`" in sql and "commonwatt.charges" in sql]
    assert "USING programme IN ('fund', 'research') TO `ministry`" in charges


def test_a_bound_that_is_lifted() -> None:
    """Its policies go, those of others and of other tools stay."""
    existing = (
        ("commonwatt_reader_fir-desk", "charges"), ("commonwatt_everyone", "charges"),
        ("commonwatt_reader_gone", "charges"),
    )  # fmt: skip
    free = SITE.model_copy(update={"clusters": []})
    dropped = [sql for sql in made([free], existing) if "DROP" in sql]
    assert dropped == ["DROP ROW POLICY IF EXISTS `commonwatt_reader_fir-desk` ON commonwatt.charges"]
    assert [sql for sql in made([SITE], existing) if "DROP" in sql] == []


def test_passwords_travel_as_hashes() -> None:
    """SHA-256 of password and salt, and what is printed shows neither."""
    digest = hashlib.sha256("wörd00ff".encode()).hexdigest()
    found = statements([SITE], SECRETS, SALTS)
    assert any(f"IDENTIFIED WITH sha256_hash BY '{digest}' SALT '00ff'" in one.sql for one in found)
    printed = "\n".join(one.shown for one in found)
    for secret in (digest, "wörd", "00ff"):
        assert secret not in printed


def test_the_plugin_may_set_its_timeout() -> None:
    """It sets max_execution_time on every query: a reader who may not change it, or not so far, sees nothing at all."""
    (profile,) = [sql for sql in made() if "PROFILE" in sql]
    limit = re.search(r"max_execution_time = \d+ MIN 1 MAX (\d+) CHANGEABLE_IN_READONLY", profile)
    assert limit
    assert int(limit[1]) >= QUERY_TIMEOUT_S
    assert "readonly = 1" in profile


# ---- the command -----------------------------------------------------------------------------------------------------

CONFIG = """\
[[cluster]]
id = "fir"
country = "CA"
[[programme]]
id = "fund"
budget = "1"
starts = 2026-01-01
ends = 2026-12-31
[[reader]]
id = "desk"
role = "operations"
password_env = "DESK_PASSWORD"
clusters = ["fir"]
"""


def access(tmp_path: Path, text: str, *arguments: str) -> Result:
    file = tmp_path / "c.toml"
    file.write_text(text)
    return CliRunner().invoke(app, ["access", "apply", "--config", str(file), *arguments])


def test_a_dry_run_prints_the_sql(clickhouse: ClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an administrator would run by hand, without secrets; nothing is run."""
    monkeypatch.setenv("DESK_PASSWORD", "geheim")
    answer = access(tmp_path, CONFIG, "--clickhouse", clickhouse.url, "--dry-run")
    assert answer.exception is None
    lines = answer.output.splitlines()
    assert [line for line in lines if line.startswith("CREATE ROLE")] == [
        "CREATE ROLE IF NOT EXISTS `commonwatt_operations_bound`;"
    ]
    assert lines[-1] == "ALTER USER `desk` DEFAULT ROLE `commonwatt_operations_bound`;"
    assert "geheim" not in answer.output


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("", "", r"The embedded ClickHouse makes no users: it has default, analyst, finance and operations"),
        ('password_env = "DESK_PASSWORD"', 'password_env = "ABSENT"', "reader desk has no password: set ABSENT"),
        ('id = "desk"', 'id = "default"', "default makes the readers and cannot be one of them"),
        ("[[reader]]", "[[readers]]", r':9: unknown key "readers" at the top of the file; did you mean reader\?'),
        ('"fir"]', '"fire"]', r':13: no cluster has the id "fire"; did you mean "fir"\?'),
        ('"fir"]', '"fir"]\nprogrammes = ["x"]', r':14: no programme has the id "x"; write one of "fund"'),
        ('"operations"', '"operators"', r':11: role = "operators" is not known; did you mean "operations"\?'),
        ('password_env = "DESK_PASSWORD"\n', "", r":9: \[\[reader\]\] has no password_env; add password_env = "),
    ],
)
def test_each_mistake_is_one_sentence(
    clickhouse: ClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, sentence: str
) -> None:
    monkeypatch.setenv("DESK_PASSWORD", "x")
    assert old in CONFIG
    answer = access(tmp_path, CONFIG.replace(old, new, 1) if old else CONFIG, "--clickhouse", clickhouse.url)
    assert isinstance(answer.exception, CannotApply | ConfigError), answer.output
    assert re.search(sentence, str(answer.exception)), answer.exception


def test_without_readers(clickhouse: ClickHouse, tmp_path: Path) -> None:
    answer = access(tmp_path, CONFIG.partition("[[reader]]")[0], "--clickhouse", clickhouse.url)
    assert "describes no reader: add [[reader]] with id, role and password_env" in str(answer.exception)


def test_the_readers_of_the_documentation(tmp_path: Path) -> None:
    """The example of docs/grafana.md is a sound configuration."""
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "grafana.md").read_text(), re.DOTALL)
    file = tmp_path / "c.toml"
    file.write_text(CONFIG.partition("[[reader]]")[0].replace('"fund"', '"access-fund"') + example)
    assert [is_bound(reader) for reader in load(file).reader] == [True, True]
