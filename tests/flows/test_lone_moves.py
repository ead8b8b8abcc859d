"""A commit of one transit or park alone: it does what the same command does in a larger commit, and is a Step for the store."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stepflow import Engine, MemoryDriver, Noop, StateCtx, commit, flow, park, transit
from stepflow.drivers.memory.session import MemoryStore
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.step import Member, Step
from stepflow.drivers.port.store import Store
from stepflow.testing import VirtualClock
from stepflow.testing.conformance.cases.kit import as_it_is

WHERE = st.sampled_from(["", "f", "g"])
MAPS = st.dictionaries(st.sampled_from(["a", "ä", ""]), st.sampled_from(["", "1", "ü", "\ud800"]), max_size=2)
NOTES = st.dictionaries(st.sampled_from(["a", "stepflow_x"]), st.sampled_from(["1", "ü"]), max_size=1)
MOVES = st.lists(st.tuples(WHERE, MAPS, MAPS, NOTES), max_size=5)


def _seen(moves: list[Any], alone: bool, claimed: bool) -> list[Any]:
    """What the store and the caller's object hold after each of the moves, and which were refused."""
    seen: list[Any] = []
    calls: list[str] = []

    def _move(ctx: StateCtx, engine: Any) -> None:
        for to, labels, edits, notes in moves:
            ctx.labels, ctx.annotations = dict(labels), dict(edits)
            command = transit(ctx, to, **notes) if to else park(ctx, **notes)
            try:
                engine.do(commit(command) if alone else commit(Noop(), command))
            except Exception as error:
                seen.append((type(error), str(error)))
                ctx.reset(ctx.committed)
            seen.append((as_it_is(ctx), ctx.committed))

    @flow("f")
    def f(ctx: StateCtx, engine: Any) -> Any:
        if calls or not claimed:
            return commit(park(ctx))
        calls.append(ctx.id)
        _move(ctx, engine)
        return Noop()

    @flow("g")
    def g(ctx: StateCtx) -> Any:
        return commit(park(ctx))

    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        engine.register(f, g)
        ctx = StateCtx("s")
        if claimed:
            engine.do(commit(transit(ctx, "f")))
            engine.execute(ctx)
        else:
            _move(ctx, engine)
        seen += engine.states(limit=100).states
        engine.run_until_idle()
        seen += engine.states(limit=100).states
    return seen


@settings(deadline=None, max_examples=40)
@given(MOVES)
@example([("f", {"a": "1"}, {}, {}), ("g", {}, {"a": "1"}, {}), ("", {}, {}, {"a": "1"}), ("f", {}, {}, {})])
def test_a_move_alone_does_what_it_does_in_a_larger_commit(moves: list[Any]):
    for claimed in (True, False):
        assert _seen(moves, alone=True, claimed=claimed) == _seen(moves, alone=False, claimed=claimed)


class _Watched(MemoryDriver):
    """Notes the members of all batches."""

    def __init__(self) -> None:
        super().__init__()
        self.members: list[Member] = []

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:
        members = self.members

        class _Store(MemoryStore):
            def commit(self, batch: Any, now: int) -> Any:
                members.extend(batch)
                return super().commit(batch, now)

        return _Store(self._memory, namespace, owner)


def test_the_moves_of_a_claimed_state_reach_the_store_as_steps():
    driver = _Watched()

    @flow("f")
    def f(ctx: StateCtx, engine: Any) -> Any:
        engine.do(commit(transit(ctx, "f")))
        if len(driver.members) < 4:
            return commit(transit(ctx, "f"))
        return commit(park(ctx))

    with Engine(driver, clock=VirtualClock()) as engine:
        engine.register(f)
        engine.start(f, id="s")
        engine.run_until_idle()
    assert [type(member) is Step for member in driver.members] == [False, True, True, True, True]


def test_a_move_leaves_the_maps_of_its_working_copy_in_their_place():
    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        ctx = StateCtx("s", {"a": "1"}, {"b": "2"})
        labels, annotations = ctx.labels, ctx.annotations
        engine.do(commit(transit(ctx, "f")))
        assert ctx.labels is labels
        assert ctx.annotations is annotations
        labels["a"] = annotations["b"] = "3"
        assert (ctx.committed.labels, ctx.committed.annotations) == ({"a": "1"}, {"b": "2"})
