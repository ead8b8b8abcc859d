"""Messages of flowstate.v1.Flow: commands of functions as the origin encodes them, what is taken of an answer, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import StepflowError
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data
from stepflow.model.state import State, Transition
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flow_calls import answer_bytes, answered_command, call_bytes, call_of, command_message
from stepflow.wire.flowstate_json import BadMessage
from tests.wire.test_flowstate import ctxs, parts
from tests.wire.vectors import HEX

S, C = StateCtx("s", rev=1), StateCtx("c")
NOTES = {"k": "v"}
COMMANDS = {
    "transit": c.Transit(S, "f", NOTES),
    "park": c.Park(S, NOTES),
    "execute": c.Execute(S),
    "delay": c.DelayCommand(S, "f", datetime.fromtimestamp(345, UTC), NOTES),
    "commit": c.commit(c.Park(S), c.Stack(C, S, "p"), c.Transit(C, "f")),
    "noop": c.Noop(),
    "stack": c.Stack(C, S, "p"),
    "unstack": c.Unstack(C, S, "p"),
    "store data": c.StoreData(S, "d"),
    "get data": c.GetData(S, "d"),
    "get state by id": c.GetStateByID(StateCtx(""), "s", 3),
    "get state by labels": c.GetStateByLabels(StateCtx(""), {"l": "2"}),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_the_bytes_of_the_origin(name):
    assert command_message(COMMANDS[name], 0).SerializeToString(deterministic=True).hex() == HEX[name][1]


@given(ctxs())
def test_a_state_goes_to_the_host_as_it_is(ctx):
    if ctx.id:
        assert parts(call_of(call_bytes(ctx))) == parts(ctx)


def test_a_call_without_an_id_is_refused():
    with pytest.raises(BadMessage, match="id is empty"):
        call_of(call_bytes(StateCtx("")))


@pytest.mark.parametrize("raw", [b"\x0a\xff", b"\x08", b"not a message at all"])
def test_a_body_that_is_no_message_is_refused(raw):
    with pytest.raises(BadMessage):
        call_of(raw)
    with pytest.raises(BadMessage):
        answered_command(raw, StateCtx("s"))


def test_data_that_is_no_text_is_refused_unless_it_is_marked():
    ctx = StateCtx("s", datas={"d": Data(b"\xff")})
    with pytest.raises(StepflowError, match="binary=True"):
        call_bytes(ctx)
    ctx.datas["d"].annotations["binary"] = "true"
    assert call_of(call_bytes(ctx)).datas["d"].blob == b"\xff"


def called(rev=7):
    """The caller's copy of a State, and the host's copy of it."""
    ctx = StateCtx.of(State("s", rev, Transition("f", {"t": "3"}), {"l": "1"}, {"a": "1"}, 5000))
    return ctx, call_of(call_bytes(ctx))


def answered(command, ctx):
    return answered_command(answer_bytes(command, 0), ctx)


def test_the_edits_of_the_function_are_those_of_the_caller_s_copy():
    ctx, theirs = called()
    theirs.labels["l"], theirs.annotations["b"] = "2", "2"
    theirs.set_data("d", "hello")
    theirs.move("g", {"via": "memory"})
    command = answered(c.commit(c.StoreData(theirs, "d"), c.Transit(theirs, "h", NOTES)), ctx)
    store, transit = command.commands
    assert store.ctx is transit.ctx is ctx
    assert (transit.to, dict(transit.annotations), ctx.labels, ctx.annotations) == (
        "h",
        NOTES,
        {"l": "2"},
        {"a": "1", "b": "2"},
    )
    assert ctx.data("d").blob == b"hello"
    assert [t.to for t in [*ctx.transitions, ctx.transition]] == ["f", "g"]


def test_what_an_answer_says_of_the_committed_state_is_not_taken():
    ctx, theirs = called()
    before = ctx.committed
    theirs.committed, theirs.rev = State("s", 99, Transition("x", {}), {}, {}, 1), 99
    assert answered(c.Park(theirs), ctx).ctx is ctx
    assert (ctx.committed, ctx.rev, ctx.committed_at) == (before, 7, 5000)


def test_other_states_of_an_answer_are_what_they_are():
    ctx, theirs = called()
    fork = theirs.fork("t")
    park, transit = answered(c.commit(c.Park(theirs), c.Transit(fork, "g")), ctx).commands
    assert park.ctx is ctx
    assert (transit.ctx.id, transit.ctx.rev, transit.ctx.committed) == ("t", 0, State(""))


@pytest.mark.parametrize(
    ("when", "seconds"),
    [(timedelta(seconds=1.5), 12), (0.2, 11), (datetime.fromtimestamp(20.5, UTC), 21), (timedelta(0), 10)],
)
def test_a_delay_is_never_early(when, seconds):
    ctx, theirs = called()
    delay = answered_command(answer_bytes(c.DelayCommand(theirs, "g", when, commit=False), 10_000_000), ctx)
    assert (delay.ctx, delay.to, delay.when, delay.commit) == (ctx, "g", datetime.fromtimestamp(seconds, UTC), False)


REFUSED = {
    "nothing": pb.Command(),
    "a query": pb.Command(get_states=pb.GetStatesCommand(limit=1)),
    "data alone": pb.Command(state_ctxs=[pb.StateCtx()], get_data=pb.GetDataCommand(alias="d")),
    "a place that is not there": pb.Command(transit=pb.TransitCommand(to="f")),
    "no flow": pb.Command(state_ctxs=[pb.StateCtx()], transit=pb.TransitCommand()),
    "an empty commit": pb.Command(commit=pb.CommitCommand()),
    "a commit in a commit": pb.Command(commit=pb.CommitCommand(commands=[pb.Command(commit=pb.CommitCommand())])),
    "a time beyond the calendar": pb.Command(
        state_ctxs=[pb.StateCtx()], delay=pb.DelayCommand(to="f", execute_at_sec=2**62)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_answer_that_no_function_can_give_is_refused(name):
    with pytest.raises(BadMessage):
        answered_command(REFUSED[name].SerializeToString(), StateCtx("s"))


@given(st.sampled_from(sorted(HEX)), st.data())
def test_a_damaged_answer_is_refused_or_is_another_command(name, data):
    raw = bytearray(bytes.fromhex(HEX[name][1]))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        command = answered_command(bytes(raw), StateCtx("s"))
    except BadMessage:
        return
    assert isinstance(command, c.Transit | c.Park | c.Execute | c.DelayCommand | c.CommitCommand | c.Noop)
