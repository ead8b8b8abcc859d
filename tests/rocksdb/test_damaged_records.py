"""Records that cannot be read: a commit that needs no new one leaves them as they are, and indexes and counts stay right."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rocksdict import Options, Rdict

from stepflow import (
    CodecError,
    Command,
    Context,
    Corrupt,
    Engine,
    StateCtx,
    Status,
    StoreError,
    commit,
    delay,
    flow,
    named,
    park,
    workflow,
)
from stepflow.drivers.port.commit import Commit, Committed, Pause
from stepflow.drivers.registry import driver_for
from stepflow.drivers.rocksdb.keys import FORMAT_KEY, HEAD_KEY, Keys, text
from stepflow.testing import VirtualClock
from stepflow.testing.conformance.kit import NOW, Sessions, creation, make, publish


def put(order: dict[str, Any], number: int) -> None:
    order["go"] = number


WAITS = named("waits.v1", dict).do("a", lambda order: order.update(a=1)).wait_event("go", "go", int, put).compile()


@workflow("child.v1")
def child(wf: Context, number: int) -> int:
    return wf.wait_for_event("wait", "go", int) + number


@workflow("parent.v1")
def parent(wf: Context, number: int) -> int:
    return wf.result("result", wf.start_child("child", child, number))


class Records:
    """The records of one kind in a store that no engine has open."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._prefix = path, getattr(Keys(""), kind)

    def damage(self, run_id: str, record: bytes = b"garbage") -> None:
        """Replace the newest record of a run."""
        with closing(Rdict(str(self._path), Options(raw_mode=True))) as db:
            db[self._key(db, run_id)] = record

    def of(self, run_id: str) -> object:
        """The newest record of a run."""
        with closing(Rdict(str(self._path), Options(raw_mode=True))) as db:
            return db[self._key(db, run_id)]

    def _key(self, db: Rdict, run_id: str) -> bytes:
        begin = self._prefix + text(run_id)
        return max(key for key in db.keys() if isinstance(key, bytes) and key.startswith(begin))  # noqa: SIM118 - it is no dict


def is_right(engine: Engine) -> bool:
    """Whether the tally has as many runs of each flow and status as the list has."""
    listed = Counter((run.flow, str(run.status)) for run in engine.runs(limit=1000))
    counts = {(flow, status): count for flow, some in engine.tally().items() for status, count in some.items()}
    return counts == listed


@pytest.mark.parametrize("record", [b"garbage", b"[9,1]", b'[1,"waits.v1","",5,0,0,0,7,true]', b"[1,2,3,4,5,6,7]"])
def test_a_publish_leaves_the_damaged_record_of_a_run_and_a_rewind_receives_the_event(tmp_path: Path, record: bytes):
    url, clock, records = f"rocksdb:///{tmp_path / 'store'}", VirtualClock(), Records(tmp_path / "store", "runs")
    with Engine(url, clock=clock) as engine:
        engine.register(WAITS)
        for name in ("published", "xpublished", "cancelled", "left"):
            engine.start(WAITS, {}, id=name, labels={"shop": "a"})
        engine.run_until_idle()
        rev = engine.get("published").history()[0].rev
    for name in ("published", "cancelled", "left"):
        records.damage(name, record)
    with Engine(url, clock=clock) as engine:
        engine.register(WAITS)
        engine.get("published").publish("go", 5, id="once")
        engine.get("published").publish("go", 5, id="once")
        engine.get("cancelled").cancel()
        engine.run_until_idle()
        statuses = {run.id: run.status for run in engine.runs(labels={"shop": "a"})}
        assert (statuses["published"], statuses["cancelled"]) == (Status.BLOCKED, Status.CANCELLED)
        assert is_right(engine)
    assert records.of("published") == records.of("left") == record
    with Engine(url, clock=clock) as engine:
        engine.register(WAITS)
        engine.get("published").rewind(rev=rev)
        engine.run_until_idle()
        assert engine.get("published").exchange() == {"a": 1, "go": 5}
        assert engine.get("published").info().flow == "waits.v1"
        assert is_right(engine)
    assert [problem for problem in driver_for(url).maintenance("").check() if "'left'" not in problem] == []


def test_the_end_of_a_child_leaves_the_damaged_record_of_its_parent(tmp_path: Path):
    url, clock, records = f"rocksdb:///{tmp_path / 'store'}", VirtualClock(), Records(tmp_path / "store", "runs")
    with Engine(url, clock=clock) as engine:
        engine.register(child, parent)
        engine.start(parent, 1, id="p")
        engine.run_until_idle()
    records.damage("p")
    with Engine(url, clock=clock) as engine:
        engine.register(child, parent)
        engine.get("p/child").publish("go", 5)
        engine.run_until_idle()
        assert (engine.get("p/child").status(), engine.get("p").status()) == (Status.COMPLETED, Status.BLOCKED)
        assert is_right(engine)
    assert records.of("p") == b"garbage"
    with Engine(url, clock=clock) as engine:
        engine.register(child, parent)
        engine.get("p").rewind(rev=engine.get("p").history()[-1].rev)
        engine.run_until_idle()
        assert engine.get(parent, "p").result() == 6


