"""What is still to be told, on disk: survives kill -9 and power cuts at any moment.

One SQLite file in WAL mode with synchronous=FULL: a change, and an entry for each sink that is to be told, are stored
in one transaction. For each sink an alert's changes are a line, of which only the first can be delivered. Every method
can be called from any thread.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compose.notify.changes import FIRING, KEPT_MS, RESOLVED, Change, Seen
from schemas.economics import Alert

log = logging.getLogger(__name__)

FILE = "notify.sqlite3"
FORMAT = 1
MOST_WAITING = 10_000
"""Changes that may wait for one sink."""
MOST_KEPT = 10_000
"""Changes that are kept of those that a sink did not take."""
_BUSY_S = 10.0
_PRUNED_EVERY_S = 3600.0

Wants = Callable[[Alert], bool]

_TABLES = f"""
CREATE TABLE seen (
    fingerprint TEXT, starts_at_ms INTEGER, state TEXT, ts_ms INTEGER, PRIMARY KEY (fingerprint, starts_at_ms, state)
) WITHOUT ROWID;
CREATE TABLE latest (fingerprint TEXT PRIMARY KEY, state TEXT, ends_at_ms INTEGER, alert TEXT) WITHOUT ROWID;
CREATE TABLE sinks (id TEXT PRIMARY KEY, since_ms INTEGER) WITHOUT ROWID;
CREATE TABLE waiting (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT, fingerprint TEXT, alert TEXT, taken_ms INTEGER,
    tries INTEGER DEFAULT 0, refusals INTEGER DEFAULT 0, due_ms INTEGER DEFAULT 0, reason TEXT DEFAULT ''
);
CREATE INDEX lines ON waiting (sink, fingerprint);
CREATE INDEX due ON waiting (sink, due_ms);
CREATE TABLE undelivered (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT, fingerprint TEXT, alert TEXT, taken_ms INTEGER, at_ms INTEGER,
    reason TEXT
);
CREATE INDEX undelivered_of ON undelivered (sink);
PRAGMA user_version = {FORMAT};
"""


class QueueError(Exception):
    """The state cannot be used. `str()` is the whole message for the user."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A change that waits for a sink."""

    id: int
    alert: Alert
    tries: int
    refusals: int
    """Tries that the sink answered with a refusal."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A change that a sink was not told, or not yet."""

    sink: str
    alert: Alert
    at_ms: int
    """When it was set aside, or taken from the topic where it still waits."""
    reason: str
    waits: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of changes that were read."""

    news: Sequence[Alert]
    repeated: int
    overflowed: Sequence[tuple[str, int]]
    """Sink -> changes that were set aside because its queue was full."""


@contextlib.contextmanager
def opened(folder: Path, wants: Mapping[str, Wants] | None = None) -> Iterator["Queue"]:
    """The queue in a folder, which is made when it is not there; for one process at a time.

    A file that is damaged is moved aside, and another one begun: to tell of what is open again is better than to tell
    of nothing. Raises QueueError when it is in use, of another version, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise QueueError(f"{folder} cannot be used ({error.strerror}): choose another with --state.") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise QueueError(f"{folder} is in use by another notifier: stop it, or choose another --state.") from None
        with contextlib.closing(_queue(folder / FILE, wants or {}, owner=True)) as queue:
            yield queue
    finally:
        os.close(lock)


@contextlib.contextmanager
def beside(folder: Path) -> Iterator["Queue"]:
    """The queue of a notifier that may be running. Raises QueueError where there is none."""
    if not (folder / FILE).is_file():
        raise QueueError(f"{folder} holds no queue of a notifier: name its folder with --state.")
    with contextlib.closing(_queue(folder / FILE, {}, owner=False)) as queue:
        yield queue


