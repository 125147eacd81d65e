"""`make soak`: a run full of faults, and the same input undisturbed; the ledgers must be equal row for row.

    python -m tests.soak --seed 7 --minutes 10 --brokers 3
    python -m tests.soak --seed 7 --minutes 10 --brokers 3 --plan print > plan.json
    python -m tests.soak --plan plan.json

The exit status is 0 when nothing is lost, nothing is doubled and nothing differs, else 1.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tests.kafka import artifacts
from tests.soak import report
from tests.soak.keeper import SoakFailed
from tests.soak.plan import EMBEDDED, Plan, make
from tests.soak.run import Say, soak

PRINTED_EVERY_S = 15.0


def main() -> int:
    """Returns the exit status."""
    options = _arguments().parse_args()
    console = Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=160)
    try:
        plan = _plan(options)
        print(plan.text(), flush=True)
        if options.plan == "print":
            return 0
        folder = options.folder or Path(tempfile.mkdtemp(prefix="commonwatt-soak-"))
        folder.mkdir(parents=True, exist_ok=options.folder is None)
        (folder / "plan.json").write_text(plan.text())
    except (OSError, ValueError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    try:
        with _shown(console) as say:
            outcome = asyncio.run(soak(plan, folder, say))
    except (SoakFailed, KeyboardInterrupt) as error:
        print(f"soak: {str(error) or 'interrupted'}; plan and logs are in {folder}", file=sys.stderr)
        return 1
    report.show(outcome, console)
    if options.json is not None:
        options.json.write_text(report.as_json(outcome) + "\n")
    wrong = bool(outcome.wrong())
    if wrong:
        print(f"soak: plan and logs are in {folder}", file=sys.stderr)
    elif options.folder is None:
        shutil.rmtree(folder)
    return int(wrong)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=None, help="seed of the plan (default: of this second)")
    parser.add_argument("--minutes", type=float, default=10, help="length of the disturbed run")
    parser.add_argument(
        "--brokers",
        choices=("3", "1", EMBEDDED),
        help="3 or 1 nodes of Apache Kafka, or `embedded` (default: 3 where Apache Kafka can run)",
    )
    parser.add_argument("--plan", help="a plan to play instead of drawing one; `print`: draw one and only print it")
    parser.add_argument("--folder", type=Path, help="keep data and logs in this new folder (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON, too")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    if options.plan not in (None, "print"):
        return Plan.parse(Path(options.plan).read_text())
    seed = int(time.time()) if options.seed is None else options.seed
    return make(seed, options.minutes * 60, options.brokers or _brokers_at_hand())


def _brokers_at_hand() -> str:
    reason = artifacts.missing()
    if reason is None:
        return "3"
    print(f"soak: on the embedded broker, which is not killed, because {reason}", file=sys.stderr)
    return EMBEDDED


@contextlib.contextmanager
def _shown(console: Console) -> Iterator[Say]:
    """On a terminal one line that changes; else a line now and then."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            yield lambda text: live.update(Text(text))
        return
    printed_s = float("-inf")

    def say(text: str) -> None:
        nonlocal printed_s
        if time.monotonic() - printed_s >= PRINTED_EVERY_S:
            printed_s = time.monotonic()
            console.print(text)

    yield say


if __name__ == "__main__":
    sys.exit(main())
