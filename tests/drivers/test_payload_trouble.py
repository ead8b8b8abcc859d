"""Payload stages that fail, and keys that are gone: the rest of the work goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow import CodecError, Context, Engine, Fernet, Offload, RunExists, Status, Unavailable, workflow
from stepflow.testing import VirtualClock
from tests.drivers.test_payload import MARKER, NEW, OLD, story


def test_a_schedule_whose_input_cannot_be_kept_holds_up_no_other_one_and_no_run(tmp_path, caplog):
    kept, down, clock = dict[str, bytes](), list[int](), VirtualClock()

    def put(name: str, data: bytes) -> None:
        if down:
            raise ConnectionError("no route")
        kept[name] = data

    stage = Offload(put, kept.__getitem__, over=2000)
    with Engine(f"sqlite:///{tmp_path}/store.db", payload=[stage], clock=clock) as engine:
        engine.register(story)
        big = engine.schedule("big", story, MARKER * 1000, every=timedelta(hours=1))
        small = engine.schedule("small", story, MARKER, every=timedelta(hours=1))
        down.append(1)
        clock.advance(3600)
        run = engine.start(story, "another", id="another")
        with pytest.raises(Unavailable, match="no route"):
            engine.run_until_idle()
        engine.run_until_idle()
        assert ([one.status for one in small.runs()], big.runs()) == ([Status.WAITING], [])
        assert run.status() is Status.WAITING
        assert "schedule big cannot be fired here now" in caplog.text
        down.clear()
        clock.advance(5)
        engine.run_until_idle()
        assert [one.status for one in big.runs()] == [Status.WAITING]


@workflow("family.v1")
def family(wf: Context, text: str) -> str:
    child = wf.start_child("child", story, text)
    wf.sleep("nap", 60)
    return wf.result("told", child)


def test_a_run_whose_children_cannot_be_told_is_neither_forked_nor_rewound(tmp_path):
    url, clock = f"sqlite:///{tmp_path}/store.db", VirtualClock()
    with Engine(url, payload=[Fernet([OLD])], clock=clock) as engine:
        engine.register(family, story)
        engine.start(family, MARKER, id="one")
        engine.run_until_idle()
    with Engine(url, payload=[Fernet([NEW])], clock=clock) as engine:
        engine.register(family, story)
        run = engine.get(family, "one")
        for verb in (lambda: run.fork(step="nap", id="two"), lambda: run.rewind(step="child")):
            with pytest.raises(
                CodecError, match=r"the children of the run cannot be told, call 'child'.*payload stages"
            ):
                verb()
        found = engine.rewind(["one"], "child", dry_run=False)
        assert (found.count, "payload stages" in str(found.skipped)) == (0, True)
    with Engine(url, payload=[Fernet([NEW, OLD])], clock=clock) as engine:
        engine.register(family, story)
        engine.get(family, "one").rewind(step="child")
        engine.run_until_idle()
        assert sorted(str(run.status) for run in engine.runs()) == ["cancelled", "sleeping", "waiting"]


def test_the_same_start_as_a_fork_is_the_fork(tmp_path):
    with Engine(f"sqlite:///{tmp_path}/store.db", payload=[Fernet([NEW])], clock=VirtualClock()) as engine:
        engine.register(story)
        engine.start(story, MARKER, id="one")
        engine.run_until_idle()
        engine.get(story, "one").fork(step="broken", id="two")
        assert engine.start(story, MARKER, id="two").id == "two"
        with pytest.raises(RunExists):
            engine.start(story, "another", id="two")


@workflow("keyless.v1")
def keyless(wf: Context, text: str) -> str:
    return wf.execute("", str, text)


def test_a_run_is_released_as_blocked_although_its_reason_cannot_be_sealed(tmp_path):
    class Away(Fernet):
        away = False

        def pack(self, data: bytes) -> bytes | None:
            if self.away:
                raise ConnectionError("no vault")
            return super().pack(data)

    stage = Away([NEW])
    with Engine(f"sqlite:///{tmp_path}/store.db", payload=[stage], clock=VirtualClock()) as engine:
        engine.register(keyless)
        run = engine.start(keyless, MARKER)
        stage.away = True
        assert engine.run_until_idle().blocked == 1
        assert "did not take the reason" in str(run.info().blocked)
