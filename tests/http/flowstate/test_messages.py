"""What the client side sends and reads, against the bytes of the origin's encoders, and against the messages of `stepflow.wire`."""

from __future__ import annotations

import pytest

from stepflow.drivers.http.flowstate import messages as m
from stepflow.drivers.port.delays import Delay
from stepflow.model.ctx import StateCtx
from stepflow.model.stacked import decode_ctx
from stepflow.model.state import PARKED, State, Transition
from stepflow.wire import flowstate_pb2 as pb
from tests.wire.vectors import HEX

S, C, EMPTY = StateCtx("s", rev=1), StateCtx("c"), StateCtx("")
SENT = {
    "transit": m.message([S], m.transit(0, "f", {"k": "v"})),
    "park": m.message([S], m.park(0, {"k": "v"})),
    "delay": m.message([S], m.delay(0, "f", 345, {"k": "v"}, commit=True)),
    "commit": m.message([S, C, S, C], m.commit([m.park(0, {}), m.stack(1, 0, "p"), m.transit(1, "f", {})])),
    "stack": m.message([C, S], m.stack(0, 1, "p")),
    "store data": m.message([S], m.store_data(0, "d")),
    "get data": m.message([S], m.get_data(0, "d")),
    "get state by id": m.message([EMPTY], m.get_by_id(0, "s", 3)),
    "get state by labels": m.message([EMPTY], m.get_by_labels(0, {"l": "2"})),
    "get states": m.get_states(5, 50, [{"l": "2"}, {"m": "3"}], since_ms=1234, latest_only=True),
    "get the newest": m.get_states(-1, 1),
    "get delayed states": m.get_delayed(10, 20, 4, 500),
}


@pytest.mark.parametrize("name", SENT)
def test_a_command_is_the_bytes_of_the_origin(name):
    assert SENT[name].hex() == HEX[name][1]


def test_a_commit_is_what_the_server_side_reads():
    found = pb.Command.FromString(SENT["commit"])
    assert [ctx.current.id for ctx in found.state_ctxs] == ["s", "c", "s", "c"]
    assert [part.ListFields()[0][0].name for part in found.commit.commands] == [
        "park", "stack", "transit",
    ]  # fmt: skip


def test_states_are_read():
    found = m.answer_of(bytes.fromhex(HEX["states"][1]))
    assert (found.states, found.more, found.answered) == ([State("s", 6, PARKED, {}, {}, 0)], True, True)
    nothing = m.answer_of(bytes.fromhex(HEX["get states"][1]))  # as sent: a result in which nothing is may be left out
    assert (nothing.states, nothing.more, nothing.answered) == ([], False, True)
    assert not m.answer_of(bytes.fromhex(HEX["noop"][1])).answered


def test_delays_are_read():
    (found,) = m.answer_of(bytes.fromhex(HEX["delayed states"][1])).delays
    assert found == Delay(State("s", 1, PARKED, {}, {}, 0), 345_000_000, True, 9)
    without = Transition("f", {"flowstate.delay.commit": "false"})
    raw = pb.Command()
    delayed = raw.get_delayed_states.result.delayed_states.add(offset=2, execute_at_sec=7)
    delayed.state.id, delayed.state.transition.to = "s", "f"
    delayed.state.transition.annotations.update(without.annotations)
    assert m.answer_of(raw.SerializeToString()).delays == [
        Delay(State("s", 0, without, {}, {}, 0), 7_000_000, False, 2)
    ]


def test_working_copies_are_read_with_their_data():
    raw = bytes.fromhex(HEX["ctx"][1])
    (ctx,) = m.answer_of(m.message([decode_ctx(raw)], b"")).ctxs
    assert (ctx.rev, ctx.committed.rev, ctx.transitions) == (2, 1, [Transition("x")])
    assert {alias: (data.rev, data.blob) for alias, data in ctx.datas.items()} == {"d": (7, b"hi"), "b": (8, b"\0\xff")}


@pytest.mark.parametrize("name", ["not found", "aborted"])
def test_errors_are_read(name):
    raw = bytes.fromhex(HEX[name][1])
    error = pb.Error.FromString(raw)
    assert m.error_of(raw) == (error.code, error.message)


@pytest.mark.parametrize("raw", [b"", b"404 page not found\n", b"\x12\x03abc", b"\x0a\xff"])
def test_what_is_no_error_is_told(raw):
    with pytest.raises((ValueError, IndexError)):
        m.error_of(raw)


@pytest.mark.parametrize("name", ["states", "delayed states", "commit"])
def test_an_answer_that_is_cut_off_is_no_answer(name):
    raw = bytes.fromhex(HEX[name][1])
    for size in range(len(raw)):
        try:
            found = m.answer_of(raw[:size])
        except (ValueError, IndexError):
            continue
        assert (found.states, found.delays) == ([], [])  # whole fields before the cut, and no result in them
