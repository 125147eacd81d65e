"""The processes of a soak: how a worker and a collector are started."""

from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from tests.faults.work import launch
from tests.roles import spawn
from tests.soak.tape import Tape, collectors, save


@dataclass
class Parts:
    """What they need to know."""

    folder: Path
    """Of the run; holds config.toml."""
    kafka: str
    clickhouse_url: str
    tape: Tape
    start_s: float
    """Unix time of the first tick."""
    tick_ms: int

    def __post_init__(self) -> None:
        self.shards = collectors(self.tape)
        """Of each collector."""
        for name, shards in self.shards.items():
            self.home(name).mkdir()
            save({shard: self.tape[shard] for shard in shards}, self._tape_file(name))

    def home(self, collector: str) -> Path:
        """Where a collector keeps its spool and its place, and finds its orders."""
        return self.folder / f"collector-{collector}"

    def worker(self, _: str, log: Path) -> "Popen[bytes]":
        """Start a worker."""
        return launch(self.folder / "config.toml", self.kafka, self.clickhouse_url, log).process

    def collector(self, name: str, log: Path) -> "Popen[bytes]":
        """Start a collector; it goes on where the last one of this name was."""
        options = {
            "--kafka": self.kafka, "--tape": self._tape_file(name), "--folder": self.home(name),
            "--start": self.start_s, "--tick-ms": self.tick_ms,
        }  # fmt: skip
        arguments = [str(word) for option in options.items() for word in option]
        return spawn("tests.soak.feeder", *arguments, *self.shards[name], log=log).process

    def _tape_file(self, collector: str) -> Path:
        return self.home(collector) / "tape"
