"""The spool on a real disk: what is in it survives, in order, whatever happens to the process and to the disk."""

import os
import re
import resource
import shutil
import subprocess
import tempfile
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.spool import Message, Note, Spool, SpoolError, SpoolFull, log, opened, queues, sync
from collectors.spool.record import record_size

KEYS = (b"fir/c/0", b"fir/c/1", b"oak/c/0")
SEGMENT = 2048


def message(key: bytes, text: str, size: int = 0) -> Message:
    """One whose value begins with a text."""
    value = text.encode()
    return Message("telemetry.gpu", key, value + b"." * (size - len(value)), [("seq", text.encode()), ("empty", b"")])


def drained(spool: Spool) -> dict[bytes, list[Message]]:
    """Everything that waits, by shard; acknowledged."""
    found: dict[bytes, list[Message]] = defaultdict(list)
    for key in spool.waiting_keys():
        while (oldest := spool.head(key)) is not None:
            found[key].append(oldest)
            spool.acknowledge(key)
    return dict(found)


def filled(spool: Spool, one: Message) -> str | None:
    """Append a message; the kind of the defect when it is refused."""
    try:
        spool.append(one)
    except SpoolFull as error:
        return error.kind
    return None


# ---- any history -----------------------------------------------------------------------------------------------------


@dataclass
class History:
    """A spool, and what must be in it."""

    stack: ExitStack
    waiting: dict[bytes, list[Message]] = field(default_factory=lambda: defaultdict(list))
    taken: list[Message] = field(default_factory=list)
    damaged: bool = False

    def __post_init__(self) -> None:
        self._new_folder()
        self._open()

    def append(self, key: bytes, size: int) -> None:
        taken = message(key, f"<{len(self.taken)}>", size)
        self.spool.append(taken)
        self.taken.append(taken)
        self.waiting[key].append(taken)

    def acknowledge(self, key: bytes, most: int) -> None:
        for _ in range(min(most, len(self.waiting[key]))):
            assert self.spool.head(key) == self.waiting[key].pop(0)
            self.spool.acknowledge(key)

    def restart(self) -> None:
        self._opening.close()
        self._open()
        assert self.damaged or self.spool.take_notes() == []

    def crash(self, where: float, cut: bool) -> None:
        """As kill -9 leaves it: a copy of the folder; and of one file a byte is damaged, or everything from it on."""
        before = self.folder
        self._new_folder()
        shutil.copytree(before, self.folder, dirs_exist_ok=True)
        files = sorted(self.folder.glob("*.segment"))
        hit = self._damage(files[-1] if cut else files[int(where * 7919) % len(files)], where, cut) if files else False
        self.damaged |= hit
        self._open()
        said = {note.kind for note in self.spool.take_notes()}
        assert said == {"spool_damaged"} if hit else self.damaged or not said

    def _damage(self, file: Path, where: float, cut: bool) -> bool:
        """Whether a part of a message was hit."""
        data = bytearray(file.read_bytes())
        at = int(where * len(data))
        partly = False
        for one in self.taken:
            end = data.find(one.value) + len(one.value)  # the value, which no other has, ends the record
            start = end - record_size(one)
            if start >= 0 and (end > at if cut else start <= at < end):
                partly |= start < at or not cut
                if one in self.waiting[one.key]:
                    self.waiting[one.key].remove(one)
        if cut:
            del data[at:]
        else:
            data[at] = (data[at] + 0x41) % 256  # the same byte hit twice is not whole again
        file.write_bytes(data)
        return partly

    def _new_folder(self) -> None:
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))

    def _open(self) -> None:
        self._opening = self.stack.enter_context(ExitStack())
        self.spool = self._opening.enter_context(opened(self.folder, segment_bytes=SEGMENT))


