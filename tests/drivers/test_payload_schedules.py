"""Schedules of a store whose values go through payload stages: only a worker with the key starts their runs, all others see them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow import CodecError, Engine, Zlib
from stepflow.testing import VirtualClock
from tests.drivers.test_payload import MARKER, NEW, OLD, Letter, content, letter_flow, stages

pytestmark = pytest.mark.usefixtures("forking")


@pytest.mark.parametrize("without", [[], [Zlib()]], ids=["no stages", "no key"])
def test_a_schedule_whose_input_cannot_be_opened_is_shown_and_waits_for_a_worker_that_can(tmp_path, caplog, without):
    url, clock = f"sqlite:///{tmp_path}/store.db", VirtualClock()
    with Engine(url, payload=stages(), clock=clock) as engine:
        engine.schedule("nightly", letter_flow, Letter(MARKER), every=timedelta(hours=1))
        start = engine.get_schedule("nightly").info().created_at
        engine.schedule("weekly", letter_flow, Letter(MARKER), every=timedelta(days=7))
        assert MARKER.encode() not in content(tmp_path)
    with Engine(url, payload=without, clock=clock) as engine:
        engine.register(letter_flow)
        engine.schedule("open", letter_flow, Letter("plain"), every=timedelta(hours=2))
        assert [(one.id, one.flow, bool(one.unreadable)) for one in engine.schedules()] == [
            ("nightly", letter_flow.name, True),
            ("open", letter_flow.name, False),
            ("weekly", letter_flow.name, True),
        ]
        nightly = engine.get_schedule("nightly")
        assert "has the stages fernet" in nightly.info().unreadable
        assert "a worker that has the key starts its runs" in nightly.explain()
        assert nightly.runs() == []
        clock.advance(3601)
        for call in (nightly.trigger, lambda: nightly.backfill(start, start + timedelta(hours=1))):
            with pytest.raises(CodecError, match=r"schedule 'nightly' cannot start a run: .* payload stages"):
                call()
        engine.get_schedule("weekly").pause()
        for _ in range(3):  # it looks again every five seconds, and says so once
            engine.run_until_idle()
            clock.advance(6)
        assert engine.runs() == []
    assert caplog.text.count("schedule nightly cannot be read here") == 1
    with Engine(url, payload=stages(), clock=clock) as engine:
        engine.register(letter_flow)
        engine.run_until_idle()
        (run,) = engine.runs()
        assert engine.get(letter_flow, run.id).exchange().text == MARKER
        weekly = engine.get_schedule("weekly")
        assert weekly.info().paused
        assert not weekly.info().unreadable
        assert engine.get(letter_flow, weekly.trigger().id).exchange().text == MARKER
    with Engine(url, payload=without, clock=clock) as engine:
        engine.get_schedule("weekly").delete()
        assert [one.id for one in engine.schedules()] == ["nightly", "open"]


def test_a_worker_without_the_key_delays_no_worker_that_has_it(tmp_path):
    url, clock = f"sqlite:///{tmp_path}/store.db", VirtualClock()
    with Engine(url, payload=stages(), clock=clock) as engine, Engine(url, clock=clock) as other:
        for each in (engine, other):
            each.register(letter_flow)
        nightly = engine.schedule("nightly", letter_flow, Letter(MARKER), every=timedelta(hours=1), overlap="cancel")
        for count in range(1, 5):
            clock.advance(3600)
            other.run_until_idle()
            engine.run_until_idle()
            assert len(nightly.runs()) == count


def test_the_key_of_a_schedule_can_be_rotated(tmp_path):
    url, clock = f"sqlite:///{tmp_path}/store.db", VirtualClock()
    for keys in ([OLD], [NEW, OLD], [NEW]):
        with Engine(url, payload=stages(*keys), clock=clock) as engine:
            engine.register(letter_flow)
            if keys == [OLD]:
                engine.schedule("nightly", letter_flow, Letter(MARKER), every=timedelta(hours=1), overlap="cancel")
            clock.advance(3600)
            engine.run_until_idle()
            newest, *_others = engine.get_schedule("nightly").runs()
            assert engine.get(letter_flow, newest.id).exchange().text == MARKER
            again = engine.start(letter_flow, Letter(MARKER), id=newest.id)
            assert again.id == newest.id
