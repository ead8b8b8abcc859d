"""States as flowstate.v1 messages: encoded byte for byte like other implementations, and decoded."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow import State, StateCtx, Transition
from stepflow.errors import CodecError
from stepflow.model.data import Data
from stepflow.model.stacked import decode_ctx, decode_state, encode_ctx, encode_state, stack_text, unstack_text

STATE = State("s", 123, Transition("f", {"t": "3"}), {"l": "2"}, {"a": "1"}, 567_000)
STATE_HEX = "0a0173107b1a060a016112013122060a016c12013228b704320b1201661a060a0174120133"
CTX_HEX = (
    "0a070a01731001320012070a0173100232001a03120178221d0a01621218100822044150383d2a0e0a0662696e617279120474727565"
    "220b0a01641206100722026869"
)


def context() -> StateCtx:
    ctx = StateCtx.of(State("s", 1))
    ctx.rev, ctx.transitions = 2, [Transition("x")]
    ctx.datas = {"d": Data(b"hi", 7), "b": Data(b"\x00\xff", 8, {"binary": "true"})}
    return ctx


def same(a: StateCtx, b: StateCtx) -> bool:
    return (a.current, a.committed, a.transitions, a.datas) == (b.current, b.committed, b.transitions, b.datas)


def test_golden_state():
    assert encode_state(STATE).hex() == STATE_HEX
    assert decode_state(bytes.fromhex(STATE_HEX)) == STATE


def test_golden_context_with_data():
    assert encode_ctx(context()).hex() == CTX_HEX
    assert same(decode_ctx(bytes.fromhex(CTX_HEX)), context())


def test_golden_data():
    ctx = StateCtx("s")
    ctx.datas["x"] = Data(b"\x00\x01\xff", 3, {"binary": "true"})
    assert "100322044141482f2a0e0a0662696e617279120474727565" in encode_ctx(ctx).hex()


def test_golden_stack():
    ctx = StateCtx("s")
    ctx.rev = 1
    assert stack_text(ctx) == "CgIyABIHCgFzEAEyAA=="
    assert same(unstack_text("CgIyABIHCgFzEAEyAA=="), ctx)


texts = st.text(max_size=5)
maps = st.dictionaries(texts, texts, max_size=3)
transitions = st.builds(Transition, texts, maps)
millis = st.integers(0, 1 << 40).map(lambda ms: ms * 1000)
states = st.builds(State, texts, st.integers(-1, (1 << 63) - 1), transitions, maps, maps, millis)
datas = st.builds(Data, st.binary(max_size=9), st.integers(0, 99), st.sampled_from([{}, {"binary": "true"}]))


@given(states, states, st.lists(transitions, max_size=3), st.dictionaries(texts, datas, max_size=3))
def test_any_context_comes_back(current, committed, left, kept):
    ctx = StateCtx.of(current)
    ctx.committed, ctx.transitions, ctx.datas = committed, left, kept
    assert same(unstack_text(stack_text(ctx)), ctx)


@given(st.binary(max_size=40))
def test_garbage_is_a_codec_error(raw):
    with suppress(CodecError):
        unstack_text(base64.b64encode(raw).decode())


@pytest.mark.parametrize("text", ["?", "CgIyAA", "AA==", "CgX/"])
def test_invalid_messages_are_refused(text):
    with pytest.raises(CodecError, match="is not a stacked State"):
        unstack_text(text)


def test_fields_that_are_not_known_are_skipped():
    assert decode_state(bytes.fromhex(STATE_HEX + "7801" + "7a0161")) == STATE
