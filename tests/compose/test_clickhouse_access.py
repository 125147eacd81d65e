"""Who may do what: passwords, the read-only user, and requests that come out of a browser.

The read-only user is tried with everything that the embedded engine was seen to let through without a grant.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose import client
from compose.client import CannotConnect
from tests.compose.http import Answer, ask
from tests.conftest import ClickHouse
from tests.roles import Running, running

SECRET = "sésame:ouvre-toi"


def analyst(url: str, query: str, **parameters: str) -> Answer:
    return as_user("analyst", url, query, **parameters)


def as_user(user: str, url: str, query: str, **parameters: str) -> Answer:
    return ask(url, query, headers={"X-ClickHouse-User": user}, database="commonwatt", **parameters)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count() FROM gpu_usage",
        "SELECT count() FROM commonwatt.gpu_usage FORMAT JSON",
        "WITH 1 AS x SELECT x",
        "SHOW TABLES",
        "SHOW CREATE TABLE gpu_usage",
        "DESCRIBE TABLE gpu_usage",
        "EXPLAIN SELECT * FROM gpu_usage",
        "EXISTS TABLE gpu_usage",
        "SELECT name, comment FROM system.tables WHERE database = 'commonwatt'",
        "SELECT sum(number) FROM numbers(10);",
        "SELECT 'file', `x` FROM (SELECT 1 AS x) -- file('/etc/passwd')",
        "SELECT getSetting('readonly')",
    ],
)
def test_analysts_read(clickhouse: ClickHouse, query: str) -> None:
    """All that the role is for, without a password."""
    assert analyst(clickhouse.url, query).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO fx_rates (base) VALUES ('CAD')",
        "INSERT INTO fx_rates (base) FORMAT CSV 'CAD'",
        "INSERT INTO fx_rates (base) SELECT 'CAD'",
        "WITH 'CAD' AS base INSERT INTO fx_rates (base) SELECT base",
        "INSERT INTO FUNCTION file('{out}', 'CSV', 'x Int32') SELECT 1",
        "CREATE TABLE x (a Int32) ENGINE = Memory",
        "CREATE TEMPORARY TABLE x (a Int32)",
        "CREATE VIEW x AS SELECT 1",
        "CREATE DATABASE x",
        "CREATE FUNCTION f AS (x) -> x",
        "CREATE USER x",
        "CREATE DICTIONARY x (a Int32) PRIMARY KEY a SOURCE(FILE(path '{secret}' format 'CSV')) LAYOUT(FLAT())",
        "ALTER TABLE fx_rates DELETE WHERE 1",
        "ALTER TABLE fx_rates UPDATE rate = 1 WHERE 1",
        "DELETE FROM fx_rates WHERE 1",
        "DROP TABLE fx_rates",
        "DROP DATABASE commonwatt",
        "TRUNCATE TABLE fx_rates",
        "RENAME TABLE fx_rates TO x",
        "DETACH TABLE fx_rates",
        "OPTIMIZE TABLE fx_rates",
        "GRANT ALL ON *.* TO default",
        "SET ROLE admin",
        "SET readonly = 0",
        "SET ROLE admin; DROP TABLE fx_rates",
        "SELECT 1; DROP TABLE fx_rates",
        "SELECT 1 FORMAT JSON; DROP TABLE fx_rates",
        "SELECT 1 PARALLEL WITH DROP TABLE fx_rates",
        "EXECUTE AS default SELECT 1",
        "SYSTEM SHUTDOWN",
        "SYSTEM STOP MERGES",
        "SYSTEM FLUSH LOGS",
        "SYSTEM DROP MARK CACHE",
        "KILL QUERY WHERE 1",
        "BACKUP TABLE fx_rates TO File('{out}')",
        "SELECT * FROM file('{secret}', 'LineAsString')",
        "SELECT file('{secret}')",
        "SELECT /* x */ file /* y */ ('{secret}')",
        "SELECT `file`('{secret}')",
        "SELECT \"file\"('{secret}')",
        "SELECT `f\\x69le`('{secret}')",
        "SELECT arrayMap(file, ['{secret}'])",
        "SELECT arrayMap(x -> file(x), ['{secret}'])",
        "SELECT * APPLY(file) FROM (SELECT '{secret}')",
        "SELECT * FROM (SELECT file('{secret}') AS a) WHERE a != ''",
        "EXPLAIN SELECT file('{secret}')",
        "EXPLAIN SYNTAX SELECT file('{secret}')",
        "DESCRIBE (SELECT file('{secret}'))",
        "DESCRIBE TABLE file('{secret}')",
        "SELECT * FROM merge(REGEXP('.*'), '.*') WHERE file('{secret}') != ''",
        "SELECT * FROM filesystem('{folder}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM `{secret}`",
        "SELECT * FROM default.`{secret}`",
        "DESCRIBE TABLE default.`{secret}`",
        "SELECT 1 IN default.`{secret}`",
        "SELECT hasColumnInTable('default', '{secret}', 'c1')",
        "SELECT * FROM url('{url}', 'LineAsString')",
        "DESCRIBE TABLE url('{url}')",
        "SELECT * FROM s3('{url}/bucket/key', 'CSV', 'a String')",
        "DESCRIBE TABLE s3('{url}/bucket/key', 'CSV')",
        "SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1', system.one)",
        "SELECT * FROM cluster('default', system.one)",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM sqlite('{secret}', 'a')",
        "SELECT * FROM executable('cat', 'TSV', 'a String')",
        "SELECT * FROM Python(connection)",
        "SELECT * FROM input('a Int32')",
        "SELECT 1 INTO OUTFILE '{out}'",
        "SHOW TABLES INTO OUTFILE '{out}'",
        "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
        "(SELECT 1) INTO OUTFILE '{out}'",
        "SELECT * FROM private.t",
        "SELECT * FROM view(SELECT * FROM private.t)",
        "SELECT * FROM merge('private', 't')",
        "SELECT * FROM system.users",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_memory_usage = 100000000000",
        "SELECT 1 SETTINGS max_execution_time = 0",
    ],
)
def test_analysts_do_nothing_else(clickhouse: ClickHouse, tmp_path: Path, query: str) -> None:
    """Nothing is written, read from files or fetched; no right is gained."""
    secret = tmp_path / "secret"
    secret.write_text("hidden words")
    out = tmp_path / "out"
    clickhouse.client.command("CREATE DATABASE IF NOT EXISTS private")
    clickhouse.client.command("CREATE TABLE IF NOT EXISTS private.t ENGINE = MergeTree ORDER BY x AS SELECT 1 AS x")
    filled = query.format(secret=secret, out=out, folder=tmp_path, url="http://127.0.0.1:1")
    answer = analyst(clickhouse.url, filled)
    assert answer.status >= 400, answer.text
    assert "hidden words" not in answer.text
    assert "Connection refused" not in answer.text, "a connection was tried"
    assert not out.exists()
    assert clickhouse.client.query("SELECT count() FROM fx_rates").result_rows == [(0,)]


@pytest.mark.parametrize("user", ["finance", "operations"])
@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO fx_rates (base) VALUES ('CAD')",
        "DROP TABLE fx_rates",
        "CREATE VIEW x AS SELECT 1",
        "SET ROLE admin",
        "SET ROLE analyst",
        "SELECT 1; DROP TABLE fx_rates",
        "SELECT * FROM file('{secret}', 'LineAsString')",
        "SELECT `f\\x69le`('{secret}')",
        "SELECT 1 INTO OUTFILE '{out}'",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT * FROM system.users",
        "SELECT * FROM schema_migrations",
        "SELECT * FROM settlement_leases",
        "SELECT * FROM merge('commonwatt', 'schema_migrations')",
        "SHOW CREATE TABLE settlement_leases",
        "KILL QUERY WHERE 1",
    ],
)
def test_finance_and_operations_have_the_same_walls(
    clickhouse: ClickHouse, tmp_path: Path, user: str, query: str
) -> None:
    """They read, and less than the analyst does (tests/compose/test_readers.py)."""
    secret, out = tmp_path / "secret", tmp_path / "out"
    secret.write_text("hidden words")
    answer = as_user(user, clickhouse.url, query.format(secret=secret, out=out))
    assert answer.status >= 400, answer.text
    assert "hidden words" not in answer.text
    assert not out.exists()
    assert clickhouse.client.query("SELECT count() FROM fx_rates").result_rows == [(0,)]


def test_refusals_name_the_user(clickhouse: ClickHouse) -> None:
    assert "The user finance may only read" in as_user("finance", clickhouse.url, "SYSTEM FLUSH LOGS").text


def test_names_as_parameters(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """The name of a function cannot come in as a parameter."""
    (tmp_path / "secret").write_text("hidden words")
    answer = analyst(clickhouse.url, f"SELECT arrayMap({{f:Identifier}}, ['{tmp_path}/secret'])", param_f="f\\x69le")
    assert answer.status == 403
    assert "hidden" not in answer.text


def test_analysts_settings(clickhouse: ClickHouse) -> None:
    """The look of the answer, and limits up to the server's; nothing else."""
    asked = "SELECT getSetting('max_execution_time'), getSetting('max_memory_usage'), getSetting('readonly')"
    assert analyst(clickhouse.url, asked).text == f"60\t{1 << 30}\t1\n"
    assert analyst(clickhouse.url, asked, max_execution_time="5", readonly="0").text == f"5\t{1 << 30}\t1\n"
    for value in ("0", "100000", "-1", "nan"):
        assert analyst(clickhouse.url, asked, max_execution_time=value).text == f"60\t{1 << 30}\t1\n"
    assert analyst(clickhouse.url, "SELECT 1.5", output_format_json_quote_decimals="1", extremes="0").status == 200
    answer = analyst(clickhouse.url, "SELECT 1", allow_introspection_functions="1")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_analysts_end_in_time(clickhouse: ClickHouse) -> None:
    """A query beyond its limit is ended by the engine."""
    answer = analyst(
        clickhouse.url, "SELECT sum(sipHash64(number)) FROM numbers(10000000000)", max_execution_time="0.3"
    )
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (408, "159")
    answer = analyst(clickhouse.url, "SELECT groupArray(number) FROM numbers(1000000000)")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "241"
    answer = analyst(
        clickhouse.url, "SELECT repeat('x', 100000 + number % 2) FROM numbers(5000) FORMAT JSON", max_block_size="100"
    )
    assert answer.headers["X-ClickHouse-Exception-Code"] == "396"


