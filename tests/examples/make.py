"""From an empty folder to the files of the example."""

from pathlib import Path

from compose.client import connect
from compose.finance.statement.model import Statement
from compose.migrate import migrate
from tests.examples import files
from tests.examples.events import live
from tests.examples.index import NAME, index
from tests.roles import running


def make(book: Path, folder: Path, *, validated: bool = True) -> list[str]:
    """Write the example into `folder` and return the names of its files. `book`: an empty folder to work in.

    validated: ask the foundation's validator, too (its environment is made on first use, from the network).
    """
    arguments = ("--data", str(book / "clickhouse"), "--port", "0")
    with running("compose.clickhouse", *arguments, log=book / "clickhouse.log") as clickhouse:
        migrate(connect(clickhouse.url, database=None))
        client = connect(clickhouse.url)
        gpus = live(client).gpus
        folder.mkdir(parents=True, exist_ok=True)
        statements: list[Statement] = []
        written = [*files.write_statements(client, folder, statements), *files.write_focus(client, folder)]
        written += files.write_validated(folder) if validated else ()
        written += files.write_reports(client, folder)
        client.close()
    (folder / NAME).write_text(index(written, statements, gpus))
    return [NAME, *(file.name for file in written)]
