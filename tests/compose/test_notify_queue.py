"""The queue on disk: what is news, in which order it goes out, and that nothing of it is lost or without bound."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.notify import queue
from compose.notify.changes import KEPT_MS, Change, Seen
from compose.notify.queue import Queue, QueueError, beside, opened
from schemas.economics import Alert
from tests.compose.alerting import firing, now_ms, resolved


def everything(alert: Alert) -> bool:
    return True


def drained(waiting: Queue, sink: str) -> list[Change]:
    """Everything that can be delivered, taken out."""
    found = []
    while (entry := waiting.due(sink)) is not None:
        found.append(Change.of(entry.alert))
        waiting.delivered(entry)
    return found


def changes(*alerts: Alert) -> list[Change]:
    return [Change.of(alert) for alert in alerts]


def ended_before(alert: Alert) -> Alert:
    """Its end, a minute ago by the clock of who published it."""
    return resolved(alert).model_copy(update={"ts_ms": now_ms() - 60_000})


# ---- what is news ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 11), max_size=40), st.lists(st.integers(1, 6), max_size=8))
def test_whatever_is_repeated_each_change_is_told_once(
    order: list[int],
    cuts: list[int],
) -> None:
    """Changes of three alerts that come again and again in any order: the first of each is news; of an end, not the
    beginning that comes after it."""
    begins = [firing(number, starts_at_ms=now_ms() + 1000 * start) for number in (1, 2, 3) for start in (0, 1)]
    known = [change for begin in begins for change in (begin, resolved(begin))]
    seen, told = Seen(), []
    for alert in (known[number] for number in order):
        if seen.is_news(alert, now_ms()):
            seen.add(alert)
            told.append(Change.of(alert))
    assert len(told) == len(set(told))
    for change in set(changes(*(known[number] for number in order))):
        ended = change._replace(state="resolved")
        assert change in told or told.index(ended) >= 0


def test_what_is_long_ago_is_forgotten_but_not_the_last() -> None:
    """An alert of last year that still stands on the topic is known; what came before it is no news either."""
    old = now_ms() - 2 * KEPT_MS
    first, last = firing(1, starts_at_ms=old), firing(1, starts_at_ms=old + 1000)
    seen = Seen([(Change.of(last), last.ts_ms)])
    assert not seen.is_news(first, now_ms())
    assert not seen.is_news(last, now_ms())
    assert seen.is_news(firing(1), now_ms())
    assert seen.is_news(firing(2, starts_at_ms=old), now_ms())


def test_a_clock_that_went_wrong_hides_nothing() -> None:
    """After an alert with a moment in the future, those of the present are news."""
    seen = Seen()
    seen.add(firing(1, starts_at_ms=now_ms() + KEPT_MS))
    assert seen.is_news(firing(1), now_ms())


# ---- in which order --------------------------------------------------------------------------------------------------


def test_what_waits_survives_the_process(tmp_path: Path) -> None:
    """In order, with everything that was told of it; what was taken is gone, and its repetition is no news."""
    first, second = firing(1), firing(2)
    with opened(tmp_path, {"ops": everything}) as waiting:
        assert waiting.register() == ["ops"]
        assert waiting.take([first, second, first]).repeated == 1
        entry = waiting.due("ops")
        assert entry is not None
        waiting.delivered(entry)
    with opened(tmp_path, {"ops": everything}) as waiting:
        assert waiting.register() == []
        assert waiting.take([first, second]).news == []
        (left,) = [waiting.due("ops")]
        assert left is not None
        assert left.alert == second


def test_a_change_waits_for_those_before_it_of_its_alert(tmp_path: Path) -> None:
    """Of others not; what was put off comes after what was never tried."""
    first, other = firing(1), firing(2)
    end = resolved(first)
    with opened(tmp_path, {"ops": everything}) as waiting:
        waiting.register()
        waiting.take([first, end, other])
        entry = waiting.due("ops")
        assert entry is not None
        waiting.put_off(entry, 3600, "not now", refused=True)
        assert drained(waiting, "ops") == changes(other)
        again = waiting.undelivered()[0]
        assert (again.reason, again.waits) == ("not now", True)
        waiting.put_off(entry, -1, "nor now", refused=False)
        found = waiting.due("ops")
        assert found is not None
        assert (found.tries, found.refusals) == (2, 1)
        assert drained(waiting, "ops") == changes(first, end)


def test_sinks_that_come_and_go(tmp_path: Path) -> None:
    """A new one is told of what is open, not of what is over; what waits for one that is gone is kept aside."""
    over, open_ = firing(1), firing(2)
    end = resolved(over)
    with opened(tmp_path, {"ops": everything}) as waiting:
        waiting.take([over, open_, end])
        waiting.register()
        waiting.take([ended_before(firing(3))])
        assert drained(waiting, "ops") == changes(open_)
        late = ended_before(open_)
        waiting.take([late])
    with opened(tmp_path, {"desk": everything}) as waiting:
        assert waiting.register() == ["desk"]
        assert waiting.due("desk") is None
        (aside,) = waiting.undelivered()
    assert (aside.sink, Change.of(aside.alert), aside.waits) == ("ops", Change.of(late), False)
    assert aside.reason == "the configuration no longer names it"


# ---- bounds and damage -----------------------------------------------------------------------------------------------


def test_the_queue_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the oldest are kept aside, of those again not more than so many; other sinks are not concerned."""
    monkeypatch.setattr(queue, "MOST_WAITING", 5)
    monkeypatch.setattr(queue, "MOST_KEPT", 3)
    alerts = [firing(number) for number in range(1, 11)]
    with opened(tmp_path, {"down": everything, "well": everything}) as waiting:
        waiting.register()
        overflowed: list[tuple[str, int]] = []
        for alert in alerts:
            overflowed += waiting.take([alert]).overflowed
            assert drained(waiting, "well") == changes(alert)
        assert overflowed == [("down", 1)] * 5
        assert changes(*(one.alert for one in waiting.undelivered())) == changes(*alerts[2:5])
        assert {one.reason for one in waiting.undelivered()} == {"more than 5 waited"}
        assert waiting.waiting()["down"][0] == 5
        assert drained(waiting, "down") == changes(*alerts[5:])
        assert waiting.retry() == 3
        assert drained(waiting, "down") == changes(*alerts[2:5])


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """What cannot be stored is not taken; as soon as there is room it is."""
    alerts = [firing(number, evidence=["x" * 1000] * 10) for number in range(1, 200)]
    with opened(tmp_path, {"ops": everything}) as waiting:
        waiting.register()
        pages = waiting._database.execute("PRAGMA page_count").fetchone()[0]
        waiting._database.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(sqlite3.Error, match="full"):
            waiting.take(alerts)
        assert waiting.due("ops") is None
        waiting._database.execute("PRAGMA max_page_count = 1000000")
        assert len(waiting.take(alerts).news) == len(alerts)
        assert drained(waiting, "ops") == changes(*alerts)