def test_analysts_through_the_client(clickhouse: ClickHouse) -> None:
    """The client library works for the read-only user, with parameters and Arrow."""
    reader = client.connect(clickhouse.url, "analyst")
    assert reader.query("SELECT {x:String}, getSetting('max_threads')", {"x": "é"}).result_rows == [("é", 1)]
    assert reader.query_arrow("SELECT count() AS n FROM gpu_usage").column("n").to_pylist() == [0]
    reader.close()


# --- passwords ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("guarded")
    environment = {"COMMONWATT_CLICKHOUSE_PASSWORD": SECRET, "COMMONWATT_ANALYST_PASSWORD": "read"}
    arguments = ("--data", str(folder / "data"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=folder / "log", environment=environment) as role:
        yield role


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_passwords_in_every_place(guarded: Running) -> None:
    """Basic authentication, ClickHouse's headers, and the address."""
    url = guarded.url
    assert ask(url, "SELECT 1", headers=basic("default", SECRET)).text == "1\n"
    assert ask(url, "SELECT 1", headers=basic("analyst", "read")).text == "1\n"
    assert ask(url, "SELECT 1", headers={"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": "read"}).text == "1\n"
    assert ask(url, "SELECT 1", user="default", password=SECRET).text == "1\n"
    assert client.connect(url, password=SECRET, database=None).command("SELECT 1") == 1
    assert ask(url, method="GET", path="/ping").text == "Ok.\n"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("default", ""),
        basic("default", SECRET[:-1]),
        basic("analyst", SECRET),
        basic("admin", SECRET),
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer x"},
        {"X-ClickHouse-User": "analyst"},
        {"X-ClickHouse-Key": "read"},
    ],
)
def test_wrong_passwords(guarded: Running, headers: dict[str, str]) -> None:
    """403 with ClickHouse's code, and nothing is run."""
    answer = ask(guarded.url, "CREATE DATABASE x", headers=headers)
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert ask(guarded.url, "EXISTS DATABASE x", user="default", password=SECRET).text == "0\n"


