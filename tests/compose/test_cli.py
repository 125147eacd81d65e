"""The command line: each mistake gets one clear sentence and a status; nothing outlives its end, however it comes."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from compose import datadir
from compose.broker import free_port
from compose.cli import app
from tests.compose.command import END_S, Platform, commonwatt, up
from tests.conftest import ClickHouse
from tests.roles import ROOT, Running, children, wait_gone

CLUSTER = '[[cluster]]\nid = "fir"\ncountry = "CA"\n'
TARGET = '[[cluster.target]]\nkind = "vllm"\nurls = ["http://127.0.0.1:1/metrics"]\ninterval = "1s"\n'
PRICE = '[[price]]\nid = "{}"\ncluster = "fir"\nbasis = "rented"\nper_gpu_hour = "3.90"\neffective_from = 2026-04-01\n'
HOOK = '[[notify.webhook]]\nid = "ops"\nurl = "http://127.0.0.1:1/hook"\nsecret_env = "NOT_SET_ANYWHERE"\n'
NOBODY = "127.0.0.1:1"

pytestmark = pytest.mark.timeout(400)  # dozens of commands, each a process, before the first test

FILES = {
    "sound.toml": CLUSTER,
    "broken.toml": CLUSTER + "pue = \n",
    "unknown.toml": CLUSTER + "puee = 1.2\n",
    "notify.toml": CLUSTER + HOOK,
    "prices.toml": CLUSTER + PRICE.format("one") + PRICE.format("two"),
    "kafka_away.toml": f'[kafka]\nurl = "kafka://{NOBODY}"\n{CLUSTER}',
    "clickhouse_away.toml": f'[clickhouse]\nurl = "http://{NOBODY}"\n{CLUSTER}',
}

KAFKA_AWAY = rf"he Kafka at kafka://{NOBODY} cannot be (used \(nobody answers there\)|reached): start it, or correct"
CLICKHOUSE_AWAY = rf"commonwatt: The ClickHouse at http://{NOBODY} cannot be reached: start it, or correct the URL"
NO_SECRET = 'commonwatt: webhook "ops" is signed with a secret, and the environment variable NOT_SET_ANYWHERE is not'
READ_ONLY = "commonwatt: .* may only read: SELECT, SHOW, DESCRIBE, EXPLAIN or EXISTS"
PORT_TAKEN = r"Port {taken} on 127\.0\.0\.1 cannot be used \(Address already in use\): choose another"
OTHER_VERSION = r"commonwatt: The data folder \S*/later has format '2' and this version reads format 1: use the version"

# fmt: off
# Command -> the sentence on stderr, as a pattern. What stands in braces is filled in by `mistakes`.
MISTAKES = {
    "up --config {broken.toml} --data {fresh}":
        r"\S*/broken\.toml:4: not TOML in column 7 \(invalid value\); write texts in double quotes",
    "up --config {unknown.toml} --data {fresh}":
        r'\S*/unknown\.toml:4: unknown key "puee" in \[\[cluster\]\]; did you mean pue\?',
    "up --config {prices.toml} --data {fresh}":
        r'\S*/prices\.toml:15: price "two" and price "one" both hold for "\*" on cluster "fir" on 2026-04-01; end one',
    "up --config {sound.toml} --data {fresh} --for soon":
        'commonwatt: "soon" is not a duration; write for example "10s", "2m" or "1h"',
    "up --config {sound.toml} --data {fresh} --page-port {taken}":
        f"commonwatt: {PORT_TAKEN} with --page-port, or 0",
    "up --config {sound.toml} --data {fresh} --page-port 0 --clickhouse-port {taken}":
        f"commonwatt: {PORT_TAKEN} with --clickhouse-port, or 0",
    "up --config {sound.toml} --data {measured} {ports} --metrics {taken}":
        r"commonwatt: Port {taken} on 127\.0\.0\.1 cannot be used for metrics \(Address already in use\): choose ",
    "broker --port {taken}":
        f"broker: {PORT_TAKEN} port",
    "clickhouse --data {fresh} --port {taken}":
        f"clickhouse: {PORT_TAKEN} port",
    "page --clickhouse {book} --port {taken}":
        r"commonwatt: the page cannot listen on 127\.0\.0\.1:{taken} \(Address already in use\); choose another --port",
    "simulate --config {demo.toml} --port {taken}":
        r"commonwatt: simulate: .*{taken}\): address already in use",
    "up --config {sound.toml} --data {later} {ports}":
        OTHER_VERSION,
    "sql 'SELECT 1' --data {later}":
        OTHER_VERSION,
    "up --config {sound.toml} --data {used} {ports}":
        r"commonwatt: The data folder \S*/used is in use by process {pid}: stop it, or choose another folder",
    "up --config {sound.toml} --data {foreign} {ports}":
        r"commonwatt: \S*/foreign is neither empty nor a data folder of Commonwatt: choose another",
    "collect --config {sound.toml} --kafka kafka://{nobody} --spool {foreign}":
        r"commonwatt: \S*/foreign is neither empty nor a spool of Commonwatt: choose another folder with --spool",
    "collect --config {sound.toml} --kafka kafka://{nobody} --spool {fresh} --spool-limit lots":
        'commonwatt: "lots" is not a size; write for example "4GiB" or "500MB"',
    "collect --config {sound.toml} --kafka kafka://{nobody} --spool {fresh} --spool-limit 1MB":
        'commonwatt: --spool-limit "1MB" is too little: allow 64MiB or more',
    "collect --config {sound.toml} --kafka kafka://{nobody} --spool {fresh} --collector ../mine":
        'commonwatt: --collector "../mine" cannot be a name: use letters, digits',
    "check --every 1m --since 24h --data {nowhere}":
        "commonwatt: --every repeats the audits until it is stopped: leave out --json and --since",
    "sql 'SELECT 1' --data {used}":
        r"commonwatt: Commonwatt on \S*/used is still starting: try again",
    "sql 'SELECT 1' --data {nowhere}":
        r"commonwatt: \S*/nowhere is no data folder of Commonwatt: name one with --data",
    "sql 'SELECT 1' --format xml --clickhouse {book}":
        'commonwatt: --format "xml" is not known: use table, csv or json',
    "sql '' --clickhouse {book}":
        "commonwatt: there is nothing to ask: write a query",
    "sql 'SELECT sum( FROM gpu_usage' --clickhouse {book}":
        "commonwatt: .*(Syntax error|may only read)",
    "sql 'SELECT cost FROM nothing' --clickhouse {book}":
        "commonwatt: Unknown table expression identifier 'nothing'",
    "sql 'INSERT INTO gpu_usage_store (cluster) VALUES (1)' --clickhouse {book}":
        READ_ONLY,
    "sql 'DROP TABLE gpu_usage_store' --clickhouse {book}":
        READ_ONLY,
    "sql 'SELECT 1' --clickhouse http://{nobody}":
        CLICKHOUSE_AWAY,
    "sql 'SELECT 1' --clickhouse http://here:port":
        "commonwatt: 'http://here:port' is not the URL of a ClickHouse: write for example",
    "alerts --follow --config {at_book.toml} --data {rest}":
        "commonwatt: nothing runs that could be followed: start `commonwatt up`",
    "alerts --follow --config {at_book.toml} --kafka kafka://{nobody}":
        f"commonwatt: T{KAFKA_AWAY}",
    "alerts --language de --kafka kafka://{nobody}":
        'commonwatt: --language "de" is not known: use en or fr',
    "notify --config {sound.toml} --kafka kafka://{nobody} --state {fresh}":
        r"commonwatt: \S*/sound\.toml names nobody to tell: add \[\[notify\.alertmanager\]\] or",
    "notify --config {notify.toml} --state {fresh}":
        "commonwatt: name a Kafka: --kafka URL, or a section",
    "notify --config {notify.toml} --kafka kafka://{nobody} --state {fresh}":
        NO_SECRET,
    "notify --config {notify.toml} --undelivered --state {nowhere}":
        r"commonwatt: \S*/nowhere holds no queue of a notifier: name its folder with --state",
    "up --config {notify.toml} --data {fresh} {ports}":
        NO_SECRET,
    "migrate":
        "commonwatt: name a ClickHouse: --clickhouse URL, or a section",
    "up --config {kafka_away.toml} --data {fresh} {ports}":
        f"commonwatt: T{KAFKA_AWAY}",
    "up --config {clickhouse_away.toml} --data {begun} {ports}":
        CLICKHOUSE_AWAY,
    "worker --config {sound.toml} --kafka kafka://{nobody} --clickhouse {book}":
        f"commonwatt: worker: t{KAFKA_AWAY}",
    "worker --config {clickhouse_away.toml} --kafka kafka://{nobody}":
        CLICKHOUSE_AWAY,
    "worker --config {sound.toml} --kafka kafka://{nobody}":
        "commonwatt: name a ClickHouse: --clickhouse URL, or a section",
    "collect --config {sound.toml}":
        "commonwatt: name a Kafka: --kafka URL, or a section",
    "collect --config {sound.toml} --kafka here":
        "commonwatt: 'here' is not the URL of a Kafka: write for example kafka://",
    "dashboards build --folder /proc/dashboards":
        "commonwatt: /proc/dashboards cannot be written",
}
# fmt: on


@dataclass(frozen=True)
class Mistakes:
    """What each mistake was answered, and the names that its command was filled in with."""

    names: dict[str, str]
    answers: dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def mistakes(
    tmp_path_factory: pytest.TempPathFactory, clickhouse_server: Running, migrated: object
) -> Iterator[Mistakes]:
    """All of them made, a few at a time."""
    place = tmp_path_factory.mktemp("mistakes")
    names = {name: str(place / name) for name in (*FILES, "absent.toml", "at_book.toml")}
    for name, text in FILES.items():
        (place / name).write_text(text)
    (place / "at_book.toml").write_text(f'[clickhouse]\nurl = "{clickhouse_server.url}"\n{CLUSTER}')
    names |= {
        name: str(place / name)
        for name in ("fresh", "begun", "measured", "later", "used", "foreign", "nowhere", "rest")
    }
    names |= {"demo.toml": str(ROOT / "compose" / "demo.toml"), "book": clickhouse_server.url, "nobody": NOBODY}
    names |= {"ports": "--page-port 0 --clickhouse-port 0"}
    for folder, file, text in (
        ("later", "FORMAT", "2\n"),
        ("foreign", "notes.txt", "mine\n"),
        ("rest", "FORMAT", "1\n"),
    ):
        (place / folder).mkdir()
        (place / folder / file).write_text(text)
    with (
        datadir.held(place / "used"),
        socket.create_server(("127.0.0.1", 0)) as listener,
        ThreadPoolExecutor(4) as workers,
    ):
        names |= {"taken": str(listener.getsockname()[1]), "pid": str(os.getpid())}
        asked = {line: workers.submit(commonwatt, *filled(line, names)) for line in MISTAKES}
        yield Mistakes(names, {line: answer.result() for line, answer in asked.items()})


def filled(line: str, names: dict[str, str]) -> list[str]:
    """The words of a command, with the names in braces put in."""
    return shlex.split(re.sub(r"\{([^}]*)\}", lambda name: names[name[1]], line))


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_gets_a_sentence(line: str, mistakes: Mistakes) -> None:
    """What is wrong and what to do, on stderr; a status that scripts can see; never a traceback."""
    answer = mistakes.answers[line]
    assert answer.returncode == 1, answer.stderr + answer.stdout
    expected = re.sub(r"\{(taken|pid)\}", lambda name: mistakes.names[name[1]], MISTAKES[line])
    *before, last = answer.stderr.splitlines()
    assert re.match(expected, last), answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    if not line.startswith("worker"):  # which logs to stderr
        assert before == []


def test_a_mistake_changes_nothing(mistakes: Mistakes, clickhouse: ClickHouse) -> None:
    """No folder is begun before the configuration is sound; no table is touched by who may only read."""
    assert not Path(mistakes.names["nowhere"]).exists()
    assert sorted(path.name for path in Path(mistakes.names["later"]).iterdir()) == ["FORMAT"]
    assert sorted(path.name for path in Path(mistakes.names["foreign"]).iterdir()) == ["notes.txt"]
    assert clickhouse.client.command("SELECT count() FROM gpu_usage_store") == 0


# ---- help ------------------------------------------------------------------------------------------------------------


def commands(group: TyperGroup, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def command_group() -> TyperGroup:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


@pytest.mark.parametrize("path", list(commands(command_group())), ids=" ".join)
def test_help_has_an_example_that_is_right(path: tuple[str, ...]) -> None:
    """`--help` says what the command is for, and its example names arguments that exist."""
    shown = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    example = re.search(r"Example: commonwatt (.*)", shown.output)
    assert example is not None, shown.output
    words = shlex.split(example[1].strip())
    assert tuple(words[: len(path)]) == path
    command = command_group()
    for name in path:
        found = command.commands[name]
        if isinstance(found, TyperGroup):
            command = found
    found.make_context(path[-1], words[len(path) :])
    assert found.help


# ---- the end ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with one target, which is dead."""
    file = tmp_path / "config.toml"
    file.write_text(CLUSTER + TARGET)
    return file


