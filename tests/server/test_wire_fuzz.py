"""flowstate.v1 under fire: each method gets commands of its own kind with any content, and mutated ones, as bytes and as JSON.

Whatever comes, the answer is a message and never an error of the server; what was refused changed nothing, and the next good
request is answered as before.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from attrs import frozen
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stepflow import commit, flow, park
from stepflow.drivers.memory.driver import MemoryDriver
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.registry import driver_for
from stepflow.server.flowstate_api import METHODS
from stepflow.wire import flowstate_json
from stepflow.wire import flowstate_pb2 as pb
from tests.server.conftest import Caller, calling
from tests.wire.vectors import HEX

EXECUTE = "Execute"
FIELDS = {**{method: field for method, (field, _scope) in METHODS.items()}, EXECUTE: ""}
READS = {method for method, (_field, scope) in METHODS.items() if scope == "read"}
FORMATS = {"protobuf": "application/proto", "JSON": "application/json"}
GOOD = "9f86d081884c7d65"  # the id of a State that no example hits
STORED = "a"  # the id of one that they do
NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 50, 1000, 2**31, 2**53, 2**63 - 1, -(2**63)])
TEXTS = st.sampled_from(["", STORED, "b", "f", "l", "\x00", "€", "true", "binary", "x" * 300, "é" * 40])
KEYS = TEXTS.filter(bool)
BLOBS = st.sampled_from(["", "text", "AAH/", "====", "\x00"])
DEPTH = 4


@flow("f")
def parked(ctx):
    return commit(park(ctx))


def fields(kind: Descriptor, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """A message of this kind as the dict of its JSON form, with any of its fields."""
    if depth > DEPTH:
        return st.just({})
    return st.fixed_dictionaries({}, optional={one.json_name: values(one, depth) for one in kind.fields})


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Any value of a field; numbers that do not fit are for mutations."""
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return st.dictionaries(KEYS, values(entry.fields_by_name["value"], depth + 1), max_size=2)
    if entry is not None:
        one: st.SearchStrategy[Any] = fields(entry, depth + 1)
    elif field.type == FieldDescriptor.TYPE_STRING:
        one = BLOBS if field.name == "blob" else TEXTS
    elif field.type == FieldDescriptor.TYPE_BOOL:
        one = st.booleans()
    else:
        one = NUMBERS
    return st.lists(one, max_size=2) if field.is_repeated else one


def ref(place: int = 0) -> dict[str, str]:
    return {"idx": str(place)}


OLD = {"id": STORED, "rev": "1", "labels": {"l": "1"}, "transition": {"to": "f"}}
SEEDS: dict[str, Any] = {
    "GetStateByID": {"stateCtxs": [{}], "getStateByID": {"id": STORED, "stateRef": ref()}},
    "GetStateByLabels": {"stateCtxs": [{}], "getStateByLabels": {"labels": {"l": "1"}, "stateRef": ref()}},
    "GetStates": {"getStates": {"sinceRev": "0", "labels": [{"l": "1"}], "latestOnly": True, "limit": "1"}},
    "GetDelayedStates": {"getDelayedStates": {"untilTimeSec": "4000000000"}},
    "Delay": {
        "stateCtxs": [{"current": OLD, "committed": OLD}],
        "delay": {"stateRef": ref(), "executeAtSec": "4000000000", "to": "f"},
    },
    "Commit": {
        "stateCtxs": [{"current": OLD, "committed": OLD}, {"current": {"id": "b"}}],
        "commit": {
            "commands": [
                {"stack": {"stackedStateRef": ref(0), "carrierStateRef": ref(1), "annotation": "p"}},
                {"transit": {"stateRef": ref(0), "flowId": "f", "annotations": {"k": "v"}}},
                {"park": {"stateRef": ref(1)}},
            ]
        },
    },
    "GetData": {
        "stateCtxs": [{"current": {**OLD, "annotations": {"flowstate.data.d": "1"}}}],
        "getData": {"stateRef": ref(), "alias": "d"},
    },
    "StoreData": {
        "stateCtxs": [{"current": OLD, "datas": {"d": {"blob": "AAH/", "annotations": {"binary": "true"}}}}],
        "storeData": {"stateRef": ref(), "alias": "d"},
    },
    EXECUTE: {"current": {"id": "x", "transition": {"to": "f"}}},
}
"""Requests that are taken, as the start of mutations: most of what a message may have, they have."""