@pytest.mark.parametrize("user", ["finance", "operations"])
def test_no_way_around_the_analysts_password(guarded: Running, user: str) -> None:
    """Where the analyst needs a password, a user for whom none is set does not exist."""
    for password in ("", "read", SECRET):
        assert ask(guarded.url, "SELECT 1", headers=basic(user, password)).status == 403


def test_finance_and_operations_have_passwords_of_their_own(tmp_path: Path) -> None:
    environment = {
        "COMMONWATT_ANALYST_PASSWORD": "read",
        "COMMONWATT_FINANCE_PASSWORD": "money",
        "COMMONWATT_OPERATIONS_PASSWORD": "fleet",
    }
    arguments = ("--data", str(tmp_path / "data"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=tmp_path / "log", environment=environment) as role:
        assert ask(role.url, "SELECT 1", headers=basic("finance", "money")).text == "1\n"
        assert ask(role.url, "SELECT 1", headers=basic("operations", "fleet")).text == "1\n"
        assert ask(role.url, "SELECT 1", headers=basic("finance", "fleet")).status == 403


def test_client_is_told(guarded: Running) -> None:
    """One sentence for a person who forgot the password."""
    with pytest.raises(CannotConnect, match="refuses user 'default': check COMMONWATT_CLICKHOUSE_PASSWORD"):
        client.connect(guarded.url, database=None)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_web_pages_have_no_access(clickhouse_server: Running, headers: dict[str, str]) -> None:
    """A page open in a browser on this machine cannot send statements, although no password is asked for."""
    assert ask(clickhouse_server.url, "SELECT 1", headers=headers).status == 403
