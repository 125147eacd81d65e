"""Bring the tables of a ClickHouse to the state that this version needs.

A migration is a numbered SQL script in `schemas/migrations`. ClickHouse has no transactions around DDL, so progress
is recorded after each statement, and a run that was cut off is continued where it stopped.
"""

import hashlib
import importlib.resources
import re
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from compose.clickhouse.sql import split

_NAME = re.compile(r"^\d{4}_\w+\.sql$")
_ALREADY_THERE = frozenset({15, 44, 57})  # DUPLICATE_COLUMN, ILLEGAL_COLUMN (add again), TABLE_ALREADY_EXISTS

_BOOK = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String COMMENT 'file name of the migration, without .sql',
    checksum String COMMENT 'SHA-256 of its text, hexadecimal',
    statements UInt32 COMMENT 'statements in it',
    done UInt32 COMMENT 'statements of it that were run; fewer than statements = cut off, the next run goes on there',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'when the last of these statements was run'
)
ENGINE = ReplacingMergeTree(done) ORDER BY name
COMMENT 'Migrations of this database; read it with FINAL'
"""

_READ_BOOK = "SELECT name, checksum, done FROM schema_migrations FINAL"


class CannotMigrate(Exception):
    """The database cannot be brought to this version. `str()` is the whole message for the user."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered script."""

    name: str
    text: bytes

    @property
    def checksum(self) -> str:
        """Of the text with plain line ends, so that a checkout's settings do not matter."""
        return hashlib.sha256(self.text.replace(b"\r\n", b"\n")).hexdigest()

    @property
    def statements(self) -> list[bytes]:
        return split(self.text)


def shipped() -> list[Migration]:
    """The migrations of this version, in order."""
    folder = importlib.resources.files("schemas") / "migrations"
    files = sorted((file for file in folder.iterdir() if _NAME.match(file.name)), key=lambda file: file.name)
    return [Migration(file.name.removesuffix(".sql"), file.read_bytes()) for file in files]


def migrate(client: Client, database: str = "commonwatt", migrations: list[Migration] | None = None) -> list[str]:
    """Create the database and run what is missing. Returns the names of the migrations that were run.

    `client` may be connected to any database. Raises CannotMigrate when the database is newer than this version,
    a migration was changed after it had been run, or a statement fails.
    """
    wanted = shipped() if migrations is None else migrations
    run = _Runner(client, database)
    client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`")
    run.statement(_BOOK)
    book = client.query(_READ_BOOK, settings={"database": database}).result_rows
    applied = {name: (checksum, done) for name, checksum, done in book}
    _check(applied, wanted, database)
    names = []
    for migration in wanted:
        _, done = applied.get(migration.name, ("", None))
        if done != len(migration.statements):
            run.migration(migration, done)
            names.append(migration.name)
    return names


def _check(applied: dict[str, tuple[str, int]], wanted: list[Migration], database: str) -> None:
    known = {migration.name: migration.checksum for migration in wanted}
    for name, (checksum, _) in sorted(applied.items()):
        if name not in known:
            raise CannotMigrate(
                f"The database {database} has the migration {name}, which this version does not know: "
                "it was used by a newer Commonwatt. Install that version or a later one."
            )
        if checksum != known[name]:
            raise CannotMigrate(
                f"The migration {name} was changed after it had been run on the database {database}: "
                "restore its text and put the change into a new migration."
            )


class _Runner:
    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._database = database

    def statement(self, sql: str) -> None:
        self._client.command(sql, settings={"database": self._database})

    def migration(self, migration: Migration, done: int | None) -> None:
        statements = migration.statements
        if done is None:
            self._record(migration, 0, len(statements))
        for number in range(done or 0, len(statements)):
            try:
                self.statement(statements[number].decode())
            except ClickHouseError as error:
                # The run before may have been cut off between this statement and its record.
                code = error.code if isinstance(error, DatabaseError) else None
                if not (number == done and code in _ALREADY_THERE):
                    text = f"Statement {number + 1} of the migration {migration.name} fails: {error}"
                    raise CannotMigrate(text) from error
            self._record(migration, number + 1, len(statements))
            done = None

    def _record(self, migration: Migration, done: int, statements: int) -> None:
        self._client.insert(
            "schema_migrations",
            [[migration.name, migration.checksum, statements, done]],
            column_names=["name", "checksum", "statements", "done"],
            database=self._database,
        )
