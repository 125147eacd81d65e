"""The supervisor: order, readiness, roles that are started again, failure that takes everything down, and no process
left whatever happens."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from compose import supervisor
from compose.supervisor import Ready, Role, RoleFailed, Supervisor
from tests.roles import gone, wait_gone, wait_until

FOREVER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
POLITE = textwrap.dedent("""
    import signal, sys, time
    def end(*_):
        print('end', time.monotonic_ns(), flush=True)
        time.sleep(0.05)
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    print('up', flush=True)
    time.sleep(600)
""")
PARENT_OF_ONE = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print('child', child.pid, flush=True); time.sleep(600)"
)


def role(
    name: str,
    code: str,
    *,
    ready: Ready | None = None,
    ready_timeout_s: float = 10,
    stop_timeout_s: float = 10,
    restarted: bool = False,
) -> Role:
    return Role(
        name,
        [sys.executable, "-c", code],
        ready,
        restarted=restarted,
        ready_timeout_s=ready_timeout_s,
        stop_timeout_s=stop_timeout_s,
    )


def said(log: Path, text: str) -> Ready:
    def found() -> bool:
        return log.exists() and text in log.read_text()

    async def ready() -> bool:
        return found()

    return ready


async def fails(logs: Path, *roles: Role) -> tuple[RoleFailed, list[int]]:
    """Start the roles and watch them until one fails; the failure, and the processes that were started."""
    pids: list[int] = []
    try:
        async with Supervisor(logs) as running:
            for each in roles:
                pids.append(await running.start(each))
            await running.watch(asyncio.Event())
    except RoleFailed as error:
        return error, pids
    raise AssertionError("nothing failed")


async def test_stop_is_in_reverse_order(tmp_path: Path) -> None:
    """What was started last stops first, each with time to finish; exit statuses are told."""
    async with Supervisor(tmp_path) as roles:
        for name in ("a", "b", "c"):
            await roles.start(role(name, POLITE, ready=said(tmp_path / f"{name}.log", "up")))
        assert await roles.stop() == {"a": 0, "b": 0, "c": 0}
    ends = {name: int((tmp_path / f"{name}.log").read_text().split()[-1]) for name in ("a", "b", "c")}
    assert sorted(ends, key=ends.__getitem__) == ["c", "b", "a"]


async def test_watch_returns_when_asked_to(tmp_path: Path) -> None:
    """A normal end is no failure."""
    stop = asyncio.Event()
    async with Supervisor(tmp_path) as roles:
        await roles.start(role("a", FOREVER))
        asyncio.get_running_loop().call_later(0.05, stop.set)
        await roles.watch(stop)
        pids = list(roles.pids().values())
    wait_gone(pids)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "print('a'); print('no disk', flush=True); raise SystemExit(3)",
            "ended with exit code 3; it said: a | no disk (",
        ),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL, without a word"),
        ("pass", "ended with exit code 0, without a word"),
    ],
)
async def test_a_role_that_ends_takes_all_down(tmp_path: Path, code: str, text: str) -> None:
    """Even with exit code 0, and the error names role, status and last words."""
    error, pids = await fails(tmp_path, role("broker", FOREVER), role("worker", code))
    assert str(error).startswith(f"worker {text}")
    assert error.role == "worker"
    wait_gone(pids)


def wait_said(log: Path, text: str, times: int) -> None:
    wait_until(lambda: log.read_text().count(text) >= times, 20, log.read_text)


def restarts(name: str) -> float:
    return REGISTRY.get_sample_value("commonwatt_role_restarts_total", {"role": name}) or 0


async def test_a_role_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice killed, twice back, with a line for each and a count of them; its children end with it, others go on."""
    monkeypatch.setattr(supervisor, "BACKOFF_S", 0.01)
    lines: asyncio.Queue[str] = asyncio.Queue()
    log = tmp_path / "worker.log"
    async with Supervisor(tmp_path, lines.put_nowait) as roles:
        other = await roles.start(role("broker", FOREVER))
        await roles.start(role("worker", PARENT_OF_ONE, ready=said(log, "child"), restarted=True))
        before, stop = restarts("worker"), asyncio.Event()
        watching = asyncio.create_task(roles.watch(stop))
        for number in (1, 2):
            pid = roles.pids()["worker"]
            child = int(log.read_text().split()[-1])
            os.kill(pid, signal.SIGKILL)
            line = await lines.get()
            assert line.startswith(f"worker was started again: it was killed by SIGKILL; it said: child {child} (")
            assert restarts("worker") == before + number
            wait_gone([pid, child])
            await asyncio.to_thread(wait_said, log, "child", number + 1)
        assert roles.pids()["broker"] == other
        stop.set()
        await watching
        pids = list(roles.pids().values())
        assert not any(gone(pid) for pid in pids)
    wait_gone(pids)


