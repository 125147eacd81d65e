"""What a read-only user may not do although the engine would let it.

Three walls, each sufficient for most attempts: the engine's grants (role `analyst`: SELECT and SHOW in `commonwatt`;
`finance` and `operations`: some relations of it), the engine's `readonly = 1` (no writes, no settings), and the checks
here, for what the engine never asks grants for when it runs embedded. They rest on the engine's own parser: its class
of the statement and its canonical text.
"""

import re
from collections.abc import Mapping
from typing import Any

from compose.clickhouse import errors
from compose.clickhouse.errors import ClickHouseError
from compose.clickhouse.settings import ANALYST_LIMITS, ANALYST_SETTING_PREFIXES, ANALYST_SETTINGS, DENIED_FUNCTIONS
from compose.clickhouse.sql import Kind, tokens

_IDENTIFIER_PARAMETER = re.compile(rb"\{\s*\w+\s*:\s*Identifier\s*\}", re.IGNORECASE)


def check_reader(connection: Any, statement: str, user: str) -> None:
    """Raise ClickHouseError unless the text is one statement that only reads the database.

    Refused here: several statements, SET ROLE, SYSTEM, KILL, INTO OUTFILE (all run without a grant), and functions
    that read files.
    """
    seen = connection.classify_query(statement)
    if seen["statement_count"] > 1:
        raise ClickHouseError.of(errors.SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed).")
    if seen["query_class"].name != "READ_ONLY":
        raise ClickHouseError.of(
            errors.ACCESS_DENIED, f"The user {user} may only read: SELECT, SHOW, DESCRIBE, EXPLAIN or EXISTS."
        )
    canonical = _canonical(connection, statement)
    if _IDENTIFIER_PARAMETER.search(canonical):
        # A name that comes as a parameter could be the name of a function.
        raise ClickHouseError.of(errors.ACCESS_DENIED, f"The user {user} may not use parameters of type Identifier.")
    for token in tokens(canonical):
        if token.kind in (Kind.WORD, Kind.QUOTED):
            name = token.text.strip(b'`"').decode().lower()
            if name in DENIED_FUNCTIONS:
                raise ClickHouseError.of(errors.ACCESS_DENIED, f"The user {user} may not use the name {name}.")


def _canonical(connection: Any, statement: str) -> bytes:
    """The statement as the engine writes it: no comments, names without needless quotes or escapes."""
    literal = "'" + statement.replace("\\", "\\\\").replace("'", "\\'") + "'"
    try:
        return bytes(connection.query(f"SELECT formatQuery({literal})", "TSVRaw", params={}).bytes())
    except RuntimeError as error:
        text = re.sub(r": In scope SELECT formatQuery\(.*\)\. \(", ". (", str(error), flags=re.DOTALL)
        raise ClickHouseError(text) from None


def allowed_settings(wanted: Mapping[str, str]) -> dict[str, str]:
    """The settings of a reader's request: limits no higher than the server's, the look of the answer as asked.

    Raises ClickHouseError for any other setting.
    """
    allowed = {name: str(limit) for name, limit in ANALYST_LIMITS.items()}
    for name, value in wanted.items():
        if name in ANALYST_LIMITS:
            allowed[name] = _at_most(value, ANALYST_LIMITS[name])
        elif name in ANALYST_SETTINGS or name.startswith(ANALYST_SETTING_PREFIXES):
            allowed[name] = value
        elif name != "readonly":
            raise ClickHouseError.of(errors.READONLY, f"Cannot modify '{name}' setting in readonly mode.")
    return allowed


def _at_most(value: str, limit: int) -> str:
    try:
        number = float(value)
    except ValueError:
        return str(limit)
    return value if 0 < number < limit else str(limit)