def test_the_counts_are_right_after_changes_of_runs_whose_newest_revision_is_damaged(tmp_path: Path):
    url, clock, records = f"rocksdb:///{tmp_path / 'store'}", VirtualClock(), Records(tmp_path / "store", "history")
    names = ("rewound", "cancelled", "published", "deleted")
    with Engine(url, clock=clock) as engine:
        engine.register(WAITS)
        for name in names:
            engine.start(WAITS, {}, id=name, labels={"shop": "a"})
        engine.run_until_idle()
        rev = engine.get("rewound").history()[0].rev
    for name in names[:3]:
        records.damage(name)
    with Engine(url, clock=clock) as engine:
        engine.register(WAITS)
        engine.get("published").publish("go", 5)
        engine.get("rewound").rewind(rev=rev)
        engine.get("cancelled").cancel()
        engine.get("deleted").cancel()
        engine.run_until_idle()
        assert is_right(engine)
    assert [problem for problem in driver_for(url).maintenance("").check() if "'published'" not in problem] == []


def test_a_run_whose_row_of_the_queue_is_damaged_is_listed_and_counted_as_blocked(tmp_path: Path):
    url, clock, records = f"rocksdb:///{tmp_path / 'store'}", VirtualClock(), Records(tmp_path / "store", "queue")
    with Engine(url, clock=clock) as engine:
        for name in ("bad", "xbad"):
            engine.start(WAITS, {}, id=name)
    records.damage("bad")
    with Engine(url, clock=clock) as engine:
        engine.register(WAITS)
        engine.run_until_idle()
        assert engine.tally() == {"waits.v1": {"waiting": 1, "blocked": 1}}
        assert [run.id for run in engine.runs(status=["blocked"])] == ["bad"]
        assert [run.id for run in engine.runs(status=["blocked", "waiting"])] == ["xbad", "bad"]
        assert engine.runs(status=["queued"]) == []
    assert records.of("bad") == b"garbage"


@flow("later.v1")
def later(ctx: StateCtx) -> Command:
    return commit(park(ctx))


@pytest.mark.parametrize("record", [b"garbage", b"", b"[1,2]", b'[1,1,1,"x"]', None])
@pytest.mark.parametrize("key", [FORMAT_KEY, HEAD_KEY])
def test_a_store_that_does_not_know_its_last_revision_or_format_is_refused(
    tmp_path: Path, key: bytes, record: bytes | None
):
    url = f"rocksdb:///{tmp_path / 'store'}"
    with Engine(url) as engine:
        engine.start(WAITS, {}, id="one")
    with closing(Rdict(str(tmp_path / "store"), Options(raw_mode=True))) as db:
        if record is None:
            del db[key]
        else:
            db[key] = record
        before = dict(db.items())
    with pytest.raises(StoreError, match=r"restore a backup|use another directory"), Engine(url):
        pass
    with closing(Rdict(str(tmp_path / "store"), Options(raw_mode=True))) as db:
        assert dict(db.items()) == before


def test_a_damaged_last_number_of_delays_keeps_no_other_commit_from_its_batch(tmp_path: Path):
    url, clock = f"rocksdb:///{tmp_path / 'store'}", VirtualClock()
    with Engine(url, clock=clock) as engine:
        engine.register(later, WAITS)
        engine.do(delay(StateCtx("timer"), "later.v1", timedelta(seconds=60)))
    with closing(Rdict(str(tmp_path / "store"), Options(raw_mode=True))) as db:
        (key,) = [one for one in db.keys() if isinstance(one, bytes) and one.startswith(Keys("").numbers)]  # noqa: SIM118 - it is no dict
        db[key] = b"garbage"
    with Engine(url, clock=clock) as engine:
        engine.register(later, WAITS)
        with pytest.raises(Corrupt, match="the last number of delays cannot be read"):
            engine.do(delay(StateCtx("another"), "later.v1", timedelta(seconds=60)))
        engine.start(WAITS, {}, id="one")
        engine.run_until_idle()
        assert engine.get("one").status() is Status.WAITING


def test_a_damaged_event_keeps_no_other_commit_of_its_batch_from_being_written(tmp_path: Path):
    driver, records = driver_for(f"rocksdb:///{tmp_path / 'store'}"), Records(tmp_path / "store", "events")
    sessions = Sessions(driver)
    make(sessions.session(), creation("bad"), creation("good"), publish("bad", "go", "1"))
    sessions.close()
    records.damage("bad")
    store = sessions.session()
    bad, good = store.commit([Commit(pause=(Pause("bad", False),)), publish("good", "go", "1")], NOW)
    sessions.close()
    assert isinstance(bad, CodecError)
    assert isinstance(good, Committed)
