"""Commits as the drivers' own tests ask for them: created, updated, refused, several at once, and many at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.errors import NotFound, RevMismatch, StepflowError
from stepflow.model.commands import Command, GetStateByID, StoreData, commit, delay, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.state import State
from stepflow.testing.conformance.cases.kit import as_it_is, on_loop, open_engine, parked, refusal

WORKERS, EACH = 10, 50
AWKWARD = {"ü 日本": "✓", "quote'\"\\": "%_?", "line\n": "\t", "empty": ""}


def _expecting(run_id: str, rev: int) -> StateCtx:
    """A working copy that expects the State to be at this revision."""
    return StateCtx.of(State(run_id, rev))


async def _attempts(engine: AsyncEngine, worker: int, won: list[int]) -> None:
    for _ in range(EACH):
        ctx = await engine.get_state("s")
        ctx.annotations["by"] = str(worker)
        before, lost = as_it_is(ctx), []
        try:
            await engine.do(commit(park(ctx)))
        except RevMismatch as error:
            lost = error.ids
        if lost:
            assert (lost, as_it_is(ctx)) == (["s"], before)
        else:
            won.append(ctx.rev)


class CommitCases:
    """What the newest revision of a State is, and that nothing else can become it."""

    @on_loop
    async def test_a_commit_creates_a_state_as_it_was_given(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            ctx = StateCtx("s", dict(AWKWARD), {**AWKWARD, "": "no name"})
            await engine.do(commit(park(ctx, **AWKWARD)))
            assert (ctx.rev > 0, ctx.committed_at > 0, ctx.current == ctx.committed) == (True, True, True)
            assert (ctx.labels, ctx.annotations) == (AWKWARD, {**AWKWARD, "": "no name"})
            assert ctx.transition.annotations == AWKWARD
            for rev in (0, ctx.rev):
                assert as_it_is(await engine.get_state("s", rev)) == as_it_is(ctx)
            for key, value in AWKWARD.items():
                assert (await engine.states({key: value})).states == (ctx.committed,)

    @on_loop
    async def test_a_commit_updates_a_state_and_keeps_what_was_before(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            ctx = StateCtx("s", {"a": "1", "b": "2"})
            (first,) = await parked(engine, ctx)
            del ctx.labels["a"]
            (second,) = await parked(engine, ctx)
            assert second.rev > first.rev
            assert as_it_is(await engine.get_state("s")) == as_it_is(ctx)
            assert (await engine.get_state("s", first.rev)).committed == first
            assert ((await engine.states({"a": "1"})).states, ctx.labels) == ((first,), {"b": "2"})

    @pytest.mark.parametrize("exists", [False, True], ids=["nothing stored", "stored"])
    @on_loop
    async def test_a_commit_that_expects_another_revision_is_refused(self, driver: Driver, exists: bool) -> None:
        async with open_engine(driver) as engine:
            states = await parked(engine, StateCtx("s", {"k": "v"})) if exists else []
            wrong = [_expecting("s", 123), *([StateCtx("s")] if exists else [])]
            for ctx in wrong:
                ctx.set_data("d", "x")
                ctx.annotations["mine"] = "yes"
                before = as_it_is(ctx)
                parts = park(ctx, a="b"), StoreData(ctx, "d"), delay(ctx, "f", 1)
                error = await refusal(engine.do(commit(*parts)))
                assert isinstance(error, RevMismatch)
                assert (error.ids, str(error)) == (["s"], "rev mismatch: s")
                # The origin leaves the transition behind in the caller's State; here nothing has happened to it.
                assert as_it_is(ctx) == before
            assert list((await engine.states()).states) == states

    @pytest.mark.parametrize(
        ("command", "text"),
        [
            (lambda: commit(park(StateCtx(""))), "state id empty"),
            (lambda: GetStateByID(StateCtx(""), "", 0), "id is empty"),
            (lambda: GetStateByID(StateCtx(""), "s", -1), "rev must be >= 0"),
            (lambda: commit(park(StateCtx("s")), park(StateCtx("s"))), "written twice in one commit"),
        ],
    )
    @on_loop
    async def test_what_makes_no_sense_is_refused(
        self, driver: Driver, command: Callable[[], Command], text: str
    ) -> None:
        async with open_engine(driver) as engine:

            async def refused() -> None:
                await engine.do(command())

            error = await refusal(refused())
            assert text in str(error)
            assert type(error) is StepflowError
            assert (await engine.states()).states == ()

    @on_loop
    async def test_three_states_in_one_commit(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            one, two, new = StateCtx("one"), StateCtx("two"), StateCtx("new")
            await parked(engine, one, two)
            await engine.do(commit(transit(two, "f"), park(new), transit(one, "f")))
            assert two.rev < new.rev < one.rev  # in the order of the commands
            found = (await engine.states(latest_only=True)).states
            assert found == (two.committed, new.committed, one.committed)
            # One that does not fit takes the other two along, and all that do not fit are named.
            stale, again, fine = _expecting("one", 1), StateCtx("two"), new.copy()
            error = await refusal(engine.do(commit(park(fine), park(stale), park(again))))
            assert isinstance(error, RevMismatch)
            assert error.ids == ["one", "two"]
            assert (await engine.states(latest_only=True)).states == found
            await engine.do(commit(park(new)))

    @on_loop
    async def test_two_states_in_turns(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            one, two = StateCtx("one"), StateCtx("two")
            states = await parked(engine, one, two, one, two)
            assert [state.rev for state in states] == sorted({state.rev for state in states})
            assert (await engine.states()).states == tuple(states)
            for state in states:
                assert (await engine.get_state(state.id, state.rev)).committed == state
            with pytest.raises(NotFound, match="state not found; id=one rev="):
                await engine.get_state("one", two.rev)

    @on_loop
    async def test_a_bad_commit_among_many_is_refused_alone(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            await parked(engine, StateCtx("stale"))
            states = [StateCtx(f"s{n}", {"n": str(n)}) for n in range(30)]
            states[7], states[13] = _expecting("stale", 99), StateCtx("stale")
            states[21].labels["half"] = "half \ud800 pair"
            work = (engine.do(commit(park(ctx))) for ctx in states)  # the committer takes them together
            answers = await asyncio.gather(*work, return_exceptions=True)
            refused = {n: answer for n, answer in enumerate(answers) if answer is not None}
            assert {n: isinstance(answer, RevMismatch) for n, answer in refused.items()} == {
                7: True,
                13: True,
                21: False,
            }
            assert isinstance(refused[21], StepflowError)
            assert {state.id async for state in engine.iterate()} == {
                "stale", *(f"s{n}" for n in range(30) if n not in refused),
            }  # fmt: skip

    @on_loop
    async def test_ten_workers_commit_to_one_state(self, driver: Driver) -> None:
        won: list[int] = []
        async with open_engine(driver) as one, open_engine(driver) as two:
            (first,) = await parked(one, StateCtx("s"))
            await asyncio.gather(*(_attempts((one, two)[i % 2], i, won) for i in range(WORKERS)))
            stored = [state async for state in one.iterate()]
            assert [state.rev for state in stored] == [first.rev, *sorted(won)]
            assert len(won) == len(set(won)) > 0
