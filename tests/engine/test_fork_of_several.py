"""Fork and rewind of a workflow to a wait for children, and to a call for several items."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow import Context, Engine, NotFound, Ok, workflow
from tests.engine.test_fork import DID, child, did, waiting


@pytest.fixture
def engine(engine: Engine) -> Engine:
    DID.clear()
    engine.register(child, family)
    return engine


@workflow("family")
def family(wf: Context) -> list[Any]:
    wf.execute("before", did, "before")
    some = wf.start_children("some", child, ["slow a", "b"])
    several = wf.map("several", did, ["one", "two"])
    got = wf.results("got", some)
    one = wf.start_child("last", child, "slow c")
    return [*(item.value for item in [*several, *got] if isinstance(item, Ok)), wf.result("end", one)]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    ("step", "again"),
    [("some", ["one", "two"]), ("several", ["one", "two"]), ("several[1]", ["two"]), ("got", []), ("end", [])],
)
def test_a_workflow_goes_back_before_a_wait_for_children_and_before_all_items_of_a_call(
    engine: Engine, step: str, again: list[str], ended: bool
) -> None:
    run = waiting(engine, engine.start(family, id="r"))
    if step == "end" or ended:
        engine.get("r/some[0]").publish("go", "1")
        engine.run_until_idle()
    if ended:
        engine.get("r/last").publish("go", "3")
        engine.run_until_idle()
        assert run.result() == ["one", "two", "child 1", "child b", "child 3"]
    DID.clear()
    other = run.fork(step=step, id="f")
    run.rewind(step=step)
    engine.run_until_idle()
    assert sorted(what for what in DID if what in ("before", "one", "two")) == sorted(again * 2)
    while waits := engine.runs(flow="child", open=True):
        for info in waits:
            engine.get(info.id).publish("go", "2")
        engine.run_until_idle()
    for one in (run, other):
        assert one.result()[:2] == ["one", "two"]
        assert one.result()[3] == "child b"


def test_a_rewind_to_a_revision_at_a_wait_for_several_children_drops_what_came_later(engine: Engine) -> None:
    run = waiting(engine, engine.start(family, id="r"))
    rev = run.info().rev
    engine.get("r/some[0]").publish("go", "1")
    engine.run_until_idle()
    assert run.info().position == ["child:end"]
    run.rewind(rev=rev)
    assert [one.where for one in run.timeline() if one.seq] == [
        "several",
        "several[1]",
        "several[0]",
        "some[0]",
        "before",
    ]


def test_a_key_at_which_no_workflow_stands_is_not_found(engine: Engine) -> None:
    run = waiting(engine, engine.start(family))
    for key in ("nowhere", "befor", "before[0]", "q["):
        with pytest.raises(NotFound, match="recorded no call"):
            run.fork(step=key)
