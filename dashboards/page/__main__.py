"""The page on its own: python -m dashboards.page --clickhouse http://127.0.0.1:8123 --port 8080."""

import argparse
import asyncio
import os
import signal
import sys

from dashboards.page.server import PageError, run


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(
        arguments.clickhouse,
        user=arguments.user,
        password=os.environ.get("COMMONWATT_CLICKHOUSE_PASSWORD", ""),
        host=arguments.host,
        port=arguments.port,
        refresh_s=arguments.refresh,
        opens_with=arguments.range,
        stop=stop,
    )


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. The password comes from COMMONWATT_CLICKHOUSE_PASSWORD."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.page", description="The built-in page on ClickHouse.")
    parser.add_argument("--clickhouse", required=True, metavar="URL", help="such as http://127.0.0.1:8123")
    parser.add_argument("--user", default="analyst", help="a read-only user (default: analyst)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--refresh", type=float, default=5.0, metavar="S", help="seconds between reads (default: 5)")
    parser.add_argument(
        "--range", metavar="NAME", help="time range to open with, such as 15m or fy (default: each its own)"
    )
    try:
        asyncio.run(_serve(parser.parse_args()))
    except PageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
