"""`make examples` writes docs/examples/; `python -m tests.examples --folder FOLDER` the same elsewhere."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.examples.make import make
from tests.roles import ROOT


def main() -> None:
    """Write the month of the demonstration, the same files on each run."""
    arguments = argparse.ArgumentParser(prog="make examples", description=main.__doc__)
    arguments.add_argument("--folder", type=Path, default=ROOT / "docs" / "examples", help="where to write them")
    folder: Path = arguments.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="commonwatt-examples-") as book:
        for name in make(Path(book), folder):
            sys.stdout.write(f"{(folder / name).stat().st_size:>9,}  {name}\n")


if __name__ == "__main__":
    main()
