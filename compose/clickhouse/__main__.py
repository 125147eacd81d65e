"""`python -m compose.clickhouse --data DIR [--host 127.0.0.1] --port P`: the role `clickhouse`."""

import argparse
import sys
from pathlib import Path

from compose.clickhouse.role import main


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="commonwatt clickhouse", description="Embedded ClickHouse over HTTP.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data; created when absent")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 = a free one")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(main(arguments.data, arguments.host, arguments.port))