def _queue(file: Path, wants: Mapping[str, Wants], *, owner: bool) -> "Queue":
    try:
        return Queue(file, wants)
    except sqlite3.OperationalError as error:  # the disk, not what is on it
        raise QueueError(f"{file} cannot be used ({error}): make room on its disk, or correct its rights.") from None
    except sqlite3.DatabaseError as error:
        if not owner:
            raise QueueError(f"{file} is damaged ({error}): start the notifier again, it begins another one.") from None
        aside = file.with_suffix(f".damaged-{_now_ms()}")
        file.rename(aside)
        for left in ("-wal", "-shm"):
            file.with_name(f"{FILE}{left}").unlink(missing_ok=True)
        log.error("%s is damaged (%s) and was moved to %s: open alerts are told again", file, error, aside.name)
        return Queue(file, wants)


class Queue:
    """`wants`: sink -> whether it is to be told of an alert. Raises sqlite3.Error from every method when the disk does
    not take or give what is asked; then nothing has changed."""

    def __init__(self, file: Path, wants: Mapping[str, Wants]) -> None:
        self._file = file
        self._wants = dict(wants)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
            self._seen = Seen(
                (Change(fingerprint, starts_at_ms, state), ts_ms)
                for fingerprint, starts_at_ms, state, ts_ms in self._database.execute("SELECT * FROM seen")
            )
        except BaseException:
            self._database.close()
            raise
        self._pruned_s = 0.0

    def close(self) -> None:
        """Nothing more is read or written."""
        with self._lock:
            self._database.close()

    # ---- from the topic --------------------------------------------------------------------------------------------

    def take(self, alerts: Sequence[Alert]) -> Taken:
        """Store what is news among these changes, and queue it for every registered sink that wants it. What was over
        before a sink was registered does not concern it."""
        now_ms = _now_ms()
        news: list[Alert] = []
        with self._lock:
            fresh = Seen()
            for alert in alerts:
                if self._seen.is_news(alert, now_ms) and fresh.is_news(alert, now_ms):
                    fresh.add(alert)
                    news.append(alert)
            with self._transaction() as database:
                sinks = self._registered()
                for alert in news:
                    self._remember(alert)
                    begun = self._seen.knows_beginning(alert) or fresh.knows_beginning(alert)
                    for sink in sinks.keys() & self._wants.keys():
                        over = alert.state == RESOLVED and not begun and alert.ts_ms < sinks[sink]
                        if self._wants[sink](alert) and not over:
                            self._queue(sink, alert, now_ms)
                overflowed = [(sink, self._overflow(sink, now_ms)) for sink in sorted(sinks)] if news else []
                if time.monotonic() - self._pruned_s > _PRUNED_EVERY_S:
                    database.execute(_PRUNE, {"before": now_ms - KEPT_MS})
                    self._pruned_s = time.monotonic()
            for alert in news:
                self._seen.add(alert)
        return Taken(news, len(alerts) - len(news), [found for found in overflowed if found[1]])

    def register(self) -> list[str]:
        """The topic was read to its end: sinks that are new are told of what is open, and from now on of every change.

        What waits for a sink that is no longer configured is set aside. Returns the sinks that are new.
        """
        now_ms = _now_ms()
        with self._lock, self._transaction() as database:
            known = self._registered()
            new = sorted(self._wants.keys() - known.keys())
            for sink in sorted(known.keys() - self._wants.keys()):
                self._set_aside(sink, -1, "the configuration no longer names it", now_ms)
                database.execute("DELETE FROM sinks WHERE id = ?", (sink,))
            for sink in new:
                database.execute("INSERT INTO sinks VALUES (?, ?)", (sink, now_ms))
                for alert in self._open():
                    if self._wants[sink](alert):
                        self._queue(sink, alert, now_ms)
        return new

    # ---- to a sink -------------------------------------------------------------------------------------------------

    def due(self, sink: str) -> Entry | None:
        """What can be delivered now: first in the line of its alert, and not put off. The oldest that was never tried
        comes first, then what was put off longest ago."""
        with self._lock:
            row = self._database.execute(_DUE, {"sink": sink, "now": _now_ms()}).fetchone()
        return None if row is None else Entry(row[0], Alert.model_validate_json(row[1]), row[2], row[3])

    def is_latest(self, alert: Alert) -> bool:
        """Whether nothing newer is known of this alert."""
        with self._lock:
            row = self._database.execute(
                "SELECT alert FROM latest WHERE fingerprint = ?", (alert.fingerprint,)
            ).fetchone()
        return row is None or Change.of(Alert.model_validate_json(row[0])) == Change.of(alert)

    def delivered(self, entry: Entry) -> None:
        """The sink has taken it."""
        with self._lock, self._transaction() as database:
            database.execute("DELETE FROM waiting WHERE id = ?", (entry.id,))

    def put_off(self, entry: Entry, wait_s: float, reason: str, *, refused: bool) -> None:
        """Try it again after a while; others go first."""
        with self._lock, self._transaction() as database:
            database.execute(
                "UPDATE waiting SET tries = tries + 1, refusals = refusals + ?, due_ms = ?, reason = ? WHERE id = ?",
                (int(refused), _now_ms() + int(wait_s * 1000), reason, entry.id),
            )

    def give_up(self, entry: Entry, reason: str) -> None:
        """The sink will not take it: keep it aside."""
        with self._lock, self._transaction() as database:
            database.execute(_KEEP_ASIDE, (_now_ms(), reason, entry.id))
            database.execute("DELETE FROM waiting WHERE id = ?", (entry.id,))
            database.execute(_BOUND, (MOST_KEPT,))

    def standing(self, sink: str, resolved_since_ms: int) -> list[Alert]:
        """What is open, and what was resolved since a moment; without alerts of which a change waits for the sink."""
        with self._lock:
            rows = self._database.execute(
                _STANDING, {"sink": sink, "since": resolved_since_ms, "firing": FIRING}
            ).fetchall()
        return [Alert.model_validate_json(row[0]) for row in rows]

    # ---- for people ------------------------------------------------------------------------------------------------

    def open_alerts(self) -> int:
        """How many alerts are firing."""
        with self._lock:
            return int(self._database.execute("SELECT count() FROM latest WHERE state = ?", (FIRING,)).fetchone()[0])

    def waiting(self) -> dict[str, tuple[int, int]]:
        """Sink -> how many changes wait, and the moment (unix ms) since which the oldest does."""
        return self._counts("SELECT sink, count(), min(taken_ms) FROM waiting GROUP BY sink")

    def set_aside(self) -> dict[str, tuple[int, int]]:
        """Sink -> how many changes were set aside, and when the last one was (unix ms)."""
        return self._counts("SELECT sink, count(), max(at_ms) FROM undelivered GROUP BY sink")

    def undelivered(self) -> list[Undelivered]:
        """Everything that was set aside, and what waits after at least one try; oldest first."""
        with self._lock:
            rows = self._database.execute(_UNDELIVERED).fetchall()
        return [
            Undelivered(sink, Alert.model_validate_json(text), at_ms, reason, bool(waits))
            for sink, text, at_ms, reason, waits in rows
        ]

    def retry(self) -> int:
        """Queue everything that was set aside again, for sinks that are registered. Returns how many changes."""
        with self._lock, self._transaction() as database:
            done = database.execute(
                "INSERT INTO waiting (sink, fingerprint, alert, taken_ms) SELECT sink, fingerprint, alert, taken_ms "
                "FROM undelivered WHERE sink IN (SELECT id FROM sinks) ORDER BY id"
            )
            database.execute("DELETE FROM undelivered WHERE sink IN (SELECT id FROM sinks)")
            database.execute("UPDATE waiting SET due_ms = 0")
            return done.rowcount

    # ---- within a transaction --------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._database.execute(f"PRAGMA {pragma}")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._database.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        elif version != FORMAT:
            raise QueueError(
                f"{self._file} has format {version} and this version reads {FORMAT}: "
                "use the version of Commonwatt that wrote it, or choose another --state."
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _registered(self) -> dict[str, int]:
        """Sinks, and since when (unix ms)."""
        return dict(self._database.execute("SELECT id, since_ms FROM sinks"))

    def _open(self) -> list[Alert]:
        rows = self._database.execute("SELECT alert FROM latest WHERE state = ?", (FIRING,)).fetchall()
        return sorted((Alert.model_validate_json(row[0]) for row in rows), key=lambda alert: alert.starts_at_ms)

    def _remember(self, alert: Alert) -> None:
        text = alert.model_dump_json()
        self._database.execute("INSERT INTO seen VALUES (?, ?, ?, ?)", (*Change.of(alert), alert.ts_ms))
        self._database.execute(
            "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)",
            (alert.fingerprint, alert.state, alert.ends_at_ms, text),
        )

    def _queue(self, sink: str, alert: Alert, now_ms: int) -> None:
        self._database.execute(
            "INSERT INTO waiting (sink, fingerprint, alert, taken_ms) VALUES (?, ?, ?, ?)",
            (sink, alert.fingerprint, alert.model_dump_json(), now_ms),
        )

    def _overflow(self, sink: str, now_ms: int) -> int:
        """Set the oldest changes aside where too many wait. Returns how many."""
        (count,) = self._database.execute("SELECT count() FROM waiting WHERE sink = ?", (sink,)).fetchone()
        if count <= MOST_WAITING:
            return 0
        return self._set_aside(sink, count - MOST_WAITING, f"more than {MOST_WAITING:,} waited", now_ms)

    def _set_aside(self, sink: str, most: int, reason: str, now_ms: int) -> int:
        """Keep the oldest entries of a sink aside; a negative `most` means all. Returns how many."""
        chosen = "SELECT id FROM waiting WHERE sink = ? ORDER BY id LIMIT ?"
        ids = self._database.execute(chosen, (sink, most)).fetchall()
        self._database.executemany(_KEEP_ASIDE, [(now_ms, reason, *found) for found in ids])
        self._database.executemany("DELETE FROM waiting WHERE id = ?", ids)
        self._database.execute(_BOUND, (MOST_KEPT,))
        return len(ids)

    def _counts(self, query: str) -> dict[str, tuple[int, int]]:
        with self._lock:
            return {sink: (count, at_ms) for sink, count, at_ms in self._database.execute(query)}


_DUE = """
SELECT id, alert, tries, refusals FROM waiting AS w
WHERE sink = :sink AND due_ms <= :now AND NOT EXISTS (
    SELECT 1 FROM waiting AS before
    WHERE before.sink = w.sink AND before.fingerprint = w.fingerprint AND before.id < w.id
)
ORDER BY due_ms, id LIMIT 1
"""
_STANDING = """
SELECT alert FROM latest
WHERE (state = :firing OR ends_at_ms >= :since)
    AND fingerprint NOT IN (SELECT fingerprint FROM waiting WHERE sink = :sink)
"""
_KEEP_ASIDE = """
INSERT INTO undelivered (sink, fingerprint, alert, taken_ms, at_ms, reason)
SELECT sink, fingerprint, alert, taken_ms, ?, ? FROM waiting WHERE id = ?
"""
_PRUNE = """
DELETE FROM seen WHERE ts_ms < :before
    AND EXISTS (SELECT 1 FROM seen AS s WHERE s.fingerprint = seen.fingerprint AND s.ts_ms > seen.ts_ms)
"""
_BOUND = """
DELETE FROM undelivered WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY sink ORDER BY id DESC) AS place FROM undelivered
    ) WHERE place > ?
)
"""
_UNDELIVERED = """
SELECT sink, alert, at_ms, reason, 0 AS waits FROM undelivered
UNION ALL SELECT sink, alert, taken_ms, reason, 1 FROM waiting WHERE tries > 0
ORDER BY 3
"""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