KEY = st.sampled_from(KEYS)
STEP = st.one_of(
    st.tuples(st.just("append"), KEY, st.integers(8, SEGMENT)),
    st.tuples(st.just("append"), KEY, st.integers(8, SEGMENT // 4)),
    st.tuples(st.just("acknowledge"), KEY, st.integers(1, 24)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("crash"), st.floats(0, 1, exclude_max=True), st.booleans()),
)


@settings(max_examples=150)
@given(st.lists(STEP, min_size=5, max_size=80))
def test_every_sound_message_comes_back_once_and_in_order(steps: list[tuple[object, ...]]) -> None:
    """Whatever is taken, acknowledged, written anew, restarted, killed, cut off and damaged, in any order."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(log, "SPARSE_SEGMENTS", 0)
        history = History(stack)
        for name, *arguments in steps:
            getattr(history, str(name))(*arguments)
        history.restart()
        assert history.spool.waiting_bytes == sum(record_size(m) for line in history.waiting.values() for m in line)
        assert drained(history.spool) == {key: line for key, line in history.waiting.items() if line}
        history.restart()
        assert drained(history.spool) == {}
        assert not list(history.folder.glob("*.segment"))


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_damage_in_the_middle_costs_what_was_hit_and_nothing_else(tmp_path: Path) -> None:
    """The messages after it are found again; what was hit is said with its place. A torn end is cut off."""
    with opened(tmp_path) as spool:
        for number in range(5):
            spool.append(message(KEYS[0], str(number), 300))
    (file,) = tmp_path.glob("*.segment")
    size = record_size(message(KEYS[0], "0", 300))
    data = file.read_bytes()
    file.write_bytes(data[: size + 40] + b"\0" * size + data[2 * size + 40 : -7])
    middle = Note("spool_damaged", file.name, f"{2 * size} bytes from byte {size} on hold no sound message")
    torn = Note("spool_damaged", file.name, f"{size - 7} bytes from byte {4 * size} on hold no sound message")
    with opened(tmp_path) as spool:
        assert spool.take_notes() == [middle, torn]
    with opened(tmp_path) as spool:
        assert spool.take_notes() == [middle]
        assert [m.value[:1] for m in drained(spool)[KEYS[0]]] == [b"0", b"3"]


def test_a_message_damaged_while_it_waits_is_not_sent(tmp_path: Path) -> None:
    """What the disk gives back is checked again: the shard goes on with the next message, and the loss is said."""
    with opened(tmp_path) as spool:
        for number in range(3):
            spool.append(message(KEYS[0], str(number)))
        (file,) = tmp_path.glob("*.segment")
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] + b"\0" + data[len(data) // 2 + 1 :])
        assert [m.value for m in drained(spool)[KEYS[0]]] == [b"0", b"2"]
        assert [note.kind for note in spool.take_notes()] == ["spool_damaged"]
        assert (spool.messages, spool.waiting_bytes) == (0, 0)


# ---- bounds ----------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_what_waits(tmp_path: Path) -> None:
    """Kafka is away for hours: a few bytes a message in memory and a few files open, the rest on the disk."""
    with opened(tmp_path, segment_bytes=100_000) as spool:
        for number in range(1000):
            spool.append(message(KEYS[number % 3], str(number), 4000))
        files = len(os.listdir("/proc/self/fd"))
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(4000):
            spool.append(message(KEYS[number % 3], str(number), 4000))
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 4000 * 200  # of 4,000 bytes each
        assert spool.disk_bytes > 20_000_000
        for key in KEYS:  # each in another segment in the end
            for _ in range(int(key[-1:]) * 1000):
                spool.acknowledge(key)
            assert spool.head(key) is not None
        assert len(os.listdir("/proc/self/fd")) < files + 64


def test_a_full_spool_keeps_the_oldest(tmp_path: Path) -> None:
    """The limit holds on the disk; there is room again once the oldest have gone."""
    with opened(tmp_path, limit_bytes=400_000) as spool:
        taken = 0
        while filled(spool, message(KEYS[0], str(taken), 5000)) is None:
            taken += 1
        assert filled(spool, message(KEYS[0], "more", 5000)) == "spool_full"
        assert taken == 400_000 * 7 // 8 // record_size(message(KEYS[0], "1", 5000))  # the last eighth is for others
        assert sum(file.stat().st_size for file in tmp_path.glob("*.segment")) == spool.disk_bytes <= 400_000
        for number in range(20):
            oldest = spool.head(KEYS[0])
            assert oldest is not None
            assert oldest.value.rstrip(b".") == str(number).encode()
            spool.acknowledge(KEYS[0])
        spool.append(message(KEYS[0], "more", 5000))
        assert len(drained(spool)[KEYS[0]]) == taken - 20 + 1


def test_a_shard_that_is_stuck_crowds_out_nobody(tmp_path: Path) -> None:
    """One partition takes nothing for hours: the others go on, on a disk that stays within its limit."""
    with opened(tmp_path, limit_bytes=400_000) as spool:
        kept = []
        for number in range(2000):
            if filled(spool, message(KEYS[0], f"stuck {number}", 1000)) is None:
                kept.append(f"stuck {number}".encode())
            spool.append(message(KEYS[1], f"flows {number}", 2000))
            oldest = spool.head(KEYS[1])
            assert oldest is not None
            assert oldest.value.startswith(f"flows {number}.".encode())
            spool.acknowledge(KEYS[1])
            assert spool.disk_bytes <= 400_000
        assert 100 < len(kept) < 200  # a third of the limit: acknowledged messages lie in between
        assert kept[99] == b"stuck 99"
        assert [m.value.rstrip(b".") for m in drained(spool)[KEYS[0]]] == kept


def test_what_hardly_holds_anything_is_written_anew(tmp_path: Path) -> None:
    """A few old messages do not keep gigabytes of acknowledged ones; after a kill their order is the old one."""
    folder, copy = tmp_path / "spool", tmp_path / "copy"
    with opened(folder, segment_bytes=10_000) as spool:
        for number in range(2000):
            if number % 20 == 0:
                spool.append(message(KEYS[0], f"old {number}", 100))
            if number % 40 == 0:
                spool.acknowledge(KEYS[0])
            spool.append(message(KEYS[1], "new", 900))
            spool.acknowledge(KEYS[1])
        assert spool.disk_bytes < 2 * spool.waiting_bytes + 60_000
        shutil.copytree(folder, copy)
    for left in (folder, copy):
        with opened(left) as spool:
            assert spool.waiting_bytes == 50 * record_size(message(KEYS[0], "old 1000", 100))
            found = [m.value.rstrip(b".") for m in drained(spool)[KEYS[0]]]
            assert found == [f"old {number}".encode() for number in range(1000, 2000, 20)]


def test_a_kill_while_something_is_written_anew_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that lies in two segments, since the first one was about to go, is sent once."""
    move = Spool._move

    def move_and_die(*arguments: Any) -> None:
        move(*arguments)
        raise Killed

    def mix(spool: Spool) -> None:
        for number in range(1000):
            if number % 4 == 0:
                spool.append(message(KEYS[0], f"old {number}", 100))
            spool.append(message(KEYS[1], "new", 900))
            spool.acknowledge(KEYS[1])

    monkeypatch.setattr(Spool, "_move", move_and_die)
    folder, copy = tmp_path / "spool", tmp_path / "copy"
    with opened(folder, segment_bytes=10_000) as spool:
        with pytest.raises(Killed):
            mix(spool)
        shutil.copytree(folder, copy)
    content = b"".join(file.read_bytes() for file in copy.glob("*.segment"))
    assert content.count(b"old ") > len(set(re.findall(rb"old \d+", content)))
    with opened(copy) as spool:
        found = [m.value.rstrip(b".") for m in drained(spool)[KEYS[0]]]
        assert found == [f"old {number}".encode() for number in range(0, 4 * len(found), 4)]
        assert len(found) > 5
        assert (spool.messages, spool.waiting_bytes) == (0, 0)


class Killed(BaseException):
    """kill -9 has no handler."""


# ---- a disk that fails -----------------------------------------------------------------------------------------------


@contextmanager
def small_files(folder: Path) -> Iterator[Callable[[], None]]:
    """No file may grow beyond 1 MB; what is given lifts that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        yield lift
    finally:
        lift()


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """A file system of 1 MB; what is given makes it larger."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("only root may mount a small file system; the test with a limit on files stands in")

    def grow() -> None:
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("disk", [small_files, small_disk])
def test_a_full_disk_stops_nothing_and_loses_nothing_that_was_taken(
    disk: Callable[[Path], AbstractContextManager[Callable[[], None]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Messages go on through a bounded memory, in order; once there is room all of them lie on the disk."""
    monkeypatch.setattr(queues, "RETRY_S", 0.0)
    folder = tmp_path / "disk"
    with disk(folder) as make_room:
        with opened(folder, segment_bytes=4_000_000, memory_bytes=500_000) as spool:
            taken = 0
            while (refused := filled(spool, message(KEYS[taken % 2], str(taken), 50_000))) is None:
                taken += 1
            assert refused == "disk_full"
            assert 8 <= spool.unwritten <= 9  # of 500 kB
            assert 26 <= taken <= 30
            (note,) = spool.take_notes()
            assert note.kind == "disk_full"
            first = spool.head(KEYS[0])
            assert first is not None
            spool.acknowledge(KEYS[0])
            with opened(shutil.copytree(folder, tmp_path / "copy")) as copy:
                assert copy.take_notes() == []  # nothing is half written
            make_room()
            spool.append(message(KEYS[0], "after", 50_000))
            assert spool.unwritten == 0
        with opened(folder) as spool:
            found = drained(spool)
        even = [m.value.rstrip(b".") for m in [first, *found[KEYS[0]]]]
        assert even == [*(str(number).encode() for number in range(0, taken, 2)), b"after"]
        assert [m.value.rstrip(b".") for m in found[KEYS[1]]] == [str(n).encode() for n in range(1, taken, 2)]
    said = [(record.levelname, "again" in record.getMessage()) for record in caplog.records]
    assert said == [("ERROR", False)]


@pytest.mark.parametrize("disk", [small_files, small_disk])
def test_a_disk_full_of_what_kafka_has_taken_is_used_again(
    disk: Callable[[Path], AbstractContextManager[Callable[[], None]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is of no more use gives way at once: a message or two pass through memory, the others lie on the disk."""
    monkeypatch.setattr(queues, "RETRY_S", 0.0)
    unwritten = 0
    with disk(tmp_path / "disk"), opened(tmp_path / "disk", segment_bytes=4_000_000) as spool:
        for number in range(100):
            spool.append(message(KEYS[0], str(number), 50_000))
            unwritten += spool.unwritten
            spool.acknowledge(KEYS[0])
    assert 1 <= unwritten <= 10


def test_a_full_disk_lets_pass_what_kafka_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written, Kafka is there: every message passes through memory."""
    monkeypatch.setattr(queues, "RETRY_S", 0.0)
    with opened(tmp_path, memory_bytes=200_000) as spool:
        for number in range(1, 200):
            (tmp_path / f"{number:012}.segment").symlink_to("/dev/full")
        for number in range(100):
            spool.append(message(KEYS[0], str(number), 100_000))
            oldest = spool.head(KEYS[0])
            assert oldest is not None
            assert oldest.value.rstrip(b".") == str(number).encode()
            spool.acknowledge(KEYS[0])
        assert (spool.messages, spool.memory_bytes) == (0, 0)


def test_it_is_forced_to_the_disk_only_when_something_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that Kafka takes at once costs no write to the disk; one that waits for a second does, once."""
    now_s = 1_800_000_000.0
    monkeypatch.setattr("time.time", lambda: now_s)
    with opened(tmp_path) as spool:
        spool.append(message(KEYS[0], "one"))
        assert spool.to_sync() == []
        now_s += 2
        files = spool.to_sync()
        assert len(files) == 2  # the segment, and the folder with its name
        assert sync(files) is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(files[0])
        assert spool.to_sync() == []
        assert sync([os.open("/dev/null", os.O_RDONLY)]) is not None


# ---- the folder ------------------------------------------------------------------------------------------------------


def test_a_spool_has_one_owner(tmp_path: Path) -> None:
    """Two collectors on one folder would send everything twice and delete each other's: the second is told so."""
    with (
        opened(tmp_path),
        pytest.raises(SpoolError, match=rf"is in use by process {os.getpid()}: .*--spool"),
        opened(tmp_path),
    ):
        pass
    with opened(tmp_path):
        pass


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Another version's, another program's, a file, one that cannot be written: one sentence with the remedy."""
    newer, other, file = tmp_path / "newer", tmp_path / "other", tmp_path / "file"
    for folder in (newer, other):
        folder.mkdir()
        (folder / ("FORMAT" if folder is newer else "precious")).write_text("commonwatt-spool 2\n")
    file.touch()
    for folder, reason in (
        (newer, "has format 'commonwatt-spool 2' and this version reads 'commonwatt-spool 1'"),
        (other, "is neither empty nor a spool"),
        (file, "is a file, not a folder"),
        (file / "below", "cannot be used .Not a directory."),
        (Path("/proc/commonwatt"), "cannot be used"),
    ):
        with pytest.raises(SpoolError, match=rf"{reason}.*--spool\.$"), opened(folder):
            pass
    assert [entry.name for entry in other.iterdir()] == ["precious"]
