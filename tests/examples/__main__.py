"""`make examples` writes docs/examples/ and the answers in docs/sql.md; `python -m tests.examples --folder FOLDER` the
files elsewhere."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.examples.make import make
from tests.examples.questions import PAGE
from tests.roles import ROOT

FOLDER = ROOT / "docs" / "examples"


def main() -> None:
    """Write the month of the demonstration, the same files on each run."""
    arguments = argparse.ArgumentParser(prog="make examples", description=main.__doc__)
    arguments.add_argument("--folder", type=Path, default=FOLDER, help="where to write them")
    folder: Path = arguments.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="commonwatt-examples-") as book:
        names, page = make(Path(book), folder)
    for name in names:
        sys.stdout.write(f"{(folder / name).stat().st_size:>9,}  {name}\n")
    if folder == FOLDER:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
