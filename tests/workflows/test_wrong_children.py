"""Children whose ids are taken, whose inputs cannot be stored, or that are gone; and wrong calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stepflow import (
    ChildHandle,
    CodecError,
    Context,
    Engine,
    Failed,
    NotFound,
    RunExists,
    StepflowError,
    named,
    workflow,
)
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.workflows.family import (
    DID,
    FLOWS,
    Item,
    add,
    ends,
    kid,
    short,
    statuses,
)


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    DID.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(*FLOWS)
        yield engine


@pytest.mark.parametrize(
    ("key", "other", "value", "why"),
    [
        ("c", kid, 1, ""),
        ("c", kid, 2, "child 'p/c' was started before with another input: use another key"),
        ("c", short, Item(1), "child 'p/c' was started before with flow 'kid': use another key"),
        ("d", kid, 1, "run 'p/d', which is no child of this run, was started before: use another key"),
    ],
)
def test_a_run_that_is_there_is_the_child_or_an_error(
    engine: Engine, key: str, other: Any, value: Any, why: str
) -> None:
    @workflow("asks")
    def asks(wf: Context, n: int) -> str:
        if n == 0:
            wf.start_child("c", kid, 1)
            wf.continue_as_new(1)
        try:
            wf.start_child(key, other, value)
        except RunExists as error:
            wf.sleep("s", 1)
            return str(error)
        return ""

    engine.register(asks)
    engine.start(kid, 1, id="p/d")
    run = engine.start(asks, 0, id="p")
    engine.run_until_idle(advance=True)
    assert run.result() == why


def test_an_input_that_cannot_be_stored_is_an_error_of_the_call(engine: Engine) -> None:
    @workflow("asks")
    def asks(wf: Context) -> list[str]:
        found = []
        for key in ("a", "x" * 499):
            try:
                wf.start_child(key, kid, "text" if key == "a" else 1)  # type: ignore[misc]
            except (CodecError, StepflowError) as error:
                found.append(type(error).__name__)
        wf.sleep("s", 1)
        return found

    engine.register(asks)
    run = engine.start(asks, id="p" * 510)
    engine.run_until_idle(advance=True)
    assert run.result() == ["CodecError", "StepflowError"]


def test_wrong_calls_block_the_run(engine: Engine) -> None:
    wrong: dict[str, Any] = {
        "flow": lambda wf: wf.start_child("c", "kid", 1),
        "chain": lambda wf: wf.start_child("c", named("x", Item).do("a", add), 1),
        "policy": lambda wf: wf.start_child("c", kid, 1, on_parent_end="x"),
        "labels": lambda wf: wf.start_child("c", kid, 1, labels={"stepflow.x": "1"}),
        "label values": lambda wf: wf.start_children("c", kid, [1], labels={"x": 1}),
        "no labels": lambda wf: wf.start_child("c", kid, 1, labels=["x"]),
        "half a pair": lambda wf: wf.start_child("c", kid, 1, labels={"x": "\ud800"}),
        "priority": lambda wf: wf.start_child("c", kid, 1, priority="1"),
        "far priority": lambda wf: wf.start_children("c", kid, [1], priority=2**40),
        "handle": lambda wf: wf.result("c", "p/c"),
        "handles": lambda wf: wf.results("c", ["p/c"]),
        "key": lambda wf: [wf.start_child("c", kid, 1), wf.start_child("c", kid, 1)],
    }
    for name, fn in wrong.items():

        @workflow(f"bad {name}")
        def bad(wf: Context, fn: Any = fn) -> None:
            fn(wf)

        engine.register(bad)
        run = engine.start(bad)
        engine.run_until_idle()
        assert run.status() == "blocked", name
        assert "wf." in str(run.info().blocked)


def test_a_child_that_was_pruned_before_it_was_read(engine: Engine, store: Driver, clock: VirtualClock) -> None:
    @workflow("asks")
    def asks(wf: Context) -> str:
        child = wf.start_child("c", kid, 0)
        wf.sleep("s", 100)
        try:
            return str(wf.result("r", child))
        except NotFound as error:
            wf.sleep("s2", 1)
            return str(error)

    engine.register(asks)
    run = engine.start(asks, id="p")
    engine.run_until_idle()
    assert store.maintenance("").prune(clock.now() + 1, 10) == 1
    engine.run_until_idle(advance=True)
    assert run.result() == "run 'p/c' was pruned before its result was read: keep runs longer (keep=)"
    assert store.maintenance("").check() == []


def test_a_parent_that_was_pruned_leaves_its_children_alone(engine: Engine, store: Driver, clock: VirtualClock) -> None:
    engine.start(ends, "returns", id="p")
    engine.run_until_idle()
    assert store.maintenance("").prune(clock.now() + 1, 10) == 4
    engine.run_until_idle(advance=True)
    assert statuses(engine, "p") == {"left": "completed"}
    assert store.maintenance("").check() == []


def test_the_number_of_children_may_not_change(engine: Engine) -> None:
    counts = [250, 120]

    @workflow("fewer")
    def fewer(wf: Context) -> None:
        wf.start_children("k", kid, range(counts[0]))
        wf.sleep("s", 1)

    engine.register(fewer)
    run = engine.start(fewer, id="p")
    engine.run_until_idle()
    counts[0] = 120
    clock = engine.run_until_idle(advance=True)
    assert clock is not None
    assert (run.status(), str(run.info().blocked).partition("has ")[2][:20]) == ("blocked", "200 children of 'k' "[:20])


def test_a_handle_says_which_run_it_is() -> None:
    assert ChildHandle("p/c", kid) == ChildHandle("p/c", kid)
    assert isinstance(Failed(ValueError()), Failed)