def seed(method: str) -> Any:
    message = pb.StateCtx() if method == EXECUTE else pb.Command()
    flowstate_json.load(json.dumps(SEEDS[method]).encode(), message)
    return message


STATES = st.lists(
    fields(pb.StateCtx.DESCRIPTOR)
    | st.just({"current": {"id": STORED, "rev": 1}, "committed": {"id": STORED, "rev": 1}}),
    min_size=1,
    max_size=2,
)
"""Those of a command: indexes of it often exist, and one is often stored."""


def commands(method: str) -> st.SearchStrategy[Any]:
    """Messages that the method takes, as far as their kind says."""
    if method == EXECUTE:
        transition = st.fixed_dictionaries({"to": st.sampled_from(["f", "", "g"])})
        current = st.fixed_dictionaries({"id": TEXTS, "rev": NUMBERS, "transition": transition})
        plain = st.fixed_dictionaries({"current": current}) | fields(pb.StateCtx.DESCRIPTOR)
        return plain.map(lambda one: json_format.ParseDict(one, pb.StateCtx()))
    own = fields(pb.Command.DESCRIPTOR.fields_by_name[FIELDS[method]].message_type, 1)
    name = pb.Command.DESCRIPTOR.fields_by_name[FIELDS[method]].json_name
    whole = st.fixed_dictionaries({"stateCtxs": STATES, name: own})
    return whole.map(lambda one: json_format.ParseDict(one, pb.Command()))


def vectors(method: str) -> list[Any]:
    """The messages of the origin of the kind that the method takes."""
    if method == EXECUTE:
        return [kind.FromString(bytes.fromhex(digits)) for kind, digits in HEX.values() if kind is pb.StateCtx]
    found = [kind.FromString(bytes.fromhex(digits)) for kind, digits in HEX.values() if kind is pb.Command]
    return [one for one in found if one.HasField(FIELDS[method])]


@st.composite
def bodies(draw: st.DrawFn, method: str, form: str) -> bytes:
    """A body of a request: a message of the method, a vector, either of them mutated, or noise."""
    message = draw(commands(method) | st.sampled_from(vectors(method)) | st.just(seed(method)))
    raw = flowstate_json.dump(message) if form == "JSON" else message.SerializeToString(deterministic=True)
    match draw(st.sampled_from(["whole", "whole", "bytes", "value", "other form", "noise"])):
        case "bytes":
            return mutated_bytes(draw, raw)
        case "value" if form == "JSON":
            return json.dumps(mutated_value(draw, json.loads(raw))).encode()
        case "other form":
            return message.SerializeToString() if form == "JSON" else flowstate_json.dump(message)
        case "noise":
            return draw(st.binary(max_size=30))
    return raw


def mutated_bytes(draw: st.DrawFn, raw: bytes) -> bytes:
    """Some bytes replaced, removed, doubled or cut off."""
    text = bytearray(raw)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = at + draw(st.integers(0, 3))
        text[at:end] = draw(st.sampled_from([b"", bytes(text[at:end]) * 2]) | st.binary(min_size=1, max_size=3))
    return bytes(text[: draw(st.integers(0, len(text)))]) if draw(st.booleans()) else bytes(text)


ODD = st.sampled_from([None, True, 0, 5, -1, 1.5, "x", "", [], {}, [{}], {"a": 1}, "9" * 30, [[]], "\ud800"])