async def test_a_role_that_ends_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five ends within a minute end everything, with the last words of the last time."""
    monkeypatch.setattr(supervisor, "BACKOFF_S", 0.01)
    code = "print('no room', flush=True); raise SystemExit(3)"
    lines: list[str] = []
    async with Supervisor(tmp_path, lines.append) as roles:
        pids = [await roles.start(role("broker", FOREVER))]
        pids.append(await roles.start(role("worker", code, restarted=True)))
        with pytest.raises(RoleFailed) as failed:
            await roles.watch(asyncio.Event())
    told = "worker ended 5 times within 60 s; the last time it ended with exit code 3; it said: no room ("
    assert str(failed.value).startswith(told)
    assert len(lines) == 4
    wait_gone(pids)


@pytest.mark.parametrize(
    ("code", "within_s", "text"),
    [
        (FOREVER, 0.3, r"^page is not ready after 0\.3 s"),
        ("raise SystemExit(2)", 30.0, r"^page ended 5 times within 60 s; the last"),
    ],
)
async def test_a_role_that_does_not_come_back_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, within_s: float, text: str
) -> None:
    """It runs again but never answers, or ends before it does: that is said, and everything ends."""
    monkeypatch.setattr(supervisor, "BACKOFF_S", 0.01)
    answers = [True]

    async def once() -> bool:
        return bool(answers and answers.pop())

    async with Supervisor(tmp_path) as roles:
        pid = await roles.start(role("page", code, ready=once, ready_timeout_s=within_s, restarted=True))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(RoleFailed, match=text):
            await roles.watch(asyncio.Event())


async def test_a_role_that_was_stopped_stays_so(tmp_path: Path) -> None:
    """An end that was asked for is none of its own."""
    async with Supervisor(tmp_path) as roles:
        for name in ("collect", "worker"):
            log = tmp_path / f"{name}.log"
            await roles.start(role(name, POLITE, ready=said(log, "up"), restarted=True))
        stop = asyncio.Event()
        watching = asyncio.create_task(roles.watch(stop))
        await asyncio.sleep(0)
        assert await roles.stop_one("collect") == 0
        await asyncio.sleep(0.3)
        assert list(roles.pids()) == ["worker"]
        assert not watching.done()
        stop.set()
        await watching


async def test_only_this_run_speaks_in_the_error(tmp_path: Path) -> None:
    """The log file is kept from run to run; old lines do not explain a new failure."""
    (tmp_path / "worker.log").write_text("yesterday's words\n")
    error, _ = await fails(tmp_path, role("worker", "raise SystemExit(1)"))
    assert "without a word" in str(error)
    assert (tmp_path / "worker.log").read_text() == "yesterday's words\n"


async def test_not_ready_in_time(tmp_path: Path) -> None:
    """A role that never answers is named, and ended."""
    never = said(tmp_path / "page.log", "never")
    error, _ = await fails(tmp_path, role("page", FOREVER, ready=never, ready_timeout_s=0.5))
    assert str(error).startswith("page is not ready after 0.5 s; it said: up (")


async def test_death_while_another_starts(tmp_path: Path) -> None:
    """A role that dies while the next one is awaited is found then."""
    dying = role("broker", "import time; time.sleep(0.3); raise SystemExit(5)")
    error, pids = await fails(tmp_path, dying, role("worker", FOREVER, ready=said(tmp_path / "worker.log", "never")))
    assert str(error).startswith("broker ended with exit code 5")
    wait_gone(pids)


async def test_program_that_does_not_exist(tmp_path: Path) -> None:
    """A clear sentence, and the roles before it are gone."""
    error, pids = await fails(tmp_path, role("first", FOREVER), Role("ghost", ["./no-such-program"]))
    assert str(error).startswith("ghost cannot be started: ")
    assert len(pids) == 1
    wait_gone(pids)


async def test_stubborn_roles_are_killed(tmp_path: Path) -> None:
    """One that ignores SIGTERM gets SIGKILL after its time."""
    async with Supervisor(tmp_path) as roles:
        log = tmp_path / "mule.log"
        pid = await roles.start(role("mule", STUBBORN, ready=said(log, "up"), stop_timeout_s=0.2))
        assert await roles.stop() == {"mule": -signal.SIGKILL}
    wait_gone([pid])


async def test_children_of_roles_end_too(tmp_path: Path) -> None:
    """A role's own children are in its group and end with it."""
    log = tmp_path / "nest.log"
    async with Supervisor(tmp_path) as roles:
        pid = await roles.start(role("nest", PARENT_OF_ONE, ready=said(log, "child")))
    wait_gone([pid, int(log.read_text().split()[1])])


async def test_cancelled_in_the_middle(tmp_path: Path) -> None:
    """Cancelling the task that runs the supervisor leaves nothing either."""
    started: asyncio.Queue[int] = asyncio.Queue()

    async def run() -> None:
        async with Supervisor(tmp_path) as roles:
            started.put_nowait(await roles.start(role("a", POLITE, ready=said(tmp_path / "a.log", "up"))))
            await roles.watch(asyncio.Event())

    task = asyncio.create_task(run())
    pid = await started.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wait_gone([pid])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_supervisor_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """kill -9 of the supervisor ends its roles, stubborn ones as well: the kernel sees to it."""
    script = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from compose.supervisor import Role, Supervisor
        async def main():
            async with Supervisor(Path({str(tmp_path)!r})) as roles:
                for name, code in (('a', {STUBBORN!r}), ('b', {FOREVER!r})):
                    print(await roles.start(Role(name, [sys.executable, '-c', code])), flush=True)
                await asyncio.sleep(0.5)
                print('all', flush=True)
                await roles.watch(asyncio.Event())
        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(supervisor.stdout.readline()) for _ in range(2)]
        assert supervisor.stdout.readline() == "all\n"
        assert not any(gone(pid) for pid in pids)
        supervisor.send_signal(number)
    wait_gone(pids)
