"""The embedded ClickHouse for one reader: its only user has the reader's row policies, its roles the bound grants.

The embedded engine knows users and policies from its configuration alone, so the conditions that `compose.readers`
writes for a server are put there, unchanged. `python -m tests.compose.bound READER --data DIR --port P`, with the
reader as JSON; the rest is that of `python -m compose.clickhouse`.
"""

import sys
from xml.sax.saxutils import escape

from compose.clickhouse import settings
from compose.clickhouse.__main__ import _arguments
from compose.clickhouse.role import main
from compose.readers.relations import OPEN, ROLES, TABLES, grants, sql
from compose.readers.statements import condition
from schemas.config import Reader


def _filters(reader: Reader) -> str:
    rows = {name: condition(table, reader) for name, table in TABLES.items()}
    tables = (
        f"<{name}><filter>{escape(text)}</filter></{name}>" for name, text in sorted(rows.items()) if text != OPEN
    )
    return f"<databases><commonwatt>{''.join(tables)}</commonwatt></databases>"


def _users_of(reader: Reader, xml: str) -> str:
    changes = {"<quota>default</quota>": f"<quota>default</quota>{_filters(reader)}"}
    for role in ROLES:
        whole = "SELECT, SHOW ON commonwatt.*" if role == "analysts" else sql(grants(role, bound=False))
        changes[f"<query>GRANT {whole}</query>"] = f"<query>GRANT {sql(grants(role, bound=True))}</query>"
    for old, new in changes.items():
        assert xml.count(old) == 1, old
        xml = xml.replace(old, new)
    return xml


if __name__ == "__main__":
    bound_to = Reader.model_validate_json(sys.argv.pop(1))
    plain = settings._users
    settings._users = lambda limits: _users_of(bound_to, plain(limits))
    arguments = _arguments()
    sys.exit(main(arguments.data, arguments.host, arguments.port))