def mutated_value(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one value, at any depth, replaced by an odd one."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: mutated_value(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], mutated_value(draw, value[place]), *value[place + 1 :]]
    return draw(ODD)


@frozen
class Watched:
    """A server, and a session of the same store that looks at what requests did to it."""

    caller: Caller
    store: Store

    def snapshot(self) -> Any:
        """The head, all revisions, all delays, and all data up to a bit behind the head."""
        head = self.store.next_due({}, 0).head
        revisions = self.store.read(HistoryQuery(limit=1000))
        delays = self.store.read(DelayQuery(until=2**62, limit=1000))
        data = [self.store.read(DataQuery(rev)) for rev in range(1, head + 10)]
        return head, [one.state for one in revisions], delays, data

    async def send(self, method: str, form: str, raw: bytes) -> int:
        """The status of the answer, which is a message in any case."""
        service = "Flow" if method == EXECUTE else "Driver"
        headers = {"content-type": FORMATS[form]}
        answer = await self.caller.client.post(f"/flowstate.v1.{service}/{method}", content=raw, headers=headers)
        assert answer.status_code < 500, (answer.status_code, answer.text)
        kind = pb.Command if answer.status_code == 200 else pb.Error
        message: Any = kind()
        if form == "JSON":
            flowstate_json.load(answer.content, message)
        else:
            message.ParseFromString(answer.content)
        if answer.status_code != 200:
            assert message.code
            assert message.message
        return int(answer.status_code)

    async def good(self) -> Any:
        """The answer to a request that has to work at any time."""
        return await self.caller.post(
            "Driver/GetStateByID", {"stateCtxs": [{}], "getStateByID": {"id": GOOD, "stateRef": {"idx": "0"}}}
        )

    async def create(self, *ids: str) -> None:
        """Commit new States, and a datum of the first."""
        states = [{"current": {"id": one, "labels": {"l": "1"}}} for one in ids]
        parks = [{"park": {"stateRef": {"idx": str(place)}}} for place in range(len(ids))]
        await self.caller.post("Driver/Commit", {"stateCtxs": states, "commit": {"commands": parks}})
        data = {"stateCtxs": [{"current": {"id": ids[0], "rev": "1"}, "datas": {"d": {"blob": "text"}}}]}
        await self.caller.post("Driver/StoreData", {**data, "storeData": {"stateRef": {"idx": "0"}, "alias": "d"}})


async def fire(driver: Driver, method: str, form: str, raws: list[bytes]) -> list[int]:
    """Send the bodies one after the other, and look at the store behind each; the statuses."""
    statuses = []
    async with calling(driver, flows=[parked]) as caller:
        store = driver.connect("", Owner("watcher", "here", 1), 0)
        try:
            watched = Watched(caller, store)
            await watched.create(STORED, GOOD)
            expected = await watched.good()
            for raw in raws:
                before = watched.snapshot()
                status = await watched.send(method, form, raw)
                statuses.append(status)
                if status != 200 or method in READS:
                    assert watched.snapshot() == before
                assert await watched.good() == expected
            await watched.create("created at the end")
        finally:
            store.close()
    return statuses


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("method", FIELDS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_refused_changes_nothing_and_the_next_request_works(method, form, data):
    """A function that was executed goes on behind the answer: such a store gets one body."""
    raws = data.draw(st.lists(bodies(method, form), min_size=1, max_size=1 if method == EXECUTE else 4))
    for status in asyncio.run(fire(MemoryDriver(), method, form, raws)):
        event("taken" if status == 200 else "refused")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("method", FIELDS)
def test_the_seeds_of_mutations_are_taken(method, form):
    raw = flowstate_json.dump(seed(method)) if form == "JSON" else seed(method).SerializeToString(deterministic=True)
    assert asyncio.run(fire(MemoryDriver(), method, form, [raw])) == [200]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("method", FIELDS)
def test_a_store_in_a_file_is_changed_by_nothing_that_is_refused(tmp_path, method, form):
    """Vectors, cut off at each of some places, and what stands at each place replaced."""
    raws = []
    for message in [seed(method), *vectors(method)]:
        raw = flowstate_json.dump(message) if form == "JSON" else message.SerializeToString(deterministic=True)
        places = range(1, len(raw), max(1, len(raw) // 6))
        raws += [raw[:place] for place in places] + [raw[:place] + b"\xff" + raw[place + 1 :] for place in places]
    asyncio.run(
        fire(driver_for(f"sqlite:///{tmp_path}/fired.db"), method, form, raws[:1] if method == EXECUTE else raws)
    )
