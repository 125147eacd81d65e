"""python -m dashboards build [FOLDER]: write the Grafana dashboards anew from their definitions."""

import argparse
import sys
from pathlib import Path

from dashboards.grafana import build

COMMITTED = Path(__file__).parent / "grafana"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards", description="Grafana dashboards as code.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("build", help="write the JSON files", description="Write the Grafana dashboards.")
    command.add_argument("folder", nargs="?", type=Path, default=COMMITTED, help="default: where they are committed")
    for path in build(parser.parse_args().folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
