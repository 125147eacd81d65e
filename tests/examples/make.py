"""From an empty folder to the files of the example."""

from pathlib import Path

from compose.client import connect
from compose.finance.statement.model import Statement
from compose.migrate import migrate
from compose.reference import tables
from tests.examples import files
from tests.examples.events import DEMO, live
from tests.examples.index import NAME, index
from tests.examples.questions import PAGE, answered
from tests.roles import running


def make(book: Path, folder: Path, *, validated: bool = True) -> tuple[list[str], str]:
    """Write the example into `folder`. `book`: an empty folder to work in.

    Returns the names of its files, and docs/sql.md with the answers that its book gives.

    validated: ask the foundation's validator, too (its environment is made on first use, from the network).
    """
    arguments = ("--data", str(book / "clickhouse"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=book / "clickhouse.log") as clickhouse:
        migrate(connect(clickhouse.url, database=None))
        client = connect(clickhouse.url)
        demonstration = live(client)
        folder.mkdir(parents=True, exist_ok=True)
        statements: list[Statement] = []
        written = [*files.write_statements(client, folder, statements), *files.write_focus(client, folder)]
        written += files.write_validated(folder) if validated else ()
        written += files.write_reports(client, folder)
        tables.store(client, demonstration.config, source=DEMO.name)  # last: what is above is as of a moment before
        client.close()
        analyst = connect(clickhouse.url, "analyst")
        page = answered(PAGE.read_text(encoding="utf-8"), analyst)
        analyst.close()
    (folder / NAME).write_text(index(written, statements, demonstration.gpus))
    return [NAME, *(file.name for file in written)], page
