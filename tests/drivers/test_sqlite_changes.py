"""Changes of other sessions on a SQLite file: reported by the system where it can, found by looking in any case."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Owner, Write
from stepflow.drivers.port.store import Store
from stepflow.drivers.sqlite import SqliteDriver, change_detector, file_events
from stepflow.drivers.sqlite.file_events import FileEvents
from stepflow.model.state import State, Transition

NEVER_S, WAIT_S = 3600.0, 30.0
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux reports writes to a file")


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    driver = SqliteDriver(tmp_path / "x.db")
    one, two = driver.connect("", Owner("one", "host", 1), 0), driver.connect("", Owner("two", "host", 2), 0)
    yield one, two
    one.close()
    two.close()


def create(store: Store, run_id: str) -> None:
    state = State(run_id, 0, Transition("x"))
    store.commit([Commit(writes=(Write(state, "1", Created("x", "", 0)),), queue=(Enqueue(run_id, "x", 0),))], 1)


@LINUX
def test_a_report_of_the_system_ends_the_wait(sessions, monkeypatch):
    monkeypatch.setattr(change_detector, "POLL_S", NEVER_S)
    monkeypatch.setattr(change_detector, "REPORTED_POLL_S", NEVER_S)
    one, two = sessions
    token = one.wait_for_change(0, 0)
    for turn in range(5):
        create(two, f"run-{turn}")
        changed = one.wait_for_change(token, NEVER_S)
        assert changed != token
        token = changed


@LINUX
def test_own_writes_hide_no_change(sessions, monkeypatch):
    """Own writes are reported, too: the looks that follow them find the change, though no poll does."""
    monkeypatch.setattr(change_detector, "REPORTED_POLL_S", NEVER_S)
    one, two = sessions
    token = one.wait_for_change(0, 0)
    for turn in range(20):
        create(one, f"own-{turn}")
        assert one.wait_for_change(token, 0) == token
    create(two, "other")
    assert one.wait_for_change(token, NEVER_S) != token


class LateCommit:
    """Reports one write; its commit is visible `late_s` seconds after that. Stands for the reports, and for the event that ends pauses."""

    works = True

    def __init__(self, late_s: float, commit: Callable[[], None]) -> None:
        self.left_s, self.commit, self.reported, self.waited = late_s, commit, False, 0.0

    def wait(self, timeout_s: float) -> bool:
        if self.reported:
            self.passes(timeout_s)
            return False
        self.reported = True
        return True

    def passes(self, passed_s: float) -> None:
        self.waited += passed_s
        if self.left_s > 0 and self.waited >= self.left_s:
            self.left_s = 0.0
            self.commit()

    def is_set(self) -> bool:
        return False


@pytest.mark.parametrize("late_s", [0.001, 0.06, 0.1])
def test_a_commit_is_found_soon_that_is_visible_long_after_its_report(sessions, monkeypatch, late_s):
    """A busy disk takes long to sync it, and the system reports nothing when it is visible."""
    one, two = sessions
    token = one.wait_for_change(0, 0)
    late = LateCommit(late_s, lambda: create(two, "late"))
    monkeypatch.setattr(one._changes, "_events", late)
    monkeypatch.setattr(one._changes, "_closed", late)
    assert one.wait_for_change(token, NEVER_S) != token
    assert late.waited <= max(2 * late_s, late_s + change_detector.POLL_S)
    monkeypatch.undo()


def test_without_reports_a_poll_finds_the_change(sessions, monkeypatch):
    monkeypatch.setattr(file_events, "_watch", lambda _path: -1)
    one, two = sessions
    token = one.wait_for_change(0, 0)
    create(two, "a")
    assert one.wait_for_change(token, WAIT_S) != token


@LINUX
def test_what_the_system_refuses_to_watch_is_polled(tmp_path):
    events = FileEvents(tmp_path / "absent")
    assert not events.wait(0)
    assert not events.works
    events.close()


@LINUX
def test_closing_ends_every_wait_and_closes_the_descriptors(tmp_path, monkeypatch):
    path = tmp_path / "log"
    path.write_text("")
    events = FileEvents(path)
    opened, closed, close = [events._fd, events._woken, events._wake], list[int](), os.close
    monkeypatch.setattr(os, "close", lambda fd: (closed.append(fd), close(fd)))
    heard: list[bool] = []
    waiting = [Thread(target=lambda: heard.append(events.wait(NEVER_S))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    events.close()
    for thread in waiting:
        thread.join(WAIT_S)
    assert heard == [False] * 3
    events.close()
    assert not events.wait(NEVER_S)
    assert set(opened) <= set(closed)  # other threads of the process may close theirs


@LINUX
def test_a_forked_child_takes_no_report_from_its_parent(tmp_path):
    path = tmp_path / "log"
    path.write_text("")
    events = FileEvents(path)
    if not (child := os.fork()):
        os._exit(events.wait(NEVER_S))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    path.write_text("more")
    assert events.wait(WAIT_S)
    events.close()