@pytest.fixture
def quiet_config(tmp_path: Path) -> Path:
    """A configuration without a target: nothing has to be waited for."""
    file = tmp_path / "config.toml"
    file.write_text(CLUSTER)
    return file


def options(config: Path) -> list[object]:
    folder = config.parent / "data"
    return ["--config", config, "--data", folder, "--page-port", 0, "--clickhouse-port", 0, "--for", "10m"]


def family(platform: Platform) -> list[int]:
    """Every process below `commonwatt up`."""
    found, unseen = [], [platform.process.pid]
    while unseen:
        below = children(unseen.pop())
        found += below
        unseen += below
    return found


def test_ctrl_c_while_it_starts(quiet_config: Path) -> None:
    """Somebody who changes their mind at once gets the same orderly end."""
    log = quiet_config.parent / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "compose", "up", *map(str, options(quiet_config))],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        with contextlib.ExitStack() as stack:
            stack.callback(process.kill)
            while not (quiet_config.parent / "data" / "log" / "broker.log").exists():
                time.sleep(0.02)
            processes = family(Platform(process, log))
            process.send_signal(signal.SIGINT)
            assert process.wait(END_S) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    wait_gone(processes)


def test_a_broker_that_dies_takes_everything_down(config: Path) -> None:
    """kill -9 of the embedded broker, which cannot go on from what is stored: `up` ends with status 1, names it, says
    what that costs, and no other role goes on without it."""
    with up(*options(config), log=config.parent / "up.log") as platform:
        processes = family(platform)
        os.kill(platform.roles()["broker"], signal.SIGKILL)
        assert platform.process.wait(END_S) == 1
        wait_gone(processes)
    sentence = platform.said().strip().splitlines()[-1]
    assert sentence.startswith("commonwatt: broker was killed by SIGKILL")
    assert "The embedded broker keeps messages in memory: those that were not stored yet are lost" in sentence
    assert "Traceback" not in platform.said()


