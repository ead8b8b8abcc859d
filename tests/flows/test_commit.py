"""Commits: allowed commands, all or nothing, and objects of the caller that a failure does not change."""

from __future__ import annotations

import pytest

from stepflow import (
    GetDelayedStates,
    GetStateByID,
    Noop,
    NotFound,
    RevMismatch,
    Stack,
    StateCtx,
    StepflowError,
    StoreData,
    Unstack,
    commit,
    delay,
    park,
    transit,
)
from stepflow.errors import CodecError

EMPTY = StateCtx("")
REFUSED = {
    "nothing to do": ((), "no commands to do"),
    "no id": ((commit(park(StateCtx(""))),), "state id empty"),
    "delay without id": ((delay(StateCtx(""), "f", 1),), "state id empty"),
    "NUL in the id": ((commit(park(StateCtx("a\0b"))),), "NUL"),
    "labels of another type": ((commit(park(StateCtx("s", {"a": 1}))),), "labels"),
    "annotations of another type": ((commit(park(StateCtx("s", {}, {"a": 1}))),), "annotations"),
    "no command": (("park",), "'park' is no command"),
    "stack twice": ((Stack(StateCtx("a", {}, {"x": "1"}), StateCtx("b"), "x"),), "stack annotation 'x' already set"),
    "unstack nothing": ((Unstack(StateCtx("a"), EMPTY, "x"),), "stack annotation value empty"),
    "unstack garbage": ((Unstack(StateCtx("a", {}, {"x": "?"}), EMPTY, "x"),), "is not a stacked State"),
    "unstack another message": ((Unstack(StateCtx("a", {}, {"x": "CgIIAQ=="}), EMPTY, "x"),), "is not a stacked State"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_command_is_refused_and_nothing_happens(engine, name):
    commands, error = REFUSED[name]
    with pytest.raises(StepflowError, match=error):
        engine.do(*commands)
    assert engine.states().states == ()


def test_a_stacked_state_that_is_no_text_is_a_codec_error(engine):
    with pytest.raises(CodecError):
        engine.do(Unstack(StateCtx("a", {}, {"x": "?"}), StateCtx(""), "x"))


def test_do_is_not_atomic_and_stops_at_the_first_error(engine):
    one, two = StateCtx("one"), StateCtx("two")
    two.labels["a"] = 1
    with pytest.raises(StepflowError, match="keys and values must be texts"):
        engine.do(commit(park(one)), commit(park(two)), commit(park(StateCtx("three"))))
    assert [state.id for state in engine.states().states] == ["one"]


def test_after_a_commit_current_and_committed_are_equal(engine):
    ctx = StateCtx("s", {"l": "1"}, {"a": "2"})
    engine.do(transit(ctx, "f"), transit(ctx, "g", x="y"))
    assert [t.to for t in ctx.transitions] == ["", "f"]
    engine.do(commit(park(ctx, state="locked")))
    assert ctx.current == ctx.committed
    assert ctx.transitions == []
    assert (ctx.rev > 0, ctx.committed_at > 0, ctx.annotation("state")) == (True, True, "locked")
    assert engine.get_state("s").committed == ctx.committed


def snapshot(ctx: StateCtx):
    return ctx.current, ctx.committed, list(ctx.transitions), dict(ctx.datas)


def test_a_conflict_names_all_states_and_leaves_the_callers_objects_alone(engine):
    fresh, stale, exists, another = (StateCtx(i) for i in ("fresh", "stale", "exists", "another"))
    engine.do(commit(park(stale), park(exists), park(another)))
    moved, again = stale.copy(), StateCtx("exists")
    engine.do(commit(park(moved)))
    another.set_data("d", "x")
    states = [fresh, stale, again, another]
    before = [snapshot(ctx) for ctx in states]
    commands = [park(fresh), transit(stale, "f"), park(again), StoreData(another, "d"), park(another)]
    commands += [Stack(fresh, another, "put"), delay(another, "f", 1)]
    with pytest.raises(RevMismatch) as caught:
        engine.do(commit(*commands))
    assert caught.value.ids == ["exists", "stale"]
    assert str(caught.value) == "rev mismatch: exists, stale"
    assert [snapshot(ctx) for ctx in states] == before
    assert another.data("d").rev == 0
    assert engine.do(GetDelayedStates(until=None)) == []
    with pytest.raises(NotFound):
        engine.get_state("fresh")
    engine.do(commit(park(fresh), park(another)))
    assert fresh.rev > 0


def test_the_same_state_twice_in_one_commit_is_refused(engine):
    ctx = StateCtx("s")
    for commands in ((park(ctx), park(ctx)), (park(ctx), park(ctx.copy()))):
        with pytest.raises(StepflowError, match="'s' is written twice in one commit"):
            engine.do(commit(*commands))
    assert engine.states().states == ()
    assert ctx.rev == 0


def test_a_later_command_of_a_commit_sees_the_new_revision(engine):
    ctx, carrier, back = StateCtx("inner"), StateCtx("carrier"), StateCtx("")
    engine.do(commit(park(ctx), Stack(carrier, ctx, "p"), delay(ctx, "f", 60), park(carrier)))
    engine.do(Unstack(carrier, back, "p"))
    assert back.committed == ctx.committed
    assert carrier.annotations == {"p": ""}
    engine.do(commit(park(back)))
    with pytest.raises(RevMismatch):
        engine.do(commit(park(ctx)))


def test_reads_and_stacks_alone_need_no_write(engine):
    engine.do(commit(park(StateCtx("s", {"a": "b"}))))
    found, carrier = StateCtx(""), StateCtx("c")
    engine.do(commit(GetStateByID(found, "s"), Stack(carrier, found, "x"), Noop()))
    assert found.labels == {"a": "b"}
    assert carrier.annotations["x"]
    assert len(engine.states().states) == 1


def test_a_fork_of_a_committed_state_can_be_committed(engine):
    ctx = StateCtx("s", {"a": "1"})
    engine.do(commit(park(ctx)))
    fork = ctx.fork("t")
    assert (fork.rev, fork.committed.rev, fork.labels) == (0, 0, {"a": "1"})
    engine.do(commit(park(fork)))
    assert fork.rev == 2
