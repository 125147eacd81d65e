"""The statements that make readers on a ClickHouse server, in an order in which nobody ever sees more than is meant.

Users begin without any right, row policies come before grants, and each statement can be run again. A reader who is
bound gets restrictive policies: they hold whatever else permits. Beside them stands one policy that permits all rows to
all users, so that everybody else, the writers of the book first, reads on as before on every server setting
(`users_without_row_policies_can_read_rows`). Nothing is dropped but policies of bounds that a reader no longer has.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compose.readers.relations import DATABASE, HIDDEN, OPEN, TABLES, Table, grants, sql
from schemas.config import Reader

PREFIX = "commonwatt"
EVERYONE = f"{PREFIX}_everyone"
MAX_EXECUTION_S = 60
"""Of a query that does not ask for less or more; Grafana's plugin asks for its `queryTimeout` with each one."""

_GIB = 1 << 30
_SETTINGS: Mapping[str, str] = {
    "readonly": "1",
    # The plugin sets it on every query: without this its test of the connection passes and every query fails.
    "max_execution_time": f"{MAX_EXECUTION_S} MIN 1 MAX 300 CHANGEABLE_IN_READONLY",
    "max_memory_usage": str(4 * _GIB),
    "max_threads": "4",
    "max_rows_to_read": "10000000000",
    "max_result_rows": "5000000",
    "max_result_bytes": str(_GIB // 4),
    # Else a row that a newer one has replaced could still show itself to a reader who may not see the newer one.
    "apply_row_policy_after_final": "1",
}
_QUOTAS = (
    ("1 minute", "queries = 3000"),  # fifty people with a dashboard of twenty panels that refreshes every 30 s
    ("1 hour", "queries = 120000, read_rows = 1000000000000, execution_time = 28800"),
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; `shown` is what may be printed."""

    sql: str
    shown: str


Policy = tuple[str, str]
"""Name of a row policy, and the table that it is on."""


def role_of(reader: Reader) -> str:
    """Name of the role that a reader gets."""
    return f"{PREFIX}_{reader.role}{'_bound' if is_bound(reader) else ''}"


def policy_of(reader: Reader) -> str:
    """Name of a reader's row policies."""
    return f"{PREFIX}_reader_{reader.id}"


def is_bound(reader: Reader) -> bool:
    return bool(reader.clusters or reader.programmes)


def condition(table: Table, reader: Reader) -> str:
    """Which rows of a table a reader sees, as SQL."""
    if not is_bound(reader):
        return OPEN
    bounds = ((table.cluster, reader.clusters), (table.programme, reader.programmes))
    parts = [text.format(ids=_literals(ids)) for text, ids in bounds if ids and text is not None]
    if HIDDEN in parts or not parts:
        return HIDDEN
    return " AND ".join(part for part in parts if part != OPEN) or OPEN


def statements(
    readers: Sequence[Reader], passwords: Mapping[str, str], salts: Mapping[str, str], existing: Collection[Policy] = ()
) -> list[Statement]:
    """Everything that makes these readers; password and salt by id. `existing`: row policies that are there."""
    roles = {role_of(reader): reader for reader in readers}
    names = ", ".join(_name(role) for role in roles)
    settings = ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items())
    quotas = ", ".join(f"FOR INTERVAL {interval} MAX {limits}" for interval, limits in _QUOTAS)
    plain = [
        *(f"CREATE ROLE IF NOT EXISTS {_name(role)}" for role in roles),
        f"CREATE SETTINGS PROFILE OR REPLACE {PREFIX}_readers SETTINGS {settings} TO {names}",
        f"CREATE QUOTA OR REPLACE {PREFIX}_readers KEYED BY user_name {quotas} TO {names}",
    ]
    found = [_shown(text) for text in plain]
    for reader in readers:
        found += _user(reader, passwords[reader.id], salts[reader.id])
    found += [_shown(text) for text in _policies(readers, existing)]
    for role, reader in roles.items():
        rights = sql(grants(reader.role, bound=is_bound(reader)))
        if reader.role == "analysts" and not is_bound(reader):
            rights = f"SELECT, SHOW ON {DATABASE}.*"
        found.append(_shown(f"GRANT {rights} TO {_name(role)} WITH REPLACE OPTION"))
    for reader in readers:
        user, role = _name(reader.id), _name(role_of(reader))
        found += [
            _shown(f"GRANT {role} TO {user} WITH REPLACE OPTION"),
            _shown(f"ALTER USER {user} DEFAULT ROLE {role}"),
        ]
    return found


def _user(reader: Reader, password: str, salt: str) -> list[Statement]:
    """The password travels as its salted hash, SHA-256 of password and salt one after the other."""
    name = _name(reader.id)
    digest = hashlib.sha256((password + salt).encode()).hexdigest()
    by = f"IDENTIFIED WITH sha256_hash BY '{digest}' SALT '{salt}'"
    return [
        Statement(text.format(by), text.format("IDENTIFIED WITH sha256_hash BY '…' SALT '…'"))
        for text in (f"CREATE USER IF NOT EXISTS {name} {{}}", f"ALTER USER {name} {{}}")
    ]


def _policies(readers: Sequence[Reader], existing: Collection[Policy]) -> Iterator[str]:
    bound = [reader for reader in readers if is_bound(reader)]
    if bound:
        yield f"CREATE ROW POLICY OR REPLACE {EVERYONE} ON {_tables(TABLES)} FOR SELECT USING {OPEN} TO ALL"
    wanted: set[Policy] = set()
    for reader in bound:
        tables: dict[str, list[str]] = {}
        for name, about in TABLES.items():
            tables.setdefault(condition(about, reader), []).append(name)
        tables.pop(OPEN, None)
        for rows, names in tables.items():
            wanted |= {(policy_of(reader), name) for name in names}
            yield (
                f"CREATE ROW POLICY OR REPLACE {_name(policy_of(reader))} ON {_tables(names)} AS RESTRICTIVE "
                f"FOR SELECT USING {rows} TO {_name(reader.id)}"
            )
    ours = {policy_of(reader) for reader in readers}
    for policy, table in sorted(set(existing) - wanted):
        if policy in ours:
            yield f"DROP ROW POLICY IF EXISTS {_name(policy)} ON {DATABASE}.{table}"


def _tables(names: Collection[str]) -> str:
    return ", ".join(f"{DATABASE}.{name}" for name in names)


def _name(name: str) -> str:
    """A name of the configuration holds small letters, digits, ".", "_" and "-" only."""
    return f"`{name}`"


def _literals(ids: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in ids)


def _shown(text: str) -> Statement:
    return Statement(text, text)
