"""``python -m collectors.simulator --config compose/demo.toml --port 9000 --record record.json``"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from collectors.simulator import serve, toml_file
from collectors.simulator.scale import expand, needs_expanding
from schemas.config import Config
from schemas.config_file import ConfigError, load


def main() -> int:
    """Serve the fabric that a configuration file describes. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m collectors.simulator", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="configuration, expanded or not")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--gpus", type=int, default=256, help="size, where the configuration is not expanded yet")
    parser.add_argument("--record", type=Path, help="JSON file for what truly happened")
    parser.add_argument("--write", type=Path, help="write the expanded configuration here, for the other roles")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        config = load(options.config)
        if needs_expanding(config):
            config = expand(config, gpus=options.gpus, base_url=f"http://{options.host}:{options.port}")
        if options.write:
            options.write.write_text(toml_file.dumps(config), encoding="utf-8")
        asyncio.run(_serve(config, options))
    except (ConfigError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve.run(config, host=options.host, port=options.port, record=options.record, seed=options.seed, stop=stop)


if __name__ == "__main__":
    sys.exit(main())
