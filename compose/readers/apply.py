"""Makes the readers of a configuration on a ClickHouse server."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from compose.readers.relations import DATABASE
from compose.readers.statements import PREFIX, Statement, is_bound, statements
from schemas.config import Reader

_ACCESS_DENIED, _NO_STORAGE = 497, 514


class CannotApply(Exception):
    """The readers cannot be made. `str()` is the whole message for the user."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and users who hold a role of ours though no reader of the configuration has their name."""

    statements: list[Statement]
    strangers: list[str]


def plan(client: Client, readers: Sequence[Reader]) -> Plan:
    """What makes these readers on this server. Raises CannotApply."""
    passwords = {reader.id: _password(reader) for reader in readers}
    salts = {reader.id: secrets.token_hex(16) for reader in readers}
    user = str(client.command("SELECT currentUser()"))
    if user in passwords:
        raise CannotApply(f"The user {user} makes the readers and cannot be one of them: give that reader another id.")
    try:
        existing = client.query(
            "SELECT short_name, table FROM system.row_policies "
            f"WHERE database = '{DATABASE}' AND startsWith(short_name, '{PREFIX}_')"
        ).result_rows
        holders = client.query(
            f"SELECT DISTINCT user_name FROM system.role_grants WHERE startsWith(granted_role_name, '{PREFIX}_') "
            "AND user_name IS NOT NULL ORDER BY user_name"
        ).result_rows
        known = client.query("SELECT name FROM system.settings WHERE name = 'apply_row_policy_after_final'").result_rows
    except DatabaseError as error:
        raise _refused(user, error) from error
    if not known and any(is_bound(reader) for reader in readers):
        raise CannotApply(
            "This ClickHouse has no setting apply_row_policy_after_final, so rows that were replaced could show "
            "themselves to readers who may not see them: upgrade it, or leave out clusters and programmes."
        )
    found = statements(readers, passwords, salts, [(name, table) for name, table in existing])
    return Plan(found, [name for (name,) in holders if name not in passwords])


def run(client: Client, found: Plan) -> None:
    """Run a plan. Raises CannotApply; what has been run by then stays, and the next run does all of it."""
    try:
        for statement in found.statements:
            client.command(statement.sql)
    except DatabaseError as error:
        raise _refused(str(client.command("SELECT currentUser()")), error) from error


def _password(reader: Reader) -> str:
    password = os.environ.get(reader.password_env, "")
    if not password:
        raise CannotApply(f"The reader {reader.id} has no password: set {reader.password_env} in the environment.")
    return password


def _refused(user: str, error: DatabaseError) -> CannotApply:
    code = getattr(error, "code", None)
    if code == _NO_STORAGE:
        return CannotApply(
            "The embedded ClickHouse makes no users: it has default, analyst, finance and operations, see "
            "docs/grafana.md. Readers need a ClickHouse server: name it by section [clickhouse] or --clickhouse."
        )
    if code == _ACCESS_DENIED:
        return CannotApply(
            f"The user {user} may not manage users: run this as an administrator (--user), or let one run "
            "GRANT ACCESS MANAGEMENT ON *.* TO this user, with SELECT on what readers may read WITH GRANT OPTION."
        )
    return CannotApply(f"ClickHouse answers: {error}")
