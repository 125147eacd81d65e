"""Migrations: run once, in order, recorded, and never over a database of another shape."""

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

import compose.migrate
from compose import client
from compose.clickhouse.sql import split
from compose.migrate import CannotMigrate, Migration, migrate, shipped
from tests.roles import Running

FIRST = Migration("0001_first", b"CREATE TABLE a (x Int32) ENGINE = MergeTree ORDER BY x;\nINSERT INTO a VALUES (1);")
SECOND = Migration("0002_second", b"-- a comment; with a semicolon\nALTER TABLE a ADD COLUMN y String DEFAULT ';';")


@pytest.fixture
def empty(clickhouse_server: Running) -> Iterator[Client]:
    """A client on a server without the database `trial`."""
    connected = client.connect(clickhouse_server.url, database=None)
    connected.command("DROP DATABASE IF EXISTS trial")
    yield connected
    connected.command("DROP DATABASE IF EXISTS trial")
    connected.close()


def rows(connected: Client, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connected.query(query).result_rows]


def test_statements_are_split_where_the_engine_would() -> None:
    """A semicolon in a string, a name or a comment ends nothing."""
    script = b"""
    -- first; not
    SELECT 'a;''b\\';' AS `x;y`, "c;d"; /* ; */
    # also; a comment
    SELECT $tag$ ; $tag$, $$;$$ ;;
    """
    assert split(script) == [b"""SELECT 'a;''b\\';' AS `x;y`, "c;d\"""", b"SELECT $tag$ ; $tag$, $$;$$"]


def test_shipped_migrations_build_the_schema(migrated: Client) -> None:
    """Every shipped migration is recorded with its checksum, and every table and column has its comment."""
    recorded = rows(migrated, "SELECT name, checksum, done = statements FROM schema_migrations FINAL ORDER BY name")
    assert recorded == [(m.name, m.checksum, 1) for m in shipped()]
    assert rows(migrated, "SELECT name FROM system.tables WHERE database = 'commonwatt' AND comment = ''") == []
    assert rows(migrated, "SELECT table, name FROM system.columns WHERE database = 'commonwatt' AND comment = ''") == []


def test_a_second_run_does_nothing(empty: Client) -> None:
    """Migrating is idempotent, and goes on from where an older version stood."""
    assert migrate(empty, "trial", [FIRST]) == ["0001_first"]
    assert migrate(empty, "trial", [FIRST]) == []
    assert migrate(empty, "trial", [FIRST, SECOND]) == ["0002_second"]
    assert migrate(empty, "trial", [FIRST, SECOND]) == []
    assert rows(empty, "SELECT x, y FROM trial.a") == [(1, ";")]


def test_a_changed_migration_is_refused(empty: Client) -> None:
    """What was run and what the code says must be the same text; line ends do not count."""
    migrate(empty, "trial", [FIRST])
    migrate(empty, "trial", [Migration(FIRST.name, FIRST.text.replace(b"\n", b"\r\n"))])
    with pytest.raises(CannotMigrate, match="0001_first was changed after it had been run on the database trial"):
        migrate(empty, "trial", [Migration(FIRST.name, FIRST.text + b" ")])


def test_a_newer_database_is_refused(empty: Client) -> None:
    """An old version must not write into tables it does not know."""
    migrate(empty, "trial", [FIRST, SECOND])
    with pytest.raises(CannotMigrate, match="0002_second, which this version does not know"):
        migrate(empty, "trial", [FIRST])


def test_a_run_that_was_cut_off_is_continued(empty: Client) -> None:
    """Whether it ended before or after a statement's record was written."""
    broken = Migration("0001_first", FIRST.text + b"INSERT INTO nowhere VALUES (1);")
    with pytest.raises(CannotMigrate, match=r"Statement 3 of the migration 0001_first fails: .*nowhere"):
        migrate(empty, "trial", [broken])
    empty.command("CREATE TABLE trial.nowhere (x Int32) ENGINE = MergeTree ORDER BY x")
    assert migrate(empty, "trial", [broken]) == ["0001_first"]
    assert rows(empty, "SELECT count() FROM trial.a") == [(1,)]
    # The column is there, its record is not.
    empty.command("ALTER TABLE trial.a ADD COLUMN y String DEFAULT ';'")
    empty.insert(
        "schema_migrations",
        [[SECOND.name, SECOND.checksum, 1, 0]],
        column_names=["name", "checksum", "statements", "done"],
        database="trial",
    )
    assert migrate(empty, "trial", [broken, SECOND]) == ["0002_second"]


def test_a_statement_that_failed_is_not_taken_for_done(empty: Client) -> None:
    """A table that is missing is missing in the second run as well: the run says so again, and records nothing."""
    broken = Migration("0001_first", FIRST.text + b"INSERT INTO nowhere VALUES (1);")
    for _ in range(2):
        with pytest.raises(CannotMigrate, match=r"Statement 3 of the migration 0001_first fails: .*nowhere"):
            migrate(empty, "trial", [broken])


class Killed(Exception):
    """The run ends between a statement and its record."""


def test_roll_ups_come_through_a_cut_at_every_statement(empty: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migration that writes a table anew under another key loses no row of it, cut off after each statement."""
    wanted = [migration for migration in shipped() if migration.name <= "0009_rollups"]
    rollups = wanted[-1]
    migrate(empty, "trial", wanted[:-1])
    empty.command(
        "INSERT INTO trial.subsidy_burn_store (minute, programme, agreement, ts, spent, currency) "
        "SELECT toDateTime(60 * number), 'fund', concat('a', toString(number % 3)), toDateTime(60 * number), number, "
        "'CAD' FROM numbers(9)"
    )
    query = "SELECT minute, agreement, spent FROM trial.subsidy_burn_store FINAL ORDER BY ALL"
    before = rows(empty, query)
    recorded = compose.migrate._Runner._record
    cut: set[int] = set()

    def record(self: compose.migrate._Runner, migration: Migration, done: int, statements: int) -> None:
        if done and done not in cut:
            cut.add(done)
            raise Killed
        recorded(self, migration, done, statements)

    monkeypatch.setattr(compose.migrate._Runner, "_record", record)
    for _ in rollups.statements:
        with pytest.raises(Killed):
            migrate(empty, "trial", wanted)
    assert migrate(empty, "trial", wanted) == [rollups.name]
    assert len(before) == 9
    assert rows(empty, query) == before
    ((key,),) = rows(
        empty, "SELECT sorting_key FROM system.tables WHERE database = 'trial' AND name = 'subsidy_burn_store'"
    )
    assert key == "minute, agreement"
