"""Laws that hold for every chain, checked on arbitrary ones."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cattrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow.errors import UnknownState
from stepflow.steps import StepFlow, Steps, named
from stepflow.testing.reference import interpret
from stepflow.testing.script import Boom, Item, Script, chain_of
from stepflow.testing.strategies import positions, scripts

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HANDLER_CALLS = "retry "


def applied(flow: StepFlow[Any], exchange: Any, state: list[str] | None = None) -> list[list[str]]:
    """The position before each apply until the flow is completed, and the last one; errors are applied again."""
    return list(applying(flow, exchange, state))


def applying(flow: StepFlow[Any], exchange: Any, state: list[str] | None = None) -> Iterator[list[str]]:
    """The positions, one by one."""
    state = ["start:" + flow.name] if state is None else state
    yield state
    while not flow.is_completed(state):
        before = list(state)
        try:
            state = flow.apply(state, exchange)
        except Boom:
            assert state == before
        yield state


async def aapplied(flow: StepFlow[Any], exchange: Any) -> list[list[str]]:
    state = ["start:" + flow.name]
    seen = [state]
    while not flow.is_completed(state):
        with contextlib.suppress(Boom):
            state = await flow.aapply(state, exchange)
        seen.append(state)
    return seen


def steps_called(exchange: Any) -> list[str]:
    return [label for label in exchange["calls"] if not label.startswith(HANDLER_CALLS)]


@relaxed
@given(scripts())
def test_the_machine_agrees_with_the_reference_interpreter(script: Script):
    ours, theirs = {"calls": []}, {"calls": []}
    expected = [list(position) for position in interpret(script, "script", theirs)]
    assert applied(chain_of(script).compile(), ours)[:-1] == expected
    assert ours == theirs


@relaxed
@given(scripts())
def test_applies_are_user_calls_and_one_more(script: Script):
    exchange: dict[str, Any] = {"calls": []}
    positions_seen = applied(chain_of(script).compile(), exchange)
    assert len(positions_seen) - 1 == len(steps_called(exchange)) + 1


@relaxed
@given(scripts(), st.data())
def test_a_position_survives_json_and_resumes_to_the_same_result(script: Script, data: st.DataObject):
    straight: dict[str, Any] = {"calls": []}
    whole = applied(chain_of(script).compile(), straight)
    stop = data.draw(st.integers(0, len(whole) - 1))
    exchange: dict[str, Any] = {"calls": []}
    flow, state = chain_of(script).compile(), ["start:script"]
    for _ in range(stop):
        try:
            state = flow.apply(state, exchange)
        except Boom:
            continue
    stored = json.dumps([state, exchange])
    state, exchange = json.loads(stored)
    assert applied(chain_of(script).compile(), exchange, state) == whole[stop:]
    assert exchange == straight


@relaxed
@given(scripts(sync=None))
def test_sync_and_async_agree(script: Script):
    def all_sync(items: Script) -> Script:
        return tuple(Item(i.kind, i.name, i.fails, i.until, i.answers, i.attempts, all_sync(i.inner)) for i in items)

    blocking, awaited = {"calls": []}, {"calls": []}
    expected = applied(chain_of(all_sync(script)).compile(), blocking)
    assert asyncio.run(aapplied(chain_of(script).compile(), awaited)) == expected
    assert blocking == awaited


@relaxed
@given(scripts())
def test_apply_never_mutates_its_argument_and_returns_a_list_of_its_own(script: Script):
    flow, exchange = chain_of(script).compile(), {"calls": []}
    state: list[str] = []
    while not flow.is_completed(state):
        before = copy.copy(state)
        try:
            found = flow.apply(state, exchange)
        except Boom:
            found = before
        assert state == before
        state = list(found)
        found.clear()  # the owner may change it: the flow keeps no reference
    assert flow.apply(state, exchange) == state


@relaxed
@given(scripts(depth=2))
def test_a_fragment_used_twice_behaves_independently(script: Script):
    fragment = chain_of(script)
    alone: dict[str, Any] = {"calls": []}
    expected = inside("_", applied(named("twice").steps("_", fragment).compile(), alone))
    exchange: dict[str, Any] = {"calls": []}
    seen: dict[str, list[list[str]]] = {"one": [], "two": []}
    part = "one"
    for position in applying(named("twice").steps("one", fragment).steps("two", fragment).compile(), exchange):
        seen[part].append(position)
        if part == "one" and exchange["calls"] == alone["calls"]:
            part = "two"
            exchange["calls"].clear()  # what the script counts begins anew, as in a run of its own
    assert inside("one", seen["one"]) == expected
    assert inside("two", seen["two"]) == expected
    assert exchange == alone
    assert fragment.compile().fingerprint == chain_of(script).compile().fingerprint


def inside(name: str, positions_seen: list[list[str]]) -> list[list[str]]:
    """The positions inside the group `twice/<name>`, for any name."""
    within = [position for position in positions_seen if f":twice/{name}/" in position[0]]
    return [[text.replace(f":twice/{name}/", ":twice/_/", 1) for text in position] for position in within]


@relaxed
@given(scripts(), scripts())
def test_equal_fingerprints_mean_equal_transitions(one: Script, two: Script):
    first, second = chain_of(one).compile(), chain_of(two).compile()
    assert (first.fingerprint == second.fingerprint) == (first.transitions == second.transitions)


@relaxed
@given(scripts())
def test_every_chain_can_reach_every_step_and_its_end(script: Script):
    flow = chain_of(script).compile()
    assert flow.check() == []
    known = {edge.source for edge in flow.transitions} | {"completed:script"}
    assert {way.position for edge in flow.transitions for way in edge.destinations} <= known


@relaxed
@given(scripts(), positions())
def test_a_foreign_position_is_refused_and_nothing_is_called(script: Script, state: list[str]):
    flow, exchange = chain_of(script).compile(), {"calls": []}
    known = {edge.source for edge in flow.transitions} | {"completed:script"}
    if not state or any(text in known for text in state):
        return
    with pytest.raises(UnknownState):
        flow.apply(state, exchange)
    assert exchange == {"calls": []}


@relaxed
@given(scripts(), st.sampled_from(["mermaid", "dot", "text"]))
def test_every_chain_can_be_drawn_at_every_position(script: Script, drawing: Any):
    flow = chain_of(script).compile()
    plain = flow.diagram(drawing)
    for state in applied(flow, {"calls": []}):
        assert flow.diagram(drawing, state=state) != plain


RESUME = """
import json, sys
import cattrs
from stepflow.testing.script import Boom, Script, chain_of
script, state, exchange = json.load(sys.stdin)
flow = chain_of(cattrs.structure(script, Script)).compile()
while not flow.is_completed(state):
    try:
        state = flow.apply(state, exchange)
    except Boom:
        pass
json.dump(exchange, sys.stdout)
"""


@settings(max_examples=3, deadline=None, database=None)
@given(scripts(depth=3).filter(lambda script: len(script) > 2), st.integers(1, 4))
def test_a_position_resumes_in_a_fresh_process_to_the_same_result(script: Script, stop: int):
    """U9."""
    straight: dict[str, Any] = {"calls": []}
    applied(chain_of(script).compile(), straight)
    exchange: dict[str, Any] = {"calls": []}
    flow, state = chain_of(script).compile(), ["start:script"]
    for _ in range(stop):
        try:
            state = flow.apply(state, exchange)
        except Boom:
            continue
    stored = json.dumps([cattrs.unstructure(script), state, exchange])
    done = subprocess.run([sys.executable, "-c", RESUME], input=stored, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == straight


def test_an_extended_chain_leaves_the_one_before_as_it_was():
    first = Steps().do("a", lambda: None)
    second, third = first.do("b", lambda: None), first.do("c", lambda: None)
    assert [edge.source for edge in first.compile().transitions] == [
        "start:steps",
        "start:steps/a",
        "completed:steps/a",
    ]
    assert second.compile().fingerprint != third.compile().fingerprint
