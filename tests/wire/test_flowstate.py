"""flowstate.v1 messages: the bytes and texts of the origin, the model's values behind them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data
from stepflow.model.stacked import encode_ctx, stack_text
from stepflow.model.state import State, Transition
from stepflow.wire import flowstate_json
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flowstate_commands import keep_first, kind_of
from stepflow.wire.flowstate_json import BadMessage
from stepflow.wire.flowstate_values import complete, ctx_of, put_ctx
from tests.wire.vectors import HEX, JSON

PROTO = Path(pb.__file__).with_name("flowstate.proto")


@pytest.mark.parametrize("name", HEX)
def test_bytes_are_those_of_the_origin(name):
    kind, digits = HEX[name]
    assert kind.FromString(bytes.fromhex(digits)).SerializeToString(deterministic=True).hex() == digits


@pytest.mark.parametrize("name", JSON)
def test_texts_are_those_of_the_origin(name):
    kind, digits = HEX[name]
    assert flowstate_json.dump(kind.FromString(bytes.fromhex(digits))).decode() == JSON[name]


@pytest.mark.parametrize("name", HEX)
def test_json_says_the_same_as_bytes(name):
    kind, digits = HEX[name]
    message = kind.FromString(bytes.fromhex(digits))
    read = kind()
    flowstate_json.load(flowstate_json.dump(message), read)
    for item in [read] if kind is pb.StateCtx else read.state_ctxs if kind is pb.Command else ():
        complete(item)
    assert read == message


def test_the_generated_module_is_that_of_the_proto_file(tmp_path):
    from grpc_tools import protoc

    out = tmp_path / "set"
    root = PROTO.parents[2]
    name = PROTO.relative_to(root).as_posix()
    assert protoc.main(["protoc", f"-I{root}", f"--descriptor_set_out={out}", str(PROTO)]) == 0
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    generated = descriptor_pb2.FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    assert (compiled.name, bare(compiled.message_type)) == (name, bare(generated.message_type))
    assert compiled.service == generated.service


def bare(messages):
    """The messages without the JSON names, which only one of the compilers writes."""
    for message in messages:
        bare(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
    return list(messages)


TEXTS = st.sampled_from(["", "a", "\x00", "\u20ac", "\U0001f600", "x" * 200])
NOTES = st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3)
TRANSITIONS = st.builds(Transition, TEXTS, NOTES)
STATES = st.builds(
    State,
    TEXTS,
    st.integers(0, 2**63 - 1),
    TRANSITIONS,
    NOTES,
    NOTES,
    st.integers(0, 2**42).map((1000).__mul__),
)
DATAS = st.builds(lambda blob, rev: Data(blob, rev, {"binary": "true"}), st.binary(max_size=5), st.integers(0, 9))


@st.composite
def ctxs(draw):
    ctx = StateCtx.of(draw(STATES))
    committed = draw(STATES)
    ctx.committed = committed if committed.rev else State("")
    ctx.transitions, ctx.datas = (
        draw(st.lists(TRANSITIONS, max_size=2)),
        draw(st.dictionaries(TEXTS, DATAS, max_size=2)),
    )
    return ctx


def parts(ctx):
    datas = {alias: (data.blob, data.rev, data.annotations) for alias, data in ctx.datas.items()}
    return ctx.current, ctx.committed, ctx.transitions, datas


@given(ctxs())
def test_working_copies_come_back(ctx):
    message = pb.StateCtx()
    put_ctx(ctx, message)
    assert parts(ctx_of(message)) == parts(ctx)
    read = pb.StateCtx()
    flowstate_json.load(flowstate_json.dump(message), read)
    assert parts(ctx_of(read)) == parts(ctx)


@given(ctxs())
def test_a_stacked_state_is_the_same_message(ctx):
    message = pb.StateCtx()
    put_ctx(ctx, message)
    assert pb.StateCtx.FromString(encode_ctx(ctx)) == message


def test_a_stacked_state_has_the_text_of_the_origin():
    assert stack_text(StateCtx("s", rev=1)) == "CgIyABIHCgFzEAEyAA=="


def load(text, kind=pb.Command):
    message = kind()
    flowstate_json.load(text.encode(), message)
    return message


SPELLINGS = {
    "names in any case": '{"GETSTATES":{"SinceRev":"5"}}',
    "the name of protobuf": '{"getStates":{"sinceRev":"5","sinceTimeUsec":"0"}}',
    "null is absent": '{"getStates":{"sinceRev":"5","limit":null,"labels":null}}',
    "unknown fields": '{"getStates":{"sinceRev":"5","what":[1]},"more":1}',
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_that_mean_the_same(text):
    assert load(text) == pb.Command(get_states=pb.GetStatesCommand(since_rev=5))


def test_labels_as_plain_maps_and_as_messages():
    plain = load('{"getStates":{"labels":[{"a":"1"}]}}')
    assert plain == load('{"getStates":{"labels":[{"labels":{"a":"1"}}]}}')
    assert dict(plain.get_states.labels[0].labels) == {"a": "1"}
    assert dict(load('{"getStates":{"labels":[{"labels":"1"}]}}').get_states.labels[0].labels) == {"labels": "1"}


def test_transit_to_and_flow_id():
    assert load('{"transit":{"to":"f"}}') == load('{"transit":{"flowId":"f"}}') == pb.Command(transit={"to": "f"})


def test_of_several_commands_the_first_counts():
    message = load('{"noop":{},"park":{},"transit":{}}')
    assert kind_of(message) == "transit"
    raw = bytes.fromhex("5200" + "3200" + "1a00")
    message = pb.Command.FromString(raw)
    keep_first(message, raw)
    assert message == pb.Command(noop={})


REFUSED = {
    "a number that is no text": ('{"getStates":{"sinceRev":5}}', "getStates.sinceRev: 5 is not a number as text"),
    "no number": ('{"getStates":{"limit":"x"}}', "getStates.limit: 'x' is no number"),
    "no 64-bit number": ('{"getStates":{"limit":"9223372036854775808"}}', "is no 64-bit number"),
    "no object": ("[]", "the body: .* is not an object"),
    "no JSON": ("{", "the body is no JSON"),
    "a flag that is a text": (
        '{"getStates":{"latestOnly":"true"}}',
        "getStates.latestOnly: 'true' is not true or false",
    ),
    "an empty key": ('{"getStateByLabels":{"labels":{"":"x"}}}', "a key is empty"),
    "a label that is no text": ('{"getStateByLabels":{"labels":{"a":1}}}', "labels.a: 1 is not a text"),
    "half a pair": ('{"getStateByID":{"id":"\\ud800"}}', "half of a surrogate pair"),
    "deep": ('{"commit":{"commands":[' * 9 + "{}" + "]}}" * 9, "nested too deeply"),
    "a list that is an object": ('{"stateCtxs":{}}', "stateCtxs: {} is not a list"),
}


@pytest.mark.parametrize(("text", "match"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_message_is_refused(text, match):
    with pytest.raises(BadMessage, match=match):
        load(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from([*JSON, "stateCtxs", "current", "commit", "commands", "labels", "datas", "idx"])
                | st.text(),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_a_message_or_refused(value):
    message = pb.Command()
    try:
        flowstate_json.load(json.dumps(value).encode(), message)
    except BadMessage:
        return
    again = pb.Command()
    flowstate_json.load(flowstate_json.dump(message), again)
    assert flowstate_json.dump(again) == flowstate_json.dump(message)
