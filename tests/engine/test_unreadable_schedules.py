"""Schedules that cannot be read here: they are shown as such, can be deleted, and keep no other one from anything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow import CodecError, Engine
from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery
from stepflow.testing import VirtualClock
from tests.engine.flows import Order, chain

HOUR = timedelta(hours=1)
QUICK = chain("quick", "a")
BAD = {
    "text": "nonsense",
    "part": '["nonsense',
    "no part": "[]",
    "newer": '{"format":99}',
    "few": '{"format":1,"id":"bad"}',
    "list": '{"format":1',
    "other": "null",
}


@pytest.fixture
def engine(store):
    with Engine(store, clock=VirtualClock()) as engine:
        engine.register(QUICK)
        yield engine


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_schedule_that_cannot_be_read_is_shown_as_such_and_can_be_deleted(engine, body):
    good = engine.schedule("good", QUICK, Order(), every=HOUR)
    session = engine._engine._session.store
    (done,) = session.commit([Commit(schedule=ScheduleChange("bad", 0, None, body))], 1)
    assert not isinstance(done, Exception)
    unread, read = engine.schedules()
    assert (read, read.unreadable) == (good.info(), "")
    assert (unread.id, unread.flow, unread.next, unread.created_at) == ("bad", "", None, None)
    assert unread.unreadable
    bad = engine.get_schedule("bad")
    assert bad.info() == unread
    assert bad.runs() == []
    text = bad.explain()
    assert unread.unreadable in text
    assert "`stepflow schedule delete 'bad'`" in text
    for change in (bad.pause, bad.resume, bad.trigger, lambda: engine.schedule("bad", QUICK, Order(), every=HOUR)):
        with pytest.raises(CodecError, match="schedule 'bad' cannot be read here"):
            change()
    (row,) = session.read(ScheduleQuery("bad"))
    assert row.body == body, "what is refused changes nothing"
    bad.delete()
    assert [one.id for one in engine.schedules()] == ["good"]
    assert engine.schedule("bad", QUICK, Order(), every=HOUR).info().flow == QUICK.name
