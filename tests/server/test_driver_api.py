"""flowstate.v1.Driver over HTTP: what the origin answers is what this server answers."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.wire import flowstate_pb2 as pb
from tests.server.conftest import calling
from tests.wire.vectors import HEX

pytestmark = pytest.mark.anyio

ORDER = {"id": "order-1", "labels": {"type": "order"}, "annotations": {"k": "v"}}
CREATE = {
    "stateCtxs": [{"current": ORDER}],
    "commit": {
        "commands": [{"transit": {"stateRef": {"idx": "0"}, "flowId": "charge", "annotations": {"why": "new"}}}]
    },
}
REF = {"idx": "0"}


def by_id(run_id, rev="0"):
    return {"stateCtxs": [{}], "getStateByID": {"id": run_id, "rev": rev, "stateRef": REF}}


async def test_a_commit_answers_with_the_states_and_the_command(server, store):
    async with server(store) as caller:
        answer = await caller.post("Driver/Commit", CREATE)
        (ctx,) = answer["stateCtxs"]
        at = ctx["current"]["committedAtUnixMilli"]
        state = {
            **ORDER,
            "rev": "1",
            "committedAtUnixMilli": at,
            "transition": {"to": "charge", "annotations": {"why": "new"}},
        }
        assert answer == {"stateCtxs": [{"current": state, "committed": state}], "commit": CREATE["commit"]}
        again = await caller.post("Driver/Commit", CREATE, status=409)
        assert again == {"code": "aborted", "message": "rev mismatch: order-1"}
        found = await caller.post("Driver/GetStateByID", by_id("order-1"))
        assert found["stateCtxs"] == [{"current": state, "committed": state}]
        states = await caller.post("Driver/GetStates", {"getStates": {"limit": "10", "labels": [{"type": "order"}]}})
        assert states["getStates"]["result"] == {"states": [state]}
        labels = {"stateCtxs": [{}], "getStateByLabels": {"labels": {"type": "order"}, "stateRef": REF}}
        assert (await caller.post("Driver/GetStateByLabels", labels))["stateCtxs"] == found["stateCtxs"]


async def test_namespaces_have_states_and_numbers_of_their_own(server, store):
    async with server(store) as caller:
        for namespace in ("", "a", "b.c-d_1"):
            await caller.post("Driver/Commit", CREATE, namespace=namespace)
            data = {
                "stateCtxs": [{"datas": {"d": {"blob": "x"}}, "current": {"id": "order-1"}}],
                "storeData": {"stateRef": REF, "alias": "d"},
            }
            stored = await caller.post("Driver/StoreData", data, namespace=namespace)
            assert stored["stateCtxs"][0]["datas"]["d"]["rev"] == "1"
        wrong = await caller.post("Driver/Commit", CREATE, namespace="-a", status=400)
        assert "namespace '-a': use letters" in wrong["message"]


async def test_a_stack_sees_the_revision_of_the_park_before_it(server, store):
    """A caller parks, its State is stacked into another one, and goes on from there: all with one list of States."""
    async with server(store) as caller:
        body = {
            "stateCtxs": [
                {"current": {"id": "s"}},
                {"current": {"id": "c"}},
                {"current": {"id": "s"}},
                {"current": {"id": "c"}},
            ],
            "commit": {
                "commands": [
                    {"park": {"stateRef": {"idx": "0"}}},
                    {"stack": {"stackedStateRef": {"idx": "0"}, "carrierStateRef": {"idx": "1"}, "annotation": "p"}},
                    {"transit": {"stateRef": {"idx": "1"}, "flowId": "f"}},
                ]
            },
        }
        first, second, third, fourth = (await caller.post("Driver/Commit", body))["stateCtxs"]
        assert (first, second) == (third, fourth)
        assert (first["committed"]["rev"], second["committed"]["rev"]) == ("1", "2")
        unstack = {
            "stateCtxs": [second, {}],
            "commit": {
                "commands": [
                    {"unstack": {"carrierStateRef": {"idx": "0"}, "unstackStateRef": {"idx": "1"}, "annotation": "p"}},
                    {"transit": {"stateRef": {"idx": "1"}, "flowId": "resumed"}},
                    {"park": {"stateRef": {"idx": "0"}}},
                ]
            },
        }
        carrier, resumed = (await caller.post("Driver/Commit", unstack))["stateCtxs"]
        assert resumed["committed"]["id"] == "s"
        assert resumed["committed"]["rev"] == "3"
        assert carrier["committed"]["annotations"] == {"p": ""}


async def test_pages_of_revisions(server, store):
    async with server(store) as caller:
        ctx = {"current": {"id": "a"}}
        for _ in range(3):
            park = {"stateCtxs": [ctx], "commit": {"commands": [{"park": {"stateRef": REF}}]}}
            ctx = (await caller.post("Driver/Commit", park))["stateCtxs"][0]

        async def revs(**query):
            result = (await caller.post("Driver/GetStates", {"getStates": query}))["getStates"]["result"]
            return [state["rev"] for state in result["states"]], result.get("more", False)

        assert await revs() == (["1", "2", "3"], False)  # a limit that is missing is 50
        assert await revs(limit="2") == (["1", "2"], True)
        assert await revs(sinceRev="2") == (["3"], False)
        assert await revs(sinceRev="99") == ([], False)
        assert await revs(sinceRev="-1") == (["3"], False)
        assert await revs(latestOnly=True) == (["3"], False)
        at = int(ctx["committed"]["committedAtUnixMilli"])
        assert await revs(sinceTime_usec=str(at - 60_000)) == (["1", "2", "3"], False)
        assert await revs(sinceTime_usec=str(at + 60_000)) == ([], False)


async def test_delays(server, store):
    async with server(store) as caller:
        for due in ("1700000003", "1700000001", "1700000002"):
            body = {
                "stateCtxs": [{"current": {"id": "order-1"}}],
                "delay": {"stateRef": REF, "executeAtSec": due, "to": "remind", "commit": True},
            }
            answer = await caller.post("Driver/Delay", body)
        notes = {"flowstate.delay.until": "2023-11-14T22:13:22Z"}
        state = {"id": "order-1", "transition": {"to": "remind", "annotations": notes}}
        assert answer["delay"]["result"] == {"state": state, "executeAtSec": "1700000002"}
        query = {"sinceTimeSec": "1700000001", "untilTimeSec": "1800000000", "limit": "1"}
        found = await caller.post("Driver/GetDelayedStates", {"getDelayedStates": query})
        assert found["getDelayedStates"]["Result"] == {
            "delayedStates": [{"state": state, "offset": "3", "executeAtSec": "1700000002"}],
            "more": True,
        }


async def test_data_of_any_bytes(server, store):
    async with server(store) as caller:
        blob = {"blob": "AAEC/w==", "annotations": {"binary": "true"}}
        body = {
            "stateCtxs": [{"current": {"id": "order-1"}, "datas": {"bin": blob}}],
            "storeData": {"stateRef": REF, "alias": "bin"},
        }
        data = (await caller.post("Driver/StoreData", body))["stateCtxs"][0]["datas"]["bin"]
        assert data["rev"] == "1"
        assert data["annotations"] == {"binary": "true", "checksum/xxhash64": "15097424699235698920"}
        assert (await caller.post("Driver/StoreData", body))["stateCtxs"][0]["datas"]["bin"]["rev"] == "2"
        ctx = {"current": {"id": "order-1", "annotations": {"flowstate.data.bin": "1"}}}
        loaded = await caller.post("Driver/GetData", {"stateCtxs": [ctx], "getData": {"stateRef": {}, "alias": "bin"}})
        assert loaded["stateCtxs"][0]["datas"]["bin"] == data


COMMIT = "*flowstate.CommitCommand"
REFUSED = {
    "no id": ("GetStateByID", by_id(""), 400, "id is empty"),
    "a negative revision": ("GetStateByID", by_id("a", "-1"), 400, "rev must be >= 0"),
    "not there": ("GetStateByID", by_id("nope"), 404, "state not found; id=nope"),
    "another command": ("Commit", {"noop": {}}, 400, f"expected {COMMIT}; got: *flowstate.NoopCommand"),
    "no command": ("Commit", {}, 400, "failed to unmarshal JSON command: unsupported command given"),
    "an execute inside": (
        "Commit",
        {"stateCtxs": [{}], "commit": {"commands": [{"execute": {"stateRef": REF}}]}},
        400,
        "*flowstate.ExecuteCommand: do: execute command not allowed inside commit",
    ),
    "a commit inside": (
        "Commit",
        {"commit": {"commands": [{"commit": {}}]}},
        400,
        "*flowstate.CommitCommand: do: commit command not allowed inside another commit",
    ),
    "nothing inside": ("Commit", {"commit": {"commands": [{}]}}, 400, "contains something that is no command"),
    "a State without id": (
        "Commit",
        {"stateCtxs": [{}], "commit": {"commands": [{"park": {"stateRef": REF}}]}},
        400,
        "state id empty",
    ),
    "no State": (
        "Commit",
        {"commit": {"commands": [{"park": {"stateRef": {"idx": "1"}}}]}},
        400,
        "refers to State 1, and 0 are listed",
    ),
    "a State before the first": (
        "Commit",
        {"commit": {"commands": [{"park": {"stateRef": {"idx": "-1"}}}]}},
        400,
        "refers to State -1",
    ),
    "a transit to nothing": (
        "Commit",
        {"stateCtxs": [{"current": ORDER}], "commit": {"commands": [{"transit": {"stateRef": REF}}]}},
        400,
        "*flowstate.TransitCommand: do: flow id empty",
    ),
    "twice in one commit": (
        "Commit",
        {"stateCtxs": [{"current": ORDER}], "commit": {"commands": [{"park": {"stateRef": REF}}] * 2}},
        409,
        "rev mismatch: order-1",
    ),
    "a delay to nothing": (
        "Delay",
        {"stateCtxs": [{"current": ORDER}], "delay": {"stateRef": REF}},
        400,
        "flow id empty",
    ),
    "a delay too far": (
        "Delay",
        {
            "stateCtxs": [{"current": ORDER}],
            "delay": {"stateRef": REF, "to": "f", "executeAtSec": "9223372036854775807"},
        },
        400,
        "execute_at_sec: 9223372036854775807 is out of range",
    ),
    "no data reference": (
        "GetData",
        {"stateCtxs": [{"current": ORDER}], "getData": {"stateRef": REF, "alias": "cfg"}},
        400,
        'annotation "flowstate.data.cfg" is not set',
    ),
    "no such time in milliseconds": (
        "GetStates",
        {"getStates": {"sinceTimeUsec": "9223372036854775807"}},
        400,
        "since_time_usec: 9223372036854775807 is out of range",
    ),
    "no such data": (
        "GetData",
        {
            "stateCtxs": [{"current": {"id": "a", "annotations": {"flowstate.data.cfg": "7"}}}],
            "getData": {"stateRef": REF, "alias": "cfg"},
        },
        404,
        "data not found",
    ),
    "no base64": (
        "StoreData",
        {
            "stateCtxs": [{"datas": {"d": {"blob": "?", "annotations": {"binary": "true"}}}}],
            "storeData": {"stateRef": REF, "alias": "d"},
        },
        400,
        "data 'd': the blob of binary data is no base64",
    ),
    "data that is not there": (
        "StoreData",
        {"stateCtxs": [{}], "storeData": {"stateRef": REF, "alias": "d"}},
        400,
        "is not loaded",
    ),
    "a reserved label": (
        "Commit",
        {
            "stateCtxs": [{"current": {"id": "a", "labels": {"stepflow.x": "1"}}}],
            "commit": {"commands": [{"park": {"stateRef": REF}}]},
        },
        400,
        "names that begin with 'stepflow.' are given by stepflow",
    ),
}


@pytest.mark.parametrize(("method", "body", "status", "message"), REFUSED.values(), ids=REFUSED)
async def test_bad_requests(server, method, body, status, message):
    async with server("memory://") as caller:
        answer = await caller.post(f"Driver/{method}", body, status=status)
        assert message in answer["message"]
        assert (await caller.post("Driver/GetStates", {"getStates": {}}))["getStates"]["result"] == {"states": []}


async def test_a_commit_of_nothing(server, store):
    async with server(store) as caller:
        assert await caller.post("Driver/Commit", {"commit": {}}) == {"commit": {}}


async def test_bytes_without_a_content_type(server, store):
    async with server(store) as caller:
        message = pb.Command(state_ctxs=[pb.StateCtx(current=pb.State(id="a"))])
        message.commit.commands.add().park.state_ref.idx = 0
        answer = await caller.client.post("/flowstate.v1.Driver/Commit", content=message.SerializeToString())
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/proto")
        done = pb.Command.FromString(answer.content)
        assert done.state_ctxs[0].committed.rev == 1
        assert done.commit.commands[0].park.state_ref.HasField("idx")
        answer = await caller.client.post("/flowstate.v1.Driver/Commit", content=message.SerializeToString())
        assert answer.status_code == 409
        assert pb.Error.FromString(answer.content) == pb.Error(code="aborted", message="rev mismatch: a")
        for content in (b"", b"\xff\xff"):
            answer = await caller.client.post("/flowstate.v1.Driver/Commit", content=content)
            assert (answer.status_code, pb.Error.FromString(answer.content).code) == (400, "invalid_argument")


METHODS = (
    "GetStateByID",
    "GetStateByLabels",
    "GetStates",
    "GetDelayedStates",
    "Delay",
    "Commit",
    "GetData",
    "StoreData",
)
COMMANDS = [bytes.fromhex(digits) for kind, digits in HEX.values() if kind is pb.Command]


@st.composite
def mutated(draw):
    """The bytes of a command with some of them replaced, removed or doubled."""
    raw = bytearray(draw(st.sampled_from(COMMANDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(raw)


@settings(max_examples=150)
@given(method=st.sampled_from(METHODS), raw=mutated() | st.binary(max_size=20))
def test_any_bytes_get_an_answer(method, raw):
    async def send():
        async with calling("memory://") as caller:
            answer = await caller.client.post(f"/flowstate.v1.Driver/{method}", content=raw)
            assert answer.status_code in (200, 400, 404, 409), (answer.status_code, answer.content)
            kind = pb.Command if answer.status_code == 200 else pb.Error
            kind.FromString(answer.content)

    asyncio.run(send())


async def test_a_body_that_is_too_large(server, monkeypatch):
    monkeypatch.setattr("stepflow.server.body.MAX_BODY", 1000)
    async with server("memory://") as caller:
        answer = await caller.post("Driver/Commit", {"x": "x" * 1000}, status=413)
        assert answer == {"code": "resource_exhausted", "message": "the body has more than 1,000 bytes"}


async def test_other_methods_and_paths(server):
    async with server("memory://") as caller:
        assert (await caller.client.get("/flowstate.v1.Driver/Commit")).status_code == 405
        assert (await caller.client.post("/flowstate.v1.Driver/Nothing")).status_code == 404
        assert (await caller.client.get("/healthz")).text == "ok\n"
        assert json.loads((await caller.client.get("/readyz")).text) == {"ready": True}


async def test_a_body_that_does_not_come(server, monkeypatch):
    monkeypatch.setattr("stepflow.server.body.LIMIT_S", 0.05)

    async def slow():
        yield b"{"
        await asyncio.Event().wait()

    async with server("memory://") as caller:
        answer = await caller.client.post("/flowstate.v1.Driver/Commit", content=slow())
        assert answer.status_code == 408
