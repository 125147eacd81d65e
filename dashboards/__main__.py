"""python -m dashboards build [FOLDER] [--docs FOLDER]: write every generated file anew from the definitions."""

import argparse
import sys
from pathlib import Path

from dashboards.generate import documents, grafana_files, write

COMMITTED = Path(__file__).parent
DOCS = COMMITTED.parent / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards", description="Dashboards and alert rules as code.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "build", help="write the generated files", description="Write Grafana's files, and docs about them."
    )
    command.add_argument("folder", nargs="?", type=Path, default=COMMITTED, help="default: where they are committed")
    command.add_argument("--docs", type=Path, default=DOCS, help="folder of the documentation")
    arguments = parser.parse_args()
    for path in [*write(grafana_files(), arguments.folder), *write(documents(), arguments.docs)]:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
