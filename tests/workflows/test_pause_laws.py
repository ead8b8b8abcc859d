"""Laws of pauses, for random workflows with gathers and maps: whenever a run is paused and resumed, each call is made once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow import AsyncContext, Context, Engine, MemoryDriver, RetryPolicy, Status, Workflow, workflow
from stepflow.testing import VirtualClock

Node = tuple[Any, ...]
SIMPLE = ("step", "sync", "once", "fails", "again", "later", "sleep", "event", "child", "labels", "draw", "first")
LONGEST = 4  # turns of the event loop that an async call takes

simple: st.SearchStrategy[Node] = st.tuples(st.sampled_from(SIMPLE))
maps: st.SearchStrategy[Node] = st.tuples(st.just("map"), st.integers(1, 5), st.integers(1, 3))
nodes = st.recursive(
    simple | maps,
    lambda inner: st.tuples(
        st.just("gather"), st.lists(st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@workflow("child")
def child(wf: Context) -> str:
    return wf.execute("in child", str, "x")


@define
class Walk:
    """Makes the calls of `tree`. `turns` says how long each call takes, `plan` at which begins and ends of calls the run is paused or resumed."""

    tree: list[Node]
    turns: list[int]
    plan: dict[int, str]
    made: Counter[str] = field(factory=Counter)
    expected: Counter[str] = field(factory=Counter)
    moments: int = 0
    other: Engine | None = None

    def moment(self) -> None:
        """A call begins or ends."""
        self.moments += 1
        what = self.plan.get(self.moments)
        if what is not None and self.other is not None:
            run = self.other.get("r")
            run.pause() if what == "pause" else run.resume()

    def call(self, key: str, failures: int = 0) -> str:
        self.made[key] += 1
        self.moment()
        self.moment()
        if self.made[key] <= failures:
            raise ValueError(key)
        return key

    async def acall(self, key: str, failures: int = 0) -> str:
        self.made[key] += 1
        self.moment()
        for _ in range(self.turns[self.moments % len(self.turns)]):
            await asyncio.sleep(0)
        self.moment()
        if self.made[key] <= failures:
            raise ValueError(key)
        return key

    async def sequence(self, wf: AsyncContext, nodes: list[Node], path: str) -> list[Any]:
        return [await self.visit(wf, node, f"{path}/{n}") for n, node in enumerate(nodes)]

    async def visit(self, wf: AsyncContext, node: Node, key: str) -> Any:
        """The result of a call, a text."""
        match node:
            case ("gather", branches):
                return list(await wf.gather(*[self.sequence(wf, one, f"{key}.{n}") for n, one in enumerate(branches)]))
            case ("map", count, width):
                found = await wf.map(key, self.acall, [f"{key}[{n}]" for n in range(count)], width=width)
                return [one.value for one in found if one.ok]
            case ("sync",):
                return await wf.execute(key, self.call, key)
            case ("once",):
                return await wf.execute(key, self.acall, key, at_most_once=True)
            case ("fails",):
                try:
                    return await wf.execute(key, self.acall, key, 9)
                except ValueError as error:
                    return f"failed {error}"
            case ("again" | "later" as kind,):
                policy = RetryPolicy(max_attempts=3, delay=0 if kind == "again" else 5, factor=1, jitter=0)
                return await wf.execute(key, self.acall, key, 2, retry=policy)
            case ("sleep",):
                return await wf.sleep(key, 3)
            case ("event",):
                return await wf.wait_for_event(key, key, int)
            case ("child",):
                return await wf.result(f"{key}.result", await wf.start_child(key, child))
            case ("labels",):
                return await wf.set_labels(key, {"at": key})
            case ("draw",):
                return bool(await wf.random_uuid7(key))
            case ("first",):
                return (await wf.first_of(key, wf.event("never", int), wf.timer(4))).index
        return await wf.execute(key, self.acall, key)

    def expect(self, nodes: list[Node], path: str) -> list[Any]:
        """The result, and in `expected` how often each call is made."""
        return [self._expect(node, f"{path}/{n}") for n, node in enumerate(nodes)]

    def _expect(self, node: Node, key: str) -> Any:
        match node:
            case ("gather", branches):
                return [self.expect(one, f"{key}.{n}") for n, one in enumerate(branches)]
            case ("map", count, _width):
                items = [f"{key}[{n}]" for n in range(count)]
                self.expected.update(items)
                return items
            case ("sleep" | "labels",):
                return None
            case ("event",):
                return 1
            case ("child",):
                return "x"
            case ("draw",):
                return True
            case ("first",):
                return 1
        self.expected[key] += 3 if node[0] in ("again", "later") else 1
        return f"failed {key}" if node[0] == "fails" else key

    def flow(self) -> Workflow[None, list[Any]]:
        @workflow("walk")
        async def walk(wf: AsyncContext) -> list[Any]:
            return await self.sequence(wf, self.tree, "")

        return walk


def events_of(nodes: list[Node], path: str) -> list[str]:
    """The names of the events for which it waits."""
    found = []
    for n, node in enumerate(nodes):
        key = f"{path}/{n}"
        if node[0] == "event":
            found.append(key)
        if node[0] == "gather":
            found += [name for m, one in enumerate(node[1]) for name in events_of(one, f"{key}.{m}")]
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(nodes, min_size=1, max_size=3),
    st.lists(st.integers(0, LONGEST), min_size=1, max_size=5),
    st.dictionaries(st.integers(1, 40), st.sampled_from(["pause", "pause", "resume"]), min_size=1, max_size=6),
)
def test_each_call_is_made_once_whenever_the_run_is_paused_and_resumed(
    tree: list[Node], turns: list[int], plan: dict[int, str]
) -> None:
    walk, store, clock = Walk(tree, turns, plan), MemoryDriver(), VirtualClock()
    result = walk.expect(tree, "")
    with Engine(store, clock=clock) as engine, Engine(store, clock=clock) as walk.other:
        flow = walk.flow()
        engine.register(flow, child)
        run = engine.start(flow, id="r")
        for name in events_of(tree, ""):
            run.publish(name, 1)
        for _ in range(100):
            engine.run_until_idle(advance=True)
            if run.status() is not Status.PAUSED:
                break
            run.resume()
        assert run.status() is Status.COMPLETED, run.explain()
        assert run.result() == result
    assert walk.made == walk.expected