def test_a_queue_that_cannot_be_used(tmp_path: Path) -> None:
    """In use, of another version, damaged, not there: one sentence that says what to do."""
    with (
        opened(tmp_path / "state"),
        pytest.raises(QueueError, match=r"state is in use by another notifier: stop it"),
        opened(tmp_path / "state"),
    ):
        pass
    database = sqlite3.connect(tmp_path / "state" / queue.FILE)
    database.execute("PRAGMA user_version = 9")
    database.close()
    with (
        pytest.raises(QueueError, match=r"has format 9 and this version reads 1: use the version"),
        opened(tmp_path / "state"),
    ):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(QueueError, match="choose another with --state"), opened(tmp_path / "file"):
        pass
    with pytest.raises(QueueError, match="holds no queue of a notifier"), beside(tmp_path / "nowhere"):
        pass


def test_a_damaged_file_is_moved_aside(tmp_path: Path) -> None:
    """What is open is told again instead of nothing at all; the file is kept for whoever wants to look."""
    alert = firing()
    with opened(tmp_path, {"ops": everything}) as waiting:
        waiting.register()
        waiting.take([alert])
    (tmp_path / queue.FILE).write_bytes(b"no database at all" * 1000)
    with pytest.raises(QueueError, match=r"is damaged .*: start the notifier again"), beside(tmp_path):
        pass
    with opened(tmp_path, {"ops": everything}) as waiting:
        waiting.take([alert])
        assert waiting.register() == ["ops"]
        assert drained(waiting, "ops") == changes(alert)
    assert len(list(tmp_path.glob("notify.damaged-*"))) == 1


def sinks_of(alerts: Sequence[Alert]) -> list[str]:
    return [alert.subject for alert in alerts]


def test_what_an_alertmanager_is_reminded_of(tmp_path: Path) -> None:
    """What is open and what has just ended, but nothing of which it is still to be told."""
    alerts = [firing(number) for number in range(1, 5)]
    with opened(tmp_path, {"am": everything}) as waiting:
        waiting.register()
        waiting.take(alerts)
        drained(waiting, "am")
        before = now_ms() - 1
        long_ago = resolved(alerts[0]).model_copy(update={"ends_at_ms": before - 60_000})
        waiting.take([long_ago, resolved(alerts[1])])
        drained(waiting, "am")
        waiting.take([resolved(alerts[2])])
        assert sinks_of(waiting.standing("am", before)) == ["agreement-2", "agreement-4"]
        assert waiting.open_alerts() == 1