def test_killing_it_leaves_no_process(config: Path) -> None:
    """kill -9 of `commonwatt up` itself: the kernel ends every role and the broker's program; the folder is free."""
    with up(*options(config), log=config.parent / "up.log") as platform:
        processes = family(platform)
        assert len(processes) >= 6
        platform.process.kill()
        platform.process.wait()
        wait_gone(processes)
    assert datadir.addresses(config.parent / "data") is None


def test_a_collector_outlasts_an_absent_kafka(config: Path) -> None:
    """It says so at once and goes on: Kafka may come back. At its end what waits stays in its spool."""
    kafka = f"127.0.0.1:{free_port()}"
    arguments = ("collect", "--config", str(config), "--kafka", f"kafka://{kafka}", "--collector", "c1")
    process = subprocess.Popen(
        [sys.executable, "-m", "compose", *arguments],
        cwd=config.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    spool = config.parent / "commonwatt-spool" / "c1"
    try:
        warning = next(line for line in process.stderr if "takes no messages" in line)
        assert f"Kafka at {kafka} takes no messages (KafkaConnectionError); they wait in the spool" in warning
        assert "Unable connect" in process.stderr.readline()
        second = commonwatt(*arguments, "--spool", spool)
        assert second.returncode == 1
        assert re.fullmatch(rf"commonwatt: The spool {spool} is in use by process {process.pid}: .*\n", second.stderr)
        process.terminate()
        said = process.stderr.read()
        assert process.wait(END_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert re.search(
        r"has not taken \d+ messages \(\d+ bytes\): they wait in the spool \S+, and the next run sends", said
    )
    assert [file.stat().st_size > 1000 for file in spool.glob("*.segment")] == [True]
